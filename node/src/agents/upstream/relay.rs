//! What an agent's events mean for our task: pure, one event in, what is to be told out.

use archipel_protocol::a2a::{ArtifactUpdate, Message, StreamEvent, Task, TaskState, TaskStatus};
use archipel_protocol::object::{Extra, Json};

use crate::agents::upstream::wire::Known;
use crate::tasks::executor::TurnEvent;

mod seen;

use seen::Seen;

/// Follows one turn of an agent.
#[derive(Debug)]
pub(super) struct Relay {
    known: Known,
    /// The agent knew the task before this turn, so its first snapshot shows what was told in earlier turns.
    continues: bool,
    /// A question at the beginning of a stream: this turn's only if nothing follows.
    held: Option<Task>,
    seen: Seen,
    /// The agent waits for authorization, which may reach it on another way than through us.
    waits: bool,
}

/// What one event leads to.
#[derive(Debug, PartialEq)]
pub(super) struct Step {
    pub(super) told: Vec<TurnEvent>,
    /// Nothing of this turn comes after it.
    pub(super) is_over: bool,
}

/// The event belongs to a task that we did not ask about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ForeignTask;

impl Relay {
    /// Starts from what was remembered in earlier turns.
    pub(super) fn new(memory: Option<&Json>) -> Self {
        let known = memory.map(Known::of).unwrap_or_default();
        Self {
            continues: known.task_id.is_some(),
            known,
            held: None,
            seen: Seen::default(),
            waits: false,
        }
    }

    /// Goes on in the middle of a turn, of which everything in `task` was told.
    pub(super) fn resumed(memory: Option<&Json>, task: Option<&Task>) -> Self {
        Self {
            continues: false,
            seen: task.map(Seen::of).unwrap_or_default(),
            ..Self::new(memory)
        }
    }

    /// Whether the agent may go on though its stream has ended.
    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// The agent's ids as far as it has told them.
    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    /// Takes the next event of a stream. Some agents begin a later turn by showing the task as the turn before left it,
    /// with the question that was just answered: whether that ends this turn is told by what follows.
    pub(super) fn take_streamed(&mut self, event: StreamEvent) -> Result<Step, ForeignTask> {
        match event {
            StreamEvent::Task(task)
                if self.continues && task.status.state == TaskState::InputRequired =>
            {
                self.continues = false;
                self.held = Some(task);
                Ok(Step {
                    told: Vec::new(),
                    is_over: false,
                })
            }
            event => {
                let mut told = self
                    .held
                    .take()
                    .map_or_else(|| Ok(Vec::new()), |task| self.pass_over(task))?;
                let step = self.take(event)?;
                told.extend(step.told);
                Ok(Step { told, ..step })
            }
        }
    }

    /// Takes the end of a stream, which a question may come before.
    pub(super) fn end_stream(&mut self) -> Result<Option<Step>, ForeignTask> {
        let held = self.held.take();
        held.map(|task| self.take(StreamEvent::Task(task)))
            .transpose()
    }

    /// A task as the turn before left it: its artifacts and its question were told then.
    fn pass_over(&mut self, task: Task) -> Result<Vec<TurnEvent>, ForeignTask> {
        for artifact in &task.artifacts {
            self.seen.note(artifact, false);
        }
        self.learn(task.id, task.context_id)
    }

    /// Takes the next event of the agent.
    pub(super) fn take(&mut self, event: StreamEvent) -> Result<Step, ForeignTask> {
        match event {
            StreamEvent::Task(task) => self.take_task(task),
            StreamEvent::Message(message) => Ok(answer(message)),
            StreamEvent::StatusUpdate(update) => {
                let mut told = self.learn(update.task_id, Some(update.context_id))?;
                let is_over = self.reaches(update.status.state);
                self.seen.note_status(&update.status);
                told.extend(moved(update.status, update.metadata, update.extra));
                Ok(Step { told, is_over })
            }
            StreamEvent::ArtifactUpdate(update) => {
                let ArtifactUpdate {
                    task_id,
                    context_id,
                    artifact,
                    append,
                    last_chunk,
                    metadata,
                    extra,
                } = update;
                let mut told = self.learn(task_id, Some(context_id))?;
                self.seen.note(&artifact, append);
                told.push(TurnEvent::Artifact {
                    artifact,
                    append,
                    last_chunk,
                    metadata,
                    extra,
                });
                Ok(Step {
                    told,
                    is_over: false,
                })
            }
        }
    }

    /// A snapshot: what is new in it. While the agent still works, the artifacts in the first one of a later turn are those
    /// of earlier turns: they were told then.
    fn take_task(&mut self, task: Task) -> Result<Step, ForeignTask> {
        let is_over = self.reaches(task.status.state);
        let mut told = self.learn(task.id, task.context_id)?;
        let shows_earlier_turns = std::mem::take(&mut self.continues) && !is_over;
        for artifact in task.artifacts {
            if shows_earlier_turns {
                self.seen.note(&artifact, false);
            } else if let Some((news, append)) = self.seen.news_of(artifact) {
                told.push(TurnEvent::artifact(news, append, is_over));
            }
        }
        if task.metadata.is_some() || !task.extra.is_empty() {
            told.push(TurnEvent::Describe {
                metadata: task.metadata,
                extra: task.extra,
            });
        }
        if self.seen.note_status(&task.status) || is_over {
            told.extend(moved(task.status, None, Extra::default()));
        }
        Ok(Step { told, is_over })
    }

    /// Whether the turn ends with this state.
    fn reaches(&mut self, state: TaskState) -> bool {
        self.waits = state == TaskState::AuthRequired;
        state.is_terminal() || state == TaskState::InputRequired
    }

    /// Keeps the agent's ids, and has them remembered when they are news.
    fn learn(
        &mut self,
        task_id: String,
        context_id: Option<String>,
    ) -> Result<Vec<TurnEvent>, ForeignTask> {
        if self
            .known
            .task_id
            .as_ref()
            .is_some_and(|known| *known != task_id)
        {
            return Err(ForeignTask);
        }
        let context_id = context_id
            .filter(|id| !id.is_empty())
            .or_else(|| self.known.context_id.clone());
        let now = Known {
            task_id: Some(task_id),
            context_id,
        };
        if now == self.known {
            return Ok(Vec::new());
        }
        self.known = now;
        Ok(Json::of(&self.known)
            .map(TurnEvent::Remember)
            .into_iter()
            .collect())
    }
}

/// An answer without a task is the whole answer.
fn answer(mut message: Message) -> Step {
    leave_tasks_out(&mut message);
    Step {
        told: vec![TurnEvent::Answer(message)],
        is_over: true,
    }
}

/// A status worth telling. Our task works already when the agent begins, so that it has begun is no news.
fn moved(mut status: TaskStatus, metadata: Option<Json>, extra: Extra) -> Option<TurnEvent> {
    let begins = matches!(status.state, TaskState::Submitted | TaskState::Working);
    let says_nothing = status.message.is_none()
        && metadata.is_none()
        && status.extra.is_empty()
        && extra.is_empty();
    if begins && says_nothing {
        return None;
    }
    if let Some(message) = &mut status.message {
        leave_tasks_out(message);
    }
    Some(TurnEvent::Status {
        status,
        metadata,
        extra,
    })
}

/// They are tasks of the agent, which our client cannot reach.
fn leave_tasks_out(message: &mut Message) {
    message.reference_task_ids.clear();
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
