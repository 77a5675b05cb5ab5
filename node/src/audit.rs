//! Who did what with which right: every security decision leaves a record, refusals too.
//!
//! Owns [`Audit`]: the end of the chain and a bounded queue of records on their way to the store, one batch at a time; the
//! next gathers meanwhile. Answers [`Gather`] (comes for what was left at the desk), [`RecordDurably`] (once it is stored),
//! [`ReadRecords`], [`Flush`] and [`Snapshot`]. A record that finds the queue full is dropped, counted, and the number recorded as
//! `audit.dropped`. When the store fails, records stay queued and are tried again. After a restart the chain goes on from
//! the store's last row. Read `record` (what a record may say), `desk` (where records are left), then `chain` (how records
//! are linked and checked) and `reading`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, MessageResult, ResponseFuture,
    WrapFuture,
};
use archipel_kit::admission::{Rule, decide};
use archipel_kit::clock::Clock;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::store::{AuditStore, StoreError};
use chain::Head;
pub use chain::{ChainError, Checked, Links, verify_chain};
pub use desk::{AuditDesk, Gather, Tray};
pub use reading::{KeptRecord, ReadRecords};
pub use record::{AuditAction, AuditOutcome, AuditRecord, AuditText, CallFacts};

mod chain;
mod desk;
mod reading;
mod record;

#[cfg(test)]
mod tests;

/// Records that may wait for the store: some seconds of a busy node.
const QUEUE: usize = 8192;
/// Records in one append.
const BATCH: usize = 512;
/// Refusals that are recorded: so many at once, then ten a second. Strangers can cause any number of them; the rest is
/// counted, and `audit.dropped` says how many, so that nobody can fill the disk or hide an accepted call in a flood.
const REFUSALS: Rule = Rule::per_minute(600, 300);
/// How often in a row another replica may be faster at adding to the chain that all of them share.
const RACES: usize = 32;
/// How long records gather on the desk before they are stored, together. A node that is killed loses what it wrote down in
/// this time at most, and what was on its way.
const GATHER: Duration = Duration::from_millis(10);
/// How long a failing store is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Leaves a record and answers when it is stored.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), AuditError>")]
pub struct RecordDurably(pub AuditRecord);

/// Answers when every record left before is stored.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Flush;

/// Asks for the counts.
#[derive(Debug, Message)]
#[rtype(result = "AuditSnapshot")]
pub struct Snapshot;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// Too many records wait already; this one was dropped.
    #[error("the audit queue is full")]
    Full,
    /// The store did not take it; it is tried again, but nobody can rely on it.
    #[error("the audit record could not be stored")]
    NotStored,
    /// What is kept cannot be shown now.
    #[error("the audit chain cannot be read")]
    NotRead,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct AuditSnapshot {
    pub waiting: usize,
    pub stored: u64,
    pub dropped: u64,
    pub failed_appends: u64,
}

#[derive(Debug)]
pub struct Audit {
    store: Arc<dyn AuditStore>,
    clock: Arc<dyn Clock>,
    /// Where others leave records.
    tray: Tray,
    /// At most [`QUEUE`].
    waiting: VecDeque<Pending>,
    /// `None` until the store's last row was read, and again after a failure: who knows what it took.
    head: Option<Head>,
    appending: bool,
    /// Dropped since the last `audit.dropped`.
    dropped: u64,
    /// State of the limit of refusals.
    refusals_us: u64,
    flushing: Vec<oneshot::Sender<()>>,
    counts: AuditSnapshot,
}

/// A record that is not yet in the chain.
#[derive(Debug)]
struct Pending {
    at_ms: u64,
    record: AuditRecord,
    stored: Option<oneshot::Sender<Result<(), AuditError>>>,
}

impl Audit {
    /// An audit that takes from this tray.
    pub fn new(store: Arc<dyn AuditStore>, clock: Arc<dyn Clock>, tray: Tray) -> Self {
        Self {
            store,
            clock,
            tray,
            waiting: VecDeque::new(),
            head: None,
            appending: false,
            dropped: 0,
            refusals_us: 0,
            flushing: Vec::new(),
            counts: AuditSnapshot::default(),
        }
    }
}

impl Actor for Audit {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(QUEUE);
    }
}

impl Handler<Gather> for Audit {
    type Result = ();

    fn handle(&mut self, _: Gather, context: &mut Self::Context) {
        context.run_later(GATHER, |audit, context| {
            audit.empty_tray();
            audit.append_next(context);
        });
    }
}

impl Handler<RecordDurably> for Audit {
    type Result = ResponseFuture<Result<(), AuditError>>;

    fn handle(
        &mut self,
        RecordDurably(record): RecordDurably,
        context: &mut Self::Context,
    ) -> Self::Result {
        let (reply, stored) = oneshot::channel();
        self.empty_tray();
        self.take(Pending {
            at_ms: self.clock.now_ms(),
            record,
            stored: Some(reply),
        });
        self.append_next(context);
        Box::pin(async { stored.await.unwrap_or(Err(AuditError::NotStored)) })
    }
}

impl Handler<Flush> for Audit {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Flush, context: &mut Self::Context) -> Self::Result {
        let (reply, flushed) = oneshot::channel();
        self.empty_tray();
        self.append_next(context);
        self.flushing.push(reply);
        self.answer_flushes();
        // An error means that the actor ended; nothing more will be stored.
        Box::pin(async { flushed.await.unwrap_or_default() })
    }
}

