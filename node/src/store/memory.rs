//! Everything in the memory of the process: for tests and for `store = "memory"`, where a restart may forget.
//!
//! Bodies are kept as the `Bytes` they came in; nothing is copied. Bounded by the number of terminal tasks and by the
//! life of claims; unfinished tasks are bounded by whoever starts them. Read on in `listing` (the order of
//! lists) and `claims`.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use parking_lot::Mutex;
use uuid::Uuid;

use super::{
    AuditRow, AuditStore, Claim, ClaimRequest, ClaimStore, EventRow, MAX_WEBHOOKS, Put, Retention,
    StoreError, StoredTask, TaskChange, TaskPage, TaskQuery, TaskStore, Unanswered, WAITING,
    Webhook, WebhookStore, named,
};
use claims::Claims;
use listing::Listing;

mod claims;
mod listing;
mod wan;

pub use wan::MemoryWan;

/// The ports over plain maps. One lock each: a commit holds it for well under a microsecond.
#[derive(Debug)]
pub struct MemoryStore {
    /// Terminal tasks beyond this number are forgotten as new ones finish, oldest first.
    keep_count: usize,
    tasks: Mutex<Tasks>,
    claims: Mutex<Claims>,
    audit: Mutex<BTreeMap<u64, AuditRow>>,
}

#[derive(Debug, Default)]
struct Tasks {
    by_id: HashMap<Uuid, Held>,
    /// The terminal ones by age, for the retention.
    finished: BTreeSet<(u64, Uuid)>,
    /// Those that wait for their client, by age.
    waiting: BTreeSet<(u64, Uuid)>,
    listing: Listing,
}

#[derive(Debug)]
struct Held {
    /// With all its events.
    task: StoredTask,
    terminal: bool,
    /// In the order in which they were made.
    webhooks: Vec<Webhook>,
}

impl MemoryStore {
    #[must_use]
    pub fn new(keep_count: usize) -> Self {
        Self {
            keep_count,
            tasks: Mutex::default(),
            claims: Mutex::default(),
            audit: Mutex::default(),
        }
    }
}

#[async_trait]
impl TaskStore for MemoryStore {
    async fn commit(&self, change: TaskChange) -> Result<(), StoreError> {
        // The evicted task is dropped after the lock.
        let _evicted = {
            let mut tasks = self.tasks.lock();
            tasks.apply(change)?;
            if tasks.finished.len() > self.keep_count {
                tasks.forget_oldest()
            } else {
                None
            }
        };
        Ok(())
    }

    async fn load(&self, id: Uuid) -> Result<Option<StoredTask>, StoreError> {
        Ok(self.tasks.lock().by_id.get(&id).map(Held::load))
    }

    async fn events(
        &self,
        id: Uuid,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        let tasks = self.tasks.lock();
        Ok(tasks.by_id.get(&id).map_or_else(Vec::new, |held| {
            held.events(after_seq).take(limit).cloned().collect()
        }))
    }

    async fn list(&self, query: TaskQuery) -> Result<TaskPage, StoreError> {
        let tasks = self.tasks.lock();
        let first_task = query.context_id.as_deref().and_then(|context_id| {
            let id = named(context_id)?;
            Some((id, &tasks.by_id.get(&id)?.task))
        });
        let (places, total) = tasks.listing.page(&query, first_task);
        TaskPage::read(&places, query.limit, total, |place| {
            let held = tasks.by_id.get(&Uuid::from_u128(place.tie));
            let mut task = held.map(Held::load);
            if let Some(task) = &mut task
                && !query.whole
            {
                task.snapshot.rest.clear();
            }
            Ok(task)
        })
    }

