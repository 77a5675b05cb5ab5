//! `wan-envelope-v1`: what travels between sites (`contract/bus.md` 6).
//!
//! Two doors read it, and they differ: the node's ingress counts UTF-16 units and takes any WHATWG URL, the bridge
//! counts code points and takes RFC 3986 URIs (`uri`). What both accept is an [`Envelope`]; `message` is how NATS has it, `seal`
//! proves who sent it, `call` is what it carries for an agent.

mod call;
mod message;
mod seal;
mod uri;

use std::fmt::Display;

pub use call::{CallError, Direction, PostedCall, Route};
pub use message::{MeshTrace, WanMessage};
pub use seal::{SEAL_HEADER, Seal, SealError, Sealer};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use url::Url;
use uuid::Uuid;

use crate::{
    canonical,
    ids::{Origin, trim_ecmascript, utf16_longer_than},
};

/// `schema`, where an envelope names it.
const SCHEMA: &str = "wan-envelope-v1";

/// Shortest and longest `correlationId`.
const MIN_CORRELATION: usize = 8;
const MAX_CORRELATION: usize = 256;

/// The members there may be; the envelope is closed.
const MEMBERS: [&str; 7] = [
    "v",
    "correlationId",
    "sourceOrigin",
    "targetOrigin",
    "targetHandle",
    "payload",
    "schema",
];

/// A message from one site to another. Made by decoding, or with a call in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// Names this envelope end to end; a site takes it once.
    pub correlation_id: String,
    /// URL of the sending site.
    pub source_origin: String,
    /// URL of the site it is meant for.
    pub target_origin: Option<String>,
    /// The agent it is meant for.
    pub target_handle: Option<String>,
    /// What it says; open.
    pub payload: Option<Map<String, Value>>,
    /// Whether it names its schema.
    schema: Option<&'static str>,
}

/// One thing wrong with an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issue {
    /// Dotted path of the member; empty for the envelope itself.
    pub path: String,
    /// What is wrong, for a person.
    pub message: String,
}

/// Why the ingress refuses a body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IngressError {
    /// Not JSON.
    #[error("not JSON")]
    NotJson,
    /// JSON, but not an envelope: every issue.
    #[error("not a WAN envelope: {}", join_issues(.0))]
    Invalid(Vec<Issue>),
}

/// Why the bridge refuses a body, in the words of JSON Schema 2020-12.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BridgeError {
    /// Not JSON.
    #[error("not JSON")]
    NotJson,
    /// JSON, but not an envelope: the first violation.
    #[error("not a WAN envelope: {instance_path} {message}")]
    Invalid {
        /// JSON pointer to what is wrong; empty for the envelope itself.
        instance_path: String,
        /// The keyword of the schema that is violated.
        keyword: &'static str,
        /// What is wrong, for a person.
        message: String,
    },
}

impl Envelope {
    /// An envelope with a call, or the answer to one.
    pub fn with_call(id: Uuid, source: &Origin, target: &Origin, call: &PostedCall) -> Self {
        Self {
            correlation_id: id.hyphenated().to_string(),
            source_origin: source.to_string(),
            target_origin: Some(target.to_string()),
            // An answer is for the node that asked, not for an agent of it.
            target_handle: (call.direction == Direction::Request).then(|| call.agent.clone()),
            payload: Some(call.to_payload()),
            schema: None,
        }
    }

    /// Reads the body of `POST /api/mesh/wan/ingress`. URLs are trimmed and otherwise kept as they were written.
    ///
    /// # Errors
    /// [`IngressError`] with every issue.
    pub fn decode_ingress(body: &[u8]) -> Result<Self, IngressError> {
        let value = parse_body(body).ok_or(IngressError::NotJson)?;
        Self::from_value(&value).map_err(IngressError::Invalid)
    }

    /// Reads an envelope as the bridge's `POST /v1/publish` does; an empty body counts as `{}`.
    ///
    /// # Errors
    /// [`BridgeError`] with the first violation.
    pub fn decode_bridge(body: &[u8]) -> Result<Self, BridgeError> {
        let body = if body.is_empty() { b"{}" } else { body };
        let value = parse_body(body).ok_or(BridgeError::NotJson)?;
        Self::from_value_of_bridge(&value)
    }

    /// Reads an envelope by the rules of the bridge.
    fn from_value_of_bridge(value: &Value) -> Result<Self, BridgeError> {
        let members = value
            .as_object()
            .ok_or_else(|| violation("", "type", "must be object"))?;
        check_members(members)?;
        check_values(members)?;
        let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            correlation_id: text("correlationId").unwrap_or_default(),
            source_origin: text("sourceOrigin").unwrap_or_default(),
            target_origin: text("targetOrigin"),
            target_handle: text("targetHandle"),
            payload: members.get("payload").and_then(Value::as_object).cloned(),
            schema: members.get("schema").map(|_| SCHEMA),
        })
    }

    /// The envelope's members as they are written and signed.
    pub fn to_value(&self) -> Value {
        let text = |text: &String| Value::from(text.as_str());
        let members = [
            ("v", Some(Value::from(1))),
            ("correlationId", Some(text(&self.correlation_id))),
            ("sourceOrigin", Some(text(&self.source_origin))),
            ("targetOrigin", self.target_origin.as_ref().map(text)),
            ("targetHandle", self.target_handle.as_ref().map(text)),
            ("payload", self.payload.clone().map(Value::Object)),
            ("schema", self.schema.map(Value::from)),
        ];
        members
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect::<Map<_, _>>()
            .into()
    }

    /// Reads an envelope by the rules of the ingress.
    pub(crate) fn from_value(value: &Value) -> Result<Self, Vec<Issue>> {
        let Some(members) = value.as_object() else {
            return Err(vec![issue("", "must be an object")]);
        };
        let mut reader = IngressReader {
            members,
            issues: Vec::new(),
        };
        if members.get("v").and_then(Value::as_f64) != Some(1.0) {
            reader.refuse("v", "must be 1");
        }
        let envelope = Self {
            correlation_id: reader.correlation_id(),
            source_origin: reader.required_url("sourceOrigin"),
            target_origin: reader.optional("targetOrigin", "must be an absolute URL", absolute_url),
            target_handle: reader.optional("targetHandle", "must not be empty", |value| {
                value
                    .as_str()
                    .filter(|handle| !handle.is_empty())
                    .map(str::to_owned)
            }),
            payload: reader.optional("payload", "must be an object", record),
            schema: reader.optional("schema", "must be wan-envelope-v1", |value| {
                (value == SCHEMA).then_some(SCHEMA)
            }),
        };
        if members.keys().any(|name| !MEMBERS.contains(&name.as_str())) {
            reader.refuse("", "must not have other members");
        }
        if reader.issues.is_empty() {
            Ok(envelope)
        } else {
            Err(reader.issues)
        }
    }
}

