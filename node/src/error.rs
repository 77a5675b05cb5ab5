//! A failure as a request sees it: a public answer, and a private cause that is logged once, here.
//!
//! Refusals before an operation (who are you, too large, not here) keep the shape of the contract: a real HTTP status and
//! `{"error","message"}`. Whatever an operation refuses is a JSON-RPC error. What the two mean stands in one table,
//! `archipel_protocol::error`.

use std::fmt;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::jsonrpc::{self, Id, Refused};
use serde::Serialize;

/// See the module.
#[derive(Debug)]
pub struct Failure {
    public: Public,
    cause: Option<String>,
}

#[derive(Debug)]
enum Public {
    /// `{"error","message"}` with its status (contract/federation.md 2 and 5).
    Gate { gate: Gate, message: &'static str },
    /// A JSON-RPC error; the status is 200 unless the call never reached an operation.
    Rpc {
        id: Id,
        error: Box<RpcError>,
        status: u16,
    },
}

/// Refusals of the gates before an operation, as the contract spells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// 400.
    BadRequest,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 405.
    WrongMethod,
    /// 414.
    UriTooLong,
    /// 503.
    Unavailable,
}

impl Gate {
    fn row(self) -> (StatusCode, &'static str) {
        match self {
            Self::BadRequest => (StatusCode::BAD_REQUEST, "Bad Request"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "Forbidden"),
            Self::NotFound => (StatusCode::NOT_FOUND, "Not Found"),
            Self::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"),
            Self::UriTooLong => (StatusCode::URI_TOO_LONG, "URI Too Long"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
        }
    }
}

impl Failure {
    /// A refusal of a gate.
    pub fn gate(gate: Gate, message: &'static str) -> Self {
        Self {
            public: Public::Gate { gate, message },
            cause: None,
        }
    }

    /// An error of an operation: HTTP 200, as JSON-RPC has it.
    pub fn rpc(id: Id, error: RpcError) -> Self {
        Self {
            public: Public::Rpc {
                id,
                error: Box::new(error),
                status: 200,
            },
            cause: None,
        }
    }

    /// A JSON-RPC error with the HTTP status of its code, for calls that never reached an operation.
    pub fn rpc_with_status(id: Id, error: RpcError) -> Self {
        let status = error.code.http_status();
        Self {
            public: Public::Rpc {
                id,
                error: Box::new(error),
                status,
            },
            cause: None,
        }
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
            Public::Rpc { error, .. } => write!(f, "{}: {}", error.code.reason(), error.message),
        }
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        match &self.public {
            Public::Gate { gate, .. } => gate.row().0,
            Public::Rpc { status, .. } => {
                StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        if let Some(cause) = &self.cause {
            tracing::warn!(answer = %self, cause, "request failed");
        }
        let status = self.status_code();
        let mut response = HttpResponseBuilder::new(status);
        if status == StatusCode::SERVICE_UNAVAILABLE || self.is_unavailable() {
            response.insert_header((RETRY_AFTER, "1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        response.insert_header((CONTENT_TYPE, "application/json"));
        match &self.public {
            Public::Gate { gate, message } => response.json(GateBody {
                error: gate.row().1,
                message,
            }),
            Public::Rpc { id, error, .. } => response.body(jsonrpc::encode_error(id, error)),
        }
    }
}

impl Failure {
    /// Whether the call was refused before it reached an operation.
    pub fn is_refusal(&self) -> bool {
        self.status_code() != StatusCode::OK
    }

    fn is_unavailable(&self) -> bool {
        matches!(&self.public, Public::Rpc { error, .. } if error.code == ErrorCode::Unavailable)
    }
}

#[derive(Serialize)]
struct GateBody {
    error: &'static str,
    message: &'static str,
}
