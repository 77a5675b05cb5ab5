//! What an operator says about the WAN.

use std::time::Duration;

use archipel_kit::settings;
use archipel_kit::settings::{ByteSize, Secret};
use url::Url;

use crate::store::wan::WanRetention;

settings! {
    /// The WAN: envelopes between sites.
    pub struct WanSettings {
        /// How long an envelope is remembered, so that one that comes again has no second effect.
        pub remember_for: Duration = "7d", in "10m"..="3650d";
        /// How many are remembered at most.
        pub remember_count: u64 = 1000000, in 1000..=100000000;
        /// Envelopes that may wait for their effect, and as many to be sent; more are refused with 503.
        pub max_waiting: u64 = 100000, in 100..=10000000;
        /// Bearer token of those who may hand in envelopes to be sent (`/v1/publish`) and nothing else. Unset: only the
        /// operator may.
        pub bridge_secret: Option<Secret>, in 8..=512, env ["BRIDGE_INTERNAL_SECRET"];
        /// Bearer token of those who may read what the bridge counts (`/v1/metrics`). Unset: only the operator may.
        pub bridge_metrics_secret: Option<Secret>, in 1..=512, env ["BRIDGE_METRICS_AUTH_SECRET"];
        /// The longest envelope that may be handed in to be sent. NATS takes no more than its `max_payload`, usually 1 MiB.
        pub max_envelope: ByteSize = "1MiB", in "1KiB"..="8MiB", env ["BRIDGE_MAX_BODY_BYTES"];
        /// Envelopes that one address may hand in within a minute. 0: any number.
        pub publish_limit: u32 = 0, in 0..=1000000, env ["BRIDGE_RATE_LIMIT_PER_MIN"];
        /// Whose word is taken for an envelope that comes over NATS. Every node with an Ed25519 key seals what it sends.
        pub seal: SealRule = "check";
        /// How long a call by envelope (`?via=wan`) may be on its way, there and back; its task fails then. Where
        /// `nats.line.keep_for` is shorter, that counts: nothing is on the line for longer.
        pub call_life: Duration = "3d", in "1m"..="30d";
        /// Calls by envelope of this node that may wait for their answers at once; more are refused with 503.
        pub max_calls: usize = 10000, in 1..=1000000;
        /// What this node does with envelopes that came, beside telling the bus.
        pub worker: WorkerMode = "off", env ["MESH_WAN_REDIS_WORKER_MODE"];
        /// Where `webhook` brings them. May be in a private network: you chose it.
        pub webhook_url: Option<Url>, env ["MESH_WAN_REDIS_WORKER_WEBHOOK_URL"], example "https://inbox.example.org/envelopes";
        /// What it shows there, as a bearer token.
        pub webhook_bearer: Option<Secret>, in 1..=4096, env ["MESH_WAN_REDIS_WORKER_WEBHOOK_BEARER"];
        /// How often one envelope is brought, there or to an agent with `receives_envelopes`, before it is given up and kept as a
        /// dead one.
        pub webhook_attempts: u32 = 4, in 1..=10, env ["MESH_WAN_WEBHOOK_MAX_ATTEMPTS"];
        /// How long after the first failure it is brought again; doubled with each further one.
        pub webhook_retry: Duration = "500ms", in "100ms"..="30s", env ["MESH_WAN_WEBHOOK_RETRY_BASE_MS"];
    }
}

settings! {
    /// Whether envelopes that come over NATS must prove who sent them. What fails lies among the dead letters.
    pub enum SealRule {
        /// Seals are not looked at.
        Off = "off",
        /// A seal of a node that we trust must be right, and of the node that the envelope names as its source.
        Check = "check",
        /// Every envelope must have such a seal: those of Hive and Pilox are refused.
        Require = "require",
    }
}

settings! {
    /// What a node does with envelopes that came.
    pub enum WorkerMode {
        /// Nothing.
        Off = "off",
        /// A line in the log for each, without what it carries.
        Log = "log",
        /// Each is brought to `webhook_url`, until it is accepted.
        Webhook = "webhook",
    }
}

impl WanSettings {
    /// Of what came.
    pub(crate) fn retention(&self) -> WanRetention {
        WanRetention {
            keep_for_ms: u64::try_from(self.remember_for.as_millis()).unwrap_or(u64::MAX),
            keep_count: self.remember_count,
        }
    }
}
