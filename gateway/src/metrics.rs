//! What the gateway counts. The name of the first metric and its labels are those of the gateway it replaces.

use std::{borrow::Cow, sync::Arc, time::Duration};

use actix_http::Method;
use arc_swap::ArcSwap;
use archipel_kit::{
    clock::Clock,
    metrics,
    telemetry::metrics::{Code, Counter, Gauge, Histogram, Label, Meter, observe_named},
};

use crate::{
    limiter::Limiter,
    refusal::Reason,
    route::Route,
    state::Current,
    upstream::{BreakerState, Node},
};

metrics! {
    /// The metrics of one gateway. What is looked up when somebody asks is below, in `observe`.
    pub(crate) struct GatewayMetrics {
        /// Requests by method, path and status.
        pub(crate) requests: Counter<(MethodLabel, Route, Code)> = "hive_gateway_http_requests_total";
        /// Time from the head of a request to the head of its answer.
        pub(crate) request_time: Histogram<Route> = "archipel_gateway_request_seconds";
        /// Requests that are being answered, streams included.
        pub(crate) in_flight: Gauge<()> = "archipel_gateway_requests_in_flight";
        /// Requests that were refused, by reason.
        pub(crate) refusals: Counter<Reason> = "archipel_gateway_refusals_total";
        /// Connections that were closed before a request was read from them.
        pub(crate) unserved: Counter<Unserved> = "archipel_gateway_connections_unserved_total";
        /// Exchanges with the node that failed.
        pub(crate) upstream_failures: Counter<UpstreamFailure> = "archipel_gateway_upstream_failures_total";
        /// Requests that were sent to another node because the first failed.
        pub(crate) retries: Counter<()> = "archipel_gateway_upstream_retries_total";
        /// Decisions of the rate limiter by who made them.
        pub(crate) limit: Counter<Limited> = "archipel_gateway_rate_limit_decisions_total";
        /// Whether Redis could be asked the last time (1) or not (0).
        pub(crate) redis_up: Gauge<()> = "archipel_gateway_rate_limit_redis_up";
        /// Changes of the configuration, by what became of them.
        pub(crate) reloads: Counter<Reload> = "archipel_gateway_reloads_total";
    }
}

metrics! {
    /// Why a connection was closed before a request was read from it.
    pub(crate) enum Unserved = "reason" {
        /// Its address has too many.
        TooMany = "too_many",
        /// It did not begin with a PROXY header, or somebody else than a trusted proxy made it.
        ProxyHeader = "proxy_header",
        /// No TLS was agreed on, or the client showed no good certificate.
        Handshake = "handshake",
        /// It said nothing.
        Silent = "silent",
        /// It was gone.
        Broken = "broken",
    }
}

metrics! {
    /// What became of a change of the configuration.
    pub(crate) enum Reload = "outcome" {
        /// It is in force.
        Taken = "taken",
        /// It has problems; what was before still holds.
        Refused = "refused",
    }
}

metrics! {
    /// How an exchange with the node failed.
    pub(crate) enum UpstreamFailure = "kind" {
        /// No connection.
        Connect = "connect",
        /// Too slow.
        Timeout = "timeout",
        /// It broke, before or within the answer.
        Broken = "broken",
    }
}

metrics! {
    /// What became of a request at the limiter.
    pub(crate) enum Limited = "decision" {
        /// Let through.
        Allowed = "allowed",
        /// Refused.
        Denied = "denied",
        /// Refused without asking Redis, which had refused the client a moment ago.
        DeniedAgain = "denied_again",
        /// Counted in this process because Redis could not be asked.
        WithoutRedis = "without_redis",
        /// Refused because Redis could not be asked.
        Undecided = "undecided",
    }
}

/// A method that the gateway serves, or another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MethodLabel {
    Get,
    Post,
    Delete,
    Other,
}

impl From<&Method> for MethodLabel {
    fn from(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            Method::POST => Self::Post,
            Method::DELETE => Self::Delete,
            _ => Self::Other,
        }
    }
}

impl Label for MethodLabel {
    const NAME: &'static str = "method";
    const COUNT: usize = 4;

    fn index(self) -> usize {
        self as usize
    }

    fn text(index: usize) -> Cow<'static, str> {
        ["GET", "POST", "DELETE", "OTHER"]
            .get(index)
            .copied()
            .unwrap_or_default()
            .into()
    }
}

/// Declares what is looked up when somebody asks for the metrics: it belongs to the configuration in force.
pub(crate) fn observe(meter: &Meter, current: &Arc<ArcSwap<Current>>, clock: &Arc<dyn Clock>) {
    observe_nodes(meter, current, clock);
    let held = Arc::clone(current);
    observe_named(
        meter,
        "archipel_gateway_rate_limit_keys",
        "Keys of the limiter in this process: held, and how many can be.",
        "kind",
        move || {
            let current = held.load();
            let limiter = current.limiter.as_ref();
            let (held, capacity) = limiter.map(Limiter::held).unwrap_or_default();
            let count = |number| i64::try_from(number).unwrap_or(i64::MAX);
            vec![("held", count(held)), ("capacity", count(capacity))]
        },
    );
    let certificates = Arc::clone(current);
    observe_named(
        meter,
        "archipel_gateway_certificate_expires_timestamp_seconds",
        "When a certificate expires, in seconds since the Unix epoch.",
        "certificate",
        move || {
            let current = certificates.load();
            let listener = current.tls.as_ref().map(|tls| ("listener", tls.expires));
            listener.into_iter().collect()
        },
    );
}

fn observe_nodes(meter: &Meter, current: &Arc<ArcSwap<Current>>, clock: &Arc<dyn Clock>) {
    let observe = |name, help, read: fn(&Node, Duration) -> i64| {
        let (current, clock) = (Arc::clone(current), Arc::clone(clock));
        observe_named(meter, name, help, "upstream", move || {
            let current = current.load();
            let nodes = current.fleet.members().iter().map(|member| &member.node);
            let now = clock.monotonic();
            nodes
                .map(|node| (node.name().to_owned(), read(node, now)))
                .collect()
        });
    };
    observe(
        "archipel_gateway_upstream_up",
        "Whether a node can be asked (1) or is left out (0).",
        |node, now| i64::from(node.may_be_asked(now)),
    );
    observe(
        "archipel_gateway_upstream_breaker",
        "Where a node's breaker stands: 0 passing, 1 probing, 2 tripped.",
        |node, _| match node.breaker_state() {
            BreakerState::Passing => 0,
            BreakerState::Probing { .. } => 1,
            BreakerState::Tripped { .. } => 2,
        },
    );
    observe(
        "archipel_gateway_upstream_requests_in_flight",
        "Requests under way at a node, streams included.",
        |node, _| i64::try_from(node.in_flight()).unwrap_or(i64::MAX),
    );
}
