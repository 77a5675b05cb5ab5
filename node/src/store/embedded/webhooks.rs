//! Webhooks in their table: what one write does, what one read asks.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::rows::{MAX_SEQ, SEQ_BITS, rows_limit, signed, unsigned};
use super::tally::Tally;
use super::writes::Written;
use crate::store::{MAX_WEBHOOKS, Put, StoreError, Webhook};

pub(super) enum WebhookWrite {
    Put(Webhook),
    Delete {
        task: Uuid,
        id: Box<str>,
    },
    Delivered {
        task: Uuid,
        id: Box<str>,
        through: u64,
        done: bool,
    },
}

pub(super) fn apply(
    connection: &Connection,
    tally: &mut Tally,
    write: &WebhookWrite,
) -> Result<Written, StoreError> {
    match write {
        WebhookWrite::Put(webhook) => put(connection, tally, webhook).map(Written::Put),
        WebhookWrite::Delete { task, id } => {
            let sql = "DELETE FROM webhook WHERE task = ?1 AND id = ?2";
            let deleted = connection
                .prepare_cached(sql)?
                .execute(params![task.as_bytes(), id])?;
            tally.webhooks = tally.webhooks.saturating_sub(deleted as u64);
            Ok(Written::Deleted(deleted > 0))
        }
        WebhookWrite::Delivered {
            task,
            id,
            through,
            done,
        } => {
            let sql = "UPDATE webhook SET delivered = max(delivered, ?3), done = max(done, ?4)
                       WHERE task = ?1 AND id = ?2";
            let values = params![task.as_bytes(), id, signed(*through), done];
            connection.prepare_cached(sql)?.execute(values)?;
            Ok(Written::Done)
        }
    }
}

/// Keeps a webhook that came with a change of its task.
pub(super) fn keep(
    connection: &Connection,
    tally: &mut Tally,
    webhook: &Webhook,
) -> Result<(), StoreError> {
    if others(connection, webhook)? >= MAX_WEBHOOKS as u64 {
        let sql =
            "DELETE FROM webhook WHERE made = (SELECT min(made) FROM webhook WHERE task = ?1)";
        let deleted = connection
            .prepare_cached(sql)?
            .execute([webhook.task.as_bytes()])?;
        tally.webhooks = tally.webhooks.saturating_sub(deleted as u64);
    }
    upsert(connection, tally, webhook)
}

/// Forgets the webhooks of a task that is forgotten.
pub(super) fn forget(
    connection: &Connection,
    tally: &mut Tally,
    task: Uuid,
) -> Result<(), StoreError> {
    // Most nodes have none, and every task is forgotten one day.
    if tally.webhooks > 0 {
        let sql = "DELETE FROM webhook WHERE task = ?1";
        let deleted = connection.prepare_cached(sql)?.execute([task.as_bytes()])?;
        tally.webhooks = tally.webhooks.saturating_sub(deleted as u64);
    }
    Ok(())
}

pub(super) fn of_task(connection: &Connection, task: Uuid) -> Result<Vec<Webhook>, StoreError> {
    let sql = "SELECT id, config, delivered, done FROM webhook WHERE task = ?1 ORDER BY made";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([task.as_bytes()], |row| webhook(task, row))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn undelivered(
    connection: &Connection,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<Uuid>, StoreError> {
    // The nil id is no task's. The greatest place of a task's events holds the number of the last one.
    let after = after.unwrap_or(Uuid::nil());
    let sql = "SELECT DISTINCT webhook.task FROM webhook INDEXED BY webhook_due JOIN task ON task.id = webhook.task
               WHERE webhook.done = 0 AND webhook.task > ?1 AND webhook.delivered < (SELECT max(place) & ?3 FROM event
                   WHERE place BETWEEN task.number << ?4 AND (task.number << ?4) | ?3)
               ORDER BY webhook.task LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let values = params![
        after.as_bytes(),
        rows_limit(limit),
        signed(MAX_SEQ),
        SEQ_BITS
    ];
    let ids = statement.query_map(values, |row| row.get::<_, [u8; 16]>(0))?;
    Ok(ids
        .map(|id| id.map(Uuid::from_bytes))
        .collect::<rusqlite::Result<_>>()?)
}

fn put(connection: &Connection, tally: &mut Tally, webhook: &Webhook) -> Result<Put, StoreError> {
    let sql = "SELECT 1 FROM task WHERE id = ?1";
    let task = connection
        .prepare_cached(sql)?
        .exists([webhook.task.as_bytes()])?;
    if !task {
        return Ok(Put::NoTask);
    }
    if others(connection, webhook)? >= MAX_WEBHOOKS as u64 {
        return Ok(Put::TooMany);
    }
    upsert(connection, tally, webhook)?;
    Ok(Put::Kept)
}

fn others(connection: &Connection, webhook: &Webhook) -> Result<u64, StoreError> {
    let sql = "SELECT count(*) FROM webhook WHERE task = ?1 AND id <> ?2";
    let values = params![webhook.task.as_bytes(), &*webhook.id];
    Ok(connection
        .prepare_cached(sql)?
        .query_row(values, |row| unsigned(row, 0))?)
}

fn upsert(connection: &Connection, tally: &mut Tally, webhook: &Webhook) -> Result<(), StoreError> {
    let (task, id, config) = (webhook.task.as_bytes(), &*webhook.id, &*webhook.config);
    let values = params![task, id, config, signed(webhook.delivered), webhook.done];
    let sql =
        "UPDATE webhook SET config = ?3, delivered = ?4, done = ?5 WHERE task = ?1 AND id = ?2";
    if connection.prepare_cached(sql)?.execute(values)? == 0 {
        let sql =
            "INSERT INTO webhook (task, id, config, delivered, done) VALUES (?1, ?2, ?3, ?4, ?5)";
        connection.prepare_cached(sql)?.execute(values)?;
        tally.webhooks += 1;
    }
    Ok(())
}

fn webhook(task: Uuid, row: &Row<'_>) -> rusqlite::Result<Webhook> {
    Ok(Webhook {
        task,
        id: Arc::from(row.get::<_, String>(0)?),
        config: Bytes::from(row.get::<_, Vec<u8>>(1)?),
        delivered: unsigned(row, 2)?,
        done: row.get(3)?,
    })
}
