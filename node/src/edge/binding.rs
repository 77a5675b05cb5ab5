//! What the bindings of A2A have in common: a call is opened, names an operation, and is told what came of it.
//!
//! The bindings themselves are `rpc` (JSON-RPC, §9) and `rest` (HTTP+JSON, §11).

use actix_web::http::header::HeaderName;
use actix_web::{HttpRequest, HttpResponse};
use archipel_protocol::a2a::{StreamEvent, Version};
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::jsonrpc::{self, Id};
use archipel_protocol::method::Method;

use crate::edge::auth::header;
use crate::edge::operation::{Operation, Outcome};
use crate::edge::{Edge, rest, rpc};
use crate::error::{Failure, Form};
use crate::public::Asked;

/// Header that names the version a message is in (A2A 1.0 §3.6).
pub(super) const A2A_VERSION: HeaderName = HeaderName::from_static("a2a-version");

/// How a request speaks A2A: its path says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Binding {
    /// Method and parameters are in the body.
    JsonRpc,
    /// Method and parameters are in the path below the agent, the query and the body.
    HttpJson {
        /// What follows the agent's own path, without the slash between them.
        below: String,
    },
}

/// What a request asks for, as far as its outermost members say it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asks {
    For(Asked),
    /// It can be read, but names no method.
    Nothing,
    /// It cannot be read.
    Unreadable,
}

/// A request whose envelope is right and whose version is spoken here. Parameters have not been looked at.
pub(super) enum Call<'a> {
    JsonRpc(rpc::Call<'a>),
    HttpJson(rest::Call<'a>),
}

/// How the events of somebody else's stream are told to a caller who speaks 1.0.
pub(super) enum Telling {
    /// Each as an answer under the caller's id.
    JsonRpc(Id),
    /// Each by itself.
    HttpJson,
}

impl Telling {
    /// An event.
    pub(super) fn event(&self, event: &StreamEvent) -> Vec<u8> {
        let told = match self {
            Self::JsonRpc(id) => jsonrpc::encode_result(id, event),
            Self::HttpJson => serde_json::to_vec(event),
        };
        // What was read as JSON can be written as JSON.
        told.unwrap_or_default()
    }

    /// An error.
    pub(super) fn error(&self, error: &RpcError) -> Vec<u8> {
        match self {
            Self::JsonRpc(id) => jsonrpc::encode_error(id, error),
            Self::HttpJson => serde_json::to_vec(&error.rest()).unwrap_or_default(),
        }
    }
}

impl Binding {
    /// What follows the agent's own path, without the slash between them.
    pub(super) fn path(&self) -> &str {
        match self {
            Self::JsonRpc => "",
            Self::HttpJson { below } => below,
        }
    }

    /// HTTP+JSON, of a request whose route says what is below its agent.
    pub(super) fn below(request: &HttpRequest) -> Self {
        // Not through an extractor: those decode what keeps segments apart.
        let below = request.match_info().get("below").unwrap_or_default();
        Self::HttpJson {
            below: below.to_owned(),
        }
    }

    /// What a request asks for, before it is known whether it may.
    pub(super) fn asks(&self, request: &HttpRequest, body: &[u8]) -> Asks {
        match self {
            Self::JsonRpc => rpc::asks(body),
            Self::HttpJson { below } => rest::asks(request.method(), below),
        }
    }

    /// In which form failures of a request are told. A version that is not spoken here is told so in the newest.
    pub(super) fn form(&self, request: &HttpRequest) -> Form {
        match self {
            Self::JsonRpc => {
                Form::JsonRpc(Version::parse(named_version(request)).unwrap_or(Version::V1))
            }
            Self::HttpJson { .. } => Form::HttpJson,
        }
    }

    /// Opens a call.
    pub(super) fn open<'a>(
        &'a self,
        request: &'a HttpRequest,
        body: &'a [u8],
    ) -> Result<Call<'a>, Failure> {
        match self {
            Self::JsonRpc => rpc::Call::open(request, body).map(Call::JsonRpc),
            Self::HttpJson { below } => rest::Call::open(request, below, body).map(Call::HttpJson),
        }
    }
}

impl Call<'_> {
    pub(super) fn is_json_rpc(&self) -> bool {
        matches!(self, Self::JsonRpc(_))
    }

    /// Under which id it is answered.
    pub(super) fn id(&self) -> Id {
        match self {
            Self::JsonRpc(call) => call.id(),
            Self::HttpJson(_) => Id::Null,
        }
    }

    /// Which operation it names, if there is one of that name.
    pub(super) fn method(&self) -> Option<Method> {
        match self {
            Self::JsonRpc(call) => call.method(),
            Self::HttpJson(call) => Some(call.method()),
        }
    }

    /// The name of the operation, for records.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::JsonRpc(call) => call.name(),
            Self::HttpJson(call) => call.method().name(Version::V1),
        }
    }

    /// The version that it is in.
    pub(super) fn version(&self) -> Version {
        match self {
            Self::JsonRpc(call) => call.version(),
            Self::HttpJson(_) => Version::V1,
        }
    }

    /// The operation with its parameters.
    pub(super) fn operation(&self) -> Result<Operation, RpcError> {
        match self {
            Self::JsonRpc(call) => call.operation(),
            Self::HttpJson(call) => call.operation(),
        }
    }

    /// How the events of somebody else's stream are told.
    pub(super) fn telling(&self) -> Telling {
        match self {
            Self::JsonRpc(call) => Telling::JsonRpc(call.id()),
            Self::HttpJson(_) => Telling::HttpJson,
        }
    }

    /// Tells what came of it.
    pub(super) fn tell(
        &self,
        edge: &Edge,
        outcome: Result<Outcome, RpcError>,
    ) -> Result<HttpResponse, Failure> {
        let told = outcome.and_then(|outcome| match self {
            Self::JsonRpc(call) => call.answer(edge, outcome),
            Self::HttpJson(_) => Ok(rest::answer(edge, outcome)),
        });
        told.map_err(|error| match error.code {
            // That nothing was done is for proxies and clients to see without reading the body.
            ErrorCode::Unavailable => Failure::rpc_with_status(self.id(), error),
            _ => Failure::rpc(self.id(), error),
        })
    }
}

/// The version that the request is in, if it is one of these. No version means 0.3 (§3.6.2).
pub(super) fn asked_version(
    request: &HttpRequest,
    spoken: &[Version],
) -> Result<Version, RpcError> {
    Version::parse(named_version(request))
        .filter(|version| spoken.contains(version))
        .ok_or_else(|| not_spoken(spoken))
}

fn not_spoken(spoken: &[Version]) -> RpcError {
    let names: Vec<&str> = spoken.iter().map(|version| version.as_str()).collect();
    let names = names.join(", ");
    let message = format!(
        "this interface speaks A2A {names}: name it in the header A2A-Version (without it a request is in version 0.3)"
    );
    RpcError::new(ErrorCode::VersionNotSupported, message).with("supportedVersions", names)
}

/// What the header says, else the query, because not every client can set headers (§3.6.1).
pub(super) fn named_version(request: &HttpRequest) -> Option<&str> {
    header(request, A2A_VERSION.as_str()).or_else(|| from_query(request.query_string()))
}

fn from_query(query: &str) -> Option<&str> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("A2A-Version="))
}

#[cfg(test)]
mod tests {
    use super::from_query;

    #[test]
    fn the_version_may_come_with_the_query() {
        assert_eq!(from_query("a=1&A2A-Version=1.0"), Some("1.0"));
        assert_eq!(from_query("A2A-Version="), Some(""));
        assert_eq!(from_query("a=A2A-Version=1.0"), None);
    }
}
