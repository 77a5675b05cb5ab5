//! What the gateway says about itself.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE},
};
use serde_json::json;

use crate::{proxy::Worker, refusal::Refusal, route::Route, state::Shared};

/// Answers one of the gateway's own places; `None` when the route is another.
pub(crate) async fn answer(
    route: Route,
    request: &HttpRequest,
    worker: &Worker,
) -> Option<Result<HttpResponse, Refusal>> {
    match route {
        Route::Health => Some(Ok(health(&worker.shared))),
        Route::Metrics => Some(metrics(request, &worker.shared)),
        Route::Live => Some(Ok(HttpResponse::Ok().json(json!({ "ok": true })))),
        Route::Ready => Some(Ok(ready(worker).await)),
        _ => None,
    }
}

/// What the gateway is and how it is set up; the members are those of the gateway it replaces.
fn health(shared: &Shared) -> HttpResponse {
    let settings = &shared.settings;
    let backend = if settings.rate_limit_redis_url.is_some() {
        "redis"
    } else {
        "memory"
    };
    HttpResponse::Ok().json(json!({
        "ok": true,
        "role": "hive-mesh-gateway",
        "metricsPath": "/v1/metrics",
        "metricsAuthRequired": settings.metrics_token.is_some(),
        "maxUrlBytes": settings.max_url.bytes(),
        "requestTimeoutMs": milliseconds(settings.request_timeout),
        "rateLimitPerMin": settings.rate_limit_per_minute,
        "rateLimitBackend": backend,
        "upstreamTimeoutMs": milliseconds(settings.total_timeout),
        "userAgentBlockPatterns": settings.block_user_agents.len(),
        "tls": false,
        "mtlsRequired": false,
        "securityHeaders": settings.security_headers,
    }))
}

fn metrics(request: &HttpRequest, shared: &Shared) -> Result<HttpResponse, Refusal> {
    if let Some(token) = &shared.settings.metrics_token {
        let shown = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        if !shown.is_some_and(|shown| token.matches(shown)) {
            return Err(Refusal::Unauthorized);
        }
    }
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(shared.telemetry.metrics_text()))
}

async fn ready(worker: &Worker) -> HttpResponse {
    if worker.shared.leaving.is_cancelled() {
        return HttpResponse::ServiceUnavailable()
            .json(json!({ "ready": false, "reason": "draining" }));
    }
    if node_is_there(worker).await {
        return HttpResponse::Ok().json(json!({ "ready": true }));
    }
    HttpResponse::ServiceUnavailable()
        .json(json!({ "ready": false, "reason": "origin_unavailable" }))
}

/// Anybody may ask, so the node is not looked for more than once a second (and not at all on their account after).
async fn node_is_there(worker: &Worker) -> bool {
    let shared = &worker.shared;
    let now = shared.clock.monotonic();
    let last = *shared.last_look.lock();
    if let Some((at, there)) = last
        && now.saturating_sub(at) < Duration::from_secs(1)
    {
        return there;
    }
    let there = worker.upstream.is_reachable().await;
    *shared.last_look.lock() = Some((shared.clock.monotonic(), there));
    there
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
