//! Strangers, where there is a public tier: who of them is let in, to ask for what, how often (contract/public-tier.md 4).
//!
//! What is not for strangers is refused as if there were no tier, so nobody learns from it what there is.

use std::net::IpAddr;
use std::sync::Arc;

use actix_web::http::header::AUTHORIZATION;
use actix_web::{HttpRequest, web};
use archipel_kit::admission::limiter_key;
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::jsonrpc::Id;
use archipel_protocol::names::Dialect;
use bytes::Bytes;

use crate::audit::AuditAction;
use crate::edge::auth::{self, Caller, Source, Stranger, header};
use crate::edge::binding::{Asks, Binding};
use crate::edge::{Edge, limits};
use crate::error::{Failure, Gate, Tier};
use crate::limiter::{Bucket, Call, Conduct, Held, Limit, Reputation, Why};
use crate::public::{Methods, PublicTier, identity_id, presented};

/// A stranger as the tier sees them.
struct Guest<'t> {
    /// What their calls are counted under beside their address, and against what.
    named: Option<(String, Limit)>,
    /// What their reputation is kept under: a hash.
    id: Option<String>,
    /// What their key is good for; everything that is allowed without one.
    scopes: Option<&'t Methods>,
    /// Whose tasks they see.
    principal: String,
}

/// Lets a stranger in, with the body that had to be read to know what they ask for.
pub(super) async fn admit(
    request: &HttpRequest,
    payload: web::Payload,
    edge: &Edge,
    binding: &Binding,
    stranger: &Stranger,
) -> Result<(Caller, Bytes), Failure> {
    let Some(tier) = &edge.public else {
        return Err(stranger.refuse(request, edge));
    };
    // An address that was told to wait sends no further bodies.
    let of_address = format!(
        "public_a2a:ip:{}",
        address(edge.gates.client.of(request).map(limiter_key))
    );
    let of_address = Bucket {
        key: &of_address,
        limit: tier.address_limit,
    };
    let denied = edge.turnstile.check_denied(of_address);
    denied.map_err(|held| held_back(request, edge, held))?;
    let body = limits::read_body(request, payload, &edge.limits).await;
    let asks = match &body {
        Ok(body) => binding.asks(request, body),
        Err(_) => Asks::Unreadable,
    };
    // Something else than is allowed, and a token that is wrong, are refused as everywhere.
    if let Asks::For(asked) = &asks
        && !tier.methods.contain(asked)
    {
        return Err(stranger.refuse(request, edge));
    }
    let guest = Guest::of(tier, request, edge, &asks, stranger)?;
    guest.pass(tier, request, edge, of_address).await?;
    let looked_at = body.and_then(|body| guest.check(request, edge, asks).map(|()| body));
    if looked_at.is_err() {
        note(edge, guest.id.as_deref(), Conduct::Bad);
    }
    let caller = Caller {
        principal: guest.principal.into(),
        source: Source::Public(guest.id.map(Arc::from)),
    };
    looked_at.map(|body| (caller, body))
}

/// Notes how a call of somebody went, where that counts.
pub(super) fn note(edge: &Edge, id: Option<&str>, conduct: Conduct) {
    let counts = edge
        .public
        .as_ref()
        .is_some_and(|tier| tier.reputation.is_some());
    if let Some(id) = id.filter(|_| counts) {
        edge.turnstile.note(id.to_owned(), conduct);
    }
}

