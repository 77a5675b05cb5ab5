//! What may and what may not happen to a task.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use archipel_protocol::a2a::{Artifact, Message, Part, Role, TaskState};
use archipel_protocol::object::{Extra, Json};

use super::{Record, TurnRefusal};
use crate::store::{EventRow, StoredTask};
use crate::tasks::executor::TurnEvent;
use crate::tasks::feed::Settled;
use crate::tasks::shard::Shard;

const NOW: u64 = 1_767_225_600_000;
/// Room enough.
const SIZE: usize = 1 << 20;

fn said(text: &str) -> Message {
    Message {
        message_id: "m".to_owned(),
        context_id: None,
        task_id: None,
        role: Role::User,
        parts: vec![Part::text(text)],
        metadata: None,
        extensions: Vec::new(),
        reference_task_ids: Vec::new(),
        extra: Extra::default(),
    }
}

fn status(state: TaskState, text: Option<&str>) -> TurnEvent {
    let message = text.map(|text| Message::from_agent("a".into(), text));
    TurnEvent::status(state, message)
}

fn piece(id: &str, text: &str, append: bool) -> TurnEvent {
    let artifact = Artifact::new(id, id, vec![Part::text(text)]);
    TurnEvent::artifact(artifact, append, false)
}

fn opened() -> Record {
    let mut record = Record::open("t", "c", said("hello"), NOW);
    record.begin(NOW + 1);
    record
}

#[test]
fn a_task_begins_submitted_with_its_message_and_our_ids() {
    let record = Record::open("t", "c", said("hello"), NOW);
    let view = String::from_utf8(record.view(None).to_vec()).unwrap();
    assert_eq!(
        view,
        concat!(
            r#"{"id":"t","contextId":"c","#,
            r#""status":{"state":"TASK_STATE_SUBMITTED","timestamp":"2026-01-01T00:00:00.000Z"},"#,
            r#""history":[{"messageId":"m","contextId":"c","taskId":"t","role":"ROLE_USER","parts":[{"text":"hello"}]}]}"#
        )
    );
    assert_eq!((record.seq, record.settled()), (1, Settled::No));
}

#[test]
fn pieces_of_an_artifact_are_put_together() {
    let mut record = opened();
    for (event, expected) in [
        (piece("a", "1", false), vec![("a", 1)]),
        (piece("a", "2", true), vec![("a", 2)]),
        (piece("b", "3", true), vec![("a", 2), ("b", 1)]),
        (piece("a", "4", false), vec![("a", 1), ("b", 1)]),
    ] {
        record.apply(event, NOW).unwrap();
        let found: Vec<_> = record
            .task
            .artifacts
            .iter()
            .map(|artifact| (artifact.artifact_id.as_str(), artifact.parts.len()))
            .collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn nothing_changes_after_the_end() {
    for end in [
        TaskState::Completed,
        TaskState::Failed,
        TaskState::Canceled,
        TaskState::Rejected,
    ] {
        let mut record = opened();
        assert_eq!(
            record.apply(status(end, None), NOW).unwrap().settled,
            Settled::Ended
        );
        let before = record.view(None);
        assert!(
            record
                .apply(status(TaskState::Working, None), NOW)
                .is_none()
        );
        assert!(record.apply(piece("late", "x", false), NOW).is_none());
        assert!(record.finish(NOW).is_none());
        assert!(record.cancel(None, NOW).is_err());
        assert!(record.fail("late", "m".into(), NOW).is_err());
        assert_eq!(record.hear(said("more"), SIZE), Err(TurnRefusal::Ended));
        assert_eq!(record.view(None), before);
    }
}

#[test]
fn an_agent_that_ends_without_a_word_completes_but_not_an_interrupted_task() {
    let mut record = opened();
    assert_eq!(record.finish(NOW).unwrap().settled, Settled::Ended);
    assert_eq!(record.task.status.state, TaskState::Completed);
    let mut record = opened();
    record
        .apply(status(TaskState::InputRequired, Some("which?")), NOW)
        .unwrap();
    assert!(record.finish(NOW).is_none());
    assert_eq!(record.settled(), Settled::Interrupted);
}

#[test]
fn a_further_message_must_belong_to_the_conversation() {
    let mut record = opened();
    record
        .apply(status(TaskState::InputRequired, Some("which?")), NOW)
        .unwrap();
    let mut foreign = said("this");
    foreign.context_id = Some("other".into());
    assert_eq!(record.hear(foreign, SIZE), Err(TurnRefusal::WrongContext));
    record.hear(said("this"), SIZE).unwrap();
    record.begin(NOW);
    let said: Vec<String> = record
        .task
        .history
        .iter()
        .map(Message::joined_text)
        .collect();
    assert_eq!(
        said,
        ["hello", "which?", "this"],
        "what the agent asked stays in the conversation"
    );
}

#[test]
fn what_is_kept_comes_back() {
    let mut record = opened();
    record.apply(
        TurnEvent::Remember(Json::read(r#"{"upstream": 1}"#).unwrap()),
        NOW,
    );
    record.apply(piece("a", "line\nend", false), NOW).unwrap();
    let snapshot = record.snapshot();
    let later = record
        .apply(status(TaskState::InputRequired, Some("?")), NOW)
        .unwrap();
    let stored = StoredTask {
        owner: "o".into(),
        agent: "a".into(),
        context_id: "c".into(),
        state: 6,
        updated_ms: NOW,
        snapshot,
        events: vec![EventRow {
            seq: later.seq,
            body: later.body,
        }],
    };
    let restored = Record::restore(&stored).unwrap();
    assert_eq!(restored.task, record.task);
    assert_eq!(restored.memory, record.memory);
    assert_eq!(restored.seq, record.seq);
}

#[test]
fn a_task_can_be_told_as_it_was_opened() {
    let id = Shard::new(0, 1).task_id(NOW).to_string();
    let mut record = Record::open(&id, "c", said("hello"), NOW);
    let opened = record.task.clone();
    record.begin(NOW + 1);
    let question = status(TaskState::InputRequired, Some("which?"));
    record.apply(question, NOW + 2).unwrap();
    record.hear(said("that one"), SIZE).unwrap();
    assert_eq!(record.as_opened(), opened);
}
