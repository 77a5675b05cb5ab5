//! The one table from a condition to its JSON-RPC code, HTTP status, AIP-193 status and reason (A2A 1.0 §5.4, §9.5,
//! §11.6), and the error object that carries it, in the three forms in which it is told: [`RpcError`] itself is written
//! for JSON-RPC 1.0, [`RpcError::in_v03`] for JSON-RPC 0.3, [`RpcError::rest`] for HTTP+JSON.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, SerializeStruct, Serializer};

use crate::object::Invalid;

const A2A_DOMAIN: &str = "a2a-protocol.org";
const OUR_DOMAIN: &str = "archipel";

macro_rules! error_table {
    ($($(#[$doc:meta])+ $name:ident = $rpc:literal, $http:literal, $status:literal, $domain:expr, $reason:literal;)+) => {
        /// What went wrong, as the outside may know it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ErrorCode { $($(#[$doc])+ $name,)+ }

        impl ErrorCode {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The JSON-RPC error code.
            pub fn rpc_code(self) -> i32 {
                match self { $(Self::$name => $rpc,)+ }
            }

            /// The HTTP status where the answer is not a JSON-RPC answer with status 200.
            pub fn http_status(self) -> u16 {
                match self { $(Self::$name => $http,)+ }
            }

            /// The name of the status in a REST answer (AIP-193).
            pub fn status(self) -> &'static str {
                match self { $(Self::$name => $status,)+ }
            }

            /// `ErrorInfo.reason`.
            pub fn reason(self) -> &'static str {
                match self { $(Self::$name => $reason,)+ }
            }

            /// `ErrorInfo.domain`: A2A's for its own errors, ours for the rest.
            pub fn domain(self) -> &'static str {
                match self { $(Self::$name => $domain,)+ }
            }
        }
    };
}

error_table! {
    /// The body is not JSON.
    Parse = -32700, 400, "INVALID_ARGUMENT", OUR_DOMAIN, "PARSE_ERROR";
    /// The body is JSON but no JSON-RPC request.
    InvalidRequest = -32600, 400, "INVALID_ARGUMENT", OUR_DOMAIN, "INVALID_REQUEST";
    /// There is no such method.
    MethodNotFound = -32601, 404, "NOT_FOUND", OUR_DOMAIN, "METHOD_NOT_FOUND";
    /// The parameters are not what the method takes.
    InvalidParams = -32602, 400, "INVALID_ARGUMENT", OUR_DOMAIN, "INVALID_PARAMS";
    /// Something of ours failed.
    Internal = -32603, 500, "INTERNAL", OUR_DOMAIN, "INTERNAL_ERROR";
    /// The task is missing, or not the caller's: the two are never told apart (§13.1).
    TaskNotFound = -32001, 404, "NOT_FOUND", A2A_DOMAIN, "TASK_NOT_FOUND";
    /// The task has ended.
    TaskNotCancelable = -32002, 400, "FAILED_PRECONDITION", A2A_DOMAIN, "TASK_NOT_CANCELABLE";
    /// The agent calls no webhooks.
    PushNotificationNotSupported = -32003, 400, "FAILED_PRECONDITION", A2A_DOMAIN, "PUSH_NOTIFICATION_NOT_SUPPORTED";
    /// The operation is not possible here or now.
    UnsupportedOperation = -32004, 400, "FAILED_PRECONDITION", A2A_DOMAIN, "UNSUPPORTED_OPERATION";
    /// The content is of a type that is not taken.
    ContentTypeNotSupported = -32005, 400, "INVALID_ARGUMENT", A2A_DOMAIN, "CONTENT_TYPE_NOT_SUPPORTED";
    /// The agent answered something that is no A2A.
    InvalidAgentResponse = -32006, 500, "INTERNAL", A2A_DOMAIN, "INVALID_AGENT_RESPONSE";
    /// There is no extended card.
    ExtendedCardNotConfigured = -32007, 400, "FAILED_PRECONDITION", A2A_DOMAIN, "EXTENDED_AGENT_CARD_NOT_CONFIGURED";
    /// The agent requires an extension that the client did not name.
    ExtensionSupportRequired = -32008, 400, "FAILED_PRECONDITION", A2A_DOMAIN, "EXTENSION_SUPPORT_REQUIRED";
    /// The version asked for is not spoken.
    VersionNotSupported = -32009, 400, "FAILED_PRECONDITION", A2A_DOMAIN, "VERSION_NOT_SUPPORTED";
    /// No agent of that id.
    AgentNotFound = -32000, 404, "NOT_FOUND", OUR_DOMAIN, "AGENT_NOT_FOUND";
    /// No peer of that name.
    PeerNotFound = -32000, 404, "NOT_FOUND", OUR_DOMAIN, "PEER_NOT_FOUND";
    /// The peer could not be reached or did not answer as it should.
    PeerUnavailable = -32000, 502, "UNAVAILABLE", OUR_DOMAIN, "PEER_UNAVAILABLE";
    /// The peer did not answer in time.
    PeerTimeout = -32000, 504, "DEADLINE_EXCEEDED", OUR_DOMAIN, "PEER_TIMEOUT";
    /// The call came round to a node that has had it, or has gone through as many nodes as it may.
    LoopDetected = -32000, 508, "FAILED_PRECONDITION", OUR_DOMAIN, "LOOP_DETECTED";
    /// We cannot keep what we would have to acknowledge, or decide what we would have to decide.
    Unavailable = -32000, 503, "UNAVAILABLE", OUR_DOMAIN, "UNAVAILABLE";
    /// The caller has no right to the operation.
    MethodNotAllowed = -32000, 403, "PERMISSION_DENIED", OUR_DOMAIN, "METHOD_NOT_ALLOWED";
    /// The body is too large (contract: gateway and node answer -32700).
    PayloadTooLarge = -32700, 413, "INVALID_ARGUMENT", OUR_DOMAIN, "PAYLOAD_TOO_LARGE";
    /// The body did not come in time.
    RequestTimeout = -32700, 408, "DEADLINE_EXCEEDED", OUR_DOMAIN, "REQUEST_TIMEOUT";
    /// The body is not declared as JSON.
    UnsupportedMediaType = -32005, 415, "INVALID_ARGUMENT", A2A_DOMAIN, "CONTENT_TYPE_NOT_SUPPORTED";
}

