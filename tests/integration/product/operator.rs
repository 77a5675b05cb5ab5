//! What operators and their machines ask a node: whether it lives, what it has counted; and the bus from outside.

use archipel_tests::mesh::{TestNode, say};
use serde_json::json;

use crate::ECHO;
use crate::bus::{CHANNEL, SECRET, message};

#[tokio::test]
async fn a_node_says_that_it_lives_and_is_ready() {
    let node = TestNode::start(|_| {});
    let ready = node.stranger().get("/readyz").await;
    let agents = json!({"away": 0, "left_alone": 0});
    assert_eq!(
        (ready.status, ready.json()),
        (
            200,
            json!({"ok": true, "missing": [], "away": [], "agents": agents})
        )
    );
    for path in ["/livez", "/api/health"] {
        let answer = node.stranger().get(path).await;
        assert_eq!(
            (answer.status, answer.json()),
            (200, json!({"ok": true})),
            "{path}"
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    }
}

#[tokio::test]
async fn a_node_tells_its_operator_what_it_has_counted() {
    let node = TestNode::start(|_| {});
    node.stranger()
        .get("/metrics")
        .await
        .assert_gate(401, "Unauthorized");
    for _ in 0..3 {
        node.client().call(ECHO, "SendMessage", say("hello")).await;
    }
    node.client()
        .refused(ECHO, "GetTask", json!({"id": "x"}))
        .await;
    node.client()
        .refused(ECHO, "NoSuchMethod-made-up", json!({}))
        .await;
    node.stranger()
        .post_rpc(ECHO, "SendMessage", say("hello"))
        .await;
    let answer = node.client().get("/metrics").await;
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    let has = |line: &str| {
        assert!(
            answer.text().lines().any(|one| one == line),
            "no {line} in {answer}"
        )
    };
    has("archipel_tasks_opened_total 3");
    has("archipel_tasks_ended_total{state=\"completed\"} 3");
    has("archipel_calls_total{method=\"SendMessage\",outcome=\"result\"} 3");
    has("archipel_calls_total{method=\"GetTask\",outcome=\"error\"} 1");
    has("archipel_calls_total{method=\"other\",outcome=\"error\"} 1");
    has("archipel_calls_total{method=\"other\",outcome=\"refused\"} 1");
    // What callers choose never becomes a label.
    assert!(!answer.text().contains("made-up"));
}

#[tokio::test]
async fn a_bus_message_from_outside_must_be_genuine_fresh_and_new() {
    let node = TestNode::start(|config| config.add(&format!("bus.secret = \"{SECRET}\"")));
    let path = format!("/api/mesh/bus/{CHANNEL}");
    let check = async |wire: String, reason: &str| {
        let answer = node.client().post(&path, wire).await;
        let expected = json!({"error": "bus_message_refused", "reason": reason});
        assert_eq!((answer.status, answer.json()), (403, expected));
    };
    let sealed = message(0, CHANNEL, Some(SECRET));
    check(message(0, CHANNEL, None), "unsigned").await;
    check(
        message(0, CHANNEL, Some("another-secret-0123456789-abcdefghij")),
        "bad_signature",
    )
    .await;
    check(
        message(0, "hive:agent:status", Some(SECRET)),
        "bad_signature",
    )
    .await;
    check(sealed.replace("Echo", "Other"), "bad_signature").await;
    check(message(3600, CHANNEL, Some(SECRET)), "stale").await;
    check(message(-3600, CHANNEL, Some(SECRET)), "stale").await;
    check("{".to_owned(), "malformed").await;
    let answer = node.client().post(&path, sealed.clone()).await;
    assert_eq!(answer.status, 202, "{answer}");
    assert_eq!(answer.json()["accepted"], true);
    check(sealed, "repeated").await;
    // Only the operator's own machines bring messages at all.
    let stranger = node
        .stranger()
        .post(&path, message(0, CHANNEL, Some(SECRET)))
        .await;
    stranger.assert_gate(401, "Unauthorized");
}

#[tokio::test]
async fn a_path_says_when_the_method_is_wrong_and_takes_a_slash_at_its_end() {
    let node = TestNode::start(|_| {});
    for path in [ECHO, "/api/a2a/jsonrpc", "/peers/beta/agents/echo"] {
        let answer = node.client().get(path).await;
        answer.assert_gate(405, "Method Not Allowed");
    }
    for path in [
        ECHO,
        "/api/a2a/jsonrpc",
        "/api/a2a/jsonrpc/public",
        "/api/a2a/federated/jsonrpc",
    ] {
        for end in ["", "/"] {
            let path = format!("{path}{end}");
            let result = node.client().call(&path, "SendMessage", say("hi")).await;
            assert!(result["task"]["id"].is_string(), "{path}: {result}");
        }
    }
}
