//! The shapes of refusals.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use actix_http::body::MessageBody as _;
use archipel_kit::telemetry::metrics::Label as _;
use serde_json::{Value, json};

use super::*;

fn body(refusal: &Refusal, json_rpc: bool) -> Value {
    let bytes = refusal.answer(json_rpc).into_body().try_into_bytes();
    serde_json::from_slice(&bytes.ok().unwrap()).unwrap()
}

fn limited() -> Refusal {
    let decision = Decision {
        allowed: false,
        remaining: 0,
        retry_after_us: 1_500_000,
        reset_us: 59_000_000,
    };
    Refusal::rate_limited(60, decision)
}

#[test]
fn a_refusal_takes_the_callers_shape() {
    assert_eq!(
        body(&Reason::NotFound.into(), false),
        json!({"error": "not_found"})
    );
    let expected = json!({
        "jsonrpc": "2.0",
        "id": null,
        "error": {"code": -32000, "message": "Too many requests.", "data": [{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "RATE_LIMITED",
            "domain": "archipel",
            "metadata": {"retryAfterSeconds": "2", "limit": "60"},
        }]},
    });
    assert_eq!(body(&limited(), true), expected);
    let answer = limited().answer(true);
    let header = |name: &str| answer.headers().get(name).unwrap().to_str().unwrap();
    assert_eq!(
        (
            header("retry-after"),
            header("x-ratelimit-limit"),
            header("ratelimit-reset")
        ),
        ("2", "60", "59")
    );
}

#[test]
fn every_refusal_is_well_formed_both_ways() {
    let reasons = [
        (Reason::TooLarge, 413, -32700),
        (Reason::BodyTimeout, 408, -32700),
        (Reason::BrokenBody, 400, -32700),
        (Reason::TooDeep, 400, -32700),
        (Reason::RpcMethod, 403, -32601),
        (Reason::UrlTooLong, 414, -32000),
        (Reason::BadPath, 400, -32000),
        (Reason::NotFound, 404, -32000),
        (Reason::MethodNotAllowed, 405, -32000),
        (Reason::Closed, 503, -32000),
        (Reason::HeadersTooLarge, 431, -32000),
        (Reason::UserAgentBlocked, 403, -32000),
        (Reason::MediaType, 415, -32000),
        (Reason::Overloaded, 503, -32000),
        (Reason::TooManyAtOnce, 429, -32000),
        (Reason::RateLimited, 429, -32000),
        (Reason::LimiterUnavailable, 503, -32000),
        (Reason::Unauthorized, 401, -32000),
        (Reason::NoUpstream, 503, -32000),
        (Reason::UpstreamDown, 503, -32000),
        (Reason::UpstreamTimeout, 504, -32000),
        (Reason::UpstreamBroken, 502, -32000),
    ];
    assert_eq!(reasons.len(), Reason::COUNT);
    for (reason, status, code) in reasons {
        let refusal = Refusal::from(reason);
        assert_eq!(refusal.status().as_u16(), status, "{reason:?}");
        let rpc = body(&refusal, true);
        assert_eq!(rpc.pointer("/error/code"), Some(&json!(code)), "{rpc}");
        assert!(rpc.pointer("/error/data/0/reason").is_some(), "{rpc}");
        let word = Reason::text(reason.index());
        assert_eq!(body(&refusal, false), json!({ "error": word }));
    }
}

#[test]
fn failures_of_the_node_have_their_status() {
    let check = |error: ClientError, status: u16| {
        let refusal = Refusal::from(&Unanswered::from(error));
        assert_eq!(refusal.status().as_u16(), status);
    };
    check(ClientError::Connect("refused".to_owned()), 503);
    check(ClientError::ConnectTimeout, 504);
    check(ClientError::FirstByteTimeout, 504);
    check(ClientError::TotalTimeout, 504);
    check(ClientError::Other("reset".to_owned()), 502);
    assert_eq!(Refusal::from(&Unanswered::Busy).status().as_u16(), 503);
}
