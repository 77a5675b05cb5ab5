//! The gateway's settings: one declaration for the file, the environment and the example.
//!
//! Read this file for what stands at the top, then `listener`, `upstream`, `limits`, `guard` and `watch` for the tables, and
//! `check` for the rules over several keys.

mod check;
mod guard;
mod limits;
mod listener;
mod upstream;
mod watch;

use std::{net::SocketAddr, path::Path, time::Duration};

use archipel_kit::{
    admission::{ClientHeader, ClientRules, ProxyHeader},
    settings,
    settings::{ByteSize, Environment, Problems, Secret},
    telemetry::TelemetrySettings,
};
use ipnet::IpNet;
use url::Url;

pub use guard::{CorsSettings, RouteSettings};
pub use limits::{LimitHeaders, TierSettings, WithoutRedis};
pub use listener::TlsSettings;
pub use upstream::{
    Balance, BreakerSettings, HealthSettings, UpstreamSettings, UpstreamTlsSettings,
};
pub use watch::{AccessLog, AccessLogSettings};

settings! {
    /// Settings of archipel-gateway. Every key is shown with its default; a line that begins with #key has none.
    /// A running gateway looks at this file every `reload_interval` and at SIGHUP. What cannot change while it runs is
    /// said so; a file with problems changes nothing.
    pub struct GatewaySettings, check = GatewaySettings::check {
        /// Address to listen on. Loopback, because a public edge should be chosen, not inherited. Needs a restart.
        pub listen: SocketAddr = "127.0.0.1:7480", env ["GATEWAY_LISTEN"];
        /// Replaces the port of `listen`; the name that process managers set. Needs a restart.
        pub port: Option<u16>, env ["PORT"], example 7480;
        /// Where the operator asks and steers (plain HTTP, loopback only). Unset: nowhere. Needs a restart.
        pub admin_listen: Option<SocketAddr>, env ["GATEWAY_ADMIN_LISTEN"], example "127.0.0.1:7481";
        /// Threads that serve. 0: one per processor. Needs a restart.
        pub workers: usize = 0, in 0..=512, env ["GATEWAY_WORKERS"];
        /// How often this file, and the files it names, are looked at for changes; one is taken when it is found twice, for
        /// a file may still be being written. SIGHUP takes it at once. 0s: only at SIGHUP.
        pub reload_interval: Duration = "5s", in "0s"..="24h", env ["GATEWAY_RELOAD_INTERVAL_MS"];
        /// Answers 503 to everybody, everywhere but at the gateway's own places, so that nothing reaches the nodes.
        pub closed: bool = false, env ["GATEWAY_CLOSED"];
        /// What clients are told then about when to come back.
        pub closed_retry_after: Duration = "30s", in "1s"..="24h", env ["GATEWAY_CLOSED_RETRY_AFTER_MS"];

        /// Base URL of the node behind this gateway. It may have a path, which is put before every other. Not used when
        /// there are `[[upstreams]]`.
        pub upstream: Url = "http://127.0.0.1:7400", env ["GATEWAY_UPSTREAM_BASE"];
        /// How a request finds its node when there are several.
        pub balance: Balance = "least_loaded", env ["GATEWAY_BALANCE"];
        /// With `balance = "task"`: how many tasks and conversations the gateway remembers the node of.
        pub remembered_tasks: usize = 200000, in 16..=10000000, env ["GATEWAY_REMEMBERED_TASKS"];
        /// Where the node answers JSON-RPC: the target of `POST /v1/a2a/jsonrpc`.
        pub jsonrpc_path: String = "/api/a2a/jsonrpc", in 1..=512, env ["GATEWAY_JSONRPC_PATH"];
        /// Shows the node that a request came through this gateway (the node's `gateway_secret`).
        pub upstream_auth_secret: Option<Secret>, in 32..=512, env ["GATEWAY_UPSTREAM_AUTH_SECRET"];
        /// What the node is told about the client in `X-Forwarded-For`: `off` nothing, `socket` the client's address,
        /// `chain` that and the trusted proxy it came through. What the client itself claims is never passed on.
        pub forward_for: ForwardFor = "socket", env ["GATEWAY_UPSTREAM_FORWARD_FOR"];
        /// How often a request is sent to another node when the first failed and nothing was sent to it, or it only reads.
        pub retries: u32 = 1, in 0..=10, env ["GATEWAY_RETRIES"];
        /// How many more requests nodes may get by that, in percent.
        pub retry_budget_percent: u32 = 20, in 0..=100, env ["GATEWAY_RETRY_BUDGET_PERCENT"];
        /// How long a node that came back takes to get its whole share again, when there are others.
        pub slow_start: Duration = "10s", in "0s"..="1h", env ["GATEWAY_SLOW_START_MS"];
        /// Requests that one node gets at once; more go to others, or are refused (503). 0: no bound.
        pub max_requests_per_upstream: usize = 0, in 0..=10000000, env ["GATEWAY_MAX_REQUESTS_PER_UPSTREAM"];

        /// Proxies in front of this gateway (networks) that are believed about their clients.
        pub trusted_proxies: Vec<IpNet> = [], in 0..=256, env ["GATEWAY_TRUSTED_PROXIES"];
        /// How many proxies every request passes before this gateway, where they have no fixed addresses. Only when
        /// nobody can go around them. 0: `trusted_proxies` count.
        pub trusted_hops: usize = 0, in 0..=16, env ["GATEWAY_TRUSTED_HOPS"];
        /// Where they tell the client's address.
        pub client_header: ClientHeader = "x-forwarded-for", env ["GATEWAY_CLIENT_HEADER"];
        /// Whether connections begin with a PROXY header (versions 1 and 2). Those of others than `trusted_proxies` are
        /// closed then.
        pub proxy_header: ProxyHeader = "off", env ["GATEWAY_PROXY_HEADER"];
        /// Takes HTTP/2 without TLS from clients that begin with it.
        pub http2_without_tls: bool = false, env ["GATEWAY_HTTP2_WITHOUT_TLS"];

        /// Largest body of a request, declared or counted (413).
        pub max_body: ByteSize = "512KiB", in "1KiB"..="8MiB", env ["GATEWAY_MAX_BODY_BYTES"];
        /// Longest request target in bytes (414).
        pub max_url: ByteSize = "8KiB", in "2KiB"..="64KiB", env ["GATEWAY_MAX_URL_BYTES"];
        /// Largest sum of header names and values in bytes (431).
        pub max_headers: ByteSize = "32KiB", in "4KiB"..="120KiB", env ["GATEWAY_MAX_HEADER_BYTES"];
        /// Most headers of a request (431). The HTTP server itself takes no more than 96.
        pub max_header_count: usize = 64, in 8..=96, env ["GATEWAY_MAX_HEADER_COUNT"];
        /// How deep the JSON of a request may nest (400). 0: not looked at.
        pub max_json_depth: usize = 64, in 0..=1000, env ["GATEWAY_MAX_JSON_DEPTH"];
        /// Media types that a body may have (415); a body without one passes. Empty: all.
        pub content_types: Vec<String> = ["application/json", "application/a2a+json"], in 0..=16, env ["GATEWAY_CONTENT_TYPES"];
        /// Open connections per worker; more wait to be accepted. Needs a restart.
        pub max_connections: usize = 25000, in 1..=1000000, env ["GATEWAY_MAX_CONNECTIONS"];
        /// Open connections of one address (the /64 of an IPv6 one); more are closed at once. 0: no bound.
        pub max_connections_per_address: usize = 0, in 0..=1000000, env ["GATEWAY_MAX_CONNECTIONS_PER_ADDRESS"];
        /// Requests under way, streams included; more are refused (503). 0: no bound.
        pub max_requests: usize = 0, in 0..=10000000, env ["GATEWAY_MAX_REQUESTS"];
        /// The same for one client (429). 0: no bound.
        pub max_requests_per_client: usize = 0, in 0..=1000000, env ["GATEWAY_MAX_REQUESTS_PER_CLIENT"];
        /// Request headers that reach the node beside the usual ones, for instance its identity header.
        pub pass_headers: Vec<String> = [], in 0..=32, env ["GATEWAY_PASS_HEADERS"];
        /// Requests whose User-Agent contains one of these words (any case) are refused (403).
        pub block_user_agents: Vec<String> = [], in 0..=64, env ["GATEWAY_BLOCK_USER_AGENTS"];
        /// Refuses requests without User-Agent too.
        pub block_missing_user_agent: bool = false, env ["GATEWAY_BLOCK_MISSING_USER_AGENT"];

        /// Time for a client to send a request's head, and again its body. 0s: no limit.
        pub request_timeout: Duration = "30s", in "0s"..="10m", env ["GATEWAY_REQUEST_TIMEOUT_MS"];
        /// How long a connection without a request is kept. Needs a restart.
        pub keep_alive: Duration = "60s", in "1s"..="1h", env ["GATEWAY_KEEP_ALIVE_MS"];
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
        /// Requests per minute of each peer, known by its client certificate, else by the issuer its federation token
        /// claims together with its address; beside the other limits. 0: no limit.
        pub rate_limit_peer_per_minute: u32 = 0, in 0..=10000000, env ["GATEWAY_RATE_LIMIT_PEER_PER_MIN"];
        /// Clients whose state is kept in this process; bounds its memory (about 100 bytes each).
        pub rate_limit_clients: usize = 100000, in 16..=10000000, env ["GATEWAY_RATE_LIMIT_CLIENTS"];
        /// Redis that shares the limits between gateways; redis:// or rediss://, with its password. Unset: each
        /// gateway counts for itself.
        pub rate_limit_redis_url: Option<Secret>, env ["GATEWAY_RATE_LIMIT_REDIS_URL"], example "redis://127.0.0.1:6379";
        /// Put before the names of the limiter's keys there, in braces, so that they lie in one slot of a cluster.
        pub rate_limit_redis_prefix: String = "archipel:gw:rl", in 1..=64, env ["GATEWAY_RATE_LIMIT_REDIS_PREFIX"];
        /// How long one decision may wait for Redis.
        pub rate_limit_redis_timeout: Duration = "250ms", in "5ms"..="5s", env ["GATEWAY_RATE_LIMIT_REDIS_TIMEOUT_MS"];
        /// While Redis cannot be asked: `local` counts in each gateway, `deny` answers 503.
        pub rate_limit_without_redis: WithoutRedis = "local", env ["GATEWAY_RATE_LIMIT_WITHOUT_REDIS"];
        /// Which part of each limit a gateway then gives by itself, in percent: 25 when there are four.
        pub rate_limit_local_share: u32 = 100, in 1..=100, env ["GATEWAY_RATE_LIMIT_LOCAL_SHARE"];
        /// Which answers carry `RateLimit-*` and `X-RateLimit-*`.
        pub rate_limit_headers: LimitHeaders = "refusals", env ["GATEWAY_RATE_LIMIT_HEADERS"];

        /// Adds `X-Content-Type-Options`, `X-Frame-Options` and `Referrer-Policy` to answers that lack them.
        pub security_headers: bool = false, env ["GATEWAY_SECURITY_HEADERS"];
        /// Bearer token that `GET /v1/metrics` asks for. Unset: anybody who reaches it may read it.
        pub metrics_token: Option<Secret>, env ["GATEWAY_METRICS_AUTH_SECRET"];
        /// After SIGTERM: how long `/readyz` fails before connections are refused, so that balancers notice.
        pub drain_delay: Duration = "0s", in "0s"..="5m", env ["GATEWAY_DRAIN_DELAY_MS"];
        /// After that: how long requests may still take. Event streams are ended at once, for clients resume them.
        /// Needs a restart.
        pub drain_timeout: Duration = "10s", in "0s"..="5m", env ["GATEWAY_DRAIN_TIMEOUT_MS"];

        /// TLS of the listener.
        pub tls: TlsSettings;
        /// Several nodes.
        pub upstreams: Vec<UpstreamSettings>;
        /// TLS to nodes.
        pub upstream_tls: UpstreamTlsSettings;
        /// Health checks.
        pub health: HealthSettings;
        /// When a node is left out.
        pub breaker: BreakerSettings;
        /// What holds at single places.
        pub routes: Vec<RouteSettings>;
        /// Limits by key.
        pub tiers: Vec<TierSettings>;
        /// Web pages.
        pub cors: CorsSettings;
        /// One log line per request.
        pub access_log: AccessLogSettings;
        /// Logs, traces and metrics. Needs a restart, but for `log`, which the admin listener changes.
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

impl GatewaySettings {
    /// Reads the file, if one is given, and the environment.
    ///
    /// # Errors
    /// All problems, as with [`settings::load`].
    pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Self, Problems> {
        settings::load(file, environment)
    }

    /// The address to listen on, with the port that was set apart.
    pub fn address(&self) -> SocketAddr {
        let mut address = self.listen;
        if let Some(port) = self.port {
            address.set_port(port);
        }
        address
    }

    /// The nodes: those that are listed, else the one.
    pub fn all_upstreams(&self) -> Vec<UpstreamSettings> {
        if !self.upstreams.is_empty() {
            return self.upstreams.clone();
        }
        let tls = UpstreamTlsSettings {
            ca: None,
            certificate: None,
            key: None,
            key_passphrase: None,
        };
        vec![UpstreamSettings {
            url: self.upstream.clone(),
            name: None,
            weight: 1,
            tls,
        }]
    }

    /// Whom to believe about clients.
    pub fn client_rules(&self) -> ClientRules {
        ClientRules::new(self.trusted_hops, &self.trusted_proxies, self.client_header)
    }
}

#[cfg(test)]
mod tests;
