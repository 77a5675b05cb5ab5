//! Settings of what the gateway tells about single requests.

use archipel_kit::settings;

settings! {
    /// One log line per request, written when its answer has ended.
    pub struct AccessLogSettings {
        /// Which requests.
        pub requests: AccessLog = "off", env ["GATEWAY_ACCESS_LOG"];
        /// Request headers that are logged.
        pub headers: Vec<String> = ["user-agent", "x-request-id"], in 0..=32;
        /// Parameters of the query, and headers, whose value is replaced by `[redacted]`. Credentials always are.
        pub redact: Vec<String> = [], in 0..=64;
    }
}

settings! {
    /// Which requests are logged.
    pub enum AccessLog {
        /// None.
        Off = "off",
        /// Those that were answered with a status from 400 on, or whose answer broke off.
        Failed = "failed",
        /// All.
        All = "all",
    }
}
