//! Reading events: every offending member is named, unknown members are dropped.

use serde_json::{Map, Value};

use crate::{
    envelope::{
        event::{
            AgentLifecycle, AgentState, AgentStatus, InvalidEvent, RecordedSource, SystemEvent,
            SystemPayload,
        },
        time::Timestamp,
    },
    ids::Text,
    wan,
};

impl SystemEvent {
    /// Reads a system event; unknown members are dropped.
    ///
    /// # Errors
    /// [`InvalidEvent`] with the path of every offending member.
    pub fn parse(value: &Value) -> Result<Self, InvalidEvent> {
        let mut reader = Reader::open(value, "")?;
        let Some(kind) = reader.get("type").and_then(Value::as_str) else {
            return Err(InvalidEvent::at("type"));
        };
        let payload = reader.get("payload").unwrap_or(&Value::Null);
        let payload = match kind {
            "agent.imported" => read_imported(payload),
            "model.pulled" => read_one(payload, "modelName")
                .map(|model_name| SystemPayload::ModelPulled { model_name }),
            "backup.completed" => read_one(payload, "backupId")
                .map(|backup_id| SystemPayload::BackupCompleted { backup_id }),
            "mesh.wan.envelope" => read_envelope(payload),
            _ => match AgentLifecycle::parse(kind) {
                Some(change) => read_agent(payload, change),
                None => return Err(InvalidEvent::at("type")),
            },
        };
        let payload = reader.take(payload);
        let timestamp = reader.timestamp();
        match (payload, timestamp) {
            (Some(payload), Some(timestamp)) => Ok(Self { payload, timestamp }),
            _ => Err(reader.invalid()),
        }
    }
}

impl AgentStatus {
    /// Reads an agent's status; unknown members are dropped.
    ///
    /// # Errors
    /// [`InvalidEvent`] with the path of every offending member.
    pub fn parse(value: &Value) -> Result<Self, InvalidEvent> {
        let mut reader = Reader::open(value, "")?;
        let agent_id = reader.text("agentId");
        let status = reader.required("status", |value| AgentState::parse(value.as_str()?));
        let timestamp = reader.timestamp();
        let instance_id = reader.optional("instanceId", read_text);
        match (agent_id, status, timestamp) {
            (Some(agent_id), Some(status), Some(timestamp)) if reader.paths.is_empty() => {
                Ok(Self {
                    agent_id,
                    status,
                    timestamp,
                    instance_id,
                })
            }
            _ => Err(reader.invalid()),
        }
    }
}

impl InvalidEvent {
    fn at(path: &str) -> Self {
        Self {
            paths: vec![path.to_owned()],
        }
    }
}

/// Reads the members of an object and notes the path of what is wrong.
struct Reader<'a> {
    members: &'a Map<String, Value>,
    prefix: &'static str,
    paths: Vec<String>,
}

impl<'a> Reader<'a> {
    fn open(value: &'a Value, prefix: &'static str) -> Result<Self, InvalidEvent> {
        let members = value
            .as_object()
            .ok_or_else(|| InvalidEvent::at(prefix.trim_end_matches('.')))?;
        Ok(Self {
            members,
            prefix,
            paths: Vec::new(),
        })
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name)
    }

    fn required<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        let found = self.get(name).and_then(read);
        if found.is_none() {
            self.paths.push(format!("{}{name}", self.prefix));
        }
        found
    }

    fn optional<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        self.get(name)?;
        self.required(name, read)
    }

    fn text<const MAX: usize>(&mut self, name: &str) -> Option<Text<MAX>> {
        self.required(name, read_text)
    }

    fn timestamp(&mut self) -> Option<Timestamp> {
        self.required("timestamp", |value| Timestamp::parse(value.as_str()?).ok())
    }

    /// Takes over what an inner reader found, or what was wrong there.
    fn take<T>(&mut self, found: Result<T, InvalidEvent>) -> Option<T> {
        found
            .map_err(|invalid| self.paths.extend(invalid.paths))
            .ok()
    }

    fn invalid(self) -> InvalidEvent {
        InvalidEvent { paths: self.paths }
    }
}

fn read_text<const MAX: usize>(value: &Value) -> Option<Text<MAX>> {
    Text::parse(value.as_str()?).ok()
}

fn read_agent(payload: &Value, change: AgentLifecycle) -> Result<SystemPayload, InvalidEvent> {
    let mut reader = Reader::open(payload, "payload.")?;
    let agent_id = reader.text("agentId");
    let name = reader.text("name");
    if let (Some(agent_id), Some(name)) = (agent_id, name) {
        return Ok(SystemPayload::Agent {
            change,
            agent_id,
            name,
        });
    }
    // The peers know two shapes of this payload, one with a reason, and point at the whole of it unless all that is
    // wrong is the length of a text and the other shape is out of the question.
    let is_text = |name| reader.get(name).is_some_and(Value::is_string);
    let one_shape = is_text("agentId")
        && is_text("name")
        && reader.get("reason").is_none_or(|reason| reason != "idle");
    if change == AgentLifecycle::Paused && !one_shape {
        return Err(InvalidEvent::at("payload"));
    }
    Err(reader.invalid())
}

fn read_imported(payload: &Value) -> Result<SystemPayload, InvalidEvent> {
    let mut reader = Reader::open(payload, "payload.")?;
    let agent_id = reader.text("agentId");
    let name = reader.text("name");
    let source_type = reader.text("sourceType");
    let recorded_source = reader.optional("recordedSource", |value| {
        RecordedSource::parse(value.as_str()?)
    });
    match (agent_id, name, source_type) {
        (Some(agent_id), Some(name), Some(source_type)) if reader.paths.is_empty() => {
            Ok(SystemPayload::AgentImported {
                agent_id,
                name,
                source_type,
                recorded_source,
            })
        }
        _ => Err(reader.invalid()),
    }
}

fn read_one<const MAX: usize>(payload: &Value, name: &str) -> Result<Text<MAX>, InvalidEvent> {
    let mut reader = Reader::open(payload, "payload.")?;
    reader.text(name).ok_or_else(|| reader.invalid())
}

fn read_envelope(payload: &Value) -> Result<SystemPayload, InvalidEvent> {
    wan::Envelope::from_value(payload)
        .map(SystemPayload::WanEnvelope)
        .map_err(|issues| InvalidEvent {
            paths: issues
                .into_iter()
                .map(|issue| match issue.path.as_str() {
                    "" => "payload".to_owned(),
                    path => format!("payload.{path}"),
                })
                .collect(),
        })
}
