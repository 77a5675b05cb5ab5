//! The node's part of a trace that its caller began, where traces are sent.

use actix_http::{HttpMessage as _, Request};
use actix_web::http::header::{HeaderName, HeaderValue};
use archipel_kit::telemetry::trace;
use tracing::Span;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Begins the span of a request. From here on the request itself names it as the parent of what follows: whatever passes
/// the header on, to agents and to peers, leads their spans to ours.
pub(crate) fn begin(request: &mut Request) -> Span {
    let span = tracing::info_span!(
        "node.request",
        otel.kind = "server",
        http.request.method = request.method().as_str(),
        http.response.status_code = tracing::field::Empty,
        url.path = request.path(),
    );
    let header = |name: &str| request.headers().get(name)?.to_str().ok();
    trace::join(&span, header("traceparent"), header("tracestate"));
    let own = trace::traceparent(&span).and_then(|text| HeaderValue::try_from(text).ok());
    if let Some(own) = own {
        request.headers_mut().insert(TRACEPARENT, own);
    }
    span
}
