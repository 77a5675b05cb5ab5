//! What an operator says about a node: `archipel.toml` and the environment.
//!
//! One declaration gives the types, the defaults, the bounds, the environment names and `archipel.example.toml`. Rules that
//! concern more than one key stand in `check`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use archipel_kit::admission::{ClientHeader, ClientRules, ProxyHeader};
use archipel_kit::settings;
use archipel_kit::settings::{ByteSize, Problems, Scalar, Secret};
use archipel_kit::telemetry::TelemetrySettings;
use archipel_protocol::names::Dialect;
use ipnet::IpNet;
use url::Url;

use crate::egress::EgressSettings;
use crate::federation::settings::{FederationSettings, PeerSettings};
use crate::public::PublicSettings;
use crate::push::PushSettings;
use crate::role::Role;
use crate::tls::TlsSettings;
use crate::wan::WanSettings;

pub mod agent;
mod check;
mod nats;
mod redis;
mod source;

pub use nats::{LineSettings, NatsSettings};
pub use redis::RedisSettings;
pub use source::ConfigSource;

pub use agent::{AgentKind, AgentMode, AgentSettings, Visibility};

settings! {
    /// An Archipel node. Every key may be left out, but without `internal_token` and without peers nobody gets in.
    pub struct NodeSettings, check = check::node {
        /// Address to listen on; port 0 takes any free one.
        pub listen: SocketAddr = "127.0.0.1:7400", env ["ARCHIPEL_LISTEN"];
        /// TLS of the listener. Certificate and key together turn it on.
        pub tls: TlsSettings;
        /// How others reach this node: scheme, host and port. It is what cards name, what tokens for us must be meant for
        /// and what ours are signed as. Unset: `http://`, or
        /// `https://` with `tls`, and the listening address.
        pub public_origin: Option<Url>, env ["AUTH_URL"], example "https://node.example.org";
        /// Where everything that must survive is kept. Made if it is missing; one process at a time.
        pub data_dir: PathBuf = "data", env ["ARCHIPEL_DATA_DIR"];
        /// Where tasks, claims and the audit chain are kept.
        pub store: StoreKind = "embedded", env ["ARCHIPEL_STORE"];
        /// What an acknowledged change survives.
        pub durability: Durability = "process", env ["ARCHIPEL_DURABILITY"];
        /// How large the file in the data directory may grow; beyond it the node answers 503 to what it would have to
        /// keep. Unset: as large as the disk.
        pub max_store_size: Option<ByteSize>, in "1MiB"..="64TiB", example "50GiB";
        /// Redis, so that several replicas are one node. Unset: the node is one process, which keeps things itself.
        pub redis: RedisSettings;
        /// NATS, which carries the bus where there is no Redis, and envelopes between sites. Unset: there are none.
        pub nats: NatsSettings;
        /// Worker threads; 0 takes one for each processor.
        pub workers: usize = 0, in 0..=256, env ["ARCHIPEL_WORKERS"];
        /// Which spelling of header names, issuers and channels this node emits. Both are understood.
        pub dialect: DialectName = "hive", env ["ARCHIPEL_DIALECT"];
        /// Bearer token of the operator and of our own programs. Unset: nobody gets in that way.
        pub internal_token: Option<Secret>, in 32..=512, env ["HIVE_INTERNAL_TOKEN", "PILOX_INTERNAL_TOKEN"];
        /// Secret that a gateway in front of this node presents.
        pub gateway_secret: Option<Secret>, in 32..=512, env ["MESH_GATEWAY_INBOUND_SECRET"];
        /// Whether calls must come through the gateway, that is, carry its secret. A wrong secret is refused always.
        pub gateway_enforced: bool = false, env ["MESH_GATEWAY_JSONRPC_ENFORCE"];
        /// Proxies (networks) that are believed about their clients.
        pub trusted_proxies: Vec<IpNet> = [], in 0..=64, env ["ARCHIPEL_TRUSTED_PROXIES"];
        /// How many proxies every request passes before this node, where they have no fixed addresses. Only when nobody
        /// can go around them. 0: `trusted_proxies` count.
        pub trusted_hops: usize = 0, in 0..=16, env ["ARCHIPEL_TRUSTED_HOPS"];
        /// Where they tell the client's address.
        pub client_header: ClientHeader = "x-forwarded-for", env ["ARCHIPEL_CLIENT_HEADER"];
        /// Whether connections begin with a PROXY header, as balancers write that pass bytes on. Only `trusted_proxies` may.
        pub proxy_header: ProxyHeader = "off", env ["ARCHIPEL_PROXY_HEADER"];
        /// Who says at which address a caller is. Anything but `auto` believes a header from everybody: only where nobody can
        /// go around the proxy that sets it.
        pub client_ip_source: ClientSource = "auto", env ["HIVE_CLIENT_IP_SOURCE", "PILOX_CLIENT_IP_SOURCE"];
        /// Whether calls to agents are served at all.
        pub a2a_enabled: bool = true, env ["A2A_ENABLED"];
        /// How our own A2A surface looks.
        pub a2a: A2aSettings;
        /// Whose word about themselves is believed.
        pub trust: TrustSettings;
        /// Bounds of what is taken in, given out and waited for.
        pub limits: LimitSettings;
        /// How long tasks are kept.
        pub retention: RetentionSettings;
        /// The bus: events inside this site.
        pub bus: BusSettings;
        /// The WAN: envelopes between sites.
        pub wan: WanSettings;
        /// How this node and its peers recognise each other.
        pub federation: FederationSettings;
        /// Strangers who may ask for some operations.
        pub public: PublicSettings;
        /// How the node reaches others.
        pub egress: EgressSettings;
        /// Agents that are reached by URL: when one is looked after, and when it is left alone.
        pub upstreams: UpstreamSettings;
        /// Agents that are added, changed and removed over HTTP while the node runs.
        pub control_plane: ControlPlaneSettings;
        /// Webhooks: how the events of tasks are told to those who asked for it.
        pub push: PushSettings;
        /// Logs, traces and metrics.
        pub telemetry: TelemetrySettings;
        /// Agents of this node.
        pub agents: Vec<AgentSettings>;
        /// Nodes that we trust.
        pub peers: Vec<PeerSettings>;
    }
}

