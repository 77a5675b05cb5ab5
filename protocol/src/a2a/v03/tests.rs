//! Both directions against what the official SDKs write, and nothing lost on a way there and back.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use proptest::prelude::*;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::part::{Part03, read_part};
use super::{
    card, event, push_config, push_config_list, read_card, read_event, read_message, read_task,
    send_params, task, task_list,
};
use crate::a2a::{
    AgentCard, CancelTaskParams, ExtendedCardParams, GetTaskParams, ListPushConfigsParams,
    ListTasksParams, Part, PushConfig, PushConfigList, PushConfigParams, SendMessageParams,
    StreamEvent, SubscribeParams, Task, TaskList, TaskState, Version,
};

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn value(written: &impl Serialize) -> Value {
    // By way of the text, which is what is sent: members that are written twice would not be seen otherwise.
    serde_json::from_str(&serde_json::to_string(written).unwrap()).unwrap()
}

/// `v10` is written as `v03`, and read back as it was.
fn check_part(v10: &Value, v03: &Value) {
    let part = Part::parse(&raw(&v10.to_string())).unwrap();
    assert_eq!(&value(&Part03(&part)), v03);
    let back = read_part(&raw(&v03.to_string())).unwrap();
    assert_eq!(&value(&back), v10);
}

#[test]
fn parts_have_their_place_in_both_versions() {
    check_part(
        &json!({"text": "hi", "metadata": {"a": 1}, "x": [1]}),
        &json!({"kind": "text", "text": "hi", "metadata": {"a": 1}, "x": [1]}),
    );
    check_part(
        &json!({"text": "# hi", "mediaType": "text/markdown", "filename": "a.md"}),
        &json!({"kind": "text", "text": "# hi", "mediaType": "text/markdown", "filename": "a.md"}),
    );
    check_part(
        &json!({"raw": "AAEC", "mediaType": "image/png", "filename": "a.png"}),
        &json!({"kind": "file", "file": {"bytes": "AAEC", "mimeType": "image/png", "name": "a.png"}}),
    );
    check_part(
        &json!({"url": "https://x.example/a", "metadata": {}}),
        &json!({"kind": "file", "file": {"uri": "https://x.example/a"}, "metadata": {}}),
    );
    check_part(
        &json!({"data": {"value": 1, "z": null}}),
        &json!({"kind": "data", "data": {"value": 1, "z": null}}),
    );
}

#[test]
fn data_that_is_no_object_travels_as_the_sdks_wrap_it() {
    for data in [
        json!(42),
        json!("x"),
        json!([1, {}]),
        json!(true),
        json!(null),
    ] {
        check_part(
            &json!({"data": data}),
            &json!({"kind": "data", "data": {"value": data}, "metadata": {"data_part_compat": true}}),
        );
        check_part(
            &json!({"data": data, "metadata": {"a": 1}}),
            &json!({"kind": "data", "data": {"value": data}, "metadata": {"a": 1, "data_part_compat": true}}),
        );
    }
    // Marked but not wrapped: left alone.
    check_part(
        &json!({"data": {"value": 1, "b": 2}, "metadata": {"data_part_compat": true}}),
        &json!({"kind": "data", "data": {"value": 1, "b": 2}, "metadata": {"data_part_compat": true}}),
    );
}

#[test]
fn members_that_mean_something_else_in_the_other_version_come_back() {
    check_part(
        &json!({"text": "hi", "v03": {"url": "not the content", "raw": 7}}),
        &json!({"kind": "text", "text": "hi", "url": "not the content", "raw": 7}),
    );
    check_part(
        &json!({"text": "hi", "kind": "mine", "file": 7}),
        &json!({"kind": "text", "text": "hi", "v10": {"kind": "mine", "file": 7}}),
    );
    check_part(
        &json!({"url": "https://x.example", "v03": {"file": {"size": 3}, "mediaType": "odd"}}),
        &json!({"kind": "file", "file": {"uri": "https://x.example", "size": 3}, "mediaType": "odd"}),
    );
}

