//! Envelopes that an agent is told of: each is a message to it, in a task of the operator's.
//!
//! A task that fails is one failed attempt; the next one is another task, after a pause, and after the last one the envelope
//! is dead. An agent that is not to be called now is waited for: that is no attempt.

use std::sync::Arc;
use std::time::Duration;

use archipel_protocol::a2a::{Message, Part, Role, SendMessageParams, TaskState, Version};
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::object::Json;
use serde_json::json;

use super::{read, watched};
use crate::edge::Edge;
use crate::edge::auth::{Caller, Source};
use crate::edge::extensions::Wanted;
use crate::edge::operation::Asking;
use crate::tasks::command::TaskError;
use crate::wan::calls::{Deliver, Seen, task_id};

/// When an agent that works, or is not to be called now, is looked after again.
const AGAIN: Duration = Duration::from_secs(2);

/// Brings an envelope to its agent.
pub(super) async fn see_to(edge: &Edge, told: Deliver, rule: (u32, Duration)) -> Seen {
    match attempt(edge, &told).await {
        Ok(None) => Seen::Wait(AGAIN),
        Ok(Some(state)) => settlement(state, told.failed, rule),
        // What may pass is waited for.
        Err(error) if error.code == ErrorCode::Unavailable => Seen::Wait(AGAIN),
        Err(error) => Seen::Dead(format!("the agent does not take it: {}", error.message)),
    }
}

/// What came of an attempt that has come to something.
fn settlement(state: TaskState, failed: u32, (most, retry): (u32, Duration)) -> Seen {
    if !matches!(
        state,
        TaskState::Failed | TaskState::Rejected | TaskState::Canceled
    ) {
        return Seen::Done;
    }
    let failed = failed.saturating_add(1);
    if failed >= most {
        return Seen::Dead(format!("the agent failed {failed} times"));
    }
    Seen::Later(retry.saturating_mul(1 << (failed - 1).min(16)))
}

/// Begins an attempt, unless that was done; what it came to, if it is over.
async fn attempt(edge: &Edge, told: &Deliver) -> Result<Option<TaskState>, RpcError> {
    let agents = edge.agents.load();
    let gone = || RpcError::new(ErrorCode::AgentNotFound, "it is not here any more");
    let agent = agents.find(&told.agent).cloned().ok_or_else(gone)?;
    let caller = Caller {
        principal: Arc::from(edge.gates.dialect.caller_internal()),
        source: Source::Operator,
    };
    let asking = Asking {
        edge,
        caller: &caller,
        agent: &agent,
        version: Version::V1,
        traceparent: told.trace.traceparent(),
        extensions: Wanted::default(),
        last_event: None,
    };
    let id = task_id(&told.envelope, told.kept_ms, told.failed);
    let whose = asking.whose(None);
    let refused = |error: TaskError| error.told(None);
    match read(edge, id, &whose).await {
        Ok(_) => {}
        Err(TaskError::NotFound) => {
            let params = SendMessageParams::new(message(told)?);
            asking.open_as(id, params).await?;
        }
        Err(error) => return Err(refused(error)),
    }
    let task = watched(edge, id, &whose).await.map_err(refused)?;
    Ok(task.map(|(state, _)| state))
}

/// The payload as data, and in the metadata whence it came.
fn message(told: &Deliver) -> Result<Message, RpcError> {
    let envelope = &told.envelope;
    let unwritten = |_| RpcError::new(ErrorCode::Internal, "the envelope cannot be written");
    let payload = Json::of(&envelope.payload.clone().unwrap_or_default()).map_err(unwritten)?;
    let metadata = json!({
        "correlationId": envelope.correlation_id,
        "sourceOrigin": envelope.source_origin,
        "targetHandle": envelope.target_handle,
    });
    Ok(Message {
        message_id: task_id(envelope, told.kept_ms, 0).to_string(),
        context_id: None,
        task_id: None,
        role: Role::User,
        parts: vec![Part::data(payload)],
        metadata: Some(Json::of(&metadata).map_err(unwritten)?),
        extensions: Vec::new(),
        reference_task_ids: Vec::new(),
        extra: Default::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(state: TaskState, failed: u32, expected: Seen) {
        let rule = (3, Duration::from_secs(1));
        let settled = settlement(state, failed, rule);
        assert_eq!(settled, expected, "{state:?} {failed}");
    }

    #[test]
    fn only_failures_are_tried_again_and_not_for_ever() {
        let later = |seconds| Seen::Later(Duration::from_secs(seconds));
        check(TaskState::Completed, 0, Seen::Done);
        check(TaskState::InputRequired, 2, Seen::Done);
        check(TaskState::Failed, 0, later(1));
        check(TaskState::Rejected, 1, later(2));
        let dead = Seen::Dead("the agent failed 3 times".to_owned());
        check(TaskState::Failed, 2, dead);
    }
}
