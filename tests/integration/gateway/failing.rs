//! Nodes and clients at their worst: the right status each time, and nothing is left behind.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use actix_web::test;
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
