//! What one read asks of the tables.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::rows::{MAX_SEQ, place, rows_limit, signed, unpack, unsigned};
use crate::store::{AuditRow, EventRow, Snapshot, StoreError, StoredTask};

pub(super) fn load(connection: &Connection, id: Uuid) -> Result<Option<StoredTask>, StoreError> {
    // One read transaction, so that the events belong to the snapshot.
    let transaction = connection.unchecked_transaction()?;
    let sql = "SELECT number, owner, agent, context_id, state, updated_ms, snapshot_seq, snapshot FROM task WHERE id = ?1";
    let found = connection
        .prepare_cached(sql)?
        .query_row([id.as_bytes()], stored_task)
        .optional()?;
    let Some((number, mut task)) = found else {
        return Ok(None);
    };
    task.events = events_of(connection, number, task.snapshot.seq, usize::MAX)?;
    transaction.commit()?;
    Ok(Some(task))
}

pub(super) fn events(
    connection: &Connection,
    id: Uuid,
    after_seq: u64,
    limit: usize,
) -> Result<Vec<EventRow>, StoreError> {
    let sql = "SELECT number FROM task WHERE id = ?1";
    let number: Option<i64> = connection
        .prepare_cached(sql)?
        .query_row([id.as_bytes()], |row| row.get(0))
        .optional()?;
    number.map_or_else(
        || Ok(Vec::new()),
        |number| events_of(connection, number, after_seq, limit),
    )
}

pub(super) fn unfinished(
    connection: &Connection,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<Uuid>, StoreError> {
    // The nil id is no task's: nothing comes before it.
    let after = after.unwrap_or(Uuid::nil());
    let sql = "SELECT id FROM task WHERE terminal = 0 AND id > ?1 ORDER BY id LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let ids = statement.query_map(params![after.as_bytes(), rows_limit(limit)], |row| {
        row.get::<_, [u8; 16]>(0)
    })?;
    Ok(ids
        .map(|id| id.map(Uuid::from_bytes))
        .collect::<rusqlite::Result<_>>()?)
}

pub(super) fn last_audit(connection: &Connection) -> Result<Option<AuditRow>, StoreError> {
    let sql = "SELECT seq, at_ms, body, hash FROM audit ORDER BY seq DESC LIMIT 1";
    Ok(connection
        .prepare_cached(sql)?
        .query_row([], audit_row)
        .optional()?)
}

pub(super) fn audit_page(
    connection: &Connection,
    after_seq: u64,
    limit: usize,
) -> Result<Vec<AuditRow>, StoreError> {
    let sql = "SELECT seq, at_ms, body, hash FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params![signed(after_seq), rows_limit(limit)], audit_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn events_of(
    connection: &Connection,
    number: i64,
    after_seq: u64,
    limit: usize,
) -> Result<Vec<EventRow>, StoreError> {
    let sql = "SELECT bodies FROM event WHERE place > ?1 AND place <= ?2 ORDER BY place";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([place(number, after_seq), place(number, MAX_SEQ)])?;
    let mut events = Vec::new();
    while events.len() < limit
        && let Some(row) = rows.next()?
    {
        unpack(
            Bytes::from(row.get::<_, Vec<u8>>(0)?),
            after_seq,
            &mut events,
        )?;
    }
    events.truncate(limit);
    Ok(events)
}

fn stored_task(row: &Row<'_>) -> rusqlite::Result<(i64, StoredTask)> {
    let text = |column| row.get::<_, String>(column).map(Arc::from);
    let task = StoredTask {
        owner: text(1)?,
        agent: text(2)?,
        context_id: text(3)?,
        state: row.get(4)?,
        updated_ms: unsigned(row, 5)?,
        snapshot: Snapshot {
            seq: unsigned(row, 6)?,
            body: Bytes::from(row.get::<_, Vec<u8>>(7)?),
        },
        events: Vec::new(),
    };
    Ok((row.get(0)?, task))
}

fn audit_row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    Ok(AuditRow {
        seq: unsigned(row, 0)?,
        at_ms: unsigned(row, 1)?,
        body: Bytes::from(row.get::<_, Vec<u8>>(2)?),
        hash: row.get(3)?,
    })
}
