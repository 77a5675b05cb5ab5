//! Settings of what is let in: per place of the gateway, and for browsers.

use std::time::Duration;

use archipel_kit::{settings, settings::Problems};

settings! {
    /// What holds below one path, beside what holds everywhere. The longest path that fits a request counts.
    pub struct RouteSettings, check = RouteSettings::check {
        /// A path of this gateway, and all below it.
        pub path: String, in 1..=512, example "/agents/summarizer";
        /// Answers 503 to everybody: the place is out of use for now.
        pub closed: bool = false;
        /// HTTP methods that are served. Empty: all that the place knows.
        pub methods: Vec<String> = [], in 0..=8;
        /// JSON-RPC methods that are let through. Empty: all.
        pub rpc_methods: Vec<String> = [], in 0..=64, example ["GetTask", "SendMessage"];
        /// Requests per minute of one client here, beside its general limit. 0: no limit.
        pub per_minute: u32 = 0, in 0..=10000000;
        /// How many of them may come at once. 0: all.
        pub burst: u32 = 0, in 0..=10000000;
        /// Requests per minute of all clients together here. 0: no limit.
        pub total_per_minute: u32 = 0, in 0..=100000000;
    }
}

impl RouteSettings {
    fn check(&self, problems: &mut Problems) {
        if !self.path.starts_with('/') {
            problems.add("path", "must begin with /");
        }
        for (index, method) in self.methods.iter().enumerate() {
            if !["GET", "HEAD", "POST", "DELETE"].contains(&method.as_str()) {
                problems.add(
                    &format!("methods[{index}]"),
                    format!("must be GET, HEAD, POST or DELETE, found {method:?}"),
                );
            }
        }
    }

    /// Whether a request path lies below.
    pub fn holds(&self, path: &str) -> bool {
        let prefix = self.path.trim_end_matches('/');
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

settings! {
    /// Which web pages may call. Without an origin nothing is said to browsers: they keep pages of others out.
    pub struct CorsSettings, check = CorsSettings::check {
        /// Origins: `https://app.example.org`, or `https://*.example.org` for every host below that one, or `*` for all.
        pub origins: Vec<String> = [], in 0..=256, env ["GATEWAY_CORS_ORIGINS"];
        /// Whether pages may send credentials that the browser keeps. Not with `*`.
        pub credentials: bool = false, env ["GATEWAY_CORS_CREDENTIALS"];
        /// Whether pages from the Internet may call although this gateway is in a private network.
        pub private_network: bool = false, env ["GATEWAY_CORS_PRIVATE_NETWORK"];
        /// For how long browsers remember what they were told.
        pub max_age: Duration = "10m", in "0s"..="24h", env ["GATEWAY_CORS_MAX_AGE_SECONDS"];
        /// Headers of answers that pages may read, beside those that every page may.
        pub expose: Vec<String> = ["A2A-Version", "A2A-Extensions", "X-A2A-Extensions", "Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "WWW-Authenticate", "X-Request-Id"], in 0..=64;
    }
}

impl CorsSettings {
    fn check(&self, problems: &mut Problems) {
        for (index, origin) in self.origins.iter().enumerate() {
            let rest = origin
                .strip_prefix("https://")
                .or_else(|| origin.strip_prefix("http://"));
            let fits = rest.is_some_and(|host| {
                let host = host.strip_prefix("*.").unwrap_or(host);
                !host.is_empty() && !host.contains(['*', '/', '?', '#', '@', ' '])
            });
            if origin != "*" && !fits {
                problems.add(
                    &format!("origins[{index}]"),
                    format!(
                        "must be an origin such as https://app.example.org or https://*.example.org, found {origin:?}"
                    ),
                );
            }
        }
        if self.credentials && self.origins.iter().any(|origin| origin == "*") {
            problems.add(
                "credentials",
                "cannot be allowed to every origin: name them",
            );
        }
        for (index, name) in self.expose.iter().enumerate() {
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                problems.add(
                    &format!("expose[{index}]"),
                    format!("{name:?} is no header name"),
                );
            }
        }
    }
}
