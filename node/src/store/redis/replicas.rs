//! Holds, signs of life, and what a dead replica left.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ::redis::cmd;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::RedisStore;
use super::keys::{PARTITIONS, partition};
use super::tasks::{Loaded, stored_task, uuid};
use crate::replicas::{Following, Holder, ReplicaId, Replicas, Taken, Taker};
use crate::store::{Fence, StoreError};

/// How long a replica is believed to live after it said so: long enough for a pause, short enough for a watcher to wait.
const LIFE: Duration = Duration::from_secs(3);
/// How much earlier a replica begins to doubt that it is believed, so that nobody takes its tasks before it knows.
const DOUBT: Duration = Duration::from_millis(500);
/// For how long one replica looks after a dead one before another may.
const ADOPTED: Duration = Duration::from_secs(5);
/// Tasks of a dead replica that are asked for in each partition.
const ORPHANS: usize = 8;

/// What `take.lua` gives.
type TakenReply = (u8, super::tasks::TaskFields, Vec<super::tasks::Entry>);

#[async_trait]
impl Replicas for RedisStore {
    fn own_id(&self) -> ReplicaId {
        self.own_id
    }

    fn is_sure(&self) -> bool {
        let now_ms = self.clock.monotonic().as_millis() as u64;
        now_ms < self.sure_until_ms.load(Ordering::Relaxed)
    }

    async fn beat(&self) -> Result<Vec<ReplicaId>, StoreError> {
        // From before the question: Redis counts from when it ran the script, which is later.
        let asked_at = self.clock.monotonic();
        let (_, dead) = self.ask_of_life(self.own_id, true).await?;
        let sure_until = asked_at + LIFE - DOUBT;
        self.sure_until_ms
            .store(sure_until.as_millis() as u64, Ordering::Relaxed);
        Ok(dead.iter().filter_map(|id| ReplicaId::parse(id)).collect())
    }

    async fn lives(&self, replica: ReplicaId) -> Result<bool, StoreError> {
        let (lives, _) = self.ask_of_life(replica, false).await?;
        Ok(lives == 1)
    }

    async fn leave(&self) -> Result<(), StoreError> {
        self.sure_until_ms.store(0, Ordering::Relaxed);
        let mut add = cmd("ZADD");
        add.arg(self.keys.replicas())
            .arg(0)
            .arg(self.own_id.to_string());
        self.link.query(&add).await
    }

    async fn take(&self, task: Uuid, taker: Taker) -> Result<Option<Taken>, StoreError> {
        let at = partition(task);
        let fence = Fence::random();
        let dead = taker.dead.map(|id| id.to_string()).unwrap_or_default();
        let (owner, agent) = match &taker.owner {
            Some((owner, agent)) => (&**owner, &**agent),
            None => ("", ""),
        };
        let mut script = self.scripts.take.key(self.keys.task(task));
        script
            .key(self.keys.events(task))
            .key(self.keys.held(at, self.own_id))
            .key(self.keys.held(at, &dead))
            .arg(task.as_bytes().as_slice())
            .arg(self.own_id.to_string())
            .arg(fence.to_string())
            .arg(dead)
            .arg(owner)
            .arg(agent);
        let reply: Option<TakenReply> = self.link.invoke(&script).await?;
        let Some((outcome, fields, entries)) = reply else {
            return Ok(None);
        };
        let held_by = fields.9.as_deref().and_then(ReplicaId::parse);
        let loaded: Loaded = (fields, entries);
        let holder = match (outcome, held_by) {
            (1, _) => Holder::Us(fence),
            (2, Some(other)) => Holder::Other(other),
            _ => Holder::Nobody,
        };
        Ok(Some(Taken {
            task: stored_task(loaded)?,
            holder,
        }))
    }

    async fn release(&self, task: Uuid, fence: Fence) -> Result<(), StoreError> {
        let mut script = self.scripts.release.key(self.keys.task(task));
        script
            .key(self.keys.held(partition(task), self.own_id))
            .arg(task.as_bytes().as_slice())
            .arg(self.own_id.to_string())
            .arg(fence.to_string());
        self.link.invoke::<u8>(&script).await.map(drop)
    }

    async fn orphans(&self, dead: ReplicaId) -> Result<Vec<Uuid>, StoreError> {
        let mut adopt = self.scripts.adopt.key(self.keys.adopted(dead));
        adopt
            .arg(self.own_id.to_string())
            .arg(ADOPTED.as_millis() as u64);
        if self.link.invoke::<u8>(&adopt).await? == 0 {
            return Ok(Vec::new());
        }
        let found: Vec<Vec<Bytes>> = self
            .everywhere(|partition| {
                let mut some = cmd("SRANDMEMBER");
                some.arg(self.keys.held(partition, dead)).arg(ORPHANS);
                some
            })
            .await?;
        debug_assert_eq!(found.len(), usize::from(PARTITIONS));
        let orphans: Vec<Uuid> = found
            .iter()
            .flatten()
            .map(|id| uuid(id))
            .collect::<Result<_, _>>()?;
        if orphans.is_empty() {
            let mut forget = cmd("ZREM");
            forget.arg(self.keys.replicas()).arg(dead.to_string());
            self.link.query::<u8>(&forget).await?;
        }
        Ok(orphans)
    }

    fn follow(&self, task: Uuid) -> Following {
        self.notices.follow(task)
    }

    async fn tell(&self, to: ReplicaId, message: Bytes) -> Result<(), StoreError> {
        let mut publish = cmd("PUBLISH");
        publish.arg(self.keys.inbox(to)).arg(message.as_ref());
        self.link.query::<u64>(&publish).await.map(drop)
    }

    fn inbox(&self) -> Option<mpsc::Receiver<Bytes>> {
        self.notices.inbox()
    }
}

impl RedisStore {
    async fn ask_of_life(
        &self,
        replica: ReplicaId,
        lives: bool,
    ) -> Result<(u8, Vec<String>), StoreError> {
        let mut script = self.scripts.beat.key(self.keys.replicas());
        script
            .arg(replica.to_string())
            .arg(LIFE.as_millis() as u64)
            .arg(u8::from(lives));
        self.link.invoke(&script).await
    }
}
