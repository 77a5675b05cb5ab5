//! Everything in one SQLite file, `archipel.db` in the data directory, owned by one process.
//!
//! One thread writes, and puts whatever waits for it into one transaction (group commit): the price of a transaction is
//! shared, and nobody is answered before it is committed. Reads go to threads of their own, so that no worker ever waits
//! for the disk. Read `schema` (the file, its pragmas and tables), `rows` (values in columns), `writes` and `reads` (what
//! one of them does), `writer` (batches), `readers`, `checkpoint` (how the log goes back into the file).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{
    AuditRow, AuditStore, Claim, ClaimStore, EventRow, Retention, StoreError, StoredTask,
    TaskChange, TaskStore,
};
use readers::Readers;
pub use schema::OpenError;
use writer::{Order, Writer};
use writes::{Write, Written};

mod checkpoint;
mod readers;
mod reads;
mod rows;
mod schema;
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

/// The three ports over one SQLite file. Dropping it ends its threads after the writes they already took.
#[derive(Debug)]
pub struct EmbeddedStore {
    writer: mpsc::Sender<Order>,
    readers: Readers,
    /// Number of tasks, written by the writer after each commit.
    tasks: Arc<AtomicU64>,
}

impl EmbeddedStore {
    /// Opens or makes the file, brings its schema up to date and starts the threads. Blocks for some milliseconds.
    pub fn open(settings: &EmbeddedSettings) -> Result<Self, OpenError> {
        let opened = schema::open(settings)?;
        let readers = Readers::start(&opened.path)?;
        let checkpointer = checkpoint::start(&opened.path)?;
        let tasks = Arc::new(AtomicU64::new(opened.tally.tasks));
        let (sender, queue) = mpsc::channel(QUEUE);
        Writer::start(opened, queue, checkpointer, Arc::clone(&tasks))?;
        Ok(Self {
            writer: sender,
            readers,
            tasks,
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
            Written::Purged(tasks) => Ok(tasks),
            Written::Done | Written::Claim(_) => Err(StoreError::Unavailable),
        }
    }

    async fn count(&self) -> Result<u64, StoreError> {
        Ok(self.tasks.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl ClaimStore for EmbeddedStore {
    async fn claim(&self, key: &str, expires_at_ms: u64, now_ms: u64) -> Result<Claim, StoreError> {
        match self
            .write(Write::Claim {
                key: Box::from(key),
                expires_at_ms,
                now_ms,
            })
            .await?
        {
            Written::Claim(claim) => Ok(claim),
            Written::Done | Written::Purged(_) => Err(StoreError::Unavailable),
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