impl Serialize for Envelope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

/// Reads members and notes what is wrong with them.
struct IngressReader<'a> {
    members: &'a Map<String, Value>,
    issues: Vec<Issue>,
}

impl IngressReader<'_> {
    fn refuse(&mut self, path: &str, message: &str) {
        self.issues.push(issue(path, message));
    }

    fn correlation_id(&mut self) -> String {
        let text = self.members.get("correlationId").and_then(Value::as_str);
        let in_bounds = |text: &&str| {
            utf16_longer_than(text, MIN_CORRELATION - 1)
                && !utf16_longer_than(text, MAX_CORRELATION)
        };
        if let Some(text) = text.filter(in_bounds) {
            return text.to_owned();
        }
        self.refuse("correlationId", "must be 8 to 256 characters long");
        String::new()
    }

    fn required_url(&mut self, name: &str) -> String {
        if let Some(url) = self.members.get(name).and_then(absolute_url) {
            return url;
        }
        self.refuse(name, "must be an absolute URL");
        String::new()
    }

    fn optional<T>(
        &mut self,
        name: &str,
        message: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.members.get(name)?;
        let found = read(value);
        if found.is_none() {
            self.refuse(name, message);
        }
        found
    }
}

fn parse_body(body: &[u8]) -> Option<Value> {
    canonical::parse(std::str::from_utf8(body).ok()?).ok()
}

/// A WHATWG URL of any scheme, trimmed, otherwise as it was written.
fn absolute_url(value: &Value) -> Option<String> {
    let text = trim_ecmascript(value.as_str()?);
    Url::parse(text).ok().map(|_| text.to_owned())
}

/// An open object. The peers drop a member of this one name before they sign, so we must too.
fn record(value: &Value) -> Option<Map<String, Value>> {
    let mut members = value.as_object()?.clone();
    members.shift_remove("__proto__");
    Some(members)
}

fn issue(path: &str, message: &str) -> Issue {
    Issue {
        path: path.to_owned(),
        message: message.to_owned(),
    }
}

fn join_issues(issues: &[Issue]) -> String {
    let texts: Vec<String> = issues
        .iter()
        .map(|issue| format!("{} {}", issue.path, issue.message))
        .collect();
    texts.join(", ")
}

/// The bridge's checks of the object itself, in the order of its validator.
fn check_members(members: &Map<String, Value>) -> Result<(), BridgeError> {
    for name in ["v", "correlationId", "sourceOrigin"] {
        if !members.contains_key(name) {
            let message = format!("must have required property '{name}'");
            return Err(violation("", "required", message));
        }
    }
    if members.keys().any(|name| !MEMBERS.contains(&name.as_str())) {
        let message = "must NOT have additional properties";
        return Err(violation("", "additionalProperties", message));
    }
    Ok(())
}

/// The bridge's checks of each member, in the order of its schema.
fn check_values(members: &Map<String, Value>) -> Result<(), BridgeError> {
    let equal = "must be equal to constant";
    if members.get("schema").is_some_and(|value| value != SCHEMA) {
        return Err(violation("schema", "const", equal));
    }
    match members.get("v").and_then(Value::as_f64) {
        Some(1.0) => {}
        Some(number) if number.fract() == 0.0 => return Err(violation("v", "const", equal)),
        _ => return Err(violation("v", "type", "must be integer")),
    }
    if let Some(text) = string(members, "correlationId")? {
        let length = text.chars().count();
        if length > MAX_CORRELATION {
            let message = format!("must NOT have more than {MAX_CORRELATION} characters");
            return Err(violation("correlationId", "maxLength", message));
        }
        if length < MIN_CORRELATION {
            let message = format!("must NOT have fewer than {MIN_CORRELATION} characters");
            return Err(violation("correlationId", "minLength", message));
        }
    }
    for name in ["sourceOrigin", "targetOrigin"] {
        if string(members, name)?.is_some_and(|text| !uri::is_uri(text)) {
            return Err(violation(name, "format", "must match format \"uri\""));
        }
    }
    string(members, "targetHandle")?;
    if members
        .get("payload")
        .is_some_and(|value| !value.is_object())
    {
        return Err(violation("payload", "type", "must be object"));
    }
    Ok(())
}

fn string<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, BridgeError> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(violation(name, "type", "must be string")),
    }
}

fn violation(member: &str, keyword: &'static str, message: impl Display) -> BridgeError {
    let instance_path = if member.is_empty() {
        String::new()
    } else {
        format!("/{member}")
    };
    BridgeError::Invalid {
        instance_path,
        keyword,
        message: message.to_string(),
    }
}

#[cfg(test)]
mod tests;
