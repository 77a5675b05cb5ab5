//! Envelopes between sites: what comes over HTTP (contract/bus.md 7) and what operators are shown. Read `bridge` for what is
//! to go, as the bridge of Hive and Pilox takes it.

use std::sync::Arc;

use actix_web::http::header::{CACHE_CONTROL, HeaderMap, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, web};
use archipel_kit::http::{BodyError, read_body};
use archipel_kit::settings::Secret;
use archipel_protocol::wan::{Envelope, IngressError, MeshTrace, WanMessage};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::edge::{Edge, auth, limits, only, operator};
use crate::error::{Failure, Gate};
use crate::limiter::Limit;
use crate::metrics::BridgeMetrics;
use crate::wan::calls::Post;
use crate::wan::desk::{DeadId, DeskError, WanDesk};
use crate::wan::queue::{Parcel, Taken};

mod bridge;

/// The longest envelope that comes (contract/bus.md 7).
const MAX_INGRESS: usize = 1_048_576;
/// Dead letters in one answer.
const PAGE: usize = 100;

/// What requests need of the WAN.
#[derive(Clone)]
pub struct WanGate {
    pub desk: WanDesk,
    /// Writes calls and answers; absent without a line.
    pub post: Option<Arc<Post>>,
    /// The bearer token of those who may publish and nothing else.
    pub bridge_secret: Option<Secret>,
    /// The longest envelope that goes.
    pub max_body: usize,
    /// How often one address may publish, if that is limited.
    pub limit: Option<Limit>,
    /// What is told of the line, if there is one.
    pub line: Option<LineView>,
    /// The bearer token of those who may read what the bridge counts, beside the operator.
    pub metrics_secret: Option<Secret>,
    /// What the bridge counts.
    pub requests: BridgeMetrics,
}

/// How the broker between the sites is reached.
#[derive(Debug, Clone)]
pub struct LineView {
    pub subject: String,
    pub tls: bool,
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(only(&["/api/mesh/wan/ingress"], web::post().to(ingress)))
        .configure(bridge::routes)
        .service(only(&["/api/mesh/wan"], web::get().to(status)))
        .service(only(&["/api/mesh/wan/dead"], web::get().to(list)))
        .service(
            web::resource("/api/mesh/wan/dead/{id}")
                .route(web::get().to(show))
                .route(web::delete().to(drop_dead))
                .default_service(web::to(operator::wrong_method)),
        )
        .service(only(
            &["/api/mesh/wan/dead/{id}/retry"],
            web::post().to(retry),
        ));
}

type Told = Result<HttpResponse, Failure>;

async fn enter(request: &HttpRequest, edge: &Edge) -> Result<(), Failure> {
    limits::check_url(request, &edge.limits)?;
    let caller = auth::identify(request, edge).await?;
    auth::require_operator(request, edge, &caller)
}

/// `POST /api/mesh/wan/ingress`: 202 once the envelope is kept; what comes again is told so and has no second effect.
async fn ingress(request: HttpRequest, payload: web::Payload, edge: web::Data<Edge>) -> Told {
    enter(&request, &edge).await?;
    let body = match read(&request, payload, &edge, MAX_INGRESS).await {
        Ok(body) => body,
        Err(BodyError::TooLarge(_)) => return Ok(too_large()),
        Err(BodyError::TimedOut | BodyError::Broken(_)) => return Ok(refused("invalid_body")),
    };
    let envelope = match Envelope::decode_ingress(&body) {
        Ok(envelope) => envelope,
        Err(IngressError::NotJson) => return Ok(refused("invalid_body")),
        Err(IngressError::Invalid(issues)) => {
            let body = json!({"error": "invalid_envelope", "issues": issues});
            return Ok(HttpResponse::BadRequest().json(body));
        }
    };
    let parcel = parcel(&request, envelope);
    let correlation_id = parcel.message.envelope.correlation_id.clone();
    Ok(match edge.wan.desk.take(parcel).await {
        Ok(taken) => accepted(&correlation_id, taken),
        // What is not kept may be sent again.
        Err(error) => {
            tracing::warn!(%error, "an envelope was not taken");
            unavailable(&json!({"error": "bus_unavailable"}))
        }
    })
}

