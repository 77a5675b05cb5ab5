//! What operators and their machines ask: is the node alive, is it ready, what has it counted; and messages for the bus
//! that arrive over HTTP.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::{Value, json};

use crate::agents::breaker::BreakerState;
use crate::audit::{AuditAction, AuditOutcome};
use crate::bus::{BusRefusal, Deliver};
use crate::edge::{Edge, auth, limits};
use crate::error::{Failure, Gate};

/// `GET /livez`: the process answers.
pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(Health { ok: true })
}

/// `GET /readyz`: the node can do its work and is not about to stop.
pub(super) async fn ready(edge: web::Data<Edge>) -> HttpResponse {
    let missing = edge.health.missing();
    let ok = missing.is_empty();
    let mut response = if ok {
        HttpResponse::Ok()
    } else {
        HttpResponse::ServiceUnavailable()
    };
    response
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(json!({
            "ok": ok,
            "missing": missing,
            "away": edge.health.away(),
            "agents": troubled(&edge),
        }))
}

/// How many agents elsewhere are in trouble. That is for people: a node is ready whatever its agents do.
fn troubled(edge: &Edge) -> Value {
    let agents = edge.agents.load();
    let runs = agents.iter().filter_map(|agent| agent.run.as_ref());
    let (mut away, mut left_alone) = (0, 0);
    for run in runs.map(|run| run.snapshot()) {
        away += usize::from(run.away);
        left_alone += usize::from(run.breaker != BreakerState::Passing);
    }
    json!({"away": away, "left_alone": left_alone})
}

/// `GET /api/health` (contract/a2a-surface.md 9).
pub(super) async fn health(edge: web::Data<Edge>) -> HttpResponse {
    let ok = edge.health.missing().is_empty();
    let mut response = if ok {
        HttpResponse::Ok()
    } else {
        HttpResponse::ServiceUnavailable()
    };
    response
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(Health { ok })
}

/// `GET /metrics`, for the operator.
pub(super) async fn metrics(
    request: HttpRequest,
    edge: web::Data<Edge>,
) -> Result<HttpResponse, Failure> {
    let caller = auth::identify(&request, &edge).await?;
    auth::require_operator(&request, &edge, &caller)?;
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .body(edge.telemetry.metrics_text()))
}

/// `POST /api/mesh/bus/{channel}`: a sealed bus message from outside, for the operator's relays. The seal is opened like
/// any other; what does not open is refused with the reason (contract/bus.md 4).
pub(super) async fn bus(
    request: HttpRequest,
    payload: web::Payload,
    edge: web::Data<Edge>,
    channel: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    limits::check_head(&request, &edge.limits)?;
    let caller = auth::identify(&request, &edge).await?;
    auth::require_operator(&request, &edge, &caller)?;
    let wire = limits::read_body(&request, payload, &edge.limits).await?;
    let delivered = edge
        .bus
        .send(Deliver {
            channel: channel.into_inner(),
            wire,
        })
        .await;
    match delivered {
        Ok(Ok(opened)) => {
            Ok(HttpResponse::Accepted()
                .json(json!({"accepted": true, "eventId": opened.event_id()})))
        }
        Ok(Err(refusal)) => {
            // Recorded even when it could only not be published: the message was not taken.
            let reason = refusal.reason();
            auth::record(
                &request,
                &edge,
                AuditAction::BusRefused,
                AuditOutcome::Refused,
                |record| {
                    record.caller = Some(caller.principal.as_ref().into());
                    record.reason = Some(reason);
                },
            );
            Ok(refused(&refusal))
        }
        Err(error) => {
            Err(Failure::gate(Gate::Unavailable, "the bus does not answer").because(error))
        }
    }
}

/// The path is right, the method is not.
pub(super) async fn wrong_method() -> Result<HttpResponse, Failure> {
    Err(Failure::gate(
        Gate::WrongMethod,
        "this path does not answer to that method",
    ))
}

/// A refusal as it is told. What could not be published may be sent again; anything else is refused for good.
fn refused(refusal: &BusRefusal) -> HttpResponse {
    match refusal {
        BusRefusal::Bus(_) => {
            HttpResponse::ServiceUnavailable().json(json!({"error": "bus_unavailable"}))
        }
        _ => HttpResponse::Forbidden()
            .json(json!({"error": "bus_message_refused", "reason": refusal.reason()})),
    }
}

/// Everything else.
pub(super) async fn nothing_here() -> Result<HttpResponse, Failure> {
    Err(Failure::gate(
        Gate::NotFound,
        "there is nothing at this path",
    ))
}

#[derive(Serialize)]
struct Health {
    ok: bool,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use actix_web::body::to_bytes;

    use super::*;
    use crate::bus::BusError;

    async fn check(refusal: BusRefusal, status: u16, body: &str) {
        let response = refused(&refusal);
        assert_eq!(response.status().as_u16(), status, "{refusal}");
        assert_eq!(to_bytes(response.into_body()).await.unwrap(), body);
    }

    #[actix::test]
    async fn only_what_could_not_be_published_may_be_sent_again() {
        check(
            BusRefusal::Bus(BusError::Unavailable),
            503,
            r#"{"error":"bus_unavailable"}"#,
        )
        .await;
        for (refusal, reason) in [
            (BusRefusal::Repeated, "repeated"),
            (BusRefusal::Stale, "stale"),
            (BusRefusal::WrongChannel, "wrong_channel"),
        ] {
            let body = format!(r#"{{"error":"bus_message_refused","reason":"{reason}"}}"#);
            check(refusal, 403, &body).await;
        }
    }
}
