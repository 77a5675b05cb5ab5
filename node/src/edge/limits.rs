//! Bounds of a request: what its head says, then its body.

use std::time::Duration;

use actix_web::http::header::{CONTENT_TYPE, TRANSFER_ENCODING};
use actix_web::{HttpRequest, web};
use archipel_kit::http::{BodyError, declared_length, read_body as read_bounded};
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::jsonrpc::Id;
use bytes::Bytes;

use crate::config::LimitSettings;
use crate::error::{Failure, Gate};

/// Checks what can be read off the head of a call.
pub(super) fn check_head(request: &HttpRequest, limits: &LimitSettings) -> Result<(), Failure> {
    check_url(request, limits)?;
    if declared_length(request.headers()).is_some_and(|length| length > limits.body.bytes() as u64)
    {
        return Err(too_large(limits.body.bytes()));
    }
    if !carries_body(request) {
        return Ok(());
    }
    let declared = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if is_json(declared) {
        return Ok(());
    }
    let error = RpcError::new(
        ErrorCode::UnsupportedMediaType,
        "the body must be declared as application/json or application/a2a+json",
    );
    Err(Failure::rpc_with_status(Id::Null, error))
}

fn carries_body(request: &HttpRequest) -> bool {
    let headers = request.headers();
    headers.contains_key(TRANSFER_ENCODING)
        || declared_length(headers).is_some_and(|length| length > 0)
}

/// Checks the length of the request target.
pub(super) fn check_url(request: &HttpRequest, limits: &LimitSettings) -> Result<(), Failure> {
    let length = request
        .uri()
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if length > limits.url {
        return Err(Failure::gate(
            Gate::UriTooLong,
            "path and query are too long",
        ));
    }
    Ok(())
}

/// Reads the body of a call.
pub(super) async fn read_body(
    request: &HttpRequest,
    payload: web::Payload,
    limits: &LimitSettings,
) -> Result<Bytes, Failure> {
    read_body_up_to(request, payload, limits, limits.body.bytes()).await
}

/// Reads a body that is never longer than `most` bytes, however much calls may carry.
pub(super) async fn read_body_up_to(
    request: &HttpRequest,
    payload: web::Payload,
    limits: &LimitSettings,
    most: usize,
) -> Result<Bytes, Failure> {
    let mut payload = payload.into_inner();
    let most = most.min(limits.body.bytes());
    let read = read_bounded(request.headers(), &mut payload, most, limits.body_time).await;
    read.map_err(|error| match error {
        BodyError::TooLarge(_) => too_large(most),
        BodyError::TimedOut => too_slow(limits.body_time),
        BodyError::Broken(cause) => {
            let error = RpcError::new(ErrorCode::Parse, "the body broke off");
            Failure::rpc_with_status(Id::Null, error).because(cause)
        }
    })
}

fn too_large(most: usize) -> Failure {
    let message = format!("the body is larger than {most} bytes");
    Failure::rpc_with_status(Id::Null, RpcError::new(ErrorCode::PayloadTooLarge, message))
}

fn too_slow(limit: Duration) -> Failure {
    let message = format!("the body did not arrive within {} ms", limit.as_millis());
    Failure::rpc_with_status(Id::Null, RpcError::new(ErrorCode::RequestTimeout, message))
}

/// `application/json` or a type with that suffix (RFC 6839 §3.1), whatever its parameters.
pub(super) fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || essence
            .to_ascii_lowercase()
            .strip_prefix("application/")
            .is_some_and(|kind| kind.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::is_json;

    #[test]
    fn json_is_recognised_by_its_essence() {
        for (given, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/a2a+json", true),
            ("text/plain", false),
            ("text/json", false),
            ("application/jsonp", false),
            ("", false),
        ] {
            assert_eq!(is_json(given), expected, "{given}");
        }
    }
}
