//! A failure as a request sees it: a public answer, and a private cause that is logged once, here.
//!
//! Refusals before an operation (who are you, too large, not here) keep the shape of the contract: a real HTTP status and
//! `{"error","message"}`. Whatever an operation refuses is a JSON-RPC error. What the two mean stands in one table,
//! `archipel_protocol::error`. A caller of the HTTP+JSON binding gets both in the form of that binding.

use std::fmt;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use archipel_protocol::a2a::Version;
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::jsonrpc::{self, Id, Refused};
use serde::Serialize;
use serde_json::{Value, json};

use crate::limiter::Held;

/// Names, in the metadata of an error, the seconds after which to try again.
pub const RETRY_AFTER_SECONDS: &str = "retryAfterSeconds";

const TOO_MANY: &str = "Too many requests";

/// The challenge that tells a peer to mint another token and call again: its token was good, but is older than our memory
/// of the tokens that were used, so nobody looked at the call.
pub const MINT_AGAIN: &str = r#"Bearer error="before_epoch""#;

/// See the module.
#[derive(Debug)]
pub struct Failure {
    public: Public,
    form: Form,
    cause: Option<String>,
}

/// In which form a failure is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// JSON-RPC of a version (A2A 1.0 §9.5), or what the contract has for gates.
    JsonRpc(Version),
    /// HTTP+JSON (A2A 1.0 §11.6): always a real status, gates too.
    HttpJson,
}

#[derive(Debug)]
enum Public {
    /// `{"error","message"}` with its status (contract/federation.md 2 and 5).
    Gate { gate: Gate, message: &'static str },
    /// Somebody comes too often (contract/federation.md 6, contract/public-tier.md 5).
    Limited { held: Held, tier: Tier },
    /// An error of the protocol.
    Rpc {
        id: Id,
        error: Box<RpcError>,
        /// Whether an operation told it. Only then JSON-RPC has it under status 200.
        by_operation: bool,
    },
}

/// Refusals of the gates before an operation, as the contract spells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// 400.
    BadRequest,
    /// 401.
    Unauthorized,
    /// 401, to somebody without any credential: they are told nothing more.
    Stranger,
    /// 401, to somebody with a bearer token that is none of ours.
    InvalidToken,
    /// 401; another token would be taken.
    MintAgain,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 405.
    WrongMethod,
    /// 413.
    PayloadTooLarge,
    /// 414.
    UriTooLong,
    /// 503.
    Unavailable,
}

impl Gate {
    fn row(self) -> (StatusCode, &'static str) {
        match self {
            Self::BadRequest => (StatusCode::BAD_REQUEST, "Bad Request"),
            Self::Unauthorized | Self::Stranger | Self::MintAgain => {
                (StatusCode::UNAUTHORIZED, "Unauthorized")
            }
            Self::InvalidToken => (StatusCode::UNAUTHORIZED, "Invalid API token"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "Forbidden"),
            Self::NotFound => (StatusCode::NOT_FOUND, "Not Found"),
            Self::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"),
            Self::PayloadTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Payload Too Large"),
            Self::UriTooLong => (StatusCode::URI_TOO_LONG, "URI Too Long"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
        }
    }

    /// Whether its body has a message. Of strangers the contract says what they are told, to the letter
    /// (contract/public-tier.md 4), so that nobody can tell a node with a public tier by it.
    fn says_why(self) -> bool {
        !matches!(self, Self::Stranger | Self::InvalidToken)
    }

    fn told(self, message: &'static str) -> RestStatus {
        RestStatus {
            code: self.row().0.as_u16(),
            status: match self {
                Self::BadRequest | Self::PayloadTooLarge | Self::UriTooLong => "INVALID_ARGUMENT",
                Self::Unauthorized | Self::Stranger | Self::InvalidToken | Self::MintAgain => {
                    "UNAUTHENTICATED"
                }
                Self::Forbidden => "PERMISSION_DENIED",
                Self::NotFound => "NOT_FOUND",
                Self::WrongMethod => "UNIMPLEMENTED",
                Self::Unavailable => "UNAVAILABLE",
            },
            message,
        }
    }
}

/// Whose calls are limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Those of callers who are known, or claim to be.
    Known,
    /// Those of the public.
    Public,
}

