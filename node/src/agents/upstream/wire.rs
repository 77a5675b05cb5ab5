//! What is sent to an upstream agent, and what is remembered of it between two turns.

use archipel_protocol::a2a::Message;
use archipel_protocol::object::{Fields, Invalid, Json};
use serde::Serialize;
use uuid::Uuid;

/// The agent's own ids, kept in the task's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Known {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) task_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) context_id: Option<String>,
}

/// Parameters of the operations on one task (§3.1.3, 3.1.5).
#[derive(Debug, Serialize)]
pub(super) struct TaskParams<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<&'a str>,
    pub(super) id: &'a str,
}

/// Parameters of the operation on the agent's card (§3.1.11).
#[derive(Debug, Serialize)]
pub(super) struct CardParams<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<&'a str>,
}

impl Known {
    /// Reads a task's memory. What cannot be read was not written here, and counts as nothing.
    pub(super) fn of(memory: &Json) -> Self {
        let read = || -> Result<Self, Invalid> {
            let mut fields = Fields::open(memory.raw())?;
            Ok(Self {
                task_id: fields.text("taskId")?,
                context_id: fields.text("contextId")?,
            })
        };
        read().unwrap_or_default()
    }
}

/// The message as it goes to the agent: our ids in it become the agent's. Tasks that it refers to are ours and unknown
/// over there.
pub(super) fn addressed(mut message: Message, known: &Known) -> Message {
    message.task_id.clone_from(&known.task_id);
    message.context_id = known
        .context_id
        .clone()
        .or_else(|| message.context_id.filter(|id| is_unguessable(id)));
    message.reference_task_ids.clear();
    message
}

/// Whether our id of a conversation may open one over there, so that its tasks share what the agent remembers. All our
/// callers are one client to the agent: if they could choose the same name, they would share a conversation. Nobody
/// chooses another's random UUID.
fn is_unguessable(context_id: &str) -> bool {
    Uuid::parse_str(context_id).is_ok_and(|id| matches!(id.get_version_num(), 4 | 7))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    const RANDOM: &str = "0195a3c4-7e00-7abc-8def-0123456789ab";

    fn check(memory: Option<&str>, context_id: &str, expected: (Option<&str>, Option<&str>)) {
        let known = memory
            .map(|text| Known::of(&serde_json::from_str(text).unwrap()))
            .unwrap_or_default();
        let mut message = Message::from_agent("m".to_owned(), "hello");
        message.task_id = Some("ours".to_owned());
        message.context_id = Some(context_id.to_owned());
        message.reference_task_ids = vec!["ours too".to_owned()];
        let sent = addressed(message, &known);
        assert_eq!(
            (sent.task_id.as_deref(), sent.context_id.as_deref()),
            expected,
            "{memory:?} {context_id}"
        );
        assert!(sent.reference_task_ids.is_empty());
    }

    #[test]
    fn ids_on_the_way_to_the_agent() {
        check(None, RANDOM, (None, Some(RANDOM)));
        check(None, "chosen", (None, None));
        check(None, "11111111-1111-1111-8111-111111111111", (None, None));
        check(
            Some(r#"{"taskId":"t","contextId":"c"}"#),
            RANDOM,
            (Some("t"), Some("c")),
        );
        check(Some(r#"{"contextId":"c"}"#), "chosen", (None, Some("c")));
        check(Some(r#"{"taskId":"t"}"#), "chosen", (Some("t"), None));
        check(Some("[1]"), RANDOM, (None, Some(RANDOM)));
    }

    #[test]
    fn what_is_remembered_can_be_read_again() {
        let known = Known {
            task_id: Some("t \"1\"".to_owned()),
            context_id: Some("c".to_owned()),
        };
        assert_eq!(Known::of(&Json::of(&known).unwrap()), known);
    }
}
