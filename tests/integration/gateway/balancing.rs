//! Several nodes: which one a request goes to, and what happens when one is away.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{fs, path::PathBuf, time::Duration};

use actix_web::test;
use archipel_kit::client::RequestBody;
use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::world::{Node, TestGateway, assert_rpc_error};

/// Settings for these nodes, in a file of their own.
pub(crate) fn file(urls: &[String], more: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.toml");
    write(&path, urls, more);
    (directory, path)
}

pub(crate) fn write(path: &std::path::Path, urls: &[String], more: &str) {
    let nodes: String = urls
        .iter()
        .map(|url| format!("[[upstreams]]\nurl = \"{url}\"\n"))
        .collect();
    fs::write(path, format!("{more}\n{nodes}")).unwrap();
}

/// A port that nobody listens on.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
async fn requests_spread_over_the_nodes() {
    let mut nodes = [Node::start(), Node::start(), Node::start()];
    let urls: Vec<String> = nodes.iter().map(Node::url).collect();
    let (_directory, path) = file(&urls, "");
    let gateway = TestGateway::start_from(Some(&path), &[]);
    let calls = (0..60).map(|_| gateway.call_status(&[]));
    let statuses = join_all(calls).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let counts = nodes.each_mut().map(Node::count);
    assert!(
        counts.iter().sum::<usize>() == 60 && counts.iter().all(|count| *count >= 10),
        "{counts:?}"
    );
}

#[test]
async fn what_was_not_sent_goes_to_another_node_and_the_dead_one_is_left_out() {
    let mut node = Node::start();
    let (_directory, path) = file(
        &[nobody().await, node.url()],
        "[health]\ninterval = \"0s\"\n[breaker]\nfailures = 3",
    );
    let gateway = TestGateway::start_from(Some(&path), &[]);
    for _ in 0..30 {
        assert_eq!(gateway.call_status(&[]).await, 200);
        // Equals take turns by the clock.
        gateway.clock.advance(Duration::from_micros(1));
    }
    assert_eq!(node.count(), 30);
    let text = gateway.metrics().await;
    assert!(
        text.contains("archipel_gateway_upstream_retries_total 3"),
        "after three failures it is asked no more: {text}"
    );
    assert!(
        text.contains("archipel_gateway_upstream_breaker{upstream="),
        "{text}"
    );
}

#[test]
async fn a_lost_read_is_asked_elsewhere_and_a_lost_write_is_not() {
    // It takes a request and closes.
    let closing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", closing.local_addr().unwrap());
    actix_rt::spawn(async move {
        use tokio::io::AsyncReadExt as _;
        while let Ok((mut stream, _)) = closing.accept().await {
            let _read = stream.read(&mut [0; 64]).await;
        }
    });
    let node = Node::start();
    let settings = "[health]\ninterval = \"0s\"\n[breaker]\nfailures = 0";
    let (_directory, path) = file(&[url, node.url()], settings);
    let gateway = TestGateway::start_from(Some(&path), &[]);
    let mut lost = 0;
    for _ in 0..10 {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":"t"}}"#;
        let answer = gateway.send("POST", "/agents/echo", &[], body.into()).await;
        assert_eq!(answer.unwrap().status.as_u16(), 200);
        let answer = gateway.get("/.well-known/agent-card.json").await;
        assert_eq!(answer.status.as_u16(), 200);
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{}}"#;
        let answer = gateway.send("POST", "/agents/echo", &[], body.into()).await;
        lost += usize::from(answer.unwrap().status.as_u16() == 502);
        gateway.clock.advance(Duration::from_micros(1));
    }
    assert!(
        lost > 0,
        "a write that may have been done is not done again"
    );
}

