//! The events of the bus (`contract/bus.md` 5): valid by construction. `read` makes them of JSON.

mod read;

use serde_json::{Map, Value};

use crate::{envelope::time::Timestamp, ids::Text, wan};

/// Anything that may be published on the bus.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// On the system events channel.
    System(SystemEvent),
    /// On the agent status channel.
    Status(AgentStatus),
}

/// Something happened on a node.
#[derive(Clone, Debug, PartialEq)]
pub struct SystemEvent {
    /// What happened.
    pub payload: SystemPayload,
    /// When.
    pub timestamp: Timestamp,
}

/// What happened; each variant is a `type` on the wire.
#[derive(Clone, Debug, PartialEq)]
pub enum SystemPayload {
    /// `agent.created` and the other steps of an agent's life.
    Agent {
        /// Which step.
        change: AgentLifecycle,
        /// The agent's id.
        agent_id: Text<128>,
        /// The agent's name.
        name: Text<512>,
    },
    /// `agent.imported`.
    AgentImported {
        /// The agent's id.
        agent_id: Text<128>,
        /// The agent's name.
        name: Text<512>,
        /// What kind of source it was imported from.
        source_type: Text<64>,
        /// What the source is recorded as.
        recorded_source: Option<RecordedSource>,
    },
    /// `model.pulled`.
    ModelPulled {
        /// The model's name.
        model_name: Text<512>,
    },
    /// `backup.completed`.
    BackupCompleted {
        /// The backup's id.
        backup_id: Text<64>,
    },
    /// `mesh.wan.envelope`: an envelope that the ingress accepted.
    WanEnvelope(wan::Envelope),
}

/// A step of an agent's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgentLifecycle {
    /// `agent.created`
    Created,
    /// `agent.deleted`
    Deleted,
    /// `agent.started`
    Started,
    /// `agent.stopped`
    Stopped,
    /// `agent.paused`
    Paused,
    /// `agent.resumed`
    Resumed,
}

/// What the source of an imported agent is recorded as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordedSource {
    /// `url-import`
    UrlImport,
    /// `marketplace`
    Marketplace,
    /// `registry`
    Registry,
}

/// The state an agent is in.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentStatus {
    /// The agent's id.
    pub agent_id: Text<128>,
    /// Its state.
    pub status: AgentState,
    /// Since when.
    pub timestamp: Timestamp,
    /// Which instance of it.
    pub instance_id: Option<Text<256>>,
}

/// A state of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgentState {
    /// `running`
    Running,
    /// `ready`
    Ready,
    /// `paused`
    Paused,
    /// `stopped`
    Stopped,
}

/// What is wrong with an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid event: {}", paths.join(", "))]
pub struct InvalidEvent {
    /// The dotted path of every offending member; empty text for the event itself.
    pub paths: Vec<String>,
}

impl Event {
    /// When it happened.
    pub fn timestamp(&self) -> &Timestamp {
        match self {
            Self::System(event) => &event.timestamp,
            Self::Status(status) => &status.timestamp,
        }
    }

    /// The event's `type`; an agent's status, which has none on the wire, is called `agent.status`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::System(event) => event.payload.kind(),
            Self::Status(_) => "agent.status",
        }
    }

    /// The event's members as they are written and signed.
    pub fn to_members(&self) -> Map<String, Value> {
        let mut members = Map::new();
        match self {
            Self::System(event) => {
                members.insert("type".into(), event.payload.kind().into());
                members.insert("payload".into(), event.payload.to_value());
                members.insert("timestamp".into(), event.timestamp.as_str().into());
            }
            Self::Status(status) => {
                members.insert("agentId".into(), status.agent_id.as_str().into());
                members.insert("status".into(), status.status.as_str().into());
                members.insert("timestamp".into(), status.timestamp.as_str().into());
                if let Some(instance_id) = &status.instance_id {
                    members.insert("instanceId".into(), instance_id.as_str().into());
                }
            }
        }
        members
    }
}

impl From<SystemEvent> for Event {
    fn from(event: SystemEvent) -> Self {
        Self::System(event)
    }
}

impl From<AgentStatus> for Event {
    fn from(status: AgentStatus) -> Self {
        Self::Status(status)
    }
}

impl SystemPayload {
    fn kind(&self) -> &'static str {
        match self {
            Self::Agent { change, .. } => change.as_str(),
            Self::AgentImported { .. } => "agent.imported",
            Self::ModelPulled { .. } => "model.pulled",
            Self::BackupCompleted { .. } => "backup.completed",
            Self::WanEnvelope(_) => "mesh.wan.envelope",
        }
    }

    fn to_value(&self) -> Value {
        let members: Vec<(&str, &str)> = match self {
            Self::Agent { agent_id, name, .. } => {
                vec![("agentId", agent_id.as_str()), ("name", name.as_str())]
            }
            Self::AgentImported {
                agent_id,
                name,
                source_type,
                recorded_source,
            } => [
                ("agentId", agent_id.as_str()),
                ("name", name.as_str()),
                ("sourceType", source_type.as_str()),
            ]
            .into_iter()
            .chain(recorded_source.map(|source| ("recordedSource", source.as_str())))
            .collect(),
            Self::ModelPulled { model_name } => vec![("modelName", model_name.as_str())],
            Self::BackupCompleted { backup_id } => vec![("backupId", backup_id.as_str())],
            Self::WanEnvelope(envelope) => return envelope.to_value(),
        };
        members
            .into_iter()
            .map(|(name, text)| (name.to_owned(), Value::from(text)))
            .collect::<Map<_, _>>()
            .into()
    }
}

/// Spells the variants of an enum and reads them back.
macro_rules! spelled {
    ($name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        impl $name {
            /// The variant as it is written.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            pub(in crate::envelope) fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

spelled!(AgentLifecycle {
    Created = "agent.created",
    Deleted = "agent.deleted",
    Started = "agent.started",
    Stopped = "agent.stopped",
    Paused = "agent.paused",
    Resumed = "agent.resumed",
});

spelled!(RecordedSource {
    UrlImport = "url-import",
    Marketplace = "marketplace",
    Registry = "registry",
});

spelled!(AgentState {
    Running = "running",
    Ready = "ready",
    Paused = "paused",
    Stopped = "stopped",
});

#[cfg(test)]
mod tests;