    async fn unfinished(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<Uuid>, StoreError> {
        // Asked at start, when there are few: not worth an index on every commit.
        let tasks = self.tasks.lock();
        let later = |id: &Uuid| after.is_none_or(|after| *id > after);
        let mut ids: Vec<Uuid> = tasks
            .by_id
            .iter()
            .filter(|(id, held)| !held.terminal && later(id))
            .map(|(id, _)| *id)
            .collect();
        drop(tasks);
        ids.sort_unstable();
        ids.truncate(limit);
        Ok(ids)
    }

    async fn purge(
        &self,
        retention: Retention,
        now_ms: u64,
        limit: usize,
    ) -> Result<u64, StoreError> {
        let mut forgotten = Vec::new();
        let mut tasks = self.tasks.lock();
        while forgotten.len() < limit {
            let Some(oldest_ms) = tasks.finished.first().map(|(updated_ms, _)| *updated_ms) else {
                break;
            };
            let too_many = tasks.finished.len() as u64 > retention.keep_count;
            if !too_many && !retention.is_over(oldest_ms, now_ms) {
                break;
            }
            forgotten.extend(tasks.forget_oldest());
        }
        drop(tasks);
        Ok(forgotten.len() as u64)
    }

    async fn unanswered(
        &self,
        retention: Retention,
        now_ms: u64,
        limit: usize,
    ) -> Result<Vec<Unanswered>, StoreError> {
        let tasks = self.tasks.lock();
        let too_many = (tasks.waiting.len() as u64).saturating_sub(retention.keep_count);
        let oldest = (0..).zip(&tasks.waiting).take(limit);
        let over = oldest.take_while(|(number, (updated_ms, _))| {
            *number < too_many || retention.is_unanswered(*updated_ms, now_ms)
        });
        let found = over.filter_map(|(_, (updated_ms, id))| {
            let task = &tasks.by_id.get(id)?.task;
            Some(Unanswered {
                id: *id,
                owner: task.owner.clone(),
                agent: task.agent.clone(),
                updated_ms: *updated_ms,
            })
        });
        Ok(found.collect())
    }

    async fn count(&self) -> Result<u64, StoreError> {
        Ok(self.tasks.lock().by_id.len() as u64)
    }
}

#[async_trait]
impl WebhookStore for MemoryStore {
    async fn put(&self, webhook: Webhook) -> Result<Put, StoreError> {
        let mut tasks = self.tasks.lock();
        let Some(held) = tasks.by_id.get_mut(&webhook.task) else {
            return Ok(Put::NoTask);
        };
        if held.webhook(&webhook.id).is_none() && held.webhooks.len() >= MAX_WEBHOOKS {
            return Ok(Put::TooMany);
        }
        held.put(webhook);
        Ok(Put::Kept)
    }

    async fn get(&self, task: Uuid, id: &str) -> Result<Option<Webhook>, StoreError> {
        let mut tasks = self.tasks.lock();
        let held = tasks.by_id.get_mut(&task);
        Ok(held.and_then(|held| held.webhook(id).cloned()))
    }

    async fn of_task(&self, task: Uuid) -> Result<Vec<Webhook>, StoreError> {
        let tasks = self.tasks.lock();
        let held = tasks.by_id.get(&task);
        Ok(held.map_or_else(Vec::new, |held| held.webhooks.clone()))
    }

    async fn delete(&self, task: Uuid, id: &str) -> Result<bool, StoreError> {
        let mut tasks = self.tasks.lock();
        let Some(held) = tasks.by_id.get_mut(&task) else {
            return Ok(false);
        };
        let before = held.webhooks.len();
        held.webhooks.retain(|webhook| &*webhook.id != id);
        Ok(held.webhooks.len() < before)
    }

    async fn delivered(
        &self,
        task: Uuid,
        id: &str,
        through: u64,
        done: bool,
    ) -> Result<(), StoreError> {
        let mut tasks = self.tasks.lock();
        let held = tasks.by_id.get_mut(&task);
        if let Some(webhook) = held.and_then(|held| held.webhook(id)) {
            webhook.delivered = webhook.delivered.max(through);
            webhook.done |= done;
        }
        Ok(())
    }

    async fn undelivered(
        &self,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<Uuid>, StoreError> {
        // Asked at start, when there are none.
        let tasks = self.tasks.lock();
        let due = |held: &Held| {
            let last = held.task.events.last().map_or(0, |event| event.seq);
            let mut webhooks = held.webhooks.iter();
            webhooks.any(|webhook| !webhook.done && webhook.delivered < last)
        };
        let later = |id: &Uuid| after.is_none_or(|after| *id > after);
        let found = tasks
            .by_id
            .iter()
            .filter(|(id, held)| later(id) && due(held));
        let mut ids: Vec<Uuid> = found.map(|(id, _)| *id).collect();
        drop(tasks);
        ids.sort_unstable();
        ids.truncate(limit);
        Ok(ids)
    }
}

#[async_trait]
impl ClaimStore for MemoryStore {
    async fn claim(&self, claim: ClaimRequest<'_>) -> Result<Claim, StoreError> {
        let mut claims = self.claims.lock();
        Ok(claims.claim(claim.key, claim.expires_at_ms, claim.now_ms))
    }
}

#[async_trait]
impl AuditStore for MemoryStore {
    async fn append(&self, rows: Vec<AuditRow>) -> Result<(), StoreError> {
        let mut audit = self.audit.lock();
        if let Some(taken) = rows.iter().find(|row| audit.contains_key(&row.seq)) {
            return Err(StoreError::Corrupt(format!(
                "audit record {} is there already",
                taken.seq
            )));
        }
        audit.extend(rows.into_iter().map(|row| (row.seq, row)));
        Ok(())
    }

