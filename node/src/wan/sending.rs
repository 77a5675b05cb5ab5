//! What is done with an envelope that is to go: it is handed to the line, which knows it again when it is handed over twice.

use std::sync::Arc;

use archipel_protocol::wan::WanMessage;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::line::{Letter, LineError, WanLine};
use super::names;
use super::queue::{Outcome, Work};
use super::seals::Seals;
use crate::store::wan::{Settlement, WanRow};

/// Hands envelopes to the line.
pub struct Sending {
    line: Arc<dyn WanLine>,
    seals: Arc<Seals>,
}

impl Sending {
    pub fn new(line: Arc<dyn WanLine>, seals: Arc<Seals>) -> Self {
        Self { line, seals }
    }

    async fn send(&self, rows: Vec<WanRow>) -> Vec<(u64, Outcome)> {
        let mut outcomes = Vec::with_capacity(rows.len());
        let mut letters = Vec::with_capacity(rows.len());
        let mut numbers = Vec::with_capacity(rows.len());
        for row in rows {
            match WanMessage::decode_outgoing(&row.body) {
                Ok(message) => {
                    letters.push(Letter {
                        message_id: names::message_id(names::of(&message.envelope)),
                        headers: self.seals.seal(&row.body).into_iter().collect(),
                        body: row.body,
                    });
                    numbers.push(row.number);
                }
                // It was one when it was kept.
                Err(error) => {
                    let reason = error.to_string();
                    outcomes.push((row.number, Outcome::Settled(Settlement::Dead { reason })));
                }
            }
        }
        let answers = self.line.publish(letters).await;
        let sent = answers.into_iter().map(|answer| match answer {
            Ok(()) => Outcome::Settled(Settlement::Done),
            Err(LineError::Unavailable(why)) => Outcome::Away(why),
            Err(LineError::Refused(reason)) => Outcome::Settled(Settlement::Dead { reason }),
        });
        outcomes.extend(numbers.into_iter().zip(sent));
        outcomes
    }
}

impl Work for Sending {
    fn run(&self, rows: Vec<WanRow>) -> BoxStream<'_, (u64, Outcome)> {
        stream::once(self.send(rows)).flat_map(stream::iter).boxed()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::wan::line::LineRules;
    use crate::wan::line::in_process::InProcessLine;
    use crate::wan::seals::tests::node;
    use crate::wan::settings::SealRule;

    fn row(number: u64, correlation_id: &str) -> WanRow {
        let body = format!(
            r#"{{"v":1,"correlationId":"{correlation_id}","sourceOrigin":"https://a.example"}}"#
        );
        WanRow {
            number,
            put_ms: 0,
            attempts: 0,
            body: body.into(),
        }
    }

    #[tokio::test]
    async fn what_is_handed_over_twice_is_one_letter() {
        let line = Arc::new(InProcessLine::new(LineRules {
            settle_within: std::time::Duration::from_secs(60),
            attempts: 3,
        }));
        let (own, peer) = (("https://a.example", 1), ("https://b.example", 2));
        let seals = node(own, peer, SealRule::Check);
        let sending = Sending::new(line.clone(), Arc::new(seals));
        let mut rows = vec![
            row(1, "corr-0001"),
            row(2, "corr-0001"),
            row(3, "corr-0002"),
        ];
        rows.push(WanRow {
            body: "{".into(),
            ..row(4, "")
        });
        let outcomes: Vec<_> = sending.run(rows).collect().await;
        let done = Outcome::Settled(Settlement::Done);
        let dead = Outcome::Settled(Settlement::Dead {
            reason: "not JSON".to_owned(),
        });
        assert_eq!(
            outcomes,
            [(4, dead), (1, done.clone()), (2, done.clone()), (3, done)]
        );
        let letters = line.pull(10).await.unwrap();
        assert_eq!(letters.len(), 2);
        let is_sealed = |(name, _): &(String, String)| name == "Archipel-Seal";
        assert!(
            letters
                .iter()
                .all(|letter| letter.headers.iter().any(is_sealed))
        );
    }
}
