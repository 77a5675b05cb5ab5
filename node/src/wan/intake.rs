//! What comes from the line: pulled, kept, and only then settled there.
//!
//! What is for another site is settled and not kept; what is no envelope, or is
//! sealed by somebody else than it says, can never be taken and is buried with the reason.
//! While the store cannot keep anything nothing is pulled, so that no letter uses up its attempts.

use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use archipel_protocol::wan::WanMessage;
use futures_util::future::{join, join_all};

use super::line::{Delivery, Verdict, WanLine};
use super::place::{Place, Places};
use super::queue::{Look, Parcel, Take, Taken};
use super::seals::Seals;
use crate::metrics::{LineLetter, WanMetrics};
use crate::push::pause::pause;

/// Letters that are pulled at once.
const PAGE: usize = 256;
/// When a letter that could not be kept comes again.
const LATER: Duration = Duration::from_secs(15);
/// How long nothing is pulled after a failure, doubled with each further one up to the second.
const RESTS: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(10)];

/// What the intake works with.
#[derive(Clone)]
pub struct Intake {
    pub line: Arc<dyn WanLine>,
    pub take: Recipient<Take>,
    pub look: Recipient<Look>,
    pub places: Places,
    pub seals: Arc<Seals>,
    pub metrics: WanMetrics,
}

/// What a delivery turns out to be.
enum Judged {
    Ours(Box<Parcel>),
    Elsewhere,
    Poison(String),
}

impl Intake {
    /// Pulls for as long as it is polled.
    pub async fn run(self) {
        let mut failures = 0;
        loop {
            if failures > 0 {
                let [first, most] = RESTS;
                tokio::time::sleep(pause(failures, first, most, rand::random())).await;
                if !self.can_keep().await {
                    failures += 1;
                    continue;
                }
            }
            let went_well = self.pull_while_well().await;
            failures = if went_well { 1 } else { failures + 1 };
        }
    }

    async fn can_keep(&self) -> bool {
        let view = self.look.send(Look).await;
        matches!(view, Ok(Ok(view)) if view.has_room)
    }

    /// Pulls until something fails; whether anything went well before. The next letters are on their way while some are
    /// being kept.
    async fn pull_while_well(&self) -> bool {
        let Some(mut page) = self.pull().await else {
            return false;
        };
        let mut went_well = false;
        loop {
            let (settled, next) = join(self.take_in(&page), self.pull()).await;
            let Some(next) = next else {
                return went_well || settled;
            };
            page = next;
            if !settled {
                // What was pulled meanwhile is told so, too.
                self.take_in(&page).await;
                return went_well;
            }
            went_well = true;
        }
    }

    async fn pull(&self) -> Option<Vec<Delivery>> {
        let pulled = self.line.pull(PAGE).await;
        pulled
            .inspect_err(|error| tracing::debug!(%error, "nothing comes from the line"))
            .ok()
    }

    /// Keeps what is ours; whether everything could be settled.
    async fn take_in(&self, deliveries: &[Delivery]) -> bool {
        let (mut parcels, mut kept, mut settled) = (Vec::new(), Vec::new(), Vec::new());
        for delivery in deliveries {
            match self.judge(delivery) {
                Judged::Ours(parcel) => {
                    parcels.push(*parcel);
                    kept.push(delivery);
                }
                Judged::Elsewhere => {
                    self.metrics.letters.count(LineLetter::Elsewhere);
                    settled.push((delivery, Verdict::Done));
                }
                Judged::Poison(reason) => {
                    tracing::warn!(reason, "a letter of the line is not taken");
                    self.metrics.letters.count(LineLetter::Poisoned);
                    settled.push((delivery, Verdict::Never(reason)));
                }
            }
        }
        let taken = self.keep(parcels).await;
        let all_kept = taken.iter().all(|taken| *taken);
        for (delivery, taken) in kept.into_iter().zip(taken) {
            self.metrics.letters.count(if taken {
                LineLetter::Taken
            } else {
                LineLetter::Later
            });
            let verdict = if taken {
                Verdict::Done
            } else {
                Verdict::Later(LATER)
            };
            settled.push((delivery, verdict));
        }
        let settling = settled.into_iter();
        let settling = settling.map(|(delivery, verdict)| self.line.settle(delivery, verdict));
        // What is not settled comes again, and is known then.
        let answers = join_all(settling).await;
        all_kept && answers.iter().all(Result::is_ok)
    }

    fn judge(&self, delivery: &Delivery) -> Judged {
        let message = match WanMessage::decode(&delivery.body) {
            Ok(message) => message,
            Err(error) => return Judged::Poison(error.to_string()),
        };
        if self.places.of(&message.envelope) == Place::Elsewhere {
            return Judged::Elsewhere;
        }
        let sealed = self
            .seals
            .check(&delivery.headers, &delivery.body, &message.envelope);
        if let Err(refusal) = sealed {
            return Judged::Poison(refusal.to_string());
        }
        Judged::Ours(Box::new(Parcel {
            message,
            message_id: delivery.message_id.clone(),
            body: Some(delivery.body.clone()),
        }))
    }

    /// Which of them are kept now, or were before.
    async fn keep(&self, parcels: Vec<Parcel>) -> Vec<bool> {
        let count = parcels.len();
        if count == 0 {
            return Vec::new();
        }
        match self.take.send(Take(parcels)).await {
            Ok(Ok(taken)) => taken.iter().map(|taken| *taken != Taken::Full).collect(),
            Ok(Err(_)) | Err(_) => vec![false; count],
        }
    }
}
