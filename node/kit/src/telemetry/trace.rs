//! Joining spans of this process to those of its callers and of whom it calls (W3C Trace Context).

use std::collections::HashMap;

use opentelemetry::{global, trace::TraceContextExt as _};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Makes a span part of the trace that a caller's `traceparent` (and `tracestate`) name. Call it before the span is
/// entered. Without them, or when they are not well formed, the span begins a trace.
pub fn join(span: &Span, traceparent: Option<&str>, tracestate: Option<&str>) {
    let named = [("traceparent", traceparent), ("tracestate", tracestate)];
    let carrier: HashMap<String, String> = named
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    let parent = global::get_text_map_propagator(|propagator| propagator.extract(&carrier));
    // It fails only where no layer sends traces; then there is nothing to join.
    let _ = span.set_parent(parent);
}

/// The `traceparent` that makes a call part of this span; `None` when it is not traced.
pub fn traceparent(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let mut carrier = HashMap::new();
    let context = span.context();
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut carrier);
    });
    carrier.remove("traceparent")
}

/// The id of the trace that a span is part of.
pub fn trace_id(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| context.trace_id().to_string())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn a_span_joins_the_callers_trace_and_hands_it_on() {
        global::set_text_map_propagator(TraceContextPropagator::new());
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("joined");
            let trace = "0af7651916cd43dd8448eb211c80319c";
            let caller = format!("00-{trace}-b7ad6b7169203331-01");
            join(&span, Some(&caller), None);
            let handed_on = traceparent(&span).unwrap();
            assert!(handed_on.starts_with(&format!("00-{trace}-")) && handed_on != caller);
            assert_eq!(trace_id(&span).as_deref(), Some(trace));

            let alone = tracing::info_span!("alone");
            join(&alone, Some("nonsense"), None);
            assert_ne!(trace_id(&alone).as_deref(), Some(trace));
        });
        assert_eq!(traceparent(&Span::none()), None);
    }
}
