//! What the bridge of envelopes counts: name and labels are those of the bridge of Hive and Pilox.

use std::borrow::Cow;

use actix_web::http::{Method, StatusCode};
use archipel_kit::metrics;
use archipel_kit::telemetry::metrics::{Counter, Label};

metrics! {
    /// What the bridge of envelopes counts, as that of Hive and Pilox does.
    pub struct BridgeMetrics {
        /// Requests to the paths of the bridge, by method, path and status.
        pub requests: Counter<(BridgeMethod, BridgePath, Code)> = "hive_bridge_http_requests_total";
    }
}

metrics! {
    /// A method that the bridge serves, or another.
    pub enum BridgeMethod = "method" {
        Get = "GET",
        Post = "POST",
        Other = "other",
    }
}

metrics! {
    /// A path of the bridge.
    pub enum BridgePath = "path" {
        Health = "/v1/health",
        Metrics = "/v1/metrics",
        Publish = "/v1/publish",
    }
}

impl BridgeMethod {
    pub(crate) fn of(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            Method::POST => Self::Post,
            _ => Self::Other,
        }
    }
}

impl BridgePath {
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path {
            "/v1/health" => Some(Self::Health),
            "/v1/metrics" => Some(Self::Metrics),
            "/v1/publish" => Some(Self::Publish),
            _ => None,
        }
    }
}

/// A status, 100 to 599.
#[derive(Debug, Clone, Copy)]
pub struct Code(u16);

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
