//! `/api/peers`: the operator invites, accepts, suspends and revokes peers; and the one open door beside it, at which a node
//! that was invited answers. Every decision leaves an audit record.

use std::net::IpAddr;
use std::sync::Arc;

use actix::Recipient;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, web};
use archipel_kit::admission::{LocalLimiter, Rule, limiter_key};
use archipel_kit::clock::Clock;
use archipel_protocol::a2a::card::CardSigner;
use archipel_protocol::federation::succession::{PublishedKey, jwks};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::audit::{AuditAction, AuditOutcome};
use crate::edge::auth::{self, Caller};
use crate::edge::control::refusal;
use crate::edge::{Edge, limits, only};
use crate::error::{Failure, Gate};
use crate::federation::Federation;
use crate::pairing::{Ask, Command, PAIR_PATH, PairingError};

/// Largest body: an invitation, an answer to it, and some words.
const MAX_BODY: usize = 48 * 1024;

/// Answers to invitations that one address may send in a minute, and at once: each costs signatures and may cost a call.
const GUESTS: Rule = Rule::per_minute(12, 6);

/// Addresses that are remembered.
const ADDRESSES: usize = 4096;

/// How often each address answers invitations; shared by all workers.
#[derive(Debug, Clone)]
pub struct Guests(Arc<LocalLimiter<Option<IpAddr>>>);

/// What requests about peers need.
#[derive(Clone)]
pub struct PeerDesk {
    /// Decides.
    pub pairing: Recipient<Ask>,
    /// Knows our keys.
    pub federation: Arc<Federation>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who was invited, and how often they come.
    pub guests: Guests,
}

impl PeerDesk {
    /// Our public keys as a JWK Set: those of our tokens, and that of our cards.
    pub(super) fn jwks(&self, signer: &CardSigner) -> String {
        let now = i64::try_from(self.clock.now_ms() / 1000).unwrap_or(i64::MAX);
        let own = self.federation.own_keys();
        let mut published = own.map_or_else(Vec::new, |own| own.published(now));
        published.push(PublishedKey {
            public_key: *signer.public_key(),
            successions: Vec::new(),
        });
        jwks(&published)
    }
}

impl Default for Guests {
    fn default() -> Self {
        Self(Arc::new(LocalLimiter::new(GUESTS, ADDRESSES)))
    }
}

impl Guests {
    /// Milliseconds to wait, for whoever came too often.
    fn admit(&self, client: Option<IpAddr>, clock: &dyn Clock) -> Result<(), u64> {
        let now_us = clock.now_ms().saturating_mul(1000);
        let decision = self.0.decide(&client.map(limiter_key), now_us);
        match decision.allowed {
            true => Ok(()),
            false => Err(decision.retry_after_us.div_ceil(1000)),
        }
    }
}

type Told = Result<HttpResponse, Failure>;

/// The paths of peers.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(only(&["/api/peers"], web::get().to(list)))
        .service(
            web::resource("/api/peers/invitations")
                .route(web::get().to(invitations))
                .route(web::post().to(invite))
                .default_service(web::to(super::operator::wrong_method)),
        )
        .service(only(
            &["/api/peers/invitations/{id}"],
            web::delete().to(withdraw),
        ))
        .service(only(&["/api/peers/accept"], web::post().to(accept)))
        .service(only(&["/api/peers/rotate-key"], web::post().to(rotate)))
        .service(
            web::resource("/api/peers/{name}")
                .route(web::get().to(show))
                .route(web::delete().to(revoke))
                .default_service(web::to(super::operator::wrong_method)),
        )
        .service(only(
            &["/api/peers/{name}/suspend", "/api/peers/{name}/resume"],
            web::post().to(shift),
        ))
        .service(only(&[PAIR_PATH], web::post().to(join)));
}

async fn list(request: HttpRequest, payload: web::Payload, edge: web::Data<Edge>) -> Told {
    told_to(&request, payload, &edge, Command::List).await
}

async fn show(
    request: HttpRequest,
    payload: web::Payload,
    edge: web::Data<Edge>,
    name: web::Path<String>,
) -> Told {
    told_to(&request, payload, &edge, Command::Show(name.into_inner())).await
}

async fn invite(request: HttpRequest, payload: web::Payload, edge: web::Data<Edge>) -> Told {
    ordered(&request, payload, &edge, Command::Invite).await
}

async fn invitations(request: HttpRequest, payload: web::Payload, edge: web::Data<Edge>) -> Told {
    told_to(&request, payload, &edge, Command::Invitations).await
}

async fn withdraw(
    request: HttpRequest,
    payload: web::Payload,
    edge: web::Data<Edge>,
    id: web::Path<String>,
) -> Told {
    told_to(&request, payload, &edge, Command::Withdraw(id.into_inner())).await
}

