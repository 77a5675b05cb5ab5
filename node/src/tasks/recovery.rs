//! What a starting node finds: tasks whose agent was at work when the process ended.
//!
//! Each is handed to the hub that owns it, which loads it: its actor goes on with the turn where the agent can, and else
//! ends the task with a reason. The node serves meanwhile; a task that is asked for first is loaded first, with the same
//! outcome. Tasks that wait for the client are left alone.

use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use archipel_protocol::a2a::TaskState;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use uuid::Uuid;

use crate::store::{StoreError, TaskStore};
use crate::tasks::feed::Settled;
use crate::tasks::shard::ShardTable;

const PAGE: usize = 256;
/// Turns that are taken up again at once, so that neither the store nor an agent has them all in one moment.
pub const AT_ONCE: usize = 32;
/// How long a store that does not answer is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// Has the hub load a task whose turn was left.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct RecoverTask {
    /// Which task.
    pub id: Uuid,
    /// Given back when the turn is under way again, or over.
    pub place: OwnedSemaphorePermit,
}

/// Takes up every turn that was left; says how many there were.
pub async fn run(store: &dyn TaskStore, table: &ShardTable) -> u64 {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let (mut found, mut after) = (0, None);
    loop {
        match page(store, table, &places, &mut after).await {
            Ok(None) => return found,
            Ok(Some(tasks)) => found += tasks,
            Err(error) => {
                tracing::warn!(%error, "tasks of the last run cannot be looked for; trying again");
                sleep(RETRY).await;
            }
        }
    }
}

/// The next page of tasks; `None` when there is none. `after` is the last one that was dealt with.
async fn page(
    store: &dyn TaskStore,
    table: &ShardTable,
    places: &Arc<Semaphore>,
    after: &mut Option<Uuid>,
) -> Result<Option<u64>, StoreError> {
    let page = store.unfinished(*after, PAGE).await?;
    if page.is_empty() {
        return Ok(None);
    }
    let mut found = 0;
    for id in page {
        if was_left(store, id).await?
            && let Ok(place) = Arc::clone(places).acquire_owned().await
        {
            found += 1;
            let hub = table.owner_of(id).await;
            if hub.recover.send(RecoverTask { id, place }).await.is_err() {
                tracing::error!(task.id = %id, "the hub of a task is gone");
            }
        }
        *after = Some(id);
    }
    Ok(Some(found))
}

async fn was_left(store: &dyn TaskStore, id: Uuid) -> Result<bool, StoreError> {
    let stored = store.load(id).await?;
    let state = stored.and_then(|stored| TaskState::from_number(stored.state));
    Ok(state.is_some_and(|state| Settled::of(state) == Settled::No))
}
