//! What is no JSON-RPC request. The answer is a JSON-RPC error with HTTP 200, told under the id as far as it could be read.

use archipel_tests::mesh::{Refusal, TestNode, say};
use serde_json::{Value, json};

use crate::ECHO;

/// Sends a body and compares the refusal.
async fn check(node: &TestNode, body: impl Into<Vec<u8>>, code: i64, reason: &str, id: Value) {
    let body = body.into();
    let shown = String::from_utf8_lossy(&body)
        .chars()
        .take(120)
        .collect::<String>();
    let answer = node.client().post(ECHO, body).await;
    assert_eq!(
        answer.refusal(),
        Refusal::under(200, code, reason, id),
        "{shown}"
    );
    assert_eq!(
        answer.header("content-type"),
        Some("application/json"),
        "{shown}"
    );
}

#[tokio::test]
async fn what_is_not_json_cannot_be_parsed() {
    let node = TestNode::start(|_| {});
    let whole = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": say("hello")})
        .to_string();
    for body in [
        "",
        " ",
        "{",
        "hello",
        "{'jsonrpc': '2.0'}",
        "{\"id\": 01}",
        "{\"id\": 1,}",
        "\u{feff}{}",
    ] {
        check(&node, body, -32700, "PARSE_ERROR", Value::Null).await;
    }
    // Cut at every place where a member begins.
    for (end, _) in whole.match_indices('"') {
        check(
            &node,
            &whole.as_bytes()[..end],
            -32700,
            "PARSE_ERROR",
            Value::Null,
        )
        .await;
    }
    check(
        &node,
        format!("{whole}{whole}"),
        -32700,
        "PARSE_ERROR",
        Value::Null,
    )
    .await;
}

#[tokio::test]
async fn what_is_not_utf_8_cannot_be_parsed() {
    let node = TestNode::start(|_| {});
    let whole = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": say("hello")})
        .to_string();
    for wrong in [
        &b"\xff"[..],
        b"\xc3\x28",
        b"\xed\xa0\x80",
        b"\xf5\x80\x80\x80",
        b"\xc0\xaf",
    ] {
        let (before, after) = whole.split_at(whole.find("hello").unwrap());
        let body = [before.as_bytes(), wrong, after.as_bytes()].concat();
        check(&node, body, -32700, "PARSE_ERROR", Value::Null).await;
    }
    let utf_16: Vec<u8> = whole.encode_utf16().flat_map(u16::to_le_bytes).collect();
    check(&node, utf_16, -32700, "PARSE_ERROR", Value::Null).await;
}

#[tokio::test]
async fn what_is_nested_too_deep_is_refused_before_it_is_parsed() {
    let node = TestNode::start(|_| {});
    for depth in [65, 128, 10_000, 400_000] {
        check(&node, "[".repeat(depth), -32700, "PARSE_ERROR", Value::Null).await;
        let nested = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        let nested = nested.get(..1_000_000).unwrap_or(&nested).to_owned();
        check(&node, nested, -32700, "PARSE_ERROR", Value::Null).await;
    }
    // As deep as may be, in a place where anything may stand.
    let mut params = say("hello");
    let depth = 64 - 4;
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    params["message"]["metadata"] = serde_json::from_str(&deep).unwrap();
    let result = node
        .client()
        .call(ECHO, "SendMessage", params.clone())
        .await;
    assert_eq!(
        result["task"]["history"][0]["metadata"],
        params["message"]["metadata"]
    );
}

#[tokio::test]
async fn what_is_no_request_is_invalid() {
    let node = TestNode::start(|_| {});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "x"}});
    for body in [
        json!([]),
        json!([call]),
        json!([call, call]),
        json!("call"),
        json!(42),
        json!(null),
        json!(true),
    ] {
        check(
            &node,
            body.to_string(),
            -32600,
            "INVALID_REQUEST",
            Value::Null,
        )
        .await;
    }
    for (member, value) in [
        ("jsonrpc", json!("1.0")),
        ("jsonrpc", json!(2.0)),
        ("jsonrpc", json!(null)),
        ("method", json!(7)),
        ("method", json!(null)),
        ("method", json!(["GetTask"])),
    ] {
        let mut body = call.clone();
        body[member] = value;
        check(&node, body.to_string(), -32600, "INVALID_REQUEST", json!(1)).await;
    }
    for params in [json!([]), json!(["x"]), json!("x"), json!(7), json!(true)] {
        let mut body = call.clone();
        body["params"] = params;
        check(&node, body.to_string(), -32602, "INVALID_PARAMS", json!(1)).await;
    }
}

#[tokio::test]
async fn an_id_is_a_text_an_integer_or_null() {
    let node = TestNode::start(|_| {});
    let body =
        |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"Nothing","params":{{}}}}"#);
    let long = format!("{:?}", "x".repeat(257));
    for id in ["1.5", "1e3", "true", "{}", "[1]", long.as_str()] {
        check(&node, body(id), -32600, "INVALID_REQUEST", Value::Null).await;
    }
    // Echoed exactly, in text: a number that no double holds, an escape, nothing.
    let longest = format!("{:?}", "x".repeat(256));
    for id in [
        "7",
        "-1",
        "0",
        "\"7\"",
        "\"\"",
        "null",
        "123456789012345678901234567890",
        longest.as_str(),
    ] {
        let answer = node.client().post(ECHO, body(id)).await;
        assert!(
            answer.text().contains(&format!("\"id\":{id},")),
            "{id}: {answer}"
        );
        assert_eq!(answer.refusal().reason, "METHOD_NOT_FOUND");
    }
    check(
        &node,
        body(r#""\u00e9\"\ud83d\ude00""#),
        -32601,
        "METHOD_NOT_FOUND",
        json!("é\"😀"),
    )
    .await;
    let without = r#"{"jsonrpc":"2.0","method":"Nothing","params":{}}"#;
    check(&node, without, -32601, "METHOD_NOT_FOUND", Value::Null).await;
}
