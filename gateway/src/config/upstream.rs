//! Settings of the nodes behind the gateway: where they are, how they are chosen, and when one is left out.

use std::{path::PathBuf, time::Duration};

use archipel_kit::{
    settings,
    settings::{Problems, Secret},
};
use url::Url;

settings! {
    /// One of several nodes.
    pub struct UpstreamSettings, check = UpstreamSettings::check {
        /// Its base URL, which may have a path.
        pub url: Url, example "http://10.0.0.1:7400";
        /// What it is called in metrics and logs. Unset: its host and port.
        pub name: Option<String>, in 1..=64, example "node-1";
        /// Its share of the requests compared with the others. 0: it gets none, but is watched.
        pub weight: u32 = 1, in 0..=1000;
        /// TLS to this node, in the place of `upstream_tls`.
        pub tls: UpstreamTlsSettings;
    }
}

impl UpstreamSettings {
    fn check(&self, problems: &mut Problems) {
        check_base(&self.url, "url", problems);
    }
}

settings! {
    /// How nodes are spoken to over TLS (`https://`).
    pub struct UpstreamTlsSettings, check = UpstreamTlsSettings::check {
        /// Certificates (PEM) of the authorities that a node's certificate must come from. Unset: those of this machine.
        pub ca: Option<PathBuf>, example "/etc/archipel/nodes-ca.pem";
        /// The certificate (PEM, with its chain) that the gateway shows to nodes.
        pub certificate: Option<PathBuf>, example "/etc/archipel/gateway-client.pem";
        /// Its key (PEM). Only its owner may read the file.
        pub key: Option<PathBuf>, example "/etc/archipel/gateway-client.key";
        /// Opens the key when it is encrypted (PKCS #8).
        pub key_passphrase: Option<Secret>;
    }
}

impl UpstreamTlsSettings {
    fn check(&self, problems: &mut Problems) {
        if self.certificate.is_some() != self.key.is_some() {
            problems.add("certificate", "and `key` are needed together");
        }
    }

    /// Whether anything of it was set.
    pub fn is_set(&self) -> bool {
        self.ca.is_some() || self.certificate.is_some()
    }
}

settings! {
    /// How it is watched whether nodes can serve.
    pub struct HealthSettings {
        /// What each node is asked. An answer with a status below 500 is a good one, so that nodes which do not know this
        /// path are not left out.
        pub path: String = "/readyz", in 1..=512, env ["GATEWAY_HEALTH_PATH"];
        /// How often. 0s: never.
        pub interval: Duration = "5s", in "0s"..="10m", env ["GATEWAY_HEALTH_INTERVAL_MS"];
        /// How long the answer may take.
        pub timeout: Duration = "2s", in "10ms"..="1m", env ["GATEWAY_HEALTH_TIMEOUT_MS"];
        /// A node is left out after so many bad answers in a row.
        pub failures: u32 = 2, in 1..=100, env ["GATEWAY_HEALTH_FAILURES"];
        /// And taken back after so many good ones.
        pub successes: u32 = 1, in 1..=100, env ["GATEWAY_HEALTH_SUCCESSES"];
    }
}

settings! {
    /// When a node is left out because of what requests met there: no connection, no answer in time, a broken answer. What
    /// a node answers is no failure of it: it may speak of an agent or a peer that others stand for.
    pub struct BreakerSettings {
        /// After so many failures in a row. 0: never.
        pub failures: u32 = 5, in 0..=10000, env ["GATEWAY_BREAKER_FAILURES"];
        /// Or when so many percent of the requests of one `window` failed.
        pub percent: u32 = 50, in 1..=100, env ["GATEWAY_BREAKER_PERCENT"];
        /// If there were at least so many requests.
        pub requests: u32 = 20, in 1..=1000000, env ["GATEWAY_BREAKER_REQUESTS"];
        /// How long failures are counted together.
        pub window: Duration = "10s", in "100ms"..="10m", env ["GATEWAY_BREAKER_WINDOW_MS"];
        /// For how long; then one request tries it. Doubled each time it fails again.
        pub pause: Duration = "1s", in "10ms"..="10m", env ["GATEWAY_BREAKER_PAUSE_MS"];
        /// The longest of these pauses.
        pub longest_pause: Duration = "30s", in "10ms"..="1h", env ["GATEWAY_BREAKER_LONGEST_PAUSE_MS"];
    }
}

settings! {
    /// How a request finds its node.
    pub enum Balance {
        /// The one with the fewest requests under way for its weight: for nodes that share their tasks.
        LeastLoaded = "least_loaded",
        /// The one that has the task or the conversation: for nodes that each keep their own. The gateway remembers which
        /// node answered with a task; an unknown one is looked for where its id leads by hash, the same in every gateway.
        Task = "task",
    }
}

/// A base URL: http or https, a host, and perhaps a path.
pub(super) fn check_base(base: &Url, key: &str, problems: &mut Problems) {
    if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
        problems.add(key, "must be an http:// or https:// URL with a host");
    }
    if !base.username().is_empty() || base.password().is_some() {
        problems.add(key, "must not hold a user or password");
    }
    if base.query().is_some() || base.fragment().is_some() {
        problems.add(key, "must not hold a query or fragment");
    }
}
