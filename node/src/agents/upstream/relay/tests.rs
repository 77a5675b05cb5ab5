//! Events of an agent and what is told of them.

use super::{ForeignTask, Relay, Step};
use crate::tasks::executor::TurnEvent;
use archipel_protocol::a2a::{Artifact, Message, StreamEvent, TaskState};
use archipel_protocol::object::Json;
use serde_json::value::RawValue;

fn event(json: &str) -> StreamEvent {
    StreamEvent::parse(&RawValue::from_string(json.to_owned()).unwrap()).unwrap()
}

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

fn remember(text: &str) -> TurnEvent {
    TurnEvent::Remember(json(text))
}

fn artifact(id: &str, append: bool, last_chunk: bool) -> TurnEvent {
    let text = format!(
        r#"{{"task":{{"id":"t","status":{{"state":1}},"artifacts":[{{"artifactId":"{id}","parts":[{{"text":"{id}"}}]}}]}}}}"#
    );
    let StreamEvent::Task(task) = event(&text) else {
        unreachable!("a task was written")
    };
    let artifact: Artifact = task.artifacts.into_iter().next().unwrap();
    TurnEvent::artifact(artifact, append, last_chunk)
}

fn status(state: TaskState, said: Option<&str>) -> TurnEvent {
    let message = said.map(|said| Message::from_agent("m".to_owned(), said));
    TurnEvent::status(state, message)
}

/// From `memory`, the `events` tell `told` and only the last one ends the turn, if `is_over`.
fn check(memory: Option<&str>, events: &[&str], told: &[TurnEvent], is_over: bool) {
    let mut relay = Relay::new(memory.map(json).as_ref());
    let mut steps: Vec<Step> = events
        .iter()
        .map(|text| relay.take_streamed(event(text)).unwrap())
        .collect();
    steps.extend(relay.end_stream().unwrap());
    let ends: Vec<bool> = steps.iter().map(|step| step.is_over).collect();
    let last = ends.len() - 1;
    assert!(
        ends.iter()
            .enumerate()
            .all(|(index, end)| *end == (is_over && index == last)),
        "{events:?}: {ends:?}"
    );
    let all: Vec<TurnEvent> = steps.into_iter().flat_map(|step| step.told).collect();
    assert_eq!(all, told, "{events:?}");
}

const SUBMITTED: &str =
    r#"{"task":{"id":"t","contextId":"c","status":{"state":"TASK_STATE_SUBMITTED"}}}"#;
const WORKING: &str =
    r#"{"statusUpdate":{"taskId":"t","contextId":"c","status":{"state":"TASK_STATE_WORKING"}}}"#;
const THINKING: &str = r#"{"statusUpdate":{"taskId":"t","contextId":"c","status":{"state":"TASK_STATE_WORKING",
    "message":{"messageId":"m","role":"ROLE_AGENT","parts":[{"text":"thinking"}],"referenceTaskIds":["t"]}}}}"#;
const DONE: &str =
    r#"{"statusUpdate":{"taskId":"t","contextId":"c","status":{"state":"TASK_STATE_COMPLETED"}}}"#;
const ASKS: &str = r#"{"statusUpdate":{"taskId":"t","contextId":"c","status":{"state":"TASK_STATE_INPUT_REQUIRED"}}}"#;
const PIECE: &str = r#"{"artifactUpdate":{"taskId":"t","contextId":"c","artifact":{"artifactId":"a","parts":[{"text":"a"}]}}}"#;
const NEXT_PIECE: &str = r#"{"artifactUpdate":{"taskId":"t","contextId":"c","append":true,"lastChunk":true,
    "artifact":{"artifactId":"a","parts":[{"text":"a"}]}}}"#;
const KNOWN: &str = r#"{"taskId":"t","contextId":"c"}"#;

#[test]
fn a_stream_from_its_first_event_to_its_last() {
    let told = [
        remember(KNOWN),
        status(TaskState::Working, Some("thinking")),
        artifact("a", false, false),
        artifact("a", true, true),
        status(TaskState::Completed, None),
    ];
    check(
        None,
        &[SUBMITTED, WORKING, THINKING, PIECE, NEXT_PIECE, DONE],
        &told,
        true,
    );
}

