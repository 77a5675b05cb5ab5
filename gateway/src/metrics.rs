//! What the gateway counts. The name of the first metric and its labels are those of the gateway it replaces.

use std::borrow::Cow;

use actix_web::http::{Method, StatusCode};
use archipel_kit::{
    metrics,
    telemetry::metrics::{Counter, Gauge, Histogram, Label},
};

use crate::route::Route;

metrics! {
    /// The metrics of one gateway.
    pub(crate) struct GatewayMetrics {
        /// Requests by method, path and status.
        pub(crate) requests: Counter<(MethodLabel, Route, Code)> = "hive_gateway_http_requests_total";
        /// Requests that are being answered, streams included.
        pub(crate) in_flight: Gauge<()> = "archipel_gateway_requests_in_flight";
        /// Time from sending a request to the node to the head of its answer.
        pub(crate) first_byte: Histogram<()> = "archipel_gateway_upstream_first_byte_seconds";
        /// Exchanges with the node that failed.
        pub(crate) upstream_failures: Counter<UpstreamFailure> = "archipel_gateway_upstream_failures_total";
        /// Decisions of the rate limiter by who made them.
        pub(crate) limit: Counter<Limited> = "archipel_gateway_rate_limit_decisions_total";
        /// Whether Redis could be asked the last time (1) or not (0).
        pub(crate) redis_up: Gauge<()> = "archipel_gateway_rate_limit_redis_up";
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

/// A status, 100 to 599; what the node sends beyond that counts as 599.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Code(u16);

impl From<StatusCode> for Code {
    fn from(status: StatusCode) -> Self {
        Self(status.as_u16().clamp(100, 599))
    }
}

impl Label for Code {
    const NAME: &'static str = "code";
    const COUNT: usize = 500;

    fn index(self) -> usize {
        usize::from(self.0 - 100)
    }

    fn text(index: usize) -> Cow<'static, str> {
        (index + 100).to_string().into()
    }
}
