//! What kind of node a peer is: as the operator said, else as its mesh descriptor says.

use std::time::Duration;

use archipel_kit::client::{RequestBody, Timeouts};
use archipel_protocol::names::Dialect;
use archipel_protocol::object::Fields;
use http::header::{ACCEPT, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Request, StatusCode};

use crate::federation::outbound::{Outbound, OutboundError, in_force, target};
use crate::federation::peers::Peer;
use crate::federation::settings::PeerKind;

/// Names, in our own mesh descriptor, what other nodes of the mesh do not have.
pub const OURS: &str = "archipel";

/// How long a peer's word about itself counts, and how long it is not asked again after it gave none.
const COUNTS_FOR: Duration = Duration::from_secs(300);
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// How long a descriptor may take, and how large it may be.
const PATIENCE: Duration = Duration::from_secs(2);
const MAX_BYTES: usize = 64 * 1024;

/// What is at the other end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// A node like this one: agents have paths of their own.
    Archipel,
    /// A Hive or Pilox node: one agent, which speaks A2A 0.3 over JSON-RPC.
    Hive,
}

impl Outbound {
    /// What kind of node a peer is. One that does not say is taken for one like this.
    ///
    /// # Errors
    /// When there is no such peer in force.
    pub async fn kind(&self, name: &str) -> Result<NodeKind, OutboundError> {
        let roster = self.federation.roster();
        let peer = in_force(&roster, name)?;
        match peer.kind {
            PeerKind::Archipel => return Ok(NodeKind::Archipel),
            PeerKind::Hive => return Ok(NodeKind::Hive),
            PeerKind::Auto => {}
        }
        let line = self.lines.to(peer, &roster);
        let now = self.clock.monotonic();
        if let Some(kind) = line.kind(now) {
            return Ok(kind);
        }
        let told = self.ask_kind(peer).await;
        let counts = if told.is_some() {
            COUNTS_FOR
        } else {
            ASK_AGAIN
        };
        let kind = told.unwrap_or(NodeKind::Archipel);
        line.learn(kind, now + counts);
        Ok(kind)
    }

    /// What a peer says of itself, if it says anything.
    async fn ask_kind(&self, peer: &Peer) -> Option<NodeKind> {
        let own = self.federation.dialect();
        for dialect in [own, own.other()] {
            let path = PathAndQuery::from_static(dialect.mesh_descriptor_path());
            let mut request = Request::new(RequestBody::empty());
            *request.uri_mut() = target(&peer.origin, path).ok()?;
            let headers = request.headers_mut();
            headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
            headers.insert(USER_AGENT, self.user_agent.clone());
            let limits = Timeouts {
                total: Some(PATIENCE),
                ..Timeouts::default()
            };
            let answer =
                self.egress
                    .send_with((peer.destination(), peer.tls_files()), request, limits);
            // What cannot be reached has no other path either.
            let answer = answer.await.ok()?;
            if answer.status == StatusCode::OK {
                let body = answer.read_all(MAX_BYTES).await.ok()?;
                return kind_of(std::str::from_utf8(&body).ok()?);
            }
        }
        None
    }
}

/// What a mesh descriptor says.
fn kind_of(descriptor: &str) -> Option<NodeKind> {
    let mut descriptor = Fields::read(descriptor).ok()?;
    if descriptor.take(OURS).is_some() {
        return Some(NodeKind::Archipel);
    }
    let schema = descriptor.text("schema").ok()??;
    let is_known = Dialect::ALL
        .iter()
        .any(|dialect| dialect.mesh_descriptor_schema() == schema);
    is_known.then_some(NodeKind::Hive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_says_what_kind_of_node_it_is_of() {
        let check = |descriptor: &str, expected| {
            assert_eq!(kind_of(descriptor), expected, "{descriptor}");
        };
        for dialect in Dialect::ALL {
            let schema = dialect.mesh_descriptor_schema();
            let hive = format!(r#"{{"schema":"{schema}"}}"#);
            check(&hive, Some(NodeKind::Hive));
            let ours = format!(r#"{{"schema":"{schema}","archipel":{{}}}}"#);
            check(&ours, Some(NodeKind::Archipel));
        }
        for other in ["", "[]", "{}", r#"{"schema":"another"}"#, r#"{"schema":1}"#] {
            check(other, None);
        }
    }
}
