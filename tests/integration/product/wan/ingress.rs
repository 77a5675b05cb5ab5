//! `POST /api/mesh/wan/ingress`: an envelope is taken once, whatever happens to the node, and the site is told of it once.

use archipel_tests::mesh::{Client, NodeProcess, TestNode};
use archipel_tests::services::RedisServer;
use http::Method;
use serde_json::{Value, json};

use crate::NODE;

pub(super) const INGRESS: &str = "/api/mesh/wan/ingress";

pub(super) fn envelope(correlation_id: &str) -> Value {
    json!({
        "v": 1,
        "correlationId": correlation_id,
        "sourceOrigin": "https://edge.example",
        "payload": {"n": 1},
    })
}

pub(super) async fn bring(client: &Client, correlation_id: &str) -> Value {
    let answer = client
        .post(INGRESS, envelope(correlation_id).to_string())
        .await;
    assert_eq!(answer.status, 202, "{answer}");
    assert_eq!(answer.json()["correlationId"], correlation_id, "{answer}");
    answer.json()["duplicate"].clone()
}

#[tokio::test]
async fn an_envelope_is_told_on_the_bus_once() {
    let node = TestNode::start(|_| {});
    let mut watched = node
        .client()
        .rest_stream(Method::GET, "/api/events?type=mesh.wan.envelope", None)
        .await;
    let told = [
        bring(&node.client(), "corr-0001").await,
        bring(&node.client(), "corr-0001").await,
        bring(&node.client(), "corr-0002").await,
    ];
    assert_eq!(told, [Value::Null, true.into(), Value::Null]);
    let seen = [watched.event().await, watched.event().await];
    for (event, correlation_id) in seen.iter().zip(["corr-0001", "corr-0002"]) {
        assert_eq!(event["correlationId"], correlation_id, "{event}");
        assert_eq!(event["payload"], envelope(correlation_id), "{event}");
    }
    // By the name of its message, too.
    let named = node.client().with("nats-msg-id", "message-1");
    assert_eq!(bring(&named, "corr-0003").await, Value::Null);
    assert_eq!(bring(&named, "corr-0004").await, true);
}

#[tokio::test]
async fn what_was_accepted_is_known_after_a_crash() {
    let mut node = NodeProcess::start(NODE, |_| {}).await;
    assert_eq!(bring(&node.client(), "corr-0001").await, Value::Null);
    node.kill().await;
    node.restart().await;
    assert_eq!(bring(&node.client(), "corr-0001").await, true);
}

#[tokio::test]
async fn replicas_take_an_envelope_once_and_none_without_their_store() {
    let mut redis = RedisServer::start().unwrap();
    let start = || {
        TestNode::start(|config| {
            config.add(&format!("[redis]\nurl = \"{}\"", redis.url()));
        })
    };
    let (one, other) = (start(), start());
    assert_eq!(bring(&one.client(), "corr-0001").await, Value::Null);
    assert_eq!(bring(&other.client(), "corr-0001").await, true);
    redis.kill().unwrap();
    let body = envelope("corr-0002").to_string();
    let refused = one.client().post(INGRESS, body).await;
    assert_eq!(refused.status, 503, "{refused}");
    assert_eq!(refused.json(), json!({"error": "bus_unavailable"}));
    assert!(refused.header("retry-after").is_some());
}

#[tokio::test]
async fn who_brings_it_and_how_large_it_is_come_first() {
    let node = TestNode::start(|_| {});
    let body = envelope("corr-0001").to_string();
    let refused = node.stranger().post(INGRESS, body).await;
    refused.assert_gate(401, "Unauthorized");
    let mut large = envelope("corr-0001");
    large["payload"]["text"] = "x".repeat(1_048_576).into();
    let refused = node.client().post(INGRESS, large.to_string()).await;
    assert_eq!(refused.status, 413, "{refused}");
    assert_eq!(refused.json(), json!({"error": "payload_too_large"}));
    node.client()
        .get(INGRESS)
        .await
        .assert_gate(405, "Method Not Allowed");
}
