//! Everything the gateway answers itself instead of the node, and in which shape.

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::{
        StatusCode,
        header::{CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE},
    },
};
use archipel_kit::{admission::Decision, client::ClientError, http::BodyError};
use serde_json::{Value, json};

/// Why a request is not passed on, or its answer not passed back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("uri_too_long")]
    UrlTooLong,
    #[error("headers_too_large")]
    HeadersTooLarge,
    #[error("not_found")]
    NotFound,
    #[error("unauthorized")]
    Unauthorized,
    #[error("user_agent_blocked")]
    UserAgentBlocked,
    /// The client used up its allowance of `limit` requests.
    #[error("rate_limited")]
    RateLimited { limit: u64, decision: Decision },
    /// The limit is shared, and cannot be asked for.
    #[error("rate_limit_unavailable")]
    LimiterUnavailable,
    #[error("payload_too_large")]
    TooLarge,
    #[error("request_timeout")]
    BodyTimeout,
    #[error("bad_request")]
    BrokenBody,
    #[error("origin_unavailable")]
    UpstreamDown,
    #[error("upstream_timeout")]
    UpstreamTimeout,
    #[error("bad_gateway")]
    UpstreamBroken,
}

impl Refusal {
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::UrlTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::UserAgentBlocked => StatusCode::FORBIDDEN,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::LimiterUnavailable | Self::UpstreamDown => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BrokenBody => StatusCode::BAD_REQUEST,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::UpstreamBroken => StatusCode::BAD_GATEWAY,
        }
    }

    /// The code in the body of a JSON-RPC error, as the node behind has it: -32700 where the body did not arrive as it
    /// should, -32000 for the rest. The public tier's -32005 for a spent allowance means something else to A2A 1.0 clients.
    const fn json_rpc_code(&self) -> i32 {
        match self {
            Self::TooLarge | Self::BodyTimeout | Self::BrokenBody => -32700,
            _ => -32000,
        }
    }

    /// `ErrorInfo.reason`: what a program reads there.
    const fn reason(&self) -> &'static str {
        match self {
            Self::UrlTooLong => "URI_TOO_LONG",
            Self::HeadersTooLarge => "HEADERS_TOO_LARGE",
            Self::NotFound => "NOT_FOUND",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::UserAgentBlocked => "USER_AGENT_BLOCKED",
            Self::RateLimited { .. } => "RATE_LIMITED",
            Self::LimiterUnavailable => "RATE_LIMIT_UNAVAILABLE",
            Self::TooLarge => "PAYLOAD_TOO_LARGE",
            Self::BodyTimeout => "REQUEST_TIMEOUT",
            Self::BrokenBody => "BROKEN_BODY",
            Self::UpstreamDown => "UPSTREAM_UNAVAILABLE",
            Self::UpstreamTimeout => "UPSTREAM_TIMEOUT",
            Self::UpstreamBroken => "UPSTREAM_BROKEN",
        }
    }

    /// What a person reads in the body of a JSON-RPC error.
    const fn message(&self) -> &'static str {
        match self {
            Self::UrlTooLong => "Request target too long.",
            Self::HeadersTooLarge => "Request headers too large.",
            Self::NotFound => "Not found.",
            Self::Unauthorized => "Unauthorized.",
            Self::UserAgentBlocked => "This client is not served.",
            Self::RateLimited { .. } => "Too many requests.",
            Self::LimiterUnavailable => "The rate limit cannot be checked now.",
            Self::TooLarge => "Payload too large.",
            Self::BodyTimeout => "The request did not arrive in time.",
            Self::BrokenBody => "The request body broke off.",
            Self::UpstreamDown => "The node behind the gateway cannot be reached.",
            Self::UpstreamTimeout => "The node behind the gateway did not answer in time.",
            Self::UpstreamBroken => "The node behind the gateway gave a broken answer.",
        }
    }

    /// The answer: a JSON-RPC error where callers speak JSON-RPC, else `{"error": word}`.
    pub(crate) fn answer(&self, json_rpc: bool) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status());
        self.add_headers(&mut answer);
        if !json_rpc {
            return answer.json(json!({ "error": self.to_string() }));
        }
        answer.json(json!({
            "jsonrpc": "2.0",
            "id": null,
            "error": { "code": self.json_rpc_code(), "message": self.message(), "data": [self.error_info()] },
        }))
    }

    /// Why, for programs (A2A 1.0 §9.5); metadata are texts.
    fn error_info(&self) -> Value {
        let metadata = match self {
            Self::RateLimited { limit, decision } => json!({
                "retryAfterSeconds": seconds(decision.retry_after_us).to_string(),
                "limit": limit.to_string(),
            }),
            _ => json!({}),
        };
        json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": self.reason(),
            "domain": "archipel",
            "metadata": metadata,
        })
    }

    fn add_headers(&self, answer: &mut HttpResponseBuilder) {
        match self {
            Self::RateLimited { limit, decision } => {
                let reset = seconds(decision.reset_us);
                answer
                    .insert_header((RETRY_AFTER, seconds(decision.retry_after_us)))
                    .insert_header(("X-RateLimit-Limit", *limit))
                    .insert_header(("X-RateLimit-Remaining", decision.remaining))
                    .insert_header(("X-RateLimit-Reset", reset))
                    .insert_header(("RateLimit-Limit", *limit))
                    .insert_header(("RateLimit-Remaining", decision.remaining))
                    .insert_header(("RateLimit-Reset", reset));
            }
            Self::LimiterUnavailable | Self::UpstreamDown => {
                answer.insert_header((RETRY_AFTER, 1_u64));
            }
            Self::Unauthorized => {
                answer.insert_header((WWW_AUTHENTICATE, "Bearer"));
            }
            // The rest of the body is on its way; nobody will read it.
            Self::TooLarge | Self::BodyTimeout | Self::BrokenBody => {
                answer.insert_header((CONNECTION, "close"));
            }
            _ => {}
        }
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(_) => Self::TooLarge,
            BodyError::TimedOut => Self::BodyTimeout,
            BodyError::Broken(_) => Self::BrokenBody,
        }
    }
}

