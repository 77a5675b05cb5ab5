//! What makes several processes one node: who works on which task, who still lives, and how they hear of each other.
//!
//! A task on which an agent works is *held* by one replica. It takes the task before it does anything that others could
//! see, and the store refuses every change under an older hold (see [`Hold`](crate::store::Hold)); so whatever a replica that was taken for
//! dead still does comes to nothing. The hold ends with the change that settles the task. Everything else about a task
//! (reading, listing, watching) needs no hold and works on every replica, from the store.
//!
//! A node that is one process has no such port, and pays nothing for it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::store::{Fence, StoreError, StoredTask};

/// The port to the other replicas.
#[async_trait]
pub trait Replicas: Send + Sync + fmt::Debug {
    /// Which one this is.
    fn own_id(&self) -> ReplicaId;

    /// Whether the others surely take this replica for alive. Otherwise they may have taken its tasks, and what it has in
    /// memory must not be shown to anybody.
    fn is_sure(&self) -> bool;

    /// Says that this replica lives; gives those that have not said so for too long. To be called every [`BEAT`].
    async fn beat(&self) -> Result<Vec<ReplicaId>, StoreError>;

    /// Whether another replica has lately said that it lives.
    async fn lives(&self, replica: ReplicaId) -> Result<bool, StoreError>;

    /// Says that this replica will do nothing more, so that the others need not wait to find out.
    async fn leave(&self) -> Result<(), StoreError>;

    /// Loads a task, and takes it if it is free, not terminal, and the taker's.
    async fn take(&self, task: Uuid, taker: Taker) -> Result<Option<Taken>, StoreError>;

    /// Lets go of a task; no harm is done when somebody else has taken it meanwhile.
    async fn release(&self, task: Uuid, fence: Fence) -> Result<(), StoreError>;

    /// Some of the tasks that a dead replica held. Only one replica at a time is told any; the dead one is forgotten when
    /// there are none left.
    async fn orphans(&self, dead: ReplicaId) -> Result<Vec<Uuid>, StoreError>;

    /// Tells, from now on, when there may be something new in a task's log.
    fn follow(&self, task: Uuid) -> Following;

    /// Sends a message to another replica. It may get lost.
    async fn tell(&self, to: ReplicaId, message: Bytes) -> Result<(), StoreError>;

    /// Where messages for this replica arrive, for whoever asks first.
    fn inbox(&self) -> Option<mpsc::Receiver<Bytes>>;
}

/// How often a replica says that it lives.
pub const BEAT: std::time::Duration = std::time::Duration::from_secs(1);

/// One process; a restarted one is another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplicaId(Uuid);

/// Who wants a task.
#[derive(Debug, Clone)]
pub struct Taker {
    /// Whose task it must be, at which agent; `None` for whoever looks after what a dead replica left.
    pub owner: Option<(Arc<str>, Arc<str>)>,
    /// A replica that is dead: its hold does not count.
    pub dead: Option<ReplicaId>,
}

/// A task, and who holds it now.
#[derive(Debug, Clone)]
pub struct Taken {
    pub task: StoredTask,
    pub holder: Holder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// This replica, from now on, under this fence.
    Us(Fence),
    /// Another one.
    Other(ReplicaId),
    /// Nobody: it has ended, or is not the taker's.
    Nobody,
}

/// Tells when there may be something new in the log of one task. Dropping it is enough to be told no more.
pub struct Following {
    /// `None` only while it is dropped.
    news: Option<watch::Receiver<u64>>,
    left: Option<Box<dyn FnOnce() + Send>>,
}

impl Following {
    /// What comes over `news`; `left` is called when nobody receives it here any more.
    pub fn new(news: watch::Receiver<u64>, left: impl FnOnce() + Send + 'static) -> Self {
        Self {
            news: Some(news),
            left: Some(Box::new(left)),
        }
    }

    /// Waits for news; also for none, when the way of news was broken in between. `false` when there will be none any more.
    pub async fn news(&mut self) -> bool {
        match &mut self.news {
            Some(news) => news.changed().await.is_ok(),
            None => false,
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.news = None;
        if let Some(left) = self.left.take() {
            left();
        }
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Following")
    }
}

impl ReplicaId {
    /// An id that no process ever had.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.simple())
    }
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
