//! What a node keeps: the ports to tasks, claims and the audit chain, and the rows that pass through them.
//!
//! A row's body is bytes: the store knows nothing of A2A. Read [`memory`] first (the ports in their plainest form), then
//! [`embedded`] (one file, one writer, group commit). `contract_tests` is the list of cases every adapter must pass.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

pub mod embedded;
pub mod memory;

#[cfg(test)]
mod contract_tests;

/// Tasks and their event logs.
#[async_trait]
pub trait TaskStore: Send + Sync + fmt::Debug {
    /// Keeps a change of one task, whole or not at all. When this returns `Ok`, the change survives `kill -9` (as far as
    /// the adapter keeps anything beyond the process). The first change of an id must carry a snapshot.
    async fn commit(&self, change: TaskChange) -> Result<(), StoreError>;

    /// The newest snapshot of a task and the events after it.
    async fn load(&self, id: Uuid) -> Result<Option<StoredTask>, StoreError>;

    /// At most `limit` events with a sequence number greater than `after_seq`, in order. Empty for an unknown task.
    async fn events(
        &self,
        id: Uuid,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError>;

    /// Tasks that are not terminal, ordered by id, after `after`: what a starting node has to recover.
    async fn unfinished(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<Uuid>, StoreError>;

    /// Forgets terminal tasks beyond the retention with their events, oldest first, at most `limit` of them; how many it
    /// forgot. A caller repeats while the answer equals `limit`, so that nobody waits for one long transaction.
    async fn purge(
        &self,
        retention: Retention,
        now_ms: u64,
        limit: usize,
    ) -> Result<u64, StoreError>;

    /// How many tasks are kept, terminal or not.
    async fn count(&self) -> Result<u64, StoreError>;
}

/// Ids that may be taken once.
#[async_trait]
pub trait ClaimStore: Send + Sync + fmt::Debug {
    /// Takes `key` until `expires_at_ms`: of any number of concurrent callers exactly one is told [`Claim::First`].
    /// A claim whose time is over (`expires_at_ms <= now_ms`) counts as never made and is forgotten in small bites.
    async fn claim(&self, key: &str, expires_at_ms: u64, now_ms: u64) -> Result<Claim, StoreError>;
}

/// The audit chain; rows are only ever added.
#[async_trait]
pub trait AuditStore: Send + Sync + fmt::Debug {
    /// Adds rows, all or none. A sequence number that is already there is [`StoreError::Corrupt`].
    async fn append(&self, rows: Vec<AuditRow>) -> Result<(), StoreError>;

    /// The row with the greatest sequence number.
    async fn last(&self) -> Result<Option<AuditRow>, StoreError>;

    /// At most `limit` rows with a sequence number greater than `after_seq`, in order.
    async fn page(&self, after_seq: u64, limit: usize) -> Result<Vec<AuditRow>, StoreError>;
}

/// One change of one task. The descriptive fields replace those kept before, every time.
#[derive(Debug, Clone)]
pub struct TaskChange {
    pub id: Uuid,
    pub owner: Arc<str>,
    pub agent: Arc<str>,
    pub context_id: Arc<str>,
    pub state: u8,
    pub terminal: bool,
    pub updated_ms: u64,
    /// Replaces the snapshot kept before; `None` keeps it.
    pub snapshot: Option<Snapshot>,
    /// New events in ascending order, each greater than any kept before.
    pub events: Vec<EventRow>,
}

/// A task as it was after the event `seq`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub seq: u64,
    pub body: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    pub seq: u64,
    pub body: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTask {
    pub owner: Arc<str>,
    pub agent: Arc<str>,
    pub context_id: Arc<str>,
    pub state: u8,
    pub updated_ms: u64,
    pub snapshot: Snapshot,
    /// Only events after `snapshot.seq`.
    pub events: Vec<EventRow>,
}

/// How long and how many terminal tasks are kept; a task beyond either bound may be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub keep_for_ms: u64,
    pub keep_count: u64,
}

impl Retention {
    /// Whether a terminal task has outlived its time.
    fn is_over(self, updated_ms: u64, now_ms: u64) -> bool {
        updated_ms.saturating_add(self.keep_for_ms) <= now_ms
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Nobody had taken the id: the caller may go on.
    First,
    /// Somebody took it before.
    Repeated,
}

/// One link of the audit chain; `hash` covers the previous hash and `body`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    pub seq: u64,
    pub at_ms: u64,
    pub body: Bytes,
    pub hash: [u8; 32],
}

/// Why a store did not do what it was asked; nothing of the request was kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("the store has no room left")]
    Full,
    #[error("the store cannot be written")]
    ReadOnly,
    #[error("the store does not answer")]
    Unavailable,
    #[error("the store holds or was given rows that contradict each other: {0}")]
    Corrupt(String),
}
