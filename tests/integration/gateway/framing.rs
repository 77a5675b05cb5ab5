//! Messages that two servers may read differently, and parts of HTTP that are seldom used.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use actix_web::test;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::world::{Node, TestGateway};

/// Sends bytes as they are, and reads what comes until the gateway closes or falls silent.
pub(crate) async fn exchange(gateway: &TestGateway, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    read_what_comes(&mut stream).await
}

pub(crate) async fn read_what_comes(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    loop {
        let mut piece = [0; 4096];
        match tokio::time::timeout(Duration::from_millis(700), stream.read(&mut piece)).await {
            Ok(Ok(length)) if length > 0 => answer.extend_from_slice(piece.get(..length).unwrap()),
            _ => return String::from_utf8_lossy(&answer).into_owned(),
        }
    }
}

#[test]
async fn what_could_smuggle_a_second_request_never_reaches_the_node() {
    let mut node = Node::start();
    let gateway = TestGateway::start(node.address, &[]);
    let second = "GET /agents/smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    for head in [
        "content-length: 4\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 4",
        "content-length: 4\r\ncontent-length: 5",
        "content-length: 4, 4",
        "content-length: +4",
        "content-length: 0x4",
        "content-length : 4",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: identity\r\ntransfer-encoding: chunked",
        "transfer-encoding:\x0bchunked",
        "x: y\r\n content-length: 4",
        "host: y",
    ] {
        let request =
            format!("POST /agents/echo HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n0\r\n\r\n{second}");
        let answer = exchange(&gateway, request.as_bytes()).await;
        let statuses = answer.matches("HTTP/1.1 ").count();
        assert!(
            answer.starts_with("HTTP/1.1 400") && statuses == 1,
            "{head:?}: {answer}"
        );
    }
    assert_eq!(node.count(), 0);
}

#[test]
async fn a_broken_chunk_ends_the_exchange() {
    let mut node = Node::start();
    let gateway = TestGateway::start(node.address, &[]);
    let head = "POST /agents/echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    for chunks in [
        "zz\r\n{}\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\n{}",
        "2\r\n{}XX0\r\n\r\n",
    ] {
        let answer = exchange(&gateway, format!("{head}{chunks}").as_bytes()).await;
        assert!(!answer.contains(" 200 "), "{chunks:?}: {answer}");
    }
    assert_eq!(node.count(), 0);
}

#[test]
async fn trailers_are_taken_and_the_connection_goes_on() {
    let mut node = Node::start();
    let gateway = TestGateway::start(node.address, &[]);
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let chunked = "POST /agents/echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\n{}\r\n0\r\nx-sum: 1\r\n\r\n";
    stream.write_all(chunked.as_bytes()).await.unwrap();
    let answer = read_what_comes(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let seen = node.seen.recv().await.unwrap();
    assert_eq!(
        (seen.body.as_ref(), seen.header("x-sum")),
        (&b"{}"[..], None)
    );
    stream
        .write_all(b"GET /agents/echo HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let answer = read_what_comes(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
async fn a_client_that_asks_first_is_told_before_it_sends() {
    let mut node = Node::start();
    let gateway = TestGateway::start(node.address, &[("GATEWAY_MAX_BODY_BYTES", "1024")]);
    let head = |length: usize| {
        format!(
            "POST /agents/echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let answer = exchange(&gateway, head(1025).as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 413") && answer.contains("PAYLOAD_TOO_LARGE"),
        "{answer}"
    );
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(head(2).as_bytes()).await.unwrap();
    let answer = read_what_comes(&mut stream).await;
    assert_eq!(answer, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{}").await.unwrap();
    let answer = read_what_comes(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(node.seen.recv().await.unwrap().body.as_ref(), b"{}");
}

#[test]
async fn head_is_answered_without_a_body_and_the_connection_goes_on() {
    let node = Node::start();
    let gateway = TestGateway::start(node.address, &[]);
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    for path in ["/.well-known/agent-card.json", "/v1/health", "/agents/echo"] {
        let request = format!("HEAD {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_what_comes(&mut stream).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"),
            "{path}: {answer}"
        );
    }
}

#[test]
async fn http_2_without_tls_is_served_where_it_is_allowed() {
    let node = Node::start();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let gateway = TestGateway::start(node.address, &[("GATEWAY_HTTP2_WITHOUT_TLS", "true")]);
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(preface).await.unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[3], 4, "the server's settings");
    let without = TestGateway::start(node.address, &[]);
    let answer = exchange(&without, preface).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
        "{answer}"
    );
    let answer = exchange(&gateway, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
async fn a_proxy_header_tells_the_client() {
    let mut node = Node::start();
    let gateway = TestGateway::start(
        node.address,
        &[
            ("GATEWAY_PROXY_HEADER", "required"),
            ("GATEWAY_TRUSTED_PROXIES", "127.0.0.1/32"),
            ("GATEWAY_RATE_LIMIT_PER_MIN", "1"),
        ],
    );
    let request = "GET /agents/echo HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 6.6.6.6\r\n\r\n";
    let told = |client: &str| format!("PROXY TCP4 {client} 127.0.0.1 4711 443\r\n{request}");
    for (client, status) in [
        ("192.0.2.1", "200"),
        ("192.0.2.1", "429"),
        ("192.0.2.2", "200"),
    ] {
        let answer = exchange(&gateway, told(client).as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
    let seen = node.seen.recv().await.unwrap();
    assert_eq!(seen.header("x-forwarded-for").as_deref(), Some("192.0.2.1"));
    let mut two =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x03\x7f\0\0\x01\x12\x67\x01\xbb".to_vec();
    two.extend_from_slice(request.as_bytes());
    let answer = exchange(&gateway, &two).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(exchange(&gateway, request.as_bytes()).await, "");
}