impl From<&ClientError> for Refusal {
    fn from(error: &ClientError) -> Self {
        match error {
            error if error.is_timeout() => Self::UpstreamTimeout,
            ClientError::Connect(_) | ClientError::Refused(_) => Self::UpstreamDown,
            _ => Self::UpstreamBroken,
        }
    }
}

/// Whole seconds, rounded up: a client that waits them is not early.
const fn seconds(microseconds: u64) -> u64 {
    microseconds.div_ceil(1_000_000)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use actix_web::body::MessageBody as _;

    use super::*;

    fn body(refusal: &Refusal, json_rpc: bool) -> Value {
        let bytes = refusal.answer(json_rpc).into_body().try_into_bytes();
        serde_json::from_slice(&bytes.unwrap()).unwrap()
    }

    fn limited() -> Refusal {
        let decision = Decision {
            allowed: false,
            remaining: 0,
            retry_after_us: 1_500_000,
            reset_us: 59_000_000,
        };
        Refusal::RateLimited {
            limit: 60,
            decision,
        }
    }

    #[test]
    fn a_refusal_takes_the_callers_shape() {
        assert_eq!(
            body(&Refusal::NotFound, false),
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
    fn each_refusal_has_its_status_code_and_reason() {
        let check = |refusal: Refusal, status: u16, code: i64, reason: &str| {
            let body = body(&refusal, true);
            let told = (
                refusal.status().as_u16(),
                body.pointer("/error/code").and_then(Value::as_i64),
                body.pointer("/error/data/0/reason").and_then(Value::as_str),
            );
            assert_eq!(told, (status, Some(code), Some(reason)), "{body}");
        };
        check(Refusal::TooLarge, 413, -32700, "PAYLOAD_TOO_LARGE");
        check(Refusal::BodyTimeout, 408, -32700, "REQUEST_TIMEOUT");
        check(Refusal::BrokenBody, 400, -32700, "BROKEN_BODY");
        check(limited(), 429, -32000, "RATE_LIMITED");
        check(Refusal::UrlTooLong, 414, -32000, "URI_TOO_LONG");
        check(Refusal::HeadersTooLarge, 431, -32000, "HEADERS_TOO_LARGE");
        check(Refusal::UserAgentBlocked, 403, -32000, "USER_AGENT_BLOCKED");
        let unasked = Refusal::LimiterUnavailable;
        check(unasked, 503, -32000, "RATE_LIMIT_UNAVAILABLE");
        check(Refusal::UpstreamDown, 503, -32000, "UPSTREAM_UNAVAILABLE");
        check(Refusal::UpstreamTimeout, 504, -32000, "UPSTREAM_TIMEOUT");
        check(Refusal::UpstreamBroken, 502, -32000, "UPSTREAM_BROKEN");
    }

    #[test]
    fn failures_of_the_node_have_their_status() {
        let check = |error: ClientError, status: u16| {
            assert_eq!(Refusal::from(&error).status().as_u16(), status)
        };
        check(ClientError::Connect("refused".to_owned()), 503);
        check(ClientError::ConnectTimeout, 504);
        check(ClientError::FirstByteTimeout, 504);
        check(ClientError::TotalTimeout, 504);
        check(ClientError::Other("reset".to_owned()), 502);
    }
}
