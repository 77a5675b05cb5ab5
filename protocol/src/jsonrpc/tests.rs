//! What is a request and what is not; ids and answers there and back.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use super::{
    Id, MAX_DEPTH, Outcome, Request, decode_response, encode_error, encode_request, encode_result,
};
use crate::error::{ErrorCode, RpcError};

fn check(body: &str, id: &Id, code: ErrorCode) {
    let refused = match Request::decode(body.as_bytes()) {
        Err(refused) => refused,
        Ok(request) => panic!("{body} was taken as {request:?}"),
    };
    assert_eq!((&refused.id, refused.error.code), (id, code), "{body}");
}

#[test]
fn what_is_no_request_is_refused() {
    let (null, one) = (Id::Null, Id::Integer("1".into()));
    let cases: &[(&str, &Id, ErrorCode)] = &[
        ("", &null, ErrorCode::Parse),
        ("{", &null, ErrorCode::Parse),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"x""#,
            &null,
            ErrorCode::Parse,
        ),
        (r#"{"a":1} {"b":2}"#, &null, ErrorCode::Parse),
    ];
    for (body, id, code) in cases {
        check(body, id, *code);
    }
    for body in [
        "[]",
        "\"text\"",
        r#"[{"jsonrpc":"2.0","id":1,"method":"x"}]"#,
        r#"{"jsonrpc":"2.0","id":1.5,"method":"x"}"#,
        r#"{"jsonrpc":"2.0","id":{},"method":"x"}"#,
        r#"{"jsonrpc":"2.0","id":true,"method":"x"}"#,
    ] {
        check(body, &null, ErrorCode::InvalidRequest);
    }
    for body in [
        r#"{"id":1,"method":"x"}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#,
        r#"{"jsonrpc":2.0,"id":1,"method":"x"}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
    ] {
        check(body, &one, ErrorCode::InvalidRequest);
    }
    for params in ["[1]", "\"y\"", "7"] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{params}}}"#);
        check(&body, &one, ErrorCode::InvalidParams);
    }
}

#[test]
fn bytes_that_are_not_utf8_are_refused() {
    let refused = Request::decode(b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}").unwrap_err();
    assert_eq!(refused.error.code, ErrorCode::Parse);
}

#[test]
fn nesting_is_bounded_and_brackets_in_texts_do_not_count() {
    let nested = |levels: usize| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"a":{}{}}}}}"#,
            "[".repeat(levels),
            "]".repeat(levels)
        )
    };
    assert!(Request::decode(nested(MAX_DEPTH - 2).as_bytes()).is_ok());
    check(&nested(MAX_DEPTH - 1), &Id::Null, ErrorCode::Parse);
    check(&nested(500_000), &Id::Null, ErrorCode::Parse);
    let quoted = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#,
        "[{\\\"".repeat(100)
    );
    assert!(Request::decode(quoted.as_bytes()).is_ok());
}

#[test]
fn ids_are_echoed_with_their_type() {
    for (id, expected) in [
        ("1", "1"),
        ("-7", "-7"),
        (
            "123456789012345678901234567890",
            "123456789012345678901234567890",
        ),
        ("\"a\\\"b\"", "\"a\\\"b\""),
        ("null", "null"),
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"GetTask","params":{{}}}}"#);
        let request = Request::decode(body.as_bytes()).unwrap();
        assert_eq!(request.method, "GetTask");
        let answer = encode_result(&request.id, &7).unwrap();
        assert_eq!(
            String::from_utf8(answer).unwrap(),
            format!(r#"{{"jsonrpc":"2.0","id":{expected},"result":7}}"#)
        );
    }
}

#[test]
fn answers_are_read_back() {
    let call = encode_request("r1", "SendMessage", &serde_json::json!({"a": 1})).unwrap();
    assert_eq!(Request::decode(&call).unwrap().id, Id::Text("r1".into()));
    let error = encode_error(
        &Id::Null,
        &RpcError::new(ErrorCode::TaskNotFound, "no such task"),
    );
    let Outcome::Error { code, message } = decode_response(&error).unwrap() else {
        panic!("an error was expected")
    };
    assert_eq!((code, message.as_str()), (-32001, "no such task"));
    assert!(decode_response(b"{}").is_err());
    assert!(decode_response(b"<html>").is_err());
}
