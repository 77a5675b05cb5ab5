//! `WanQueue` owns the envelopes of one side, those that came or those that are to go: each is kept once, and what is to be
//! done with it is done until it is done, over crashes and failures.
//!
//! Answers [`Take`] (once the store has the envelopes), [`ListDead`], [`SettleDead`] and [`Look`]. Refuses nothing, but
//! says what came before and what there is no room for. A restart loses nothing: what was in hand is found in the store,
//! at once where nobody else shares it, else some seconds later. Envelopes of one correlation id are seen
//! to one after the other. While whoever is needed is away, nothing is tried but one page now and then.
//! Read `messages` first, then `hand`.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use archipel_kit::clock::Clock;
use futures_util::StreamExt;

use crate::metrics::{Came, WanEffect, WanMetrics, WanQueueSide};
use crate::push::pause::pause;
use crate::store::StoreError;
use crate::store::wan::{
    DeadRow, Kept, NewRow, PutTerms, Settlement, WanRetention, WanSide, WanStore,
};
use hand::{HAND_MS, Hand, RENEW};

use messages::Fresh;
pub use messages::{
    Held, ListDead, Look, Outcome, Parcel, QueueView, SettleDead, Take, Taken, Work,
};

mod hand;
mod messages;

/// Messages that may wait for the actor.
const MAILBOX: usize = 1024;
/// Envelopes that are being seen to at once; what comes beyond them is found in the store.
const MOST_IN_HAND: usize = 2048;
/// Rows that are looked for at once.
const PAGE: usize = 256;
/// Settlements that are written at once.
const CHUNK: usize = 256;
/// How often the store is asked what is due.
const SWEEP: Duration = Duration::from_secs(1);
/// How long nothing is tried when somebody is away, at first and at most.
const RESTS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(10)];
/// How often what need not be remembered is forgotten, and how many at once.
const FORGET: Duration = Duration::from_secs(10);
const BITE: usize = 512;

/// What the actor works with.
#[derive(Clone)]
pub struct QueuePorts {
    pub side: WanSide,
    pub store: Arc<dyn WanStore>,
    pub work: Arc<dyn Work>,
    pub clock: Arc<dyn Clock>,
    pub metrics: WanMetrics,
    pub retention: WanRetention,
    /// Most envelopes that may wait.
    pub max_waiting: u64,
}

/// See the module.
pub struct WanQueue {
    ports: QueuePorts,
    /// At most [`MOST_IN_HAND`].
    in_hand: usize,
    /// Of them, those that are being seen to.
    hand: Hand,
    sweeping: bool,
    /// Whether rows were kept behind others of their lane since the last sweep.
    has_followers: bool,
    /// What a process before this one had in hand, where nobody else can have it: rows that are due up to then.
    inherited_ms: Option<u64>,
    rest: Rest,
}

/// Whether somebody is away.
#[derive(Default)]
struct Rest {
    /// How often in a row somebody was.
    times: u32,
    until: Duration,
    why: Option<String>,
}

impl WanQueue {
    pub fn new(ports: QueuePorts) -> Self {
        Self {
            ports,
            in_hand: 0,
            hand: Hand::default(),
            sweeping: false,
            has_followers: false,
            inherited_ms: None,
            rest: Rest::default(),
        }
    }

    fn is_resting(&self) -> bool {
        self.rest.why.is_some()
    }

    /// Sees to rows, which are counted as in hand already.
    fn see_to(&mut self, held: Vec<Held>, ctx: &mut Context<Self>) {
        if held.is_empty() {
            return;
        }
        let count = held.len();
        self.hand.take(&held);
        let done = see_to(self.ports.clone(), self.hand.clone(), held).into_actor(self);
        ctx.spawn(done.map(move |away, queue, ctx| {
            queue.in_hand -= count;
            queue.note(away);
            if std::mem::take(&mut queue.has_followers) {
                queue.sweep(ctx);
            }
        }));
    }

    fn note(&mut self, away: Option<String>) {
        let Some(why) = away else {
            self.rest = Rest::default();
            return;
        };
        let now = self.ports.clock.monotonic();
        // What was in hand together fails together, and counts once.
        if now >= self.rest.until {
            self.rest.times += 1;
            let [first, most] = RESTS;
            self.rest.until = now + pause(self.rest.times, first, most, rand::random());
        }
        if self.rest.why.is_none() {
            tracing::warn!(why, side = ?self.ports.side, "envelopes have to wait");
        }
        self.rest.why = Some(why);
    }

