//! What the answer to a call means for our task: pure.

use archipel_protocol::a2a::{Message, StreamEvent, Task, TaskState, TaskStatus};
use archipel_protocol::jsonrpc::{Outcome, decode_response};
use archipel_protocol::object::Extra;
use uuid::Uuid;

/// An answer that nothing can be done with.
const NO_ANSWER: &str = "the peer gave an answer that is not A2A";
/// An agent that is not done, at a node that says no more.
const NOT_DONE: &str = "the peer stopped telling of the task before it was done";

/// The task over there, as far as the answer tells of one: a message completes it, an error fails it.
pub fn outcome_of(body: &[u8]) -> Task {
    match decode_response(body) {
        Ok(Outcome::Error { code, message }) => failed(format!("{message} (error {code})")),
        Ok(Outcome::Result(result)) => match StreamEvent::parse(result) {
            Ok(StreamEvent::Task(task)) if is_over(task.status.state) => task,
            Ok(StreamEvent::Task(_)) => failed(NOT_DONE.to_owned()),
            Ok(StreamEvent::Message(message)) => ended(TaskState::Completed, message),
            Ok(_) | Err(_) => failed(NO_ANSWER.to_owned()),
        },
        Err(_) => failed(NO_ANSWER.to_owned()),
    }
}

/// A task that ends with this reason.
pub fn failed(reason: String) -> Task {
    let message = Message::from_agent(Uuid::new_v4().to_string(), reason);
    ended(TaskState::Failed, message)
}

fn is_over(state: TaskState) -> bool {
    state.is_terminal() || state.is_interrupted()
}

fn ended(state: TaskState, message: Message) -> Task {
    Task {
        id: String::new(),
        context_id: None,
        status: TaskStatus {
            state,
            message: Some(message),
            timestamp: None,
            extra: Extra::default(),
        },
        artifacts: Vec::new(),
        history: Vec::new(),
        metadata: None,
        extra: Extra::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, state: TaskState, said: Option<&str>) {
        let task = outcome_of(body.as_bytes());
        assert_eq!(task.status.state, state, "{body}");
        let message = task.status.message.map(|message| message.joined_text());
        assert_eq!(message.as_deref(), said, "{body}");
    }

    #[test]
    fn every_answer_ends_the_call() {
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"task":{"id":"t","status":{"state":"TASK_STATE_COMPLETED"}}}}"#,
            TaskState::Completed,
            None,
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"task":{"id":"t","status":{"state":"TASK_STATE_WORKING"}}}}"#,
            TaskState::Failed,
            Some(NOT_DONE),
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{"message":{"messageId":"m","role":"ROLE_AGENT","parts":[{"text":"yes"}]}}}"#,
            TaskState::Completed,
            Some("yes"),
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no such agent"}}"#,
            TaskState::Failed,
            Some("no such agent (error -32000)"),
        );
        check("{", TaskState::Failed, Some(NO_ANSWER));
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            TaskState::Failed,
            Some(NO_ANSWER),
        );
    }
}
