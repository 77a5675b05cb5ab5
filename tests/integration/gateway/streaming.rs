//! Streams stream, both ways, and end when they should.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use actix_web::test;
use archipel_kit::client::{ClientError, RequestBody};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use crate::world::{Node, TestGateway};

#[test]
async fn each_event_is_passed_on_before_the_next_is_written() {
    let node = Node::start();
    let gateway = TestGateway::start(node.address, &[]);
    let mut answer = gateway
        .send("POST", "/agents/stream", &[], RequestBody::empty())
        .await
        .unwrap();
    assert_eq!(
        answer.headers.get("content-type").unwrap(),
        "text/event-stream"
    );
    for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
        node.pieces.send(event).await.unwrap();
        assert_eq!(answer.body.next().await.unwrap().unwrap(), event);
    }
    drop(node.pieces);
    assert!(answer.body.next().await.is_none());
}

#[test]
async fn a_client_that_leaves_ends_the_exchange_with_the_node() {
    let node = Node::start();
    let gateway = TestGateway::start(node.address, &[]);
    let mut answer = gateway
        .send("POST", "/agents/stream", &[], RequestBody::empty())
        .await
        .unwrap();
    node.pieces.send("data: 1\n\n").await.unwrap();
    answer.body.next().await.unwrap().unwrap();
    drop(answer);
    tokio::time::timeout(Duration::from_secs(10), node.pieces.closed())
        .await
        .unwrap();
}

#[test]
async fn a_stream_that_falls_silent_breaks_off() {
    let node = Node::start();
    let gateway = TestGateway::start(node.address, &[("GATEWAY_UPSTREAM_IDLE_TIMEOUT_MS", "100")]);
    let mut answer = gateway
        .send("POST", "/agents/stream", &[], RequestBody::empty())
        .await
        .unwrap();
    node.pieces.send("data: 1\n\n").await.unwrap();
    answer.body.next().await.unwrap().unwrap();
    assert!(matches!(
        answer.body.next().await,
        Some(Err(ClientError::Other(_)))
    ));
    node.pieces.closed().await;
    assert!(
        gateway
            .metrics()
            .await
            .contains(r#"archipel_gateway_upstream_failures_total{kind="timeout"} 1"#)
    );
}

#[test]
async fn large_bodies_are_passed_on_while_they_arrive() {
    let mut node = Node::start();
    let gateway = TestGateway::start(node.address, &[("GATEWAY_MAX_BODY_BYTES", "1048576")]);
    for length in [None, Some(1 << 20)] {
        let pieces = stream::iter((0..64).map(|_| Ok(Bytes::from(vec![b'x'; 16 * 1024]))));
        let body = RequestBody::stream(pieces, length);
        let answer = gateway
            .send("POST", "/agents/echo", &[], body)
            .await
            .unwrap();
        assert_eq!(answer.status.as_u16(), 200);
        assert_eq!(node.seen.recv().await.unwrap().body.len(), 1 << 20);
    }
}
