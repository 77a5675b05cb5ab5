//! What is done with an envelope that is to go: it is handed to the line, which knows it again when it is handed over twice.
//! Whoever waits for the answer to a call hears when its envelope never goes.

use std::sync::Arc;

use actix::Recipient;
use archipel_kit::clock::Clock;
use archipel_protocol::wan::{PostedCall, WanMessage};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::calls::NotSent;
use super::line::{Letter, LineError, WanLine};
use super::names;
use super::queue::{Held, Outcome, Work};
use super::seals::Seals;
use crate::store::wan::{Settlement, WanRow};

/// Hands envelopes to the line.
pub struct Sending {
    line: Arc<dyn WanLine>,
    seals: Arc<Seals>,
    calls: Recipient<NotSent>,
    clock: Arc<dyn Clock>,
}

/// When it is told again that a call was not sent, which nobody heard.
const AGAIN_MS: u64 = 5000;

impl Sending {
    pub fn new(
        line: Arc<dyn WanLine>,
        seals: Arc<Seals>,
        calls: Recipient<NotSent>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            line,
            seals,
            calls,
            clock,
        }
    }

    async fn send(&self, held: Vec<Held>) -> Vec<(u64, Outcome)> {
        let mut outcomes = Vec::with_capacity(held.len());
        let mut letters = Vec::with_capacity(held.len());
        let mut sent = Vec::with_capacity(held.len());
        for Held { row, message } in held {
            match message.map_or_else(|| WanMessage::decode_outgoing(&row.body), Ok) {
                Ok(message) => {
                    letters.push(Letter {
                        message_id: names::message_id(names::of(&message.envelope)),
                        headers: self.seals.seal(&row.body).into_iter().collect(),
                        body: row.body.clone(),
                    });
                    sent.push(row);
                }
                // It was one when it was kept.
                Err(error) => {
                    let reason = error.to_string();
                    outcomes.push((row.number, Outcome::Settled(Settlement::Dead { reason })));
                }
            }
        }
        let answers = self.line.publish(letters).await;
        for (row, answer) in sent.into_iter().zip(answers) {
            let outcome = match answer {
                Ok(()) => Outcome::Settled(Settlement::Done),
                Err(LineError::Unavailable(why)) => Outcome::Away(why),
                Err(LineError::Refused(reason)) => Outcome::Settled(self.bury(&row, reason).await),
            };
            outcomes.push((row.number, outcome));
        }
        outcomes
    }

    /// An envelope never goes; a call in it fails before anybody may forget it.
    async fn bury(&self, row: &WanRow, reason: String) -> Settlement {
        let message = WanMessage::decode_outgoing(&row.body).ok();
        let envelope = message.map(|message| message.envelope);
        let call = envelope
            .as_ref()
            .and_then(|envelope| PostedCall::of(envelope).ok()?);
        let (Some(call), Some(envelope)) = (call, envelope) else {
            return Settlement::Dead { reason };
        };
        let told = NotSent {
            call,
            envelope,
            reason: reason.clone(),
        };
        match self.calls.send(told).await {
            Ok(true) => Settlement::Dead { reason },
            Ok(false) | Err(_) => Settlement::Later {
                due_ms: self.clock.now_ms().saturating_add(AGAIN_MS),
                attempts: row.attempts.saturating_add(1),
            },
        }
    }
}

impl Work for Sending {
    fn run(&self, held: Vec<Held>) -> BoxStream<'_, (u64, Outcome)> {
        stream::once(self.send(held)).flat_map(stream::iter).boxed()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use actix::{Actor, Context, Handler};
    use archipel_kit::clock::ManualClock;
    use archipel_protocol::ids::Origin;
    use archipel_protocol::wan::{Direction, Envelope};

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

    /// Hears of calls that were not sent.
    struct Caller(Arc<std::sync::Mutex<Vec<String>>>);

    impl Actor for Caller {
        type Context = Context<Self>;
    }

    impl Handler<NotSent> for Caller {
        type Result = bool;

        fn handle(&mut self, letter: NotSent, _: &mut Self::Context) -> bool {
            let mut heard = self.0.lock().unwrap();
            heard.push(format!("{}: {}", letter.call.agent, letter.reason));
            // The first time it has no time.
            heard.len() > 1
        }
    }

    #[actix::test]
    async fn what_is_handed_over_twice_is_one_letter() {
        let line = Arc::new(InProcessLine::new(LineRules {
            settle_within: std::time::Duration::from_secs(60),
            attempts: 3,
        }));
        let (own, peer) = (("https://a.example", 1), ("https://b.example", 2));
        let seals = node(own, peer, SealRule::Check);
        let heard = Arc::default();
        let caller = Caller(Arc::clone(&heard)).start().recipient();
        let clock = Arc::new(ManualClock::new(0));
        let sending = Sending::new(line.clone(), Arc::new(seals), caller, clock);
        let mut rows = vec![
            row(1, "corr-0001"),
            row(2, "corr-0001"),
            row(3, "corr-0002"),
        ];
        rows.push(WanRow {
            body: "{".into(),
            ..row(4, "")
        });
        let held = rows.into_iter().map(|row| Held { row, message: None });
        let outcomes: Vec<_> = sending.run(held.collect()).collect().await;
        let done = Outcome::Settled(Settlement::Done);
        let dead = Outcome::Settled(Settlement::Dead {
            reason: "not JSON".to_owned(),
        });
        assert_eq!(
            outcomes,
            [(4, dead), (1, done.clone()), (2, done.clone()), (3, done)]
        );
        assert_eq!(*heard.lock().unwrap(), Vec::<String>::new());
        let letters = line.pull(10).await.unwrap();
        assert_eq!(letters.len(), 2);
        let is_sealed = |(name, _): &(String, String)| name == "Archipel-Seal";
        assert!(
            letters
                .iter()
                .all(|letter| letter.headers.iter().any(is_sealed))
        );
    }

    #[actix::test]
    async fn whoever_waits_for_an_answer_hears_that_the_call_never_goes() {
        let origin = |text| Origin::parse(text).unwrap();
        let call = PostedCall {
            direction: Direction::Request,
            agent: "text".to_owned(),
            version: "1.0".to_owned(),
            body: "{}".to_owned(),
            token: String::new(),
        };
        let (own, peer) = (origin("https://a.example"), origin("https://b.example"));
        let envelope = Envelope::with_call(uuid::Uuid::nil(), &own, &peer, &call);
        let row = WanRow {
            body: envelope.to_value().to_string().into(),
            ..row(1, "")
        };
        let heard = Arc::default();
        let sending = Sending {
            line: Arc::new(InProcessLine::new(LineRules {
                settle_within: std::time::Duration::from_secs(60),
                attempts: 3,
            })),
            seals: Arc::new(node(
                ("https://a.example", 1),
                ("https://b.example", 2),
                SealRule::Check,
            )),
            calls: Caller(Arc::clone(&heard)).start().recipient(),
            clock: Arc::new(ManualClock::new(7)),
        };
        let later = Settlement::Later {
            due_ms: 7 + AGAIN_MS,
            attempts: 1,
        };
        let dead = Settlement::Dead {
            reason: "too large".to_owned(),
        };
        for expected in [later, dead] {
            let buried = sending.bury(&row, "too large".to_owned()).await;
            assert_eq!(buried, expected);
        }
        assert_eq!(*heard.lock().unwrap(), ["text: too large"; 2]);
    }
}