impl Failure {
    /// A call that comes too soon.
    pub fn limited(held: Held, tier: Tier) -> Self {
        Self::of(Public::Limited { held, tier })
    }

    /// A refusal of a gate.
    pub fn gate(gate: Gate, message: &'static str) -> Self {
        Self::of(Public::Gate { gate, message })
    }

    /// An error of an operation: HTTP 200, as JSON-RPC has it.
    pub fn rpc(id: Id, error: RpcError) -> Self {
        Self::of(Public::Rpc {
            id,
            error: Box::new(error),
            by_operation: true,
        })
    }

    /// An error of the protocol with the HTTP status of its code, for calls that never reached an operation.
    pub fn rpc_with_status(id: Id, error: RpcError) -> Self {
        Self::of(Public::Rpc {
            id,
            error: Box::new(error),
            by_operation: false,
        })
    }

    fn of(public: Public) -> Self {
        Self {
            public,
            form: Form::JsonRpc(Version::V1),
            cause: None,
        }
    }

    /// The same failure in the form that the caller understands.
    #[must_use]
    pub fn told_as(mut self, form: Form) -> Self {
        self.form = form;
        self
    }

    /// The same failure with a cause for the log, which the caller never sees.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::rpc(refused.id, refused.error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.public {
            Public::Gate { gate, message } => write!(f, "{}: {message}", gate.row().1),
            Public::Limited { .. } => f.write_str(TOO_MANY),
            Public::Rpc { error, .. } => write!(f, "{}: {}", error.code.reason(), error.message),
        }
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        match &self.public {
            Public::Gate { gate, .. } => gate.row().0,
            Public::Limited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Public::Rpc {
                by_operation: true, ..
            } if self.form != Form::HttpJson => StatusCode::OK,
            Public::Rpc { error, .. } => StatusCode::from_u16(error.code.http_status())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        if let Some(cause) = &self.cause {
            tracing::warn!(answer = %self, cause, "request failed");
        }
        let status = self.status_code();
        let mut response = HttpResponseBuilder::new(status);
        if status == StatusCode::SERVICE_UNAVAILABLE || self.is_unavailable() {
            response.insert_header((RETRY_AFTER, self.retry_after()));
        }
        if let Public::Limited { held, .. } = &self.public {
            response
                .insert_header((RETRY_AFTER, held.retry_after_seconds))
                .insert_header(("x-ratelimit-limit", held.limit))
                .insert_header(("x-ratelimit-remaining", 0_u64));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.insert_header((WWW_AUTHENTICATE, self.challenge()));
        }
        response.insert_header((CONTENT_TYPE, self.form.content_type()));
        match (self.form, &self.public) {
            (Form::JsonRpc(_), Public::Gate { gate, message }) => response.json(GateBody {
                error: gate.row().1,
                message: gate.says_why().then_some(message),
            }),
            (Form::JsonRpc(_), Public::Limited { held, tier }) => {
                response.json(limited(*held, *tier))
            }
            (Form::JsonRpc(Version::V1), Public::Rpc { id, error, .. }) => {
                response.body(jsonrpc::encode_error(id, error))
            }
            (Form::JsonRpc(Version::V03), Public::Rpc { id, error, .. }) => {
                response.body(jsonrpc::encode_error(id, &error.in_v03()))
            }
            (Form::HttpJson, Public::Gate { gate, message }) => response.body(encode(&RestBody {
                error: gate.told(message),
            })),
            (Form::HttpJson, Public::Limited { .. }) => response.body(encode(&RestBody {
                error: RestStatus {
                    code: status.as_u16(),
                    status: "RESOURCE_EXHAUSTED",
                    message: TOO_MANY,
                },
            })),
            (Form::HttpJson, Public::Rpc { error, .. }) => response.body(encode(&error.rest())),
        }
    }
}

impl Form {
    /// The media type of what is told (A2A 1.0 §9.1, §11.1).
    pub fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::JsonRpc(_) => "application/json",
            Self::HttpJson => "application/a2a+json",
        })
    }
}

impl Failure {
    /// Whether it may be otherwise in a while, without anybody's doing.
    pub fn may_pass(&self) -> bool {
        let is_gate = matches!(
            self.public,
            Public::Limited { .. }
                | Public::Gate {
                    gate: Gate::Unavailable,
                    ..
                }
        );
        is_gate || self.is_unavailable()
    }

