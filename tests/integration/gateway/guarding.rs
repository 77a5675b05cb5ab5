//! What is let in: by form, by size, by number, by place, and from which pages.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use actix_web::test;
use archipel_kit::client::{Answer, RequestBody};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::json as value;
use tokio::net::TcpStream;

use crate::{
    balancing::file,
    framing::{exchange, read_what_comes},
    world::{Node, TestGateway, assert_rpc_error, json},
};

#[test]
async fn paths_that_mean_another_are_refused_everywhere() {
    let mut node = Node::start();
    let gateway = TestGateway::start(node.address, &[]);
    for path in [
        "/agents/%2e%2e/api/tokens",
        "/agents/x/../../api",
        "/agents/x%2f..%2fapi",
        "/agents//x",
        "/agents/x%00",
        "/peers/x\\..\\api",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        let answer = exchange(&gateway, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
    }
    let answer = gateway
        .send("POST", "/agents/%2e%2e/api", &[], RequestBody::empty())
        .await;
    assert_rpc_error(answer.unwrap(), 400, -32000, "BAD_PATH").await;
    assert_eq!(node.count(), 0);
    assert!(
        gateway
            .metrics()
            .await
            .contains(r#"archipel_gateway_refusals_total{reason="bad_path"}"#)
    );
}

#[test]
async fn too_many_headers_and_other_media_types_are_refused() {
    let node = Node::start();
    let gateway = TestGateway::start(node.address, &[("GATEWAY_MAX_HEADER_COUNT", "10")]);
    let names: Vec<String> = (0..10).map(|index| format!("x-{index}")).collect();
    let headers: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    assert_rpc_error(
        gateway.call(&headers).await,
        431,
        -32000,
        "HEADERS_TOO_LARGE",
    )
    .await;
    for (media_type, status) in [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/A2A+JSON", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("", 415),
    ] {
        let status_was = gateway.call_status(&[("content-type", media_type)]).await;
        assert_eq!(status_was, status, "{media_type}");
    }
}

#[test]
async fn deep_json_is_refused_whole_or_while_it_arrives() {
    let mut node = Node::start();
    let gateway = TestGateway::start(node.address, &[("GATEWAY_MAX_JSON_DEPTH", "8")]);
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let send = async |body: RequestBody| {
        let answer = gateway.send("POST", "/agents/echo", &[], body).await;
        answer.unwrap()
    };
    assert_eq!(send(nested(8).into()).await.status.as_u16(), 200);
    assert_rpc_error(send(nested(9).into()).await, 400, -32700, "JSON_TOO_DEEP").await;
    let pieces = [vec![b' '; 70_000], nested(9).into_bytes()].map(|piece| Ok(Bytes::from(piece)));
    let body = RequestBody::stream(stream::iter(pieces), None);
    assert_rpc_error(send(body).await, 400, -32700, "JSON_TOO_DEEP").await;
    assert_eq!(node.count(), 1);
}

#[test]
async fn a_place_takes_only_what_it_is_for() {
    let mut node = Node::start();
    let routes = r#"
[[routes]]
path = "/agents/reader"
methods = ["POST"]
rpc_methods = ["GetTask", "ListTasks"]
[[routes]]
path = "/agents/slow"
per_minute = 60
burst = 1
total_per_minute = 60
"#;
    let (_directory, path) = file(&[node.url()], routes);
    let gateway = TestGateway::start_from(Some(&path), &[]);
    let post = async |body: &'static str| -> Answer {
        let answer = gateway.send("POST", "/agents/reader", &[], body.into());
        answer.await.unwrap()
    };
    assert_eq!(post(r#"{"method":"GetTask"}"#).await.status.as_u16(), 200);
    for body in [
        r#"{"method":"CancelTask"}"#,
        r#"{"method":"GetTask","method":"CancelTask"}"#,
        r#"{"meth\u006fd":"CancelTask","method":"GetTask"}"#,
        r#"[{"method":"GetTask"}]"#,
        "",
    ] {
        assert_rpc_error(post(body).await, 403, -32601, "RPC_METHOD_NOT_ALLOWED").await;
    }
    let answer = gateway.get("/agents/reader/v1/card").await;
    assert_eq!(answer.headers.get("allow").unwrap(), "POST");
    assert_eq!(answer.status.as_u16(), 405);
    node.count();
    assert_eq!(gateway.get("/agents/slow").await.status.as_u16(), 200);
    assert_eq!(gateway.get("/agents/slow").await.status.as_u16(), 429);
    assert_eq!(gateway.get("/agents/quick").await.status.as_u16(), 200);
}

#[test]
async fn one_client_has_so_many_requests_and_connections_at_once() {
    let node = Node::start();
    let gateway = TestGateway::start(node.address, &[("GATEWAY_MAX_REQUESTS_PER_CLIENT", "1")]);
    let mut first = gateway
        .send("POST", "/agents/stream", &[], RequestBody::empty())
        .await
        .unwrap();
    assert_rpc_error(gateway.call(&[]).await, 429, -32000, "TOO_MANY_AT_ONCE").await;
    assert_eq!(gateway.get("/v1/health").await.status.as_u16(), 200);
    drop(node.pieces);
    assert!(first.body.next().await.is_none());
    gateway
        .wait_for("archipel_gateway_requests_in_flight 0")
        .await;
    assert_eq!(gateway.call_status(&[]).await, 200);

    let node = Node::start();
    let gateway = TestGateway::start(
        node.address,
        &[("GATEWAY_MAX_CONNECTIONS_PER_ADDRESS", "2")],
    );
    let held = [
        TcpStream::connect(gateway.address).await.unwrap(),
        TcpStream::connect(gateway.address).await.unwrap(),
    ];
    let mut third = TcpStream::connect(gateway.address).await.unwrap();
    assert_eq!(read_what_comes(&mut third).await, "", "closed at once");
    drop(held);
    // That they are gone is noticed in a moment; until then there is no room for who asks.
    let ask = async || {
        gateway
            .send("GET", "/livez", &[], RequestBody::empty())
            .await
    };
    while ask().await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    gateway
        .wait_for(r#"archipel_gateway_connections_unserved_total{reason="too_many"}"#)
        .await;
}

#[test]
async fn the_whole_gateway_has_so_many_requests_at_once() {
    let node = Node::start();
    let gateway = TestGateway::start(node.address, &[("GATEWAY_MAX_REQUESTS", "1")]);
    let _stream = gateway
        .send("POST", "/agents/stream", &[], RequestBody::empty())
        .await
        .unwrap();
    let answer = gateway.call(&[]).await;
    assert_eq!(answer.headers.get("retry-after").unwrap(), "1");
    assert_rpc_error(answer, 503, -32000, "OVERLOADED").await;
}

#[test]
async fn a_missing_user_agent_is_refused_where_one_is_wanted() {
    let node = Node::start();
    let gateway = TestGateway::start(
        node.address,
        &[("GATEWAY_BLOCK_MISSING_USER_AGENT", "true")],
    );
    assert_rpc_error(gateway.call(&[]).await, 403, -32000, "USER_AGENT_BLOCKED").await;
    assert_eq!(gateway.call_status(&[("user-agent", "tests")]).await, 200);
}

#[test]
async fn pages_of_allowed_origins_may_call_and_read() {
    let mut node = Node::start();
    let cors = r#"
[cors]
origins = ["https://app.example.org", "https://*.example.net"]
private_network = true
"#;
    let (_directory, path) = file(&[node.url()], cors);
    let gateway = TestGateway::start_from(Some(&path), &[]);
    let ask = async |origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "a2a-version,content-type"),
            ("access-control-request-private-network", "true"),
        ];
        let answer = gateway.send("OPTIONS", "/agents/echo", &headers, RequestBody::empty());
        answer.await.unwrap()
    };
    let header = |answer: &Answer, name: &str| {
        let value = answer.headers.get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    for origin in ["https://app.example.org", "https://a.example.net"] {
        let answer = ask(origin).await;
        assert_eq!(answer.status.as_u16(), 204);
        let allowed = header(&answer, "access-control-allow-origin");
        assert_eq!(allowed.as_deref(), Some(origin));
        let names = header(&answer, "access-control-allow-headers");
        assert_eq!(names.as_deref(), Some("a2a-version,content-type"));
        let private = header(&answer, "access-control-allow-private-network");
        assert_eq!(private.as_deref(), Some("true"));
    }
    let answer = ask("https://evil.example").await;
    assert_eq!(header(&answer, "access-control-allow-origin"), None);
    assert_eq!(node.count(), 0, "questions stay here");

    // A refusal can be read too.
    let answer = gateway
        .send(
            "POST",
            "/agents/echo",
            &[
                ("origin", "https://app.example.org"),
                ("content-type", "text/plain"),
            ],
            RequestBody::empty(),
        )
        .await
        .unwrap();
    assert_eq!(answer.status.as_u16(), 415);
    let allowed = header(&answer, "access-control-allow-origin");
    assert_eq!(allowed.as_deref(), Some("https://app.example.org"));
    assert!(
        header(&answer, "access-control-expose-headers")
            .unwrap()
            .contains("Retry-After")
    );

    let without = TestGateway::start(node.address, &[]);
    let answer = without
        .send(
            "OPTIONS",
            "/agents/echo",
            &[("origin", "https://a.example")],
            RequestBody::empty(),
        )
        .await
        .unwrap();
    assert_eq!(json(answer).await, (404, value!({ "error": "not_found" })));
}
