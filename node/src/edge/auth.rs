//! Who calls: the gateway's secret, federation tokens, the operator's bearer token. Nobody else.
//!
//! A credential that is there and wrong is refused; it never falls back to another way in. The order of the federation
//! checks and their statuses are the contract's (contract/federation.md 2 and 5). Every refusal leaves an audit record.

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::jsonrpc::Id;
use archipel_protocol::names::Dialect;

use crate::audit::{AuditAction, AuditOutcome, AuditRecord, Record};
use crate::config::Visibility;
use crate::edge::Edge;
use crate::error::{Failure, Gate};
use crate::federation::acting::Behind;
use crate::federation::peers::Cut;
use crate::federation::{FederationRefusal, PeerIdentity, RefusalKind, VerifyPeer};

/// Somebody who was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose tasks they see.
    pub principal: Arc<str>,
    /// Which way they came.
    pub source: Source,
}

/// Which way a caller came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// With the operator's token.
    Operator,
    /// Through federation.
    Peer(PeerIdentity),
}

impl Caller {
    /// What ends the streams of this caller before they are over.
    pub(super) fn cut(&self) -> Option<&Cut> {
        match &self.source {
            Source::Operator => None,
            Source::Peer(identity) => identity.peer.as_ref().map(|peer| &peer.cut),
        }
    }

    /// Whether the caller may know of an agent.
    pub fn may_see(&self, visibility: Visibility) -> bool {
        match self.source {
            Source::Operator => true,
            Source::Peer(_) => visibility != Visibility::Private,
        }
    }

    /// They, as a peer is told of them.
    pub(super) fn behind(&self) -> Behind<'_> {
        Behind {
            principal: &self.principal,
            came_from: match &self.source {
                Source::Operator => None,
                Source::Peer(identity) => Some(identity),
            },
        }
    }
}

/// Whether calls are served at all.
pub(super) fn check_open(edge: &Edge) -> Result<(), Failure> {
    if edge.gates.open {
        Ok(())
    } else {
        Err(Failure::gate(
            Gate::Unavailable,
            "A2A is disabled on this node",
        ))
    }
}

/// The gateway's secret: required when it is enforced, right whenever it is there.
pub(super) fn check_gateway(request: &HttpRequest, edge: &Edge) -> Result<(), Failure> {
    let Some(secret) = &edge.gates.gateway_secret else {
        return Ok(());
    };
    let dialect = edge.gates.dialect;
    let presented = header(request, dialect.gateway_auth_header())
        .or(header(request, dialect.other().gateway_auth_header()));
    let (allowed, reason) = match presented {
        None => (!edge.gates.gateway_enforced, "gateway_secret_missing"),
        Some(presented) => (
            secret.matches(without_bearer(presented).as_bytes()),
            "gateway_secret_wrong",
        ),
    };
    if allowed {
        return Ok(());
    }
    audit_refusal(request, edge, AuditAction::AuthRefused, reason);
    Err(Failure::gate(
        Gate::Forbidden,
        "calls must come through the gateway",
    ))
}

/// Who calls.
pub(super) async fn identify(request: &HttpRequest, edge: &Edge) -> Result<Caller, Failure> {
    let dialect = edge.gates.dialect;
    let token = either(request, dialect, Dialect::federation_jwt_header);
    let secret = either(request, dialect, Dialect::federation_secret_header);
    match (token, secret) {
        (Some(_), Some(_)) => {
            audit_refusal(
                request,
                edge,
                AuditAction::FederationRefused,
                "both_headers",
            );
            Err(Failure::gate(
                Gate::BadRequest,
                "send a federation token or a federation secret, not both",
            ))
        }
        (Some(token), None) => identify_peer(request, edge, token).await,
        (None, Some(_)) => {
            audit_refusal(
                request,
                edge,
                AuditAction::FederationRefused,
                "legacy_secret",
            );
            if !edge.gates.federation {
                return Err(federation_failure(RefusalKind::Failed));
            }
            Err(Failure::gate(
                Gate::Forbidden,
                "this node takes federation tokens, not the shared secret",
            ))
        }
        (None, None) => identify_operator(request, edge),
    }
}

/// Whether the request says who calls, rightly or wrongly: where strangers are welcome, only the others are identified.
pub(super) fn presents_credential(request: &HttpRequest) -> bool {
    let federation = Dialect::ALL.into_iter().flat_map(|dialect| {
        [
            dialect.federation_jwt_header(),
            dialect.federation_secret_header(),
        ]
    });
    federation
        .chain([AUTHORIZATION.as_str()])
        .any(|name| header(request, name).is_some())
}

/// Refuses whoever is not the operator.
pub(super) fn require_operator(
    request: &HttpRequest,
    edge: &Edge,
    caller: &Caller,
) -> Result<(), Failure> {
    match caller.source {
        Source::Operator => Ok(()),
        Source::Peer(_) => {
            refuse_caller(request, edge, caller, "operator_only");
            Err(Failure::gate(
                Gate::Forbidden,
                "peers may call agents of this node only",
            ))
        }
    }
}

/// Records that somebody who is known has no right to what they asked for.
pub(super) fn refuse_caller(
    request: &HttpRequest,
    edge: &Edge,
    caller: &Caller,
    reason: &'static str,
) {
    let action = AuditAction::AuthRefused;
    record(request, edge, action, AuditOutcome::Refused, |record| {
        record.reason = Some(reason);
        record.caller = Some(caller.principal.as_ref().into());
    });
}

