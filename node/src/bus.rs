//! The bus: events inside this site, best effort, each believed only after its seal was opened.
//!
//! Owns [`BusActor`]: the way to the broker, the subscribers and the counts; a restart loses only these. Answers [`Publish`]
//! (seals and hands over, never waits), [`Deliver`] (a message that came from outside), [`Subscribe`] and [`Snapshot`].
//! Refuses what is not signed, not genuine, not fresh, or came before. What is published here reaches our own subscribers
//! only by coming back through the adapter, so one path checks everything.
//! Read `rules` (what a message must be), then `in_process` (the adapter without a broker).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::dev::SendError;
use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, MessageResult, Recipient,
    ResponseActFuture, StreamHandler, WrapFuture,
};
use archipel_kit::clock::Clock;
use archipel_protocol::envelope::{Event, EventId, MeshMeta, OpenError, Opened};
use archipel_protocol::ids::Text;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde::Serialize;
use uuid::Uuid;

use crate::replay::ClaimId;
use crate::store::Claim;
pub use rules::BusRules;

pub mod in_process;
mod rules;

#[cfg(test)]
mod tests;

/// Messages that may wait for the actor.
const MAILBOX: usize = 4096;
/// How long the claim of an event id may take.
const CLAIM_LIMIT: Duration = Duration::from_secs(2);

/// The way to the broker. What comes back is a stream of [`BusMessage`], made together with the adapter.
pub trait BusAdapter: Send + Sync + fmt::Debug {
    /// Hands a message over without waiting for anything.
    fn publish(&self, message: BusMessage) -> Result<(), BusError>;
}

/// What an adapter receives; ends when the adapter has lost its broker for good.
pub type Received = BoxStream<'static, BusMessage>;

/// A message as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusMessage {
    pub channel: String,
    pub wire: Bytes,
}

/// Tells the site what happened.
#[derive(Debug, Message)]
#[rtype(result = "Result<Published, BusError>")]
pub struct Publish {
    pub event: Event,
    /// The request that caused it.
    pub correlation_id: Option<Text<256>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    pub event_id: Uuid,
}

/// A message came, from the broker or from outside. The answer comes after it was handed on.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Arc<Opened>, BusRefusal>")]
pub struct Deliver {
    pub channel: String,
    pub wire: Bytes,
}

/// From now on the recipient gets every event.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Subscribe(pub Recipient<BusEvent>);

/// An event for a subscriber.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct BusEvent(pub Arc<Opened>);

/// Asks for the counts.
#[derive(Debug, Message)]
#[rtype(result = "BusSnapshot")]
pub struct Snapshot;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    #[error("too many messages wait for the bus")]
    Full,
    #[error("the bus is not connected")]
    Unavailable,
}

/// Why a message was dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusRefusal {
    #[error(transparent)]
    Seal(#[from] OpenError),
    /// The event belongs on another channel.
    #[error("the event is not one of this channel")]
    WrongChannel,
    /// Too old, too far in the future, or of an age that cannot be told.
    #[error("the message is not fresh")]
    Stale,
    #[error("the message came before")]
    Repeated,
    /// Whether it came before cannot be told now.
    #[error("whether the message came before cannot be told")]
    Undecided,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BusSnapshot {
    pub published: u64,
    /// Publications that the adapter did not take.
    pub unpublished: u64,
    pub accepted: u64,
    /// By reason; as many entries as there are reasons.
    pub refused: BTreeMap<&'static str, u64>,
    /// Events that a subscriber had no room for.
    pub missed: u64,
}

pub struct BusActor {
    rules: BusRules,
    adapter: Arc<dyn BusAdapter>,
    /// Taken when the actor starts.
    received: Option<Received>,
    claims: Recipient<ClaimId>,
    clock: Arc<dyn Clock>,
    /// Those that are gone leave with the next event.
    subscribers: Vec<Recipient<BusEvent>>,
    counts: BusSnapshot,
}

impl BusActor {
    /// A bus over an adapter and what that adapter receives.
    pub fn new(
        rules: BusRules,
        (adapter, received): (Arc<dyn BusAdapter>, Received),
        claims: Recipient<ClaimId>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            rules,
            adapter,
            received: Some(received),
            claims,
            clock,
            subscribers: Vec::new(),
            counts: BusSnapshot::default(),
        }
    }
}

