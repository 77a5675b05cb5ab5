//! What one read asks of the tables.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::rows::{MAX_SEQ, place, rows_limit, signed, unpack, unsigned};
use crate::store::{AuditRow, EventRow, Retention, Snapshot, StoreError, StoredTask, Unanswered};

/// How much of a task's snapshot is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Head,
    Whole,
}

pub(super) fn load(connection: &Connection, id: Uuid) -> Result<Option<StoredTask>, StoreError> {
    // One read transaction, so that the events belong to the snapshot.
    let transaction = connection.unchecked_transaction()?;
    let loaded = match number_of(connection, id)? {
        Some(number) => by_number(connection, number, Part::Whole)?,
        None => None,
    };
    transaction.commit()?;
    Ok(loaded)
}

/// A task, inside of a transaction.
pub(super) fn by_number(
    connection: &Connection,
    number: i64,
    part: Part,
) -> Result<Option<StoredTask>, StoreError> {
    // The rest stands last in the row: where it is not asked for, its pages are not read.
    let sql = match part {
        Part::Head => {
            "SELECT owner, agent, context_id, state, updated_ms, snapshot_seq, head, x'', id FROM task WHERE number = ?1"
        }
        Part::Whole => {
            "SELECT owner, agent, context_id, state, updated_ms, snapshot_seq, head, rest, id FROM task WHERE number = ?1"
        }
    };
    let found = connection
        .prepare_cached(sql)?
        .query_row([number], stored_task)
        .optional()?;
    let Some(mut task) = found else {
        return Ok(None);
    };
    task.events = events_of(connection, number, task.snapshot.seq, usize::MAX)?;
    Ok(Some(task))
}

pub(super) fn events(
    connection: &Connection,
    id: Uuid,
    after_seq: u64,
    limit: usize,
) -> Result<Vec<EventRow>, StoreError> {
    number_of(connection, id)?.map_or_else(
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

pub(super) fn unanswered(
    connection: &Connection,
    retention: Retention,
    too_many: u64,
    now_ms: u64,
    limit: usize,
) -> Result<Vec<Unanswered>, StoreError> {
    let sql = "SELECT id, owner, agent, updated_ms FROM task WHERE state IN (6, 8) ORDER BY updated_ms LIMIT ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([rows_limit(limit)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let updated_ms = unsigned(row, 3)?;
        if found.len() as u64 >= too_many && !retention.is_unanswered(updated_ms, now_ms) {
            break;
        }
        found.push(Unanswered {
            id: Uuid::from_bytes(row.get(0)?),
            owner: row.get::<_, String>(1)?.into(),
            agent: row.get::<_, String>(2)?.into(),
            updated_ms,
        });
    }
    Ok(found)
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

fn number_of(connection: &Connection, id: Uuid) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT number FROM task WHERE id = ?1";
    Ok(connection
        .prepare_cached(sql)?
        .query_row([id.as_bytes()], |row| row.get(0))
        .optional()?)
}

fn stored_task(row: &Row<'_>) -> rusqlite::Result<StoredTask> {
    let text = |column| row.get::<_, String>(column).map(Arc::from);
    let blob = |column| row.get::<_, Vec<u8>>(column).map(Bytes::from);
    let context_id: Arc<str> = text(2)?;
    let context_id = if context_id.is_empty() {
        Uuid::from_bytes(row.get(8)?).to_string().into()
    } else {
        context_id
    };
    Ok(StoredTask {
        owner: text(0)?,
        agent: text(1)?,
        context_id,
        state: row.get(3)?,
        updated_ms: unsigned(row, 4)?,
        snapshot: Snapshot {
            seq: unsigned(row, 5)?,
            head: blob(6)?,
            rest: blob(7)?,
        },
        events: Vec::new(),
    })
}

fn audit_row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    Ok(AuditRow {
        seq: unsigned(row, 0)?,
        at_ms: unsigned(row, 1)?,
        body: Bytes::from(row.get::<_, Vec<u8>>(2)?),
        hash: row.get(3)?,
    })
}
