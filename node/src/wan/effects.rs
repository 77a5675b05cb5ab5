//! What follows from an envelope that came: the site is told by an event, then the worker has it.
//!
//! All of it may be done again after a crash or a failure, so each step is one that does no harm the second time.

use std::sync::Arc;

use actix::Recipient;
use archipel_kit::clock::Clock;
use archipel_protocol::envelope::{Event, SystemEvent, SystemPayload, Timestamp};
use archipel_protocol::ids::Text;
use archipel_protocol::wan::WanMessage;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use uuid::Uuid;

use super::names;
use super::queue::{Outcome, Work};
use super::worker::Worker;
use crate::bus::Publish;
use crate::store::wan::{Settlement, WanRow};

/// Effects under way at once: all of a batch, so that none waits for another while it is in hand.
const AT_ONCE: usize = 256;

/// Does what follows from envelopes.
pub struct Effects {
    bus: Recipient<Publish>,
    worker: Worker,
    clock: Arc<dyn Clock>,
}

impl Effects {
    pub fn new(bus: Recipient<Publish>, worker: Worker, clock: Arc<dyn Clock>) -> Self {
        Self { bus, worker, clock }
    }

    async fn of(&self, row: &WanRow) -> Outcome {
        let message = match WanMessage::decode(&row.body) {
            Ok(message) => message,
            // It was one when it was kept.
            Err(error) => {
                let reason = error.to_string();
                return Outcome::Settled(Settlement::Dead { reason });
            }
        };
        let event = names::event_id(names::of(&message.envelope));
        // The worker's attempts begin when the bus was told; it need not hear of each of them.
        if row.attempts == 0
            && let Err(away) = self.tell_bus(&message, event).await
        {
            return Outcome::Away(away.to_owned());
        }
        Outcome::Settled(self.worker.work(row, &message, event).await)
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
    fn run(&self, rows: Vec<WanRow>) -> BoxStream<'_, (u64, Outcome)> {
        stream::iter(rows)
            .map(move |row| async move { (row.number, self.of(&row).await) })
            .buffer_unordered(AT_ONCE)
            .boxed()
    }
}
