//! Nodes and clients at their worst: the right status each time, and nothing is left behind.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::{fs, time::Duration};

use actix_web::test;
use archipel_kit::client::RequestBody;
use futures_util::{StreamExt as _, future::join_all};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::world::{Node, TestGateway, assert_rpc_error};

/// A node that does the same to every connection: reads a request if `reads`, writes, and then closes, resets or stays.
async fn bad_node(answer: &'static str, ending: Ending) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    actix_rt::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _read = stream.read(&mut [0; 4096]).await;
            let _written = stream.write_all(answer.as_bytes()).await;
            match ending {
                Ending::Closes => {}
                Ending::Resets => stream.set_zero_linger().unwrap(),
                Ending::Stays => kept.push(stream),
            }
        }
    });
    address
}

#[derive(Clone, Copy)]
enum Ending {
    Closes,
    Resets,
    Stays,
}

/// Descriptors and threads of this process.
fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
async fn a_node_that_fails_before_its_head_has_the_right_status() {
    let check = async |answer, ending, status, reason| {
        let node = bad_node(answer, ending).await;
        let gateway =
            TestGateway::start(node, &[("GATEWAY_UPSTREAM_FIRST_BYTE_TIMEOUT_MS", "100")]);
        assert_rpc_error(gateway.call(&[]).await, status, -32000, reason).await;
        assert!(
            gateway
                .metrics()
                .await
                .contains("archipel_gateway_requests_in_flight 0")
        );
    };
    check("", Ending::Closes, 502, "UPSTREAM_BROKEN").await;
    check("", Ending::Resets, 502, "UPSTREAM_BROKEN").await;
    check("", Ending::Stays, 504, "UPSTREAM_TIMEOUT").await;
    check("garbage\r\n\r\n", Ending::Closes, 502, "UPSTREAM_BROKEN").await;
    check(
        "HTTP/1.1 200 OK\r\ncontent-le",
        Ending::Closes,
        502,
        "UPSTREAM_BROKEN",
    )
    .await;
    check(
        "HTTP/1.1 200 OK\r\ncontent-le",
        Ending::Stays,
        504,
        "UPSTREAM_TIMEOUT",
    )
    .await;
    let both = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx";
    check(both, Ending::Closes, 502, "UPSTREAM_BROKEN").await;
}

#[test]
async fn a_node_that_fails_within_its_answer_breaks_it_off() {
    for (answer, ending) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
            Ending::Closes,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
            Ending::Resets,
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            Ending::Closes,
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhalf\r\n",
            Ending::Stays,
        ),
    ] {
        let node = bad_node(answer, ending).await;
        let gateway = TestGateway::start(node, &[]);
        let outcome = match gateway.send("POST", "/agents/echo", &[], "{}".into()).await {
            Ok(answer) if answer.status.as_u16() == 200 => answer.read_all(100).await.is_err(),
            // The break came before the head was passed on.
            other => other.is_err() || other.is_ok_and(|answer| answer.status.as_u16() == 502),
        };
        assert!(outcome, "a part must not look like the whole: {answer:?}");
        gateway
            .wait_for("archipel_gateway_requests_in_flight 0")
            .await;
    }
}

#[test]
async fn clients_that_leave_or_stall_cost_nothing_for_long() {
    let node = Node::start();
    let gateway = TestGateway::start(node.address, &[("GATEWAY_REQUEST_TIMEOUT_MS", "300")]);
    assert_eq!(gateway.call_status(&[]).await, 200);
    let before = descriptors();
    let address = gateway.address;
    let begin = |bytes: &'static [u8]| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    };
    let slow: [&[u8]; 4] = [
        b"",
        b"P",
        b"POST /agents/echo HTTP/1.1\r\nhost: x\r\nx-slow",
        b"POST /agents/echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n{",
    ];
    let clients = join_all((0..200).map(|index| begin(slow[index % 4]))).await;
    // Others are served meanwhile.
    assert_eq!(gateway.call_status(&[]).await, 200);
    let closed = clients.into_iter().map(|mut stream| async move {
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        tokio::time::timeout(Duration::from_secs(20), reading)
            .await
            .is_ok()
    });
    assert!(join_all(closed).await.into_iter().all(|closed| closed));
    wait_for_descriptors(before).await;
    assert_eq!(gateway.call_status(&[]).await, 200);
}

async fn wait_for_descriptors(before: usize) {
    for _ in 0..500 {
        if descriptors() <= before + 20 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        descriptors() <= before + 20,
        "{} of {before}",
        descriptors()
    );
}

#[test]
async fn half_closed_clients_end_their_exchange() {
    let node = Node::start();
    let gateway = TestGateway::start(node.address, &[]);
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream
        .write_all(b"POST /agents/never HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
        .await
        .unwrap();
    gateway
        .wait_for("archipel_gateway_requests_in_flight 1")
        .await;
    stream.shutdown().await.unwrap();
    gateway
        .wait_for("archipel_gateway_requests_in_flight 0")
        .await;
}

#[test]
async fn idle_streams_do_not_keep_others_waiting() {
    /// As many as the usual bound of descriptors of a test process allows.
    const STREAMS: usize = 200;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = listener.local_addr().unwrap();
    actix_rt::spawn(async move {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap_or_default();
            if request
                .get(..length)
                .is_some_and(|text| text.starts_with(b"POST /agents/s"))
            {
                let _written = stream.write_all(head.as_bytes()).await;
                kept.push(stream);
            } else {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                let _written = stream.write_all(answer).await;
            }
        }
    });
    let gateway = TestGateway::start(node, &[]);
    assert_eq!(gateway.call_status(&[]).await, 200);
    let before = descriptors();
    let streams = (0..STREAMS).map(|_| async {
        let answer = gateway
            .send("POST", "/agents/s", &[], RequestBody::empty())
            .await;
        let mut answer = answer.unwrap();
        assert_eq!(answer.body.next().await.unwrap().unwrap(), "data: 1\n\n");
        answer
    });
    let streams = join_all(streams).await;
    for _ in 0..20 {
        assert_eq!(gateway.call_status(&[]).await, 200);
    }
    drop(streams);
    gateway
        .wait_for("archipel_gateway_requests_in_flight 0")
        .await;
    wait_for_descriptors(before).await;
}
