//! What the bridge of envelopes counts: name and labels are those of the bridge of Hive and Pilox.

use actix_web::http::Method;
use archipel_kit::metrics;
use archipel_kit::telemetry::metrics::{Code, Counter};

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
