//! What may be asked of a task, by whom, and how it is answered or refused.
//!
//! Each command carries its own reply, so that it can travel through the hub and wait for a task to be loaded without
//! anybody keeping track of it. A reply that is dropped tells the asker that the task's actor is gone.

use std::fmt;
use std::sync::Arc;

use actix::Message as ActixMessage;
use archipel_protocol::a2a::{Message, Task};
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::object::{Invalid, Json};
use bytes::Bytes;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::store::{StoreError, StoredTask};
use crate::tasks::executor::AgentExecutor;
use crate::tasks::feed::Feed;
use crate::tasks::machine::TurnRefusal;

/// Whose tasks, at which agent: a task is seen by exactly the caller that opened it, at the agent it was opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskCaller {
    /// The principal.
    pub owner: Arc<str>,
    /// Id of the agent.
    pub agent: Arc<str>,
}

impl TaskCaller {
    /// Whether the task is this caller's.
    pub fn is_owner(&self, stored: &StoredTask) -> bool {
        self.owner == stored.owner && self.agent == stored.agent
    }
}

/// Opens a new task.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct OpenTask {
    /// What it is to be called, where that is settled already. Whoever settled it knows that there is no such task.
    pub id: Option<Uuid>,
    /// Who opens it.
    pub caller: TaskCaller,
    /// Its first turn.
    pub command: TurnCommand,
}

/// Asks something of a task that exists, maybe.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct AskTask {
    /// Which task.
    pub id: Uuid,
    /// Who asks, and what.
    pub asked: Asked,
}

/// A command with its caller.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub struct Asked {
    /// Who asks.
    pub caller: TaskCaller,
    /// What.
    pub command: TaskCommand,
}

/// What may be asked of a task.
#[derive(Debug)]
pub enum TaskCommand {
    /// A further message.
    Turn(Box<TurnCommand>),
    /// The task as it is.
    Read {
        /// At most so many messages of its history.
        history: Option<u32>,
        /// Gets the task as JSON.
        reply: Reply<Bytes>,
    },
    /// The task's end.
    Cancel {
        /// Gets the task as JSON.
        reply: Reply<Bytes>,
    },
    /// The task's end, if it has waited for its client since then.
    GiveUp {
        /// The time of its status.
        since_ms: u64,
        /// Gets the task as JSON.
        reply: Reply<Bytes>,
    },
    /// What has become, elsewhere, of the message that the task's turn sent there.
    Report {
        /// The task over there.
        task: Box<Task>,
        /// Gets our task as JSON, once it is kept.
        reply: Reply<Bytes>,
    },
    /// The task as it is, and what happens from now on.
    Watch {
        /// The last event that the watcher has seen; then it gets what comes after that instead of the task.
        after: Option<u64>,
        /// Gets the feed.
        reply: Reply<Feed>,
    },
}

/// A message to a task.
#[derive(Debug)]
pub struct TurnCommand {
    /// What is said.
    pub message: Message,
    /// Who works on it, and with what.
    pub turn: TurnSetup,
    /// Who is told of what happens to the task from this message on.
    pub webhook: Option<NewWebhook>,
    /// What the sender waits for.
    pub answer: TurnAnswer,
}

/// A webhook that comes with a message. It is kept in the change that begins the turn.
#[derive(Clone)]
pub struct NewWebhook {
    /// Unique inside the task.
    pub id: Arc<str>,
    /// Whom to tell, and how. May hold credentials.
    pub config: Bytes,
}

/// What a turn needs beside the message.
pub struct TurnSetup {
    /// Runs the turn.
    pub executor: Arc<dyn AgentExecutor>,
    /// Metadata of the request.
    pub metadata: Option<Json>,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// MIME types that the client takes.
    pub accepted_output_modes: Vec<String>,
    /// `A2A-Extensions` of the request.
    pub extensions: Option<String>,
}

/// What a message came to. Both are JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// A task.
    Task(Bytes),
    /// An answer of the agent without a task.
    Message(Bytes),
}

