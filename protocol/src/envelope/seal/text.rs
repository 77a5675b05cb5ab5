//! The texts of a message: what is under its HMAC, and how it travels.
//!
//! Both are written straight from the event, without a tree of values between: every event of a site passes here. Nothing but
//! the payload of an envelope is open, so the order of all other members is known when this is written.

use serde_json::Value;

use crate::{
    canonical,
    envelope::{
        event::{AgentStatus, Event, SystemEvent, SystemPayload},
        meta::MeshMeta,
    },
    names::Dialect,
};

/// Enough for most messages.
const USUAL: usize = 512;

/// What is under the HMAC: canonical JSON, so the members stand in the order of their names.
pub(super) fn signed(event: &Event, meta: &MeshMeta, channel: &str, dialect: Dialect) -> String {
    let mut text = Members::default();
    text.open();
    text.member("channel", channel);
    text.name("core");
    text.open();
    match event {
        Event::System(SystemEvent { payload, timestamp }) => {
            text.payload(payload, canonical::to_string);
            text.member("timestamp", timestamp.as_str());
            text.member("type", event.kind());
        }
        Event::Status(status) => {
            text.member("agentId", status.agent_id.as_str());
            text.optional("instanceId", instance_of(status));
            text.member("status", status.status.as_str());
            text.member("timestamp", status.timestamp.as_str());
        }
    }
    text.close();
    text.name("meshMeta");
    text.open();
    text.optional("correlationId", correlation_of(meta));
    text.member("eventId", meta.event_id.as_str());
    text.member("producer", dialect.bus_producer());
    text.name("v");
    text.raw("1");
    text.close();
    text.member("sigVersion", dialect.bus_signature_version());
    text.close();
    text.written
}

/// The message as it travels.
pub(super) fn wire(
    event: &Event,
    meta: &MeshMeta,
    signature: Option<&str>,
    dialect: Dialect,
) -> String {
    let mut text = Members::default();
    text.open();
    match event {
        Event::System(SystemEvent { payload, timestamp }) => {
            text.member("type", event.kind());
            text.payload(payload, Value::to_string);
            text.member("timestamp", timestamp.as_str());
        }
        Event::Status(status) => {
            text.member("agentId", status.agent_id.as_str());
            text.member("status", status.status.as_str());
            text.member("timestamp", status.timestamp.as_str());
            text.optional("instanceId", instance_of(status));
        }
    }
    text.name("meshMeta");
    text.open();
    text.name("v");
    text.raw("1");
    text.member("producer", dialect.bus_producer());
    text.member("eventId", meta.event_id.as_str());
    text.optional("correlationId", correlation_of(meta));
    text.close();
    text.optional("meshSig", signature);
    text.close();
    text.written
}

fn instance_of(status: &AgentStatus) -> Option<&str> {
    status.instance_id.as_ref().map(|text| text.as_str())
}

fn correlation_of(meta: &MeshMeta) -> Option<&str> {
    meta.correlation_id.as_ref().map(|text| text.as_str())
}

/// Objects as they are written.
struct Members {
    written: String,
    /// Whether the next member is the first of its object.
    is_first: bool,
}

impl Default for Members {
    fn default() -> Self {
        Self {
            written: String::with_capacity(USUAL),
            is_first: true,
        }
    }
}

impl Members {
    fn open(&mut self) {
        self.written.push('{');
        self.is_first = true;
    }

    fn close(&mut self) {
        self.written.push('}');
        self.is_first = false;
    }

    /// A name of ours, in which nothing has to be escaped.
    fn name(&mut self, name: &'static str) {
        if !self.is_first {
            self.written.push(',');
        }
        self.is_first = false;
        self.written.push('"');
        self.raw(name);
        self.raw("\":");
    }

    fn member(&mut self, name: &'static str, text: &str) {
        self.name(name);
        if must_be_escaped(text) {
            // serde_json escapes exactly what ECMAScript does.
            return self.raw(&Value::from(text).to_string());
        }
        self.written.push('"');
        self.raw(text);
        self.written.push('"');
    }

    fn optional(&mut self, name: &'static str, text: Option<&str>) {
        if let Some(text) = text {
            self.member(name, text);
        }
    }

    fn raw(&mut self, json: &str) {
        self.written.push_str(json);
    }

    /// The members of a closed payload stand in canonical order, which is as good as any other on the wire.
    fn payload(&mut self, payload: &SystemPayload, open_text: impl Fn(&Value) -> String) {
        self.name("payload");
        if let SystemPayload::WanEnvelope(envelope) = payload {
            return self.raw(&open_text(&envelope.to_value()));
        }
        self.open();
        match payload {
            SystemPayload::Agent { agent_id, name, .. } => {
                self.member("agentId", agent_id.as_str());
                self.member("name", name.as_str());
            }
            SystemPayload::AgentImported {
                agent_id,
                name,
                source_type,
                recorded_source,
            } => {
                self.member("agentId", agent_id.as_str());
                self.member("name", name.as_str());
                let recorded_source = recorded_source.map(|source| source.as_str());
                self.optional("recordedSource", recorded_source);
                self.member("sourceType", source_type.as_str());
            }
            SystemPayload::ModelPulled { model_name } => {
                self.member("modelName", model_name.as_str());
            }
            SystemPayload::BackupCompleted { backup_id } => {
                self.member("backupId", backup_id.as_str());
            }
            SystemPayload::WanEnvelope(_) => {}
        }
        self.close();
    }
}

/// Looks at every byte, which takes less time than to stop at the first.
fn must_be_escaped(text: &str) -> bool {
    let is_special = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
    text.bytes()
        .fold(false, |found, byte| found | is_special(byte))
}
