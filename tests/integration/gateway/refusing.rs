//! Everything that is refused, and how.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use actix_web::test;
use archipel_kit::client::RequestBody;
use bytes::Bytes;
use futures_util::stream;
use serde_json::json as value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::world::{Node, TestGateway, assert_rpc_error, json};

/// Sends bytes as they are, and reads until the gateway closes.
async fn exchange(gateway: &TestGateway, request: &str) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[test]
async fn what_is_not_listed_does_not_exist() {
    let node = Node::start();
    let gateway = TestGateway::start(node.address, &[]);
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/v1/a2a/jsonrpc"),
        ("POST", "/api/a2a/jsonrpc"),
        ("PUT", "/agents/echo"),
        ("POST", "/v1/health"),
    ] {
        let answer = gateway
            .send(method, path, &[], RequestBody::empty())
            .await
            .unwrap();
        assert_eq!(
            json(answer).await,
            (404, value!({ "error": "not_found" })),
            "{method} {path}"
        );
    }
}

#[test]
async fn a_declared_body_over_the_limit_is_refused_unread() {
    let node = Node::start();
    let gateway = TestGateway::start(node.address, &[("GATEWAY_MAX_BODY_BYTES", "1024")]);
    let head = "POST /v1/a2a/jsonrpc HTTP/1.1\r\nhost: x\r\ncontent-length: 1025\r\n\r\n";
    let answer = exchange(&gateway, head).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(
        answer.contains(r#""code":-32700"#) && answer.contains("PAYLOAD_TOO_LARGE"),
        "{answer}"
    );
}

#[test]
async fn a_counted_body_over_the_limit_is_refused_while_it_arrives() {
    let mut node = Node::start();
    let gateway = TestGateway::start(node.address, &[("GATEWAY_MAX_BODY_BYTES", "1024")]);
    let pieces = stream::iter((0..3).map(|_| Ok(Bytes::from(vec![b'x'; 400]))));
    let answer = gateway
        .send(
            "POST",
            "/agents/echo",
            &[],
            RequestBody::stream(pieces, None),
        )
        .await
        .unwrap();
    assert_rpc_error(answer, 413, -32700, "PAYLOAD_TOO_LARGE").await;
    assert!(
        node.seen.try_recv().is_err(),
        "the node must never take a part for the whole"
    );
}

#[test]
async fn a_body_that_does_not_arrive_in_time_is_refused() {
    let node = Node::start();
    let gateway = TestGateway::start(node.address, &[("GATEWAY_REQUEST_TIMEOUT_MS", "100")]);
    let request = "POST /agents/echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc";
    let answer = exchange(&gateway, request).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[test]
async fn a_long_target_is_refused() {
    let node = Node::start();
    let gateway = TestGateway::start(node.address, &[("GATEWAY_MAX_URL_BYTES", "2048")]);
    let path = |length: usize| format!("/agents/{}", "x".repeat(length - "/agents/".len()));
    assert_eq!(gateway.get(&path(2048)).await.status.as_u16(), 200);
    let answer = gateway.get(&path(2049)).await;
    assert_eq!(
        json(answer).await,
        (414, value!({ "error": "uri_too_long" }))
    );
    let answer = gateway
        .send("POST", &path(2049), &[], RequestBody::empty())
        .await
        .unwrap();
    assert_rpc_error(answer, 414, -32000, "URI_TOO_LONG").await;
}

#[test]
async fn large_headers_are_refused() {
    let node = Node::start();
    let gateway = TestGateway::start(node.address, &[("GATEWAY_MAX_HEADER_BYTES", "4096")]);
    let long = "x".repeat(4096);
    assert_rpc_error(
        gateway.call(&[("x-long", &long)]).await,
        431,
        -32000,
        "HEADERS_TOO_LARGE",
    )
    .await;
}

#[test]
async fn unwanted_programs_are_refused() {
    let node = Node::start();
    let gateway = TestGateway::start(
        node.address,
        &[("GATEWAY_BLOCK_USER_AGENTS", "BadBot, scraper")],
    );
    let answer = gateway.call(&[("user-agent", "Mozilla (badbot/2)")]).await;
    assert_rpc_error(answer, 403, -32000, "USER_AGENT_BLOCKED").await;
    assert_eq!(gateway.call_status(&[("user-agent", "goodbot")]).await, 200);
    assert_eq!(gateway.call_status(&[]).await, 200);
}

#[test]
async fn a_node_that_is_away_is_503() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let gateway = TestGateway::start(nobody, &[]);
    let answer = gateway.call(&[]).await;
    assert_eq!(answer.headers.get("retry-after").unwrap(), "1");
    assert_rpc_error(answer, 503, -32000, "UPSTREAM_UNAVAILABLE").await;
    let answer = gateway.get("/agents/echo").await;
    assert_eq!(
        json(answer).await,
        (503, value!({ "error": "origin_unavailable" }))
    );
    assert_eq!(gateway.get("/readyz").await.status.as_u16(), 503);
    assert!(
        gateway
            .metrics()
            .await
            .contains(r#"archipel_gateway_upstream_failures_total{kind="connect"} 2"#)
    );
}

#[test]
async fn a_node_that_is_slow_is_504() {
    let node = Node::start();
    let gateway = TestGateway::start(
        node.address,
        &[("GATEWAY_UPSTREAM_FIRST_BYTE_TIMEOUT_MS", "50")],
    );
    let answer = gateway
        .send("POST", "/agents/never", &[], RequestBody::empty())
        .await
        .unwrap();
    assert_rpc_error(answer, 504, -32000, "UPSTREAM_TIMEOUT").await;
}

#[actix_web::test]
async fn a_node_that_switches_protocols_or_talks_no_http_is_broken() {
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        "no HTTP at all\r\n\r\n",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = TestGateway::start(listener.local_addr().unwrap(), &[]);
        actix_web::rt::spawn(async move {
            let (mut node, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _asked = node.read(&mut request).await.unwrap();
            node.write_all(answer.as_bytes()).await.unwrap();
        });
        assert_rpc_error(gateway.call(&[]).await, 502, -32000, "UPSTREAM_BROKEN").await;
    }
}