impl Actor for BusActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX);
        if let Some(received) = self.received.take() {
            context.add_stream(received);
        }
    }
}

impl Handler<Publish> for BusActor {
    type Result = Result<Published, BusError>;

    fn handle(&mut self, message: Publish, _: &mut Self::Context) -> Self::Result {
        let event_id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        let meta = MeshMeta {
            event_id: EventId::from(event_id),
            correlation_id: message.correlation_id,
        };
        match self.adapter.publish(self.rules.seal(&message.event, &meta)) {
            Ok(()) => {
                self.counts.published += 1;
                Ok(Published { event_id })
            }
            Err(error) => {
                self.counts.unpublished += 1;
                tracing::warn!(error = %error, event.kind = message.event.kind(), "event was not published");
                Err(error)
            }
        }
    }
}

impl Handler<Deliver> for BusActor {
    type Result = ResponseActFuture<Self, Result<Arc<Opened>, BusRefusal>>;

    /// Deliveries wait for their claims side by side; the bus promises no order.
    fn handle(
        &mut self,
        Deliver { channel, wire }: Deliver,
        _: &mut Self::Context,
    ) -> Self::Result {
        let judged = self.rules.judge(&wire, &channel, self.clock.now_ms());
        let claims = self.claims.clone();
        let accepted = async move {
            let (opened, claim) = judged?;
            claim_once(&claims, claim).await?;
            Ok(Arc::new(opened))
        };
        Box::pin(accepted.into_actor(self).map(|outcome, bus, _| {
            bus.settle(&outcome);
            outcome
        }))
    }
}

impl StreamHandler<BusMessage> for BusActor {
    fn handle(&mut self, BusMessage { channel, wire }: BusMessage, context: &mut Self::Context) {
        let delivered = Handler::handle(self, Deliver { channel, wire }, context);
        context.spawn(delivered.map(|outcome, _, _| {
            if let Err(refusal) = outcome {
                tracing::warn!(bus.reason = refusal.reason(), "bus message refused");
            }
        }));
    }

    /// The node lives on without its broker.
    fn finished(&mut self, _: &mut Self::Context) {
        tracing::error!("bus receives nothing any more");
    }
}

impl Handler<Subscribe> for BusActor {
    type Result = ();

    fn handle(&mut self, Subscribe(subscriber): Subscribe, _: &mut Self::Context) {
        self.subscribers.push(subscriber);
    }
}

impl Handler<Snapshot> for BusActor {
    type Result = MessageResult<Snapshot>;

    fn handle(&mut self, _: Snapshot, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.counts.clone())
    }
}

impl BusActor {
    /// Counts a delivery, and hands on what was accepted.
    fn settle(&mut self, outcome: &Result<Arc<Opened>, BusRefusal>) {
        let opened = match outcome {
            Ok(opened) => opened,
            Err(refusal) => {
                *self.counts.refused.entry(refusal.reason()).or_default() += 1;
                return;
            }
        };
        self.counts.accepted += 1;
        let missed = &mut self.counts.missed;
        self.subscribers.retain(|subscriber| {
            match subscriber.try_send(BusEvent(Arc::clone(opened))) {
                Ok(()) => true,
                Err(SendError::Full(_)) => {
                    *missed += 1;
                    true
                }
                Err(SendError::Closed(_)) => false,
            }
        });
    }
}

impl BusRefusal {
    /// The reason as one word, for answers, counters and the audit.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Seal(error) => error.token(),
            Self::WrongChannel => "wrong_channel",
            Self::Stale => "stale",
            Self::Repeated => "repeated",
            Self::Undecided => "undecided",
        }
    }
}

async fn claim_once(claims: &Recipient<ClaimId>, claim: ClaimId) -> Result<(), BusRefusal> {
    match claims.send(claim).timeout(CLAIM_LIMIT).await {
        Ok(Ok(Claim::First)) => Ok(()),
        Ok(Ok(Claim::Repeated)) => Err(BusRefusal::Repeated),
        // A new one of the same contents would be taken.
        Ok(Ok(Claim::BeforeEpoch)) => Err(BusRefusal::Stale),
        Ok(Err(_)) | Err(_) => Err(BusRefusal::Undecided),
    }
}
