//! What the queue is asked, and what it asks of the work on its envelopes.

use actix::Message;
use archipel_protocol::wan::WanMessage;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::store::StoreError;
use crate::store::wan::{DeadRow, NewRow, Settlement, WanRow, WanStanding};
use crate::wan::names;

/// What is done with envelopes.
pub trait Work: Send + Sync {
    /// Does it, and tells of each as soon as it is known. It may have been done before.
    fn run(&self, held: Vec<Held>) -> BoxStream<'_, (u64, Outcome)>;
}

/// An envelope in hand.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    pub row: WanRow,
    /// What the row says, where it was not found in the store but came just now.
    pub message: Option<WanMessage>,
}

/// What came of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Settled(Settlement),
    /// Somebody without whom nothing can be done is away: the envelope has no part in it.
    Away(String),
}

/// Takes envelopes, all of them or, when the store does not answer, none.
#[derive(Debug, Message)]
#[rtype(result = "Result<Vec<Taken>, StoreError>")]
pub struct Take(pub Vec<Parcel>);

/// An envelope at the door.
#[derive(Debug, Clone, PartialEq)]
pub struct Parcel {
    pub message: WanMessage,
    /// What its sender calls the message, if that has a name.
    pub message_id: Option<String>,
    /// The message as it came, if it came as one.
    pub body: Option<Bytes>,
}

impl Parcel {
    /// The row to keep, and what is left over when it was kept.
    pub(super) fn unpack(self) -> (NewRow, Fresh) {
        let Self {
            message,
            message_id,
            body,
        } = self;
        let envelope = &message.envelope;
        let body = body.unwrap_or_else(|| message.encode().into());
        let row = NewRow {
            name: names::of(envelope),
            message: message_id.map(|id| names::of_message(envelope, &id)),
            lane: Some(names::lane(envelope)),
            body: body.clone(),
        };
        (row, Fresh { message, body })
    }
}

/// An envelope that is being kept.
pub(super) struct Fresh {
    message: WanMessage,
    body: Bytes,
}

impl Fresh {
    /// The same when it was kept under a number.
    pub(super) fn held(self, number: u64, put_ms: u64) -> Held {
        Held {
            row: WanRow {
                number,
                put_ms,
                attempts: 0,
                body: self.body,
            },
            message: Some(self.message),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    First,
    /// It came before, and was or will be seen to.
    Repeated,
    /// As many wait as may.
    Full,
}

/// Asks for envelopes that nobody sees to any more.
#[derive(Debug, Message)]
#[rtype(result = "Result<Vec<DeadRow>, StoreError>")]
pub struct ListDead {
    pub after: u64,
    pub limit: usize,
}

/// Says what becomes of one of them; whether there is such a one.
#[derive(Debug, Message)]
#[rtype(result = "Result<bool, StoreError>")]
pub struct SettleDead {
    pub number: u64,
    /// Whether it is tried again; else it is dropped.
    pub again: bool,
}

/// Asks how things stand.
#[derive(Debug, Message)]
#[rtype(result = "Result<QueueView, StoreError>")]
pub struct Look;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueView {
    pub standing: WanStanding,
    /// Envelopes that this process keeps or sees to just now.
    pub in_hand: usize,
    /// Whether more may wait.
    pub has_room: bool,
    /// Why nothing is tried just now.
    pub away: Option<String>,
}
