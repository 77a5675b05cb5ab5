//! Sealing and opening bus messages (`contract/bus.md` 3 and 4).
//!
//! The HMAC covers the event's known members, `meshMeta` as it came, and the channel, so a message moved to another
//! channel does not open. Freshness and repetition are for the caller, who has a clock and a memory.
//! Read `text` (what is written), then `quick` (how our own spelling is read).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use serde_json::{Map, Value};

use crate::{
    canonical,
    envelope::{
        event::{AgentStatus, Event, InvalidEvent, SystemEvent},
        meta::{MeshMeta, MetaError},
    },
    names::Dialect,
};

mod quick;
mod text;

/// Longest message, in bytes: the largest envelope that the ingress takes (1 MiB) fits with room to spare.
const MAX_WIRE: usize = 4 * 1024 * 1024;

/// Shortest bus secret, in bytes.
const MIN_SECRET: usize = 32;

/// The secret under a site's bus messages; never printed. With AWS-LC, as the shared secret of federation is.
#[derive(Clone)]
pub struct BusSecret(Arc<hmac::Key>);

/// A bus secret is shorter than 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a bus secret must be at least 32 bytes long")]
pub struct BusSecretError;

impl BusSecret {
    /// Takes the UTF-8 bytes of a configured secret as key. Only the HMAC state made of it is kept.
    ///
    /// # Errors
    /// [`BusSecretError`] when there are less than 32.
    pub fn new(secret: &str) -> Result<Self, BusSecretError> {
        if secret.len() < MIN_SECRET {
            return Err(BusSecretError);
        }
        let key = hmac::Key::new(HMAC_SHA256, secret.as_bytes());
        Ok(Self(Arc::new(key)))
    }

    /// In hexadecimal digits. Letter by letter, as the library otherwise writes them, they would take a third of the time
    /// of the HMAC.
    fn sign(&self, input: &str) -> String {
        let tag = hmac::sign(&self.0, input.as_bytes());
        let mut digits = vec![0; 2 * tag.as_ref().len()];
        // There is room for all of them, and a signature that is missing opens nothing.
        match hex::encode_to_slice(tag, &mut digits) {
            Ok(()) => String::from_utf8(digits).unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// Compares in constant time.
    fn verifies(&self, input: &str, signature: &[u8]) -> bool {
        hmac::verify(&self.0, input.as_bytes(), signature).is_ok()
    }
}

impl fmt::Debug for BusSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("BusSecret([redacted])")
    }
}

/// A bus message that may be believed.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// What it says.
    pub event: Event,
    /// What goes with it.
    pub meta: MeshMeta,
    /// Whether a secret of ours verified it; false only where no secret is configured.
    pub signed: bool,
}

impl Opened {
    /// The event's time in milliseconds since 1970, for the check of its freshness; none when it is written without a
    /// time zone.
    pub fn timestamp_ms(&self) -> Option<i64> {
        self.event.timestamp().unix_ms()
    }

    /// The message's id, for the check that it comes once.
    pub fn event_id(&self) -> &str {
        self.meta.event_id.as_str()
    }
}

/// Why a bus message is dropped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not a JSON object, or longer than 4 MiB.
    #[error("not a bus message")]
    Malformed,
    /// A secret is configured and the message has no `meshSig`.
    #[error("not signed")]
    Unsigned,
    /// `meshSig` is not that of any of our secrets.
    #[error("the signature is wrong")]
    BadSignature,
    /// The event is not one of the contract's.
    #[error(transparent)]
    InvalidEvent(#[from] InvalidEvent),
    /// `meshMeta` is not as the contract has it.
    #[error(transparent)]
    InvalidMeta(#[from] MetaError),
}

impl OpenError {
    /// The reason as one word, for answers, counters and logs.
    pub const fn token(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unsigned => "unsigned",
            Self::BadSignature => "bad_signature",
            Self::InvalidEvent(_) => "invalid_event",
            Self::InvalidMeta(_) => "invalid_meta",
        }
    }
}

