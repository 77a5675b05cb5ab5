//! `ListTasks` (A2A 1.0 §3.1.4): a page of the caller's tasks, straight from the store. What is shown is kept, so what is
//! kept is what may be shown, and no actor is asked.
//!
//! A page is written from the bytes that were kept; only a task in mid-turn, or one whose history is to be cut, is read and
//! written anew. `token` tells where a page ended.

use archipel_protocol::a2a::{ListTasksParams, Timestamp};
use bytes::Bytes;

use crate::store::{StoredTask, TaskQuery, TaskStore};
use crate::tasks::command::{TaskCaller, TaskError};
use crate::tasks::machine;

mod token;

/// Bytes of JSON after which others on this worker get their turn.
const WRITTEN_AT_ONCE: usize = 256 * 1024;

/// The page as JSON (`ListTasksResponse`).
///
/// # Errors
/// When the page token is none of this list, or the store does not answer.
pub async fn page(
    store: &dyn TaskStore,
    caller: TaskCaller,
    params: &ListTasksParams,
) -> Result<Bytes, TaskError> {
    let query = query(caller, params)?;
    let listed = store.list(query.clone()).await;
    let listed = listed.map_err(TaskError::NotKept)?;
    let mut page = b"{\"tasks\":[".to_vec();
    let mut breath = WRITTEN_AT_ONCE;
    for task in &listed.tasks {
        let begin = page.len();
        if write(&mut page, task, params) {
            page.push(b',');
        } else {
            page.truncate(begin);
        }
        if page.len() > breath {
            breath = page.len() + WRITTEN_AT_ONCE;
            tokio::task::yield_now().await;
        }
    }
    if page.last() == Some(&b',') {
        page.pop();
    }
    let next = listed.next.map(|place| token::write(&query, place));
    let rest = format!(
        "],\"nextPageToken\":\"{}\",\"pageSize\":{},\"totalSize\":{}}}",
        next.unwrap_or_default(),
        params.page_size,
        listed.total
    );
    page.extend_from_slice(rest.as_bytes());
    Ok(page.into())
}

fn query(caller: TaskCaller, params: &ListTasksParams) -> Result<TaskQuery, TaskError> {
    let mut query = TaskQuery {
        owner: caller.owner,
        agent: caller.agent,
        context_id: params.context_id.as_deref().map(Into::into),
        state: params.status.map(|state| state.number()),
        updated_from_ms: params.status_timestamp_after.map(first_ms),
        after: None,
        limit: usize::try_from(params.page_size).unwrap_or(usize::MAX),
        whole: params.include_artifacts,
    };
    if let Some(text) = &params.page_token {
        let place = token::read(&query, text).ok_or(TaskError::WrongPageToken)?;
        query.after = Some(place);
    }
    Ok(query)
}

/// The first millisecond that is not before `time`.
fn first_ms(time: Timestamp) -> u64 {
    let ms = time.unix_ms();
    ms + u64::from(Timestamp::from_unix_ms(ms) < time)
}

/// Writes a task as the page shows it; false if what was kept cannot be read.
fn write(page: &mut Vec<u8>, task: &StoredTask, params: &ListTasksParams) -> bool {
    let history = params.history_length;
    let outcome = machine::write_listed(page, task, history, params.include_artifacts);
    if let Err(error) = &outcome {
        tracing::error!(owner = %task.owner, %error, "a kept task cannot be read");
    }
    outcome.is_ok()
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
mod tests;