/// An error as it is told: never a cause, never a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcError {
    /// Which condition.
    pub code: ErrorCode,
    /// For people.
    pub message: Cow<'static, str>,
    /// `ErrorInfo.metadata`.
    pub metadata: Vec<(&'static str, String)>,
    /// `BadRequest.fieldViolations`: path and problem.
    pub violations: Vec<(String, String)>,
}

impl RpcError {
    /// An error with a message for people.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            metadata: Vec::new(),
            violations: Vec::new(),
        }
    }

    /// The same error with one more fact.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.metadata.push((name, value.into()));
        self
    }

    /// The error as JSON-RPC 0.3 tells it: same code and message. Its `data` is an object, which is what clients of 0.3
    /// declare, and holds what the list of 1.0 holds.
    pub fn in_v03(&self) -> impl Serialize {
        RpcError03 {
            code: self.code.rpc_code(),
            message: &self.message,
            data: Data03 {
                reason: self.code.reason(),
                domain: self.code.domain(),
                metadata: Metadata(&self.metadata),
                field_violations: self.field_violations(),
            },
        }
    }

    /// The error as the body of an HTTP+JSON answer (§11.6, AIP-193); its status is [`ErrorCode::http_status`].
    pub fn rest(&self) -> impl Serialize {
        RestAnswer {
            error: RestError {
                code: self.code.http_status(),
                status: self.code.status(),
                message: &self.message,
                details: Details(self),
            },
        }
    }

    fn field_violations(&self) -> Vec<Violation<'_>> {
        self.violations
            .iter()
            .map(|(field, description)| Violation { field, description })
            .collect()
    }

    /// The task is missing, or not the caller's.
    pub fn task_not_found(id: &str) -> Self {
        Self::new(ErrorCode::TaskNotFound, "no such task").with("taskId", id)
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code.reason())
    }
}

impl std::error::Error for RpcError {}

impl From<Invalid> for RpcError {
    fn from(invalid: Invalid) -> Self {
        let mut error = Self::new(
            ErrorCode::InvalidParams,
            format!("invalid parameters: {invalid}"),
        );
        error
            .violations
            .push((invalid.path, invalid.problem.into_owned()));
        error
    }
}

/// `{"code","message","data":[ErrorInfo, BadRequest?]}` (§9.5).
impl Serialize for RpcError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut error = serializer.serialize_struct("error", 3)?;
        error.serialize_field("code", &self.code.rpc_code())?;
        error.serialize_field("message", &self.message)?;
        error.serialize_field("data", &Details(self))?;
        error.end()
    }
}

struct Details<'a>(&'a RpcError);