    /// Takes in hand what is due, and goes on as long as there is more.
    fn sweep(&mut self, ctx: &mut Context<Self>) {
        let is_too_early = self.is_resting()
            && (self.ports.clock.monotonic() < self.rest.until || self.in_hand > 0);
        if self.sweeping || is_too_early || self.in_hand + PAGE > MOST_IN_HAND {
            return;
        }
        self.sweeping = true;
        self.in_hand += PAGE;
        let now_ms = self.ports.clock.now_ms();
        let due_ms = self.inherited_ms.unwrap_or(now_ms);
        let (store, side) = (Arc::clone(&self.ports.store), self.ports.side);
        let rows = async move { store.lease(side, PAGE, due_ms, now_ms + HAND_MS).await };
        ctx.spawn(rows.into_actor(self).map(|rows, queue, ctx| {
            queue.sweeping = false;
            let rows = match rows {
                Ok(rows) => rows,
                Err(error) => {
                    queue.in_hand -= PAGE;
                    return tracing::warn!(%error, "envelopes that wait cannot be read");
                }
            };
            let is_full = rows.len() == PAGE;
            queue.in_hand -= PAGE - rows.len();
            if !is_full {
                queue.inherited_ms = None;
            }
            let held = rows.into_iter().map(|row| Held { row, message: None });
            queue.see_to(held.collect(), ctx);
            if is_full {
                queue.sweep(ctx);
            }
        }));
    }

    /// Says again what is in hand.
    fn renew(&self, ctx: &mut Context<Self>) {
        let (ports, hand) = (self.ports.clone(), self.hand.clone());
        let renewed = async move {
            // Looked at in the moment in which it is said.
            let numbers = hand.numbers();
            if numbers.is_empty() {
                return;
            }
            let until_ms = ports.clock.now_ms() + HAND_MS;
            if let Err(error) = ports.store.hold(ports.side, numbers, until_ms).await {
                tracing::warn!(%error, "others may see to envelopes that are in hand here");
            }
        };
        ctx.spawn(renewed.into_actor(self));
    }

    /// Forgets what need not be remembered, and counts what waits.
    fn tidy(&self, ctx: &mut Context<Self>) {
        let ports = self.ports.clone();
        let tidied = async move {
            if let Err(error) = tidy(&ports).await {
                tracing::warn!(%error, "old envelopes stay for now");
            }
        };
        ctx.spawn(tidied.into_actor(self));
    }

    /// What became of rows in the store; those that this actor has in hand it sees to.
    fn kept(
        &mut self,
        (fresh, put_ms, has_room): (Vec<Fresh>, u64, bool),
        kept: Result<Vec<Kept>, StoreError>,
        ctx: &mut Context<Self>,
    ) -> Result<Vec<Taken>, StoreError> {
        let came = |came| self.ports.metrics.came.count((self.ports.side(), came));
        let kept = kept.inspect_err(|_| came(Came::Failed))?;
        let mut in_hand = Vec::with_capacity(kept.len());
        let mut taken = Vec::with_capacity(kept.len());
        for (fresh, kept) in fresh.into_iter().zip(kept) {
            let (told, counted) = match kept {
                Kept::First { number, leads } => {
                    self.has_followers |= !leads;
                    if leads && has_room {
                        in_hand.push(fresh.held(number, put_ms));
                    }
                    (Taken::First, Came::First)
                }
                Kept::Repeated => (Taken::Repeated, Came::Repeated),
                Kept::Full => (Taken::Full, Came::Full),
            };
            came(counted);
            taken.push(told);
        }
        self.in_hand += in_hand.len();
        self.see_to(in_hand, ctx);
        Ok(taken)
    }
}

impl QueuePorts {
    fn side(&self) -> WanQueueSide {
        match self.side {
            WanSide::In => WanQueueSide::In,
            WanSide::Out => WanQueueSide::Out,
        }
    }
}

/// Sees to some rows and settles them as they are done; who was away, if somebody was.
async fn see_to(ports: QueuePorts, hand: Hand, held: Vec<Held>) -> Option<String> {
    let mut away = None;
    let mut outcomes = ports.work.run(held).ready_chunks(CHUNK);
    while let Some(chunk) = outcomes.next().await {
        let now_ms = ports.clock.now_ms();
        let settled = chunk.into_iter().map(|(number, outcome)| match outcome {
            Outcome::Settled(settlement) => {
                ports.count(&settlement);
                (number, settlement)
            }
            Outcome::Away(why) => {
                away = Some(why);
                let due_ms = now_ms;
                (
                    number,
                    Settlement::Later {
                        due_ms,
                        attempts: 0,
                    },
                )
            }
        });
        let settled: Vec<_> = settled.collect();
        for (number, _) in &settled {
            hand.let_go(*number);
        }
        // If that fails they come again when others need not leave them alone any more.
        if let Err(error) = ports.store.settle(ports.side, settled).await {
            tracing::warn!(%error, "what became of envelopes is not known to the store");
        }
    }
    away
}