#[test]
async fn a_task_is_asked_for_at_the_node_that_has_it() {
    let mut nodes = [Node::start(), Node::start(), Node::start()];
    let urls: Vec<String> = nodes.iter().map(Node::url).collect();
    let (_directory, path) = file(&urls, "balance = \"task\"");
    let gateway = TestGateway::start_from(Some(&path), &[]);
    // Until each node has answered once.
    let mut made = std::collections::BTreeSet::new();
    while made.len() < 3 {
        let answer = gateway
            .send(
                "POST",
                "/agents/task",
                &[],
                r#"{"method":"SendMessage"}"#.into(),
            )
            .await
            .unwrap();
        let body = crate::world::json(answer).await.1;
        let id = body.pointer("/result/task/id").unwrap().as_str().unwrap();
        made.insert(id.strip_prefix("task-of-").unwrap().parse::<u16>().unwrap());
        gateway.clock.advance(Duration::from_micros(1));
    }
    for node in &mut nodes {
        node.count();
    }
    for node in &mut nodes {
        let port = node.address.port();
        let asks = [
            (
                "POST",
                "/agents/echo".to_owned(),
                format!(r#"{{"method":"GetTask","params":{{"id":"task-of-{port}"}}}}"#),
            ),
            (
                "POST",
                "/agents/echo".to_owned(),
                format!(
                    r#"{{"method":"SendMessage","params":{{"message":{{"contextId":"talk-of-{port}"}}}}}}"#
                ),
            ),
            (
                "GET",
                format!("/agents/echo/tasks/task-of-{port}"),
                String::new(),
            ),
            (
                "POST",
                format!("/agents/echo/tasks/task-of-{port}:cancel"),
                String::new(),
            ),
        ];
        for (method, path, body) in asks {
            let answer = gateway.send(method, &path, &[], body.into()).await.unwrap();
            assert_eq!(answer.status.as_u16(), 200);
            answer.read_all(1 << 20).await.unwrap();
        }
        assert_eq!(node.count(), 4, "{port}");
    }
    // Nobody else has it: better no answer than that there is no such task.
    nodes[0].stop().await;
    let port = nodes[0].address.port();
    let body = format!(r#"{{"method":"GetTask","params":{{"id":"task-of-{port}"}}}}"#);
    // Its thread may still answer on a connection that was kept when the server already calls itself stopped.
    let mut status = 200;
    for _ in 0..100 {
        let body = body.clone().into();
        let answer = gateway.send("POST", "/agents/echo", &[], body).await;
        status = answer.unwrap().status.as_u16();
        if status != 200 {
            break;
        }
    }
    // Gone, or broken off in the middle of such a connection: whichever is noticed first.
    assert!(matches!(status, 502 | 503), "{status}");
}

#[test]
async fn a_node_that_fails_its_health_checks_is_left_out_until_it_is_well() {
    let mut node = Node::start();
    let settings = "[health]\ninterval = \"20ms\"\nfailures = 2\n[breaker]\nfailures = 0";
    let (_directory, path) = file(&[nobody().await, node.url()], settings);
    let gateway = TestGateway::start_from(Some(&path), &[]);
    let well = format!(
        "archipel_gateway_upstream_up{{upstream=\"{}\"}} 1",
        node.address
    );
    gateway.wait_for("} 0\n").await;
    gateway.wait_for(&well).await;
    gateway
        .wait_for("archipel_gateway_upstream_up{upstream=\"127.0.0.1")
        .await;
    node.count();
    for _ in 0..10 {
        assert_eq!(gateway.call_status(&[]).await, 200);
    }
    assert_eq!(node.count(), 10);
    assert_eq!(gateway.get("/readyz").await.status.as_u16(), 200);
    node.stop().await;
    gateway.wait_for(&well.replace("} 1", "} 0")).await;
    assert_rpc_error(gateway.call(&[]).await, 503, -32000, "UPSTREAM_UNAVAILABLE").await;
    assert_eq!(gateway.get("/readyz").await.status.as_u16(), 503);
    assert_eq!(gateway.get("/v1/health").await.status.as_u16(), 503);
}

#[test]
async fn one_health_check_is_enough_to_tell_of_a_node_that_is_gone() {
    let node = Node::start();
    // It would be left out only after this test.
    let settings = "[health]\ninterval = \"20ms\"\nfailures = 100\n[breaker]\nfailures = 0";
    let (_directory, path) = file(&[node.url()], settings);
    let gateway = TestGateway::start_from(Some(&path), &[]);
    assert_eq!(gateway.get("/v1/health").await.status.as_u16(), 200);
    node.stop().await;
    let mut told = 200;
    for _ in 0..500 {
        told = gateway.get("/v1/health").await.status.as_u16();
        if told != 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(told, 503);
}

#[test]
async fn a_node_gets_no_more_at_once_than_it_may() {
    let node = Node::start();
    let gateway = TestGateway::start(node.address, &[("GATEWAY_MAX_REQUESTS_PER_UPSTREAM", "1")]);
    let stream = gateway
        .send("POST", "/agents/stream", &[], RequestBody::empty())
        .await
        .unwrap();
    assert_rpc_error(gateway.call(&[]).await, 503, -32000, "OVERLOADED").await;
    drop(stream);
    gateway
        .wait_for("archipel_gateway_requests_in_flight 0")
        .await;
    assert_eq!(gateway.call_status(&[]).await, 200);
}
