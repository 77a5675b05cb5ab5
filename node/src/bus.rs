//! The bus: events inside this site, best effort, each believed only after its seal was opened.
//!
//! Owns [`BusActor`]: the way to the broker, which messages came, the subscribers and the counts; a restart loses only
//! these. Answers [`Publish`] (seals and hands over), [`Deliver`] (a message from outside, which is published as it is),
//! [`Subscribe`] and [`Snapshot`]; who asks may wait for the broker's word, and nobody else does. Refuses what is not
//! signed, not genuine, not fresh, or came before. What is published here reaches our own subscribers only by coming back
//! through the adapter, so one path checks everything; what never leaves the process is checked at once, and not sealed.
//! Read `rules` (what a message must be), `window` (which came before), then `in_process` (the adapter without a broker),
//! `leaving` (the queue to a broker) and `nats` (that of NATS; that of Redis is `store::redis::bus`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::dev::{MessageResponse, OneshotSender, SendError};
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
use tokio::sync::oneshot;
use uuid::Uuid;

pub use rules::BusRules;
use rules::Judged;
use window::Window;

pub mod in_process;
pub(crate) mod leaving;
pub mod nats;
mod rules;
mod window;

#[cfg(test)]
pub(crate) mod contract_tests;
#[cfg(test)]
mod tests;

/// Messages that may wait for the actor.
const MAILBOX: usize = 4096;
/// How often what is not fresh any more is forgotten.
const SWEEP: Duration = Duration::from_secs(10);

/// The way to the broker. What comes back is a stream of [`BusMessage`], made together with the adapter.
pub trait BusAdapter: Send + Sync + fmt::Debug {
    /// Hands a message over; it is on its way when this returns. Whoever wants to know is told the broker's word.
    fn publish(&self, message: BusMessage, told: Told);

    /// Whether nothing that is published leaves this process.
    fn is_inside(&self) -> bool {
        false
    }
}

/// Is called once with what became of a message, from wherever that came to be known; not at all when the process ends
/// before. A future for each message would have to be looked at again and again.
pub type Told = Box<dyn FnOnce(Result<(), BusError>) + Send + Sync>;

/// What an adapter receives; ends when the adapter has lost its broker for good.
pub type Received = BoxStream<'static, BusMessage>;

/// A message as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusMessage {
    /// Our own channels are known beforehand.
    pub channel: Cow<'static, str>,
    pub wire: Bytes,
}

/// Tells the site what happened.
#[derive(Debug, Message)]
#[rtype(result = "Result<Published, BusError>")]
pub struct Publish {
    pub event: Event,
    /// The request that caused it.
    pub correlation_id: Option<Text<256>>,
    /// Under which it is told; of an event that may be told again, so that it counts once. Else a new one is made.
    pub event_id: Option<Uuid>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    pub event_id: Uuid,
}

/// A message came from outside: if it is to be believed, the whole site is to get it. The answer comes after the broker's.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Opened, BusRefusal>")]
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
    /// It is to be believed, but could not be published.
    #[error(transparent)]
    Bus(#[from] BusError),
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
    window: Window,
    clock: Arc<dyn Clock>,
    /// Those that are gone leave with the next event.
    subscribers: Vec<Recipient<BusEvent>>,
    counts: BusSnapshot,
    sent: Arc<Sent>,
}

/// What became of publications, counted where it is known; in the counts of the actor these are zero.
#[derive(Debug, Default)]
struct Sent {
    published: AtomicU64,
    unpublished: AtomicU64,
}

