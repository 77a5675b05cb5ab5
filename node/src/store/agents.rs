//! What is kept of agents: those that were added while the node ran, and what the operator decided about the others.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::StoreError;

/// Agents, one row for each. Few and small: a caller reads them all.
#[async_trait]
pub trait AgentStore: Send + Sync + fmt::Debug {
    /// Every row, ordered by id.
    async fn agents(&self) -> Result<Vec<AgentRow>, StoreError>;

    /// Keeps a row, in the place of the one with the same id.
    async fn keep_agent(&self, row: AgentRow) -> Result<(), StoreError>;

    /// Forgets a row; that there is none is no error.
    async fn forget_agent(&self, id: &str) -> Result<(), StoreError>;

    /// Whether others write rows too, so that they have to be read again now and then.
    fn is_shared(&self) -> bool {
        false
    }
}

/// What is kept of one agent; the store knows nothing of the body, which may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct AgentRow {
    pub id: Arc<str>,
    pub body: Bytes,
}

/// Without the body.
impl fmt::Debug for AgentRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AgentRow").field(&self.id).finish()
    }
}

/// Rows in the memory of the process.
#[derive(Debug, Default)]
pub struct MemoryAgents(Mutex<BTreeMap<Arc<str>, AgentRow>>);

#[async_trait]
impl AgentStore for MemoryAgents {
    async fn agents(&self) -> Result<Vec<AgentRow>, StoreError> {
        Ok(self.0.lock().values().cloned().collect())
    }

    async fn keep_agent(&self, row: AgentRow) -> Result<(), StoreError> {
        self.0.lock().insert(Arc::clone(&row.id), row);
        Ok(())
    }

    async fn forget_agent(&self, id: &str) -> Result<(), StoreError> {
        self.0.lock().remove(id);
        Ok(())
    }
}
