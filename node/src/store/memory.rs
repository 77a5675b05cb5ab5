//! Everything in the memory of the process: for tests and for `store = "memory"`, where a restart may forget.
//!
//! Bodies are kept as the `Bytes` they came in; nothing is copied. Bounded by the number of terminal tasks and by the
//! life of claims; unfinished tasks are bounded by whoever starts them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use parking_lot::Mutex;
use uuid::Uuid;

use super::{
    AuditRow, AuditStore, Claim, ClaimStore, EventRow, Retention, Snapshot, StoreError, StoredTask,
    TaskChange, TaskStore,
};

/// How many expired claims one new claim may sweep: more than one, so that a backlog shrinks.
const CLAIMS_SWEPT_PER_CLAIM: usize = 4;

/// The three ports over plain maps. One lock each: a commit holds it for well under a microsecond.
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
}

#[derive(Debug)]
struct Held {
    task: StoredTask,
    terminal: bool,
}

#[derive(Debug, Default)]
struct Claims {
    expiry_by_key: HashMap<Box<str>, u64>,
    by_expiry: BTreeSet<(u64, Box<str>)>,
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
        let mut loaded = self
            .tasks
            .lock()
            .by_id
            .get(&id)
            .map(|held| held.task.clone());
        if let Some(task) = &mut loaded {
            task.events.retain(|event| event.seq > task.snapshot.seq);
        }
        Ok(loaded)
    }

    async fn events(
        &self,
        id: Uuid,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        let tasks = self.tasks.lock();
        let Some(held) = tasks.by_id.get(&id) else {
            return Ok(Vec::new());
        };
        let first = held
            .task
            .events
            .partition_point(|event| event.seq <= after_seq);
        Ok(held
            .task
            .events
            .iter()
            .skip(first)
            .take(limit)
            .cloned()
            .collect())
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

    async fn count(&self) -> Result<u64, StoreError> {
        Ok(self.tasks.lock().by_id.len() as u64)
    }
}

#[async_trait]
impl ClaimStore for MemoryStore {
    async fn claim(&self, key: &str, expires_at_ms: u64, now_ms: u64) -> Result<Claim, StoreError> {
        Ok(self.claims.lock().claim(key, expires_at_ms, now_ms))
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
        let (id, terminal, updated_ms) = (change.id, change.terminal, change.updated_ms);
        if let Some(held) = self.by_id.get_mut(&id) {
            if held.terminal {
                self.finished.remove(&(held.task.updated_ms, id));
            }
            held.replace(change);
        } else {
            let Some(snapshot) = change.snapshot.clone() else {
                return Err(without_snapshot(id));
            };
            self.by_id.insert(id, Held::first(change, snapshot));
        }
        if terminal {
            self.finished.insert((updated_ms, id));
        }
        Ok(())
    }

    fn forget_oldest(&mut self) -> Option<Held> {
        let (_, id) = self.finished.pop_first()?;
        self.by_id.remove(&id)
    }
}

impl Held {
    fn first(change: TaskChange, snapshot: Snapshot) -> Self {
        let task = StoredTask {
            owner: change.owner,
            agent: change.agent,
            context_id: change.context_id,
            state: change.state,
            updated_ms: change.updated_ms,
            snapshot,
            events: change.events,
        };
        Self {
            task,
            terminal: change.terminal,
        }
    }

    fn replace(&mut self, change: TaskChange) {
        self.terminal = change.terminal;
        self.task.owner = change.owner;
        self.task.agent = change.agent;
        self.task.context_id = change.context_id;
        self.task.state = change.state;
        self.task.updated_ms = change.updated_ms;
        self.task.events.extend(change.events);
        if let Some(snapshot) = change.snapshot {
            self.task.snapshot = snapshot;
        }
    }
}

impl Claims {
    fn claim(&mut self, key: &str, expires_at_ms: u64, now_ms: u64) -> Claim {
        self.sweep(now_ms);
        match self.expiry_by_key.get_mut(key) {
            Some(taken_until) if *taken_until > now_ms => return Claim::Repeated,
            Some(taken_until) => {
                self.by_expiry.remove(&(*taken_until, Box::from(key)));
                *taken_until = expires_at_ms;
            }
            None => {
                self.expiry_by_key.insert(Box::from(key), expires_at_ms);
            }
        }
        self.by_expiry.insert((expires_at_ms, Box::from(key)));
        Claim::First
    }

    fn sweep(&mut self, now_ms: u64) {
        for _ in 0..CLAIMS_SWEPT_PER_CLAIM {
            if self
                .by_expiry
                .first()
                .is_none_or(|(expires_at_ms, _)| *expires_at_ms > now_ms)
            {
                return;
            }
            if let Some((_, key)) = self.by_expiry.pop_first() {
                self.expiry_by_key.remove(&key);
            }
        }
    }
}

/// The answer of every adapter to a first change that brings no snapshot.
pub(super) fn without_snapshot(id: Uuid) -> StoreError {
    StoreError::Corrupt(format!("the first change of task {id} has no snapshot"))
}