impl Sent {
    fn note(&self, sent: Result<(), BusError>, kind: &'static str) {
        let counter = match sent {
            Ok(()) => &self.published,
            Err(error) => {
                tracing::warn!(%error, event.kind = kind, "event was not published");
                &self.unpublished
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What is said to [`Publish`]: at once, or by the adapter without another turn of this actor.
pub enum PublishAnswer {
    Published(Published),
    Sealed(Sealed),
}

/// An event that leaves when its asker is known.
pub struct Sealed {
    message: BusMessage,
    kind: &'static str,
    published: Published,
    adapter: Arc<dyn BusAdapter>,
    sent: Arc<Sent>,
}

impl MessageResponse<BusActor, Publish> for PublishAnswer {
    fn handle(
        self,
        _: &mut Context<BusActor>,
        asker: Option<OneshotSender<Result<Published, BusError>>>,
    ) {
        let tell = move |answer| {
            if let Some(asker) = asker {
                // Whoever asked may have gone.
                let _ = asker.send(answer);
            }
        };
        let sealed = match self {
            Self::Published(published) => return tell(Ok(published)),
            Self::Sealed(sealed) => sealed,
        };
        let (counts, kind, published) = (sealed.sent, sealed.kind, sealed.published);
        let told = Box::new(move |sent| {
            counts.note(sent, kind);
            tell(sent.map(|()| published));
        });
        sealed.adapter.publish(sealed.message, told);
    }
}

impl BusActor {
    /// A bus over an adapter and what that adapter receives.
    pub fn new(
        rules: BusRules,
        (adapter, received): (Arc<dyn BusAdapter>, Received),
        clock: Arc<dyn Clock>,
    ) -> Self {
        let freshness_ms = u64::try_from(rules.freshness.as_millis()).unwrap_or(u64::MAX);
        Self {
            window: Window::open(clock.now_ms(), freshness_ms),
            rules,
            adapter,
            received: Some(received),
            clock,
            subscribers: Vec::new(),
            counts: BusSnapshot::default(),
            sent: Arc::default(),
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
        context.run_interval(SWEEP, |bus, _| bus.window.sweep(bus.clock.now_ms()));
    }
}

impl Handler<Publish> for BusActor {
    type Result = PublishAnswer;

    fn handle(&mut self, message: Publish, _: &mut Self::Context) -> Self::Result {
        let event_id = message
            .event_id
            .unwrap_or_else(|| uuid::Builder::from_random_bytes(rand::random()).into_uuid());
        let meta = MeshMeta {
            event_id: EventId::from(event_id),
            correlation_id: message.correlation_id,
        };
        let published = Published { event_id };
        if self.adapter.is_inside() {
            // Nobody could have changed it, and a seal that only we would open costs more than all the rest.
            self.sent.published.fetch_add(1, Ordering::Relaxed);
            self.come(Judged::of(Opened {
                event: message.event,
                meta,
                signed: !self.rules.secrets.is_empty(),
            }));
            return PublishAnswer::Published(published);
        }
        PublishAnswer::Sealed(Sealed {
            message: self.rules.seal(&message.event, &meta),
            kind: message.event.kind(),
            published,
            adapter: Arc::clone(&self.adapter),
            sent: Arc::clone(&self.sent),
        })
    }
}

impl Handler<Deliver> for BusActor {
    type Result = ResponseActFuture<Self, Result<Opened, BusRefusal>>;

    fn handle(
        &mut self,
        Deliver { channel, wire }: Deliver,
        _: &mut Self::Context,
    ) -> Self::Result {
        let judged = self.rules.judge(&wire, &channel).and_then(|judged| {
            let now_ms = self.clock.now_ms();
            self.window.offer(judged.id, judged.said_ms, now_ms)?;
            Ok(judged)
        });
        let judged = match judged {
            Ok(judged) => judged,
            Err(refusal) => {
                self.note_refused(&refusal);
                return Box::pin(actix::fut::ready(Err(refusal)));
            }
        };
        let (told, answer) = oneshot::channel();
        let (counts, kind) = (Arc::clone(&self.sent), judged.opened.event.kind());
        let told: Told = Box::new(move |sent| {
            counts.note(sent, kind);
            // Whoever asked may have gone.
            let _ = told.send(sent);
        });
        let channel = Cow::Owned(channel);
        self.adapter.publish(BusMessage { channel, wire }, told);
        Box::pin(answer.into_actor(self).map(move |sent, bus, _| {
            if let Err(error) = sent.unwrap_or(Err(BusError::Unavailable)) {
                bus.window.withdraw(judged.id);
                return Err(error.into());
            }
            Ok(judged.opened)
        }))
    }
}

impl StreamHandler<BusMessage> for BusActor {
    fn handle(&mut self, BusMessage { channel, wire }: BusMessage, _: &mut Self::Context) {
        self.come(self.rules.judge(&wire, &channel));
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
        MessageResult(BusSnapshot {
            published: self.sent.published.load(Ordering::Relaxed),
            unpublished: self.sent.unpublished.load(Ordering::Relaxed),
            ..self.counts.clone()
        })
    }
}

impl BusActor {
    fn note_refused(&mut self, refusal: &BusRefusal) {
        *self.counts.refused.entry(refusal.reason()).or_default() += 1;
    }

    /// A message is here: subscribers get it if it is genuine, fresh and new.
    fn come(&mut self, judged: Result<Judged, BusRefusal>) {
        let taken = judged.and_then(|judged| {
            let now_ms = self.clock.now_ms();
            self.window.take(judged.id, judged.said_ms, now_ms)?;
            Ok(judged.opened)
        });
        match taken {
            Ok(opened) => self.hand_on(&Arc::new(opened)),
            Err(refusal) => {
                tracing::warn!(bus.reason = refusal.reason(), "bus message refused");
                self.note_refused(&refusal);
            }
        }
    }

    fn hand_on(&mut self, opened: &Arc<Opened>) {
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
            Self::Bus(BusError::Full) => "full",
            Self::Bus(BusError::Unavailable) => "unavailable",
        }
    }
}