    /// As an error of the protocol, for whoever cannot be given a status; with the id that it is told under.
    pub fn as_rpc(&self) -> (Id, RpcError) {
        match &self.public {
            Public::Rpc { id, error, .. } => (id.clone(), RpcError::clone(error)),
            Public::Limited { .. } => (Id::Null, RpcError::new(ErrorCode::Unavailable, TOO_MANY)),
            Public::Gate { gate, message } => {
                let code = match gate {
                    Gate::BadRequest | Gate::UriTooLong => ErrorCode::InvalidRequest,
                    Gate::NotFound => ErrorCode::AgentNotFound,
                    Gate::WrongMethod => ErrorCode::MethodNotFound,
                    Gate::PayloadTooLarge => ErrorCode::PayloadTooLarge,
                    Gate::Unavailable => ErrorCode::Unavailable,
                    Gate::Unauthorized
                    | Gate::Stranger
                    | Gate::InvalidToken
                    | Gate::MintAgain
                    | Gate::Forbidden => ErrorCode::MethodNotAllowed,
                };
                (Id::Null, RpcError::new(code, *message))
            }
        }
    }

    /// Whether the call was refused before it reached an operation.
    pub fn is_refusal(&self) -> bool {
        !matches!(
            &self.public,
            Public::Rpc {
                by_operation: true,
                ..
            }
        )
    }

    fn challenge(&self) -> &'static str {
        match &self.public {
            Public::Gate {
                gate: Gate::MintAgain,
                ..
            } => MINT_AGAIN,
            _ => "Bearer",
        }
    }

    /// In seconds: what the error says, else soon.
    fn retry_after(&self) -> &str {
        let metadata = match &self.public {
            Public::Rpc { error, .. } => error.metadata.as_slice(),
            Public::Gate { .. } | Public::Limited { .. } => &[],
        };
        metadata
            .iter()
            .find_map(|(name, value)| (*name == RETRY_AFTER_SECONDS).then_some(value.as_str()))
            .unwrap_or("1")
    }

    fn is_unavailable(&self) -> bool {
        matches!(&self.public, Public::Rpc { error, .. } if error.code == ErrorCode::Unavailable)
    }
}

/// A gate's refusal in HTTP+JSON (AIP-193).
#[derive(Serialize)]
struct RestBody {
    error: RestStatus,
}

#[derive(Serialize)]
struct RestStatus {
    code: u16,
    status: &'static str,
    message: &'static str,
}

fn encode(body: &impl Serialize) -> Vec<u8> {
    // Texts and numbers only, so writing it cannot fail.
    serde_json::to_vec(body).unwrap_or_default()
}

#[derive(Serialize)]
struct GateBody {
    error: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
}

/// Told under no id, even where the call had one: it was not looked at.
fn limited(held: Held, tier: Tier) -> Value {
    let seconds = held.retry_after_seconds;
    match tier {
        Tier::Known => json!({"error": TOO_MANY, "retryAfterSeconds": seconds}),
        Tier::Public => json!({
            "jsonrpc": "2.0",
            "id": null,
            "error": {
                "code": -32005,
                "message": format!("{TOO_MANY}."),
                "data": {"retryAfterSeconds": seconds, "limit": held.limit},
            },
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(failure: &Failure, may_pass: bool, code: ErrorCode) {
        let (_, error) = failure.as_rpc();
        assert_eq!(
            (failure.may_pass(), error.code),
            (may_pass, code),
            "{failure}"
        );
    }

    #[test]
    fn what_cannot_be_told_by_a_status_is_told_by_a_code() {
        let gate = |gate| Failure::gate(gate, "no");
        check(&gate(Gate::Unavailable), true, ErrorCode::Unavailable);
        check(&gate(Gate::Forbidden), false, ErrorCode::MethodNotAllowed);
        check(&gate(Gate::NotFound), false, ErrorCode::AgentNotFound);
        check(&gate(Gate::BadRequest), false, ErrorCode::InvalidRequest);
        for (code, may_pass) in [
            (ErrorCode::Unavailable, true),
            (ErrorCode::AgentNotFound, false),
        ] {
            let failure = Failure::rpc(Id::Null, RpcError::new(code, "no"));
            check(&failure, may_pass, code);
        }
    }
}
