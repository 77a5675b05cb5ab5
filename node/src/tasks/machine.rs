//! What may happen to a task: pure rules over its record, with the clock passed in.
//!
//! A record is changed only by [`Record::apply`] and its siblings; each change yields the event that tells of it, already
//! written as JSON, because the same bytes go to the log and to every watcher. Read on in `kept` (how it is stored).

use archipel_protocol::a2a::{
    ArtifactUpdate, Message, StatusUpdate, StreamEvent, Task, TaskState, TaskStatus, Timestamp,
};
use archipel_protocol::object::{Extra, Json};
use bytes::Bytes;
use uuid::Uuid;

use crate::tasks::executor::TurnEvent;
use crate::tasks::feed::{LogEvent, Settled};

pub use kept::{Written, write_listed};

mod kept;

/// A task with what belongs to it but is not shown.
#[derive(Debug, Clone)]
pub struct Record {
    /// As the client sees it.
    pub task: Task,
    /// What the executor told to remember.
    pub memory: Option<Json>,
    /// Number of the last event; the opening of the task is event 1.
    pub seq: u64,
    /// Something has changed that no event tells of: only a snapshot keeps it.
    pub unlogged: bool,
    /// Rough size of what was made and said after the task was opened, in bytes of JSON.
    size: usize,
}

/// Why a message cannot open a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TurnRefusal {
    /// Nothing changes any more.
    #[error("the task has ended")]
    Ended,
    /// One turn at a time.
    #[error("the task is still working on the previous message")]
    Busy,
    /// The task would hold more than it may.
    #[error("the task holds as much as one task may")]
    TooLarge,
    /// The message names another conversation than the task's.
    #[error("the message's contextId is not the task's")]
    WrongContext,
}

/// The task has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task has ended")]
pub struct AlreadyEnded;

impl Record {
    /// A new task: submitted, its history the message that opens it. `id` and `context_id` are ours or the client's.
    pub fn open(id: &str, context_id: &str, mut message: Message, now_ms: u64) -> Self {
        message.task_id = Some(id.to_owned());
        message.context_id = Some(context_id.to_owned());
        let task = Task {
            id: id.to_owned(),
            context_id: Some(context_id.to_owned()),
            status: TaskStatus::new(TaskState::Submitted, Timestamp::from_unix_ms(now_ms)),
            artifacts: Vec::new(),
            history: vec![message],
            metadata: None,
            extra: Extra::default(),
        };
        Self {
            task,
            memory: None,
            seq: 1,
            unlogged: false,
            size: 0,
        }
    }

    /// Adds a further message, unless the task would become larger than `limit`; the turn is begun with
    /// [`Record::begin`].
    ///
    /// # Errors
    /// When the task has ended or is full, or the message belongs to another conversation.
    pub fn hear(&mut self, mut message: Message, limit: usize) -> Result<(), TurnRefusal> {
        if self.task.status.state.is_terminal() {
            return Err(TurnRefusal::Ended);
        }
        if message.context_id.is_some() && message.context_id != self.task.context_id {
            return Err(TurnRefusal::WrongContext);
        }
        let size = self.size.saturating_add(json(&message).len());
        if size > limit {
            return Err(TurnRefusal::TooLarge);
        }
        self.size = size;
        message.task_id = Some(self.task.id.clone());
        message.context_id.clone_from(&self.task.context_id);
        // What the agent asked comes before the answer to it.
        self.task.history.extend(self.task.status.message.take());
        self.task.history.push(message);
        self.unlogged = true;
        Ok(())
    }

    /// The agent begins to work.
    pub fn begin(&mut self, now_ms: u64) -> LogEvent {
        self.move_to(TaskState::Working, None, now_ms)
    }

    /// What an agent told. `None` when no event tells of it: something to remember, what is said of the task as a whole,
    /// or a task that has ended (states never go backwards).
    ///
    /// A piece that goes behind an artifact that was never told begins it, and watchers are told so: clients drop pieces
    /// of what they do not know.
    pub fn apply(&mut self, told: TurnEvent, now_ms: u64) -> Option<LogEvent> {
        if self.task.status.state.is_terminal() {
            return None;
        }
        match told {
            TurnEvent::Remember(memory) => {
                self.unlogged |= self.memory.as_ref() != Some(&memory);
                self.memory = Some(memory);
                None
            }
            TurnEvent::Answer(message) => {
                Some(self.move_to(TaskState::Completed, Some(message), now_ms))
            }
            TurnEvent::Describe { metadata, extra } => {
                self.describe(metadata, extra);
                None
            }
            TurnEvent::Status {
                status,
                metadata,
                extra,
            } => Some(self.change_status(status, metadata, extra, now_ms)),
            TurnEvent::Artifact {
                artifact,
                append,
                last_chunk,
                metadata,
                extra,
            } => {
                let append = append && self.has(&artifact.artifact_id);
                Some(self.log(StreamEvent::ArtifactUpdate(ArtifactUpdate {
                    task_id: self.task.id.clone(),
                    context_id: self.context_id(),
                    artifact,
                    append,
                    last_chunk,
                    metadata,
                    extra,
                })))
            }
        }
    }

