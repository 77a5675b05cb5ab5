//! Task, its status and artifacts, and the events that change it (A2A 1.0 §4.1.1 - 4.1.3, 4.1.7, 4.2).

use serde::Serialize;
use serde_json::value::RawValue;

use crate::a2a::message::{Message, Part, bounded_id, optional_id};
use crate::a2a::timestamp::Timestamp;
use crate::object::{Extra, Fields, Invalid, Json, text};

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskState {
    /// Accepted, not begun.
    #[serde(rename = "TASK_STATE_SUBMITTED")]
    Submitted,
    /// Being worked on.
    #[serde(rename = "TASK_STATE_WORKING")]
    Working,
    /// Done.
    #[serde(rename = "TASK_STATE_COMPLETED")]
    Completed,
    /// Ended by an error.
    #[serde(rename = "TASK_STATE_FAILED")]
    Failed,
    /// Ended by the client.
    #[serde(rename = "TASK_STATE_CANCELED")]
    Canceled,
    /// Waits for another message.
    #[serde(rename = "TASK_STATE_INPUT_REQUIRED")]
    InputRequired,
    /// Declined by the agent.
    #[serde(rename = "TASK_STATE_REJECTED")]
    Rejected,
    /// Waits for credentials.
    #[serde(rename = "TASK_STATE_AUTH_REQUIRED")]
    AuthRequired,
}

impl TaskState {
    const ALL: [(Self, &'static str, u8); 8] = [
        (Self::Submitted, "\"TASK_STATE_SUBMITTED\"", 1),
        (Self::Working, "\"TASK_STATE_WORKING\"", 2),
        (Self::Completed, "\"TASK_STATE_COMPLETED\"", 3),
        (Self::Failed, "\"TASK_STATE_FAILED\"", 4),
        (Self::Canceled, "\"TASK_STATE_CANCELED\"", 5),
        (Self::InputRequired, "\"TASK_STATE_INPUT_REQUIRED\"", 6),
        (Self::Rejected, "\"TASK_STATE_REJECTED\"", 7),
        (Self::AuthRequired, "\"TASK_STATE_AUTH_REQUIRED\"", 8),
    ];

    /// Nothing changes any more.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Failed | Self::Canceled | Self::Rejected
        )
    }

    /// The agent waits for the client.
    pub fn is_interrupted(self) -> bool {
        matches!(self, Self::InputRequired | Self::AuthRequired)
    }

    /// The number of the state in `a2a.proto`.
    pub fn number(self) -> u8 {
        Self::ALL
            .iter()
            .find(|(state, ..)| *state == self)
            .map_or(0, |(.., number)| *number)
    }

    /// The state with this number in `a2a.proto`.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(.., known)| *known == number)
            .map(|(state, ..)| *state)
    }

    pub(super) fn parse(raw: &RawValue) -> Result<Self, Invalid> {
        let found = Self::ALL
            .iter()
            .find(|(_, name, number)| raw.get() == *name || raw.get() == number.to_string());
        found
            .map(|(state, ..)| *state)
            .ok_or_else(|| Invalid::new("", "must be a known TASK_STATE"))
    }
}

/// The state of a task, since when, and what the agent says about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskStatus {
    /// Where it stands.
    pub state: TaskState,
    /// What the agent says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    /// Members of extensions.
    #[serde(flatten)]
    pub extra: Extra,
}

impl TaskStatus {
    /// A status without a message.
    pub fn new(state: TaskState, at: Timestamp) -> Self {
        Self {
            state,
            message: None,
            timestamp: Some(at),
            extra: Extra::default(),
        }
    }

    fn parse(raw: &RawValue) -> Result<Self, Invalid> {
        let mut fields = Fields::open(raw)?;
        Ok(Self {
            state: fields.require("state", TaskState::parse)?,
            message: fields.parse("message", Message::parse)?,
            timestamp: fields.parse("timestamp", Timestamp::parse)?,
            extra: fields.rest(),
        })
    }
}

/// Something the agent made.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Unique inside the task.
    pub artifact_id: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// At least one.
    pub parts: Vec<Part>,
    /// An object of any content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
    /// URIs of extensions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// Members of extensions.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Artifact {
    /// An artifact of the given parts.
    pub fn new(artifact_id: impl Into<String>, name: &str, parts: Vec<Part>) -> Self {
        Self {
            artifact_id: artifact_id.into(),
            name: Some(name.to_owned()),
            description: None,
            parts,
            metadata: None,
            extensions: Vec::new(),
            extra: Extra::default(),
        }
    }

    /// Adds a further piece (`append`): its parts go behind those that are there, and what else it says is added, in
    /// place of what was said under the same name.
    pub fn append(&mut self, piece: Self) {
        self.parts.extend(piece.parts);
        self.name = piece.name.or(self.name.take());
        self.description = piece.description.or(self.description.take());
        self.metadata = match (self.metadata.take(), piece.metadata) {
            (Some(known), Some(further)) => Some(known.with_members_of(&further)),
            (known, further) => further.or(known),
        };
        for extension in piece.extensions {
            if !self.extensions.contains(&extension) {
                self.extensions.push(extension);
            }
        }
        self.extra.replace_by(piece.extra);
    }

    fn parse(raw: &RawValue) -> Result<Self, Invalid> {
        let mut fields = Fields::open(raw)?;
        Ok(Self {
            artifact_id: bounded_id(fields.require_text("artifactId")?, "artifactId")?,
            name: fields.text("name")?,
            description: fields.text("description")?,
            parts: fields.list("parts", Part::parse)?,
            metadata: fields.object("metadata")?,
            extensions: fields.list("extensions", text)?,
            extra: fields.rest(),
        })
    }
}

