//! Messages: the same members in both versions; 0.3 adds `kind` and has roles in lower case.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::a2a::message::{Message, Role, bounded_id, optional_id};
use crate::a2a::v03::foreign::{Foreign, Names, kept};
use crate::a2a::v03::part::{Part03, read_part};
use crate::object::{Extra, Fields, Invalid, Json, text};

/// A message as 0.3 writes it.
pub fn message(message: &Message) -> impl Serialize {
    Message03::of(message)
}

/// Reads a message of 0.3.
///
/// # Errors
/// What is missing or of the wrong kind, with its path.
pub fn read_message(raw: &RawValue) -> Result<Message, Invalid> {
    let mut fields = Fields::open(raw)?;
    check_kind(&mut fields, "message")?;
    let message = Message {
        message_id: bounded_id(fields.require_text("messageId")?, "messageId")?,
        context_id: optional_id(&mut fields, "contextId")?,
        task_id: optional_id(&mut fields, "taskId")?,
        role: fields.require("role", read_role)?,
        parts: fields.list("parts", read_part)?,
        metadata: fields.object("metadata")?,
        extensions: fields.list("extensions", text)?,
        reference_task_ids: fields.list("referenceTaskIds", text)?,
        extra: kept(fields.rest(), Names::KIND, Extra::default()),
    };
    if message.parts.is_empty() {
        return Err(Invalid::new("parts", "must have at least one part"));
    }
    Ok(message)
}

/// Takes `kind` out. The SDKs do without it where the place says what the object is.
pub(super) fn check_kind(fields: &mut Fields<'_>, expected: &'static str) -> Result<(), Invalid> {
    match fields.text("kind")? {
        Some(kind) if kind != expected => {
            Err(Invalid::new("kind", format!("must be \"{expected}\"")))
        }
        _ => Ok(()),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message03<'a> {
    kind: &'static str,
    message_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<&'a str>,
    role: &'static str,
    parts: Vec<Part03<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Json>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    extensions: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    reference_task_ids: &'a [String],
    #[serde(flatten)]
    extra: Foreign<'a>,
}

impl<'a> Message03<'a> {
    pub(super) fn of(message: &'a Message) -> Self {
        Self {
            kind: "message",
            message_id: &message.message_id,
            context_id: message.context_id.as_deref(),
            task_id: message.task_id.as_deref(),
            role: match message.role {
                Role::User => "user",
                Role::Agent => "agent",
            },
            parts: message.parts.iter().map(Part03).collect(),
            metadata: message.metadata.as_ref(),
            extensions: &message.extensions,
            reference_task_ids: &message.reference_task_ids,
            extra: Foreign {
                extra: &message.extra,
                names: Names::KIND,
            },
        }
    }
}

fn read_role(raw: &RawValue) -> Result<Role, Invalid> {
    match raw.get() {
        "\"user\"" => Ok(Role::User),
        "\"agent\"" => Ok(Role::Agent),
        _ => Err(Invalid::new("", "must be user or agent")),
    }
}
