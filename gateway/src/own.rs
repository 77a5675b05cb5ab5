//! What the gateway says about itself.

use actix_http::{
    HttpMessage as _, Request, Response, StatusCode,
    header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use archipel_kit::tls::ClientCertificates;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    exchange::Outgoing,
    limiter::Limiter,
    proxy::Setup,
    refusal::{Reason, Refusal},
    route::Route,
    upstream::{is_there, is_up},
};

/// Answers one of the gateway's own places; `None` when the route is another.
pub(crate) async fn answer(
    route: Route,
    request: &Request,
    setup: &Setup,
) -> Option<Result<Response<Outgoing>, Refusal>> {
    match route {
        Route::Health => Some(Ok(health(setup))),
        Route::Metrics => Some(metrics(request, setup)),
        Route::Live => Some(Ok(say(StatusCode::OK, &json!({ "ok": true })))),
        Route::Ready => Some(Ok(ready(setup).await)),
        _ => None,
    }
}

/// A JSON answer.
pub(crate) fn say(status: StatusCode, value: &Value) -> Response<Outgoing> {
    let body = Outgoing::Own(Bytes::from(value.to_string()));
    let mut response = Response::with_body(status, body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What the gateway is, how it is set up, and whether it can serve; the members down to `securityHeaders` are those of the
/// gateway it replaces, which was always well.
fn health(setup: &Setup) -> Response<Outgoing> {
    let settings = &setup.current.settings;
    let now = setup.shared.clock.monotonic();
    let limiter = setup.current.limiter.as_ref();
    let members = setup.current.fleet.members();
    let up = members
        .iter()
        .filter(|one| is_up(&one.node, &settings.health, now));
    let (up, has_node) = up.fold((0_usize, false), |(up, has_node), one| {
        (up + 1, has_node || one.weight > 0)
    });
    let is_expired = setup.current.tls.as_ref().is_some_and(|tls| {
        let now = i64::try_from(setup.shared.clock.now_ms() / 1000).unwrap_or(i64::MAX);
        tls.expires <= now
    });
    let is_refusing = limiter.is_some_and(Limiter::refuses_all);
    let mut troubles = Vec::new();
    for (is_so, trouble) in [
        (!has_node, "no_upstream"),
        (is_expired, "certificate_expired"),
        (is_refusing, "rate_limit_unavailable"),
    ] {
        if is_so {
            troubles.push(trouble);
        }
    }
    let is_shared = settings.rate_limit_redis_url.is_some();
    let status = if troubles.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let milliseconds =
        |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    say(
        status,
        &json!({
            "ok": troubles.is_empty(),
            "role": "hive-mesh-gateway",
            "metricsPath": "/v1/metrics",
            "metricsAuthRequired": settings.metrics_token.is_some(),
            "maxUrlBytes": settings.max_url.bytes(),
            "requestTimeoutMs": milliseconds(settings.request_timeout),
            "rateLimitPerMin": settings.rate_limit_per_minute,
            "rateLimitBackend": if is_shared { "redis" } else { "memory" },
            "upstreamTimeoutMs": milliseconds(settings.total_timeout),
            "userAgentBlockPatterns": settings.block_user_agents.len(),
            "tls": settings.tls.is_on(),
            "mtlsRequired": settings.tls.client_ca.is_some()
                && settings.tls.client_certificates == ClientCertificates::Required,
            "securityHeaders": settings.security_headers,
            "troubles": troubles,
            "closed": settings.closed
                || setup.shared.is_closed.load(std::sync::atomic::Ordering::Relaxed),
            "rateLimitShared": is_shared && !limiter.is_some_and(Limiter::redis_is_away),
            "upstreams": members.len(),
            "upstreamsUp": up,
        }),
    )
}

fn metrics(request: &Request, setup: &Setup) -> Result<Response<Outgoing>, Refusal> {
    if let Some(token) = &setup.current.settings.metrics_token {
        let shown = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        if !shown.is_some_and(|shown| token.matches(shown)) {
            return Err(Reason::Unauthorized.into());
        }
    }
    let text = Bytes::from(setup.shared.telemetry.metrics_text());
    let mut response = Response::with_body(StatusCode::OK, Outgoing::Own(text));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Whether balancers should send requests here.
async fn ready(setup: &Setup) -> Response<Outgoing> {
    let reason = if setup.shared.leaving.is_cancelled() {
        Some("draining")
    } else if setup
        .current
        .limiter
        .as_ref()
        .is_some_and(Limiter::refuses_all)
    {
        Some("rate_limit_unavailable")
    } else if !any_node_is_there(setup).await {
        Some("origin_unavailable")
    } else {
        None
    };
    match reason {
        None => say(StatusCode::OK, &json!({ "ready": true })),
        Some(reason) => say(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({ "ready": false, "reason": reason }),
        ),
    }
}

async fn any_node_is_there(setup: &Setup) -> bool {
    let now = setup.shared.clock.monotonic();
    if !setup.current.fleet.can_serve(now) {
        return false;
    }
    for lane in &setup.lanes {
        if is_there(lane, &setup.current.settings.health, &*setup.shared.clock).await {
            return true;
        }
    }
    false
}
