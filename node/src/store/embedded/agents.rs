//! The table of agents.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, params};

use super::EmbeddedStore;
use super::writes::{Write, Written};
use crate::store::StoreError;
use crate::store::agents::{AgentRow, AgentStore};

pub(super) const TABLE: &str = "
    CREATE TABLE agent (
        id   TEXT PRIMARY KEY,
        body BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
";

pub(super) enum AgentWrite {
    Keep(AgentRow),
    Forget(Box<str>),
}

pub(super) fn apply(connection: &Connection, write: &AgentWrite) -> Result<Written, StoreError> {
    match write {
        AgentWrite::Keep(row) => connection
            .prepare_cached("INSERT OR REPLACE INTO agent (id, body) VALUES (?1, ?2)")?
            .execute(params![&*row.id, &*row.body])?,
        AgentWrite::Forget(id) => connection
            .prepare_cached("DELETE FROM agent WHERE id = ?1")?
            .execute([id])?,
    };
    Ok(Written::Done)
}

fn all(connection: &Connection) -> Result<Vec<AgentRow>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT id, body FROM agent ORDER BY id")?;
    let rows = statement.query_map([], |row| {
        Ok(AgentRow {
            id: row.get::<_, Arc<str>>(0)?,
            body: Bytes::from(row.get::<_, Vec<u8>>(1)?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[async_trait]
impl AgentStore for EmbeddedStore {
    async fn agents(&self) -> Result<Vec<AgentRow>, StoreError> {
        self.readers.ask(all).await
    }

    async fn keep_agent(&self, row: AgentRow) -> Result<(), StoreError> {
        self.write(Write::Agent(AgentWrite::Keep(row))).await?;
        Ok(())
    }

    async fn forget_agent(&self, id: &str) -> Result<(), StoreError> {
        let write = AgentWrite::Forget(Box::from(id));
        self.write(Write::Agent(write)).await?;
        Ok(())
    }
}
