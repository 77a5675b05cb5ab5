//! Callers that come through federation: what proves them, from where, how often (contract/federation.md 2, 3 and 6).

use std::sync::Arc;

use actix_web::HttpRequest;
use archipel_kit::admission::{Rule, limiter_key};
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::jsonrpc::Id;

use super::{
    Caller, Came, Source, audit_refusal, count_failure, pin, record, refuse_caller, request_id,
};
use crate::audit::{AuditAction, AuditOutcome};
use crate::edge::Edge;
use crate::error::{Failure, Gate, Tier};
use crate::federation::peers::PeerLimit;
use crate::federation::{FederationRefusal, PeerIdentity, Proof, RefusalKind, VerifyPeer};
use crate::limiter::{Bucket, Call, Limit};

/// Who came through federation, in the order of the contract.
pub(super) async fn recognise(
    request: &HttpRequest,
    edge: &Edge,
    proof: Proof,
    presented: &str,
) -> Result<Caller, Failure> {
    let refuse = |refusal: FederationRefusal| refused(request, edge, refusal);
    // What this node cannot check is refused before anything is asked of anybody.
    edge.federation.check_way(proof).map_err(refuse)?;
    // From where. Before the credential: a list is read faster than a signature is verified.
    let allowlist = &edge.gates.allowlist;
    if !allowlist.is_open() && !allowlist.permits(edge.gates.client.of(request)) {
        let action = AuditAction::FederationRefused;
        audit_refusal(request, edge, action, "address");
        return Err(Failure::gate(
            Gate::Forbidden,
            "peers may not call from this address",
        ));
    }
    // With what.
    let peer = match proof {
        Proof::Token => verify(request, edge, presented).await,
        Proof::LegacySecret => edge.federation.check_secret(presented),
    };
    let peer = peer.map_err(refuse)?;
    // Over what. Behind the proof, because the pin is the peer's.
    let pin = peer.peer.as_ref().and_then(|peer| peer.tls.pin.as_ref());
    if pin.is_some_and(|pin| !pin::is_shown(pin, request, edge)) {
        let (action, outcome) = (AuditAction::FederationRefused, AuditOutcome::Refused);
        record(request, edge, action, outcome, |record| {
            record.reason = Some("pin");
            record.caller = Some(peer.principal.as_ref().into());
            record.peer = Some(peer.issuer.as_str().into());
        });
        return Err(Failure::gate(
            Gate::Forbidden,
            "the peer must come with the certificate that it is pinned to",
        ));
    }
    Ok(Caller {
        principal: Arc::clone(&peer.principal),
        source: Source::Peer(Box::new(peer), proof),
    })
}

async fn verify(
    request: &HttpRequest,
    edge: &Edge,
    token: &str,
) -> Result<PeerIdentity, FederationRefusal> {
    let verify = VerifyPeer {
        token: token.to_owned(),
        request_id: request_id(request).map(str::to_owned),
        span: tracing::Span::current(),
    };
    let verified = edge.verifier.send(verify).await;
    verified.unwrap_or(Err(FederationRefusal::Undecided))
}

/// Holds a peer that calls more often than it may: as its own limit says, else as its address may. Behind the proof, so
/// that nobody can use up the calls of somebody else.
pub(in crate::edge) async fn check_rate(
    came: &dyn Came,
    edge: &Edge,
    caller: &Caller,
) -> Result<(), Failure> {
    let gates = &edge.gates;
    let mut named = Vec::new();
    if let Source::Peer(identity, _) = &caller.source {
        let own = identity.peer.as_ref().and_then(|peer| peer.limit);
        named.push(match own {
            Some(limit) => (format!("federation:peer:{}", identity.name), steady(limit)),
            None => (key_of_address(came, edge), gates.federation_limit),
        });
    }
    if let Some(limit) = gates.call_limit {
        named.push((format!("a2a:caller:{}", caller.principal), limit));
    }
    if named.is_empty() {
        return Ok(());
    }
    let buckets: Vec<Bucket<'_>> = named
        .iter()
        .map(|(key, limit)| Bucket { key, limit: *limit })
        .collect();
    let call = Call {
        buckets: &buckets,
        reputation: None,
    };
    edge.turnstile.pass(call).await.map_err(|held| {
        refuse_caller(came, edge, caller, held.why.reason());
        Failure::limited(held, Tier::Known)
    })
}

fn key_of_address(came: &dyn Came, edge: &Edge) -> String {
    match came.client(edge).map(limiter_key) {
        Some(address) => format!("federation:in:{address}"),
        None => "federation:in:unknown".to_owned(),
    }
}

fn steady(limit: PeerLimit) -> Limit {
    let per_us = u64::try_from(limit.per.as_micros()).unwrap_or(u64::MAX);
    let emission_us = (per_us / u64::from(limit.calls.max(1))).max(1);
    Limit::Steady(Rule {
        emission_us,
        burst_us: emission_us.saturating_mul(u64::from(limit.burst.max(1))),
    })
}

/// Records that somebody came through federation who does not call an agent; of calls, `trail` tells more.
pub(super) fn record_acceptance(request: &HttpRequest, edge: &Edge, caller: &Caller) {
    let Source::Peer(peer, _) = &caller.source else {
        return;
    };
    let (action, outcome) = (AuditAction::FederationAccepted, AuditOutcome::Accepted);
    record(request, edge, action, outcome, |record| {
        record.caller = Some(caller.principal.as_ref().into());
        record.peer = Some(peer.issuer.as_str().into());
    });
}

fn refused(request: &HttpRequest, edge: &Edge, refusal: FederationRefusal) -> Failure {
    if refusal.speaks_against_caller() {
        count_failure(request, edge);
    }
    let action = AuditAction::FederationRefused;
    audit_refusal(request, edge, action, refusal.reason());
    let (gate, message) = match refusal.kind() {
        RefusalKind::Loop => {
            let error = RpcError::new(
                ErrorCode::LoopDetected,
                "the call has come through this node already",
            );
            return Failure::rpc_with_status(Id::Null, error);
        }
        RefusalKind::Failed => (Gate::Unauthorized, "federation authentication failed"),
        RefusalKind::NotValidNow => (
            Gate::Unauthorized,
            "the federation token is not valid at this time",
        ),
        RefusalKind::MintAgain => (
            Gate::MintAgain,
            "the federation token is older than the memory of used ones: mint another",
        ),
        RefusalKind::Invalid => (Gate::Unauthorized, "the federation token is not valid"),
        RefusalKind::AlreadyUsed => (Gate::Unauthorized, "the federation token was already used"),
        RefusalKind::TryLater => (
            Gate::Unavailable,
            "the federation token cannot be checked now; retry later",
        ),
        RefusalKind::NotThisWay => (
            Gate::Forbidden,
            "this node takes federation tokens, not the shared secret",
        ),
        RefusalKind::WrongSecret => (Gate::Unauthorized, "invalid federation credentials"),
    };
    Failure::gate(gate, message)
}
