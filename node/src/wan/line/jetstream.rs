//! The line over NATS JetStream, on a stream that all sites may share and that operators may have made.
//!
//! Every site reads through a durable consumer of its own, which its replicas share: each letter is with one of them at a
//! time. Dead letters lie in a stream of their own, each on a subject that names its place on the line, so that a letter
//! dies once however often that is tried. What must be there is looked for, or made, when it is first needed and again
//! after the broker lost it. Read `places` (which streams and consumers), then `dead` (dead letters).

use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::consumer::pull::Batch;
use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, AckKind, Context, ErrorCode, Message};
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::{
    DeadLetter, Delivery, Headers, Letter, LineError, LineRules, PULL_PATIENCE, Verdict, WanLine,
};
use crate::config::LineSettings;
use crate::nats::Nats;
use places::{Places, Plan};

mod dead;
mod places;

#[derive(Debug)]
pub struct JetStreamLine {
    nats: Nats,
    context: Context,
    plan: Plan,
    rules: LineRules,
    /// What was found or made; looked for again when the broker does not know it any more.
    places: Mutex<Option<Places>>,
}

impl JetStreamLine {
    /// The line of the site with this origin. Nothing is asked of NATS yet.
    pub fn new(nats: Nats, settings: &LineSettings, origin: &str) -> Self {
        let client = nats.client().clone();
        let mut context = match nats.jetstream_domain() {
            Some(domain) => jetstream::with_domain(client, domain),
            None => jetstream::new(client),
        };
        context.set_timeout(nats.patience());
        Self {
            context,
            plan: Plan::new(settings, origin),
            rules: LineRules {
                settle_within: settings.settle_within,
                attempts: settings.attempts,
            },
            places: Mutex::default(),
            nats,
        }
    }

    /// The streams and the consumer, looked for or made the first time. Fails at once while NATS is away.
    async fn places(&self) -> Result<Places, LineError> {
        if !self.nats.is_connected() {
            return Err(away("nats is not connected"));
        }
        let mut known = self.places.lock().await;
        match &*known {
            Some(places) => Ok(places.clone()),
            None => {
                let found = self.plan.find(&self.context, &self.rules).await?;
                Ok(known.insert(found).clone())
            }
        }
    }

    /// Looks for everything again next time: it may have been taken away.
    async fn doubt<T>(&self, outcome: Result<T, LineError>) -> Result<T, LineError> {
        if outcome.is_err() {
            *self.places.lock().await = None;
        }
        outcome
    }

    /// What a batch brings before it ends or the time is over.
    async fn gather(
        &self,
        mut batch: Batch,
        most: usize,
        patience: Duration,
    ) -> Result<Vec<Delivery>, LineError> {
        let end = Instant::now() + patience;
        let mut deliveries = Vec::new();
        while deliveries.len() < most {
            match timeout_at(end, batch.next()).await {
                Ok(Some(Ok(message))) => deliveries.extend(delivery(message)),
                Ok(Some(Err(error))) if deliveries.is_empty() => return Err(away(error)),
                Ok(Some(Err(_)) | None) | Err(_) => break,
            }
        }
        Ok(deliveries)
    }

    /// Those that may be tried once more. The others are dead: they end whoever takes them.
    async fn alive(&self, deliveries: Vec<Delivery>) -> Result<Vec<Delivery>, LineError> {
        let mut alive = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            if delivery.attempt > self.rules.attempts {
                let worn_out = Verdict::Never(self.rules.worn_out());
                self.settle(&delivery, worn_out).await?;
            } else {
                alive.push(delivery);
            }
        }
        Ok(alive)
    }
}

#[async_trait]
impl WanLine for JetStreamLine {
    async fn publish(&self, letters: Vec<Letter>) -> Vec<Result<(), LineError>> {
        if let Err(error) = self.places().await {
            return vec![Err(error); letters.len()];
        }
        // All leave before the first answer is waited for.
        let mut sent = Vec::with_capacity(letters.len());
        for letter in letters {
            sent.push(self.send(letter).await);
        }
        let answers = join_all(sent.into_iter().map(answer)).await;
        if answers.iter().any(|answer| is_homeless(answer.as_ref())) {
            *self.places.lock().await = None;
        }
        answers
            .into_iter()
            .map(|answer| answer.map_err(|error| condition(&error)))
            .collect()
    }

    async fn pull(&self, most: usize) -> Result<Vec<Delivery>, LineError> {
        let places = self.places().await?;
        let patience = self.nats.patience();
        // First whatever lies there. Only then is a single one waited for: a request for more would still be served by the
        // broker after we have gone on with the first.
        let lying = places.consumer.fetch().max_messages(most).messages().await;
        let lying = match lying {
            Ok(batch) => self.gather(batch, most, patience).await,
            Err(error) => Err(away(error)),
        };
        let lying = self.doubt(lying).await?;
        if !lying.is_empty() {
            return self.alive(lying).await;
        }
        let waiting = places.consumer.batch().max_messages(1);
        let waiting = waiting.expires(PULL_PATIENCE).messages().await;
        let came = match waiting {
            Ok(batch) => self.gather(batch, 1, PULL_PATIENCE + patience).await,
            Err(error) => Err(away(error)),
        };
        self.alive(self.doubt(came).await?).await
    }

