//! Calls of agents by envelope: store-and-forward, to a node that need not be there now.
//!
//! A call is a task of ours, opened like any other and submitted until its answer comes; its turn hands an envelope to the
//! outbox (`agent`). At the other site the envelope is a row of the inbox like any other, and what follows from it is the
//! call, through the same gates as over HTTP (`edge::post`); the answer goes back through the outbox there. So each half of
//! the way is a queue that forgets nothing, and each step is one that does no harm the second time: the task of a call is
//! named after its envelope. Owns [`Post`], with which letters are written, and the words for those that
//! came; `outcome` is what an answer means.

use std::sync::Arc;
use std::time::Duration;

use actix::{Message, Recipient};
use archipel_kit::clock::Clock;
use archipel_protocol::federation::Delegation;
use archipel_protocol::ids::Origin;
use archipel_protocol::wan::{Direction, Envelope, MeshTrace, PostedCall, Route, WanMessage};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use super::queue::{Parcel, Take};
use crate::agents::run::AgentRun;
use crate::federation::{Federation, LetterTerms};

pub mod agent;
pub mod outcome;

/// An envelope with a call, or the answer to one, came.
#[derive(Debug, Message)]
#[rtype(result = "Seen")]
pub struct Posted {
    pub call: PostedCall,
    pub envelope: Envelope,
    pub trace: MeshTrace,
    /// When it was kept, in milliseconds since the Unix epoch: always the same for this envelope.
    pub kept_ms: u64,
    /// How often it was seen to before.
    pub attempts: u32,
}

/// An envelope for an agent that is told of envelopes came.
#[derive(Debug, Message)]
#[rtype(result = "Seen")]
pub struct Deliver {
    pub agent: String,
    pub envelope: Envelope,
    pub trace: MeshTrace,
    /// When it was kept, in milliseconds since the Unix epoch: always the same for this envelope.
    pub kept_ms: u64,
    /// How often it was brought to the agent already, and failed.
    pub failed: u32,
}

/// One that was to go did not, and never will.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub struct NotSent {
    pub call: PostedCall,
    pub envelope: Envelope,
    pub reason: String,
}

/// What came of an envelope with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing more is to be done.
    Done,
    /// It is to be seen to again.
    Later(Duration),
    /// It is being seen to, and looked after again.
    Wait(Duration),
    /// Nobody does what it asks for, nor is told so.
    Dead(String),
}

/// Writes letters to peers.
pub struct Post {
    pub federation: Arc<Federation>,
    pub clock: Arc<dyn Clock>,
    /// What is to go.
    pub outbox: Recipient<Take>,
    /// How long a letter may be on its way.
    pub life: Duration,
    /// The largest envelope that goes.
    pub max_envelope: usize,
    /// How many calls wait for their answers.
    pub run: Arc<AgentRun>,
}

/// A letter that is to be written.
#[derive(Debug)]
pub struct Letter<'a> {
    pub to: &'a Origin,
    /// Of a call, and of its answer.
    pub id: Uuid,
    pub direction: Direction,
    pub agent: &'a str,
    /// JSON-RPC of A2A 1.0.
    pub body: String,
    pub delegation: &'a Delegation,
    pub trace: MeshTrace,
}

/// Why a letter cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    #[error("federation is off or has no key")]
    NotReady,
    #[error("it is larger than an envelope may be (wan.max_envelope)")]
    TooLarge,
}

impl Post {
    /// Writes a letter, with the token that proves it.
    ///
    /// # Errors
    /// Why not.
    pub fn write(&self, letter: Letter<'_>) -> Result<Parcel, PostError> {
        let own = self.federation.own();
        let id = letter.id.hyphenated().to_string();
        let mut call = PostedCall {
            direction: letter.direction,
            agent: letter.agent.to_owned(),
            version: archipel_protocol::a2a::VERSION.to_owned(),
            body: letter.body,
            token: String::new(),
        };
        let digest = call.digest(&Route {
            correlation_id: &id,
            source: own.as_str(),
            target: letter.to.as_str(),
        });
        let terms = LetterTerms {
            to: letter.to,
            id: letter.id,
            delegation: letter.delegation,
            life: self.life,
            now_ms: self.clock.now_ms(),
        };
        let token = self.federation.mint_letter(terms, &digest);
        call.token = token.ok_or(PostError::NotReady)?;
        let message = WanMessage {
            envelope: Envelope::with_call(letter.id, own, letter.to, &call),
            trace: letter.trace,
        };
        if message.encode().len() > self.max_envelope {
            return Err(PostError::TooLarge);
        }
        Ok(Parcel {
            message,
            message_id: None,
            body: None,
        })
    }
}

/// How our tasks call an agent of a peer: no agent of ours has such a name.
pub fn agent_of_peer(peer: &str, agent: &str) -> String {
    format!("{peer}/{agent}")
}

/// What the task of an envelope is called at the node that it came to, at each attempt: always the same for one envelope,
/// and dated like any task. A call has one attempt.
pub fn task_id(envelope: &Envelope, kept_ms: u64, attempt: u32) -> Uuid {
    let mut hash = Sha256::new();
    for part in [&envelope.source_origin, &envelope.correlation_id] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(attempt.to_be_bytes());
    let hash: [u8; 32] = hash.finalize().into();
    let (random, _) = hash.as_chunks::<10>();
    let random = random.first().copied().unwrap_or_default();
    Builder::from_unix_timestamp_millis(kept_ms, &random).into_uuid()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn one_envelope_has_one_task() {
        let envelope = |source: &str, id: &str| {
            let body = format!(r#"{{"v":1,"correlationId":"{id}","sourceOrigin":"{source}"}}"#);
            Envelope::decode_ingress(body.as_bytes()).unwrap()
        };
        let one = envelope("https://a.example", "corr-0001");
        let id = task_id(&one, 1_767_225_600_000, 0);
        assert_eq!(task_id(&one.clone(), 1_767_225_600_000, 0), id);
        assert_eq!(id.get_version_num(), 7);
        let others = [
            task_id(&one, 1_767_225_600_001, 0),
            task_id(&one, 1_767_225_600_000, 1),
            task_id(
                &envelope("https://b.example", "corr-0001"),
                1_767_225_600_000,
                0,
            ),
            task_id(
                &envelope("https://a.example", "corr-0002"),
                1_767_225_600_000,
                0,
            ),
        ];
        assert!(!others.contains(&id), "{others:?}");
    }
}
