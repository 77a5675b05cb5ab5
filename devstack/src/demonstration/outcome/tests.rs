//! Good streams pass; every way of not having done the work is found.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use serde_json::{Value, json};

use super::Outcome;

fn task(state: &str) -> Value {
    json!({"task": {"id": "1", "status": {"state": state}}})
}

fn status(state: &str) -> Value {
    json!({"statusUpdate": {"taskId": "1", "status": {"state": state}}})
}

fn artifact(id: &str, append: bool, part: &Value) -> Value {
    json!({"artifactUpdate": {"append": append, "artifact": {"artifactId": id, "name": "n", "parts": [part]}}})
}

/// The verdict on a stream of these results over a text of seven characters.
fn verdict(results: &[Value]) -> String {
    let mut outcome = Outcome::default();
    for result in results {
        if let Err(error) =
            outcome.take_event(&json!({"jsonrpc": "2.0", "id": 1, "result": result}))
        {
            return error.to_string();
        }
    }
    outcome
        .check_stream(7)
        .unwrap_or_else(|error| error.to_string())
}

#[test]
fn a_stream_is_judged_by_what_it_brought() {
    let (begin, end) = (task("TASK_STATE_WORKING"), status("TASK_STATE_COMPLETED"));
    let count = artifact("a", false, &json!({"data": {"characters": 7, "words": 2}}));
    let text = artifact("b", false, &json!({"text": "x"}));
    let check = |results: &[&Value], expected: &str| {
        let results: Vec<Value> = results.iter().map(|result| (*result).clone()).collect();
        assert_eq!(verdict(&results), expected, "{results:?}");
    };
    check(
        &[&begin, &count, &text, &end],
        "2 words counted, 2 artifacts, 4 events",
    );
    check(
        &[&begin, &count],
        "the task is TASK_STATE_WORKING, not TASK_STATE_COMPLETED",
    );
    check(
        &[&begin, &text, &end],
        "no artifact says how many characters the text has",
    );
    check(
        &[&begin, &count, &end, &text],
        "an event came after the end of the task",
    );
    check(
        &[&begin, &count, &status("TASK_STATE_FAILED")],
        "the task is TASK_STATE_FAILED, not TASK_STATE_COMPLETED",
    );
    let wrong = artifact("a", false, &json!({"data": {"characters": 8, "words": 2}}));
    check(
        &[&begin, &wrong, &end],
        "the agent read 8 characters, the text has 7",
    );
    let whole = json!({"task": {"status": {"state": "TASK_STATE_COMPLETED"},
        "artifacts": [{"artifactId": "a", "parts": [{"data": {"characters": 7, "words": 2}}]}]}});
    check(
        &[&whole],
        "only 0 event came before the end: that is no stream",
    );
    check(&[&json!({"x": 1})], "an event of no known kind: {\"x\":1}");
}

#[test]
fn pieces_of_an_artifact_are_put_together() {
    let mut outcome = Outcome::default();
    let mut take = |result: Value| outcome.take_event(&json!({"result": result})).unwrap();
    assert_eq!(
        take(artifact("a", false, &json!({"text": "one "}))).as_deref(),
        Some("[n]\none ")
    );
    assert_eq!(
        take(artifact("a", true, &json!({"text": "two"}))).as_deref(),
        Some("two")
    );
    assert_eq!(
        take(artifact(
            "b",
            false,
            &json!({"data": {"characters": 7, "words": 2}})
        ))
        .as_deref(),
        Some("[n]\ncharacters: 7\nwords: 2\n")
    );
    assert_eq!(take(status("TASK_STATE_COMPLETED")), None);
    assert_eq!(
        outcome
            .artifacts
            .iter()
            .map(|artifact| artifact.parts.len())
            .collect::<Vec<_>>(),
        [2, 1]
    );
}

#[test]
fn an_error_answer_is_repeated() {
    let answer = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32001}});
    let error = Outcome::of_answer(&answer).err().unwrap().to_string();
    assert_eq!(error, "answered with an error: {\"code\":-32001}");
}