settings! {
    /// How our own A2A surface looks.
    pub struct A2aSettings {
        /// Which card `/.well-known/agent-card.json` has for clients that do not say which version they speak. At
        /// `/agents/ID/.well-known/agent-card.json` that is always 1.0.
        pub root_card: RootCard = "both";
        /// What a caller must at least count as to call agents. The operator's token and peers count as `operator`, peers
        /// with a lower `rights.max_role` as that.
        pub min_role: Role = "viewer", env ["A2A_JSONRPC_MIN_ROLE"];
        /// How often one caller may call agents in each `rate_limit_window`, whoever it is, beside every other limit. 0: as
        /// often as it likes.
        pub rate_limit: u32 = 0, in 0..=100000, env ["A2A_RATE_LIMIT_MAX"];
        /// See `rate_limit`.
        pub rate_limit_window: Duration = "60s", in "1s"..="1d", env ["A2A_RATE_LIMIT_WINDOW_MS"];
        /// Seed of the Ed25519 key that signs our cards: 64 hexadecimal digits. Unset: `federation.ed25519_seed`, by which
        /// peers know us already; without that, a key that is made once and kept in `data_dir`. Replicas of one node
        /// need one key.
        pub card_seed: Option<Secret>, in 64..=64;
    }
}

settings! {
    /// Who says at which address a caller is.
    pub enum ClientSource {
        /// The connection; of proxies that are trusted (`trusted_proxies`, `trusted_hops`), what they say.
        Auto = "auto",
        /// `X-Real-IP`, whoever sends it.
        RealIp = "real_ip",
        /// The first hop of `X-Forwarded-For`, whoever sends it.
        XffFirst = "xff_first",
        /// The last hop of `X-Forwarded-For`, whoever sends it.
        XffLast = "xff_last",
    }
}

settings! {
    /// Whose word about themselves is believed.
    pub struct TrustSettings {
        /// Whether cards of `a2a` agents and of peers must be signed, by a key of their `card_keys` (for a peer also its
        /// `ed25519_public_key`).
        pub cards: CardCheck = "off";
    }
}