async fn accept(request: HttpRequest, payload: web::Payload, edge: web::Data<Edge>) -> Told {
    ordered(&request, payload, &edge, Command::Accept).await
}

async fn rotate(request: HttpRequest, payload: web::Payload, edge: web::Data<Edge>) -> Told {
    ordered(&request, payload, &edge, Command::RotateKey).await
}

async fn revoke(
    request: HttpRequest,
    payload: web::Payload,
    edge: web::Data<Edge>,
    name: web::Path<String>,
) -> Told {
    told_to(&request, payload, &edge, Command::Revoke(name.into_inner())).await
}

async fn shift(
    request: HttpRequest,
    payload: web::Payload,
    edge: web::Data<Edge>,
    name: web::Path<String>,
) -> Told {
    let command = match request.path().ends_with("/resume") {
        true => Command::Resume(name.into_inner()),
        false => Command::Suspend(name.into_inner()),
    };
    told_to(&request, payload, &edge, command).await
}

/// A command that the path says already.
async fn told_to(
    request: &HttpRequest,
    payload: web::Payload,
    edge: &Edge,
    command: Command,
) -> Told {
    let (caller, _) = enter(request, payload, edge).await?;
    run(request, edge, &caller, command).await
}

/// A command whose order is in the body.
async fn ordered<T: DeserializeOwned>(
    request: &HttpRequest,
    payload: web::Payload,
    edge: &Edge,
    command: fn(T) -> Command,
) -> Told {
    let (caller, body) = enter(request, payload, edge).await?;
    match order(&body) {
        Ok(order) => run(request, edge, &caller, command(order)).await,
        Err(error) => Ok(refused(&error)),
    }
}

/// `POST /api/mesh/federation/pair`: open, because whoever was invited is nobody here yet. What is in the body has to prove
/// itself; before it is looked at, it is small and does not come too often.
async fn join(
    request: HttpRequest,
    payload: web::Payload,
    edge: web::Data<Edge>,
) -> Result<HttpResponse, Failure> {
    limits::check_head(&request, &edge.limits)?;
    auth::check_gateway(&request, &edge)?;
    if !edge.federation.is_enabled() {
        return Err(nothing_here());
    }
    let peers = &edge.peers;
    let client = edge.gates.client.of(&request);
    if let Err(wait_ms) = peers.guests.admit(client, peers.clock.as_ref()) {
        let outcome = (AuditOutcome::Refused, Some("rate_limited"));
        audit(&request, &edge, None, outcome);
        return Ok(HttpResponse::TooManyRequests()
            .insert_header((RETRY_AFTER, wait_ms.div_ceil(1000).max(1)))
            .json(
                json!({"error": "Too many requests", "message": "too many answers to invitations"}),
            ));
    }
    let body = limits::read_body_up_to(&request, payload, &edge.limits, MAX_BODY).await?;
    let answer = match serde_json::from_slice(&body) {
        Ok(order) => ask(&edge, Command::Join(order)).await?,
        Err(_) => Err(not_an_order()),
    };
    let guest = answer
        .as_ref()
        .ok()
        .and_then(|shown| shown.get("acceptedBy"));
    let guest = guest.and_then(Value::as_str);
    audit(&request, &edge, guest, told(&answer));
    Ok(answer.map_or_else(|error| refused(&error), |shown| ok(&shown)))
}

/// The gates, in the order of `edge.rs`, and the body.
async fn enter(
    request: &HttpRequest,
    payload: web::Payload,
    edge: &Edge,
) -> Result<(Caller, Vec<u8>), Failure> {
    limits::check_head(request, &edge.limits)?;
    auth::check_gateway(request, edge)?;
    let caller = auth::identify(request, edge).await?;
    auth::require_operator(request, edge, &caller)?;
    if edge.control.is_none() {
        return Err(nothing_here());
    }
    let body = limits::read_body_up_to(request, payload, &edge.limits, MAX_BODY).await?;
    Ok((caller, body.to_vec()))
}

/// An order with nothing in it need not be written.
fn order<T: DeserializeOwned>(body: &[u8]) -> Result<T, PairingError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        PairingError::Invalid(format!("the body is not what is expected: {error}"))
    })
}

fn not_an_order() -> PairingError {
    PairingError::Invalid("the body is not what is expected".to_owned())
}

