//! The bus over NATS without JetStream: what is published reaches every process of the site that listens at that moment,
//! and nobody later.
//!
//! All channels are heard through one subscription, because NATS keeps the order within one only. NATS answers no
//! publication; so each batch is followed by a note to ourselves, and when that comes back over the same connection, the
//! server has had everything before it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use async_nats::{Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::future::ready;
use futures_util::stream::{self, StreamExt};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::leaving::{self, Leaving, Queue};
use super::{BusAdapter, BusError, BusMessage, Received};
use crate::nats::Nats;

/// The bus on the subjects `PREFIX.CHANNEL`: channels are single words. Must be called inside the runtime that is to drive
/// what leaves.
pub fn connect(nats: &Nats, prefix: &str) -> (Arc<dyn BusAdapter>, Received) {
    let prefix: Arc<str> = format!("{prefix}.").into();
    let (door, queue) = leaving::open();
    Handle::current().spawn(send(nats.clone(), Arc::clone(&prefix), queue));
    (Arc::new(door), hear(nats.clone(), prefix))
}

/// The subscription is the client's to renew; what was published meanwhile is lost, as it is for everybody.
fn hear(nats: Nats, prefix: Arc<str>) -> Received {
    let subject = format!("{prefix}*");
    let subscribed = async move {
        let heard = nats.client().subscribe(subject).await;
        heard
            .inspect_err(|error| tracing::error!(%error, "the bus over nats cannot be heard"))
            .ok()
    };
    stream::once(subscribed)
        .filter_map(ready)
        .flatten()
        .filter_map(move |message: Message| ready(received(&prefix, message)))
        .boxed()
}

fn received(prefix: &str, message: Message) -> Option<BusMessage> {
    let channel = message.subject.strip_prefix(prefix)?;
    Some(BusMessage {
        channel: channel.to_owned().into(),
        wire: message.payload,
    })
}

/// Publishes what there is, for as long as somebody may publish.
async fn send(nats: Nats, prefix: Arc<str>, mut queue: Queue) {
    let mut subjects = Subjects::new(prefix);
    let mut notes = Notes::new(nats.client().new_inbox());
    let mut batch = Vec::new();
    while queue.next(&mut batch).await {
        let generation = nats.generation();
        let taken = hand_over(&nats, &mut subjects, &batch).await;
        let confirmed = match nats.is_connected() {
            true => notes.come_back(&nats).await,
            false => Err(BusError::Unavailable),
        };
        // What went into a connection that is no more may be lost, whatever came back over the next one.
        let confirmed = confirmed.and(match nats.generation() == generation {
            true => Ok(()),
            false => Err(BusError::Unavailable),
        });
        for (leaving, taken) in batch.drain(..).zip(taken) {
            leaving.tell(taken.and(confirmed));
        }
    }
}

/// Gives the batch to the client, unless that would keep it for a connection to come.
async fn hand_over(
    nats: &Nats,
    subjects: &mut Subjects,
    batch: &[Leaving],
) -> Vec<Result<(), BusError>> {
    let mut taken = Vec::with_capacity(batch.len());
    for Leaving { message, .. } in batch {
        if !nats.is_connected() {
            taken.push(Err(BusError::Unavailable));
            continue;
        }
        let subject = subjects.of(message);
        let published = nats.client().publish(subject, message.wire.clone()).await;
        taken.push(published.map_err(|error| {
            tracing::warn!(%error, "nats does not take an event");
            BusError::Unavailable
        }));
    }
    taken
}

/// The subjects of channels. Those of our own are made once; there are a handful.
struct Subjects {
    prefix: Arc<str>,
    own: HashMap<&'static str, Subject>,
}

impl Subjects {
    fn new(prefix: Arc<str>) -> Self {
        let own = HashMap::new();
        Self { prefix, own }
    }

    fn of(&mut self, message: &BusMessage) -> Subject {
        let prefix = &*self.prefix;
        let made = |name: &str| Subject::from([prefix, name].concat());
        match &message.channel {
            Cow::Owned(name) => made(name),
            Cow::Borrowed(name) => self.own.entry(name).or_insert_with(|| made(name)).clone(),
        }
    }
}

/// Notes to ourselves, each with its number.
struct Notes {
    inbox: Subject,
    heard: Option<Subscriber>,
    number: u64,
}

impl Notes {
    fn new(inbox: String) -> Self {
        Self {
            inbox: inbox.into(),
            heard: None,
            number: 0,
        }
    }

    /// Sends one and waits until it is here.
    async fn come_back(&mut self, nats: &Nats) -> Result<(), BusError> {
        timeout(nats.patience(), self.round_trip(nats))
            .await
            .ok()
            .flatten()
            .ok_or(BusError::Unavailable)
    }

    async fn round_trip(&mut self, nats: &Nats) -> Option<()> {
        self.number += 1;
        let note = Bytes::copy_from_slice(&self.number.to_be_bytes());
        if self.heard.is_none() {
            self.heard = nats.client().subscribe(self.inbox.clone()).await.ok();
        }
        let sent = nats.client().publish(self.inbox.clone(), note.clone());
        sent.await.ok()?;
        let heard = self.heard.as_mut()?;
        // Those of batches that were given up come late.
        while heard.next().await?.payload != note {}
        Some(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