/// `GET /api/mesh/wan`: what waits, since when, and why.
async fn status(request: HttpRequest, edge: web::Data<Edge>) -> Told {
    enter(&request, &edge).await?;
    let status = edge.wan.desk.status(edge.outbound.now_ms()).await;
    Ok(fresh(&status.map_err(not_now)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /api/mesh/wan/dead?after=ID&limit=N`: what nobody sees to any more.
async fn list(request: HttpRequest, edge: web::Data<Edge>) -> Told {
    enter(&request, &edge).await?;
    let asked = web::Query::<Asked>::from_query(request.query_string());
    let asked = asked.map_err(|_| wrong("after or limit is wrong"))?;
    let after = asked.after.as_deref().map(id_of).transpose()?;
    let limit = asked.limit.unwrap_or(PAGE).clamp(1, PAGE);
    let dead = edge.wan.desk.dead(after, limit).await.map_err(not_now)?;
    let next = dead.last().filter(|_| dead.len() == limit);
    Ok(fresh(&json!({
        "dead": dead.iter().map(|dead| Value::Object(dead.summary())).collect::<Vec<_>>(),
        "next": next.map(|dead| dead.id.to_string()),
    })))
}

/// `GET /api/mesh/wan/dead/{id}`: one of them, as it came.
async fn show(request: HttpRequest, edge: web::Data<Edge>, id: web::Path<String>) -> Told {
    enter(&request, &edge).await?;
    let found = edge.wan.desk.one(id_of(&id)?).await.map_err(not_now)?;
    let dead = found.ok_or_else(missing)?;
    Ok(fresh(&dead.whole()))
}

/// `POST /api/mesh/wan/dead/{id}/retry`: it is seen to once more.
async fn retry(request: HttpRequest, edge: web::Data<Edge>, id: web::Path<String>) -> Told {
    settle(&request, &edge, &id, true).await
}

/// `DELETE /api/mesh/wan/dead/{id}`: nobody needs it.
async fn drop_dead(request: HttpRequest, edge: web::Data<Edge>, id: web::Path<String>) -> Told {
    settle(&request, &edge, &id, false).await
}

async fn settle(request: &HttpRequest, edge: &Edge, id: &str, again: bool) -> Told {
    enter(request, edge).await?;
    let desk = &edge.wan.desk;
    let found = desk.settle(id_of(id)?, again).await.map_err(not_now)?;
    if found {
        Ok(fresh(
            &json!({"id": id, "retried": again, "dropped": !again}),
        ))
    } else {
        Err(missing())
    }
}

async fn read(
    request: &HttpRequest,
    payload: web::Payload,
    edge: &Edge,
    most: usize,
) -> Result<Bytes, BodyError> {
    let mut payload = payload.into_inner();
    read_body(request.headers(), &mut payload, most, edge.limits.body_time).await
}

fn parcel(request: &HttpRequest, envelope: Envelope) -> Parcel {
    Parcel {
        message: WanMessage {
            envelope,
            trace: trace(request.headers()),
        },
        message_id: auth::header(request, "nats-msg-id").map(str::to_owned),
        body: None,
    }
}

fn trace(headers: &HeaderMap) -> MeshTrace {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    MeshTrace::new(text("traceparent"), text("tracestate"))
}

fn accepted(correlation_id: &str, taken: Taken) -> HttpResponse {
    HttpResponse::Accepted().json(match taken {
        Taken::Repeated => {
            json!({"accepted": true, "correlationId": correlation_id, "duplicate": true})
        }
        Taken::First | Taken::Full => json!({"accepted": true, "correlationId": correlation_id}),
    })
}

fn unavailable(body: &Value) -> HttpResponse {
    HttpResponse::ServiceUnavailable()
        .insert_header((RETRY_AFTER, "1"))
        .json(body)
}

fn too_large() -> HttpResponse {
    HttpResponse::PayloadTooLarge().json(json!({"error": "payload_too_large"}))
}

fn refused(error: &str) -> HttpResponse {
    HttpResponse::BadRequest().json(json!({"error": error}))
}

fn fresh(body: &Value) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(body)
}

fn id_of(text: &str) -> Result<DeadId, Failure> {
    text.parse()
        .map_err(|()| wrong("the id is none: line-N, in-N or out-N"))
}

fn wrong(message: &'static str) -> Failure {
    Failure::gate(Gate::BadRequest, message)
}

fn missing() -> Failure {
    Failure::gate(Gate::NotFound, "there is no such envelope")
}

fn not_now(error: DeskError) -> Failure {
    match error {
        DeskError::NoLine => Failure::gate(
            Gate::NotFound,
            "this node has no line to other sites (nats.url)",
        ),
        error => Failure::gate(Gate::Unavailable, "the WAN does not answer now").because(error),
    }
}
