//! The names of keys, and which of them live together.
//!
//! Everything belongs to one of [`PARTITIONS`] partitions, whose number is the hash tag of its keys. So a task, its events
//! and the indexes that lead to it are in one slot of a cluster and change in one script, and a question about all tasks
//! is asked of every partition at once. The number is part of the data: it never changes.

use std::fmt::Display;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::replicas::ReplicaId;
use crate::store::wan::WanSide;

pub(super) const PARTITIONS: u8 = 16;

/// Bytes of a place: when the task was changed, most significant byte first, and its id.
const PLACE: usize = 8 + 16;

#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// A task's snapshot and what describes it.
    pub(super) fn task(&self, id: Uuid) -> String {
        self.of_task(id, "task")
    }

    /// A task's log.
    pub(super) fn events(&self, id: Uuid) -> String {
        self.of_task(id, "events")
    }

    /// A task's webhooks.
    pub(super) fn webhooks(&self, id: Uuid) -> String {
        self.of_task(id, "webhooks")
    }

    /// Ids of the tasks with webhooks that may have to be told something.
    pub(super) fn due(&self, partition: u8) -> String {
        self.of_partition(partition, "due")
    }

    /// What the names of tasks, and of their webhooks, begin with in a partition.
    pub(super) fn starts(&self, partition: u8) -> [String; 2] {
        ["task:", "webhooks:"].map(|what| self.of_partition(partition, what))
    }

    /// Where a task's new events are announced. Not a key, so it needs no tag.
    pub(super) fn channel(&self, id: Uuid) -> String {
        format!("{}:log:{}", self.prefix, id.simple())
    }

    /// The task whose channel it is.
    pub(super) fn task_of_channel(channel: &str) -> Option<Uuid> {
        let (_, id) = channel.rsplit_once(':')?;
        Uuid::try_parse(id).ok()
    }

    /// Where messages for a replica arrive. Not a key either.
    pub(super) fn inbox(&self, replica: ReplicaId) -> String {
        format!("{}:inbox:{replica}", self.prefix)
    }

    /// All replicas, by when they last said that they live.
    pub(super) fn replicas(&self) -> String {
        self.of_partition(0, "replicas")
    }

    /// Which replica looks after a dead one.
    pub(super) fn adopted(&self, dead: ReplicaId) -> String {
        self.of_partition(0, format_args!("adopted:{dead}"))
    }

    /// Ids of the tasks that are not terminal, in their order.
    pub(super) fn unfinished(&self, partition: u8) -> String {
        self.of_partition(partition, "unfinished")
    }

    /// Ids of the terminal tasks, by the time of their last change.
    pub(super) fn finished(&self, partition: u8) -> String {
        self.of_partition(partition, "finished")
    }

    /// Ids of the tasks that wait for their clients, by the time of their last change.
    pub(super) fn waiting(&self, partition: u8) -> String {
        self.of_partition(partition, "waiting")
    }

    /// Ids of the tasks that a replica holds.
    pub(super) fn held(&self, partition: u8, replica: impl Display) -> String {
        self.of_partition(partition, format_args!("held:{replica}"))
    }

    /// The places of one owner's tasks at one agent.
    pub(super) fn list(&self, partition: u8, owner: &str, agent: &str) -> String {
        let mut hash = Sha256::new();
        hash.update((owner.len() as u64).to_be_bytes());
        hash.update(owner);
        hash.update(agent);
        let name = hex::encode(hash.finalize());
        let name = name.get(..32).unwrap_or_default();
        self.of_partition(partition, format_args!("list:{name}"))
    }

    pub(super) fn partition_of_claim(&self, key: &str) -> u8 {
        partition_of(key.as_bytes())
    }

    /// Since when claims of a partition are remembered, and the claim itself.
    pub(super) fn claim(&self, partition: u8, key: &str) -> [String; 2] {
        [
            self.of_partition(partition, "epoch"),
            self.of_partition(partition, format_args!("claim:{key}")),
        ]
    }

    pub(super) fn audit(&self) -> String {
        self.of_partition(0, "audit")
    }

    pub(super) fn agents(&self) -> String {
        self.of_partition(0, "agents")
    }

    /// What is kept about peers.
    pub(super) fn peers(&self) -> String {
        self.of_partition(0, "peers")
    }

    /// Where changes of what is kept about peers are announced. Not a key.
    pub(super) fn peers_channel(&self) -> String {
        format!("{}:peers", self.prefix)
    }

    /// What the names of all keys of one side of the WAN begin with.
    pub(super) fn wan(&self, side: WanSide) -> String {
        self.of_partition(
            0,
            match side {
                WanSide::In => "wan:in:",
                WanSide::Out => "wan:out:",
            },
        )
    }

    /// What is counted against a limit. In a cluster all of it is in one slot, because a call may count in several buckets.
    pub(super) fn limit(&self, is_cluster: bool, bucket: &str) -> String {
        self.of_limits(is_cluster, format_args!("rl:{bucket}"))
    }

    /// How often somebody behaved in one way.
    pub(super) fn conduct(&self, is_cluster: bool, kind: &str, id: &str) -> String {
        self.of_limits(is_cluster, format_args!("mesh:pub_rep:{kind}:{id}"))
    }

    fn of_limits(&self, is_cluster: bool, what: impl Display) -> String {
        let prefix = &self.prefix;
        if is_cluster {
            format!("{prefix}:{{limits}}:{what}")
        } else {
            format!("{prefix}:{what}")
        }
    }

    fn of_task(&self, id: Uuid, what: &str) -> String {
        let partition = partition(id);
        format!("{}:{{{partition}}}:{what}:{}", self.prefix, id.simple())
    }

    fn of_partition(&self, partition: u8, what: impl Display) -> String {
        format!("{}:{{{partition}}}:{what}", self.prefix)
    }
}

