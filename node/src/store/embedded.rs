//! Everything in one SQLite file, `archipel.db` in the data directory, owned by one process.
//!
//! One thread writes, and puts whatever waits for it into one transaction (group commit): the price of a transaction is
//! shared, and nobody is answered before it is committed. Reads go to threads of their own, so that no worker ever waits
//! for the disk. Read `schema` (the file, its pragmas and tables), `rows` (values in columns), `writes` and `reads` (what
//! one of them does), `lists`, `webhooks` and `wan` (the same for these), `tally` (what nobody has to count), `writer` (batches),
//! `readers`, `checkpoint` (how the log goes back into the file).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{
    AuditRow, AuditStore, Claim, ClaimRequest, ClaimStore, EventRow, Put, Retention, StoreError,
    StoredTask, TaskChange, TaskPage, TaskQuery, TaskStore, Unanswered, Webhook, WebhookStore,
};
use readers::Readers;
pub use schema::OpenError;
use webhooks::WebhookWrite;
use writer::{Counts, Order, Writer};
use writes::{Write, Written};

mod agents;
mod checkpoint;
mod lists;
mod peers;
mod readers;
mod reads;
mod rows;
mod schema;
mod tally;
mod wan;
mod webhooks;
mod writer;
mod writes;

#[cfg(test)]
mod tests;

/// Writes that may wait for the writer; whoever comes then waits for a place, which slows callers down to the disk.
const QUEUE: usize = 4096;

#[derive(Debug, Clone)]
pub struct EmbeddedSettings {
    /// The data directory; made with mode 0700 if it is not there.
    pub directory: PathBuf,
    pub durability: Durability,
    /// The most bytes the file may hold; `None` leaves it to the disk. Beyond it, writes are refused as `Full`.
    pub max_bytes: Option<u64>,
}

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The end of the process, however violent: the log is in the page cache of the system. No fsync per commit.
    #[default]
    Process,
    /// A power cut too: every transaction ends with an fsync.
    Full,
}

/// The ports over one SQLite file. Dropping it ends its threads after the writes they already took.
#[derive(Debug)]
pub struct EmbeddedStore {
    writer: mpsc::Sender<Order>,
    readers: Readers,
    counts: Arc<Counts>,
}

impl EmbeddedStore {
    /// Opens or makes the file, brings its schema up to date and starts the threads. Blocks for some milliseconds.
    pub fn open(settings: &EmbeddedSettings) -> Result<Self, OpenError> {
        let opened = schema::open(settings)?;
        let readers = Readers::start(&opened.path)?;
        let checkpointer = checkpoint::start(&opened.path)?;
        let (sender, queue) = mpsc::channel(QUEUE);
        let counts = Writer::start(opened, queue, checkpointer)?;
        Ok(Self {
            writer: sender,
            readers,
            counts,
        })
    }

    /// Finishes every write taken so far, folds the log into the file and lets go of the data directory. Later writes are
    /// refused as `Unavailable`.
    pub async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.writer.send(Order::Close(reply)).await.is_ok() {
            // An error means that the writer is gone, which is what was asked for.
            let _ = closed.await;
        }
    }

    async fn write(&self, write: Write) -> Result<Written, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.writer
            .send(Order::Write(write, reply))
            .await
            .map_err(|_| StoreError::Unavailable)?;
        answer.await.map_err(|_| StoreError::Unavailable)?
    }
}

#[async_trait]
impl TaskStore for EmbeddedStore {
    async fn commit(&self, change: TaskChange) -> Result<(), StoreError> {
        self.write(Write::Change(change)).await.map(drop)
    }

    async fn load(&self, id: Uuid) -> Result<Option<StoredTask>, StoreError> {
        self.readers
            .ask(move |connection| reads::load(connection, id))
            .await
    }

    async fn events(
        &self,
        id: Uuid,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        self.readers
            .ask(move |connection| reads::events(connection, id, after_seq, limit))
            .await
    }

