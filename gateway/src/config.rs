//! The gateway's settings: one declaration for the file, the environment and the example.

use std::{net::SocketAddr, path::Path, time::Duration};

use archipel_kit::{
    client::is_hop_by_hop,
    settings,
    settings::{ByteSize, Environment, Problems, Secret},
    telemetry::TelemetrySettings,
};
use ipnet::IpNet;
use url::Url;

/// What a client may not speak for: the gateway itself, the proxies before it, and the shape of the message.
const KEPT_BACK: [&str; 9] = [
    "host",
    "content-length",
    "x-hive-gateway-auth",
    "x-pilox-gateway-auth",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-real-ip",
    "x-client-ip",
];

/// What the gateway that this one replaces has and this one lacks. To pass over them would be to serve plain HTTP where
/// TLS was asked for.
const TLS_VARIABLES: [&str; 3] = [
    "GATEWAY_TLS_CERT_PATH",
    "GATEWAY_TLS_KEY_PATH",
    "GATEWAY_MTLS_CA_PATH",
];

settings! {
    /// Settings of archipel-gateway. Every key is shown with its default; a line that begins with #key has none.
    pub struct GatewaySettings, check = GatewaySettings::check {
        /// Address to listen on, for plain HTTP: TLS is for a proxy in front of it. Loopback, because a public edge should
        /// be chosen, not inherited.
        pub listen: SocketAddr = "127.0.0.1:7480", env ["GATEWAY_LISTEN"];
        /// Replaces the port of `listen`; the name that process managers set.
        pub port: Option<u16>, env ["PORT"], example 7480;
        /// Threads that serve. 0: one per processor.
        pub workers: usize = 0, in 0..=1024, env ["GATEWAY_WORKERS"];

        /// Base URL of the node behind this gateway. It may have a path, which is put before every other.
        pub upstream: Url = "http://127.0.0.1:7400", env ["GATEWAY_UPSTREAM_BASE"];
        /// Where the node answers JSON-RPC: the target of `POST /v1/a2a/jsonrpc`.
        pub jsonrpc_path: String = "/api/a2a/jsonrpc", in 1..=512, env ["GATEWAY_JSONRPC_PATH"];
        /// Shows the node that a request came through this gateway (the node's `gateway_secret`).
        pub upstream_auth_secret: Option<Secret>, in 32..=512, env ["GATEWAY_UPSTREAM_AUTH_SECRET"];
        /// What the node is told about the client in `X-Forwarded-For`: `off` nothing, `socket` the client's address,
        /// `chain` that and the trusted proxy it came through. What the client itself claims is never passed on.
        pub forward_for: ForwardFor = "socket", env ["GATEWAY_UPSTREAM_FORWARD_FOR"];
        /// Proxies in front of this gateway (networks) whose `X-Forwarded-For` is believed.
        pub trusted_proxies: Vec<IpNet> = [], in 0..=256, env ["GATEWAY_TRUSTED_PROXIES"];

        /// Largest body of a request, declared or counted (413).
        pub max_body: ByteSize = "512KiB", in "1KiB"..="8MiB", env ["GATEWAY_MAX_BODY_BYTES"];
        /// Longest request target in bytes (414).
        pub max_url: ByteSize = "8KiB", in "2KiB"..="64KiB", env ["GATEWAY_MAX_URL_BYTES"];
        /// Largest sum of header names and values in bytes (431).
        pub max_headers: ByteSize = "32KiB", in "4KiB"..="120KiB", env ["GATEWAY_MAX_HEADER_BYTES"];
        /// Open connections per worker; more wait to be accepted.
        pub max_connections: usize = 25000, in 1..=1000000, env ["GATEWAY_MAX_CONNECTIONS"];
        /// Request headers that reach the node beside the usual ones, for instance its identity header.
        pub pass_headers: Vec<String> = [], in 0..=32, env ["GATEWAY_PASS_HEADERS"];
        /// Requests whose User-Agent contains one of these words (any case) are refused (403).
        pub block_user_agents: Vec<String> = [], in 0..=64, env ["GATEWAY_BLOCK_USER_AGENTS"];

        /// Time for a client to send a request's head, and again its body. 0s: no limit.
        pub request_timeout: Duration = "30s", in "0s"..="10m", env ["GATEWAY_REQUEST_TIMEOUT_MS"];
        /// Time for a connection to the node.
        pub connect_timeout: Duration = "2s", in "10ms"..="1m", env ["GATEWAY_UPSTREAM_CONNECT_TIMEOUT_MS"];
        /// Time from sending a request to the head of the node's answer. Blocking calls wait for the agent's work.
        pub first_byte_timeout: Duration = "2m", in "10ms"..="1h", env ["GATEWAY_UPSTREAM_FIRST_BYTE_TIMEOUT_MS"];
        /// Time between two pieces of an answer. Nodes send a comment into a quiet stream well before this.
        pub idle_timeout: Duration = "5m", in "10ms"..="24h", env ["GATEWAY_UPSTREAM_IDLE_TIMEOUT_MS"];
        /// Time for a whole exchange. 0s: no limit, which streams need.
        pub total_timeout: Duration = "0s", in "0s"..="5m", env ["GATEWAY_UPSTREAM_TIMEOUT_MS"];

        /// Requests per minute and client (an IPv4 address, or the /64 of an IPv6 address). 0: no limit.
        pub rate_limit_per_minute: u32 = 0, in 0..=10000000, env ["GATEWAY_RATE_LIMIT_PER_MIN"];
        /// How many of them may come at once. 0: all.
        pub rate_limit_burst: u32 = 0, in 0..=10000000, env ["GATEWAY_RATE_LIMIT_BURST"];
        /// Clients whose state is kept in this process; bounds its memory (about 100 bytes each).
        pub rate_limit_clients: usize = 100000, in 16..=10000000, env ["GATEWAY_RATE_LIMIT_CLIENTS"];
        /// Redis that shares the limit between gateways; redis:// or rediss://, with its password. Unset: each
        /// gateway counts for itself.
        pub rate_limit_redis_url: Option<Secret>, env ["GATEWAY_RATE_LIMIT_REDIS_URL"], example "redis://127.0.0.1:6379";
        /// Put before the names of the limiter's keys there.
        pub rate_limit_redis_prefix: String = "archipel:gw:rl:", in 1..=64, env ["GATEWAY_RATE_LIMIT_REDIS_PREFIX"];
        /// While Redis cannot be asked: `local` counts in each gateway, `deny` answers 503.
        pub rate_limit_without_redis: WithoutRedis = "local", env ["GATEWAY_RATE_LIMIT_WITHOUT_REDIS"];

        /// Adds `X-Content-Type-Options: nosniff` to answers.
        pub security_headers: bool = false, env ["GATEWAY_SECURITY_HEADERS"];
        /// Bearer token that `GET /v1/metrics` asks for. Unset: anybody who reaches it may read it.
        pub metrics_token: Option<Secret>, env ["GATEWAY_METRICS_AUTH_SECRET"];
        /// After SIGTERM: how long `/readyz` fails before connections are refused, so that balancers notice.
        pub drain_delay: Duration = "0s", in "0s"..="5m", env ["GATEWAY_DRAIN_DELAY_MS"];
        /// After that: how long requests may still take. Event streams are ended at once, for clients resume them.
        pub drain_timeout: Duration = "10s", in "0s"..="5m", env ["GATEWAY_DRAIN_TIMEOUT_MS"];

        /// Logs, traces and metrics.
        pub telemetry: TelemetrySettings;
    }
}

