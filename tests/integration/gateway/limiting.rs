//! One gateway's own limit, on a clock that the test turns.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use actix_web::test;
use archipel_kit::clock::Clock;
use serde_json::json as value;

use crate::world::{Node, TestGateway, json};

/// A gateway that lets each address in once in ten seconds.
fn one_at_a_time(node: &Node) -> TestGateway {
    let limit = [
        ("GATEWAY_RATE_LIMIT_PER_MIN", "6"),
        ("GATEWAY_RATE_LIMIT_BURST", "1"),
    ];
    TestGateway::start(node.address, &limit)
}

#[test]
async fn a_spent_allowance_is_refused_and_says_when_to_come_back() {
    let node = Node::start();
    let gateway = TestGateway::start(
        node.address,
        &[
            ("GATEWAY_RATE_LIMIT_PER_MIN", "6"),
            ("GATEWAY_RATE_LIMIT_BURST", "2"),
        ],
    );
    assert_eq!(gateway.call_status(&[]).await, 200);
    assert_eq!(gateway.call_status(&[]).await, 200);
    let answer = gateway.call(&[]).await;
    let header = |name: &str| {
        answer
            .headers
            .get(name)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        (header("retry-after"), header("ratelimit-reset")),
        ("10".to_owned(), "20".to_owned())
    );
    assert_eq!(
        (header("x-ratelimit-limit"), header("x-ratelimit-remaining")),
        ("2".to_owned(), "0".to_owned())
    );
    let error = value!({
        "jsonrpc": "2.0",
        "id": null,
        "error": { "code": -32000, "message": "Too many requests.", "data": [{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "RATE_LIMITED",
            "domain": "archipel",
            "metadata": { "retryAfterSeconds": "10", "limit": "2" },
        }] },
    });
    assert_eq!(json(answer).await, (429, error));
    assert_eq!(
        json(gateway.get("/agents/echo").await).await,
        (429, value!({ "error": "rate_limited" }))
    );
    assert_eq!(gateway.get("/v1/health").await.status.as_u16(), 200);
}

#[test]
async fn denied_calls_are_not_counted() {
    let node = Node::start();
    let gateway = one_at_a_time(&node);
    assert_eq!(gateway.call_status(&[]).await, 200);
    for _ in 0..20 {
        assert_eq!(gateway.call_status(&[]).await, 429);
    }
    gateway.clock.advance(Duration::from_secs(10));
    assert_eq!(gateway.call_status(&[]).await, 200);
    assert_eq!(gateway.call_status(&[]).await, 429);
}

#[test]
async fn a_clock_that_is_set_neither_frees_nor_holds_anybody() {
    let node = Node::start();
    let gateway = one_at_a_time(&node);
    assert_eq!(gateway.call_status(&[]).await, 200);
    let now_ms = gateway.clock.now_ms();
    let day_ms = 86_400_000;
    for set_ms in [now_ms + day_ms, now_ms - day_ms, 0] {
        gateway.clock.set(set_ms);
        let denied = gateway.call(&[]).await;
        assert_eq!(denied.status.as_u16(), 429);
        assert_eq!(denied.headers.get("retry-after").unwrap(), "10");
    }
    gateway.clock.advance(Duration::from_secs(10));
    assert_eq!(gateway.call_status(&[]).await, 200);
}

#[test]
async fn a_client_cannot_choose_its_address() {
    let node = Node::start();

    let gateway = TestGateway::start(node.address, &[("GATEWAY_RATE_LIMIT_PER_MIN", "1")]);
    assert_eq!(
        gateway.call_status(&[("x-forwarded-for", "1.1.1.1")]).await,
        200
    );
    assert_eq!(
        gateway.call_status(&[("x-forwarded-for", "2.2.2.2")]).await,
        429
    );

    let behind = TestGateway::start(
        node.address,
        &[
            ("GATEWAY_RATE_LIMIT_PER_MIN", "1"),
            ("GATEWAY_TRUSTED_PROXIES", "127.0.0.1/32"),
        ],
    );
    assert_eq!(
        behind.call_status(&[("x-forwarded-for", "1.1.1.1")]).await,
        200
    );
    assert_eq!(
        behind.call_status(&[("x-forwarded-for", "2.2.2.2")]).await,
        200
    );
    assert_eq!(
        behind
            .call_status(&[("x-forwarded-for", "9.9.9.9, 2.2.2.2")])
            .await,
        429
    );
    assert_eq!(
        behind
            .call_status(&[("x-forwarded-for", "2a00:0:0:7::1")])
            .await,
        200
    );
    assert_eq!(
        behind
            .call_status(&[("x-forwarded-for", "2a00:0:0:7::2")])
            .await,
        429
    );
}
