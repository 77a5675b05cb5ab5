//! What follows from an envelope that came: the site is told by an event, then the agent has it that it is addressed to, if
//! that one is told of envelopes, and else the worker. One with a call for an agent, or with the answer to one, is for the
//! two ends of the call alone.
//!
//! All of it may be done again after a crash or a failure, so each step is one that does no harm the second time.

use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use archipel_kit::clock::Clock;
use archipel_protocol::envelope::{Event, SystemEvent, SystemPayload, Timestamp};
use archipel_protocol::ids::Text;
use archipel_protocol::wan::{Envelope, PostedCall, WanMessage};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use uuid::Uuid;

use super::calls::{Deliver, Posted, Seen};
use super::names;
use super::place::{Place, Places};
use super::queue::{Held, Outcome, Work};
use super::worker::Worker;
use crate::bus::Publish;
use crate::store::wan::{Settlement, WanRow};

/// Effects under way at once: all of a batch, so that none waits for another while it is in hand.
const AT_ONCE: usize = 256;

/// How long a call may take to be seen to.
const SEEN_WITHIN: Duration = Duration::from_secs(60);
/// When a call is seen to again that nobody saw to.
const AGAIN: Duration = Duration::from_secs(5);

/// Does what follows from envelopes.
pub struct Effects {
    bus: Recipient<Publish>,
    calls: Recipient<Posted>,
    agents: Recipient<Deliver>,
    places: Places,
    worker: Worker,
    clock: Arc<dyn Clock>,
}

impl Effects {
    pub fn new(
        (bus, calls, agents): (Recipient<Publish>, Recipient<Posted>, Recipient<Deliver>),
        places: Places,
        worker: Worker,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            bus,
            calls,
            agents,
            places,
            worker,
            clock,
        }
    }

    async fn of(&self, row: &WanRow, message: Option<WanMessage>) -> Outcome {
        let message = match message.map_or_else(|| WanMessage::decode(&row.body), Ok) {
            Ok(message) => message,
            // It was one when it was kept.
            Err(error) => {
                let reason = error.to_string();
                return Outcome::Settled(Settlement::Dead { reason });
            }
        };
        match PostedCall::of(&message.envelope) {
            Ok(None) => {}
            Ok(Some(call)) => return Outcome::Settled(self.see_to(row, message, call).await),
            Err(error) => {
                let reason = error.to_string();
                return Outcome::Settled(Settlement::Dead { reason });
            }
        }
        let event = names::event_id(names::of(&message.envelope));
        // Attempts begin when the bus was told; it need not hear of each of them.
        if row.attempts == 0
            && let Err(away) = self.tell_bus(&message, event).await
        {
            return Outcome::Away(away.to_owned());
        }
        Outcome::Settled(match self.subscriber(&message.envelope) {
            Some(agent) => self.deliver(row, message, agent).await,
            None => self.worker.work(row, &message, event).await,
        })
    }

    /// The agent that the envelope is addressed to, if that one is told of envelopes.
    fn subscriber(&self, envelope: &Envelope) -> Option<String> {
        let Place::Agent(id) = self.places.of(envelope) else {
            return None;
        };
        let agents = self.places.agents.load();
        let is_told = agents.find(&id)?.receives_envelopes;
        is_told.then_some(id)
    }

    async fn deliver(&self, row: &WanRow, message: WanMessage, agent: String) -> Settlement {
        let deliver = Deliver {
            agent,
            envelope: message.envelope,
            trace: message.trace,
            kept_ms: row.put_ms,
            // 1 says only that the bus was told.
            failed: row.attempts.saturating_sub(1),
        };
        let seen = self.agents.send(deliver).timeout(SEEN_WITHIN).await;
        self.settled(row, seen.unwrap_or(Seen::Wait(AGAIN)))
    }

    async fn see_to(&self, row: &WanRow, message: WanMessage, call: PostedCall) -> Settlement {
        let posted = Posted {
            call,
            envelope: message.envelope,
            trace: message.trace,
            kept_ms: row.put_ms,
            attempts: row.attempts,
        };
        let seen = self.calls.send(posted).timeout(SEEN_WITHIN).await;
        self.settled(row, seen.unwrap_or(Seen::Later(AGAIN)))
    }

    fn settled(&self, row: &WanRow, seen: Seen) -> Settlement {
        let begun = row.attempts.max(1);
        let (pause, attempts) = match seen {
            Seen::Done => return Settlement::Done,
            Seen::Dead(reason) => return Settlement::Dead { reason },
            Seen::Wait(pause) => (pause, begun),
            Seen::Later(pause) => (pause, begun.saturating_add(1)),
        };
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        Settlement::Later {
            due_ms: self.clock.now_ms().saturating_add(pause_ms),
            attempts,
        }
    }

    async fn tell_bus(&self, message: &WanMessage, event: Uuid) -> Result<(), &'static str> {
        let envelope = message.envelope.clone();
        let now_ms = i64::try_from(self.clock.now_ms()).ok();
        let now = now_ms.and_then(|now_ms| Timestamp::from_unix_ms(now_ms).ok());
        let publish = Publish {
            event_id: Some(event),
            correlation_id: Text::parse(&*envelope.correlation_id).ok(),
            event: Event::System(SystemEvent {
                payload: SystemPayload::WanEnvelope(envelope),
                timestamp: now.ok_or("the clock tells no time of the bus")?,
            }),
        };
        match self.bus.send(publish).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err("the bus does not take events"),
        }
    }
}

impl Work for Effects {
    fn run(&self, held: Vec<Held>) -> BoxStream<'_, (u64, Outcome)> {
        stream::iter(held)
            .map(move |Held { row, message }| async move {
                (row.number, self.of(&row, message).await)
            })
            .buffer_unordered(AT_ONCE)
            .boxed()
    }
}