settings! {
    /// Whether cards must be signed.
    pub enum CardCheck {
        /// Signatures are not looked at.
        Off = "off",
        /// A card that is not signed as it should be is used, with a warning in the log.
        Warn = "warn",
        /// Without a card that is signed as it should be, an agent is neither shown nor called.
        Require = "require",
    }
}

settings! {
    /// Which versions a card is for.
    pub enum RootCard {
        /// 1.0, with the members that clients of 0.3 look for.
        Both = "both",
        /// 1.0 and nothing else.
        V1 = "1.0",
        /// 0.3.
        V03 = "0.3",
    }
}

settings! {
    /// Bounds of what is taken in, given out and waited for.
    pub struct LimitSettings {
        /// Largest body of a request.
        pub body: ByteSize = "1MiB", in "4KiB"..="16MiB", env ["A2A_JSONRPC_MAX_BODY_BYTES"];
        /// Longest path and query of a request, in bytes.
        pub url: usize = 2048, in 64..=16384;
        /// Bad credentials that one address may present in a minute; beyond them it is told to wait, whatever it presents.
        /// 0: any number. Behind proxies, name them in `trusted_proxies`: otherwise all their clients are one address.
        pub failures: u32 = 120, in 0..=1000000;
        /// How long a body may take to arrive.
        pub body_time: Duration = "10s", in "100ms"..="10m";
        /// How long the head of a request may take to arrive. The clock behind it ticks twice a second.
        pub head_time: Duration = "5s", in "1s"..="2m";
        /// Connections that are open at once, for each worker.
        pub connections: usize = 10000, in 1..=1000000;
        /// Tasks that are being worked on or watched at once; more are refused with 503.
        pub live_tasks: usize = 20000, in 1..=1000000;
        /// How much the tasks that are being worked on or watched may hold together, in bytes of JSON; beyond it new
        /// messages are refused with 503. A task that is worked on takes about three times its JSON.
        pub live_bytes: ByteSize = "512MiB", in "1MiB"..="1TiB";
        /// How much an agent may make in one task, in bytes of JSON.
        pub task_size: ByteSize = "8MiB", in "4KiB"..="256MiB";
        /// How long one turn of an agent may take.
        pub turn_time: Duration = "10m", in "1s"..="7d";
        /// How long a task may take from its first message to its end: an older one fails when its agent is at work or a
        /// further message comes.
        pub task_time: Duration = "30d", in "1s"..="3650d";
        /// How often a stream that has nothing to say shows that it lives.
        pub keep_alive: Duration = "15s", in "1s"..="5m";
        /// How long requests may go on after SIGTERM.
        pub drain_time: Duration = "10s", in "0s"..="10m";
    }
}

settings! {
    /// How long tasks are kept. One that has ended and is beyond either bound is forgotten; one that waits for its client
    /// and is beyond either bound is canceled.
    pub struct RetentionSettings {
        /// By age, since they ended. 0s: for ever, while the number allows it.
        pub keep_for: KeepFor = "7d", in "0s"..="3650d", env ["A2A_TASK_TTL_SECONDS"];
        /// By age, since they wait for their client. 0s: for ever, while the number allows it.
        pub keep_waiting_for: KeepFor = "30d", in "0s"..="3650d";
        /// By number, in the embedded store.
        pub keep_count: u64 = 1000000, in 100..=100000000;
        /// By number, with `store = "memory"`.
        pub keep_count_in_memory: u64 = 10000, in 100..=10000000;
        /// How often old tasks are looked for.
        pub sweep_every: Duration = "10s", in "1s"..="1h";
    }
}

settings! {
    /// The bus: events inside this site.
    pub struct BusSettings {
        /// What carries it. `auto` takes Redis where `redis.url` is set, else NATS where `nats.url` is set, else the process
        /// itself.
        pub broker: Broker = "auto", env ["ARCHIPEL_BUS"];
        /// Signs and checks bus messages. Unset: messages are neither signed nor checked.
        pub secret: Option<Secret>, in 32..=1024, env ["MESH_BUS_HMAC_SECRET"];
        /// A further secret that is still taken, while it is being replaced.
        pub previous_secret: Option<Secret>, in 32..=1024;
        /// How old, or how far in the future, a message may be.
        pub freshness: Duration = "5m", in "1s"..="1d";
        /// What its subjects begin with over NATS. Unset: `archipel.bus.` and a digest of `public_origin`, so that sites whose
        /// servers are joined do not hear each other's events.
        pub nats_subject: Option<String>, in 1..=128, example "archipel.bus.mine";
    }
}

