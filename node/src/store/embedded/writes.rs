//! What one write does to the tables.

use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{MAX_SEQ, pack, place, rows_limit, signed, unsigned};
use super::schema::Tally;
use crate::store::memory::without_snapshot;
use crate::store::{AuditRow, Claim, EventRow, Retention, Snapshot, StoreError, TaskChange};

/// One write of one caller. Kept whole until it is committed, so that it can be tried again alone.
pub(super) enum Write {
    Change(TaskChange),
    Claim {
        key: Box<str>,
        expires_at_ms: u64,
        now_ms: u64,
    },
    Append(Vec<AuditRow>),
    Purge {
        retention: Retention,
        now_ms: u64,
        limit: usize,
    },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Written {
    Done,
    Claim(Claim),
    Purged(u64),
}

/// Does one write inside the transaction that is open on `connection`.
pub(super) fn apply(
    connection: &Connection,
    tally: &mut Tally,
    write: &Write,
) -> Result<Written, StoreError> {
    match write {
        Write::Change(change) => apply_change(connection, tally, change).map(|()| Written::Done),
        Write::Claim {
            key,
            expires_at_ms,
            now_ms,
        } => claim(connection, key, *expires_at_ms, *now_ms).map(Written::Claim),
        Write::Append(rows) => append_audit(connection, rows).map(|()| Written::Done),
        Write::Purge {
            retention,
            now_ms,
            limit,
        } => purge(connection, tally, *retention, *now_ms, *limit).map(Written::Purged),
    }
}

/// Deletes claims that are over, at most `limit`.
pub(super) fn forget_claims(
    connection: &Connection,
    now_ms: u64,
    limit: usize,
) -> Result<(), StoreError> {
    let sql =
        "DELETE FROM claim WHERE key IN (SELECT key FROM claim WHERE expires_at_ms <= ?1 LIMIT ?2)";
    connection
        .prepare_cached(sql)?
        .execute(params![signed(now_ms), rows_limit(limit)])?;
    Ok(())
}

fn apply_change(
    connection: &Connection,
    tally: &mut Tally,
    change: &TaskChange,
) -> Result<(), StoreError> {
    // Most changes bring a snapshot of a new task, so the insertion is tried first: it finds out what a search would.
    let inserted = match &change.snapshot {
        Some(snapshot) => insert_task(connection, change, snapshot)?,
        None => None,
    };
    let number = match inserted {
        Some(number) => {
            tally.tasks += 1;
            number
        }
        None => update_task(connection, tally, change)?,
    };
    tally.finished += u64::from(change.terminal);
    insert_events(connection, number, &change.events)
}

fn insert_task(
    connection: &Connection,
    change: &TaskChange,
    snapshot: &Snapshot,
) -> Result<Option<i64>, StoreError> {
    let sql = "INSERT INTO task (id, owner, agent, context_id, state, terminal, updated_ms, snapshot_seq, snapshot)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (id) DO NOTHING";
    let inserted = connection.prepare_cached(sql)?.execute(params![
        change.id.as_bytes(),
        &*change.owner,
        &*change.agent,
        &*change.context_id,
        change.state,
        change.terminal,
        signed(change.updated_ms),
        signed(snapshot.seq),
        &*snapshot.body,
    ])?;
    Ok((inserted == 1).then(|| connection.last_insert_rowid()))
}

fn update_task(
    connection: &Connection,
    tally: &mut Tally,
    change: &TaskChange,
) -> Result<i64, StoreError> {
    let sql = "SELECT number, terminal FROM task WHERE id = ?1";
    let known: Option<(i64, bool)> = connection
        .prepare_cached(sql)?
        .query_row([change.id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((number, was_terminal)) = known else {
        return Err(without_snapshot(change.id));
    };
    tally.finished = tally.finished.saturating_sub(u64::from(was_terminal));
    // Without a new snapshot SQLite rewrites only the bytes that differ, not the body it keeps.
    let sql = "UPDATE task SET owner = ?2, agent = ?3, context_id = ?4, state = ?5, terminal = ?6, updated_ms = ?7,
               snapshot_seq = coalesce(?8, snapshot_seq), snapshot = coalesce(?9, snapshot) WHERE number = ?1";
    connection.prepare_cached(sql)?.execute(params![
        number,
        &*change.owner,
        &*change.agent,
        &*change.context_id,
        change.state,
        change.terminal,
        signed(change.updated_ms),
        change
            .snapshot
            .as_ref()
            .map(|snapshot| signed(snapshot.seq)),
        change.snapshot.as_ref().map(|snapshot| &*snapshot.body),
    ])?;
    Ok(number)
}

fn insert_events(
    connection: &Connection,
    number: i64,
    events: &[EventRow],
) -> Result<(), StoreError> {
    let Some(last) = events.last() else {
        return Ok(());
    };
    if last.seq > MAX_SEQ {
        return Err(StoreError::Full);
    }
    let sql = "INSERT INTO event (place, bodies) VALUES (?1, ?2)";
    connection
        .prepare_cached(sql)?
        .execute(params![place(number, last.seq), pack(events)])?;
    Ok(())
}

fn claim(
    connection: &Connection,
    key: &str,
    expires_at_ms: u64,
    now_ms: u64,
) -> Result<Claim, StoreError> {
    let sql = "INSERT INTO claim (key, expires_at_ms) VALUES (?1, ?2)
               ON CONFLICT (key) DO UPDATE SET expires_at_ms = ?2 WHERE expires_at_ms <= ?3";
    let taken = connection.prepare_cached(sql)?.execute(params![
        key,
        signed(expires_at_ms),
        signed(now_ms)
    ])?;
    Ok(if taken == 1 {
        Claim::First
    } else {
        Claim::Repeated
    })
}

fn append_audit(connection: &Connection, rows: &[AuditRow]) -> Result<(), StoreError> {
    let mut statement = connection
        .prepare_cached("INSERT INTO audit (seq, at_ms, body, hash) VALUES (?1, ?2, ?3, ?4)")?;
    for row in rows {
        statement.execute(params![
            signed(row.seq),
            signed(row.at_ms),
            &*row.body,
            row.hash
        ])?;
    }
    Ok(())
}

fn purge(
    connection: &Connection,
    tally: &mut Tally,
    retention: Retention,
    now_ms: u64,
    limit: usize,
) -> Result<u64, StoreError> {
    let mut too_many = tally.finished.saturating_sub(retention.keep_count);
    let mut forgotten = 0;
    for (number, updated_ms) in oldest_finished(connection, limit)? {
        if too_many == 0 && !retention.is_over(updated_ms, now_ms) {
            break;
        }
        connection
            .prepare_cached("DELETE FROM event WHERE place BETWEEN ?1 AND ?2")?
            .execute([place(number, 0), place(number, MAX_SEQ)])?;
        connection
            .prepare_cached("DELETE FROM task WHERE number = ?1")?
            .execute([number])?;
        too_many = too_many.saturating_sub(1);
        forgotten += 1;
    }
    tally.tasks = tally.tasks.saturating_sub(forgotten);
    tally.finished = tally.finished.saturating_sub(forgotten);
    Ok(forgotten)
}

fn oldest_finished(connection: &Connection, limit: usize) -> Result<Vec<(i64, u64)>, StoreError> {
    let sql = "SELECT number, updated_ms FROM task WHERE terminal = 1 ORDER BY updated_ms LIMIT ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([rows_limit(limit)], |row| {
        Ok((row.get(0)?, unsigned(row, 1)?))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
