//! What is kept about peers: those that paired with us, which ones the operator withdrew, and our own keys.
//!
//! One small table under one revision. Whoever changes it says which revision they looked at; if somebody else was faster,
//! nothing is changed and they look again. So what was decided was always decided over what is there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::StoreError;

/// Rows about peers. Few and small: a caller reads them all.
#[async_trait]
pub trait PeerStore: Send + Sync + fmt::Debug {
    /// Every row, ordered by id, and the revision they are of.
    async fn peers(&self) -> Result<PeerRows, StoreError>;

    /// The revision in force: cheap, for whoever looks often.
    async fn peers_revision(&self) -> Result<u64, StoreError>;

    /// Makes these changes, all or none, if `revision` is still in force.
    async fn change_peers(
        &self,
        revision: u64,
        changes: Vec<PeerChange>,
    ) -> Result<Changed, StoreError>;

    /// Tells when somebody else may have changed rows; absent where nobody else writes. What it tells may get lost, so the
    /// revision has to be looked at now and then.
    fn peer_news(&self) -> Option<watch::Receiver<u64>> {
        None
    }
}

/// All rows. The revision of a table that nobody ever changed is 0; no revision comes twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerRows {
    pub revision: u64,
    pub rows: Vec<PeerRow>,
}

/// One row; the store knows nothing of the body, which may hold a secret key.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerRow {
    pub id: Arc<str>,
    pub body: Bytes,
}

/// Without the body.
impl fmt::Debug for PeerRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PeerRow").field(&self.id).finish()
    }
}

/// What becomes of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerChange {
    /// It is kept, in the place of the one with the same id.
    Keep(PeerRow),
    /// It is forgotten; that there is none is no error.
    Forget(Arc<str>),
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It is kept, as this revision.
    To(u64),
    /// Another revision is in force: nothing was changed.
    Stale,
}

/// Rows in the memory of the process.
#[derive(Debug, Default)]
pub struct MemoryPeers(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    revision: u64,
    rows: BTreeMap<Arc<str>, PeerRow>,
}

#[async_trait]
impl PeerStore for MemoryPeers {
    async fn peers(&self) -> Result<PeerRows, StoreError> {
        let held = self.0.lock();
        Ok(PeerRows {
            revision: held.revision,
            rows: held.rows.values().cloned().collect(),
        })
    }

    async fn peers_revision(&self) -> Result<u64, StoreError> {
        Ok(self.0.lock().revision)
    }

    async fn change_peers(
        &self,
        revision: u64,
        changes: Vec<PeerChange>,
    ) -> Result<Changed, StoreError> {
        let mut held = self.0.lock();
        if held.revision != revision {
            return Ok(Changed::Stale);
        }
        for change in changes {
            match change {
                PeerChange::Keep(row) => {
                    held.rows.insert(Arc::clone(&row.id), row);
                }
                PeerChange::Forget(id) => {
                    held.rows.remove(&id);
                }
            }
        }
        held.revision += 1;
        Ok(Changed::To(held.revision))
    }
}
