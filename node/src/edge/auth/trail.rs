//! What is written down of a call from a peer, once it is answered (contract/federation.md 10).

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};

use super::{Caller, Came, Source, record};
use crate::audit::{AuditAction, AuditOutcome, AuditText, CallFacts};
use crate::edge::Edge;
use crate::error::Failure;
use crate::federation::Proof;
use crate::federation::settings::Algorithm;

/// What is noted of a call on its way.
#[derive(Debug, Default)]
pub(in crate::edge) struct Trail {
    agent: Option<AuditText>,
    method: Option<AuditText>,
}

impl Trail {
    /// Notes the agent. Of the operator nothing is noted, so nothing is paid for it.
    pub(in crate::edge) fn at(&mut self, caller: &Caller, agent: &str) {
        if let Source::Peer(..) = caller.source {
            self.agent = Some(agent.into());
        }
    }

    /// Notes what is asked for.
    pub(in crate::edge) fn asks_for(&mut self, caller: &Caller, method: &str) {
        if let Source::Peer(..) = caller.source {
            self.method = Some(method.into());
        }
    }
}

/// By which of the paths of the contract a call came in.
pub(in crate::edge) fn entrypoint(path: &str) -> &'static str {
    let path = path.trim_end_matches('/');
    if path.ends_with("/jsonrpc/public") {
        "public_alias"
    } else if path.ends_with("/federated/jsonrpc") || path.contains("/federated/rest") {
        "federated_alias"
    } else if path.starts_with("/agents/") {
        "agent"
    } else {
        "main"
    }
}

/// The status of an answer.
pub(in crate::edge) fn status(answer: &Result<HttpResponse, Failure>) -> StatusCode {
    match answer {
        Ok(response) => response.status(),
        Err(failure) => failure.status_code(),
    }
}

/// Records a call of a peer.
pub(in crate::edge) fn record_call(
    came: &dyn Came,
    edge: &Edge,
    caller: &Caller,
    trail: Trail,
    status: StatusCode,
) {
    let Source::Peer(peer, proof) = &caller.source else {
        return;
    };
    let (action, outcome) = (AuditAction::FederationCall, AuditOutcome::Accepted);
    record(came, edge, action, outcome, |record| {
        record.caller = Some(caller.principal.as_ref().into());
        record.peer = Some(peer.issuer.as_str().into());
        record.agent = trail.agent;
        record.method = Some(trail.method.unwrap_or_else(|| "(unknown)".into()));
        record.call = Some(CallFacts {
            auth: match proof {
                Proof::Token => "jwt",
                Proof::LegacySecret => "legacy_secret",
            },
            algorithm: match (proof, edge.federation.algorithm()) {
                (Proof::LegacySecret, _) => None,
                (Proof::Token, Algorithm::Ed25519) => Some("Ed25519"),
                (Proof::Token, _) => Some("HS256"),
            },
            entrypoint: came.entrypoint(),
            status: status.as_u16(),
        });
    });
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
mod tests {
    use serde_json::Value;

    use super::entrypoint;

    #[test]
    fn every_path_has_its_entrypoint() {
        let document = include_str!("../../../tests/vectors/functions.json");
        let document: Value = serde_json::from_str(document).unwrap();
        let mut run = 0;
        for case in document["cases"].as_array().unwrap() {
            if case["input"]["fn"] == "entrypoint" {
                let path = case["input"]["path"].as_str().unwrap();
                assert_eq!(entrypoint(path), case["expected"]["entrypoint"], "{path}");
                run += 1;
            }
        }
        assert_eq!(run, 4);
        for (path, expected) in [
            ("/agents/echo", "agent"),
            ("/agents/public/tasks", "agent"),
            ("/api/a2a/jsonrpc/public/", "public_alias"),
            ("/api/a2a/rest/tasks", "main"),
            ("/api/a2a/federated/rest/tasks", "federated_alias"),
        ] {
            assert_eq!(entrypoint(path), expected, "{path}");
        }
    }
}