/// The unit of work: what was asked, where it stands, what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Made by the server.
    pub id: String,
    /// The conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_id: Option<String>,
    /// Where it stands.
    pub status: TaskStatus,
    /// What was said, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Message>,
    /// An object of any content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
    /// Members of extensions.
    #[serde(flatten)]
    pub extra: Extra,
    /// What the agent made, in order. Written last, so that what a list shows can be cut off before it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Artifact>,
}

impl Task {
    /// Reads a task.
    ///
    /// # Errors
    /// What is missing or of the wrong kind, with its path.
    pub fn parse(raw: &RawValue) -> Result<Self, Invalid> {
        Self::from_fields(Fields::open(raw)?)
    }

    /// Reads a task from its JSON text, for instance one that we stored.
    ///
    /// # Errors
    /// What is missing or of the wrong kind, with its path.
    pub fn read(json: &str) -> Result<Self, Invalid> {
        Self::from_fields(Fields::read(json)?)
    }

    /// The task with at most the last `limit` messages of its history (§3.2.4): all when unset, none for 0.
    #[must_use]
    pub fn with_history_limit(mut self, limit: Option<u32>) -> Self {
        if let Some(limit) = limit {
            let keep = usize::try_from(limit).unwrap_or(usize::MAX);
            let drop = self.history.len().saturating_sub(keep);
            self.history.drain(..drop);
        }
        self
    }

    fn from_fields(mut fields: Fields<'_>) -> Result<Self, Invalid> {
        Ok(Self {
            id: bounded_id(fields.require_text("id")?, "id")?,
            context_id: optional_id(&mut fields, "contextId")?,
            status: fields.require("status", TaskStatus::parse)?,
            artifacts: fields.list("artifacts", Artifact::parse)?,
            history: fields.list("history", Message::parse)?,
            metadata: fields.object("metadata")?,
            extra: fields.rest(),
        })
    }
}

/// The status of a task has changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusUpdate {
    /// Which task.
    pub task_id: String,
    /// Its conversation.
    pub context_id: String,
    /// The new status.
    pub status: TaskStatus,
    /// An object of any content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
    /// Members of extensions.
    #[serde(flatten)]
    pub extra: Extra,
}

impl StatusUpdate {
    fn parse(raw: &RawValue) -> Result<Self, Invalid> {
        let mut fields = Fields::open(raw)?;
        Ok(Self {
            task_id: bounded_id(fields.require_text("taskId")?, "taskId")?,
            context_id: optional_id(&mut fields, "contextId")?.unwrap_or_default(),
            status: fields.require("status", TaskStatus::parse)?,
            metadata: fields.object("metadata")?,
            extra: fields.rest(),
        })
    }
}

/// An artifact, or a further piece of one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactUpdate {
    /// Which task.
    pub task_id: String,
    /// Its conversation.
    pub context_id: String,
    /// The artifact or its next piece.
    pub artifact: Artifact,
    /// Whether the parts go behind those of the artifact with the same id.
    #[serde(skip_serializing_if = "is_false")]
    pub append: bool,
    /// Whether this was the last piece.
    #[serde(skip_serializing_if = "is_false")]
    pub last_chunk: bool,
    /// An object of any content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
    /// Members of extensions.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ArtifactUpdate {
    fn parse(raw: &RawValue) -> Result<Self, Invalid> {
        let mut fields = Fields::open(raw)?;
        Ok(Self {
            task_id: bounded_id(fields.require_text("taskId")?, "taskId")?,
            context_id: optional_id(&mut fields, "contextId")?.unwrap_or_default(),
            artifact: fields.require("artifact", Artifact::parse)?,
            append: fields.flag("append")?,
            last_chunk: fields.flag("lastChunk")?,
            metadata: fields.object("metadata")?,
            extra: fields.rest(),
        })
    }
}

/// One item of a stream (`StreamResponse`, §4.2.3): exactly one member. `SendMessage` answers with the first two kinds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StreamEvent {
    /// The whole task.
    Task(Task),
    /// An answer without a task.
    Message(Message),
    /// The status has changed.
    StatusUpdate(StatusUpdate),
    /// An artifact has grown.
    ArtifactUpdate(ArtifactUpdate),
}

impl StreamEvent {
    /// Reads a stream item.
    ///
    /// # Errors
    /// When it has not exactly one known member, or that member is not right.
    pub fn parse(raw: &RawValue) -> Result<Self, Invalid> {
        Self::read(raw.get())
    }

    /// Reads a stream item from its JSON text.
    ///
    /// # Errors
    /// As [`StreamEvent::parse`].
    pub fn read(json: &str) -> Result<Self, Invalid> {
        let mut fields = Fields::read(json)?;
        let found = [
            fields.parse("task", Task::parse)?.map(Self::Task),
            fields.parse("message", Message::parse)?.map(Self::Message),
            fields
                .parse("statusUpdate", StatusUpdate::parse)?
                .map(Self::StatusUpdate),
            fields
                .parse("artifactUpdate", ArtifactUpdate::parse)?
                .map(Self::ArtifactUpdate),
        ];
        let mut events = found.into_iter().flatten();
        match (events.next(), events.next()) {
            (Some(event), None) => Ok(event),
            _ => Err(Invalid::new(
                "",
                "must have exactly one of task, message, statusUpdate, artifactUpdate",
            )),
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_false(flag: &bool) -> bool {
    !flag
}
