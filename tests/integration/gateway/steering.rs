//! The operator's listener.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use actix_web::test;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    framing::read_what_comes,
    world::{Node, TestGateway, assert_rpc_error, json},
};

fn start(node: &Node) -> TestGateway {
    TestGateway::start(
        node.address,
        &[
            ("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0"),
            ("GATEWAY_RATE_LIMIT_PER_MIN", "60"),
            ("GATEWAY_RATE_LIMIT_BURST", "3"),
            (
                "GATEWAY_UPSTREAM_AUTH_SECRET",
                "0123456789abcdef0123456789abcdef",
            ),
        ],
    )
}

#[test]
async fn it_shows_configuration_nodes_and_limits_and_no_secret() {
    let node = Node::start();
    let gateway = start(&node);
    assert_eq!(gateway.call_status(&[]).await, 200);
    let text = gateway.admin("GET", "/config", "").await;
    let text = String::from_utf8(text.read_all(1 << 20).await.unwrap().to_vec()).unwrap();
    assert!(text.contains("rate_limit_burst: 3"), "{text}");
    assert!(!text.contains("0123456789abcdef"), "{text}");

    let (_, upstreams) = json(gateway.admin("GET", "/upstreams", "").await).await;
    assert_eq!(
        upstreams.pointer("/upstreams/0/breaker").unwrap(),
        "passing"
    );
    assert_eq!(upstreams.pointer("/upstreams/0/asked").unwrap(), true);

    let (_, limit) = json(gateway.admin("GET", "/limits?key=127.0.0.1", "").await).await;
    assert_eq!(
        limit.pointer("/local/fullInSeconds").unwrap(),
        1.0,
        "{limit}"
    );
    assert_eq!(gateway.admin("GET", "/else", "").await.status.as_u16(), 404);
}

#[test]
async fn it_closes_opens_and_drains() {
    let node = Node::start();
    let gateway = start(&node);
    gateway.admin("POST", "/close", "").await;
    assert_rpc_error(gateway.call(&[]).await, 503, -32000, "CLOSED").await;
    gateway.admin("POST", "/open", "").await;
    assert_eq!(gateway.call_status(&[]).await, 200);
    let (status, answer) = json(gateway.admin("POST", "/reload", "").await).await;
    assert_eq!(
        (status, answer.get("reload").unwrap().as_str()),
        (200, Some("same"))
    );
    let answer = gateway.admin("PUT", "/log-level", "no=such=level").await;
    assert_eq!(answer.status.as_u16(), 400);
    let (status, _) = json(gateway.admin("POST", "/drain", "").await).await;
    assert_eq!(status, 202);
    for _ in 0..200 {
        if TcpStream::connect(gateway.address).await.is_err() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(TcpStream::connect(gateway.address).await.is_err());
}

#[test]
async fn pages_that_a_browser_of_this_machine_shows_get_nothing() {
    let node = Node::start();
    let gateway = start(&node);
    let admin = gateway.admin.unwrap();
    for headers in [
        "host: evil.example".to_owned(),
        format!("host: {admin}\r\norigin: https://evil.example"),
        "host: 192.0.2.1:7481".to_owned(),
    ] {
        let mut stream = TcpStream::connect(admin).await.unwrap();
        let request = format!("POST /close HTTP/1.1\r\n{headers}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_what_comes(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{headers}: {answer}");
    }
    assert_eq!(gateway.call_status(&[]).await, 200);
}