/// Where a task lives. All bytes of the id count: its last one names a worker and is no longer random.
pub(super) fn partition(id: Uuid) -> u8 {
    partition_of(id.as_bytes())
}

fn partition_of(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum ^ byte ^ (byte >> 4)) % PARTITIONS
}

/// What a list is about. Each kind of list has places of its own, in the same sorted set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed<'a> {
    All,
    State(u8),
    Context(&'a str),
    Both(&'a str, u8),
}

impl Listed<'_> {
    /// What the places of this list begin with.
    pub(super) fn start(self) -> Vec<u8> {
        match self {
            Self::All => b"a".to_vec(),
            Self::State(state) => vec![b's', state],
            Self::Context(context) => [b"c".as_slice(), &short_hash(context)].concat(),
            Self::Both(context, state) => {
                [b"b".as_slice(), &short_hash(context), &[state]].concat()
            }
        }
    }
}

/// The four places of a task, one behind the other. Their lengths are 25, 26, 33 and 34, which the scripts know.
pub(super) fn places(id: Uuid, updated_ms: u64, state: u8, context: &str) -> Vec<u8> {
    let place = place(updated_ms, id.as_u128());
    let lists = [
        Listed::All,
        Listed::State(state),
        Listed::Context(context),
        Listed::Both(context, state),
    ];
    lists
        .into_iter()
        .flat_map(|list| [list.start(), place.to_vec()])
        .flatten()
        .collect()
}

pub(super) fn place(updated_ms: u64, tie: u128) -> [u8; PLACE] {
    let mut place = [0; PLACE];
    let (time, id) = place.split_at_mut(8);
    time.copy_from_slice(&updated_ms.to_be_bytes());
    id.copy_from_slice(&tie.to_be_bytes());
    place
}

/// The place that a member of a list ends with.
pub(super) fn place_of(member: &[u8]) -> Option<(u64, u128)> {
    let (rest, id) = member.split_last_chunk()?;
    let (_, updated_ms) = rest.split_last_chunk()?;
    Some((u64::from_be_bytes(*updated_ms), u128::from_be_bytes(*id)))
}

/// Short, because every task has two of them. Only an owner who looks for them finds two conversations that meet.
fn short_hash(text: &str) -> [u8; 8] {
    let hash: [u8; 32] = Sha256::digest(text).into();
    let [a, b, c, d, e, f, g, h, ..] = hash;
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_together_lives_together() {
        let keys = Keys::new("node");
        let id = Uuid::from_u128(0x17);
        let tag = |key: &str| key.split(['{', '}']).nth(1).map(str::to_owned);
        let partition = partition(id);
        let all = [
            keys.task(id),
            keys.events(id),
            keys.webhooks(id),
            keys.unfinished(partition),
            keys.finished(partition),
            keys.waiting(partition),
            keys.held(partition, "replica"),
            keys.list(partition, "alice", "echo"),
        ];
        for key in &all {
            assert_eq!(tag(key), Some(partition.to_string()), "{key}");
        }
        let [epoch, claim] = keys.claim(3, "token:1");
        assert_eq!(tag(&epoch), tag(&claim));
        assert_ne!(keys.list(0, "ab", "c"), keys.list(0, "a", "bc"));
    }

    #[test]
    fn places_have_the_lengths_that_the_scripts_know() {
        let all = places(Uuid::max(), u64::MAX, 255, "context");
        let starts = [0, 25, 51, 84].map(|at| all.get(at).copied());
        assert_eq!(starts, [b'a', b's', b'c', b'b'].map(Some));
        assert_eq!(all.len(), 118);
    }

    #[test]
    fn tasks_are_spread_over_all_partitions() {
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..10_000 {
            let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
            *counts.entry(partition(id)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), usize::from(PARTITIONS));
        assert!(
            counts.values().all(|count| (400..900).contains(count)),
            "{counts:?}"
        );
    }
}
