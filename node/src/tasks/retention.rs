//! Which tasks are not kept any longer: those that ended are forgotten, those whose client does not answer are ended.

use archipel_kit::clock::Clock;
use futures_util::{StreamExt, stream};

use crate::store::{Retention, StoreError, TaskStore, Unanswered};
use crate::tasks::answered;
use crate::tasks::command::{AskTask, Asked, Reply, TaskCaller, TaskCommand, TaskError};
use crate::tasks::shard::ShardTable;

/// Tasks that are forgotten in one transaction.
const BITE: usize = 500;
/// Tasks that are looked up at once to be ended.
const PAGE: usize = 256;
/// Tasks that are ended at once: their agents are told.
const AT_ONCE: usize = 32;

/// Forgets and ends what is beyond the retention, and comes back when nothing is left to do.
pub async fn sweep(
    store: &dyn TaskStore,
    table: &ShardTable,
    retention: Retention,
    clock: &dyn Clock,
) {
    if let Err(error) = end_unanswered(store, table, retention, clock).await {
        tracing::warn!(%error, "tasks that nobody answers could not be looked for");
    }
    if let Err(error) = purge(store, retention, clock).await {
        tracing::warn!(%error, "old tasks could not be forgotten");
    }
}

async fn purge(
    store: &dyn TaskStore,
    retention: Retention,
    clock: &dyn Clock,
) -> Result<(), StoreError> {
    while store.purge(retention, clock.now_ms(), BITE).await? >= BITE as u64 {}
    Ok(())
}

async fn end_unanswered(
    store: &dyn TaskStore,
    table: &ShardTable,
    retention: Retention,
    clock: &dyn Clock,
) -> Result<(), StoreError> {
    loop {
        let page = store.unanswered(retention, clock.now_ms(), PAGE).await?;
        let found = page.len();
        let ended = stream::iter(page)
            .map(|task| end(table, task))
            .buffer_unordered(AT_ONCE)
            .filter(|ended| std::future::ready(*ended))
            .count()
            .await;
        if ended > 0 {
            tracing::info!(tasks = ended, "tasks were canceled that nobody answered");
        }
        // What could not be ended now is found again by the next sweep.
        if found < PAGE || ended == 0 {
            return Ok(());
        }
    }
}

/// Asks the task's owner to end it; whether it did.
async fn end(table: &ShardTable, task: Unanswered) -> bool {
    let (reply, answer) = Reply::pair();
    let asked = Asked {
        caller: TaskCaller {
            owner: task.owner,
            agent: task.agent,
        },
        command: TaskCommand::GiveUp {
            since_ms: task.updated_ms,
            reply,
        },
    };
    let hub = table.owner_of(task.id).await;
    let sent = hub.ask.send(AskTask { id: task.id, asked }).await;
    let answer = match sent {
        Ok(()) => answered(answer).await,
        Err(_) => Err(TaskError::Busy),
    };
    match answer {
        Ok(_) => true,
        // The client answered in this very moment.
        Err(TaskError::NotCancelable) => false,
        Err(error) => {
            tracing::warn!(task.id = %task.id, %error, "a task that nobody answers could not be ended");
            false
        }
    }
}