    async fn last(&self) -> Result<Option<AuditRow>, StoreError> {
        Ok(self
            .audit
            .lock()
            .last_key_value()
            .map(|(_, row)| row.clone()))
    }

    async fn page(&self, after_seq: u64, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        let Some(first) = after_seq.checked_add(1) else {
            return Ok(Vec::new());
        };
        Ok(self
            .audit
            .lock()
            .range(first..)
            .take(limit)
            .map(|(_, row)| row.clone())
            .collect())
    }
}

impl Tasks {
    fn apply(&mut self, change: TaskChange) -> Result<(), StoreError> {
        let id = change.id;
        let held = match self.by_id.entry(id) {
            Entry::Occupied(held) => {
                let held = held.into_mut();
                // Most changes of a task leave it where it stands.
                if !held.stands_as(&change) {
                    self.listing.leave(id, &held.task);
                    let place = (held.task.updated_ms, id);
                    if !self.finished.remove(&place) {
                        self.waiting.remove(&place);
                    }
                    held.describe(&change);
                    self.listing.enter(id, &held.task);
                }
                held.add(change);
                held
            }
            Entry::Vacant(place) => {
                let held = place.insert(Held::first(change)?);
                self.listing.enter(id, &held.task);
                held
            }
        };
        let place = (held.task.updated_ms, id);
        if held.terminal {
            self.finished.insert(place);
        } else if WAITING.contains(&held.task.state) {
            self.waiting.insert(place);
        }
        Ok(())
    }

    fn forget_oldest(&mut self) -> Option<Held> {
        let (_, id) = self.finished.pop_first()?;
        let held = self.by_id.remove(&id)?;
        self.listing.leave(id, &held.task);
        Some(held)
    }
}

impl Held {
    fn first(change: TaskChange) -> Result<Self, StoreError> {
        let Some(snapshot) = change.snapshot else {
            return Err(without_snapshot(change.id));
        };
        Ok(Self {
            task: StoredTask {
                owner: change.owner,
                agent: change.agent,
                context_id: change.context_id,
                state: change.state,
                updated_ms: change.updated_ms,
                snapshot,
                events: change.events,
            },
            terminal: change.terminal,
            webhooks: change.webhook.map(|webhook| *webhook).into_iter().collect(),
        })
    }

    fn stands_as(&self, change: &TaskChange) -> bool {
        let task = &self.task;
        (task.state, task.updated_ms, self.terminal)
            == (change.state, change.updated_ms, change.terminal)
            && (&task.owner, &task.agent, &task.context_id)
                == (&change.owner, &change.agent, &change.context_id)
    }

    fn describe(&mut self, change: &TaskChange) {
        self.terminal = change.terminal;
        self.task.owner = change.owner.clone();
        self.task.agent = change.agent.clone();
        self.task.context_id = change.context_id.clone();
        self.task.state = change.state;
        self.task.updated_ms = change.updated_ms;
    }

    fn add(&mut self, change: TaskChange) {
        self.task.events.extend(change.events);
        if let Some(snapshot) = change.snapshot {
            self.task.snapshot = snapshot;
        }
        if let Some(webhook) = change.webhook {
            if self.webhook(&webhook.id).is_none() && self.webhooks.len() >= MAX_WEBHOOKS {
                self.webhooks.remove(0);
            }
            self.put(*webhook);
        }
    }

    fn put(&mut self, webhook: Webhook) {
        match self.webhook(&webhook.id) {
            Some(known) => *known = webhook,
            None => self.webhooks.push(webhook),
        }
    }

    fn webhook(&mut self, id: &str) -> Option<&mut Webhook> {
        self.webhooks.iter_mut().find(|webhook| &*webhook.id == id)
    }

    /// The task with the events after its snapshot.
    fn load(&self) -> StoredTask {
        let task = &self.task;
        StoredTask {
            owner: task.owner.clone(),
            agent: task.agent.clone(),
            context_id: task.context_id.clone(),
            state: task.state,
            updated_ms: task.updated_ms,
            snapshot: task.snapshot.clone(),
            events: self.events(task.snapshot.seq).cloned().collect(),
        }
    }

    fn events(&self, after_seq: u64) -> impl Iterator<Item = &EventRow> {
        let events = &self.task.events;
        let first = events.partition_point(|event| event.seq <= after_seq);
        events.iter().skip(first)
    }
}

/// The answer of every adapter to a first change that brings no snapshot.
pub(super) fn without_snapshot(id: Uuid) -> StoreError {
    StoreError::Corrupt(format!("the first change of task {id} has no snapshot"))
}
