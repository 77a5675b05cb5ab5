//! Everything in Redis, so that any number of replicas are one node.
//!
//! Every change is one script, which Redis runs alone: it checks everything first, then writes the task, its events and
//! the indexes that lead to it, and announces the new events to whoever watches. Where an answer is lost, nobody knows
//! whether the script ran; each is written so that trying again does no harm. What Redis forgets is gone: run it with an
//! append-only file, without eviction, and with replicas that are waited for (`min-replicas-to-write`) where a failover
//! must lose nothing.
//!
//! Read `address` (where it is), `link` (the connection), `keys` (what stands where), then `tasks`, `claims`, `limits`,
//! `audit`, `agents`, `peers`, `wan` and `replicas` with their scripts in `lua/`, `notices` (what Redis tells by itself), `bus`. A user of
//! Redis (ACL) needs `~PREFIX:* &PREFIX:* +@read +@write +@scripting +@pubsub +@connection +info +time`, and for the bus
//! `&hive:*` or `&pilox:*`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ::redis::Script;
use archipel_kit::clock::Clock;

use crate::config::RedisSettings;
use crate::replicas::{ReplicaId, Replicas};
pub use address::{Address, AddressError};
use keys::Keys;
use link::Link;
pub use link::LinkError;
use notices::Notices;

mod address;
mod agents;
mod audit;
mod bus;
mod claims;
mod keys;
mod limits;
mod link;
mod lists;
mod notices;
mod peers;
mod replicas;
mod tasks;
mod wan;
mod webhooks;

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
pub(crate) mod tests;

/// The ports over one Redis.
#[derive(Debug)]
pub struct RedisStore {
    link: Arc<Link>,
    keys: Keys,
    scripts: Scripts,
    clock: Arc<dyn Clock>,
    own_id: ReplicaId,
    /// Until when the others surely take this replica for alive, on the monotonic clock.
    sure_until_ms: AtomicU64,
    /// How far the clock of an issuer of claimed ids was ahead of ours at most, since this process started.
    ahead_ms: AtomicU64,
    notices: Notices,
}

#[derive(Debug)]
struct Scripts {
    commit: Script,
    load: Script,
    purge: Script,
    admit: Script,
    note: Script,
    claim: Script,
    claim_and_admit: Script,
    append: Script,
    take: Script,
    release: Script,
    beat: Script,
    adopt: Script,
    put_webhook: Script,
    delete_webhook: Script,
    delivered: Script,
    undelivered: Script,
    change_peers: Script,
    wan_put: Script,
    wan_lease: Script,
    wan_settle: Script,
    wan_forget: Script,
}

impl RedisStore {
    /// A store that connects when it is first asked. Must be opened inside the runtime that is to drive its connection.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub fn open(
        address: Address,
        settings: &RedisSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LinkError> {
        let link = Arc::new(Link::open(address, settings)?);
        let keys = Keys::new(&settings.prefix);
        let own_id = ReplicaId::random();
        Ok(Self {
            notices: Notices::start(Arc::clone(&link), keys.clone(), own_id),
            link,
            keys,
            clock,
            own_id,
            sure_until_ms: AtomicU64::new(0),
            ahead_ms: AtomicU64::new(0),
            scripts: Scripts::new(),
        })
    }

    /// Looks whether Redis is there and fit for this: claims are remembered from now on, and the others know of this
    /// replica. What fails is tried again by whatever comes next.
    pub async fn begin(&self) {
        if self.beat().await.is_ok() {
            self.begin_claims().await;
            self.look_at_server().await;
        }
    }

    /// Tells the operator what would break promises.
    async fn look_at_server(&self) {
        let mut about = ::redis::cmd("INFO");
        about.arg("everything");
        if self.link.is_cluster() {
            return;
        }
        let Ok(text) = self.link.query::<String>(&about).await else {
            return;
        };
        if !text.contains("maxmemory_policy:noeviction") {
            tracing::warn!(
                "redis may evict keys when it is full: tasks and claims would be lost (set maxmemory-policy noeviction)"
            );
        }
        if text.contains("aof_enabled:0") {
            tracing::warn!(
                "redis keeps no append-only file: what is acknowledged does not survive its end (set appendonly yes)"
            );
        }
    }
}

impl Scripts {
    fn new() -> Self {
        macro_rules! script {
            ($($file:literal),+) => {
                Script::new(concat!($(include_str!(concat!("redis/lua/", $file))),+))
            };
        }
        Self {
            commit: script!("webhooks.lua", "commit.lua"),
            load: script!("load.lua"),
            purge: script!("purge.lua"),
            admit: script!("limits.lua", "admit.lua"),
            note: script!("note.lua"),
            claim: script!("claims.lua", "claim.lua"),
            claim_and_admit: script!("claims.lua", "limits.lua", "claim_and_admit.lua"),
            append: script!("append.lua"),
            take: script!("take.lua"),
            release: script!("release.lua"),
            beat: script!("beat.lua"),
            adopt: script!("adopt.lua"),
            put_webhook: script!("webhooks.lua", "put_webhook.lua"),
            delete_webhook: script!("webhooks.lua", "delete_webhook.lua"),
            delivered: script!("webhooks.lua", "delivered.lua"),
            undelivered: script!("webhooks.lua", "undelivered.lua"),
            change_peers: script!("change_peers.lua"),
            wan_put: script!("wan.lua", "wan_put.lua"),
            wan_lease: script!("wan_lease.lua"),
            wan_settle: script!("wan.lua", "wan_settle.lua"),
            wan_forget: script!("wan_forget.lua"),
        }
    }
}
