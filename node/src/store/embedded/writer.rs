//! The thread that writes: whatever waits becomes one transaction, and is answered after it is committed.
//!
//! If a transaction fails, everything in it is undone and each write is tried in a transaction of its own: the one that
//! cannot be done is told so, its neighbours are not touched by it.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::checkpoint::{Checkpointer, copy_back, fold_in};
use super::schema::Opened;
use super::tally::{Standing, Tally};
use super::writes::{Write, Written, apply, forget_claims};
use crate::store::StoreError;

/// Writes in one transaction: enough to make its own price vanish, few enough that the first one does not wait long.
const BATCH: usize = 512;

/// Pages of log after which the checkpoint thread is woken: 4 MiB.
const PAGES_PER_CHECKPOINT: usize = 1024;

/// Roughly the pages a transaction adds to the log besides one for each write: the right edges of the trees.
const PAGES_PER_TRANSACTION: usize = 4;

/// Expired claims swept for each new one: more than one, so that a backlog shrinks.
const CLAIMS_SWEPT_PER_CLAIM: usize = 4;

type Reply = oneshot::Sender<Result<Written, StoreError>>;

pub(super) enum Order {
    Write(Write, Reply),
    Close(oneshot::Sender<()>),
}

/// What is committed.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) tasks: AtomicU64,
    pub(super) standing: Standing,
}

pub(super) struct Writer {
    connection: Connection,
    tally: Tally,
    /// What others see of the counts; only the writer changes them.
    counts: Arc<Counts>,
    checkpointer: Checkpointer,
    /// An estimate is enough: the checkpoint thread learns the true length.
    pages_since_checkpoint: usize,
    /// Held until the last write is committed.
    lock: File,
}

impl Writer {
    pub(super) fn start(
        opened: Opened,
        queue: mpsc::Receiver<Order>,
        checkpointer: Checkpointer,
    ) -> io::Result<Arc<Counts>> {
        let counts = Arc::new(Counts {
            tasks: AtomicU64::new(opened.tally.tasks),
            standing: opened.standing,
        });
        let writer = Self {
            connection: opened.connection,
            tally: opened.tally,
            counts: Arc::clone(&counts),
            checkpointer,
            pages_since_checkpoint: 0,
            lock: opened.lock,
        };
        thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(queue))?;
        Ok(counts)
    }

    fn run(mut self, mut queue: mpsc::Receiver<Order>) {
        let mut orders = Vec::with_capacity(BATCH);
        let mut closed = Vec::new();
        // One wake-up takes everything that waits; zero means closed and empty.
        while queue.blocking_recv_many(&mut orders, BATCH) > 0 {
            let mut writes = Vec::with_capacity(orders.len());
            for order in orders.drain(..) {
                match order {
                    Order::Write(write, reply) => writes.push((write, reply)),
                    Order::Close(reply) => {
                        queue.close();
                        closed.push(reply);
                    }
                }
            }
            self.perform(writes);
            self.keep_log_short();
        }
        fold_in(&self.connection);
        let Self {
            connection,
            checkpointer,
            lock,
            ..
        } = self;
        drop((connection, checkpointer));
        // Dropping it is not enough: a child that is being started at this moment holds a copy until it runs.
        if let Err(error) = lock.unlock() {
            tracing::error!(error = %error, "the data directory could not be let go of");
        }
        for reply in closed {
            let _ = reply.send(());
        }
    }

    fn perform(&mut self, writes: Vec<(Write, Reply)>) {
        if let Ok(outcomes) = self.commit(&writes) {
            for ((_, reply), written) in writes.into_iter().zip(outcomes) {
                // A caller that went away has its write all the same.
                let _ = reply.send(Ok(written));
            }
            return;
        }
        for write in writes {
            let alone = [write];
            let outcome = self
                .commit(&alone)
                .and_then(|written| written.into_iter().next().ok_or(StoreError::Unavailable));
            let [(_, reply)] = alone;
            let _ = reply.send(outcome);
        }
    }

    /// All of them in one transaction, or none.
    fn commit(&mut self, writes: &[(Write, Reply)]) -> Result<Vec<Written>, StoreError> {
        let mut tally = self.tally.clone();
        let outcome = self.transact(writes, &mut tally);
        match outcome {
            Ok(_) => {
                self.counts.tasks.store(tally.tasks, Ordering::Relaxed);
                self.counts.standing.apply(tally.moves.drain(..));
                self.tally = tally;
                self.pages_since_checkpoint += PAGES_PER_TRANSACTION + writes.len();
            }
            // Some failures have rolled back already.
            Err(_) if !self.connection.is_autocommit() => {
                if let Err(error) = self.connection.execute_batch("ROLLBACK") {
                    tracing::error!(error = %error, "rollback of the store failed");
                }
            }
            Err(_) => {}
        }
        outcome
    }

    fn transact(
        &self,
        writes: &[(Write, Reply)],
        tally: &mut Tally,
    ) -> Result<Vec<Written>, StoreError> {
        self.connection
            .prepare_cached("BEGIN IMMEDIATE")?
            .execute([])?;
        let mut outcomes = Vec::with_capacity(writes.len());
        let mut claims = 0;
        let mut claimed_ms = 0;
        for (write, _) in writes {
            outcomes.push(apply(&self.connection, tally, write)?);
            if let Write::Claim { now_ms, .. } = write {
                claims += 1;
                claimed_ms = claimed_ms.max(*now_ms);
            }
        }
        if claims > 0 {
            forget_claims(
                &self.connection,
                claimed_ms,
                claims * CLAIMS_SWEPT_PER_CLAIM,
            )?;
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(outcomes)
    }

    fn keep_log_short(&mut self) {
        if self.pages_since_checkpoint >= PAGES_PER_CHECKPOINT {
            self.pages_since_checkpoint = 0;
            self.checkpointer.wake();
        }
        if self.checkpointer.is_due() {
            copy_back(&self.connection);
        }
    }
}
