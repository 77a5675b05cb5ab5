//! Who calls: the gateway's secret, what proves a peer (`peer`), the operator's bearer token. Nobody else is known; what
//! becomes of strangers is `public`'s to say.
//!
//! A credential that is there and wrong is refused; it never falls back to another way in. The order of the federation
//! checks and their statuses are the contract's (contract/federation.md 2 and 5). Every refusal leaves an audit record.
//! `allowlist`, `rights` (what those who are known may do) and `trail` (what is written down of calls from peers) stand beside;
//! they are the same for calls that come in envelopes (`came`).

use std::net::IpAddr;
use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, AsHeaderName, HeaderName};
use archipel_protocol::names::Dialect;

use crate::audit::{AuditAction, AuditOutcome, AuditRecord};
use crate::edge::Edge;
use crate::error::{Failure, Gate, Tier};
use crate::federation::acting::Behind;
use crate::federation::peers::Cut;
use crate::federation::{PeerIdentity, Proof};
use crate::limiter::Passed;

pub(super) mod allowlist;
mod came;
mod peer;
mod pin;
mod rights;
pub(super) mod trail;

pub use allowlist::Allowlist;
pub(super) use came::{ByEnvelope, Came};
pub(super) use peer::check_rate;
pub(super) use rights::{check_asked, check_operation, require_role};

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
    /// Through federation, and with what proof.
    Peer(Box<PeerIdentity>, Proof),
    /// As one of the public, with a name for their reputation if they have one.
    Public(Option<Arc<str>>),
}

impl Caller {
    /// What ends the streams of this caller before they are over.
    pub(super) fn cut(&self) -> Option<&Cut> {
        match &self.source {
            Source::Operator | Source::Public(_) => None,
            Source::Peer(identity, _) => identity.peer.as_ref().map(|peer| &peer.cut),
        }
    }

    /// They, as a peer is told of them.
    pub(super) fn behind(&self) -> Behind<'_> {
        Behind {
            principal: &self.principal,
            came_from: match &self.source {
                Source::Operator | Source::Public(_) => None,
                Source::Peer(identity, _) => Some(identity),
            },
        }
    }
}

/// Whether a peer's call is counted together with its proof, which is one trip to the store, or later, if it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counting {
    AtOnce,
    Later,
}

/// Who stands before the gates.
pub(super) enum Arrival {
    /// With what came of counting the call, if it was counted.
    Known(Caller, Option<Passed>),
    Unknown(Stranger),
}

/// Somebody without a credential, or with a bearer token that is none of ours.
pub(super) struct Stranger {
    has_token: bool,
}

impl Stranger {
    /// Sends them away.
    pub(super) fn refuse(&self, request: &HttpRequest, edge: &Edge) -> Failure {
        if self.has_token {
            return self.refuse_token(request, edge);
        }
        audit_refusal(request, edge, AuditAction::AuthRefused, "no_credential");
        Failure::gate(Gate::Stranger, "authentication is required")
    }

    fn refuse_token(&self, request: &HttpRequest, edge: &Edge) -> Failure {
        count_failure(request, edge);
        audit_refusal(request, edge, AuditAction::AuthRefused, "wrong_token");
        Failure::gate(Gate::InvalidToken, "invalid token")
    }

    /// Whether they presented a bearer token.
    pub(super) fn has_token(&self) -> bool {
        self.has_token
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
    if presented.is_some() {
        count_failure(request, edge);
    }
    Err(Failure::gate(
        Gate::Forbidden,
        "calls must come through the gateway",
    ))
}

/// Who calls, as far as we know them.
pub(super) async fn recognise(
    request: &HttpRequest,
    edge: &Edge,
    counting: Counting,
) -> Result<Arrival, Failure> {
    // Whoever keeps failing waits, whatever they present: finding out whether it is right this time is what costs.
    if !edge.failures.is_quiet() && presents_credential(request) {
        check_failures(request, edge)?;
    }
    let dialect = edge.gates.dialect;
    let token = either(request, dialect, Dialect::federation_jwt_header);
    let secret = either(request, dialect, Dialect::federation_secret_header);
    let (proof, presented) = match (token, secret) {
        (Some(_), Some(_)) => {
            let action = AuditAction::FederationRefused;
            audit_refusal(request, edge, action, "both_headers");
            return Err(Failure::gate(
                Gate::BadRequest,
                "send a federation token or a federation secret, not both",
            ));
        }
        (Some(token), None) => (Proof::Token, token),
        (None, Some(secret)) => (Proof::LegacySecret, secret),
        (None, None) => {
            check_single(request, edge, [AUTHORIZATION])?;
            return Ok(recognise_operator(request, edge));
        }
    };
    check_single(
        request,
        edge,
        federation_headers().map(HeaderName::from_static),
    )?;
    let known = peer::recognise(request, edge, (proof, presented), counting).await?;
    let (caller, passed) = known;
    Ok(Arrival::Known(caller, passed))
}

/// Who calls, where nobody else is let in.
pub(super) async fn identify(request: &HttpRequest, edge: &Edge) -> Result<Caller, Failure> {
    match recognise(request, edge, Counting::Later).await? {
        Arrival::Known(caller, _) => {
            peer::record_acceptance(request, edge, &caller);
            Ok(caller)
        }
        Arrival::Unknown(stranger) => Err(stranger.refuse(request, edge)),
    }
}

/// Whether the request says who calls, rightly or wrongly: where strangers are welcome, only the others are identified.
pub(super) fn presents_credential(request: &HttpRequest) -> bool {
    federation_headers()
        .map(HeaderName::from_static)
        .chain([AUTHORIZATION])
        .any(|name| header(request, name).is_some())
}

fn federation_headers() -> impl Iterator<Item = &'static str> {
    Dialect::ALL.into_iter().flat_map(|dialect| {
        [
            dialect.federation_jwt_header(),
            dialect.federation_secret_header(),
        ]
    })
}

