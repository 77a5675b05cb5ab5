//! What the operations ask for (A2A 1.0 §3.1, 3.2).

use serde_json::value::RawValue;

use crate::a2a::message::{Message, bounded_id};
use crate::object::{Fields, Invalid, Json, text};

/// `SendMessage` and `SendStreamingMessage`.
#[derive(Debug, Clone, PartialEq)]
pub struct SendMessageParams {
    /// What is said to the agent.
    pub message: Message,
    /// Media types that the client can take.
    pub accepted_output_modes: Vec<String>,
    /// A webhook for the task's events, as it came.
    pub push_notification_config: Option<Json>,
    /// How many messages of the history the answer may hold.
    pub history_length: Option<u32>,
    /// Answer as soon as the task exists.
    pub return_immediately: bool,
    /// Metadata of the request, as it came.
    pub metadata: Option<Json>,
}

impl SendMessageParams {
    /// Reads the parameters.
    ///
    /// # Errors
    /// What is missing or of the wrong kind, with its path.
    pub fn parse(raw: &RawValue) -> Result<Self, Invalid> {
        let mut fields = Fields::open(raw)?;
        let message = fields.require("message", Message::parse)?;
        let metadata = fields.object("metadata")?;
        let mut params = Self {
            message,
            metadata,
            accepted_output_modes: Vec::new(),
            push_notification_config: None,
            history_length: None,
            return_immediately: false,
        };
        fields.parse("configuration", |raw| params.configure(raw))?;
        Ok(params)
    }

    fn configure(&mut self, raw: &RawValue) -> Result<(), Invalid> {
        let mut fields = Fields::open(raw)?;
        self.accepted_output_modes = fields.list("acceptedOutputModes", text)?;
        self.push_notification_config = fields.object("taskPushNotificationConfig")?;
        self.history_length = fields.count("historyLength")?;
        self.return_immediately = fields.flag("returnImmediately")?;
        Ok(())
    }
}

/// `GetTask`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetTaskParams {
    /// Which task.
    pub id: String,
    /// How many messages of the history the answer may hold.
    pub history_length: Option<u32>,
}

impl GetTaskParams {
    /// Reads the parameters.
    ///
    /// # Errors
    /// What is missing or of the wrong kind, with its path.
    pub fn parse(raw: &RawValue) -> Result<Self, Invalid> {
        let mut fields = Fields::open(raw)?;
        Ok(Self {
            id: task_id(&mut fields)?,
            history_length: fields.count("historyLength")?,
        })
    }
}

/// `CancelTask`.
#[derive(Debug, Clone, PartialEq)]
pub struct CancelTaskParams {
    /// Which task.
    pub id: String,
    /// Metadata of the request, as it came.
    pub metadata: Option<Json>,
}

impl CancelTaskParams {
    /// Reads the parameters.
    ///
    /// # Errors
    /// What is missing or of the wrong kind, with its path.
    pub fn parse(raw: &RawValue) -> Result<Self, Invalid> {
        let mut fields = Fields::open(raw)?;
        Ok(Self {
            id: task_id(&mut fields)?,
            metadata: fields.object("metadata")?,
        })
    }
}

/// `SubscribeToTask`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeParams {
    /// Which task.
    pub id: String,
}

impl SubscribeParams {
    /// Reads the parameters.
    ///
    /// # Errors
    /// What is missing or of the wrong kind, with its path.
    pub fn parse(raw: &RawValue) -> Result<Self, Invalid> {
        let mut fields = Fields::open(raw)?;
        Ok(Self {
            id: task_id(&mut fields)?,
        })
    }
}

fn task_id(fields: &mut Fields<'_>) -> Result<String, Invalid> {
    bounded_id(fields.require_text("id")?, "id")
}
