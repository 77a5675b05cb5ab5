//! What a node keeps: the ports to tasks, webhooks, claims and the audit chain, and the rows that pass through them.
//!
//! A row's body is bytes: the store knows nothing of A2A. Read [`memory`] first (the ports in their plainest form), then
//! [`embedded`] (one file, one writer, group commit) and [`redis`] (several replicas as one node). `contract_tests` is the list of cases every adapter must pass.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

pub mod agents;
pub mod embedded;
pub mod memory;
pub mod peers;
pub mod redis;
pub mod wan;

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

    /// One page of a caller's tasks, the one changed last first. What a page costs does not grow with the number of tasks
    /// kept.
    async fn list(&self, query: TaskQuery) -> Result<TaskPage, StoreError>;

    /// Tasks that are not terminal, ordered by id, after `after`: what a starting node has to recover.
    async fn unfinished(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<Uuid>, StoreError>;

    /// Forgets terminal tasks beyond the retention with their events and webhooks, oldest first, at most `limit` of them;
    /// how many it forgot. A caller repeats while the answer equals `limit`, so that nobody waits for one long transaction.
    async fn purge(
        &self,
        retention: Retention,
        now_ms: u64,
        limit: usize,
    ) -> Result<u64, StoreError>;

    /// Tasks that have waited for their client beyond the retention, the one that has waited longest first.
    async fn unanswered(
        &self,
        retention: Retention,
        now_ms: u64,
        limit: usize,
    ) -> Result<Vec<Unanswered>, StoreError>;

    /// How many tasks are kept, terminal or not.
    async fn count(&self) -> Result<u64, StoreError>;
}

/// Who is told of a task's events, and how far they have been told. A task's webhooks go with the task.
#[async_trait]
pub trait WebhookStore: Send + Sync + fmt::Debug {
    /// Keeps a webhook, in place of the one of the same task and id.
    async fn put(&self, webhook: Webhook) -> Result<Put, StoreError>;

    /// One webhook of a task.
    async fn get(&self, task: Uuid, id: &str) -> Result<Option<Webhook>, StoreError>;

    /// All webhooks of a task, the first one made first.
    async fn of_task(&self, task: Uuid) -> Result<Vec<Webhook>, StoreError>;

    /// Forgets a webhook; whether there was one.
    async fn delete(&self, task: Uuid, id: &str) -> Result<bool, StoreError>;

    /// Notes that a webhook has been told of every event up to `through`; it never goes back. `done` says that it will not
    /// be told of anything more: the task has ended, or nobody will try again.
    async fn delivered(
        &self,
        task: Uuid,
        id: &str,
        through: u64,
        done: bool,
    ) -> Result<(), StoreError>;

    /// Tasks with webhooks that are not done and have events to be told of, ordered by id, after `after`: what a starting
    /// node has to go on with.
    async fn undelivered(&self, after: Option<Uuid>, limit: usize)
    -> Result<Vec<Uuid>, StoreError>;
}

/// Ids that may be taken once.
#[async_trait]
pub trait ClaimStore: Send + Sync + fmt::Debug {
    /// Takes an id: of any number of concurrent callers exactly one is told [`Claim::First`]. A claim whose time is over
    /// (`expires_at_ms <= now_ms`) counts as never made and is forgotten in small bites.
    async fn claim(&self, claim: ClaimRequest<'_>) -> Result<Claim, StoreError>;
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
    /// The conversation. Most begin with a task and are called like it.
    pub context_id: Arc<str>,
    pub state: u8,
    pub terminal: bool,
    pub updated_ms: u64,
    /// Replaces the snapshot kept before; `None` keeps it.
    pub snapshot: Option<Snapshot>,
    /// New events in ascending order, each greater than any kept before.
    pub events: Vec<EventRow>,
    /// A webhook that came with a message. If the task has [`MAX_WEBHOOKS`] others, its oldest one makes way.
    pub webhook: Option<Box<Webhook>>,
    /// The hold under which the change is made, where several replicas are one node; other stores do not look at it.
    pub hold: Option<Box<Hold>>,
}

/// Under which right a replica changes a task. A change is kept only if its fence is the task's, or follows it while nobody
/// holds the task; so no replica overwrites what another did, whatever it believes. A change whose answer was lost may be
/// tried again under the same hold: what is there already is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The fence that the task has when this hold begins with the change; `None` for a new task.
    pub before: Option<Fence>,
    pub fence: Fence,
    /// Whether the hold goes on after the change.
    pub goes_on: bool,
}

/// Names one hold. Random, because it is only ever compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence(u64);

