//! The end of a gateway: first it says so, then streams end, then requests.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use actix_web::test;
use archipel_kit::client::RequestBody;
use futures_util::StreamExt as _;

use crate::world::{Node, TestGateway, json};

#[test]
async fn it_is_ready_while_the_node_answers() {
    let node = Node::start();
    let gateway = TestGateway::start(node.address, &[]);
    assert_eq!(json(gateway.get("/readyz").await).await.0, 200);
}

#[test]
async fn it_fails_readiness_then_ends_streams_then_itself() {
    let node = Node::start();
    let gateway = TestGateway::start(node.address, &[("GATEWAY_DRAIN_DELAY_MS", "300")]);
    let mut answer = gateway
        .send("POST", "/agents/stream", &[], RequestBody::empty())
        .await
        .unwrap();
    node.pieces.send("data: 1\n\n").await.unwrap();
    answer.body.next().await.unwrap().unwrap();

    let stop = gateway.stop.clone();
    let stopped = actix_rt::spawn(async move { stop.stop().await });
    tokio::task::yield_now().await;
    let (status, body) = json(gateway.get("/readyz").await).await;
    assert_eq!(
        (status, body),
        (
            503,
            serde_json::json!({ "ready": false, "reason": "draining" })
        )
    );
    assert_eq!(gateway.call_status(&[]).await, 200);

    assert!(
        answer.body.next().await.is_none(),
        "the stream ends cleanly"
    );
    node.pieces.closed().await;
    stopped.await.unwrap();
    assert!(
        gateway
            .send("GET", "/livez", &[], RequestBody::empty())
            .await
            .is_err()
    );
}