settings! {
    /// What carries the bus.
    pub enum Broker {
        /// Redis where it is configured, else NATS where that is.
        Auto = "auto",
        /// Nothing leaves the process.
        InProcess = "in-process",
        /// Publish and subscribe of the Redis in `redis.url`: every process of the site hears every other, those of Hive
        /// and Pilox too.
        Redis = "redis",
        /// The NATS servers in `nats.url`, without JetStream: every replica of this node hears every other.
        Nats = "nats",
    }
}

settings! {
    /// Agents that are reached by URL: when one is looked after, and when it is left alone.
    pub struct UpstreamSettings {
        /// How often each is asked whether it is there. 0s: never.
        pub check_every: Duration = "30s", in "0s"..="1h";
        /// Turns that must fail in a row, by the agent's fault, before it is left alone for a while. 0: it never is.
        pub breaker_failures: u32 = 5, in 0..=1000;
        /// For how long at first; each further failure doubles it, up to five minutes.
        pub breaker_pause: Duration = "10s", in "100ms"..="5m";
    }
}

settings! {
    /// Agents that are added, changed and removed over HTTP while the node runs (`/api/agents`), by the operator only.
    pub struct ControlPlaneSettings {
        /// Whether there is such a thing.
        pub enabled: bool = false, env ["ARCHIPEL_CONTROL_PLANE"];
        /// How many agents may be added.
        pub max_agents: usize = 1000, in 1..=100000;
    }
}

settings! {
    /// Where things are kept.
    pub enum StoreKind {
        /// One file in the data directory; survives `kill -9`.
        Embedded = "embedded",
        /// The process; everything is gone when it ends.
        Memory = "memory",
    }
}

settings! {
    /// What an acknowledged change survives.
    pub enum Durability {
        /// The end of the process, however sudden.
        Process = "process",
        /// A power cut too; every group of changes waits for the disk.
        Full = "full",
    }
}

settings! {
    /// Which spelling is emitted.
    pub enum DialectName {
        /// As the documents of Hive have it.
        Hive = "hive",
        /// As the code of Pilox has it.
        Pilox = "pilox",
    }
}

/// How long something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepFor(Duration);

impl KeepFor {
    /// In milliseconds; 0 was written for "for ever", which is longer than any number.
    pub fn as_millis(self) -> u128 {
        match self.0 {
            Duration::ZERO => u128::MAX,
            time => time.as_millis(),
        }
    }
}

impl Scalar for KeepFor {
    const EXPECTED: &'static str = Duration::EXPECTED;
    const SAMPLE: &'static str = Duration::SAMPLE;

    fn from_text(text: &str) -> Option<Self> {
        Duration::from_text(text).map(Self)
    }

    fn from_variable(text: &str, name: &str) -> Option<Self> {
        Duration::from_variable(text, name).map(Self)
    }

    fn measure(&self) -> i128 {
        self.0.measure()
    }
}

impl From<DialectName> for Dialect {
    fn from(name: DialectName) -> Self {
        match name {
            DialectName::Hive => Self::Hive,
            DialectName::Pilox => Self::Pilox,
        }
    }
}

impl NodeSettings {
    /// What works but is hardly meant so: weak secrets, keys that federation lacks.
    pub fn warnings(&self) -> Vec<String> {
        check::warnings(self)
    }

    /// Checks the files that the configuration leads to: the peers' folder. Gives the number of peers in it.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn check_files(&self, source: ConfigSource) -> Result<usize, Problems> {
        check::files(self, source)
    }

    /// Whom to believe about clients.
    pub fn client_rules(&self) -> ClientRules {
        ClientRules::new(self.trusted_hops, &self.trusted_proxies, self.client_header)
    }

    /// How many workers there will be.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism()
                .map_or(1, usize::from)
                .min(256),
            chosen => chosen,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
