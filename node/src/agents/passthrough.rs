//! An agent that keeps its own tasks: requests reach it as they came, with our credential instead of the caller's.
//!
//! The path below the agent's path here goes below its URL, so whatever it offers there can be called. It is told who
//! calls by a pseudonym, since to it all callers are one client and it may want to keep their tasks apart.

use std::sync::Arc;
use std::time::Duration;

use archipel_kit::client::{Answer, ClientError, RequestBody, Timeouts};
use archipel_kit::settings::Secret;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use sha2::{Digest, Sha256};
use url::Url;

use crate::agents::upstream::UpstreamLimits;
use crate::egress::{Destination, Egress};

/// Names a caller to the agent: always the same for one caller, another at another agent, and it says nothing of them.
const CALLER: HeaderName = HeaderName::from_static("x-archipel-caller");

/// Headers of a caller that mean something to an agent. Never a credential, never a cookie.
pub const PASSED_ON: [HeaderName; 11] = [
    HeaderName::from_static("accept"),
    HeaderName::from_static("content-type"),
    HeaderName::from_static("a2a-version"),
    HeaderName::from_static("a2a-extensions"),
    HeaderName::from_static("x-a2a-extensions"),
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static("if-none-match"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-correlation-id"),
];

/// See the module.
pub struct PassthroughAgent {
    id: Arc<str>,
    url: Url,
    authorization: Option<HeaderValue>,
    limits: UpstreamLimits,
    destination: Destination,
    egress: Arc<Egress>,
}

/// A request on its way.
pub struct Passed<'a> {
    pub method: Method,
    /// What follows the agent's path, as it came; empty for the agent's own URL.
    pub below: &'a str,
    /// Without the question mark.
    pub query: &'a str,
    /// Only what may go on.
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The principal of the caller.
    pub caller: &'a str,
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The path leads elsewhere, or is none.
    #[error("the path does not stay below the agent")]
    Path,
    /// The agent did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl PassthroughAgent {
    /// No connection is made yet. A credential that cannot stand in a header counts as none.
    pub fn new(
        id: Arc<str>,
        url: Url,
        credential: Option<&Secret>,
        limits: UpstreamLimits,
        (destination, egress): (Destination, Arc<Egress>),
    ) -> Self {
        let authorization = credential.and_then(|credential| {
            let text = format!("Bearer {}", credential.expose());
            let mut value = HeaderValue::from_str(&text).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self {
            id,
            url,
            authorization,
            limits,
            destination,
            egress,
        }
    }

    /// Passes a request on; the answer is the agent's, whatever it says.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn pass(&self, passed: Passed<'_>) -> Result<Answer, PassError> {
        let mut request = Request::new(RequestBody::from(passed.body));
        *request.method_mut() = passed.method;
        *request.uri_mut() = uri(&self.url, passed.below, passed.query).ok_or(PassError::Path)?;
        *request.headers_mut() = passed.headers;
        let headers = request.headers_mut();
        if let Ok(caller) = HeaderValue::from_str(&pseudonym(&self.id, passed.caller)) {
            headers.insert(CALLER, caller);
        }
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let limits = Timeouts {
            // A blocking answer begins when the work is done.
            first_byte: Some(self.limits.turn),
            idle: Some(self.limits.idle.max(Duration::from_secs(60))),
            total: None,
        };
        Ok(self.egress.send(self.destination, request, limits).await?)
    }
}

/// Where a request goes. Segments that lead upwards would leave the agent's own path.
fn uri(base: &Url, below: &str, query: &str) -> Option<Uri> {
    let leads_up = |segment: &str| {
        matches!(
            segment.to_ascii_lowercase().replace("%2e", ".").as_str(),
            "." | ".."
        )
    };
    if below.split('/').any(leads_up) {
        return None;
    }
    let mut path = base.path().to_owned();
    if !below.is_empty() {
        path.truncate(path.trim_end_matches('/').len());
        path.push('/');
        path.push_str(below);
    }
    let queries = [base.query().unwrap_or_default(), query];
    let queries: Vec<&str> = queries
        .into_iter()
        .filter(|query| !query.is_empty())
        .collect();
    let target = match queries.as_slice() {
        [] => path,
        some => format!("{path}?{}", some.join("&")),
    };
    let mut parts = base.as_str().parse::<Uri>().ok()?.into_parts();
    parts.path_and_query = Some(target.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// The same caller has another name at each agent, so that agents cannot compare.
fn pseudonym(agent: &str, caller: &str) -> String {
    let digest = Sha256::new()
        .chain_update(b"archipel-caller\0")
        .chain_update(agent)
        .chain_update(b"\0")
        .chain_update(caller)
        .finalize();
    hex::encode(digest).chars().take(32).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn check(base: &str, below: &str, query: &str, expected: Option<&str>) {
        let found = uri(&base.parse().unwrap(), below, query);
        let found = found.map(|uri| uri.to_string());
        assert_eq!(found.as_deref(), expected, "{base} {below} {query}");
    }

    #[test]
    fn requests_go_below_the_url_of_the_agent() {
        check("http://a:1", "", "", Some("http://a:1/"));
        check("http://a:1/rpc", "", "", Some("http://a:1/rpc"));
        check("http://a:1/rpc/", "", "x=1", Some("http://a:1/rpc/?x=1"));
        let sent = Some("http://a:1/v1/message:send");
        check("http://a:1/v1", "message:send", "", sent);
        check("http://a:1/v1/", "message:send", "", sent);
        let both = Some("http://a:1/v1/tasks?k=v&pageSize=2");
        check("http://a:1/v1?k=v", "tasks", "pageSize=2", both);
        let encoded = Some("http://a:1/v1/tasks/a%2Fb:cancel");
        check("http://a:1/v1", "tasks/a%2Fb:cancel", "", encoded);
    }

    #[test]
    fn no_path_leads_upwards() {
        for below in ["..", "a/../b", "%2e%2E/x", "a/.%2e", "./a"] {
            check("http://a:1/v1", below, "", None);
        }
        check(
            "http://a:1/v1",
            "a..b/...",
            "",
            Some("http://a:1/v1/a..b/..."),
        );
    }

    #[test]
    fn a_caller_has_one_name_at_each_agent() {
        assert_eq!(pseudonym("a", "alice"), pseudonym("a", "alice"));
        assert_ne!(pseudonym("a", "alice"), pseudonym("b", "alice"));
        assert_ne!(pseudonym("a", "alice"), pseudonym("a", "bob"));
        assert_eq!(pseudonym("a", "alice").len(), 32);
    }
}
