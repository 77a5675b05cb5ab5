//! What an agent is to a task: something that runs a turn and tells what happens.
//!
//! An executor owns no state of a task. It gets a [`Turn`], tells [`TurnEvent`]s and ends; the `TaskActor` decides what
//! an event may change, keeps it and shows it to watchers. Dropping the future ends the work.

use std::sync::Arc;

use archipel_protocol::a2a::{Artifact, Message, TaskState};
use archipel_protocol::object::Json;
use futures_util::future::LocalBoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Events that an executor may be ahead of its task; then `tell` waits, and with it the agent (back-pressure).
const EVENTS_AHEAD: usize = 64;

/// Runs the turns of one agent. Shared by all workers; a turn runs on the worker that owns its task.
pub trait AgentExecutor: Send + Sync {
    /// Runs one turn. `Ok` without a final status told means that the agent is done: the task is completed.
    fn run(self: Arc<Self>, turn: Turn, events: TurnEvents) -> TurnFuture;
}

/// A running turn.
pub type TurnFuture = LocalBoxFuture<'static, Result<(), ExecutorFailure>>;

/// One message to a task, and what the agent may know about it.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Our id of the task.
    pub task_id: Arc<str>,
    /// Our id of the conversation.
    pub context_id: Arc<str>,
    /// What was said, with the ids of task and context filled in.
    pub message: Message,
    /// Metadata of the request, as it came.
    pub metadata: Option<Json>,
    /// What the executor told to remember in an earlier turn of this task.
    pub memory: Option<Json>,
    /// `traceparent` of the request, to be handed on.
    pub traceparent: Option<String>,
    /// Fires when the task ends without its agent: the client canceled it, or it went beyond a limit. The executor
    /// should tell the agent and end soon. What it still tells is dropped.
    pub canceled: CancellationToken,
}

/// What an agent tells during a turn.
#[derive(Debug, Clone, PartialEq)]
pub enum TurnEvent {
    /// The task has a new status. A terminal or interrupted one ends the turn.
    Status {
        /// The new state.
        state: TaskState,
        /// What the agent says.
        message: Option<Message>,
        /// Metadata of the event, as it came.
        metadata: Option<Json>,
    },
    /// An artifact, or a further piece of one.
    Artifact {
        /// The artifact or its next piece.
        artifact: Artifact,
        /// Whether the parts go behind those of the artifact with the same id.
        append: bool,
        /// Whether this was the last piece.
        last_chunk: bool,
        /// Metadata of the event, as it came.
        metadata: Option<Json>,
    },
    /// Something to hand back in the next turn of this task; never shown to anybody. Told before the status that ends
    /// the turn, since that status ends the executor too.
    Remember(Json),
}

/// Where an executor tells events.
#[derive(Debug, Clone)]
pub struct TurnEvents(mpsc::Sender<TurnEvent>);

/// Nobody listens any more: the task has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the turn has ended")]
pub struct TurnEnded;

impl TurnEvents {
    /// A channel from an executor to its task.
    pub fn channel() -> (Self, mpsc::Receiver<TurnEvent>) {
        let (sender, receiver) = mpsc::channel(EVENTS_AHEAD);
        (Self(sender), receiver)
    }

    /// Tells an event; waits while the task is behind.
    ///
    /// # Errors
    /// When nobody listens any more; the executor should end.
    pub async fn tell(&self, event: TurnEvent) -> Result<(), TurnEnded> {
        self.0.send(event).await.map_err(|_| TurnEnded)
    }
}

/// Why a turn could not be finished. The text of each is shown to the client as the task's reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecutorFailure {
    /// The agent could not be reached.
    #[error("the agent could not be reached")]
    Unreachable,
    /// The agent refused the message.
    #[error("the agent refused the message (error {0})")]
    Refused(i64),
    /// The agent went away before it was done.
    #[error("the agent went away before it was done")]
    Lost,
    /// The agent did not answer in time.
    #[error("the agent did not answer in time")]
    TooSlow,
    /// The executor panicked.
    #[error("the agent broke down")]
    Broken,
    /// The agent answered something that is no A2A.
    #[error("the agent gave an answer that is not A2A")]
    NotA2a,
    /// The task has ended meanwhile; nothing to report.
    #[error("the task has ended")]
    Ended,
}

impl From<TurnEnded> for ExecutorFailure {
    fn from(_: TurnEnded) -> Self {
        Self::Ended
    }
}
