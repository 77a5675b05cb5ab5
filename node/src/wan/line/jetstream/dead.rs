//! Dead letters: each stands in a stream as it came, with the reason beside it.

use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::RawMessageErrorKind;
use async_nats::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::{DeadLetter, Delivery, JetStreamLine, LineError, away, condition, message_id, value};
use super::{read, written};

/// What we say of a dead letter: why, where it was on the line, and by which id it came.
const REASON: &str = "Archipel-Dead-Reason";
const PLACE: &str = "Archipel-Dead-Place";
const MESSAGE_ID: &str = "Archipel-Dead-Message-Id";
/// What a header cannot have as it is.
const UNSAFE: &AsciiSet = &CONTROLS.add(b'%');

impl JetStreamLine {
    /// Lays a delivery among the dead letters, once.
    pub(super) async fn bury(&self, delivery: &Delivery, reason: &str) -> Result<(), LineError> {
        let places = self.places().await?;
        let place = delivery.sequence;
        let mut headers = written(&delivery.headers).map_err(away)?;
        for (name, text) in [
            (REASON, utf8_percent_encode(reason, UNSAFE).to_string()),
            (PLACE, place.to_string()),
        ] {
            headers.insert(name, value(&text).map_err(away)?);
        }
        if let Some(id) = &delivery.message_id {
            headers.insert(MESSAGE_ID, value(id).map_err(away)?);
        }
        // Its subject is its own: the stream refuses the second letter that claims to be the first there, now and after
        // any time, and also when two replicas try.
        headers.insert(
            NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
            HeaderValue::from(0_u64),
        );
        let subject = format!("{}.{}.{place}", self.plan.dead_subject, places.read);
        let message = PublishMessage::build()
            .payload(delivery.body.clone())
            .headers(headers);
        let sent = self.context.send_publish(subject, message).await;
        match super::answer(sent).await {
            Err(error) if error.kind() != PublishErrorKind::WrongLastSequence => {
                self.doubt(Err(condition(&error))).await
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn list_dead(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, LineError> {
        let stream = self.places().await?.dead;
        let all = format!("{}.>", self.plan.dead_subject);
        let mut listed = Vec::new();
        let mut next = after.saturating_add(1);
        while listed.len() < limit {
            let asked = stream
                .raw_message_builder()
                .sequence(next)
                .next_by_subject(&all);
            match asked.send().await {
                Ok(message) => {
                    next = message.sequence.saturating_add(1);
                    listed.push(dead_letter(message));
                }
                Err(error) if is_missing(&error.kind()) => break,
                Err(error) => return Err(away(error)),
            }
        }
        Ok(listed)
    }

    pub(super) async fn read_dead(&self, sequence: u64) -> Result<Option<DeadLetter>, LineError> {
        let stream = self.places().await?.dead;
        match stream.get_raw_message(sequence).await {
            Ok(message) => Ok(Some(dead_letter(message))),
            Err(error) if is_missing(&error.kind()) => Ok(None),
            Err(error) => Err(away(error)),
        }
    }

    pub(super) async fn delete_dead(&self, sequence: u64) -> Result<bool, LineError> {
        let stream = self.places().await?.dead;
        // The broker's answer does not tell one that is gone from one that it cannot delete.
        if self.read_dead(sequence).await?.is_none() {
            return Ok(false);
        }
        stream.delete_message(sequence).await.map_err(away)
    }
}

fn is_missing(kind: &RawMessageErrorKind) -> bool {
    matches!(kind, RawMessageErrorKind::NoMessageFound)
}

fn dead_letter(message: StreamMessage) -> DeadLetter {
    let said = |name: &str| said_of(&message.headers, name);
    let mut headers = read(&message.headers);
    headers.retain(|(name, _)| ![REASON, PLACE, MESSAGE_ID].contains(&name.as_str()));
    let reason = said(REASON).unwrap_or_default();
    let died_ms = message.time.unix_timestamp_nanos() / 1_000_000;
    DeadLetter {
        sequence: message.sequence,
        line_sequence: said(PLACE)
            .and_then(|place| place.parse().ok())
            .unwrap_or(0),
        reason: percent_decode_str(&reason).decode_utf8_lossy().into_owned(),
        died_ms: u64::try_from(died_ms).unwrap_or(0),
        message_id: said(MESSAGE_ID).or_else(|| message_id(&message.headers)),
        body: message.payload,
        headers,
    }
}

fn said_of(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    Some(value.as_str().to_owned())
}