impl Handler<Snapshot> for Audit {
    type Result = MessageResult<Snapshot>;

    fn handle(&mut self, _: Snapshot, _: &mut Self::Context) -> Self::Result {
        MessageResult(AuditSnapshot {
            waiting: self.tray.len() + self.waiting.len(),
            ..self.counts
        })
    }
}

impl Audit {
    /// Queues what was left at the desk.
    fn empty_tray(&mut self) {
        let left = self.tray.take();
        for pending in left.records {
            self.take(pending);
        }
        self.dropped += left.dropped;
        self.counts.dropped += left.dropped;
    }

    fn take(&mut self, pending: Pending) {
        let waited_for = pending.stored.is_some();
        let is_refusal = pending.record.outcome == AuditOutcome::Refused;
        if !waited_for && is_refusal && !self.may_record_refusal() {
            return self.count_dropped();
        }
        if self.waiting.len() < QUEUE {
            self.waiting.push_back(pending);
            return;
        }
        if self.dropped == 0 {
            tracing::error!(
                audit.queue = QUEUE,
                "audit queue is full, records are being dropped"
            );
        }
        self.count_dropped();
        answer(pending.stored, Err(AuditError::Full));
    }

    fn count_dropped(&mut self) {
        self.dropped += 1;
        self.counts.dropped += 1;
    }

    fn may_record_refusal(&mut self) -> bool {
        let now_us = self.clock.now_ms().saturating_mul(1000);
        let (decision, state) = decide(self.refusals_us, now_us, REFUSALS);
        self.refusals_us = state;
        decision.allowed
    }

    /// Starts the next append unless one is on its way.
    fn append_next(&mut self, context: &mut Context<Self>) {
        if self.appending || self.waiting.is_empty() {
            return;
        }
        self.appending = true;
        let mut batch: Vec<Pending> = self
            .waiting
            .drain(..self.waiting.len().min(BATCH))
            .collect();
        if self.dropped > 0 {
            let record = AuditRecord::dropped(std::mem::take(&mut self.dropped));
            batch.push(Pending {
                at_ms: self.clock.now_ms(),
                record,
                stored: None,
            });
        }
        let append = append(Arc::clone(&self.store), self.head.take(), batch);
        context.spawn(
            append
                .into_actor(self)
                .map(|done, audit: &mut Self, context| audit.appended(done, context)),
        );
    }

    fn appended(
        &mut self,
        (batch, outcome): (Vec<Pending>, Result<Head, StoreError>),
        context: &mut Context<Self>,
    ) {
        self.appending = false;
        match outcome {
            Ok(head) => {
                self.head = Some(head);
                self.counts.stored += batch.len() as u64;
                for pending in batch {
                    answer(pending.stored, Ok(()));
                }
                self.append_next(context);
            }
            Err(error) => {
                tracing::error!(error = %error, audit.records = batch.len(), "audit records could not be stored");
                self.counts.failed_appends += 1;
                self.put_back(batch);
                // Nobody starts another append before the pause is over.
                self.appending = true;
                context.run_later(RETRY_AFTER, |audit, context| {
                    audit.appending = false;
                    audit.append_next(context);
                });
            }
        }
        self.answer_flushes();
    }

    /// Keeps a batch for another try, in its order; whoever waits for one of its records is told.
    fn put_back(&mut self, batch: Vec<Pending>) {
        for mut pending in batch.into_iter().rev() {
            answer(pending.stored.take(), Err(AuditError::NotStored));
            if let Some(count) = pending.record.dropped_count() {
                self.dropped += count;
            } else {
                self.waiting.push_front(pending);
            }
        }
    }

    fn answer_flushes(&mut self) {
        if self.waiting.is_empty() && !self.appending {
            for reply in self.flushing.drain(..) {
                let _ = reply.send(());
            }
        }
    }
}

/// Links a batch to the chain and stores it; gives the batch back whatever happened.
async fn append(
    store: Arc<dyn AuditStore>,
    head: Option<Head>,
    batch: Vec<Pending>,
) -> (Vec<Pending>, Result<Head, StoreError>) {
    let outcome = link_and_store(store.as_ref(), head, &batch).await;
    (batch, outcome)
}

async fn link_and_store(
    store: &dyn AuditStore,
    head: Option<Head>,
    batch: &[Pending],
) -> Result<Head, StoreError> {
    let mut begun_at = match head {
        Some(head) => head,
        None => Head::of(store.last().await?.as_ref()),
    };
    for _ in 0..RACES {
        let mut head = begun_at;
        let rows = batch
            .iter()
            .map(|pending| head.link(pending.at_ms, &pending.record))
            .collect();
        let refused = match store.append(rows).await {
            Ok(()) => return Ok(head),
            Err(refused @ StoreError::Corrupt(_)) => refused,
            Err(error) => return Err(error),
        };
        // Another replica of this node may have been faster: then the chain goes on from its record.
        let now = Head::of(store.last().await?.as_ref());
        if now == begun_at {
            return Err(refused);
        }
        begun_at = now;
    }
    Err(StoreError::Unavailable)
}

fn answer(
    waiter: Option<oneshot::Sender<Result<(), AuditError>>>,
    outcome: Result<(), AuditError>,
) {
    if let Some(waiter) = waiter {
        // Whoever no longer waits does not need to know.
        let _ = waiter.send(outcome);
    }
}
