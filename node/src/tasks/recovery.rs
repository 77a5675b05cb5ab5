//! What a starting node finds: tasks whose agent was at work when the process ended.
//!
//! Their turn is lost, and nobody would ever end them, so they fail with a reason before the node serves. Tasks that wait
//! for the client go on waiting.

use archipel_kit::clock::Clock;
use futures_util::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use crate::store::{EventRow, StoreError, TaskChange, TaskStore};
use crate::tasks::feed::Settled;
use crate::tasks::machine::Record;

const PAGE: usize = 256;
/// Tasks that are failed at once: the store keeps them together, and a node that had much to do starts soon.
const AT_ONCE: usize = 64;
const REASON: &str = "the node was stopped while the agent was working on this message";

/// Fails every task that was being worked on; says how many.
///
/// # Errors
/// When the store does not answer or refuses.
pub async fn fail_interrupted_turns(
    store: &dyn TaskStore,
    clock: &dyn Clock,
) -> Result<u64, StoreError> {
    let mut failed = 0;
    let mut after = None;
    loop {
        let page = store.unfinished(after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(failed);
        };
        after = Some(*last);
        failed += stream::iter(page)
            .map(|id| fail_turn(id, store, clock))
            .buffer_unordered(AT_ONCE)
            .try_fold(0, async |sum, one| Ok(sum + u64::from(one)))
            .await?;
    }
}

async fn fail_turn(id: Uuid, store: &dyn TaskStore, clock: &dyn Clock) -> Result<bool, StoreError> {
    let Some(stored) = store.load(id).await? else {
        return Ok(false);
    };
    let mut record = match Record::restore(&stored) {
        Ok(record) => record,
        Err(error) => {
            tracing::error!(task.id = %id, %error, "a kept task cannot be read");
            return Ok(false);
        }
    };
    if record.settled() != Settled::No {
        return Ok(false);
    }
    let now_ms = clock.now_ms();
    let Ok(event) = record.fail(REASON, Uuid::new_v4().to_string(), now_ms) else {
        return Ok(false);
    };
    let snapshot = record.snapshot();
    let state = record.task.status.state;
    let change = TaskChange {
        id,
        owner: stored.owner,
        agent: stored.agent,
        context_id: stored.context_id,
        state: state.number(),
        terminal: state.is_terminal(),
        updated_ms: now_ms,
        snapshot: Some(snapshot),
        events: vec![EventRow {
            seq: event.seq,
            body: event.body,
        }],
        webhook: None,
        hold: None,
    };
    store.commit(change).await?;
    Ok(true)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
