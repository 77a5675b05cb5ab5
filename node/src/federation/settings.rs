//! What an operator says about federation: the table `[federation]` and the list `[[peers]]`.
//!
//! Every variable of `contract/env.md` that concerns tokens and peers is honoured. Rules that need more than one table
//! are checked where the roster is built (`peers`). Read `peer` for one peer.

use std::path::PathBuf;
use std::time::Duration;

use archipel_kit::settings;
use archipel_kit::settings::Secret;
use url::Url;

use crate::agents::breaker::BreakerRule;
use crate::federation::outbound::OutboundLimits;

mod peer;

pub use peer::{
    Day, Moment, PeerKeySettings, PeerKind, PeerLimitSettings, PeerRightsSettings, PeerSettings,
    PeerTlsSettings,
};

settings! {
    /// How this node and its peers recognise each other.
    pub struct FederationSettings {
        /// Whether peers may call this node and this node may call peers.
        pub enabled: bool = false, env ["MESH_FEDERATION_ENABLED"];
        /// How tokens are signed: `Ed25519` gives every peer a key and an identity of its own; `HS256` is the mode of
        /// Hive and Pilox, where all who hold the shared secret are one group. `auto` takes `HS256` where a shared
        /// secret is configured, else `Ed25519` where a seed is.
        pub algorithm: Algorithm = "auto", env ["MESH_FEDERATION_JWT_ALG"];
        /// Secret shared by all nodes of an HS256 mesh. Whoever holds it can speak for any of them.
        pub shared_secret: Option<Secret>, in 32..=1024, env ["MESH_FEDERATION_SHARED_SECRET"];
        /// Our own signing key for Ed25519: the seed as 64 hexadecimal digits (`archipel keygen` makes one).
        pub ed25519_seed: Option<Secret>, in 64..=64, env ["MESH_FEDERATION_ED25519_SEED_HEX"];
        /// How long a token of ours lives. One call uses one token, so short is right.
        pub token_ttl: Duration = "5m", in "30s"..="1h", env ["MESH_FEDERATION_JWT_TTL_SECONDS"];
        /// How far the clocks of two nodes may differ.
        pub clock_skew: Duration = "60s", in "0s"..="5m", env ["MESH_FEDERATION_JWT_CLOCK_SKEW_LEEWAY_SECONDS"];
        /// The audience that tokens for us must name, and the issuer of our own (Ed25519), when peers know us under
        /// another origin than `public_origin`.
        pub audience: Option<String>, in 1..=512, env ["MESH_FEDERATION_JWT_AUDIENCE"], example "https://mesh.example.org";
        /// Whether a token must name its audience. Without it, a token for one node opens every node of a mesh.
        pub require_audience: bool = true, env ["MESH_FEDERATION_JWT_REQUIRE_AUDIENCE"];
        /// Whether a token must have an id. Without it, a token can be used again until it expires.
        pub require_jti: bool = true, env ["MESH_FEDERATION_JWT_REQUIRE_JTI"];
        /// Whether the shared secret itself is taken from peers where a token should be (`X-Hive-Federation-Secret`), as old
        /// nodes of Hive send it. Without `shared_secret` it never is.
        pub inbound_allow_legacy_secret: bool = true, env ["MESH_FEDERATION_INBOUND_ALLOW_LEGACY_SECRET"];
        /// Addresses and networks from which peers may call. Empty: from everywhere. What is neither lets nobody in.
        pub inbound_allowlist: Vec<String> = [], in 0..=1024, env ["MESH_FEDERATION_INBOUND_ALLOWLIST"], example ["203.0.113.0/24"];
        /// How often peers may call from one address in each `rate_limit_window`; those with a `limit` of their own as often as
        /// that says. While Redis does not answer, peers with a limit may not call. Hive and Pilox have 100, which a single
        /// busy agent uses up in a moment; what a single peer may do, its own `limit` says better.
        pub rate_limit: u32 = 6000, in 1..=100000, env ["MESH_FEDERATION_RATE_LIMIT_MAX"];
        /// See `rate_limit`.
        pub rate_limit_window: Duration = "60s", in "1s"..="1d", env ["MESH_FEDERATION_RATE_LIMIT_WINDOW_MS"];
        /// Whether HS256 tokens of the other dialect are taken. They are signed with the same secret.
        pub accept_both_dialects: bool = true;
        /// Through how many nodes a call may go; one that came from a peer goes on only as far as that peer says, too.
        pub max_hops: u8 = 4, in 1..=8;
        /// From which the names are made by which peers know our callers, so that those see only their own tasks there. With
        /// another secret they do not find their old tasks. Unset: `ed25519_seed`, else `internal_token`.
        pub caller_secret: Option<Secret>, in 32..=1024;
        /// What the operator must present beside the bearer token to call peers by their place in the roster
        /// (`/api/mesh/federation/proxy/jsonrpc`). Unset: the bearer token is enough.
        pub proxy_operator_token: Option<Secret>, in 32..=512, env ["MESH_FEDERATION_PROXY_OPERATOR_TOKEN"];
        /// Mesh descriptors of other nodes that our own descriptor names, for strangers who look for a way into the mesh.
        pub bootstrap_urls: Vec<String> = [], in 0..=64, env ["MESH_PUBLIC_MESH_BOOTSTRAP_URLS"];
        /// Further addresses that our descriptor names, as they are.
        pub dht_hints: Vec<String> = [], in 0..=64, env ["MESH_PUBLIC_DHT_BOOTSTRAP_URLS"];
        /// How long a peer may take until its answer begins. A blocking call to an agent takes as long as its work.
        pub call_timeout: Duration = "30s", in "5s"..="2m", env ["MESH_FEDERATION_PROXY_TIMEOUT_MS"];
        /// How long a peer's answer may be silent once it has begun; streams are kept alive by comments.
        pub call_idle: Duration = "2m", in "5s"..="1h";
        /// How long a whole exchange with a peer may take, streams too. Unset: as long as it is not silent.
        pub call_total: Option<Duration>, in "5s"..="30d", example "1d";
        /// Calls to a peer that must fail in a row, by its own fault, before it is left alone for a while. 0: it never is.
        pub breaker_failures: u32 = 5, in 0..=1000;
        /// For how long at first; each further failure doubles it, up to five minutes.
        pub breaker_pause: Duration = "10s", in "100ms"..="5m";
        /// Peers as the variables of Hive and Pilox give them: origins without names, in the order of their keys.
        /// What is no http or https origin is passed over, as there; `[[peers]]` is checked.
        pub peer_origins: Vec<String> = [], env ["MESH_FEDERATION_PEERS"];
        /// The keys of `peer_origins`: 64 hexadecimal digits each, one for each peer.
        pub peer_ed25519_public_keys: Vec<String> = [], env ["MESH_FEDERATION_PEER_ED25519_PUBLIC_KEYS"];
        /// Most peers from `peer_origins` that are taken.
        pub max_peers: usize = 512, in 8..=8192, env ["MESH_FEDERATION_MAX_PEERS"];
        /// Folder with further peers: each file in it that is called `*.toml` is one, with the keys of `[[peers]]`. A
        /// relative path begins where this file is. There need not be one.
        pub peers_dir: PathBuf = "peers.d";
        /// How often `[[peers]]` and the folder are looked at for changes; what changed is in force without a restart.
        /// 0s: only at SIGHUP.
        pub peers_reload: Duration = "2s", in "0s"..="1d";
        /// A list of peers that somebody keeps for a whole mesh: a signed document on a web server. Its peers come after all
        /// others, up to `max_peers`. It is fetched once for all replicas; while it cannot be had, the last good one counts.
        pub manifest_url: Option<Url>, env ["MESH_FEDERATION_PEERS_MANIFEST_URL"], example "https://mesh.example.org/peers.json";
        /// The key that signs it: 64 hexadecimal digits.
        pub manifest_public_key: Option<String>, in 64..=64, env ["MESH_FEDERATION_PEERS_MANIFEST_PUBLIC_KEY_HEX"];
        /// How often it is fetched; at SIGHUP, too.
        pub manifest_refresh: Duration = "5m", in "1s"..="1d", env ["MESH_FEDERATION_PEERS_MANIFEST_REFRESH_SECONDS"];
        /// How long fetching it may take.
        pub manifest_timeout: Duration = "15s", in "3s"..="1m", env ["MESH_FEDERATION_PEERS_MANIFEST_FETCH_TIMEOUT_MS"];
        /// Whether it may be fetched without TLS: somebody on the way could keep a node from learning that a peer was
        /// removed. For development.
        pub manifest_allow_http: bool = false;
    }
}

settings! {
    /// How federation tokens are signed.
    pub enum Algorithm {
        /// What the configured keys say.
        Auto = "auto",
        /// One secret shared by all.
        Hs256 = "HS256",
        /// A key for each node.
        Ed25519 = "Ed25519",
    }
}

impl FederationSettings {
    /// The algorithm in force: never [`Algorithm::Auto`].
    pub fn algorithm_in_force(&self) -> Algorithm {
        match self.algorithm {
            Algorithm::Auto if self.shared_secret.is_none() && self.ed25519_seed.is_some() => {
                Algorithm::Ed25519
            }
            Algorithm::Auto => Algorithm::Hs256,
            chosen => chosen,
        }
    }

    /// How long calls to peers may take.
    pub fn outbound_limits(&self) -> OutboundLimits {
        OutboundLimits {
            first_byte: self.call_timeout,
            idle: self.call_idle,
            total: self.call_total,
        }
    }

    /// When a peer that keeps failing is left alone.
    pub fn breaker_rule(&self) -> BreakerRule {
        BreakerRule {
            failures: self.breaker_failures,
            pause: self.breaker_pause,
            longest: Duration::from_secs(300),
        }
    }
}
