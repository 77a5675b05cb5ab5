//! Which worker owns a task: its id says so.
//!
//! Every worker has its own `TaskHub` and makes ids that lead back to it, so a new task never leaves the worker that took
//! its request; a request for a task of another worker crosses once. After a restart with another number of workers the
//! same rule gives each task exactly one owner again.

use std::pin::pin;
use std::sync::Arc;

use actix::Recipient;
use parking_lot::RwLock;
use rand::Rng;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::tasks::command::{AskTask, OpenTask};
use crate::tasks::recovery::RecoverTask;

/// Most workers a node can have: the share of an id that names the worker is one byte.
pub const MAX_SHARDS: usize = 256;

/// One worker's share of the tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// Share `index` of `count`.
    pub fn new(index: usize, count: usize) -> Self {
        Self {
            index,
            count: count.clamp(1, MAX_SHARDS),
        }
    }

    /// Which share this is, from 0.
    pub fn index(self) -> usize {
        self.index
    }

    /// The share that owns `id`, among as many as this one is of.
    pub fn owner_of(self, id: Uuid) -> usize {
        let [.., last] = id.into_bytes();
        usize::from(last) % self.count
    }

    /// A new id of this share: UUID v7, random but for the time and the owner.
    pub fn task_id(self, now_ms: u64) -> Uuid {
        let mut random = [0_u8; 10];
        rand::rng().fill_bytes(&mut random);
        if let Some(last) = random.last_mut() {
            // The nearest byte below that belongs to this share; a byte near 255 may have none above.
            let rounded = usize::from(*last) / self.count * self.count + self.index;
            let owned = if rounded > usize::from(u8::MAX) {
                rounded - self.count
            } else {
                rounded
            };
            *last = u8::try_from(owned).unwrap_or(0);
        }
        uuid::Builder::from_unix_timestamp_millis(now_ms, &random).into_uuid()
    }
}

/// How a hub is reached.
#[derive(Debug, Clone)]
pub struct HubPorts {
    /// Takes new tasks.
    pub open: Recipient<OpenTask>,
    /// Takes everything else that is asked for.
    pub ask: Recipient<AskTask>,
    /// Takes tasks whose turn was left.
    pub recover: Recipient<RecoverTask>,
}

/// Who owns which share. Each worker enters its hub when it starts (and again if it was restarted).
#[derive(Debug)]
pub struct ShardTable {
    hubs: RwLock<Vec<Option<HubPorts>>>,
    entered: Notify,
}

impl ShardTable {
    /// A table of `count` shares, all free.
    pub fn new(count: usize) -> Arc<Self> {
        Arc::new(Self {
            hubs: RwLock::new(vec![None; count.clamp(1, MAX_SHARDS)]),
            entered: Notify::new(),
        })
    }

    /// Takes the first share that is free, or whose worker died. The hub is made by `start` for that share.
    pub fn enter(&self, start: impl FnOnce(Shard) -> HubPorts) -> Option<(Shard, HubPorts)> {
        let mut hubs = self.hubs.write();
        let count = hubs.len();
        let free =
            |hub: &Option<HubPorts>| hub.as_ref().is_none_or(|ports| !ports.open.connected());
        let (index, place) = hubs.iter_mut().enumerate().find(|(_, hub)| free(hub))?;
        let shard = Shard::new(index, count);
        let ports = start(shard);
        *place = Some(ports.clone());
        self.entered.notify_waiters();
        Some((shard, ports))
    }

    /// The hub of share `index`, if its worker has started.
    pub fn hub(&self, index: usize) -> Option<HubPorts> {
        self.hubs.read().get(index).cloned().flatten()
    }

    /// The hub that owns `id`, if its worker has started.
    pub fn hub_of(&self, id: Uuid) -> Option<HubPorts> {
        let count = self.hubs.read().len();
        self.hub(Shard::new(0, count).owner_of(id))
    }

    /// The hub that owns `id`, as soon as its worker has started.
    pub async fn owner_of(&self, id: Uuid) -> HubPorts {
        loop {
            let mut entered = pin!(self.entered.notified());
            // From here on nobody who enters is missed.
            entered.as_mut().enable();
            if let Some(hub) = self.hub_of(id) {
                return hub;
            }
            entered.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::{Uuid, Version};

    use super::Shard;

    #[test]
    fn an_id_leads_back_to_the_share_that_made_it() {
        for count in [1, 2, 3, 7, 64, 255, 256] {
            for index in 0..count {
                let shard = Shard::new(index, count);
                for _ in 0..50 {
                    let id = shard.task_id(1_767_225_600_000);
                    assert_eq!(shard.owner_of(id), index, "{id} of {count}");
                    assert_eq!(id.get_version(), Some(Version::SortRand));
                }
            }
        }
    }

    #[test]
    fn every_foreign_id_has_exactly_one_owner() {
        let id = Uuid::max();
        assert!(Shard::new(0, 3).owner_of(id) < 3);
        assert_eq!(Shard::new(0, 3).owner_of(id), Shard::new(2, 3).owner_of(id));
    }
}
