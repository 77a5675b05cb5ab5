//! The worker: envelopes that came are brought to a webhook, until it accepts them or they are given up.

use archipel_tests::mesh::{FakeAgent, TestNode, until};
use serde_json::{Value, json};

use super::ingress::{bring, envelope};

const BEARER: &str = "bearer-of-the-webhook";

fn start(receiver: &FakeAgent) -> TestNode {
    TestNode::start(|config| {
        config.add(&format!(
            "[wan]\nworker = \"webhook\"\nwebhook_url = \"{}/hook\"\nwebhook_bearer = \"{BEARER}\"\n\
             webhook_retry = \"100ms\"\nwebhook_attempts = 2",
            receiver.origin()
        ));
    })
}

async fn dead(node: &TestNode) -> Vec<Value> {
    let list = node.client().get("/api/mesh/wan/dead").await.json();
    list["dead"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_envelope_is_brought_until_it_is_accepted() {
    let mut receiver = FakeAgent::start();
    let node = start(&receiver);
    let traced = node.client().with("traceparent", "00-trace");
    bring(&traced, "corr-0001").await;
    let first = receiver.call().await;
    assert_eq!(first.path, "/hook");
    let authorization = format!("Bearer {BEARER}");
    assert_eq!(first.header("authorization"), Some(authorization.as_str()));
    assert_eq!(first.header("traceparent"), Some("00-trace"));
    let key = first.header("idempotency-key").unwrap().to_owned();
    let body = first.body().clone();
    assert_eq!(body["schema"], "hive-mesh-wan-delivery-v1", "{body}");
    assert_eq!(body["redisEventId"], key, "{body}");
    assert_eq!(body["correlationId"], "corr-0001", "{body}");
    assert_eq!(body["envelope"], envelope("corr-0001"), "{body}");
    first.answer_raw(503, "text/plain", "");
    let second = receiver.call().await;
    assert_eq!(second.header("idempotency-key"), Some(key.as_str()));
    second.answer_raw(204, "text/plain", "");
    until("nothing to wait", async || {
        let status = node.client().get("/api/mesh/wan").await.json();
        (status["inbox"]["waiting"] == 0).then_some(())
    })
    .await;
    assert_eq!(dead(&node).await, Vec::<Value>::new());
}

#[tokio::test]
async fn what_is_given_up_is_kept_and_can_be_brought_again() {
    let mut receiver = FakeAgent::start();
    let node = start(&receiver);
    bring(&node.client(), "corr-0001").await;
    for _ in 0..2 {
        receiver.call().await.answer_raw(500, "text/plain", "");
    }
    let id = until("a dead envelope", async || {
        let dead = dead(&node).await;
        Some(dead.first()?["id"].as_str().unwrap().to_owned())
    })
    .await;
    let path = format!("/api/mesh/wan/dead/{id}");
    let shown = node.client().get(&path).await.json();
    assert_eq!(shown["correlationId"], "corr-0001", "{shown}");
    let reason = shown["reason"].as_str().unwrap();
    assert!(reason.contains("failed 2 times"), "{shown}");
    let kept: Value = serde_json::from_str(shown["body"].as_str().unwrap()).unwrap();
    assert_eq!(kept, envelope("corr-0001"));
    let retried = node.client().post(&format!("{path}/retry"), "").await;
    assert_eq!(
        retried.json(),
        json!({"id": id, "retried": true, "dropped": false})
    );
    // It is refused for good now.
    receiver.call().await.answer_raw(404, "text/plain", "");
    until("the envelope among the dead again", async || {
        (dead(&node).await.len() == 1).then_some(())
    })
    .await;
    let dropped = node.client().rest(http::Method::DELETE, &path, None).await;
    assert_eq!(dropped.status, 200, "{dropped}");
    assert_eq!(dead(&node).await, Vec::<Value>::new());
    let gone = node.client().get(&path).await;
    gone.assert_gate(404, "Not Found");
    node.client()
        .get("/api/mesh/wan/dead/nonsense")
        .await
        .assert_gate(400, "Bad Request");
    node.stranger()
        .get(&path)
        .await
        .assert_gate(401, "Unauthorized");
}
