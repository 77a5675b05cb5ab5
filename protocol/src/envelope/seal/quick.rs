//! Reading a message that looks like one of ours, without a tree of values between.
//!
//! Every event of a site passes here, and nearly all are written as we write them. Whatever is not (other members, escaped
//! or repeated ones, other types, envelopes) is left to the thorough reading, which alone decides what is wrong with it.

use serde::de::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::OpenError;
use crate::{
    envelope::{
        event::{AgentLifecycle, AgentState, AgentStatus, Event, SystemEvent, SystemPayload},
        meta::{EventId, MeshMeta},
        time::Timestamp,
    },
    ids::Text,
    names::Dialect,
};

/// What a message says, and its signature as it is written.
pub(super) struct Said<'a> {
    pub(super) event: Event,
    pub(super) meta: MeshMeta,
    pub(super) signature: Option<&'a str>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(borrow, default, rename = "type", deserialize_with = "present")]
    kind: Option<&'a str>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    agent_id: Option<&'a str>,
    #[serde(borrow, default, deserialize_with = "present")]
    status: Option<&'a str>,
    #[serde(borrow, default, deserialize_with = "present")]
    instance_id: Option<&'a str>,
    timestamp: &'a str,
    #[serde(borrow)]
    mesh_meta: Meta<'a>,
    #[serde(borrow, default, deserialize_with = "present")]
    mesh_sig: Option<&'a str>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Meta<'a> {
    v: u64,
    producer: &'a str,
    event_id: &'a str,
    #[serde(borrow, default, deserialize_with = "present")]
    correlation_id: Option<&'a str>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Agent<'a> {
    agent_id: &'a str,
    name: &'a str,
}

/// A member that is there is a text; null is something else than absence.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a str>, D::Error> {
    <&str>::deserialize(deserializer).map(Some)
}

/// `None`: read it thoroughly.
pub(super) fn read(wire: &[u8], dialect: Dialect) -> Option<Said<'_>> {
    let wire: Wire<'_> = serde_json::from_slice(wire).ok()?;
    let Meta {
        v,
        producer,
        event_id,
        correlation_id,
    } = wire.mesh_meta;
    if v != 1 || producer != dialect.bus_producer() {
        return None;
    }
    let meta = MeshMeta {
        event_id: EventId::parse(event_id).ok()?,
        correlation_id: correlation_id.map(Text::parse).transpose().ok()?,
    };
    let timestamp = Timestamp::parse(wire.timestamp).ok()?;
    let event = match (wire.kind, wire.payload, wire.agent_id, wire.status) {
        (Some(kind), Some(payload), None, None) if wire.instance_id.is_none() => {
            let change = AgentLifecycle::parse(kind)?;
            let Agent { agent_id, name } = serde_json::from_str(payload.get()).ok()?;
            Event::System(SystemEvent {
                payload: SystemPayload::Agent {
                    change,
                    agent_id: Text::parse(agent_id).ok()?,
                    name: Text::parse(name).ok()?,
                },
                timestamp,
            })
        }
        (None, None, Some(agent_id), Some(status)) => Event::Status(AgentStatus {
            agent_id: Text::parse(agent_id).ok()?,
            status: AgentState::parse(status)?,
            timestamp,
            instance_id: wire.instance_id.map(Text::parse).transpose().ok()?,
        }),
        _ => return None,
    };
    Some(Said {
        event,
        meta,
        signature: wire.mesh_sig,
    })
}

impl Said<'_> {
    /// The bytes of the signature.
    pub(super) fn signature(&self) -> Result<[u8; 32], OpenError> {
        let text = self.signature.ok_or(OpenError::Unsigned)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| OpenError::BadSignature)?;
        Ok(bytes)
    }
}
