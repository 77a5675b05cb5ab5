//! Many at once: streams in which nothing happens, and clients that never finish. Others are served, and nothing is left.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{net::SocketAddr, time::Duration};

use actix_web::test;
use archipel_tests::mesh::within;
use futures_util::{StreamExt as _, stream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::process::GatewayProcess;

/// Connections that are opened at the same moment.
const AT_ONCE: usize = 128;
const STREAM: &str = "POST /agents/stream HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
const CALL: &str =
    "POST /agents/echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";

/// A node that begins streams and says no more, and answers everything else.
async fn quiet_node() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    actix_rt::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            actix_rt::spawn(answer(stream));
        }
    });
    address
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut received = Vec::new();
    loop {
        while !received.ends_with(b"\r\n\r\n{}") {
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
        }
        let answer = if received.starts_with(b"POST /agents/stream") {
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"
        } else {
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
        };
        stream.write_all(answer.as_bytes()).await?;
        received.clear();
    }
}

async fn ask(address: SocketAddr, request: &str, end: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    while !received.ends_with(end) {
        let read = within("an answer", stream.read_buf(&mut received)).await;
        assert!(read.unwrap() > 0, "{}", received.escape_ascii());
    }
    assert!(
        received.starts_with(b"HTTP/1.1 200"),
        "{}",
        received.escape_ascii()
    );
    stream
}

/// Opens streams and calls beside them, closes all, and gives the memory that the gateway has then.
async fn streams(gateway: &GatewayProcess, number: usize) -> u64 {
    let before = gateway.descriptors();
    let address = gateway.address;
    let opening = stream::iter(0..number).map(|_| ask(address, STREAM, b"data: 1\n\n\r\n"));
    let open: Vec<TcpStream> = opening.buffer_unordered(AT_ONCE).collect().await;
    assert_eq!(open.len(), number);
    // Some may have taken connections that were there.
    assert!(gateway.descriptors() + 20 >= before + 2 * number);
    for _ in 0..20 {
        ask(address, CALL, b"{}").await;
    }
    drop(open);
    // What is kept for further calls is not much.
    gateway.until_descriptors(before + 20).await;
    gateway.memory()
}

#[test]
async fn idle_streams_keep_nobody_waiting_and_leave_nothing_behind() {
    /// The whole ten thousand are measured by tests/load: they are all the descriptors that a process usually has.
    const STREAMS: usize = 4000;
    let gateway = GatewayProcess::start(quiet_node().await, &[("GATEWAY_WORKERS", "2")]);
    ask(gateway.address, CALL, b"{}").await;
    let after_first = streams(&gateway, STREAMS).await;
    let after_second = streams(&gateway, STREAMS).await;
    assert!(
        after_second <= after_first + after_first / 2,
        "{after_first} KiB, then {after_second} KiB"
    );
}

#[test]
async fn clients_that_never_finish_are_closed_and_others_served() {
    const CLIENTS: usize = 2000;
    let slow = [
        "",
        "P",
        "POST /agents/echo HTTP/1.1\r\nhost: x\r\nx-slow",
        "POST /agents/echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n{",
        // Not HTTP at all, nor TLS.
        "\x16\x03\x01\x02\x00\x01\x00\x01",
    ];
    let variables = [
        ("GATEWAY_REQUEST_TIMEOUT_MS", "1500"),
        ("GATEWAY_WORKERS", "2"),
    ];
    let gateway = GatewayProcess::start(quiet_node().await, &variables);
    ask(gateway.address, CALL, b"{}").await;
    let before = gateway.descriptors();
    let address = gateway.address;
    let opening = stream::iter(slow.into_iter().cycle().take(CLIENTS)).map(async |text| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    });
    let open: Vec<TcpStream> = opening.buffer_unordered(AT_ONCE).collect().await;
    for _ in 0..20 {
        ask(address, CALL, b"{}").await;
    }
    // One that trickles gains no time by it.
    let mut trickle = TcpStream::connect(address).await.unwrap();
    trickle.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    let (mut told, mut tell) = trickle.split();
    let mut answer = Vec::new();
    let trickling = async {
        while tell.write_all(b"x: y\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let read = async { told.read_to_end(&mut answer).await };
    tokio::select! {
        () = within("a refusal", trickling) => {}
        _ = within("a refusal", read) => {}
    }
    for mut stream in open {
        let mut answer = Vec::new();
        // Closed or reset, with an answer or without.
        let _ended = within("the end of a connection", stream.read_to_end(&mut answer)).await;
        assert!(
            !answer.starts_with(b"HTTP/1.1 2"),
            "{}",
            answer.escape_ascii()
        );
    }
    gateway.until_descriptors(before + 20).await;
    ask(address, CALL, b"{}").await;
}