#[test]
fn a_question_ends_the_turn() {
    check(
        None,
        &[SUBMITTED, ASKS],
        &[remember(KNOWN), status(TaskState::InputRequired, None)],
        true,
    );
    let login = ASKS.replace("INPUT_REQUIRED", "AUTH_REQUIRED");
    check(
        Some(KNOWN),
        &[&login],
        &[status(TaskState::AuthRequired, None)],
        false,
    );
}

#[test]
fn a_question_of_the_turn_before_ends_nothing() {
    let asked = r#"{"task":{"id":"t","contextId":"c","status":{"state":"TASK_STATE_INPUT_REQUIRED"},
        "artifacts":[{"artifactId":"a","parts":[{"text":"a"}]}]}}"#;
    let done = status(TaskState::Completed, None);
    let piece = artifact("a", true, true);
    check(
        Some(KNOWN),
        &[asked, WORKING, NEXT_PIECE, DONE],
        &[piece, done],
        true,
    );
    // Nothing follows: it is asked again, or for the first time in an answer that is one piece.
    let told = [
        artifact("a", false, true),
        status(TaskState::InputRequired, None),
    ];
    check(Some(KNOWN), &[asked], &told, true);
}

#[test]
fn what_is_known_is_not_remembered_again() {
    check(
        Some(KNOWN),
        &[WORKING, DONE],
        &[status(TaskState::Completed, None)],
        true,
    );
    let moved = WORKING.replace(r#""contextId":"c""#, r#""contextId":"d""#);
    check(
        Some(KNOWN),
        &[&moved],
        &[remember(r#"{"taskId":"t","contextId":"d"}"#)],
        false,
    );
}

#[test]
fn snapshots() {
    let with = |state: &str| {
        let artifacts = r#"[{"artifactId":"a","parts":[{"text":"a"}]}]"#;
        format!(
            r#"{{"task":{{"id":"t","contextId":"c","status":{{"state":"TASK_STATE_{state}"}},"artifacts":{artifacts}}}}}"#
        )
    };
    check(
        None,
        &[&with("WORKING")],
        &[remember(KNOWN), artifact("a", false, false)],
        false,
    );
    let done = status(TaskState::Completed, None);
    check(
        None,
        &[&with("COMPLETED")],
        &[remember(KNOWN), artifact("a", false, true), done.clone()],
        true,
    );
    check(Some(KNOWN), &[&with("WORKING")], &[], false);
    check(
        Some(KNOWN),
        &[&with("COMPLETED")],
        &[artifact("a", false, true), done],
        true,
    );
}

#[test]
fn an_answer_without_a_task_is_the_whole_answer() {
    let text = r#"{"message":{"messageId":"m","role":"ROLE_AGENT","parts":[{"text":"hello"}],"referenceTaskIds":["t"]}}"#;
    check(
        None,
        &[text],
        &[TurnEvent::Answer(Message::from_agent(
            "m".to_owned(),
            "hello",
        ))],
        true,
    );
}

#[test]
fn nothing_foreign_is_lost() {
    let text = r#"{"artifactUpdate":{"taskId":"t","contextId":"c","metadata":{"n":123456789012345678901234567890},
        "artifact":{"artifactId":"a","parts":[{"data":{"k":1e2},"x-part":[1]}],"metadata":{"m":0},"x-new":"y"}}}"#;
    let step = Relay::new(Some(&json(KNOWN))).take(event(text)).unwrap();
    let [
        TurnEvent::Artifact {
            artifact,
            metadata: Some(metadata),
            ..
        },
    ] = step.told.as_slice()
    else {
        unreachable!("one artifact was written: {step:?}")
    };
    assert_eq!(metadata.text(), r#"{"n":123456789012345678901234567890}"#);
    let kept = serde_json::to_string(artifact).unwrap();
    for piece in [
        r#""data":{"k":1e2}"#,
        r#""x-part":[1]"#,
        r#""metadata":{"m":0}"#,
        r#""x-new":"y""#,
    ] {
        assert!(kept.contains(piece), "{piece} is missing in {kept}");
    }
}

#[test]
fn events_of_another_task_are_refused() {
    for text in [SUBMITTED, WORKING, DONE, PIECE] {
        let mut relay = Relay::new(Some(&json(r#"{"taskId":"other"}"#)));
        assert_eq!(relay.take(event(text)), Err(ForeignTask), "{text}");
    }
}
