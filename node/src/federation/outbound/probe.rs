//! Whether a peer is there: its card is read, without a token, because everybody may read it.

use std::time::Duration;

use archipel_kit::client::{ClientError, RequestBody, Timeouts};
use http::Request;
use http::header::{ACCEPT, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;

use crate::federation::outbound::{Outbound, target};
use crate::federation::peers::Peer;

/// How long a peer may take to show its card.
const PATIENCE: Duration = Duration::from_secs(8);

/// The card of a node's default agent.
const CARD: &str = "/.well-known/agent-card.json";

/// How a peer was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What it answered, if it did.
    pub status: Option<u16>,
    pub latency_ms: u64,
    /// Why it did not, as one word.
    pub error: Option<&'static str>,
}

impl Probe {
    /// Whether it is there and shows its card.
    pub fn is_ok(&self) -> bool {
        matches!(self.status, Some(200..=299))
    }
}

impl Outbound {
    /// Looks whether a peer is there. Redirects are not followed.
    pub async fn probe(&self, peer: &Peer) -> Probe {
        let begun = self.clock.monotonic();
        let answer = self.read_card(peer).await;
        let took = self.clock.monotonic().saturating_sub(begun);
        let (status, error) = match answer {
            Ok(status) => (Some(status), None),
            Err(error) => (None, Some(word(&error))),
        };
        Probe {
            status,
            latency_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            error,
        }
    }

    /// The time, for what is told of probes.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    async fn read_card(&self, peer: &Peer) -> Result<u16, ClientError> {
        let mut request = Request::new(RequestBody::empty());
        let uri = target(&peer.origin, PathAndQuery::from_static(CARD));
        *request.uri_mut() = uri.map_err(|error| ClientError::Other(error.to_string()))?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, self.user_agent.clone());
        let limits = Timeouts {
            total: Some(PATIENCE),
            ..Timeouts::default()
        };
        let answer = self
            .egress
            .send_with((peer.destination(), peer.tls_files()), request, limits)
            .await?;
        Ok(answer.status.as_u16())
    }
}

fn word(error: &ClientError) -> &'static str {
    match error {
        error if error.is_timeout() => "timeout",
        ClientError::Refused(_) => "refused",
        ClientError::Connect(_) => "connect_error",
        _ => "fetch_error",
    }
}
