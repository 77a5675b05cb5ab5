//! One page of a caller's tasks. Whatever the conditions, an index has the tasks of one state in the order of the page; a
//! page merges those of the states that the caller has tasks in.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::reads::{self, Part};
use super::rows::{rows_limit, signed, unsigned};
use super::tally::Standing;
use crate::store::{StoreError, TaskPage, TaskPlace, TaskQuery, named};

pub(super) fn page(
    connection: &Connection,
    standing: &Standing,
    query: &TaskQuery,
) -> Result<TaskPage, StoreError> {
    // One read transaction, so that the tasks are where the index says.
    let transaction = connection.unchecked_transaction()?;
    let mut places = Vec::new();
    let mut total = 0;
    for (state, tasks) in standing.of(&query.owner, &query.agent) {
        if query.state.is_some_and(|wanted| wanted != state) {
            continue;
        }
        total += match (&query.context_id, query.updated_from_ms) {
            (None, None) => tasks,
            _ => count(connection, query, state)?,
        };
        find(connection, query, state, &mut places)?;
    }
    find_first_task(connection, query, &mut places, &mut total)?;
    places.sort_unstable_by(|a, b| b.cmp(a));
    places.truncate(query.limit + 1);
    let part = if query.whole { Part::Whole } else { Part::Head };
    let page = TaskPage::read(&places, query.limit, total, |place| {
        let number = i64::try_from(place.tie).unwrap_or(i64::MAX);
        reads::by_number(connection, number, part)
    })?;
    transaction.commit()?;
    Ok(page)
}

/// Where the first tasks of the page and the one behind it would stand if all were in this state.
fn find(
    connection: &Connection,
    query: &TaskQuery,
    state: u8,
    places: &mut Vec<TaskPlace>,
) -> Result<(), StoreError> {
    let first_ms = signed(query.updated_from_ms.unwrap_or(0));
    let (last_ms, last_number) = match query.after {
        None => (i64::MAX, i64::MAX),
        // Tokens come from outside: whatever is not a number of ours stands behind all that are.
        Some(place) => (
            signed(place.updated_ms),
            i64::try_from(place.tie).unwrap_or(i64::MAX),
        ),
    };
    let (owner, agent) = (&*query.owner, &*query.agent);
    let limit = rows_limit(query.limit + 1);
    match &query.context_id {
        None => {
            let sql = "SELECT updated_ms, number FROM task INDEXED BY task_of_caller
                       WHERE owner = ?1 AND agent = ?2 AND state = ?3 AND updated_ms BETWEEN ?4 AND ?5
                       AND (updated_ms < ?5 OR number < ?6) ORDER BY updated_ms DESC, number DESC LIMIT ?7";
            let values = params![owner, agent, state, first_ms, last_ms, last_number, limit];
            let mut statement = connection.prepare_cached(sql)?;
            for found in statement.query_map(values, place)? {
                places.push(found?);
            }
        }
        Some(context_id) => {
            let sql = "SELECT updated_ms, number FROM task INDEXED BY task_of_context
                       WHERE owner = ?1 AND agent = ?2 AND state = ?3 AND updated_ms BETWEEN ?4 AND ?5
                       AND (updated_ms < ?5 OR number < ?6) AND context_id = ?8 AND context_id <> ''
                       ORDER BY updated_ms DESC, number DESC LIMIT ?7";
            let values = params![
                owner,
                agent,
                state,
                first_ms,
                last_ms,
                last_number,
                limit,
                &**context_id
            ];
            let mut statement = connection.prepare_cached(sql)?;
            for found in statement.query_map(values, place)? {
                places.push(found?);
            }
        }
    }
    Ok(())
}

/// The task that opened the conversation that is asked for.
fn find_first_task(
    connection: &Connection,
    query: &TaskQuery,
    places: &mut Vec<TaskPlace>,
    total: &mut u64,
) -> Result<(), StoreError> {
    let Some(id) = query.context_id.as_deref().and_then(named) else {
        return Ok(());
    };
    let sql = "SELECT updated_ms, number FROM task WHERE id = ?1 AND context_id = '' AND owner = ?2 AND agent = ?3
               AND updated_ms >= ?4 AND state = coalesce(?5, state)";
    let first_ms = signed(query.updated_from_ms.unwrap_or(0));
    let values = params![
        id.as_bytes(),
        &*query.owner,
        &*query.agent,
        first_ms,
        query.state
    ];
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row(values, place).optional()?;
    if let Some(found) = found {
        *total += 1;
        places.extend(Some(found).filter(|found| query.after.is_none_or(|after| *found < after)));
    }
    Ok(())
}

fn place(row: &Row<'_>) -> rusqlite::Result<TaskPlace> {
    Ok(TaskPlace {
        updated_ms: unsigned(row, 0)?,
        tie: unsigned(row, 1)?.into(),
    })
}

fn count(connection: &Connection, query: &TaskQuery, state: u8) -> Result<u64, StoreError> {
    let first_ms = signed(query.updated_from_ms.unwrap_or(0));
    let (owner, agent) = (&*query.owner, &*query.agent);
    let number = |row: &Row<'_>| unsigned(row, 0);
    let count = match &query.context_id {
        None => {
            let sql = "SELECT count(*) FROM task INDEXED BY task_of_caller
                       WHERE owner = ?1 AND agent = ?2 AND state = ?3 AND updated_ms >= ?4";
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_row(params![owner, agent, state, first_ms], number)?
        }
        Some(context_id) => {
            let sql = "SELECT count(*) FROM task INDEXED BY task_of_context
                       WHERE owner = ?1 AND agent = ?2 AND state = ?3 AND updated_ms >= ?4
                       AND context_id = ?5 AND context_id <> ''";
            let mut statement = connection.prepare_cached(sql)?;
            let values = params![owner, agent, state, first_ms, &**context_id];
            statement.query_row(values, number)?
        }
    };
    Ok(count)
}
