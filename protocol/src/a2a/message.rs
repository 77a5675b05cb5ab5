//! Message, Part and Role (A2A 1.0 §4.1.4 - 4.1.6).

use serde::Serialize;
use serde_json::value::RawValue;

use crate::a2a::MAX_ID_BYTES;
use crate::object::{Extra, Fields, Invalid, Json, text};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Role {
    /// The client.
    #[serde(rename = "ROLE_USER")]
    User,
    /// The agent.
    #[serde(rename = "ROLE_AGENT")]
    Agent,
}

/// One unit of communication between a client and an agent.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Made by the sender. Not a unique key: clients reuse ids for different messages.
    pub message_id: String,
    /// The conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_id: Option<String>,
    /// The task it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Who speaks.
    pub role: Role,
    /// At least one.
    pub parts: Vec<Part>,
    /// An object of any content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
    /// URIs of extensions that are present in this message.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// Tasks that the message refers to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reference_task_ids: Vec<String>,
    /// Members of extensions.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Message {
    /// A message of the agent with one text part.
    pub fn from_agent(message_id: String, said: impl Into<String>) -> Self {
        Self {
            message_id,
            context_id: None,
            task_id: None,
            role: Role::Agent,
            parts: vec![Part::text(said)],
            metadata: None,
            extensions: Vec::new(),
            reference_task_ids: Vec::new(),
            extra: Extra::default(),
        }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// What is missing or of the wrong kind, with its path.
    pub fn parse(raw: &RawValue) -> Result<Self, Invalid> {
        let mut fields = Fields::open(raw)?;
        let message = Self {
            message_id: bounded_id(fields.require_text("messageId")?, "messageId")?,
            context_id: optional_id(&mut fields, "contextId")?,
            task_id: optional_id(&mut fields, "taskId")?,
            role: fields.require("role", role)?,
            parts: fields.list("parts", Part::parse)?,
            metadata: fields.object("metadata")?,
            extensions: fields.list("extensions", text)?,
            reference_task_ids: fields.list("referenceTaskIds", text)?,
            extra: fields.rest(),
        };
        if message.parts.is_empty() {
            return Err(Invalid::new("parts", "must have at least one part"));
        }
        Ok(message)
    }

    /// All text of the message, parts joined by a line end.
    pub fn joined_text(&self) -> String {
        let texts: Vec<&str> = self.parts.iter().filter_map(Part::as_text).collect();
        texts.join("\n")
    }
}

/// One piece of content.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Exactly one of `text`, `raw`, `url`, `data`.
    #[serde(flatten)]
    pub content: Content,
    /// An object of any content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
    /// Name of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// MIME type of the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Members of extensions.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What a part holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Bytes of a file, base64 as it came.
    Raw(String),
    /// Where the content is.
    Url(String),
    /// Any JSON value, as it came.
    Data(Json),
}

impl Part {
    /// A text part.
    pub fn text(text: impl Into<String>) -> Self {
        Self::of(Content::Text(text.into()))
    }

    /// A part with structured data.
    pub fn data(data: Json) -> Self {
        Self::of(Content::Data(data))
    }

    /// The text, if it is a text part.
    pub fn as_text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Reads a part.
    ///
    /// # Errors
    /// When it has not exactly one content, or a member of the wrong kind.
    pub fn parse(raw: &RawValue) -> Result<Self, Invalid> {
        let mut fields = Fields::open(raw)?;
        let found = [
            fields.parse("text", text)?.map(Content::Text),
            fields.parse("raw", text)?.map(Content::Raw),
            fields.parse("url", text)?.map(Content::Url),
        ];
        let is_alone = found.iter().all(Option::is_none);
        // Data may be null. Beside another content, null says no more than that there is no data.
        let data = fields
            .take_nullable("data")
            .filter(|data| is_alone || data.get() != "null")
            .map(|data| Content::Data(Json::capture(data)));
        let mut contents = found.into_iter().flatten().chain(data);
        let (Some(content), None) = (contents.next(), contents.next()) else {
            return Err(Invalid::new(
                "",
                "must have exactly one of text, raw, url, data",
            ));
        };
        Ok(Self {
            content,
            metadata: fields.object("metadata")?,
            filename: fields.text("filename")?,
            media_type: fields.text("mediaType")?,
            extra: fields.rest(),
        })
    }

    /// A part of the given content and nothing else.
    pub fn of(content: Content) -> Self {
        Self {
            content,
            metadata: None,
            filename: None,
            media_type: None,
            extra: Extra::default(),
        }
    }
}

fn role(raw: &RawValue) -> Result<Role, Invalid> {
    match raw.get() {
        "\"ROLE_USER\"" | "1" => Ok(Role::User),
        "\"ROLE_AGENT\"" | "2" => Ok(Role::Agent),
        _ => Err(Invalid::new("", "must be ROLE_USER or ROLE_AGENT")),
    }
}

/// An id that may be absent.
pub(super) fn optional_id(
    fields: &mut Fields<'_>,
    name: &'static str,
) -> Result<Option<String>, Invalid> {
    fields
        .text(name)?
        .map(|id| bounded_id(id, name))
        .transpose()
}

/// An id of acceptable length.
pub(super) fn bounded_id(id: String, name: &'static str) -> Result<String, Invalid> {
    if id.len() > MAX_ID_BYTES {
        return Err(Invalid::new(
            name,
            format!("must not be longer than {MAX_ID_BYTES} bytes"),
        ));
    }
    Ok(id)
}