/// Refuses whoever is not the operator.
pub(super) fn require_operator(
    request: &HttpRequest,
    edge: &Edge,
    caller: &Caller,
) -> Result<(), Failure> {
    match caller.source {
        Source::Operator => Ok(()),
        Source::Peer(..) | Source::Public(_) => {
            refuse_caller(request, edge, caller, "operator_only");
            Err(Failure::gate(
                Gate::Forbidden,
                "peers may call agents of this node only",
            ))
        }
    }
}

/// Refuses whoever may not call peers through us: everybody but the operator, and peers that the operator lets through.
pub(super) fn check_forward(
    request: &HttpRequest,
    edge: &Edge,
    caller: &Caller,
) -> Result<(), Failure> {
    match &caller.source {
        Source::Peer(identity, _) if identity.may_forward() => Ok(()),
        _ => require_operator(request, edge, caller),
    }
}

/// Records that somebody who is known has no right to what they asked for.
pub(super) fn refuse_caller(came: &dyn Came, edge: &Edge, caller: &Caller, reason: &'static str) {
    let action = AuditAction::AuthRefused;
    record(came, edge, action, AuditOutcome::Refused, |record| {
        record.reason = Some(reason);
        record.caller = Some(caller.principal.as_ref().into());
    });
}

/// The operator's own calls are not recorded one by one: they decide nothing about anybody else.
fn recognise_operator(request: &HttpRequest, edge: &Edge) -> Arrival {
    let presented = header(request, AUTHORIZATION).and_then(bearer);
    let known = presented.is_some_and(|presented| {
        let own = edge.gates.internal_token.as_ref();
        own.is_some_and(|own| own.matches(presented.as_bytes()))
    });
    if !known {
        return Arrival::Unknown(Stranger {
            has_token: presented.is_some(),
        });
    }
    let caller = Caller {
        principal: Arc::from(edge.gates.dialect.caller_internal()),
        source: Source::Operator,
    };
    Arrival::Known(caller, None)
}

/// Refuses a credential that is there twice: which of the two counts would be anybody's guess, and a proxy may guess
/// another way.
fn check_single(
    request: &HttpRequest,
    edge: &Edge,
    names: impl IntoIterator<Item = HeaderName>,
) -> Result<(), Failure> {
    let is_doubled = |name: HeaderName| request.headers().get_all(name).nth(1).is_some();
    if names.into_iter().any(is_doubled) {
        audit_refusal(request, edge, AuditAction::AuthRefused, "double_header");
        return Err(Failure::gate(
            Gate::BadRequest,
            "a credential must be there once",
        ));
    }
    Ok(())
}

/// Holds whoever is at an address that keeps failing.
fn check_failures(request: &HttpRequest, edge: &Edge) -> Result<(), Failure> {
    let Some(address) = address_to_blame(request, edge) else {
        return Ok(());
    };
    edge.failures.check(address).map_err(|held| {
        let action = AuditAction::AuthRefused;
        audit_refusal(request, edge, action, "too_many_failures");
        Failure::limited(held, Tier::Known)
    })
}

/// Counts a bad credential against the address that it came from.
pub(super) fn count_failure(request: &HttpRequest, edge: &Edge) {
    if let Some(address) = address_to_blame(request, edge) {
        edge.failures.count(address);
    }
}

/// The caller's address; the connection's, where a proxy should have told it and did not.
fn address_to_blame(request: &HttpRequest, edge: &Edge) -> Option<IpAddr> {
    let told = edge.gates.client.of(request);
    told.or_else(|| request.peer_addr().map(|peer| peer.ip()))
}

/// The header in our own spelling if it is there, else in the other (contract/names.md, advice 4).
pub(super) fn either(
    request: &HttpRequest,
    dialect: Dialect,
    name: fn(Dialect) -> &'static str,
) -> Option<&str> {
    let [own, other] = [dialect, dialect.other()]
        .map(name)
        .map(HeaderName::from_static);
    header(request, own).or_else(|| header(request, other))
}

/// A header's value without the space around it; blank counts as absent.
/// A name that is known beforehand is asked for as such, so that it need not be read each time.
pub(super) fn header(request: &HttpRequest, name: impl AsHeaderName) -> Option<&str> {
    let value = request.headers().get(name)?.to_str().ok()?.trim();
    (!value.is_empty()).then_some(value)
}

/// What names a request across hops, in the contract's order (contract/bus.md 3).
pub(super) fn request_id(request: &HttpRequest) -> Option<&str> {
    ["x-request-id", "x-correlation-id", "traceparent"]
        .into_iter()
        .map(HeaderName::from_static)
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

pub(super) fn audit_refusal(
    came: &dyn Came,
    edge: &Edge,
    action: AuditAction,
    reason: &'static str,
) {
    record(came, edge, action, AuditOutcome::Refused, |record| {
        record.reason = Some(reason)
    });
}

/// Records a decision about a request.
pub(super) fn record(
    came: &dyn Came,
    edge: &Edge,
    action: AuditAction,
    outcome: AuditOutcome,
    fill: impl FnOnce(&mut AuditRecord),
) {
    let mut record = AuditRecord::new(action, outcome);
    record.client = came.client(edge);
    record.request_id = came.request_id().map(Into::into);
    fill(&mut record);
    edge.audit.leave(record);
}
