//! Redis, for a node that is several replicas.

use std::path::PathBuf;
use std::time::Duration;

use archipel_kit::settings;
use archipel_kit::settings::Secret;

settings! {
    /// Redis: every node with the same Redis and the same prefix is a replica of one node. Tasks, claims and the audit
    /// chain are kept there, and `store` and `data_dir` mean nothing to them.
    pub struct RedisSettings {
        /// Where it is: `redis://[user[:password]@]host[:port][/database]`; `redis+sentinel://HOST,HOST/MASTER` for a
        /// master that sentinels know; `redis+cluster://HOST,HOST` for a cluster. `rediss` for `redis` means TLS.
        pub url: Option<Secret>, in 8..=4096, env ["REDIS_URL"], example "redis://127.0.0.1:6379";
        /// ACL user; wins over one in the URL.
        pub user: Option<String>, in 1..=256, env ["REDIS_USERNAME"], example "archipel";
        /// Password; wins over one in the URL.
        pub password: Option<Secret>, in 1..=4096, env ["REDIS_PASSWORD"];
        /// Password of the sentinels, which have their own.
        pub sentinel_password: Option<Secret>, in 1..=4096;
        /// Certificates (PEM) of the authorities that may vouch for Redis. Unset: those of the machine.
        pub ca_file: Option<PathBuf>, example "/etc/archipel/redis-ca.pem";
        /// Our certificate (PEM) for a Redis that asks for one; needs `key_file`.
        pub certificate_file: Option<PathBuf>;
        /// The key (PEM) of that certificate.
        pub key_file: Option<PathBuf>;
        /// What every key begins with: nodes that share a Redis but are not the same node have different ones.
        pub prefix: String = "archipel", in 1..=64, env ["ARCHIPEL_REDIS_PREFIX"];
        /// How long an answer of Redis, and a connection to it, may take; then the node answers 503.
        pub patience: Duration = "300ms", in "20ms"..="5s";
    }
}
