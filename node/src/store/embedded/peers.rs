//! The table of what is kept about peers. Its revision is a row among the others, so that one statement reads both.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::EmbeddedStore;
use super::writes::{Write, Written};
use crate::store::StoreError;
use crate::store::peers::{Changed, PeerChange, PeerRow, PeerRows, PeerStore};

/// The revision stands under an id that no row has.
pub(super) const TABLE: &str = "
    CREATE TABLE peer (
        id   TEXT PRIMARY KEY,
        body BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
";

const REVISION: &str = "";

pub(super) struct PeerWrite {
    revision: u64,
    changes: Vec<PeerChange>,
}

pub(super) fn apply(connection: &Connection, write: &PeerWrite) -> Result<Written, StoreError> {
    if revision(connection)? != write.revision {
        return Ok(Written::Peers(Changed::Stale));
    }
    for change in &write.changes {
        match change {
            PeerChange::Keep(row) => keep(connection, &row.id, &row.body)?,
            PeerChange::Forget(id) => {
                connection
                    .prepare_cached("DELETE FROM peer WHERE id = ?1")?
                    .execute([&**id])?;
            }
        }
    }
    let next = write.revision + 1;
    keep(connection, REVISION, next.to_string().as_bytes())?;
    Ok(Written::Peers(Changed::To(next)))
}

fn keep(connection: &Connection, id: &str, body: &[u8]) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO peer (id, body) VALUES (?1, ?2)")?
        .execute(params![id, body])?;
    Ok(())
}

fn revision(connection: &Connection) -> Result<u64, StoreError> {
    let body: Option<Vec<u8>> = connection
        .prepare_cached("SELECT body FROM peer WHERE id = ?1")?
        .query_row([REVISION], |row| row.get(0))
        .optional()?;
    body.map_or(Ok(0), |body| number(&body))
}

fn number(body: &[u8]) -> Result<u64, StoreError> {
    let digits = std::str::from_utf8(body).ok();
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| StoreError::Corrupt("the revision of the peers is no number".to_owned()))
}

fn all(connection: &Connection) -> Result<PeerRows, StoreError> {
    let mut statement = connection.prepare_cached("SELECT id, body FROM peer ORDER BY id")?;
    let read = statement.query_map([], |row| {
        Ok(PeerRow {
            id: row.get::<_, Arc<str>>(0)?,
            body: Bytes::from(row.get::<_, Vec<u8>>(1)?),
        })
    })?;
    let mut found = PeerRows::default();
    for row in read {
        let row = row?;
        if &*row.id == REVISION {
            found.revision = number(&row.body)?;
        } else {
            found.rows.push(row);
        }
    }
    Ok(found)
}

#[async_trait]
impl PeerStore for EmbeddedStore {
    async fn peers(&self) -> Result<PeerRows, StoreError> {
        self.readers.ask(all).await
    }

    async fn peers_revision(&self) -> Result<u64, StoreError> {
        self.readers.ask(revision).await
    }

    async fn change_peers(
        &self,
        revision: u64,
        changes: Vec<PeerChange>,
    ) -> Result<Changed, StoreError> {
        let write = Write::Peers(PeerWrite { revision, changes });
        match self.write(write).await? {
            Written::Peers(changed) => Ok(changed),
            _ => Err(StoreError::Unavailable),
        }
    }
}
