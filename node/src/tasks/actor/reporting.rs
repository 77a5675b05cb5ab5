//! The outcome of a message that was sent elsewhere, and came back on another way than it went.

use actix::prelude::*;
use archipel_protocol::a2a::{Message, Role, Task, TaskState};
use bytes::Bytes;

use super::{Answer, TaskActor};
use crate::tasks::command::{Reply, TaskError};
use crate::tasks::executor::TurnEvent;
use crate::tasks::feed::Settled;

impl TaskActor {
    /// Takes over what the task has come to elsewhere. Told a second time, it changes nothing.
    pub(super) fn report(&mut self, task: Task, reply: Reply<Bytes>, ctx: &mut Context<Self>) {
        if self.record.settled() == Settled::No && self.turn.is_none() {
            // Its turn is being ended by somebody else; how, is soon known.
            return reply.send(Err(TaskError::Busy));
        }
        for event in events_of(task) {
            self.apply(event, ctx);
        }
        let view = self.view(None);
        self.defer(Answer::View(view, reply));
        self.commit(ctx);
    }
}

/// What a task elsewhere tells of ours: what its agent said on the way, what it made, and how it stands. Its ids, and what
/// was said to it, are ours already or mean nothing here.
fn events_of(task: Task) -> Vec<TurnEvent> {
    let said = task.history.into_iter();
    let said = said.filter(|message| message.role == Role::Agent);
    let mut events: Vec<TurnEvent> = said
        .map(|message| TurnEvent::status(TaskState::Working, Some(without_references(message))))
        .collect();
    let made = task.artifacts.into_iter();
    events.extend(made.map(|artifact| TurnEvent::artifact(artifact, false, true)));
    if task.metadata.is_some() || !task.extra.is_empty() {
        events.push(TurnEvent::Describe {
            metadata: task.metadata,
            extra: task.extra,
        });
    }
    let mut status = task.status;
    status.message = status.message.map(without_references);
    events.push(TurnEvent::Status {
        status,
        metadata: None,
        extra: Default::default(),
    });
    events
}

/// They are tasks over there, which our client cannot reach.
fn without_references(mut message: Message) -> Message {
    message.reference_task_ids.clear();
    message
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn check(task: &str, expected: &[&str]) {
        let events = events_of(Task::read(task).unwrap());
        let told: Vec<String> = events
            .into_iter()
            .map(|event| match event {
                TurnEvent::Status { status, .. } => {
                    let said = status.message.map(|message| message.joined_text());
                    format!("{:?} {}", status.state, said.unwrap_or_default())
                }
                TurnEvent::Artifact {
                    artifact, append, ..
                } => {
                    format!("{} {append}", artifact.artifact_id)
                }
                TurnEvent::Describe { metadata, .. } => metadata
                    .map(|json| json.text().to_owned())
                    .unwrap_or_default(),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(told, expected, "{task}");
    }

    #[test]
    fn a_task_elsewhere_is_told_in_order() {
        check(
            r#"{"id":"t","status":{"state":"TASK_STATE_COMPLETED"}}"#,
            &["Completed "],
        );
        check(
            r#"{"id":"t","metadata":{"n":1},"status":{"state":"TASK_STATE_INPUT_REQUIRED",
                "message":{"messageId":"3","role":"ROLE_AGENT","parts":[{"text":"which?"}]}},
                "artifacts":[{"artifactId":"a","parts":[{"text":"x"}]}],
                "history":[{"messageId":"1","role":"ROLE_USER","parts":[{"text":"hello"}]},
                {"messageId":"2","role":"ROLE_AGENT","parts":[{"text":"a moment"}]}]}"#,
            &[
                "Working a moment",
                "a false",
                r#"{"n":1}"#,
                "InputRequired which?",
            ],
        );
    }
}
