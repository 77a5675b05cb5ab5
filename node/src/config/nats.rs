//! NATS, for the bus and for envelopes between sites.

use std::path::PathBuf;
use std::time::Duration;

use archipel_kit::settings;
use archipel_kit::settings::Secret;

settings! {
    /// NATS: carries the bus where there is no Redis, and envelopes between sites (over JetStream).
    pub struct NatsSettings {
        /// Where it is: `nats://[user[:password]@]HOST[:PORT]`, with `tls` for `nats` where TLS is a must. Several servers of one
        /// cluster are separated by commas.
        pub url: Option<Secret>, in 3..=4096, env ["NATS_URL", "BRIDGE_NATS_URL", "SUBSCRIBER_NATS_URL"],
            example "nats://127.0.0.1:4222";
        /// User; wins over one in the URL. Needs `password`.
        pub user: Option<String>, in 1..=256, env ["NATS_USER"], example "archipel";
        /// Password; wins over one in the URL.
        pub password: Option<Secret>, in 1..=4096, env ["NATS_PASSWORD"];
        /// Token, instead of user and password.
        pub token: Option<Secret>, in 1..=4096, env ["NATS_TOKEN"];
        /// What a credentials file holds (a user's JWT and seed), instead of user and password; `credentials_file` names the
        /// file itself.
        pub credentials: Option<Secret>, in 32..=65536, env ["NATS_CREDENTIALS"];
        /// The seed of a user's nkey (`SU..`), instead of user and password.
        pub nkey_seed: Option<Secret>, in 58..=58, env ["NATS_NKEY_SEED"];
        /// Whether TLS is a must. `tls://` and the three files below make it one as well.
        pub tls: bool = false, env ["BRIDGE_NATS_TLS", "SUBSCRIBER_NATS_TLS"];
        /// Certificates (PEM) of the authorities that may vouch for NATS. Unset: those of the machine.
        pub ca_file: Option<PathBuf>, env ["BRIDGE_NATS_TLS_CA_FILE", "SUBSCRIBER_NATS_TLS_CA_FILE"],
            example "/etc/archipel/nats-ca.pem";
        /// Our certificate (PEM) for a NATS that asks for one; needs `key_file`.
        pub certificate_file: Option<PathBuf>, env ["BRIDGE_NATS_TLS_CERT_FILE", "SUBSCRIBER_NATS_TLS_CERT_FILE"];
        /// The key (PEM) of that certificate.
        pub key_file: Option<PathBuf>, env ["BRIDGE_NATS_TLS_KEY_FILE", "SUBSCRIBER_NATS_TLS_KEY_FILE"];
        /// How long an answer of NATS, and a connection to it, may take.
        pub patience: Duration = "2s", in "50ms"..="30s";
        /// The JetStream domain to use, where it is not that of the servers in `url`.
        pub jetstream_domain: Option<String>, in 1..=64, example "hub";
        /// The line between the sites.
        pub line: LineSettings;
    }
}

settings! {
    /// The line between the sites: the stream that envelopes go through, and what is read from it.
    pub struct LineSettings {
        /// The subject of envelopes, the same at all sites.
        pub subject: String = "hive.mesh.wan", in 1..=128, env ["BRIDGE_NATS_SUBJECT", "SUBSCRIBER_NATS_SUBJECT"];
        /// The stream that takes them. One that is there already is used as it is, if it takes the subject; else it is made,
        /// with the three settings that follow.
        pub stream: String = "HIVE_MESH_WAN", in 1..=64;
        /// How long it keeps them, whether they were read or not.
        pub keep_for: Duration = "7d", in "1m"..="3650d";
        /// For how long it knows what it has taken, so that what is handed over again is kept once.
        pub duplicates_for: Duration = "2m", in "1s"..="1d";
        /// On how many servers of a cluster each stream of ours is kept.
        pub copies: usize = 1, in 1..=5;
        /// JetStream domains of other sites, joined by leaf nodes, each with a stream of this name: they are read as well, through
        /// a stream of this site (the name with `_IN`) that follows them all.
        pub from_domains: Vec<String> = [], in 0..=64, example "beta";
        /// How long an envelope may be at work before it is given to another replica.
        pub settle_within: Duration = "30s", in "1s"..="10m";
        /// How often one is tried before it lies among the dead letters.
        pub attempts: u64 = 20, in 1..=10000;
    }
}
