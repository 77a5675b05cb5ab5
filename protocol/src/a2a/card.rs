//! The agent card (A2A 1.0 §4.4): what an agent says of itself, and under which URLs it is reached.
//!
//! Children: `hosted` (the card of an agent behind a node), `signature` (who says so), with what it covers in `payload` and
//! `shape`, and `keys`.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::a2a::v03;
use crate::object::{Extra, Fields, Invalid, Json, text};

mod hosted;
mod keys;
mod payload;
mod shape;
pub mod signature;

pub use hosted::{Extension, HTTP_JSON_BINDING, Offer, for_both};
pub use keys::{KeySetError, TrustedKeys};
pub use signature::{CardSigner, SignError};

/// Where media type and name of the 1.0 JSON-RPC binding are written.
pub const JSONRPC_BINDING: &str = "JSONRPC";

/// An agent card. Members that a node does not act on (`provider`, `skills`, ..) are carried as they came.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentCard {
    /// For people.
    pub name: String,
    /// For people.
    pub description: String,
    /// In order of preference.
    pub supported_interfaces: Vec<AgentInterface>,
    /// Version of the agent.
    pub version: String,
    /// What the agent can do.
    pub capabilities: Capabilities,
    /// Media types that it takes.
    pub default_input_modes: Vec<String>,
    /// Media types that it makes.
    pub default_output_modes: Vec<String>,
    /// What it is good at, each as it came.
    pub skills: Vec<Json>,
    /// `provider`, `securitySchemes`, `signatures`, .. and members of extensions.
    #[serde(flatten)]
    pub extra: Extra,
}

impl AgentCard {
    /// Reads a card of either version. One that lists its interfaces is of 1.0, whatever else is on it for others.
    ///
    /// # Errors
    /// When a required member is missing or of the wrong kind.
    pub fn read_any(json: &str) -> Result<Self, Invalid> {
        let card = Self::read(json)?;
        if !card.supported_interfaces.is_empty() {
            return Ok(card);
        }
        Ok(v03::read_card(json).unwrap_or(card))
    }

    /// Reads a card of version 1.0.
    ///
    /// # Errors
    /// When a required member is missing or of the wrong kind.
    pub fn read(json: &str) -> Result<Self, Invalid> {
        let mut fields = Fields::read(json)?;
        Ok(Self {
            name: fields.require_text("name")?,
            description: fields.text("description")?.unwrap_or_default(),
            supported_interfaces: fields.list("supportedInterfaces", AgentInterface::parse)?,
            version: fields.text("version")?.unwrap_or_default(),
            capabilities: fields
                .parse("capabilities", Capabilities::parse)?
                .unwrap_or_default(),
            default_input_modes: fields.list("defaultInputModes", text)?,
            default_output_modes: fields.list("defaultOutputModes", text)?,
            skills: fields.list("skills", |raw| Ok(Json::capture(raw)))?,
            extra: fields.rest(),
        })
    }
}

/// One way to reach an agent.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentInterface {
    /// Absolute.
    pub url: String,
    /// `JSONRPC`, `HTTP+JSON`, `GRPC` or another.
    pub protocol_binding: String,
    /// Opaque routing word to send along.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Version of A2A spoken there.
    pub protocol_version: String,
    /// Members of extensions.
    #[serde(flatten)]
    pub extra: Extra,
}

impl AgentInterface {
    /// A JSON-RPC interface of version 1.0.
    pub fn jsonrpc(url: String) -> Self {
        Self {
            url,
            protocol_binding: JSONRPC_BINDING.to_owned(),
            tenant: None,
            protocol_version: super::VERSION.to_owned(),
            extra: Extra::default(),
        }
    }

    fn parse(raw: &RawValue) -> Result<Self, Invalid> {
        let mut fields = Fields::open(raw)?;
        Ok(Self {
            url: fields.require_text("url")?,
            protocol_binding: fields.text("protocolBinding")?.unwrap_or_default(),
            tenant: fields.text("tenant")?,
            protocol_version: fields.text("protocolVersion")?.unwrap_or_default(),
            extra: fields.rest(),
        })
    }
}

/// What an agent can do beyond answering.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// Streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streaming: Option<bool>,
    /// Calls webhooks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push_notifications: Option<bool>,
    /// Has more to say to who is authenticated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extended_agent_card: Option<bool>,
    /// `extensions` and members of extensions, as they came.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Capabilities {
    pub(super) fn parse(raw: &RawValue) -> Result<Self, Invalid> {
        let mut fields = Fields::open(raw)?;
        Ok(Self {
            streaming: fields.optional_flag("streaming")?,
            push_notifications: fields.optional_flag("pushNotifications")?,
            extended_agent_card: fields.optional_flag("extendedAgentCard")?,
            extra: fields.rest(),
        })
    }
}
