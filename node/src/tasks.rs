//! Tasks: opening, asking and watching them, wherever they live.
//!
//! Read `command` (what may be asked), `hub` (which tasks are live), `actor` (one live task), `machine` (what may happen
//! to it), `turn` and `executor` (the agent's side), `feed` (the watcher's side), `held` (their memory), `shard` (which
//! worker owns a task), `list` (pages of tasks), `recovery` (what a starting node finds) and `retention` (what is not kept
//! any longer).

use std::sync::Arc;

use actix::prelude::SendError;
use archipel_protocol::a2a::{ListTasksParams, Task};
use bytes::Bytes;
use uuid::Uuid;

pub mod actor;
pub mod calls;
pub mod command;
pub mod executor;
pub mod feed;
pub mod follower;
mod held;
pub mod hub;
pub mod list;
pub mod machine;
pub mod recovery;
pub mod retention;
pub mod shard;
pub mod turn;

use crate::store::TaskStore;
use command::{
    Answered, AskTask, Asked, OpenTask, Reply, TaskCaller, TaskCommand, TaskError, TurnCommand,
};
use feed::Feed;
use shard::{HubPorts, Shard, ShardTable};

/// A worker's way to all tasks of the node.
#[derive(Debug, Clone)]
pub struct Tasks {
    /// The worker's own share and hub; none for somebody who is no worker.
    own: Option<(Shard, HubPorts)>,
    table: Arc<ShardTable>,
    store: Arc<dyn TaskStore>,
}

impl Tasks {
    /// The way from the worker that owns `shard`, whose hub is `local`, to what is in `store`.
    pub fn new(
        shard: Shard,
        local: HubPorts,
        table: Arc<ShardTable>,
        store: Arc<dyn TaskStore>,
    ) -> Self {
        Self {
            own: Some((shard, local)),
            table,
            store,
        }
    }

    /// The way of somebody who is no worker.
    pub fn from_outside(table: Arc<ShardTable>, store: Arc<dyn TaskStore>) -> Self {
        Self {
            own: None,
            table,
            store,
        }
    }

    /// Opens a new task, on this worker unless it has a name already; the answer comes through the command's own reply.
    /// Whoever names a task has seen to it that there is none of that name.
    pub fn open(&self, id: Option<Uuid>, caller: TaskCaller, command: TurnCommand) {
        let open = OpenTask {
            id,
            caller,
            command,
        };
        // Most tasks are opened here and have no name yet: nothing is copied for them.
        let opened = match (id, &self.own) {
            (None, Some((_, local))) => local.open.try_send(open),
            (None, None) => match self.table.hub(0) {
                Some(hub) => hub.open.try_send(open),
                None => return open.command.answer.refuse(TaskError::Busy),
            },
            (Some(id), _) => match self.owner_of(id) {
                Some(hub) => hub.open.try_send(open),
                None => return open.command.answer.refuse(TaskError::Busy),
            },
        };
        if let Err(SendError::Full(open) | SendError::Closed(open)) = opened {
            open.command.answer.refuse(TaskError::Busy);
        }
    }

    /// Tells a task what has become, elsewhere, of the message that it sent there; it is kept when this returns. `agent` is
    /// the one that it was opened with.
    ///
    /// # Errors
    /// Why not; a task that has ended meanwhile is [`TurnRefusal::Ended`].
    ///
    /// [`TurnRefusal::Ended`]: machine::TurnRefusal::Ended
    pub async fn report(&self, id: Uuid, agent: &str, task: Task) -> Result<(), TaskError> {
        let kept = self.store.load(id).await.map_err(TaskError::NotKept)?;
        let kept = kept.filter(|kept| &*kept.agent == agent);
        let kept = kept.ok_or(TaskError::NotFound)?;
        let (reply, answer) = Reply::pair();
        let caller = TaskCaller {
            owner: kept.owner,
            agent: kept.agent,
        };
        let task = Box::new(task);
        let command = TaskCommand::Report { task, reply };
        self.ask_owner(id, Asked { caller, command });
        answered(answer).await.map(drop)
    }

    /// Sends a further message to the task that is called `id`.
    pub fn continue_task(&self, id: &str, caller: TaskCaller, command: TurnCommand) {
        self.ask(
            id,
            Asked {
                caller,
                command: TaskCommand::Turn(Box::new(command)),
            },
        );
    }

    /// A page of the caller's tasks as JSON (`ListTasksResponse`).
    ///
    /// # Errors
    /// Why not.
    pub async fn list(
        &self,
        caller: TaskCaller,
        params: &ListTasksParams,
    ) -> Result<Bytes, TaskError> {
        list::page(self.store.as_ref(), caller, params).await
    }

    /// The task as JSON.
    ///
    /// # Errors
    /// Why not.
    pub async fn read(
        &self,
        id: &str,
        caller: TaskCaller,
        history: Option<u32>,
    ) -> Result<Bytes, TaskError> {
        let (reply, answer) = Reply::pair();
        self.ask(
            id,
            Asked {
                caller,
                command: TaskCommand::Read { history, reply },
            },
        );
        answered(answer).await
    }

    /// Ends the task; it comes back as JSON.
    ///
    /// # Errors
    /// Why not.
    pub async fn cancel(&self, id: &str, caller: TaskCaller) -> Result<Bytes, TaskError> {
        let (reply, answer) = Reply::pair();
        self.ask(
            id,
            Asked {
                caller,
                command: TaskCommand::Cancel { reply },
            },
        );
        answered(answer).await
    }

    /// The task as it is and what happens from now on; or what happened after the event `after`, if the task has come to
    /// it, without the task itself. Of a task that has ended, only the latter is to be had.
    ///
    /// # Errors
    /// Why not.
    pub async fn watch(
        &self,
        id: &str,
        caller: TaskCaller,
        after: Option<u64>,
    ) -> Result<Feed, TaskError> {
        let (reply, answer) = Reply::pair();
        self.ask(
            id,
            Asked {
                caller,
                command: TaskCommand::Watch { after, reply },
            },
        );
        answered(answer).await
    }

    fn ask(&self, id: &str, asked: Asked) {
        // Ids are ours; whatever does not look like one names nothing.
        let Some(id) = task_id(id) else {
            return asked.command.refuse(TaskError::NotFound);
        };
        self.ask_owner(id, asked);
    }

    fn owner_of(&self, id: Uuid) -> Option<HubPorts> {
        match &self.own {
            Some((shard, local)) if shard.owner_of(id) == shard.index() => Some(local.clone()),
            Some((shard, _)) => self.table.hub(shard.owner_of(id)),
            None => self.table.hub_of(id),
        }
    }

    fn ask_owner(&self, id: Uuid, asked: Asked) {
        let Some(hub) = self.owner_of(id) else {
            return asked.command.refuse(TaskError::Busy);
        };
        let sent = hub.ask.try_send(AskTask { id, asked });
        if let Err(SendError::Full(ask) | SendError::Closed(ask)) = sent {
            ask.asked.command.refuse(TaskError::Busy);
        }
    }
}

/// Waits for an answer; an actor that died before it answered counts as busy, since asking again will help.
///
/// # Errors
/// Why not.
pub async fn answered<T>(answer: Answered<T>) -> Result<T, TaskError> {
    answer.await.unwrap_or(Err(TaskError::Busy))
}

/// The id in exactly the spelling in which it was given out.
pub(crate) fn task_id(text: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(text).ok()?;
    (text.len() == 36 && !text.bytes().any(|byte| byte.is_ascii_uppercase())).then_some(id)
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
mod tests;