impl QueuePorts {
    fn count(&self, settlement: &Settlement) {
        let effect = match settlement {
            Settlement::Done => WanEffect::Done,
            Settlement::Dead { .. } => WanEffect::Dead,
            _ => WanEffect::Later,
        };
        self.metrics.effects.count((self.side(), effect));
    }
}

async fn tidy(ports: &QueuePorts) -> Result<(), StoreError> {
    let (store, side) = (&ports.store, ports.side);
    let standing = store.standing(side).await?;
    let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let label = ports.side();
    ports.metrics.waiting.set(gauge(standing.waiting), label);
    ports.metrics.dead.set(gauge(standing.dead), label);
    let now_ms = ports.clock.now_ms();
    let age_ms = standing
        .oldest_ms
        .map(|oldest| now_ms.saturating_sub(oldest));
    let age = age_ms.unwrap_or(0) / 1000;
    ports.metrics.oldest.set(gauge(age), label);
    while store.forget(side, ports.retention, now_ms, BITE).await? >= BITE as u64 {}
    Ok(())
}

impl Actor for WanQueue {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        if !self.ports.store.is_shared() {
            // What is put from now on is in hand for longer.
            let own_ms = self.ports.clock.now_ms() + HAND_MS;
            self.inherited_ms = Some(own_ms - 1);
        }
        self.sweep(ctx);
        ctx.run_interval(SWEEP, |queue, ctx| queue.sweep(ctx));
        ctx.run_interval(RENEW, |queue, ctx| queue.renew(ctx));
        ctx.run_interval(FORGET, |queue, ctx| queue.tidy(ctx));
    }
}

impl Handler<Take> for WanQueue {
    type Result = ResponseActFuture<Self, Result<Vec<Taken>, StoreError>>;

    fn handle(&mut self, Take(parcels): Take, _: &mut Self::Context) -> Self::Result {
        let (rows, fresh): (Vec<NewRow>, Vec<Fresh>) =
            parcels.into_iter().map(Parcel::unpack).unzip();
        let now_ms = self.ports.clock.now_ms();
        let has_room = !self.is_resting() && self.in_hand + rows.len() <= MOST_IN_HAND;
        let terms = PutTerms {
            now_ms,
            due_ms: now_ms + if has_room { HAND_MS } else { 0 },
            most: self.ports.max_waiting,
        };
        let count = rows.len();
        self.in_hand += count;
        let (store, side) = (Arc::clone(&self.ports.store), self.ports.side);
        let kept = async move { store.put(side, rows, terms).await };
        Box::pin(kept.into_actor(self).map(move |kept, queue, ctx| {
            queue.in_hand -= count;
            queue.kept((fresh, now_ms, has_room), kept, ctx)
        }))
    }
}

impl Handler<ListDead> for WanQueue {
    type Result = ResponseFuture<Result<Vec<DeadRow>, StoreError>>;

    fn handle(&mut self, asked: ListDead, _: &mut Self::Context) -> Self::Result {
        let (store, side) = (Arc::clone(&self.ports.store), self.ports.side);
        Box::pin(async move { store.dead(side, asked.after, asked.limit).await })
    }
}

impl Handler<SettleDead> for WanQueue {
    type Result = ResponseFuture<Result<bool, StoreError>>;

    fn handle(&mut self, asked: SettleDead, _: &mut Self::Context) -> Self::Result {
        let (store, side) = (Arc::clone(&self.ports.store), self.ports.side);
        let settlement = if asked.again {
            let due_ms = self.ports.clock.now_ms();
            Settlement::Again { due_ms }
        } else {
            Settlement::Dropped
        };
        Box::pin(async move {
            let settled = vec![(asked.number, settlement)];
            Ok(store.settle(side, settled).await? > 0)
        })
    }
}

impl Handler<Look> for WanQueue {
    type Result = ResponseFuture<Result<QueueView, StoreError>>;

    fn handle(&mut self, _: Look, _: &mut Self::Context) -> Self::Result {
        let (store, side) = (Arc::clone(&self.ports.store), self.ports.side);
        let (in_hand, away) = (self.in_hand, self.rest.why.clone());
        let most = self.ports.max_waiting;
        Box::pin(async move {
            let standing = store.standing(side).await?;
            Ok(QueueView {
                standing,
                has_room: standing.waiting < most,
                in_hand,
                away,
            })
        })
    }
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
mod tests;
