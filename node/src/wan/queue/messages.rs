//! What the queue is asked, and what it asks of the work on its envelopes.

use actix::Message;
use archipel_protocol::wan::WanMessage;
use futures_util::stream::BoxStream;

use crate::store::StoreError;
use crate::store::wan::{DeadRow, Settlement, WanRow, WanStanding};

/// What is done with envelopes.
pub trait Work: Send + Sync {
    /// Does it, and tells of each as soon as it is known. It may have been done before.
    fn run(&self, rows: Vec<WanRow>) -> BoxStream<'_, (u64, Outcome)>;
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
