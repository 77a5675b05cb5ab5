//! What passes, and what stays behind.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use actix_web::test;
use archipel_kit::client::RequestBody;

use crate::world::{Node, TestGateway, json};

#[test]
async fn a_call_reaches_the_default_agent() {
    let mut node = Node::start();
    let gateway = TestGateway::start(node.address, &[]);
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{"odd":123456789012345678901234567890}}"#;
    let answer = gateway
        .send("POST", "/v1/a2a/jsonrpc?ignored=1", &[], body.into())
        .await
        .unwrap();
    assert_eq!(json(answer).await, (200, serde_json::json!({ "ok": true })));
    let seen = node.seen.recv().await.unwrap();
    assert_eq!(
        (seen.target.as_str(), seen.body),
        ("/api/a2a/jsonrpc", body.into())
    );
    assert_eq!(
        seen.headers
            .iter()
            .find(|(name, _)| name == "content-type")
            .unwrap()
            .1,
        "application/json"
    );
}

#[test]
async fn other_targets_keep_their_path_and_query() {
    let mut node = Node::start();
    let gateway = TestGateway::start(node.address, &[]);
    for (method, path) in [
        ("GET", "/.well-known/agent-card.json"),
        ("POST", "/agents/echo"),
        ("GET", "/agents/echo/tasks?pageSize=5&state=%22a%22"),
        ("DELETE", "/peers/beta/agents/echo/tasks/1"),
    ] {
        let answer = gateway
            .send(method, path, &[], RequestBody::empty())
            .await
            .unwrap();
        assert_eq!(answer.status.as_u16(), 200, "{path}");
        assert_eq!(node.seen.recv().await.unwrap().target, path);
    }
}

#[test]
async fn a_base_path_is_put_before_every_other() {
    let mut node = Node::start();
    let base = format!("http://{}/inner/", node.address);
    let gateway = TestGateway::start(
        node.address,
        &[
            ("GATEWAY_UPSTREAM_BASE", &base),
            ("GATEWAY_JSONRPC_PATH", "/rpc"),
        ],
    );
    gateway.call(&[]).await;
    assert_eq!(node.seen.recv().await.unwrap().target, "/inner/rpc");
    gateway.get("/agents/echo?x=1").await;
    assert_eq!(
        node.seen.recv().await.unwrap().target,
        "/inner/agents/echo?x=1"
    );
}

