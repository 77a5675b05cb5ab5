//! Events read and written, and the paths of what is wrong with them.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use serde_json::json;

use super::*;

const WHEN: &str = "2026-01-01T00:00:00.000Z";

/// Reads a system event: it must be written as it was read, or the paths must be these.
fn check(kind: &str, payload: Value, expected: &[&str]) {
    let value = json!({"type": kind, "payload": payload, "timestamp": WHEN});
    match SystemEvent::parse(&value) {
        Ok(event) => {
            assert!(expected.is_empty(), "{value}");
            assert_eq!(Value::Object(Event::from(event).to_members()), value);
        }
        Err(invalid) => assert_eq!(invalid.paths, expected, "{value}"),
    }
}

#[test]
fn reads_and_writes_every_type() {
    for kind in [
        "agent.created",
        "agent.deleted",
        "agent.started",
        "agent.stopped",
        "agent.paused",
        "agent.resumed",
    ] {
        check(kind, json!({"agentId": "a", "name": "n"}), &[]);
    }
    check("model.pulled", json!({"modelName": "m"}), &[]);
    check("backup.completed", json!({"backupId": "b"}), &[]);
    check(
        "agent.imported",
        json!({"agentId": "a", "name": "n", "sourceType": "github"}),
        &[],
    );
    check(
        "agent.imported",
        json!({"agentId": "a", "name": "n", "sourceType": "x", "recordedSource": "url-import"}),
        &[],
    );
    check(
        "mesh.wan.envelope",
        json!({"v": 1, "correlationId": "corr-0001", "sourceOrigin": "urn:x", "payload": {"n": 1}}),
        &[],
    );
}

#[test]
fn names_every_offending_member() {
    check("agent.exploded", json!({}), &["type"]);
    check("agent.created", json!(null), &["payload"]);
    check(
        "agent.created",
        json!({}),
        &["payload.agentId", "payload.name"],
    );
    check(
        "agent.created",
        json!({"agentId": "a".repeat(129), "name": "n".repeat(513)}),
        &["payload.agentId", "payload.name"],
    );
    check(
        "model.pulled",
        json!({"modelName": "m".repeat(513)}),
        &["payload.modelName"],
    );
    check(
        "backup.completed",
        json!({"backupId": "b".repeat(65)}),
        &["payload.backupId"],
    );
    check(
        "agent.imported",
        json!({"agentId": "a", "name": "n", "sourceType": "", "recordedSource": null}),
        &["payload.sourceType", "payload.recordedSource"],
    );
    check(
        "mesh.wan.envelope",
        json!({"v": 1, "correlationId": "short", "sourceOrigin": "urn:x", "more": 1}),
        &["payload.correlationId", "payload"],
    );
}

#[test]
fn points_at_a_pause_as_the_peers_do() {
    check(
        "agent.paused",
        json!({"agentId": "", "name": "n"}),
        &["payload.agentId"],
    );
    check("agent.paused", json!({"name": "n"}), &["payload"]);
    check(
        "agent.paused",
        json!({"agentId": "", "name": "n", "reason": "idle"}),
        &["payload"],
    );
}

#[test]
fn the_frame_of_a_system_event_is_checked() {
    let paths = |value: Value| SystemEvent::parse(&value).unwrap_err().paths;
    assert_eq!(paths(json!([])), [""]);
    assert_eq!(paths(json!({"payload": {}})), ["type"]);
    assert_eq!(
        paths(json!({"type": "model.pulled", "payload": {}, "timestamp": 7})),
        ["payload.modelName", "timestamp"]
    );
}

#[test]
fn a_status_is_checked() {
    let status = |member: &str, value: Value| {
        let mut status = json!({"agentId": "a", "status": "ready", "timestamp": WHEN});
        status
            .as_object_mut()
            .unwrap()
            .insert(member.to_owned(), value);
        AgentStatus::parse(&status)
            .map(|read| assert_eq!(Value::Object(Event::from(read).to_members()), status))
            .map_err(|invalid| invalid.paths)
    };
    for state in ["running", "ready", "paused", "stopped"] {
        assert_eq!(status("status", json!(state)), Ok(()));
    }
    assert_eq!(status("instanceId", json!("i".repeat(256))), Ok(()));
    for (member, value) in [
        ("agentId", json!("")),
        ("status", json!("error")),
        ("timestamp", json!("yesterday")),
        ("instanceId", json!("")),
        ("instanceId", json!(null)),
        ("instanceId", json!("i".repeat(257))),
    ] {
        assert_eq!(status(member, value), Err(vec![member.to_owned()]));
    }
}