impl Fence {
    /// A fence that no hold ever had.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A task as it was after the event `seq`, in two parts that make a whole only together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub seq: u64,
    /// What a list shows.
    pub head: Bytes,
    /// What may be large: it is not read unless somebody asks for the whole task.
    pub rest: Bytes,
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

impl StoredTask {
    /// Roughly what reading it took.
    fn bytes(&self) -> usize {
        let events = self.events.iter().map(|event| event.body.len());
        self.snapshot.head.len() + self.snapshot.rest.len() + events.sum::<usize>()
    }
}

/// Which tasks a page shows: all that meet every condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskQuery {
    pub owner: Arc<str>,
    pub agent: Arc<str>,
    pub context_id: Option<Arc<str>>,
    pub state: Option<u8>,
    /// Changed then or later.
    pub updated_from_ms: Option<u64>,
    /// Only what comes after this place.
    pub after: Option<TaskPlace>,
    /// Most tasks on the page.
    pub limit: usize,
    /// With the rest of their snapshots. Without it, [`Snapshot::rest`] is empty.
    pub whole: bool,
}

/// Where a task stands in the order of all lists: the later change first, then the greater `tie`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskPlace {
    pub updated_ms: u64,
    /// Tells tasks of one millisecond apart; how is the adapter's affair.
    pub tie: u128,
}

impl TaskPlace {
    /// No task stands there or beyond.
    const LAST: Self = Self {
        updated_ms: u64::MAX,
        tie: u128::MAX,
    };
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskPage {
    /// Fewer than asked for once they come to [`PAGE_BYTES`], but never none while there is one.
    pub tasks: Vec<StoredTask>,
    /// The place of the last one, if more follow.
    pub next: Option<TaskPlace>,
    /// How many tasks meet the conditions, on all pages together.
    pub total: u64,
}

/// Whether a task opened its conversation, which is called like it then: it is found there without an index.
fn opened(id: Uuid, context_id: &str) -> bool {
    named(context_id) == Some(id)
}

/// The task that opened a conversation, going by its name. Ids have one spelling.
fn named(context_id: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(context_id).ok()?;
    let mut spelled = Uuid::encode_buffer();
    (id.hyphenated().encode_lower(&mut spelled) == context_id).then_some(id)
}

impl TaskPage {
    /// The tasks at `places`, which are those of the query in order and, if there are so many, one more than its limit.
    fn read(
        places: &[TaskPlace],
        limit: usize,
        total: u64,
        mut read: impl FnMut(TaskPlace) -> Result<Option<StoredTask>, StoreError>,
    ) -> Result<Self, StoreError> {
        let mut tasks = Vec::with_capacity(places.len().min(limit));
        let mut bytes = 0;
        let mut last = None;
        for (number, place) in places.iter().enumerate() {
            if number == limit || bytes >= PAGE_BYTES {
                let next = last;
                return Ok(Self { tasks, next, total });
            }
            if let Some(task) = read(*place)? {
                bytes += task.bytes();
                tasks.push(task);
            }
            last = Some(*place);
        }
        Ok(Self {
            tasks,
            next: None,
            total,
        })
    }
}

/// Bytes of snapshots and events after which a page is full.
pub const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// Most webhooks of one task.
pub const MAX_WEBHOOKS: usize = 16;

#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    pub task: Uuid,
    /// Unique inside its task.
    pub id: Arc<str>,
    /// Whom to tell, and how. May hold credentials.
    pub config: Bytes,
    /// Number of the last event it has been told of, or that was there before it.
    pub delivered: u64,
    /// It will not be told of anything more.
    pub done: bool,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("task", &self.task)
            .field("id", &self.id)
            .field("delivered", &self.delivered)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Kept,
    /// The task has as many others as it may.
    TooMany,
    /// There is no such task.
    NoTask,
}

/// How long and how many tasks are kept. A terminal task beyond either bound may be forgotten; one that waits for its
/// client may be ended, and is forgotten later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub keep_for_ms: u64,
    pub keep_waiting_for_ms: u64,
    /// Of each of the two kinds.
    pub keep_count: u64,
}

/// A task that has waited for its client too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    pub id: Uuid,
    pub owner: Arc<str>,
    pub agent: Arc<str>,
    /// Since then.
    pub updated_ms: u64,
}

/// The states in which a task waits for its client, by their numbers in `a2a.proto`: input required, auth required.
const WAITING: [u8; 2] = [6, 8];

impl Retention {
    /// Whether a terminal task has outlived its time.
    fn is_over(self, updated_ms: u64, now_ms: u64) -> bool {
        updated_ms.saturating_add(self.keep_for_ms) <= now_ms
    }

    /// Whether a task has waited too long.
    fn is_unanswered(self, updated_ms: u64, now_ms: u64) -> bool {
        updated_ms.saturating_add(self.keep_waiting_for_ms) <= now_ms
    }
}

/// An id to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimRequest<'a> {
    pub key: &'a str,
    /// When the id was given out; a store that may have lost claims takes only ids that are younger than the loss.
    pub given_at_ms: u64,
    /// Until when the claim must be remembered.
    pub expires_at_ms: u64,
    pub now_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Nobody had taken the id: the caller may go on.
    First,
    /// Somebody took it before.
    Repeated,
    /// The id was given out before the store began, or lost claims: nobody knows whether it was taken.
    BeforeEpoch,
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
