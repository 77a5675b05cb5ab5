//! What the operations on messages, tasks and cards ask for (A2A 1.0 §3.1, 3.2). Each is read in the shape of either
//! version; problems are told in the spelling of that version.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::a2a::message::{Message, bounded_id};
use crate::a2a::push::PushConfig;
use crate::a2a::v03;
use crate::a2a::version::Version;
use crate::object::{Fields, Invalid, Json, text};

/// `SendMessage` and `SendStreamingMessage`.
#[derive(Debug, Clone, PartialEq)]
pub struct SendMessageParams {
    /// Opaque routing word.
    pub tenant: Option<String>,
    /// What is said to the agent.
    pub message: Message,
    /// Media types that the client can take.
    pub accepted_output_modes: Vec<String>,
    /// A webhook for the task's events, from the first one on.
    pub push_notification_config: Option<PushConfig>,
    /// How many messages of the history the answer may hold.
    pub history_length: Option<u32>,
    /// Answer as soon as the task exists.
    pub return_immediately: bool,
    /// Metadata of the request, as it came.
    pub metadata: Option<Json>,
}

impl SendMessageParams {
    /// What a client says who says nothing but `message`.
    pub fn new(message: Message) -> Self {
        Self {
            tenant: None,
            message,
            accepted_output_modes: Vec::new(),
            push_notification_config: None,
            history_length: None,
            return_immediately: false,
            metadata: None,
        }
    }

    /// Reads the parameters in the shape of `version`.
    ///
    /// # Errors
    /// What is missing or of the wrong kind, with its path.
    pub fn parse(version: Version, raw: &RawValue) -> Result<Self, Invalid> {
        if version == Version::V03 {
            return v03::params::read_send(raw);
        }
        let mut fields = Fields::open(raw)?;
        let mut params = Self::new(fields.require("message", Message::parse)?);
        params.tenant = fields.text("tenant")?;
        params.metadata = fields.object("metadata")?;
        fields.parse("configuration", |raw| params.configure(raw))?;
        Ok(params)
    }

    fn configure(&mut self, raw: &RawValue) -> Result<(), Invalid> {
        let mut fields = Fields::open(raw)?;
        self.accepted_output_modes = fields.list("acceptedOutputModes", text)?;
        self.push_notification_config = fields.parse("taskPushNotificationConfig", |raw| {
            PushConfig::parse(Version::V1, raw)
        })?;
        self.history_length = fields.count("historyLength")?;
        self.return_immediately = fields.flag("returnImmediately")?;
        Ok(())
    }
}

/// The parameters as 1.0 has them.
impl Serialize for SendMessageParams {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Params<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            tenant: Option<&'a str>,
            message: &'a Message,
            configuration: Configuration<'a>,
            #[serde(skip_serializing_if = "Option::is_none")]
            metadata: Option<&'a Json>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Configuration<'a> {
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            accepted_output_modes: &'a [String],
            #[serde(skip_serializing_if = "Option::is_none")]
            task_push_notification_config: Option<&'a PushConfig>,
            #[serde(skip_serializing_if = "Option::is_none")]
            history_length: Option<u32>,
            return_immediately: bool,
        }
        Params {
            tenant: self.tenant.as_deref(),
            message: &self.message,
            configuration: Configuration {
                accepted_output_modes: &self.accepted_output_modes,
                task_push_notification_config: self.push_notification_config.as_ref(),
                history_length: self.history_length,
                return_immediately: self.return_immediately,
            },
            metadata: self.metadata.as_ref(),
        }
        .serialize(serializer)
    }
}

/// `GetTask`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetTaskParams {
    /// Opaque routing word.
    pub tenant: Option<String>,
    /// Which task.
    pub id: String,
    /// How many messages of the history the answer may hold.
    pub history_length: Option<u32>,
}

impl GetTaskParams {
    /// Reads the parameters in the shape of `version`.
    ///
    /// # Errors
    /// What is missing or of the wrong kind, with its path.
    pub fn parse(version: Version, raw: &RawValue) -> Result<Self, Invalid> {
        let mut fields = Fields::open(raw)?;
        Ok(Self {
            tenant: tenant(version, &mut fields)?,
            id: task_id(&mut fields)?,
            history_length: match version {
                Version::V1 => fields.count("historyLength")?,
                Version::V03 => v03::params::history_length(&mut fields)?,
            },
        })
    }
}

/// `CancelTask`.
#[derive(Debug, Clone, PartialEq)]
pub struct CancelTaskParams {
    /// Opaque routing word.
    pub tenant: Option<String>,
    /// Which task.
    pub id: String,
    /// Metadata of the request, as it came.
    pub metadata: Option<Json>,
}

impl CancelTaskParams {
    /// Reads the parameters in the shape of `version`.
    ///
    /// # Errors
    /// What is missing or of the wrong kind, with its path.
    pub fn parse(version: Version, raw: &RawValue) -> Result<Self, Invalid> {
        let mut fields = Fields::open(raw)?;
        Ok(Self {
            tenant: tenant(version, &mut fields)?,
            id: task_id(&mut fields)?,
            metadata: fields.object("metadata")?,
        })
    }
}

/// `SubscribeToTask`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeParams {
    /// Opaque routing word.
    pub tenant: Option<String>,
    /// Which task.
    pub id: String,
}

impl SubscribeParams {
    /// Reads the parameters in the shape of `version`.
    ///
    /// # Errors
    /// What is missing or of the wrong kind, with its path.
    pub fn parse(version: Version, raw: &RawValue) -> Result<Self, Invalid> {
        let mut fields = Fields::open(raw)?;
        Ok(Self {
            tenant: tenant(version, &mut fields)?,
            id: task_id(&mut fields)?,
        })
    }
}

/// `GetExtendedAgentCard`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtendedCardParams {
    /// Opaque routing word.
    pub tenant: Option<String>,
}

impl ExtendedCardParams {
    /// Reads the parameters in the shape of `version`; the one operation that may come without any.
    ///
    /// # Errors
    /// What is of the wrong kind, with its path.
    pub fn parse(version: Version, raw: Option<&RawValue>) -> Result<Self, Invalid> {
        let Some(raw) = raw else {
            return Ok(Self::default());
        };
        let mut fields = Fields::open(raw)?;
        Ok(Self {
            tenant: tenant(version, &mut fields)?,
        })
    }
}

/// The routing word, which came with 1.0.
pub(super) fn tenant(version: Version, fields: &mut Fields<'_>) -> Result<Option<String>, Invalid> {
    match version {
        Version::V1 => fields.text("tenant"),
        Version::V03 => Ok(None),
    }
}

fn task_id(fields: &mut Fields<'_>) -> Result<String, Invalid> {
    bounded_id(fields.require_text("id")?, "id")
}