    async fn list(&self, query: TaskQuery) -> Result<TaskPage, StoreError> {
        let counts = Arc::clone(&self.counts);
        self.readers
            .ask(move |connection| lists::page(connection, &counts.standing, &query))
            .await
    }

    async fn unfinished(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<Uuid>, StoreError> {
        self.readers
            .ask(move |connection| reads::unfinished(connection, after, limit))
            .await
    }

    async fn purge(
        &self,
        retention: Retention,
        now_ms: u64,
        limit: usize,
    ) -> Result<u64, StoreError> {
        match self
            .write(Write::Purge {
                retention,
                now_ms,
                limit,
            })
            .await?
        {
            Written::Counted(tasks) => Ok(tasks),
            _ => Err(StoreError::Unavailable),
        }
    }

    async fn unanswered(
        &self,
        retention: Retention,
        now_ms: u64,
        limit: usize,
    ) -> Result<Vec<Unanswered>, StoreError> {
        let counts = Arc::clone(&self.counts);
        self.readers
            .ask(move |connection| {
                let waiting = counts.standing.waiting();
                let too_many = waiting.saturating_sub(retention.keep_count);
                reads::unanswered(connection, retention, too_many, now_ms, limit)
            })
            .await
    }

    async fn count(&self) -> Result<u64, StoreError> {
        Ok(self.counts.tasks.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl WebhookStore for EmbeddedStore {
    async fn put(&self, webhook: Webhook) -> Result<Put, StoreError> {
        match self
            .write(Write::Webhook(WebhookWrite::Put(webhook)))
            .await?
        {
            Written::Put(put) => Ok(put),
            _ => Err(StoreError::Unavailable),
        }
    }

    async fn get(&self, task: Uuid, id: &str) -> Result<Option<Webhook>, StoreError> {
        let all = self.of_task(task).await?;
        Ok(all.into_iter().find(|webhook| &*webhook.id == id))
    }

    async fn of_task(&self, task: Uuid) -> Result<Vec<Webhook>, StoreError> {
        self.readers
            .ask(move |connection| webhooks::of_task(connection, task))
            .await
    }

    async fn delete(&self, task: Uuid, id: &str) -> Result<bool, StoreError> {
        let id = Box::from(id);
        let delete = WebhookWrite::Delete { task, id };
        match self.write(Write::Webhook(delete)).await? {
            Written::Deleted(deleted) => Ok(deleted),
            _ => Err(StoreError::Unavailable),
        }
    }

    async fn delivered(
        &self,
        task: Uuid,
        id: &str,
        through: u64,
        done: bool,
    ) -> Result<(), StoreError> {
        let delivered = WebhookWrite::Delivered {
            task,
            id: Box::from(id),
            through,
            done,
        };
        self.write(Write::Webhook(delivered)).await.map(drop)
    }

    async fn undelivered(
        &self,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<Uuid>, StoreError> {
        self.readers
            .ask(move |connection| webhooks::undelivered(connection, after, limit))
            .await
    }
}

#[async_trait]
impl ClaimStore for EmbeddedStore {
    async fn claim(&self, claim: ClaimRequest<'_>) -> Result<Claim, StoreError> {
        match self
            .write(Write::Claim {
                key: Box::from(claim.key),
                expires_at_ms: claim.expires_at_ms,
                now_ms: claim.now_ms,
            })
            .await?
        {
            Written::Claim(claim) => Ok(claim),
            _ => Err(StoreError::Unavailable),
        }
    }
}

#[async_trait]
impl AuditStore for EmbeddedStore {
    async fn append(&self, rows: Vec<AuditRow>) -> Result<(), StoreError> {
        self.write(Write::Append(rows)).await.map(drop)
    }

    async fn last(&self) -> Result<Option<AuditRow>, StoreError> {
        self.readers.ask(reads::last_audit).await
    }

    async fn page(&self, after_seq: u64, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        self.readers
            .ask(move |connection| reads::audit_page(connection, after_seq, limit))
            .await
    }
}