#[test]
fn numbers_stay_as_they_were_written() {
    let v03 = r#"{"kind":"data","data":{"value":1.0},"metadata":{"data_part_compat":true,"n":123456789012345678901234567890,"m":1e400}}"#;
    let part = read_part(&raw(v03)).unwrap();
    assert_eq!(
        serde_json::to_string(&part).unwrap(),
        r#"{"data":1.0,"metadata":{"n":123456789012345678901234567890,"m":1e400}}"#
    );
    assert!(
        serde_json::to_string(&Part03(&part))
            .unwrap()
            .contains(r#""n":123456789012345678901234567890,"m":1e400"#)
    );
}

/// A task as `a2a-sdk` of 0.3 writes it.
fn task_of_an_sdk() -> Value {
    json!({
        "kind": "task", "id": "t", "contextId": "c",
        "status": {
            "state": "input-required", "timestamp": "2026-01-01T00:00:00.123456+00:00",
            "message": {"kind": "message", "messageId": "m2", "role": "agent", "taskId": "t", "contextId": "c",
                "parts": [{"kind": "text", "text": "which?"}]},
        },
        "artifacts": [{"artifactId": "a", "name": "n", "description": "d", "extensions": ["urn:x"],
            "parts": [{"kind": "file", "file": {"uri": "https://x.example/f", "name": "f"}}], "metadata": {"k": 1.50}}],
        "history": [{"kind": "message", "messageId": "m1", "role": "user", "referenceTaskIds": ["u"],
            "parts": [{"kind": "data", "data": {"a": []}}], "extensions": ["urn:y"], "metadata": {}}],
        "metadata": {"by": "agent"},
        "custom": {"deep": [null]},
    })
}

#[test]
fn a_task_of_an_sdk_is_read_and_written() {
    let mut v03 = task_of_an_sdk();
    let read = read_task(&raw(&v03.to_string())).unwrap();
    assert_eq!(
        value(&read),
        json!({
            "id": "t", "contextId": "c",
            "status": {
                "state": "TASK_STATE_INPUT_REQUIRED", "timestamp": "2026-01-01T00:00:00.123Z",
                "message": {"messageId": "m2", "role": "ROLE_AGENT", "taskId": "t", "contextId": "c",
                    "parts": [{"text": "which?"}]},
            },
            "artifacts": [{"artifactId": "a", "name": "n", "description": "d", "extensions": ["urn:x"],
                "parts": [{"url": "https://x.example/f", "filename": "f"}], "metadata": {"k": 1.50}}],
            "history": [{"messageId": "m1", "role": "ROLE_USER", "referenceTaskIds": ["u"],
                "parts": [{"data": {"a": []}}], "extensions": ["urn:y"], "metadata": {}}],
            "metadata": {"by": "agent"},
            "custom": {"deep": [null]},
        })
    );
    v03["status"]["timestamp"] = json!("2026-01-01T00:00:00.123Z");
    assert_eq!(value(&task(&read)), v03);
}

#[test]
fn a_task_in_an_unknown_state_counts_as_at_work_and_is_told_as_unknown() {
    let v03 = json!({"kind": "task", "id": "t", "contextId": "", "status": {"state": "unknown"}});
    let read = read_task(&raw(&v03.to_string())).unwrap();
    assert_eq!(read.status.state, TaskState::Working);
    assert_eq!(value(&task(&read)), v03);
    let stored = Task::read(&serde_json::to_string(&read).unwrap()).unwrap();
    assert_eq!(value(&task(&stored)), v03);
    let mut ended = stored;
    ended.status.state = TaskState::Completed;
    assert_eq!(value(&task(&ended))["status"]["state"], "completed");
}

fn check_event(v10: &Value, v03: &Value) {
    let read = StreamEvent::read(&v10.to_string()).unwrap();
    assert_eq!(&value(&event(&read)), v03);
    assert_eq!(&value(&read_event(&raw(&v03.to_string())).unwrap()), v10);
}

#[test]
fn events_are_told_apart_by_their_kind() {
    check_event(
        &json!({"message": {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": "x"}]}}),
        &json!({"kind": "message", "messageId": "m", "role": "agent", "parts": [{"kind": "text", "text": "x"}]}),
    );
    for (v10, v03, is_final) in [
        ("WORKING", "working", false),
        ("AUTH_REQUIRED", "auth-required", true),
        ("REJECTED", "rejected", true),
    ] {
        check_event(
            &json!({"statusUpdate": {"taskId": "t", "contextId": "c", "status": {"state": format!("TASK_STATE_{v10}")}}}),
            &json!({"kind": "status-update", "taskId": "t", "contextId": "c", "status": {"state": v03}, "final": is_final}),
        );
    }
    check_event(
        &json!({"statusUpdate": {"taskId": "t", "contextId": "c", "status": {"state": "TASK_STATE_WORKING"}, "v03": {"final": true}}}),
        &json!({"kind": "status-update", "taskId": "t", "contextId": "c", "status": {"state": "working"}, "final": true}),
    );
    check_event(
        &json!({"artifactUpdate": {"taskId": "t", "contextId": "c", "append": true, "artifact": {"artifactId": "a", "parts": []}}}),
        &json!({"kind": "artifact-update", "taskId": "t", "contextId": "c", "append": true, "lastChunk": false,
            "artifact": {"artifactId": "a", "parts": []}}),
    );
}

#[test]
fn what_has_no_kind_is_told_by_its_members() {
    for (json, expected) in [
        (
            json!({"messageId": "m", "role": "user", "parts": [{"text": "x"}]}),
            "message",
        ),
        (
            json!({"id": "t", "status": {"state": "working", "timestamp": "2026-01-01T00:00:00"}}),
            "task",
        ),
        (
            json!({"taskId": "t", "status": {"state": "working"}}),
            "statusUpdate",
        ),
        (
            json!({"taskId": "t", "artifact": {"artifactId": "a", "parts": [{"file": {"bytes": ""}}]}}),
            "artifactUpdate",
        ),
    ] {
        let read = value(&read_event(&raw(&json.to_string())).unwrap());
        assert!(read.get(expected).is_some(), "{read}");
    }
}

fn check_problem<T>(
    parse: impl Fn(Version, &RawValue) -> Result<T, crate::object::Invalid>,
    json: &Value,
    expected: &str,
) {
    let problem = parse(Version::V03, &raw(&json.to_string()))
        .map(|_| String::new())
        .unwrap_or_else(|invalid| invalid.to_string());
    assert!(
        problem.starts_with(expected) && problem.is_empty() == expected.is_empty(),
        "{json}: {problem:?} should start with {expected:?}"
    );
}

#[test]
fn problems_of_a_message_are_told_in_the_spelling_of_0_3() {
    let send = |message: Value| json!({"message": message});
    let with = |part: Value| send(json!({"messageId": "m", "role": "user", "parts": [part]}));
    for (params, expected) in [
        (json!({}), "message: is required"),
        (
            send(json!({"role": "user", "parts": []})),
            "message.messageId: is required",
        ),
        (
            send(json!({"messageId": "m", "role": "ROLE_USER", "parts": []})),
            "message.role: must be user or agent",
        ),
        (
            send(json!({"messageId": "m", "role": "user"})),
            "message.parts: must have at least one part",
        ),
        (
            send(json!({"kind": "task"})),
            "message.kind: must be \"message\"",
        ),
        (
            with(json!({"kind": "video"})),
            "message.parts[0].kind: must be text, file or data",
        ),
        (with(json!({})), "message.parts[0].kind: is required"),
        (
            with(json!({"kind": "text"})),
            "message.parts[0].text: is required",
        ),
        (
            with(json!({"kind": "data", "data": 7})),
            "message.parts[0].data: must be an object",
        ),
        (
            with(json!({"kind": "file", "file": {}})),
            "message.parts[0].file: must have exactly one of bytes, uri",
        ),
        (
            with(json!({"kind": "file", "file": {"bytes": "", "uri": ""}})),
            "message.parts[0].file: must have exactly one",
        ),
        (
            with(json!({"kind": "text", "text": "", "metadata": 1})),
            "message.parts[0].metadata: must be an object",
        ),
        (with(json!({"kind": "text", "text": "x"})), ""),
    ] {
        check_problem(SendMessageParams::parse, &params, expected);
    }
}

#[test]
fn problems_of_a_configuration_are_told_in_the_spelling_of_0_3() {
    for (configuration, expected) in [
        (
            json!({"historyLength": -1}),
            "configuration.historyLength: must be between",
        ),
        (
            json!({"blocking": 1}),
            "configuration.blocking: must be true or false",
        ),
        (
            json!({"pushNotificationConfig": {}}),
            "configuration.pushNotificationConfig.url: is required",
        ),
        (
            json!({"pushNotificationConfig": {"url": "ftp://x"}}),
            "configuration.pushNotificationConfig.url: must be an absolute http",
        ),
        (
            json!({"pushNotificationConfig": {"url": "http://u:p@x"}}),
            "configuration.pushNotificationConfig.url: must be an absolute http",
        ),
        (
            json!({"pushNotificationConfig": {"url": "http://x", "token": "a\nb"}}),
            "configuration.pushNotificationConfig.token: must be printable",
        ),
        (
            json!({"pushNotificationConfig": {"url": "http://x", "authentication": {"schemes": ["a b"]}}}),
            "configuration.pushNotificationConfig.authentication.schemes[0]: must be the name",
        ),
    ] {
        let params = json!({
            "message": {"messageId": "m", "role": "user", "parts": [{"kind": "text", "text": "x"}]},
            "configuration": configuration,
        });
        check_problem(SendMessageParams::parse, &params, expected);
    }
}

#[test]
fn a_message_is_asked_alike_in_both_versions() {
    let v03 = json!({
        "message": {"kind": "message", "messageId": "m", "role": "user", "parts": [{"kind": "text", "text": "x"}]},
        "configuration": {
            "acceptedOutputModes": ["text/plain"], "blocking": false, "historyLength": 3,
            "pushNotificationConfig": {"id": "p", "url": "https://x.example/hook", "token": "s",
                "authentication": {"schemes": ["Bearer"], "credentials": "c"}},
        },
        "metadata": {"a": 1},
    });
    let v10 = json!({
        "message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "x"}]},
        "configuration": {
            "acceptedOutputModes": ["text/plain"], "returnImmediately": true, "historyLength": 3,
            "taskPushNotificationConfig": {"id": "p", "url": "https://x.example/hook", "token": "s",
                "authentication": {"scheme": "Bearer", "credentials": "c"}},
        },
        "metadata": {"a": 1},
    });
    let read = SendMessageParams::parse(Version::V03, &raw(&v03.to_string())).unwrap();
    assert_eq!(value(&read), v10);
    let mut same = SendMessageParams::parse(Version::V1, &raw(&v10.to_string())).unwrap();
    assert_eq!(value(&send_params(&same)), v03);
    same.push_notification_config.as_mut().unwrap().version = Version::V03;
    assert_eq!(same, read);
}

#[test]
fn what_0_3_leaves_open_is_decided_as_its_sdks_do() {
    let send = |configuration: Value| {
        let params = json!({
            "message": {"messageId": "m", "role": "user", "parts": [{"kind": "text", "text": "x"}]},
            "configuration": configuration,
        });
        SendMessageParams::parse(Version::V03, &raw(&params.to_string())).unwrap()
    };
    assert!(!send(json!(null)).return_immediately);
    assert!(!send(json!({"blocking": null})).return_immediately);
    assert!(!send(json!({"blocking": true})).return_immediately);
    assert_eq!(send(json!({"historyLength": 0})).history_length, None);
    let get = GetTaskParams::parse(Version::V03, &raw(r#"{"id":"t","historyLength":0}"#)).unwrap();
    assert_eq!(get.history_length, None);
    assert!(ExtendedCardParams::parse(Version::V03, None).is_ok());
}

#[test]
fn the_other_operations_name_a_task_in_their_own_way() {
    let named = json!({"id": "t", "pushNotificationConfigId": "p", "metadata": {"a": 1}, "tenant": "not of 0.3"});
    let raw = raw(&named.to_string());
    assert_eq!(CancelTaskParams::parse(Version::V03, &raw).unwrap().id, "t");
    let subscribe = SubscribeParams::parse(Version::V03, &raw).unwrap();
    assert_eq!((subscribe.id.as_str(), subscribe.tenant), ("t", None));
    let config = PushConfigParams {
        tenant: None,
        task_id: "t".to_owned(),
        id: Some("p".to_owned()),
    };
    assert_eq!(
        PushConfigParams::parse_get(Version::V03, &raw).unwrap(),
        config
    );
    assert_eq!(
        PushConfigParams::parse_delete(Version::V03, &raw).unwrap(),
        config
    );
    assert_eq!(
        ListPushConfigsParams::parse(Version::V03, &raw)
            .unwrap()
            .task_id,
        "t"
    );
    let only_task = json!({"id": "t"});
    check_problem(PushConfigParams::parse_get, &only_task, "");
    check_problem(
        PushConfigParams::parse_delete,
        &only_task,
        "pushNotificationConfigId: is required",
    );
    check_problem(GetTaskParams::parse, &json!({}), "id: is required");
}

#[test]
fn pages_of_tasks() {
    let params =
        |json: Value| ListTasksParams::parse(Version::V03, &raw(&json.to_string())).unwrap();
    let read = params(
        json!({"status": "auth-required", "lastUpdatedAfter": 1_767_225_600_000_u64, "pageSize": 7}),
    );
    assert_eq!(read.status, Some(TaskState::AuthRequired));
    assert_eq!(
        read.status_timestamp_after.unwrap().to_string(),
        "2026-01-01T00:00:00.000Z"
    );
    assert_eq!(read.page_size, 7);
    assert_eq!(params(json!({"status": "unknown"})), params(json!({})));
    for (json, expected) in [
        (
            json!({"status": "TASK_STATE_WORKING"}),
            "status: must be a known task state",
        ),
        (
            json!({"pageSize": 0}),
            "pageSize: must be between 1 and 100",
        ),
        (
            json!({"pageSize": 101}),
            "pageSize: must be between 1 and 100",
        ),
        (
            json!({"lastUpdatedAfter": "x"}),
            "lastUpdatedAfter: must be a time",
        ),
        (
            json!({"pageToken": "x".repeat(2000)}),
            "pageToken: is none of ours",
        ),
    ] {
        check_problem(ListTasksParams::parse, &json, expected);
    }
    let page = json!({"tasks": [{"id": "t", "status": {"state": "TASK_STATE_WORKING"}}],
        "nextPageToken": "", "pageSize": 50, "totalSize": 1});
    let list = TaskList::read(&page.to_string()).unwrap();
    assert_eq!(value(&list), page);
    assert_eq!(
        value(&task_list(&list)),
        json!({"tasks": [{"kind": "task", "id": "t", "contextId": "", "status": {"state": "working"}}],
            "nextPageToken": "", "pageSize": 50, "totalSize": 1})
    );
}

#[test]
fn a_webhook_is_nested_and_has_a_list_of_schemes() {
    let set = json!({"taskId": "t", "pushNotificationConfig": {"url": "https://x.example/hook",
        "authentication": {"schemes": ["Bearer", "Basic"], "credentials": "c"}, "more": 1}});
    let config = PushConfig::parse_create(Version::V03, &raw(&set.to_string())).unwrap();
    assert_eq!(
        value(&config),
        json!({"id": "t", "taskId": "t", "url": "https://x.example/hook", "more": 1,
            "authentication": {"scheme": "Bearer", "credentials": "c", "v03": {"schemes": ["Bearer", "Basic"]}}})
    );
    let mut expected = set;
    expected["pushNotificationConfig"]["id"] = json!("t");
    assert_eq!(value(&push_config(&config)), expected);
    assert!(!format!("{config:?}").contains("\"c\""));
    let list = PushConfigList {
        configs: vec![config],
        next_page_token: String::new(),
    };
    assert_eq!(value(&push_config_list(&list)), json!([expected]));
    check_problem(
        PushConfig::parse_create,
        &json!({"pushNotificationConfig": {"url": "http://x"}}),
        "taskId: is required",
    );
    check_problem(
        PushConfig::parse_create,
        &json!({"taskId": "t"}),
        "pushNotificationConfig: is required",
    );
}

#[test]
fn a_card_of_0_3_is_read_as_1_0_and_written_for_our_url() {
    let v03 = json!({
        "protocolVersion": "0.3.0", "name": "A", "description": "d", "url": "http://a/rpc", "preferredTransport": "JSONRPC",
        "additionalInterfaces": [{"url": "http://a/rpc", "transport": "JSONRPC"}, {"url": "http://a/rest", "transport": "HTTP+JSON"}],
        "version": "2", "provider": {"organization": "o", "url": "http://o"},
        "capabilities": {"streaming": true, "stateTransitionHistory": true},
        "defaultInputModes": ["text/plain"], "defaultOutputModes": [], "supportsAuthenticatedExtendedCard": true,
        "securitySchemes": {"k": {"type": "apiKey", "in": "header", "name": "X"}, "o": {"type": "oauth2", "flows": {}}},
        "security": [{"k": []}, {"o": ["read"]}],
        "skills": [{"id": "s", "name": "S", "description": "", "tags": [], "security": [{"k": []}]}],
        "signatures": [{"protected": "p", "signature": "s"}],
    });
    let read = read_card(&v03.to_string()).unwrap();
    let v10 = json!({
        "name": "A", "description": "d", "version": "2", "provider": {"organization": "o", "url": "http://o"},
        "supportedInterfaces": [
            {"url": "http://a/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "0.3.0"},
            {"url": "http://a/rest", "protocolBinding": "HTTP+JSON", "protocolVersion": "0.3.0"},
        ],
        "capabilities": {"streaming": true, "stateTransitionHistory": true, "extendedAgentCard": true},
        "defaultInputModes": ["text/plain"], "defaultOutputModes": [],
        "securitySchemes": {"k": {"apiKeySecurityScheme": {"location": "header", "name": "X"}},
            "o": {"oauth2SecurityScheme": {"flows": {}}}},
        "securityRequirements": [{"schemes": {"k": {"list": []}}}, {"schemes": {"o": {"list": ["read"]}}}],
        "skills": [{"id": "s", "name": "S", "description": "", "tags": [], "securityRequirements": [{"schemes": {"k": {"list": []}}}]}],
    });
    assert_eq!(value(&read), v10);
    let again = AgentCard::read(&v10.to_string()).unwrap();
    let mut expected = v03;
    let members = expected.as_object_mut().unwrap();
    members.remove("signatures");
    members.remove("additionalInterfaces");
    members.insert("url".to_owned(), json!("http://me/agents/a"));
    assert_eq!(value(&card(&again, "http://me/agents/a")), expected);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z \"\\\\\u{e9}]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{1,5}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// An object of the required members, some of the optional ones, and some that nobody knows or the other version does.
fn object(
    required: Value,
    optional: Vec<(&'static str, BoxedStrategy<Value>)>,
) -> BoxedStrategy<Value> {
    let foreign = prop_oneof![
        Just("kind"),
        Just("final"),
        Just("file"),
        Just("x"),
        Just("some_thing"),
        Just("bytes"),
        Just("mimeType")
    ];
    let optional: Vec<_> = optional
        .into_iter()
        .map(|(name, member)| {
            prop::option::of(member)
                .prop_map(move |value| value.map(|value| (name.to_owned(), value)))
        })
        .collect();
    let extra = prop::option::of((
        foreign,
        any_json().prop_filter("null is absent", |json| !json.is_null()),
    ));
    (optional, extra)
        .prop_map(move |(members, extra)| {
            let mut object = required.clone();
            let map = object.as_object_mut().unwrap();
            map.extend(members.into_iter().flatten());
            map.extend(extra.map(|(name, value)| (name.to_owned(), value)));
            object
        })
        .boxed()
}

fn metadata() -> BoxedStrategy<Value> {
    prop::collection::btree_map("[a-z]{1,4}", any_json(), 1..3)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
        .boxed()
}

fn word() -> BoxedStrategy<Value> {
    "[a-z/\u{e9}]{1,8}".prop_map(Value::from).boxed()
}

fn words() -> BoxedStrategy<Value> {
    prop::collection::vec(word(), 1..3)
        .prop_map(Value::from)
        .boxed()
}

fn part() -> BoxedStrategy<Value> {
    let content = prop_oneof![
        word().prop_map(|text| ("text", text)),
        Just(("raw", json!("AAEC"))),
        word().prop_map(|url| ("url", url)),
        any_json().prop_map(|data| ("data", data)),
    ];
    let around = object(
        json!({}),
        vec![
            ("metadata", metadata()),
            ("filename", word()),
            ("mediaType", word()),
        ],
    );
    (content, around)
        .prop_map(|((name, value), mut part)| {
            part.as_object_mut().unwrap().insert(name.to_owned(), value);
            part
        })
        .boxed()
}

fn parts() -> BoxedStrategy<Value> {
    prop::collection::vec(part(), 1..4)
        .prop_map(Value::from)
        .boxed()
}

fn with(
    name: &'static str,
    member: BoxedStrategy<Value>,
    object: BoxedStrategy<Value>,
) -> BoxedStrategy<Value> {
    (member, object)
        .prop_map(move |(member, mut object)| {
            object
                .as_object_mut()
                .unwrap()
                .insert(name.to_owned(), member);
            object
        })
        .boxed()
}

fn message() -> BoxedStrategy<Value> {
    let around = object(
        json!({"messageId": "m", "role": "ROLE_USER"}),
        vec![
            ("contextId", word()),
            ("metadata", metadata()),
            ("extensions", words()),
            ("referenceTaskIds", words()),
        ],
    );
    with("parts", parts(), around)
}

fn status() -> BoxedStrategy<Value> {
    let state = (1_u8..=8).prop_map(|number| value(&TaskState::from_number(number).unwrap()));
    let around = object(
        json!({}),
        vec![
            ("message", message()),
            ("timestamp", Just(json!("2026-01-01T00:00:00.000Z")).boxed()),
        ],
    );
    with("state", state.boxed(), around)
}

fn artifact() -> BoxedStrategy<Value> {
    let around = object(
        json!({"artifactId": "a"}),
        vec![
            ("name", word()),
            ("description", word()),
            ("metadata", metadata()),
            ("extensions", words()),
        ],
    );
    with("parts", parts(), around)
}

fn any_event() -> BoxedStrategy<Value> {
    let several = |items: BoxedStrategy<Value>| {
        prop::collection::vec(items, 1..3)
            .prop_map(Value::from)
            .boxed()
    };
    let task = with(
        "status",
        status(),
        object(
            json!({"id": "t"}),
            vec![
                ("contextId", word()),
                ("artifacts", several(artifact())),
                ("history", several(message())),
                ("metadata", metadata()),
            ],
        ),
    );
    let update = json!({"taskId": "t", "contextId": "c"});
    let status_update = with(
        "status",
        status(),
        object(update.clone(), vec![("metadata", metadata())]),
    );
    let artifact_update = with(
        "artifact",
        artifact(),
        object(
            update,
            vec![
                ("metadata", metadata()),
                ("append", Just(json!(true)).boxed()),
                ("lastChunk", Just(json!(true)).boxed()),
            ],
        ),
    );
    prop_oneof![
        task.prop_map(|task| json!({"task": task})),
        message().prop_map(|message| json!({"message": message})),
        status_update.prop_map(|update| json!({"statusUpdate": update})),
        artifact_update.prop_map(|update| json!({"artifactUpdate": update})),
    ]
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_is_lost_by_way_of_0_3(v10 in any_event()) {
        let read = StreamEvent::read(&v10.to_string()).unwrap();
        prop_assert_eq!(&value(&read), &v10);
        let v03 = serde_json::to_string(&event(&read)).unwrap();
        let back = read_event(&raw(&v03)).unwrap();
        prop_assert_eq!(&value(&back), &v10, "by way of {}", v03);
        let again: Value = serde_json::from_str(&v03).unwrap();
        prop_assert_eq!(value(&event(&back)), again);
    }
}

#[test]
fn a_message_alone_is_read() {
    let said = raw(
        r#"{"kind":"message","messageId":"m","role":"agent","parts":[{"kind":"text","text":"x"}]}"#,
    );
    assert_eq!(read_message(&said).unwrap().joined_text(), "x");
}
