//! The bridge of Hive and Pilox (contract/transport-bridge.md 2): what is to go to other sites is handed in here.
//!
//! Other than theirs it is closed to whoever shows nothing, and does not accept what it would drop.

use actix_web::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, web};
use archipel_kit::admission::limiter_key;
use archipel_kit::http::BodyError;
use archipel_kit::settings::Secret;
use archipel_kit::telemetry::metrics::Code;
use archipel_protocol::wan::{BridgeError, Envelope};
use serde_json::json;

use super::{Told, accepted, parcel, read, refused, too_large, unavailable};
use crate::edge::auth::{self, Arrival, Counting, Source};
use crate::edge::{Edge, limits, only};
use crate::limiter::{Bucket, Call};
use crate::metrics::{BridgeMethod, BridgePath};

/// The name of what is counted, with which each of its lines begins.
const REQUESTS: &str = "hive_bridge_http_requests_total";

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(only(&["/api/mesh/wan/publish"], web::post().to(publish)))
        .service(bridges("/v1/publish", web::post().to(publish)))
        .service(bridges("/v1/health", web::get().to(health)))
        .service(bridges("/v1/metrics", web::get().to(metrics)));
}

/// A path of the bridge, which calls every other method missing.
fn bridges(path: &'static str, route: actix_web::Route) -> actix_web::Resource {
    let missing = async |request: HttpRequest, edge: web::Data<Edge>| {
        let answer = HttpResponse::NotFound().json(json!({"error": "not_found"}));
        count(&request, &edge, Ok(answer))
    };
    web::resource(path)
        .route(route)
        .default_service(web::to(missing))
}

/// `POST /v1/publish` and `POST /api/mesh/wan/publish`: 202 once the envelope is kept; it goes as soon as it can.
async fn publish(request: HttpRequest, payload: web::Payload, edge: web::Data<Edge>) -> Told {
    let told = take(&request, payload, &edge).await;
    count(&request, &edge, told)
}

async fn take(request: &HttpRequest, payload: web::Payload, edge: &Edge) -> Told {
    limits::check_url(request, &edge.limits)?;
    if !shows(request, edge, edge.wan.bridge_secret.as_ref()).await {
        return Ok(unauthorized());
    }
    if !passes(request, edge).await {
        let body = json!({"error": "rate_limited"});
        return Ok(HttpResponse::TooManyRequests().json(body));
    }
    let body = match read(request, payload, edge, edge.wan.max_body).await {
        Ok(body) => body,
        Err(BodyError::TooLarge(_)) => return Ok(too_large()),
        Err(BodyError::TimedOut | BodyError::Broken(_)) => return Ok(refused("invalid_json")),
    };
    let envelope = match Envelope::decode_bridge(&body) {
        Ok(envelope) => envelope,
        Err(BridgeError::NotJson) => return Ok(refused("invalid_json")),
        Err(BridgeError::Invalid {
            instance_path,
            message,
            ..
        }) => {
            let body = json!({"error": "invalid_envelope", "instancePath": instance_path, "message": message});
            return Ok(HttpResponse::BadRequest().json(body));
        }
    };
    let parcel = parcel(request, envelope);
    let correlation_id = parcel.message.envelope.correlation_id.clone();
    Ok(match edge.wan.desk.publish(parcel).await {
        Ok(taken) => accepted(&correlation_id, taken),
        Err(error) => {
            tracing::warn!(%error, "an envelope was not taken to be sent");
            unavailable(&json!({"error": "nats_unavailable", "correlationId": correlation_id}))
        }
    })
}

/// `GET /v1/health`.
async fn health(request: HttpRequest, edge: web::Data<Edge>) -> Told {
    let mut nats = json!({"enabled": false, "mode": "off", "tls": false});
    if let Some(line) = &edge.wan.line {
        nats =
            json!({"enabled": true, "mode": "jetstream", "subject": line.subject, "tls": line.tls});
    }
    let per_minute = edge.wan.limit.map_or(0, crate::limiter::Limit::calls);
    let answer = HttpResponse::Ok().json(json!({
        "ok": true,
        "role": "hive-mesh-transport-bridge",
        "metricsPath": "/v1/metrics",
        "metricsAuthRequired": true,
        "envelopeSchema": "https://github.com/hive/schemas/wan-envelope-v1",
        "nats": nats,
        "rateLimitPublishPerMin": per_minute,
        "maxUrlBytes": edge.limits.url,
        "requestTimeoutMs": 0,
        "internalAuthRequired": true,
    }));
    count(&request, &edge, Ok(answer))
}

/// `GET /v1/metrics`: what the bridge counts, and nothing else of the node.
async fn metrics(request: HttpRequest, edge: web::Data<Edge>) -> Told {
    if !shows(&request, &edge, edge.wan.metrics_secret.as_ref()).await {
        return count(&request, &edge, Ok(unauthorized()));
    }
    let all = edge.telemetry.metrics_text();
    let is_ours = |line: &&str| line.starts_with(REQUESTS);
    let mut text = format!("# TYPE {REQUESTS} counter\n");
    for line in all.lines().filter(is_ours) {
        text.push_str(line);
        text.push('\n');
    }
    let answer = HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .body(text);
    count(&request, &edge, Ok(answer))
}

/// Counts an answer of one of the bridge's own paths.
fn count(request: &HttpRequest, edge: &Edge, told: Told) -> Told {
    if let Some(path) = BridgePath::of(request.path()) {
        let status = match &told {
            Ok(answer) => answer.status(),
            Err(failure) => failure.status_code(),
        };
        let method = BridgeMethod::of(request.method());
        let labels = (method, path, Code::from(status));
        edge.wan.requests.requests.count(labels);
    }
    told
}

/// Whether the request shows that secret, spelled as the bridge has it, or the operator's token. Whoever keeps failing is held before either is
/// compared.
async fn shows(request: &HttpRequest, edge: &Edge, secret: Option<&Secret>) -> bool {
    match auth::recognise(request, edge, Counting::Later).await {
        Ok(Arrival::Known(caller, _)) => {
            let is_operator = matches!(caller.source, Source::Operator);
            if !is_operator {
                auth::refuse_caller(request, edge, &caller, "operator_only");
            }
            is_operator
        }
        Ok(Arrival::Unknown(stranger)) => {
            let is_right = secret.is_some_and(|secret| is_bearer(request, secret));
            if !is_right {
                // Counted and written down like any other refusal.
                stranger.refuse(request, edge);
            }
            is_right
        }
        Err(_) => false,
    }
}

fn is_bearer(request: &HttpRequest, secret: &Secret) -> bool {
    let header = request.headers().get(AUTHORIZATION);
    let presented = header.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    presented.is_some_and(|presented| secret.matches(presented.as_bytes()))
}

fn unauthorized() -> HttpResponse {
    HttpResponse::Unauthorized().json(json!({"error": "unauthorized"}))
}

/// Whether the address has not published too often.
async fn passes(request: &HttpRequest, edge: &Edge) -> bool {
    let Some(limit) = edge.wan.limit else {
        return true;
    };
    let address = edge.gates.client.of(request).map(limiter_key);
    let key = match address {
        Some(address) => format!("wan:publish:{address}"),
        None => "wan:publish:unknown".to_owned(),
    };
    let call = Call {
        buckets: &[Bucket { key: &key, limit }],
        reputation: None,
    };
    edge.turnstile.pass(call).await.is_ok()
}
