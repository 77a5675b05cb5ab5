//! What one write does to the tables.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::agents::{self, AgentWrite};
use super::peers::{self, PeerWrite};
use super::rows::{MAX_SEQ, context, pack, place, rows_limit, signed, unsigned};
use super::tally::{Move, Tally};
use super::wan::{self, WanWrite};
use super::webhooks::{self, WebhookWrite};
use crate::store::memory::without_snapshot;
use crate::store::peers::Changed;
use crate::store::wan::{Kept, WanRow};
use crate::store::{AuditRow, Claim, EventRow, Put, Retention, Snapshot, StoreError, TaskChange};

/// One write of one caller. Kept whole until it is committed, so that it can be tried again alone.
pub(super) enum Write {
    Change(TaskChange),
    Claim {
        key: Box<str>,
        expires_at_ms: u64,
        now_ms: u64,
    },
    Webhook(WebhookWrite),
    Agent(AgentWrite),
    Peers(PeerWrite),
    Wan(WanWrite),
    Append(Vec<AuditRow>),
    Purge {
        retention: Retention,
        now_ms: u64,
        limit: usize,
    },
}

#[derive(Debug)]
pub(super) enum Written {
    Done,
    Claim(Claim),
    Put(Put),
    Deleted(bool),
    Peers(Changed),
    WanKept(Vec<Kept>),
    WanRows(Vec<WanRow>),
    Counted(u64),
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
        Write::Webhook(write) => webhooks::apply(connection, tally, write),
        Write::Agent(write) => agents::apply(connection, write),
        Write::Peers(write) => peers::apply(connection, write),
        Write::Wan(write) => wan::apply(connection, tally, write),
        Write::Append(rows) => append_audit(connection, rows).map(|()| Written::Done),
        Write::Purge {
            retention,
            now_ms,
            limit,
        } => purge(connection, tally, *retention, *now_ms, *limit).map(Written::Counted),
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
            tally.finished += u64::from(change.terminal);
            tally.moves.push(came(change));
            number
        }
        None => update_task(connection, tally, change)?,
    };
    if let Some(webhook) = &change.webhook {
        webhooks::keep(connection, tally, webhook)?;
    }
    insert_events(connection, number, &change.events)
}

fn insert_task(
    connection: &Connection,
    change: &TaskChange,
    snapshot: &Snapshot,
) -> Result<Option<i64>, StoreError> {
    let sql = "INSERT INTO task (id, owner, agent, context_id, state, terminal, updated_ms, snapshot_seq, head, rest)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (id) DO NOTHING";
    let inserted = connection.prepare_cached(sql)?.execute(params![
        change.id.as_bytes(),
        &*change.owner,
        &*change.agent,
        context(change.id, &change.context_id),
        change.state,
        change.terminal,
        signed(change.updated_ms),
        signed(snapshot.seq),
        &*snapshot.head,
        &*snapshot.rest,
    ])?;
    Ok((inserted == 1).then(|| connection.last_insert_rowid()))
}

fn update_task(
    connection: &Connection,
    tally: &mut Tally,
    change: &TaskChange,
) -> Result<i64, StoreError> {
    let sql = "SELECT number, owner, agent, context_id, state, terminal, updated_ms FROM task WHERE id = ?1";
    let known = connection
        .prepare_cached(sql)?
        .query_row([change.id.as_bytes()], |row| known(row, change))
        .optional()?;
    let Some((number, left)) = known else {
        return Err(without_snapshot(change.id));
    };
    if let Some(snapshot) = &change.snapshot {
        let sql = "UPDATE task SET snapshot_seq = ?2, head = ?3, rest = ?4 WHERE number = ?1";
        connection.prepare_cached(sql)?.execute(params![
            number,
            signed(snapshot.seq),
            &*snapshot.head,
            &*snapshot.rest,
        ])?;
    }
    // Most changes of a task leave it where it stands in every index.
    if let Some((was_terminal, left)) = left {
        let sql = "UPDATE task SET owner = ?2, agent = ?3, context_id = ?4, state = ?5, terminal = ?6, updated_ms = ?7
                   WHERE number = ?1";
        connection.prepare_cached(sql)?.execute(params![
            number,
            &*change.owner,
            &*change.agent,
            context(change.id, &change.context_id),
            change.state,
            change.terminal,
            signed(change.updated_ms),
        ])?;
        tally.finished = tally.finished.saturating_sub(u64::from(was_terminal));
        tally.finished += u64::from(change.terminal);
        tally.moves.extend([left, came(change)]);
    }
    Ok(number)
}

/// The number of the task, and unless it stays where it stands, whether it was terminal and what it leaves.
fn known(row: &Row<'_>, change: &TaskChange) -> rusqlite::Result<(i64, Option<(bool, Move)>)> {
    let number = row.get(0)?;
    let text = |column| row.get_ref(column).and_then(|value| Ok(value.as_str()?));
    let (owner, agent, state) = (text(1)?, text(2)?, row.get(4)?);
    let terminal: bool = row.get(5)?;
    let stays = (owner, agent, text(3)?) == (&*change.owner, &*change.agent, &*change.context_id)
        && (state, terminal, unsigned(row, 6)?)
            == (change.state, change.terminal, change.updated_ms);
    let left = (!stays).then(|| Move {
        owner: Arc::from(owner),
        agent: Arc::from(agent),
        state,
        came: false,
    });
    Ok((number, left.map(|left| (terminal, left))))
}

fn came(change: &TaskChange) -> Move {
    Move {
        owner: Arc::clone(&change.owner),
        agent: Arc::clone(&change.agent),
        state: change.state,
        came: true,
    }
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
        let (id, left) = forget_task(connection, number)?;
        webhooks::forget(connection, tally, id)?;
        tally.moves.push(left);
        too_many = too_many.saturating_sub(1);
        forgotten += 1;
    }
    tally.tasks = tally.tasks.saturating_sub(forgotten);
    tally.finished = tally.finished.saturating_sub(forgotten);
    Ok(forgotten)
}

fn forget_task(connection: &Connection, number: i64) -> Result<(Uuid, Move), StoreError> {
    let sql = "DELETE FROM task WHERE number = ?1 RETURNING id, owner, agent, state";
    let forgotten = connection.prepare_cached(sql)?.query_row([number], |row| {
        let left = Move {
            owner: row.get::<_, String>(1)?.into(),
            agent: row.get::<_, String>(2)?.into(),
            state: row.get(3)?,
            came: false,
        };
        Ok((Uuid::from_bytes(row.get(0)?), left))
    })?;
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