/// The message to publish on `channel`, signed if there is a secret.
pub fn seal(
    event: &Event,
    channel: &str,
    meta: &MeshMeta,
    secret: Option<&BusSecret>,
    dialect: Dialect,
) -> String {
    let signature = secret.map(|secret| secret.sign(&text::signed(event, meta, channel, dialect)));
    text::wire(event, meta, signature.as_deref(), dialect)
}

/// Checks a message received on `channel`. With no secrets an unsigned message opens (`signed: false`); with several,
/// any of them may have signed it, so that a secret can be exchanged while messages flow.
///
/// # Errors
/// [`OpenError`].
pub fn open(
    wire: &[u8],
    channel: &str,
    secrets: &[BusSecret],
    dialect: Dialect,
) -> Result<Opened, OpenError> {
    if wire.len() > MAX_WIRE {
        return Err(OpenError::Malformed);
    }
    let Some(said) = quick::read(wire, dialect) else {
        return open_thoroughly(wire, channel, secrets, dialect);
    };
    if !secrets.is_empty() {
        let signature = said.signature()?;
        let input = text::signed(&said.event, &said.meta, channel, dialect);
        if !secrets
            .iter()
            .any(|secret| secret.verifies(&input, &signature))
        {
            return Err(OpenError::BadSignature);
        }
    }
    Ok(Opened {
        event: said.event,
        meta: said.meta,
        signed: !secrets.is_empty(),
    })
}

/// Reads a message of any shape.
fn open_thoroughly(
    wire: &[u8],
    channel: &str,
    secrets: &[BusSecret],
    dialect: Dialect,
) -> Result<Opened, OpenError> {
    let mut members = parse_members(wire)?;
    let signature = members.shift_remove("meshSig");
    if !secrets.is_empty() && signature.is_none() {
        return Err(OpenError::Unsigned);
    }
    let raw_meta = members.shift_remove("meshMeta").unwrap_or_default();
    let event = parse_event(&Value::Object(members))?;
    let meta = MeshMeta::parse(&raw_meta, dialect)?;
    if !secrets.is_empty() {
        // Signed as received: a member that we do not know in meshMeta is under the signature too.
        let input = signing_input(
            Value::Object(event.to_members()),
            raw_meta,
            channel,
            dialect,
        );
        let signature = signature
            .as_ref()
            .and_then(Value::as_str)
            .and_then(|text| hex::decode(text).ok())
            .ok_or(OpenError::BadSignature)?;
        if !secrets
            .iter()
            .any(|secret| secret.verifies(&input, &signature))
        {
            return Err(OpenError::BadSignature);
        }
    }
    Ok(Opened {
        event,
        meta,
        signed: !secrets.is_empty(),
    })
}

/// The text under a message's HMAC: canonical JSON of the event's members (`core`), its `meshMeta`, its channel and the
/// dialect's signature version.
pub fn signing_input(core: Value, meta: Value, channel: &str, dialect: Dialect) -> String {
    let mut members = Map::new();
    members.insert("sigVersion".into(), dialect.bus_signature_version().into());
    members.insert("channel".into(), channel.into());
    members.insert("core".into(), core);
    members.insert("meshMeta".into(), meta);
    canonical::to_string(&Value::Object(members))
}

fn parse_members(wire: &[u8]) -> Result<Map<String, Value>, OpenError> {
    let text = std::str::from_utf8(wire).map_err(|_| OpenError::Malformed)?;
    match canonical::parse(text) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(OpenError::Malformed),
    }
}

/// Tells an agent's status from a system event by its members: a channel may have any name, and the channel is under
/// the signature anyway.
fn parse_event(core: &Value) -> Result<Event, InvalidEvent> {
    let has = |name: &str| core.get(name).is_some();
    if has("agentId") && !(has("type") && has("payload")) {
        AgentStatus::parse(core).map(Event::Status)
    } else {
        SystemEvent::parse(core).map(Event::System)
    }
}

#[cfg(test)]
mod tests;