impl Sent {
    /// As the answer to a message has it, in pieces: one member, named after what it is (A2A 1.0 §3.1.1).
    pub fn item(&self) -> [&[u8]; 3] {
        match self {
            Self::Task(task) => [b"{\"task\":", task, b"}"],
            Self::Message(message) => [b"{\"message\":", message, b"}"],
        }
    }
}

/// What the sender of a message waits for.
#[derive(Debug)]
pub enum TurnAnswer {
    /// The task when it has ended or waits for the client.
    Settled {
        /// At most so many messages of its history.
        history: Option<u32>,
        /// Gets the task, or what the agent answered instead.
        reply: Reply<Sent>,
    },
    /// The task as soon as it is kept.
    Opened {
        /// At most so many messages of its history.
        history: Option<u32>,
        /// Gets the task.
        reply: Reply<Sent>,
    },
    /// The task and what happens to it, or what the agent answered instead.
    Stream {
        /// At most so many messages of the task's history.
        history: Option<u32>,
        /// Gets the feed.
        reply: Reply<Feed>,
    },
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// There is none, or it belongs to somebody else.
    #[error("no such task")]
    NotFound,
    /// A message cannot be taken now.
    #[error(transparent)]
    Turn(#[from] TurnRefusal),
    /// It has ended.
    #[error("the task has ended")]
    NotCancelable,
    /// The agent refused a message that would have opened a task.
    #[error("the agent refused the message")]
    Declined(ErrorCode),
    /// What would be acknowledged could not be kept.
    #[error("the task could not be kept: {0}")]
    NotKept(StoreError),
    /// It was changed, or belongs to another list.
    #[error("the page token is none of this list")]
    WrongPageToken,
    /// Too much to do.
    #[error("the node is busy")]
    Busy,
}

impl TaskError {
    /// How it is told, of task `id` as the caller wrote it.
    pub fn told(&self, id: Option<&str>) -> RpcError {
        let code = match self {
            Self::NotFound => return RpcError::task_not_found(id.unwrap_or_default()),
            Self::Turn(TurnRefusal::WrongContext) => ErrorCode::InvalidParams,
            Self::Turn(_) => ErrorCode::UnsupportedOperation,
            Self::NotCancelable => ErrorCode::TaskNotCancelable,
            Self::Declined(code) => *code,
            Self::WrongPageToken => {
                return Invalid::new("pageToken", "was not given out for this list").into();
            }
            Self::NotKept(_) => {
                return RpcError::new(
                    ErrorCode::Unavailable,
                    "the node cannot keep tasks now; try again later",
                );
            }
            Self::Busy => ErrorCode::Unavailable,
        };
        let error = RpcError::new(code, self.to_string());
        match id {
            Some(id) => error.with("taskId", id),
            None => error,
        }
    }
}

/// Where an answer goes.
pub struct Reply<T>(oneshot::Sender<Result<T, TaskError>>);

/// Where an answer comes from.
pub type Answered<T> = oneshot::Receiver<Result<T, TaskError>>;

impl<T> Reply<T> {
    /// A reply and where it arrives.
    pub fn pair() -> (Self, Answered<T>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// Answers; whoever has left misses nothing.
    pub fn send(self, answer: Result<T, TaskError>) {
        let _gone = self.0.send(answer);
    }
}

impl TaskCommand {
    /// Answers with an error.
    pub fn refuse(self, error: TaskError) {
        match self {
            Self::Turn(command) => command.answer.refuse(error),
            Self::Read { reply, .. }
            | Self::Cancel { reply }
            | Self::GiveUp { reply, .. }
            | Self::Report { reply, .. } => reply.send(Err(error)),
            Self::Watch { reply, .. } => reply.send(Err(error)),
        }
    }
}

impl TurnAnswer {
    /// Answers with an error.
    pub fn refuse(self, error: TaskError) {
        match self {
            Self::Settled { reply, .. } | Self::Opened { reply, .. } => reply.send(Err(error)),
            Self::Stream { reply, .. } => reply.send(Err(error)),
        }
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

impl fmt::Debug for NewWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewWebhook")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TurnSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurnSetup")
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}