async fn identify_peer(request: &HttpRequest, edge: &Edge, token: &str) -> Result<Caller, Failure> {
    let verify = VerifyPeer {
        token: token.to_owned(),
        request_id: request_id(request).map(str::to_owned),
        span: tracing::Span::current(),
    };
    let verified = edge
        .verifier
        .send(verify)
        .await
        .unwrap_or(Err(FederationRefusal::Undecided));
    match verified {
        Ok(peer) => {
            record(
                request,
                edge,
                AuditAction::FederationAccepted,
                AuditOutcome::Accepted,
                |record| {
                    record.caller = Some(peer.principal.as_ref().into());
                    record.peer = Some(peer.issuer.as_str().into());
                },
            );
            Ok(Caller {
                principal: Arc::clone(&peer.principal),
                source: Source::Peer(peer),
            })
        }
        Err(refusal) => {
            audit_refusal(
                request,
                edge,
                AuditAction::FederationRefused,
                refusal.reason(),
            );
            Err(federation_failure(refusal.kind()))
        }
    }
}

fn federation_failure(kind: RefusalKind) -> Failure {
    let (gate, message) = match kind {
        RefusalKind::Loop => {
            let message = "the call has come through this node already";
            let error = RpcError::new(ErrorCode::LoopDetected, message);
            return Failure::rpc_with_status(Id::Null, error);
        }
        RefusalKind::Failed => (Gate::Unauthorized, "federation authentication failed"),
        RefusalKind::NotValidNow => (
            Gate::Unauthorized,
            "the federation token is not valid at this time",
        ),
        RefusalKind::Invalid => (Gate::Unauthorized, "the federation token is not valid"),
        RefusalKind::AlreadyUsed => (Gate::Unauthorized, "the federation token was already used"),
        RefusalKind::TryLater => (
            Gate::Unavailable,
            "the federation token cannot be checked now; retry later",
        ),
    };
    Failure::gate(gate, message)
}

/// The operator's own calls are not recorded one by one: they decide nothing about anybody else.
fn identify_operator(request: &HttpRequest, edge: &Edge) -> Result<Caller, Failure> {
    let presented = header(request, AUTHORIZATION.as_str()).and_then(bearer);
    let Some(presented) = presented else {
        audit_refusal(request, edge, AuditAction::AuthRefused, "no_credential");
        return Err(Failure::gate(
            Gate::Unauthorized,
            "authentication is required",
        ));
    };
    let known = edge
        .gates
        .internal_token
        .as_ref()
        .is_some_and(|token| token.matches(presented.as_bytes()));
    if !known {
        audit_refusal(request, edge, AuditAction::AuthRefused, "wrong_token");
        return Err(Failure::gate(Gate::Unauthorized, "invalid token"));
    }
    let principal = Arc::from(edge.gates.dialect.caller_internal());
    Ok(Caller {
        principal,
        source: Source::Operator,
    })
}

/// The header in our own spelling if it is there, else in the other (contract/names.md, advice 4).
fn either(
    request: &HttpRequest,
    dialect: Dialect,
    name: fn(Dialect) -> &'static str,
) -> Option<&str> {
    header(request, name(dialect)).or_else(|| header(request, name(dialect.other())))
}

/// A header's value without the space around it; blank counts as absent.
pub(super) fn header<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    let value = request.headers().get(name)?.to_str().ok()?.trim();
    (!value.is_empty()).then_some(value)
}

/// What names a request across hops, in the contract's order (contract/bus.md 3).
pub(super) fn request_id(request: &HttpRequest) -> Option<&str> {
    ["x-request-id", "x-correlation-id", "traceparent"]
        .into_iter()
        .find_map(|name| header(request, name))
        .filter(|id| id.len() <= 256)
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
}

/// The gateway may or may not say `Bearer` (contract/federation.md 5).
fn without_bearer(value: &str) -> &str {
    bearer(value).unwrap_or(value)
}

fn audit_refusal(request: &HttpRequest, edge: &Edge, action: AuditAction, reason: &'static str) {
    record(request, edge, action, AuditOutcome::Refused, |record| {
        record.reason = Some(reason)
    });
}

/// Records a decision about a request.
pub(super) fn record(
    request: &HttpRequest,
    edge: &Edge,
    action: AuditAction,
    outcome: AuditOutcome,
    fill: impl FnOnce(&mut AuditRecord),
) {
    let mut record = AuditRecord::new(action, outcome);
    record.client = client(request, edge);
    record.request_id = request_id(request).map(Into::into);
    fill(&mut record);
    // A full queue is counted, and recorded, by the audit itself as far as it can see it.
    if edge.audit.try_send(Record(record)).is_err() {
        tracing::warn!("an audit record was dropped: the audit is behind");
    }
}

/// The caller's address, believing only proxies that the operator named.
pub(super) fn client(request: &HttpRequest, edge: &Edge) -> Option<std::net::IpAddr> {
    let peer = request.peer_addr()?.ip();
    let rules = &edge.gates.client_rules;
    let lines: Vec<&str> = request
        .headers()
        .get_all(rules.header.word())
        .filter_map(|value| value.to_str().ok())
        .collect();
    Some(rules.client(peer, lines.into_iter()))
}
