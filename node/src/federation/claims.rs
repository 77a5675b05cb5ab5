//! Callers whose tokens are good, and whose ids are still to be claimed.
//!
//! A claim costs a trip to the store, and many cost hardly more than one. So those are asked about together that came in
//! one turn of the worker, or while others were asked about. That an id is taken once is the claim store's promise.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Context, Recipient};
use tokio::task::{JoinHandle, yield_now};
use tracing::Span;

use super::rules::Genuine;
use super::{
    FederationRefusal, FederationVerifier, PeerIdentity, Toll, UnknownKey, Verified,
    VerifierSnapshot, VerifyPeer,
};
use crate::limiter::Entered;
use crate::replay::{ClaimCall, ClaimCalls, ReplayError};
use crate::store::Claim;

/// How long the claim of an id may take before the caller is told to come again.
const CLAIM_LIMIT: Duration = Duration::from_secs(2);

/// Ids that are claimed together at most: what a store does in one step must not take long.
const TOGETHER: usize = 128;

type Verdict = Result<Verified, FederationRefusal>;

/// What is said to [`VerifyPeer`]: at once, or when the id was claimed.
pub struct Decision {
    pub(super) genuine: Result<Genuine, FederationRefusal>,
    /// To be looked for before a caller is refused.
    pub(super) follow: Option<UnknownKey>,
    pub(super) toll: Option<Toll>,
    pub(super) request_id: Option<String>,
    pub(super) span: Span,
    pub(super) claims: Rc<Claims>,
}

/// The way to whoever takes ids, and who waits for it.
pub(super) struct Claims {
    guard: Recipient<ClaimCalls>,
    waiting: RefCell<Vec<(ClaimCall, Caller)>>,
    asking: RefCell<Option<JoinHandle<()>>>,
    counts: Cell<VerifierSnapshot>,
}

/// A peer whose token is good.
struct Caller {
    identity: PeerIdentity,
    asker: Asker,
}

/// Who wants to know, and where that is logged.
struct Asker {
    sender: Option<OneshotSender<Verdict>>,
    request_id: Option<String>,
    span: Span,
}

impl MessageResponse<FederationVerifier, VerifyPeer> for Decision {
    fn handle(self, _: &mut Context<FederationVerifier>, sender: Option<OneshotSender<Verdict>>) {
        let (genuine, toll, claims) = (self.genuine, self.toll, self.claims);
        let asker = Asker {
            sender,
            request_id: self.request_id,
            span: self.span,
        };
        match (genuine, self.follow) {
            (Err(refusal), Some(follow)) => {
                actix_rt::spawn(async move {
                    let genuine = follow.again(refusal).await;
                    claims.decide(genuine, toll, asker);
                });
            }
            (genuine, _) => claims.decide(genuine, toll, asker),
        }
    }
}

impl Claims {
    /// Nobody waits yet.
    pub(super) fn by(guard: Recipient<ClaimCalls>) -> Rc<Self> {
        Rc::new(Self {
            guard,
            waiting: RefCell::default(),
            asking: RefCell::default(),
            counts: Cell::default(),
        })
    }

    pub(super) fn counts(&self) -> VerifierSnapshot {
        self.counts.get()
    }

    fn decide(
        self: &Rc<Self>,
        genuine: Result<Genuine, FederationRefusal>,
        toll: Option<Toll>,
        asker: Asker,
    ) {
        let Genuine { identity, claim } = match genuine {
            Ok(genuine) => genuine,
            Err(refusal) => return self.tell(asker, Err(refusal)),
        };
        let Some(claim) = claim else {
            let passed = None;
            return self.tell(asker, Ok(Verified { identity, passed }));
        };
        let limits = toll.map(|toll| toll.limits(&identity));
        let limits = limits.unwrap_or_default();
        self.add(ClaimCall { claim, limits }, Caller { identity, asker });
    }

    fn add(self: &Rc<Self>, call: ClaimCall, caller: Caller) {
        self.waiting.borrow_mut().push((call, caller));
        let mut asking = self.asking.borrow_mut();
        if asking.as_ref().is_none_or(JoinHandle::is_finished) {
            let this = Rc::clone(self);
            *asking = Some(actix_rt::spawn(async move { this.ask().await }));
        }
    }

    /// Asks until nobody waits.
    async fn ask(&self) {
        // Whoever else is about to come in this turn comes along.
        yield_now().await;
        loop {
            let mut together = self.waiting.take();
            if together.is_empty() {
                return;
            }
            let behind = together.split_off(together.len().min(TOGETHER));
            self.waiting.replace(behind);
            if !self.claim(together).await {
                self.give_up();
            }
        }
    }

    /// Asks once; whether anything was decided.
    async fn claim(&self, together: Vec<(ClaimCall, Caller)>) -> bool {
        let (calls, callers): (Vec<_>, Vec<_>) = together.into_iter().unzip();
        let asked = self.guard.send(ClaimCalls(calls)).timeout(CLAIM_LIMIT);
        let answers = asked.await.unwrap_or_default();
        let is_decided = answers.iter().any(Result::is_ok);
        let mut answers = answers.into_iter();
        for Caller { identity, asker } in callers {
            // The reason was logged where the claim failed; here it only matters that nobody said yes.
            let answer = answers.next().unwrap_or(Err(ReplayError::Undecided));
            self.tell(asker, verdict(identity, answer));
        }
        is_decided
    }

    /// Whoever waited behind others for whom nothing could be decided need not wait as long again.
    fn give_up(&self) {
        for (_, caller) in self.waiting.take() {
            self.tell(caller.asker, Err(FederationRefusal::Undecided));
        }
    }

    fn tell(&self, asker: Asker, verdict: Verdict) {
        self.counts.set(counted(self.counts.get(), &verdict));
        if let Err(refusal) = &verdict {
            asker.span.in_scope(|| {
                tracing::info!(
                    reason = refusal.reason(),
                    request.id = asker.request_id,
                    "federation call refused"
                );
            });
        }
        if let Some(sender) = asker.sender {
            // Whoever asked may have gone.
            let _ = sender.send(verdict);
        }
    }
}

fn verdict(identity: PeerIdentity, answer: Result<Entered, ReplayError>) -> Verdict {
    match answer {
        Ok((Claim::First, passed)) => Ok(Verified { identity, passed }),
        Ok((Claim::Repeated, _)) => Err(FederationRefusal::Replayed),
        Ok((Claim::BeforeEpoch, _)) => Err(FederationRefusal::BeforeEpoch),
        Err(ReplayError::Undecided) => Err(FederationRefusal::Undecided),
    }
}

fn counted(mut counts: VerifierSnapshot, verdict: &Verdict) -> VerifierSnapshot {
    let counter = match verdict {
        Ok(_) => &mut counts.accepted,
        Err(FederationRefusal::Replayed) => &mut counts.replayed,
        Err(FederationRefusal::Undecided) => &mut counts.undecided,
        Err(_) => &mut counts.refused,
    };
    *counter += 1;
    counts
}