impl<'t> Guest<'t> {
    /// Who a stranger is: their key, their identity, their address.
    fn of(
        tier: &'t PublicTier,
        request: &HttpRequest,
        edge: &Edge,
        asks: &Asks,
        stranger: &Stranger,
    ) -> Result<Self, Failure> {
        let candidate = candidate(tier, request, edge);
        let key = candidate.and_then(|candidate| tier.keys.find(candidate));
        // What cannot be read is told so, whoever asks.
        if matches!(asks, Asks::For(_)) && key.is_none() {
            let reason = match candidate {
                // Their token may have been meant as a key; in any case it is wrong.
                _ if stranger.has_token() => return Err(stranger.refuse(request, edge)),
                Some(_) => "wrong_key",
                None if tier.requires_key => "no_key",
                None => "",
            };
            if !reason.is_empty() {
                return Err(refused(request, edge, reason));
            }
        }
        if let Some((id, scopes)) = key {
            let id = id.to_hex();
            return Ok(Self {
                named: Some((format!("public_a2a_apikey:id:{id}"), tier.key_limit)),
                principal: principal("key", &id),
                id: Some(id),
                scopes,
            });
        }
        let name = tier.identity_header.as_deref();
        let identity = name.and_then(|name| header(request, name));
        let id = identity.and_then(|value| identity_id(value, tier.identity_length));
        Ok(match id {
            Some(id) => Self {
                named: Some((format!("public_a2a_id:id:{id}"), tier.identity_limit)),
                principal: principal("id", &id),
                id: Some(id),
                scopes: None,
            },
            None => Self {
                named: None,
                principal: format!("public:ip:{}", address(edge.gates.client.of(request))),
                id: None,
                scopes: None,
            },
        })
    }

    /// Counts the call: under the address, under the name if there is one, and against the reputation.
    async fn pass(
        &self,
        tier: &PublicTier,
        request: &HttpRequest,
        edge: &Edge,
        of_address: Bucket<'_>,
    ) -> Result<(), Failure> {
        let of_anybody = format!("a2a:caller:{}", self.principal);
        let mut buckets = vec![of_address];
        let mut count = |key, limit| buckets.push(Bucket { key, limit });
        if let Some(limit) = edge.gates.call_limit {
            count(of_anybody.as_str(), limit);
        }
        // Last, because that is the one that speaks of the reputation.
        if let Some((key, limit)) = &self.named {
            count(key, *limit);
        }
        let reputation = self.id.as_deref().zip(tier.reputation);
        let call = Call {
            buckets: &buckets,
            reputation: reputation.map(|(id, rules)| Reputation {
                id,
                block_at: rules.block_at,
            }),
        };
        edge.turnstile.pass(call).await.map_err(|held| {
            let held = match (held.why, tier.reputation) {
                (Why::Blocked, Some(rules)) => Held {
                    retry_after_seconds: rules.retry_after.as_secs(),
                    ..held
                },
                _ => held,
            };
            held_back(request, edge, held)
        })
    }

    /// Whether what they ask for can be read, and is what their key is for.
    fn check(&self, request: &HttpRequest, edge: &Edge, asks: Asks) -> Result<(), Failure> {
        match asks {
            Asks::For(asked) => match self.scopes {
                Some(scopes) if !scopes.contain(&asked) => Err(refused(request, edge, "scope")),
                _ => Ok(()),
            },
            Asks::Unreadable => Err(unreadable(ErrorCode::Parse, "the body is not JSON")),
            Asks::Nothing => Err(unreadable(
                ErrorCode::InvalidRequest,
                "the body is no request for a method",
            )),
        }
    }
}

/// The key that a request presents, where there are keys.
fn candidate<'r>(tier: &PublicTier, request: &'r HttpRequest, edge: &Edge) -> Option<&'r str> {
    if tier.keys.is_empty() {
        return None;
    }
    let own = auth::either(request, edge.gates.dialect, Dialect::public_key_header);
    presented(own, header(request, AUTHORIZATION.as_str()))
}

fn principal(kind: &str, hash: &str) -> String {
    format!("public:{kind}:{}", hash.get(..16).unwrap_or_default())
}

fn address(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "unknown".to_owned(), |address| address.to_string())
}

fn held_back(request: &HttpRequest, edge: &Edge, held: Held) -> Failure {
    let action = AuditAction::AuthRefused;
    auth::audit_refusal(request, edge, action, held.why.reason());
    Failure::limited(held, Tier::Public)
}

fn refused(request: &HttpRequest, edge: &Edge, reason: &'static str) -> Failure {
    if reason == "wrong_key" {
        auth::count_failure(request, edge);
    }
    auth::audit_refusal(request, edge, AuditAction::AuthRefused, reason);
    Failure::gate(Gate::Stranger, "authentication is required")
}

fn unreadable(code: ErrorCode, message: &'static str) -> Failure {
    Failure::rpc_with_status(Id::Null, RpcError::new(code, message))
}
