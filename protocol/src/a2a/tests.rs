//! Reading and writing the model without losing anything; problems with their paths.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use serde_json::value::RawValue;

use super::{
    Content, Message, SendMessageParams, StreamEvent, Task, TaskState, Timestamp, Version,
};

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

#[test]
fn a_message_survives_with_everything_it_holds() {
    let json = r#"{"messageId":"m1","contextId":"c","role":"ROLE_USER","parts":[{"text":"hi","x":[1.0,1e400]},{"data":42,"mediaType":"application/json"},{"data":null2}],"metadata":{"n":123456789012345678901234567890},"ext":{"z":1,"a":2}}"#
        .replace("null2", "{\"deep\":[{}]}");
    let message = Message::parse(&raw(&json)).unwrap();
    assert_eq!(serde_json::to_string(&message).unwrap(), json);
    assert!(matches!(&message.parts[1].content, Content::Data(data) if data.text() == "42"));
}

#[test]
fn snake_case_and_enum_numbers_are_understood() {
    let message = Message::parse(&raw(
        r#"{"message_id":"m","role":2,"parts":[{"text":"","media_type":"text/plain"}]}"#,
    ))
    .unwrap();
    assert_eq!(
        serde_json::to_string(&message).unwrap(),
        r#"{"messageId":"m","role":"ROLE_AGENT","parts":[{"text":"","mediaType":"text/plain"}]}"#
    );
}

fn check_params(json: &str, expected: &str) {
    let problem = SendMessageParams::parse(Version::V1, &raw(json))
        .map(|_| String::new())
        .unwrap_or_else(|invalid| invalid.to_string());
    assert!(
        problem.starts_with(expected),
        "{json}: {problem:?} should start with {expected:?}"
    );
}

#[test]
fn problems_of_parameters_are_told_with_their_path() {
    for (json, expected) in [
        ("{}", "message: is required"),
        (r#"{"message":7}"#, "message: must be an object"),
        (
            r#"{"message":{"role":"ROLE_USER","parts":[{"text":"x"}]}}"#,
            "message.messageId: is required",
        ),
        (
            r#"{"message":{"messageId":"","role":"ROLE_USER","parts":[{"text":"x"}]}}"#,
            "message.messageId: is required",
        ),
        (
            r#"{"message":{"messageId":"m","parts":[{"text":"x"}]}}"#,
            "message.role: is required",
        ),
        (
            r#"{"message":{"messageId":"m","role":"user","parts":[{"text":"x"}]}}"#,
            "message.role: must be",
        ),
        (
            r#"{"message":{"messageId":"m","role":"ROLE_USER"}}"#,
            "message.parts: must have at least one",
        ),
        (
            r#"{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"text":"x"},{}]}}"#,
            "message.parts[1]: must have exactly one",
        ),
        (
            r#"{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"text":"x","url":"y"}]}}"#,
            "message.parts[0]: must have exactly one",
        ),
        (
            r#"{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"text":7}]}}"#,
            "message.parts[0].text: must be a text",
        ),
        (
            r#"{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"text":"x"}],"metadata":[]}}"#,
            "message.metadata: must be an object",
        ),
        (
            r#"{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"text":"x"}]},"configuration":{"historyLength":-1}}"#,
            "configuration.historyLength: must be between",
        ),
        (
            r#"{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"text":"x"}]},"configuration":{"returnImmediately":1}}"#,
            "configuration.returnImmediately: must be true or false",
        ),
        (
            r#"{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"text":"x"}]}}"#,
            "",
        ),
    ] {
        check_params(json, expected);
    }
    let long = format!(
        r#"{{"message":{{"messageId":"{}","role":"ROLE_USER","parts":[{{"text":"x"}}]}}}}"#,
        "m".repeat(257)
    );
    check_params(&long, "message.messageId: must not be longer");
}

#[test]
fn stream_events_are_read_and_written_alike() {
    for json in [
        r#"{"task":{"id":"t","contextId":"c","status":{"state":"TASK_STATE_WORKING","timestamp":"2026-01-01T00:00:00.000Z"},"later":true}}"#,
        r#"{"message":{"messageId":"m","role":"ROLE_AGENT","parts":[{"url":"https://x.example/f"}]}}"#,
        r#"{"statusUpdate":{"taskId":"t","contextId":"c","status":{"state":"TASK_STATE_FAILED"},"metadata":{"a":1}}}"#,
        r#"{"artifactUpdate":{"taskId":"t","contextId":"c","artifact":{"artifactId":"a","parts":[{"raw":"AAEC","filename":"x.bin"}]},"append":true,"lastChunk":true}}"#,
    ] {
        let event = StreamEvent::parse(&raw(json)).unwrap();
        assert_eq!(serde_json::to_string(&event).unwrap(), json);
    }
    assert!(StreamEvent::parse(&raw("{}")).is_err());
    assert!(StreamEvent::parse(&raw(r#"{"somethingElse":{}}"#)).is_err());
}

#[test]
fn history_is_limited_from_its_end() {
    let message =
        |id: &str| format!(r#"{{"messageId":"{id}","role":"ROLE_USER","parts":[{{"text":"x"}}]}}"#);
    let json = format!(
        r#"{{"id":"t","status":{{"state":"TASK_STATE_WORKING"}},"history":[{},{},{}]}}"#,
        message("1"),
        message("2"),
        message("3")
    );
    for (limit, expected) in [
        (None, vec!["1", "2", "3"]),
        (Some(0), vec![]),
        (Some(2), vec!["2", "3"]),
        (Some(9), vec!["1", "2", "3"]),
    ] {
        let task = Task::read(&json).unwrap().with_history_limit(limit);
        let ids: Vec<&str> = task
            .history
            .iter()
            .map(|message| message.message_id.as_str())
            .collect();
        assert_eq!(ids, expected, "{limit:?}");
    }
}

#[test]
fn states_have_the_numbers_of_the_proto() {
    for number in 1..=8 {
        assert_eq!(TaskState::from_number(number).unwrap().number(), number);
    }
    assert!(TaskState::from_number(0).is_none());
}

#[test]
fn times_are_written_with_three_digits_in_utc() {
    for (given, expected) in [
        ("2025-10-28T10:30:00Z", "2025-10-28T10:30:00.000Z"),
        ("2025-10-28T12:30:00.5+02:00", "2025-10-28T10:30:00.500Z"),
        ("2025-10-28T10:30:00.123456789Z", "2025-10-28T10:30:00.123Z"),
    ] {
        assert_eq!(
            Timestamp::parse(&raw(&format!("\"{given}\"")))
                .unwrap()
                .to_string(),
            expected
        );
    }
    assert_eq!(
        Timestamp::from_unix_ms(1_767_225_600_000).to_string(),
        "2026-01-01T00:00:00.000Z"
    );
}