    /// Ends the task before it is done, by the client's wish or for a reason that is shown.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn cancel(
        &mut self,
        reason: Option<Message>,
        now_ms: u64,
    ) -> Result<LogEvent, AlreadyEnded> {
        self.end(TaskState::Canceled, reason, now_ms)
    }

    /// Ends the task by an error; the reason is shown as the agent's message.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn fail(
        &mut self,
        reason: &str,
        message_id: String,
        now_ms: u64,
    ) -> Result<LogEvent, AlreadyEnded> {
        self.end(
            TaskState::Failed,
            Some(Message::from_agent(message_id, reason)),
            now_ms,
        )
    }

    /// Ends the turn of an agent that is done without having said so.
    pub fn finish(&mut self, now_ms: u64) -> Option<LogEvent> {
        if self.settled() != Settled::No {
            return None;
        }
        Some(self.move_to(TaskState::Completed, None, now_ms))
    }

    /// The task as it was when it was opened, which is its first event and stands in no log: the id says when that was.
    pub fn as_opened(&self) -> Task {
        let opened = Uuid::try_parse(&self.task.id).ok();
        let (seconds, nanos) = opened
            .and_then(|id| id.get_timestamp())
            .map_or((0, 0), |time| time.to_unix());
        let at = seconds * 1000 + u64::from(nanos / 1_000_000);
        Task {
            id: self.task.id.clone(),
            context_id: self.task.context_id.clone(),
            status: TaskStatus::new(TaskState::Submitted, Timestamp::from_unix_ms(at)),
            artifacts: Vec::new(),
            history: self.task.history.iter().take(1).cloned().collect(),
            metadata: None,
            extra: Extra::default(),
        }
    }

    /// Whether somebody who waits for the outcome has it.
    pub fn settled(&self) -> Settled {
        Settled::of(self.task.status.state)
    }

    /// Bytes of JSON that the task has grown by since it was opened, roughly.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The task as JSON, with at most `history` messages.
    pub fn view(&self, history: Option<u32>) -> Bytes {
        match history {
            None => json(&self.task),
            Some(_) => json(&self.task.clone().with_history_limit(history)),
        }
    }

    fn context_id(&self) -> String {
        self.task.context_id.clone().unwrap_or_default()
    }

    fn end(
        &mut self,
        state: TaskState,
        message: Option<Message>,
        now_ms: u64,
    ) -> Result<LogEvent, AlreadyEnded> {
        if self.task.status.state.is_terminal() {
            return Err(AlreadyEnded);
        }
        Ok(self.move_to(state, message, now_ms))
    }

    fn move_to(&mut self, state: TaskState, message: Option<Message>, now_ms: u64) -> LogEvent {
        let status = TaskStatus {
            state,
            message,
            timestamp: None,
            extra: Extra::default(),
        };
        self.change_status(status, None, Extra::default(), now_ms)
    }

    fn change_status(
        &mut self,
        mut status: TaskStatus,
        metadata: Option<Json>,
        extra: Extra,
        now_ms: u64,
    ) -> LogEvent {
        status.timestamp = Some(Timestamp::from_unix_ms(now_ms));
        if status.state == TaskState::Submitted {
            // The task is being worked on, whatever its agent does first.
            status.state = TaskState::Working;
        }
        // The agent's own ids of task and conversation, if it names any, mean nothing to our client.
        if let Some(message) = &mut status.message {
            message.task_id = Some(self.task.id.clone());
            message.context_id.clone_from(&self.task.context_id);
        }
        self.log(StreamEvent::StatusUpdate(StatusUpdate {
            task_id: self.task.id.clone(),
            context_id: self.context_id(),
            status,
            metadata,
            extra,
        }))
    }

    fn describe(&mut self, metadata: Option<Json>, extra: Extra) {
        if metadata.is_some() && metadata != self.task.metadata {
            self.task.metadata = metadata;
            self.unlogged = true;
        }
        if !extra.is_empty() && extra != self.task.extra {
            self.task.extra = extra;
            self.unlogged = true;
        }
    }

    fn has(&self, artifact_id: &str) -> bool {
        let mut known = self.task.artifacts.iter();
        known.any(|known| known.artifact_id == artifact_id)
    }

    /// Writes the event, then lets it change the task.
    fn log(&mut self, event: StreamEvent) -> LogEvent {
        self.seq += 1;
        let body = json(&event);
        self.size += body.len();
        self.fold(event);
        LogEvent {
            seq: self.seq,
            body,
            settled: self.settled(),
        }
    }

    fn fold(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::StatusUpdate(update) => {
                let before = std::mem::replace(&mut self.task.status, update.status);
                // What the agent said before stays part of the conversation.
                self.task.history.extend(before.message);
            }
            StreamEvent::ArtifactUpdate(update) => {
                let known = self
                    .task
                    .artifacts
                    .iter_mut()
                    .find(|known| known.artifact_id == update.artifact.artifact_id);
                match known {
                    Some(known) if update.append => known.append(update.artifact),
                    Some(known) => *known = update.artifact,
                    None => self.task.artifacts.push(update.artifact),
                }
            }
            StreamEvent::Task(_) | StreamEvent::Message(_) => {}
        }
    }
}

/// The JSON of a type of the protocol, which always has one.
pub(in crate::tasks) fn json(value: &impl serde::Serialize) -> Bytes {
    let mut out = Vec::with_capacity(512);
    write_json(&mut out, value);
    out.into()
}

fn write_json(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    let begin = out.len();
    if let Err(error) = serde_json::to_writer(&mut *out, value) {
        tracing::error!(%error, "a value of the protocol could not be written");
        out.truncate(begin);
        out.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests;