impl Serialize for Details<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut details = serializer.serialize_seq(None)?;
        details.serialize_element(&ErrorInfo {
            kind: "type.googleapis.com/google.rpc.ErrorInfo",
            reason: self.0.code.reason(),
            domain: self.0.code.domain(),
            metadata: Metadata(&self.0.metadata),
        })?;
        if !self.0.violations.is_empty() {
            details.serialize_element(&BadRequest {
                kind: "type.googleapis.com/google.rpc.BadRequest",
                field_violations: self.0.field_violations(),
            })?;
        }
        details.end()
    }
}

#[derive(Serialize)]
struct ErrorInfo<'a> {
    #[serde(rename = "@type")]
    kind: &'static str,
    reason: &'static str,
    domain: &'static str,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: Metadata<'a>,
}

struct Metadata<'a>(&'a [(&'static str, String)]);

impl Metadata<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BadRequest<'a> {
    #[serde(rename = "@type")]
    kind: &'static str,
    field_violations: Vec<Violation<'a>>,
}

#[derive(Serialize)]
struct Violation<'a> {
    field: &'a str,
    description: &'a str,
}

#[derive(Serialize)]
struct RpcError03<'a> {
    code: i32,
    message: &'a str,
    data: Data03<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data03<'a> {
    reason: &'static str,
    domain: &'static str,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: Metadata<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    field_violations: Vec<Violation<'a>>,
}

#[derive(Serialize)]
struct RestAnswer<'a> {
    error: RestError<'a>,
}

#[derive(Serialize)]
struct RestError<'a> {
    code: u16,
    status: &'static str,
    message: &'a str,
    details: Details<'a>,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::{ErrorCode, RpcError};
    use crate::object::Invalid;

    #[test]
    fn an_error_is_written_with_its_details() {
        let error = RpcError::from(Invalid::new("", "is required").within("message"));
        assert_eq!(
            serde_json::to_value(&error).unwrap(),
            serde_json::json!({
                "code": -32602,
                "message": "invalid parameters: message: is required",
                "data": [
                    {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "INVALID_PARAMS", "domain": "archipel"},
                    {"@type": "type.googleapis.com/google.rpc.BadRequest",
                     "fieldViolations": [{"field": "message", "description": "is required"}]},
                ],
            })
        );
    }

    #[test]
    fn an_error_has_a_form_for_version_0_3_and_one_for_rest() {
        let error = RpcError::task_not_found("t");
        assert_eq!(
            serde_json::to_value(error.in_v03()).unwrap(),
            serde_json::json!({
                "code": -32001,
                "message": "no such task",
                "data": {"reason": "TASK_NOT_FOUND", "domain": "a2a-protocol.org", "metadata": {"taskId": "t"}},
            })
        );
        assert_eq!(
            serde_json::to_value(error.rest()).unwrap(),
            serde_json::json!({
                "error": {
                    "code": 404,
                    "status": "NOT_FOUND",
                    "message": "no such task",
                    "details": [{
                        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                        "reason": "TASK_NOT_FOUND",
                        "domain": "a2a-protocol.org",
                        "metadata": {"taskId": "t"},
                    }],
                },
            })
        );
    }

    #[test]
    fn the_codes_of_the_specification_are_kept() {
        for (code, rpc, http, reason) in [
            (ErrorCode::TaskNotFound, -32001, 404, "TASK_NOT_FOUND"),
            (
                ErrorCode::TaskNotCancelable,
                -32002,
                400,
                "TASK_NOT_CANCELABLE",
            ),
            (
                ErrorCode::PushNotificationNotSupported,
                -32003,
                400,
                "PUSH_NOTIFICATION_NOT_SUPPORTED",
            ),
            (
                ErrorCode::UnsupportedOperation,
                -32004,
                400,
                "UNSUPPORTED_OPERATION",
            ),
            (
                ErrorCode::ContentTypeNotSupported,
                -32005,
                400,
                "CONTENT_TYPE_NOT_SUPPORTED",
            ),
            (
                ErrorCode::InvalidAgentResponse,
                -32006,
                500,
                "INVALID_AGENT_RESPONSE",
            ),
            (
                ErrorCode::ExtendedCardNotConfigured,
                -32007,
                400,
                "EXTENDED_AGENT_CARD_NOT_CONFIGURED",
            ),
            (
                ErrorCode::ExtensionSupportRequired,
                -32008,
                400,
                "EXTENSION_SUPPORT_REQUIRED",
            ),
            (
                ErrorCode::VersionNotSupported,
                -32009,
                400,
                "VERSION_NOT_SUPPORTED",
            ),
        ] {
            assert_eq!(
                (code.rpc_code(), code.http_status(), code.reason()),
                (rpc, http, reason)
            );
            assert_eq!(code.domain(), "a2a-protocol.org");
        }
    }
}
