//! Callers that come through federation: what proves them, from where, how often (contract/federation.md 2, 3 and 6).

use std::sync::Arc;

use actix_web::HttpRequest;
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::jsonrpc::Id;

use super::{
    Caller, Came, Counting, Source, audit_refusal, count_failure, pin, record, refuse_caller,
    request_id,
};
use crate::audit::{AuditAction, AuditOutcome};
use crate::edge::Edge;
use crate::error::{Failure, Gate, Tier};
use crate::federation::{
    FederationRefusal, Proof, RefusalKind, Toll, Verified, VerifyPeer, of_caller,
};
use crate::limiter::{Call, Passed, buckets};

/// Who came through federation, in the order of the contract.
pub(super) async fn recognise(
    request: &HttpRequest,
    edge: &Edge,
    (proof, presented): (Proof, &str),
    counting: Counting,
) -> Result<(Caller, Option<Passed>), Failure> {
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
        Proof::Token => verify(request, edge, presented, counting).await,
        Proof::LegacySecret => edge.federation.check_secret(presented).map(|identity| {
            let passed = None;
            Verified { identity, passed }
        }),
    };
    let Verified {
        identity: peer,
        passed,
    } = peer.map_err(refuse)?;
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
    let caller = Caller {
        principal: Arc::clone(&peer.principal),
        source: Source::Peer(Box::new(peer), proof),
    };
    Ok((caller, passed))
}

async fn verify(
    request: &HttpRequest,
    edge: &Edge,
    token: &str,
    counting: Counting,
) -> Result<Verified, FederationRefusal> {
    let verify = VerifyPeer {
        token: token.to_owned(),
        request_id: request_id(request).map(str::to_owned),
        toll: match counting {
            Counting::AtOnce => Some(toll(request, edge)),
            Counting::Later => None,
        },
        span: tracing::Span::current(),
    };
    let verified = edge.verifier.send(verify).await;
    verified.unwrap_or(Err(FederationRefusal::Undecided))
}

/// Holds a peer that calls more often than it may: as its own limit says, else as its address may. Behind the proof, so
/// that nobody can use up the calls of somebody else. `passed`: what came of it, if it was counted with the proof.
pub(in crate::edge) async fn check_rate(
    came: &dyn Came,
    edge: &Edge,
    caller: &Caller,
    passed: Option<Passed>,
) -> Result<(), Failure> {
    let passed = match passed {
        Some(passed) => passed,
        None => pass(came, edge, caller).await,
    };
    passed.map_err(|held| {
        refuse_caller(came, edge, caller, held.why.reason());
        Failure::limited(held, Tier::Known)
    })
}

async fn pass(came: &dyn Came, edge: &Edge, caller: &Caller) -> Passed {
    let limits = match &caller.source {
        Source::Peer(identity, _) => toll(came, edge).limits(identity),
        Source::Operator | Source::Public(_) => {
            let limit = edge.gates.call_limit;
            let limits = limit.map(|limit| of_caller(&caller.principal, limit));
            limits.into_iter().collect()
        }
    };
    if limits.is_empty() {
        return Ok(());
    }
    edge.turnstile.pass(Call::of(&buckets(&limits))).await
}

fn toll(came: &dyn Came, edge: &Edge) -> Toll {
    Toll {
        address: came.client(edge),
        by_address: edge.gates.federation_limit,
        by_caller: edge.gates.call_limit,
    }
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
