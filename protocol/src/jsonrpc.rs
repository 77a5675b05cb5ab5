//! JSON-RPC 2.0, strictly and without copies: the envelope is opened one level deep, parameters and results stay raw.
//!
//! Bounds come first: depth is counted over the bytes before anything is parsed, so hostile nesting costs one scan.

use std::borrow::Cow;

use serde::Serialize;
use serde::ser::Serializer;
use serde_json::value::RawValue;

use crate::error::{ErrorCode, RpcError};
use crate::object::{Fields, text};

/// Deepest nesting of objects and lists that is accepted.
pub const MAX_DEPTH: usize = 64;

/// Longest text id that is accepted, in bytes.
pub const MAX_ID_BYTES: usize = 256;

/// The id of a request, echoed with its type. Integers keep their digits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Id {
    /// Absent or null.
    #[default]
    Null,
    /// A text.
    Text(String),
    /// An integer, as it was written.
    Integer(String),
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_none(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Integer(digits) => match RawValue::from_string(digits.clone()) {
                Ok(raw) => raw.serialize(serializer),
                Err(error) => Err(serde::ser::Error::custom(error)),
            },
        }
    }
}

/// A request whose parameters have not been looked at.
#[derive(Debug)]
pub struct Request<'a> {
    /// To be echoed.
    pub id: Id,
    /// As it came.
    pub method: Cow<'a, str>,
    /// An object, if there is one.
    pub params: Option<&'a RawValue>,
}

/// A refusal together with the id it is told under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The request's id as far as it could be read.
    pub id: Id,
    /// Why.
    pub error: RpcError,
}

impl<'a> Request<'a> {
    /// Opens a request.
    ///
    /// # Errors
    /// Parse error for what is not JSON (UTF-8 included) or nested too deep, invalid request for what is no request:
    /// a batch, a wrong `jsonrpc`, an id that is neither text, integer nor null, parameters that are no object.
    pub fn decode(body: &'a [u8]) -> Result<Self, Refused> {
        let json = readable(body).map_err(|error| Refused {
            id: Id::Null,
            error,
        })?;
        let mut fields = Fields::read(json).map_err(|_| {
            anonymous("the request must be a JSON object; batches are no part of A2A")
        })?;
        let id = match fields.take("id") {
            None => Id::Null,
            Some(raw) => {
                identify(raw).ok_or_else(|| anonymous("id must be a text, an integer or null"))?
            }
        };
        let refused = |message: &'static str| Refused {
            id: id.clone(),
            error: RpcError::new(ErrorCode::InvalidRequest, message),
        };
        if fields.take("jsonrpc").map(RawValue::get) != Some("\"2.0\"") {
            return Err(refused("jsonrpc must be \"2.0\""));
        }
        let method = fields
            .take("method")
            .ok_or_else(|| refused("method is required"))?;
        let method = borrowed_text(method).ok_or_else(|| refused("method must be a text"))?;
        let params = fields.take("params");
        if params.is_some_and(|raw| !raw.get().starts_with('{')) {
            let error = RpcError::new(ErrorCode::InvalidParams, "params must be an object");
            return Err(Refused { id, error });
        }
        Ok(Self { id, method, params })
    }
}

/// What came back from another server.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// The result, raw.
    Result(&'a RawValue),
    /// The error that it told.
    Error {
        /// JSON-RPC code.
        code: i64,
        /// For people, foreign text.
        message: String,
    },
}

/// Opens a response of another server.
///
/// # Errors
/// When it is no JSON-RPC response.
pub fn decode_response(body: &[u8]) -> Result<Outcome<'_>, RpcError> {
    let not_a_response =
        || RpcError::new(ErrorCode::InvalidAgentResponse, "not a JSON-RPC response");
    let mut fields = Fields::read(readable(body)?).map_err(|_| not_a_response())?;
    if let Some(error) = fields.take("error") {
        let mut error = Fields::open(error).map_err(|_| not_a_response())?;
        let code = error
            .take("code")
            .and_then(|raw| raw.get().parse().ok())
            .ok_or_else(not_a_response)?;
        let message = error.text("message").ok().flatten().unwrap_or_default();
        return Ok(Outcome::Error { code, message });
    }
    fields
        .take("result")
        .map(Outcome::Result)
        .ok_or_else(not_a_response)
}

/// Writes an answer.
///
/// # Errors
/// When the result has no JSON form; none of the protocol's types is like that.
pub fn encode_result(id: &Id, result: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    struct Success<'a, T> {
        jsonrpc: &'static str,
        id: &'a Id,
        result: &'a T,
    }
    let mut out = Vec::with_capacity(512);
    serde_json::to_writer(
        &mut out,
        &Success {
            jsonrpc: "2.0",
            id,
            result,
        },
    )?;
    Ok(out)
}

/// Writes a refusal: an [`RpcError`], or the form of one for version 0.3.
pub fn encode_error(id: &Id, error: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Failed<'a, T> {
        jsonrpc: &'static str,
        id: &'a Id,
        error: &'a T,
    }
    // A refusal is made of texts and numbers only, so writing it cannot fail; if it did, the fixed answer is valid.
    serde_json::to_vec(&Failed {
        jsonrpc: "2.0",
        id,
        error,
    })
    .unwrap_or_else(|_| {
        br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"internal error"}}"#
            .to_vec()
    })
}

/// Writes a request of ours.
///
/// # Errors
/// When the parameters have no JSON form.
pub fn encode_request(
    id: &str,
    method: &str,
    params: &impl Serialize,
) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    struct Call<'a, T> {
        jsonrpc: &'static str,
        id: &'a str,
        method: &'a str,
        params: &'a T,
    }
    serde_json::to_vec(&Call {
        jsonrpc: "2.0",
        id,
        method,
        params,
    })
}

fn anonymous(message: &'static str) -> Refused {
    Refused {
        id: Id::Null,
        error: RpcError::new(ErrorCode::InvalidRequest, message),
    }
}

/// The body as text of bounded depth that is JSON.
///
/// # Errors
/// What it is not.
pub fn readable(body: &[u8]) -> Result<&str, RpcError> {
    let text = std::str::from_utf8(body)
        .map_err(|_| RpcError::new(ErrorCode::Parse, "the body is not UTF-8"))?;
    if depth(body) > MAX_DEPTH {
        return Err(RpcError::new(
            ErrorCode::Parse,
            format!("the body is nested deeper than {MAX_DEPTH} levels"),
        ));
    }
    // A full pass that allocates nothing: what is raw later on is known to be JSON from here.
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Ok(text),
        Err(_) => Err(RpcError::new(ErrorCode::Parse, "the body is not JSON")),
    }
}

/// The deepest nesting of brackets outside of texts.
fn depth(body: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let (mut in_text, mut escaped) = (false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn identify(raw: &RawValue) -> Option<Id> {
    let json = raw.get();
    if json.starts_with('"') {
        return text(raw)
            .ok()
            .filter(|id| id.len() <= MAX_ID_BYTES)
            .map(Id::Text);
    }
    let digits = json.strip_prefix('-').unwrap_or(json);
    let is_integer = !digits.is_empty()
        && digits.len() <= MAX_ID_BYTES
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_integer.then(|| Id::Integer(json.to_owned()))
}

fn borrowed_text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        text(raw).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

#[cfg(test)]
mod tests;