#[test]
async fn only_listed_headers_reach_the_node() {
    let secret = "0123456789abcdef0123456789abcdef";
    let mut node = Node::start();
    let gateway = TestGateway::start(
        node.address,
        &[
            ("GATEWAY_UPSTREAM_AUTH_SECRET", secret),
            ("GATEWAY_PASS_HEADERS", "X-Company-Id"),
        ],
    );
    let passed = [
        ("authorization", "Bearer token"),
        ("accept", "text/event-stream"),
        ("a2a-version", "1.0"),
        ("a2a-extensions", "one"),
        ("last-event-id", "7"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b9c7c989f97918e1-01",
        ),
        ("x-hive-federation-jwt", "a.b.c"),
        ("x-pilox-public-a2a-key", "key"),
        ("x-company-id", "c7"),
        ("user-agent", "tests"),
    ];
    let kept_back = [
        ("cookie", "a=1"),
        ("x-hive-gateway-auth", "Bearer forged"),
        ("x-pilox-gateway-auth", "Bearer forged"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
        ("x-client-ip", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
        ("proxy-authorization", "Basic eA=="),
        ("te", "trailers"),
    ];
    gateway.call(&[&passed[..], &kept_back[..]].concat()).await;
    let seen = node.seen.recv().await.unwrap();
    for (name, value) in passed {
        assert_eq!(seen.header(name).as_deref(), Some(value), "{name}");
    }
    for name in [
        "cookie",
        "x-real-ip",
        "x-client-ip",
        "forwarded",
        "proxy-authorization",
        "te",
    ] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    let expected = format!("Bearer {secret}");
    for name in ["x-hive-gateway-auth", "x-pilox-gateway-auth"] {
        assert_eq!(seen.header(name).as_deref(), Some(expected.as_str()));
    }
    assert_eq!(seen.header("x-forwarded-for").as_deref(), Some("127.0.0.1"));
}

#[test]
async fn the_node_is_told_about_the_client_as_configured() {
    let check = async |variables: &[(&str, &str)], sent: &str, expected: Option<&str>| {
        let mut node = Node::start();
        let gateway = TestGateway::start(node.address, variables);
        gateway.call(&[("x-forwarded-for", sent)]).await;
        let seen = node.seen.recv().await.unwrap();
        assert_eq!(
            seen.header("x-forwarded-for").as_deref(),
            expected,
            "{variables:?}"
        );
    };
    let trusted = ("GATEWAY_TRUSTED_PROXIES", "127.0.0.0/8");
    check(&[("GATEWAY_UPSTREAM_FORWARD_FOR", "off")], "6.6.6.6", None).await;
    check(
        &[("GATEWAY_UPSTREAM_FORWARD_FOR", "chain")],
        "6.6.6.6",
        Some("127.0.0.1"),
    )
    .await;
    check(&[trusted], "6.6.6.6, 7.7.7.7", Some("7.7.7.7")).await;
    check(
        &[trusted, ("GATEWAY_UPSTREAM_FORWARD_FOR", "chain")],
        "7.7.7.7",
        Some("7.7.7.7, 127.0.0.1"),
    )
    .await;
}

#[test]
async fn the_answer_keeps_its_end_to_end_headers_and_redirects_are_not_followed() {
    let node = Node::start();
    let gateway = TestGateway::start(node.address, &[("GATEWAY_SECURITY_HEADERS", "true")]);
    let answer = gateway.get("/agents/headers").await;
    let header = |name: &str| {
        answer
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(answer.status.as_u16(), 302);
    assert_eq!(
        header("location").as_deref(),
        Some("http://127.0.0.1:1/elsewhere")
    );
    assert_eq!(header("retry-after").as_deref(), Some("7"));
    assert_eq!(header("x-a2a-extensions").as_deref(), Some("one"));
    assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"));
    assert_eq!(
        (header("keep-alive"), header("proxy-authenticate")),
        (None, None)
    );
    assert_eq!(answer.read_all(10).await.unwrap(), "moved");
}

#[test]
async fn it_tells_about_itself() {
    let mut node = Node::start();
    let gateway = TestGateway::start(node.address, &[("GATEWAY_METRICS_AUTH_SECRET", "letmein")]);
    let (status, health) = json(gateway.get("/v1/health").await).await;
    assert_eq!(status, 200);
    assert_eq!(health.get("role").unwrap(), "hive-mesh-gateway");
    assert_eq!(health.get("metricsAuthRequired").unwrap(), true);
    assert_eq!(json(gateway.get("/livez").await).await.0, 200);

    let (status, body) = json(gateway.get("/v1/metrics").await).await;
    assert_eq!(
        (status, body),
        (401, serde_json::json!({ "error": "unauthorized" }))
    );
    for wrong in ["Bearer letmeout", "bearer letmein", "letmein"] {
        let answer = gateway
            .send(
                "GET",
                "/v1/metrics",
                &[("authorization", wrong)],
                RequestBody::empty(),
            )
            .await;
        assert_eq!(answer.unwrap().status.as_u16(), 401, "{wrong}");
    }
    gateway.call(&[]).await;
    node.seen.recv().await.unwrap();
    let headers = [("authorization", "Bearer letmein")];
    let answer = gateway
        .send("GET", "/v1/metrics", &headers, RequestBody::empty())
        .await
        .unwrap();
    let kind = answer
        .headers
        .get("content-type")
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let text = String::from_utf8(answer.read_all(1 << 20).await.unwrap().to_vec()).unwrap();
    let line =
        r#"hive_gateway_http_requests_total{code="200",method="POST",path="/v1/a2a/jsonrpc"} 1"#;
    assert!(text.contains(line), "{text}");
}