    async fn settle(&self, delivery: &Delivery, verdict: Verdict) -> Result<(), LineError> {
        let kind = match verdict {
            Verdict::Done => AckKind::Ack,
            Verdict::StillWorking => AckKind::Progress,
            Verdict::Later(_) if delivery.attempt >= self.rules.attempts => {
                self.bury(delivery, &self.rules.worn_out()).await?;
                AckKind::Term
            }
            Verdict::Later(time) => AckKind::Nak(Some(time)),
            Verdict::Never(reason) => {
                self.bury(delivery, &reason).await?;
                AckKind::Term
            }
        };
        if !self.nats.is_connected() {
            return Err(away("nats is not connected"));
        }
        // No answer is waited for: where this is lost, the delivery comes again, as it would without an answer.
        let told = self
            .nats
            .client()
            .publish(delivery.handle.to_string(), kind.into());
        told.await.map_err(away)
    }

    async fn dead(&self, after: u64, limit: usize) -> Result<Vec<DeadLetter>, LineError> {
        let listed = self.list_dead(after, limit).await;
        self.doubt(listed).await
    }

    async fn dead_letter(&self, sequence: u64) -> Result<Option<DeadLetter>, LineError> {
        let read = self.read_dead(sequence).await;
        self.doubt(read).await
    }

    async fn again(&self, sequence: u64) -> Result<bool, LineError> {
        let Some(dead) = self.dead_letter(sequence).await? else {
            return Ok(false);
        };
        // An identity of its own: under the old one the stream might take it for a repetition. Whoever asks twice at once
        // publishes it once.
        let letter = Letter {
            message_id: format!("{}:{sequence}", self.plan.dead_stream),
            body: dead.body,
            headers: dead.headers,
        };
        for answer in self.publish(vec![letter]).await {
            answer?;
        }
        self.drop_dead(sequence).await
    }

    async fn drop_dead(&self, sequence: u64) -> Result<bool, LineError> {
        let dropped = self.delete_dead(sequence).await;
        self.doubt(dropped).await
    }
}

impl JetStreamLine {
    async fn send(&self, letter: Letter) -> Result<PublishAckFuture, PublishError> {
        let refused = |error| PublishError::with_source(PublishErrorKind::Other, error);
        let mut headers = written(&letter.headers).map_err(refused)?;
        headers.insert(NATS_MESSAGE_ID, value(&letter.message_id).map_err(refused)?);
        let message = PublishMessage::build()
            .payload(letter.body)
            .headers(headers);
        let subject = self.plan.subject.clone();
        self.context.send_publish(subject, message).await
    }
}

async fn answer(sent: Result<PublishAckFuture, PublishError>) -> Result<(), PublishError> {
    sent?.await.map(drop)
}

/// Whether no stream takes the subject any more.
fn is_homeless(answer: Result<&(), &PublishError>) -> bool {
    answer.is_err_and(|error| error.kind() == PublishErrorKind::StreamNotFound)
}

fn condition(error: &PublishError) -> LineError {
    let source = std::error::Error::source(error);
    let said = source.and_then(|source| source.downcast_ref::<jetstream::Error>());
    let is_too_large =
        |said: &jetstream::Error| said.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM;
    let is_unwritable = source.is_some_and(|source| source.is::<BadHeader>());
    if error.kind() == PublishErrorKind::MaxPayloadExceeded
        || said.is_some_and(is_too_large)
        || is_unwritable
    {
        LineError::Refused(error.to_string())
    } else {
        away(error)
    }
}

fn away(error: impl ToString) -> LineError {
    LineError::Unavailable(error.to_string())
}

/// A name or a value that no header can have.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} cannot stand in a header")]
struct BadHeader(String);

fn written(headers: &Headers) -> Result<HeaderMap, BadHeader> {
    let mut map = HeaderMap::new();
    for (name, text) in headers {
        let name = name
            .parse::<HeaderName>()
            .map_err(|_| BadHeader(name.clone()))?;
        map.append(name, value(text)?);
    }
    Ok(map)
}

fn value(text: &str) -> Result<HeaderValue, BadHeader> {
    text.parse().map_err(|_| BadHeader(text.to_owned()))
}

/// The headers of others, in the order of their names: the client knows no other.
fn read(map: &HeaderMap) -> Headers {
    let mut headers = Headers::new();
    for (name, values) in map.iter() {
        let name: &str = name.as_ref();
        if !name.starts_with("Nats-") {
            let values = values.iter();
            headers.extend(values.map(|value| (name.to_owned(), value.as_str().to_owned())));
        }
    }
    headers.sort();
    headers
}

/// `None`: it is no delivery of a stream, and nobody waits for an answer.
fn delivery(message: Message) -> Option<Delivery> {
    let info = message.info().ok()?;
    let (attempt, sequence) = (info.delivered, info.stream_sequence);
    let message = message.message;
    let headers = message.headers.unwrap_or_default();
    Some(Delivery {
        message_id: message_id(&headers),
        body: message.payload,
        headers: read(&headers),
        attempt: u64::try_from(attempt).unwrap_or(u64::MAX),
        sequence,
        handle: message.reply?.as_str().into(),
    })
}

fn message_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(NATS_MESSAGE_ID)?;
    Some(id.as_str().to_owned())
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
pub(super) mod tests;
