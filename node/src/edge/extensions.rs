//! Extensions of the protocol (A2A 1.0 §3.2.6, 4.6): which of them the client wants for a request, and which are in force.

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use archipel_protocol::a2a::Version;
use archipel_protocol::error::{ErrorCode, RpcError};

use crate::cards::LAST_EVENT_ID;
use crate::cards::declared::Said;

const EXTENSIONS: HeaderName = HeaderName::from_static("a2a-extensions");
/// What 0.3 calls it.
const OLD_EXTENSIONS: HeaderName = HeaderName::from_static("x-a2a-extensions");

/// What the client wants; what nobody here knows is ignored.
#[derive(Debug, Default)]
pub(super) struct Wanted(Option<String>);

impl Wanted {
    /// What a request asks for, in however many lines.
    pub(super) fn of(request: &HttpRequest) -> Self {
        let headers = request.headers();
        let lines = headers
            .get_all(EXTENSIONS)
            .chain(headers.get_all(OLD_EXTENSIONS))
            .filter_map(|line| line.to_str().ok());
        let mut wanted = String::new();
        for line in lines {
            if !wanted.is_empty() {
                wanted.push(',');
            }
            wanted.push_str(line);
        }
        Self((!wanted.is_empty()).then_some(wanted))
    }

    /// As it is handed on.
    pub(super) fn as_header(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Whether the client knows everything that the agent requires.
    pub(super) fn check(&self, said: &Said) -> Result<(), RpcError> {
        let Some(missing) = said.missing(|uri| self.uris().any(|wanted| wanted == uri)) else {
            return Ok(());
        };
        let error = RpcError::new(
            ErrorCode::ExtensionSupportRequired,
            format!("the agent requires an extension: name it in A2A-Extensions: {missing}"),
        );
        Err(error.with("extension", missing))
    }

    /// Names, in an answer, those that are in force: what is wanted and known.
    pub(super) fn acknowledge(
        &self,
        said: Option<&Said>,
        version: Version,
        answer: &mut HeaderMap,
    ) {
        let is_known =
            |uri: &&str| *uri == LAST_EVENT_ID.uri || said.is_some_and(|said| said.knows(uri));
        let known: Vec<&str> = self.uris().filter(is_known).collect();
        if known.is_empty() {
            return;
        }
        // What came in a header fits into one.
        if let Ok(value) = HeaderValue::from_str(&known.join(", ")) {
            let name = match version {
                Version::V1 => EXTENSIONS,
                Version::V03 => OLD_EXTENSIONS,
            };
            answer.insert(name, value);
        }
    }

    fn uris(&self) -> impl Iterator<Item = &str> {
        let all = self.0.as_deref().unwrap_or_default().split(',');
        all.map(str::trim).filter(|uri| !uri.is_empty())
    }
}
