//! What an agent is to a task: something that runs a turn and tells what happens.
//!
//! An executor owns no state of a task. It gets a [`Turn`], tells [`TurnEvent`]s and ends; the `TaskActor` decides what
//! an event may change, keeps it and shows it to watchers. Dropping the future ends the work.

use std::fmt;
use std::sync::Arc;

use archipel_protocol::a2a::{Artifact, Message, Task, TaskState, TaskStatus};
use archipel_protocol::object::{Extra, Json};
use futures_util::future::LocalBoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Events that an executor may be ahead of its task; then `tell` waits, and with it the agent (back-pressure).
const EVENTS_AHEAD: usize = 64;

/// Runs the turns of one agent. Shared by all workers; a turn runs on the worker that owns its task.
pub trait AgentExecutor: Send + Sync {
    /// Runs one turn. `Ok` without a final status told means that the agent is done: the task is completed.
    fn run(self: Arc<Self>, turn: Turn, events: TurnEvents) -> TurnFuture;

    /// Goes on with a turn that ended with its process or its actor, if the agent can: its message is not to be sent a
    /// second time, and nothing that is in [`Turn::task`] is to be told again. `None` when it cannot; then the task fails.
    /// Of the request only its message is known.
    fn resume(self: Arc<Self>, _turn: Turn, _events: TurnEvents) -> Option<TurnFuture> {
        None
    }

    /// Whether the agent may answer a first message without a task, or refuse it. Then nothing is kept of a new task, and
    /// nothing said of it, before the first event; unless the client wants to hear of the task at once.
    fn may_decline_task(&self) -> bool {
        false
    }

    /// Asks the agent to stop its work on a task, of which it remembers this much. `None` when there is nobody to be asked:
    /// then the task is canceled, and a turn that runs is told by [`Turn::canceled`].
    fn cancel(self: Arc<Self>, _memory: Option<Json>) -> Option<CancelFuture> {
        None
    }

    /// Whether a message is only on its way to the agent while its turn runs: the task stays submitted, the outcome comes by
    /// [`TaskCommand::Report`], and the executor itself sees to it that the turn ends in time.
    ///
    /// [`TaskCommand::Report`]: crate::tasks::command::TaskCommand::Report
    fn is_posted(&self) -> bool {
        false
    }

    /// Whether turns need [`Turn::task`], a copy that most agents have no use for.
    fn reads_task(&self) -> bool {
        false
    }
}

/// A running turn.
pub type TurnFuture = LocalBoxFuture<'static, Result<(), ExecutorFailure>>;

/// An agent that is being asked to stop.
pub type CancelFuture = LocalBoxFuture<'static, CancelAnswer>;

/// What an agent says to a cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelAnswer {
    /// It stops; or it cannot be asked any more, and nobody waits for it.
    Stops,
    /// It goes on: the task is canceled only when the agent says so.
    GoesOn,
}

/// Finds who works for an agent.
#[derive(Clone)]
pub struct Executors(Arc<FindExecutor>);

type FindExecutor = dyn Fn(&str) -> Option<Arc<dyn AgentExecutor>> + Send + Sync;

impl Executors {
    /// Asks `find` for the agent with an id.
    pub fn new(
        find: impl Fn(&str) -> Option<Arc<dyn AgentExecutor>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(find))
    }

    /// Who works for the agent called `id`, if it is here.
    pub fn of(&self, id: &str) -> Option<Arc<dyn AgentExecutor>> {
        (self.0)(id)
    }
}

impl fmt::Debug for Executors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Executors")
    }
}

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
    /// MIME types that the client takes; empty when it said nothing.
    pub accepted_output_modes: Vec<String>,
    /// `A2A-Extensions` of the request: URIs of the extensions that the client wants to use.
    pub extensions: Option<String>,
    /// The task as it was kept when the turn began, its message included. Only for an executor that
    /// [reads it](AgentExecutor::reads_task), and for a turn that is resumed.
    pub task: Option<Arc<Task>>,
    /// What the executor told to remember earlier in this task.
    pub memory: Option<Json>,
    /// `traceparent` of the request, to be handed on.
    pub traceparent: Option<String>,
    /// Fires when the store has the task: no outcome finds it earlier. Only for an executor whose messages are
    /// [on their way](AgentExecutor::is_posted) during a turn.
    pub kept: Option<CancellationToken>,
    /// Fires when the task ends without its agent: the client canceled it, or it went beyond a limit. The executor
    /// should tell the agent and end soon. What it still tells is dropped.
    pub canceled: CancellationToken,
}

/// What an agent tells during a turn.
#[derive(Debug, Clone, PartialEq)]
pub enum TurnEvent {
    /// The task has a new status. One that is terminal or asks for input ends the turn. One that asks for authorization
    /// need not: credentials may reach the agent on another way, and it may go on by itself (A2A 1.0 §7.6.2).
    Status {
        /// As the agent has it. Its time is replaced by ours: a status dates from when it was recorded here, so that
        /// lists by time miss nothing of an agent whose clock is behind.
        status: TaskStatus,
        /// Metadata of the event, as it came.
        metadata: Option<Json>,
        /// Members of extensions of the event.
        extra: Extra,
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
        /// Members of extensions of the event.
        extra: Extra,
    },
    /// An answer that is all there is. To a new message it may be an answer without a task; else it completes the task.
    Answer(Message),
    /// What the agent says of the task as a whole. It stands in the task from now on, and no event tells of it.
    Describe {
        /// Replaces the task's metadata, if there is any.
        metadata: Option<Json>,
        /// Members of extensions of the task; replace those before, if there are any.
        extra: Extra,
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

impl TurnEvent {
    /// A new status of an agent of ours.
    pub fn status(state: TaskState, message: Option<Message>) -> Self {
        let status = TaskStatus {
            state,
            message,
            timestamp: None,
            extra: Extra::default(),
        };
        Self::Status {
            status,
            metadata: None,
            extra: Extra::default(),
        }
    }

    /// An artifact, or a piece of one, of an agent of ours.
    pub fn artifact(artifact: Artifact, append: bool, last_chunk: bool) -> Self {
        Self::Artifact {
            artifact,
            append,
            last_chunk,
            metadata: None,
            extra: Extra::default(),
        }
    }
}

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
    /// What the agent needs is not as it should be: a credential, a quota, an endpoint.
    #[error("{0}")]
    Unusable(&'static str),
    /// The agent answered that it will not answer this message.
    #[error("{0}")]
    Declined(&'static str),
    /// The agent's card is not signed as it must be.
    #[error("the agent's card is not signed by a key that is trusted")]
    Distrusted,
    /// The task has ended meanwhile; nothing to report.
    #[error("the task has ended")]
    Ended,
}

impl From<TurnEnded> for ExecutorFailure {
    fn from(_: TurnEnded) -> Self {
        Self::Ended
    }
}
