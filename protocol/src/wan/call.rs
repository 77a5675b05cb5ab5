//! A call to an agent of another site, or the answer to one, as the payload of an envelope: store-and-forward A2A.
//!
//! ```json
//! {"archipelCall": {"v": 1, "direction": "request", "agent": "text", "a2aVersion": "1.0", "body": "{\"jsonrpc\":..}", "token": ".."}}
//! ```
//!
//! `body` is a JSON-RPC request, or its response in an `answer`, as text: whatever carries the envelope may write its JSON
//! anew, and the token is good for exactly these bytes on exactly this way ([`PostedCall::digest`]). A payload without the
//! member is none of ours; one with a member that cannot be read is refused.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::Envelope;
use crate::federation::token;

/// The member of a payload that holds a call. Other members beside it are left alone.
const MEMBER: &str = "archipelCall";

/// What the digest begins with, so that it is never that of something else.
const PURPOSE: &str = "archipel posted call v1";

/// The members of a call, all of them texts but `v`.
const MEMBERS: [&str; 6] = ["v", "direction", "agent", "a2aVersion", "body", "token"];

/// Longest id of an agent, in bytes.
const MAX_AGENT: usize = 128;

/// Which way a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the agent.
    Request,
    /// Back from it.
    Answer,
}

/// A call, or its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostedCall {
    /// Which of the two.
    pub direction: Direction,
    /// The agent's id at its node.
    pub agent: String,
    /// The version of A2A that `body` is in, as `A2A-Version` has it.
    pub version: String,
    /// JSON-RPC 2.0, as it was written.
    pub body: String,
    /// The federation token of the sender, with the claim `letter`.
    pub token: String,
}

/// From where to where, under which name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// `correlationId`: an answer has that of its request.
    pub correlation_id: &'a str,
    /// `sourceOrigin`.
    pub source: &'a str,
    /// `targetOrigin`.
    pub target: &'a str,
}

/// A payload says that it holds a call, and does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It has not the shape of one.
    #[error("archipelCall must have exactly v, direction, agent, a2aVersion, body and token")]
    Shape,
    /// Of a later version than we know.
    #[error("archipelCall.v must be 1")]
    Version,
    /// Neither `request` nor `answer`.
    #[error("archipelCall.direction must be request or answer")]
    Direction,
    /// The agent is not the one that the envelope names, or none.
    #[error("archipelCall.agent must be the envelope's targetHandle")]
    Agent,
    /// A call is for one site.
    #[error("an envelope with a call must name its targetOrigin")]
    NoTarget,
}

impl<'a> Route<'a> {
    /// That of an envelope with a call.
    ///
    /// # Errors
    /// [`CallError::NoTarget`].
    pub fn of(envelope: &'a Envelope) -> Result<Self, CallError> {
        Ok(Self {
            correlation_id: &envelope.correlation_id,
            source: &envelope.source_origin,
            target: envelope
                .target_origin
                .as_deref()
                .ok_or(CallError::NoTarget)?,
        })
    }
}

impl Direction {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Answer => "answer",
        }
    }
}

impl PostedCall {
    /// The call in an envelope; `None` where there is none, and the envelope is what it always was.
    ///
    /// # Errors
    /// [`CallError`], for an envelope that says that it has one.
    pub fn of(envelope: &Envelope) -> Result<Option<Self>, CallError> {
        let Some(call) = envelope.payload.as_ref().and_then(|all| all.get(MEMBER)) else {
            return Ok(None);
        };
        let call = Self::read(call)?;
        Route::of(envelope)?;
        let named = envelope.target_handle.as_deref();
        let is_named = match call.direction {
            Direction::Request => named == Some(&call.agent),
            Direction::Answer => named.is_none(),
        };
        if is_named {
            Ok(Some(call))
        } else {
            Err(CallError::Agent)
        }
    }

    fn read(call: &Value) -> Result<Self, CallError> {
        let members = call.as_object().ok_or(CallError::Shape)?;
        if members.get("v").and_then(Value::as_f64) != Some(1.0) {
            return Err(CallError::Version);
        }
        if members.keys().any(|name| !MEMBERS.contains(&name.as_str())) {
            return Err(CallError::Shape);
        }
        let text = |name: &str| {
            let text = members.get(name).and_then(Value::as_str);
            text.map(str::to_owned).ok_or(CallError::Shape)
        };
        let (direction, agent) = (text("direction")?, text("agent")?);
        let direction = [Direction::Request, Direction::Answer]
            .into_iter()
            .find(|known| known.as_str() == direction)
            .ok_or(CallError::Direction)?;
        if !(1..=MAX_AGENT).contains(&agent.len()) {
            return Err(CallError::Agent);
        }
        Ok(Self {
            direction,
            agent,
            version: text("a2aVersion")?,
            body: text("body")?,
            token: text("token")?,
        })
    }

    /// As the payload of an envelope.
    pub fn to_payload(&self) -> Map<String, Value> {
        let call = json!({
            "v": 1,
            "direction": self.direction.as_str(),
            "agent": self.agent,
            "a2aVersion": self.version,
            "body": self.body,
            "token": self.token,
        });
        Map::from_iter([(MEMBER.to_owned(), call)])
    }

    /// What the token is bound to, as its claim `letter` has it: the base64url text of a SHA-256 over the way and everything
    /// of the call but the token itself, each part with its length before it.
    pub fn digest(&self, route: &Route<'_>) -> String {
        let parts = [
            PURPOSE,
            route.correlation_id,
            route.source,
            route.target,
            self.direction.as_str(),
            &self.agent,
            &self.version,
            &self.body,
        ];
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        token::encode(&hash.finalize())
    }
}

#[cfg(test)]
mod tests;