async fn run(
    request: &HttpRequest,
    edge: &Edge,
    caller: &Caller,
    command: Command,
) -> Result<HttpResponse, Failure> {
    let is_decision = !matches!(
        command,
        Command::List | Command::Show(_) | Command::Invitations
    );
    let is_acceptance = matches!(command, Command::Accept(_));
    let word = word(&command);
    let about = subject(&command);
    let answer = ask(edge, command).await?;
    if is_decision {
        let (outcome, _) = told(&answer);
        // Only the answer says whose invitation was accepted.
        let inviter = answer.as_ref().ok().filter(|_| is_acceptance);
        let inviter = inviter.and_then(|shown| shown.get("origin")?.as_str());
        let about = inviter.map(str::to_owned).or(about);
        auth::record(request, edge, AuditAction::PeerChanged, outcome, |record| {
            record.caller = Some(caller.principal.as_ref().into());
            record.peer = about.as_deref().map(Into::into);
            record.reason = Some(word);
        });
    }
    Ok(match answer {
        Ok(Value::Null) => HttpResponse::NoContent().finish(),
        Ok(shown) => ok(&shown),
        Err(error) => refused(&error),
    })
}

async fn ask(edge: &Edge, command: Command) -> Result<Result<Value, PairingError>, Failure> {
    let answer = edge.peers.pairing.send(Ask(command)).await;
    answer.map_err(|error| {
        Failure::gate(Gate::Unavailable, "peers cannot be looked after now").because(error)
    })
}

fn audit(
    request: &HttpRequest,
    edge: &Edge,
    guest: Option<&str>,
    (outcome, reason): (AuditOutcome, Option<&'static str>),
) {
    auth::record(request, edge, AuditAction::PeerJoined, outcome, |record| {
        record.peer = guest.map(Into::into);
        record.reason = reason;
    });
}

fn word(command: &Command) -> &'static str {
    match command {
        Command::List => "list",
        Command::Show(_) => "show",
        Command::Invite(_) => "invite",
        Command::Invitations => "invitations",
        Command::Withdraw(_) => "withdraw_invitation",
        Command::Accept(order) if order.confirm => "accept",
        Command::Accept(_) => "look_at_invitation",
        Command::Suspend(_) => "suspend",
        Command::Resume(_) => "resume",
        Command::Revoke(_) => "revoke",
        Command::RotateKey(_) => "rotate_key",
        Command::Join(_) => "join",
    }
}

fn subject(command: &Command) -> Option<String> {
    match command {
        Command::Suspend(name) | Command::Resume(name) | Command::Revoke(name) => {
            Some(name.clone())
        }
        Command::Invite(order) => order.name.clone(),
        Command::Accept(order) => order.name.clone(),
        Command::List
        | Command::Show(_)
        | Command::Invitations
        | Command::Withdraw(_)
        | Command::RotateKey(_)
        | Command::Join(_) => None,
    }
}

fn told(answer: &Result<Value, PairingError>) -> (AuditOutcome, Option<&'static str>) {
    match answer {
        Ok(_) => (AuditOutcome::Accepted, None),
        Err(error) => match error {
            PairingError::NotKept(_) => (AuditOutcome::Failed, Some("not_kept")),
            PairingError::Undecided => (AuditOutcome::Failed, Some("undecided")),
            PairingError::Elsewhere(_) => (AuditOutcome::Refused, Some("not_published")),
            PairingError::Invitation(_) => (AuditOutcome::Refused, Some("bad_invitation")),
            PairingError::Refused(_) => (AuditOutcome::Refused, Some("refused")),
            PairingError::Conflict(_) => (AuditOutcome::Refused, Some("conflict")),
            PairingError::NotFound => (AuditOutcome::Refused, Some("not_found")),
            PairingError::Invalid(_) => (AuditOutcome::Refused, Some("invalid")),
        },
    }
}

fn ok(shown: &Value) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(shown)
}

fn refused(error: &PairingError) -> HttpResponse {
    let (status, word) = match error {
        PairingError::NotFound => (StatusCode::NOT_FOUND, "Not Found"),
        PairingError::Invalid(_) | PairingError::Invitation(_) => {
            (StatusCode::BAD_REQUEST, "Bad Request")
        }
        PairingError::Refused(_) => (StatusCode::FORBIDDEN, "Forbidden"),
        PairingError::Conflict(_) => (StatusCode::CONFLICT, "Conflict"),
        PairingError::Elsewhere(_) => (StatusCode::BAD_GATEWAY, "Bad Gateway"),
        PairingError::NotKept(_) | PairingError::Undecided => {
            (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
        }
    };
    if let PairingError::NotKept(cause) = error {
        tracing::warn!(%cause, "a decision about peers could not be kept");
    }
    let body = json!({"error": word, "message": error.to_string()});
    refusal(status, &body)
}

fn nothing_here() -> Failure {
    Failure::gate(Gate::NotFound, "there is nothing at this path")
}