settings! {
    /// What the node is told about the client.
    pub enum ForwardFor {
        /// Nothing.
        Off = "off",
        /// The client's address.
        Socket = "socket",
        /// The client's address, and the trusted proxy it came through.
        Chain = "chain",
    }
}

settings! {
    /// What happens to requests while Redis cannot be asked.
    pub enum WithoutRedis {
        /// Each gateway counts for itself.
        Local = "local",
        /// They are refused with 503.
        Deny = "deny",
    }
}

impl GatewaySettings {
    /// Reads the file, if one is given, and the environment.
    ///
    /// # Errors
    /// All problems, as with [`settings::load`], and each variable that asks for TLS.
    pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Self, Problems> {
        let loaded = settings::load(file, environment);
        let asked = TLS_VARIABLES
            .into_iter()
            .filter(|name| environment.get(name).is_some());
        let mut problems = loaded.as_ref().err().cloned().unwrap_or_default();
        for name in asked {
            problems.add(
                name,
                "this gateway speaks plain HTTP only: unset it, and put a proxy that ends TLS before the gateway",
            );
        }
        if problems.is_empty() {
            loaded
        } else {
            Err(problems)
        }
    }

    /// The address to listen on, with the port that was set apart.
    pub fn address(&self) -> SocketAddr {
        let mut address = self.listen;
        if let Some(port) = self.port {
            address.set_port(port);
        }
        address
    }

    fn check(&self, problems: &mut Problems) {
        let upstream = &self.upstream;
        if !matches!(upstream.scheme(), "http" | "https") || upstream.host_str().is_none() {
            problems.add("upstream", "must be an http:// or https:// URL with a host");
        }
        if !upstream.username().is_empty() || upstream.password().is_some() {
            problems.add("upstream", "must not hold a user or password");
        }
        if upstream.query().is_some() || upstream.fragment().is_some() {
            problems.add("upstream", "must not hold a query or fragment");
        }
        let path = &self.jsonrpc_path;
        let plain = path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
        if !path.starts_with('/') || !plain {
            problems.add(
                "jsonrpc_path",
                "must be a path that begins with / and has no query",
            );
        }
        for (index, name) in self.pass_headers.iter().enumerate() {
            let lower = name.to_ascii_lowercase();
            let at = format!("pass_headers[{index}]");
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                problems.add(&at, format!("{name:?} is no header name"));
            } else if is_hop_by_hop(&lower) || KEPT_BACK.contains(&lower.as_str()) {
                problems.add(&at, format!("{name:?} is never passed on"));
            }
        }
        if let Some(secret) = &self.upstream_auth_secret
            && !secret.expose().bytes().all(|byte| byte.is_ascii_graphic())
        {
            problems.add(
                "upstream_auth_secret",
                "must consist of printable characters without spaces",
            );
        }
        if let Some(url) = &self.rate_limit_redis_url
            && let Err(error) = redis::Client::open(url.expose())
        {
            problems.add(
                "rate_limit_redis_url",
                format!("is no Redis URL: {:?}", error.kind()),
            );
        }
    }
}

#[cfg(test)]
mod tests;
