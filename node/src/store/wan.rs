//! What is kept of envelopes between sites: those that came and those that are to go.
//!
//! Either side is a queue with a memory. A row waits until somebody settled it; whoever takes it in hand does so for a
//! while, after which others may. The names of a row are remembered when it is settled, so that what comes again is known.
//! Rows of one lane are taken in hand one after the other, in the order in which they came. The store knows nothing of
//! what is in a row.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use super::StoreError;

/// Envelopes. Every operation takes many at once and is all or nothing.
#[async_trait]
pub trait WanStore: Send + Sync + fmt::Debug {
    /// Keeps rows, unless one of the same name or message is known; what became of each, in order. They are in the hand
    /// of the caller until `terms.due_ms`, but for those that are told not to be first in their lane.
    async fn put(
        &self,
        side: WanSide,
        rows: Vec<NewRow>,
        terms: PutTerms,
    ) -> Result<Vec<Kept>, StoreError>;

    /// Takes rows in hand until `until_ms`: at most `limit` that are due and the first of their lanes, in the order in
    /// which they came.
    async fn lease(
        &self,
        side: WanSide,
        limit: usize,
        now_ms: u64,
        until_ms: u64,
    ) -> Result<Vec<WanRow>, StoreError>;

    /// Keeps rows in the hand of the caller until `until_ms`; those that do not wait any more are left alone.
    async fn hold(&self, side: WanSide, numbers: Vec<u64>, until_ms: u64)
    -> Result<(), StoreError>;

    /// Says what became of rows, and gives how many of them that was true of: a row that is settled waits no more.
    async fn settle(
        &self,
        side: WanSide,
        settled: Vec<(u64, Settlement)>,
    ) -> Result<u64, StoreError>;

    /// Dead rows with numbers greater than `after`, in order.
    async fn dead(
        &self,
        side: WanSide,
        after: u64,
        limit: usize,
    ) -> Result<Vec<DeadRow>, StoreError>;

    /// Forgets settled rows beyond the retention with their names, oldest first, at most `limit`; how many it forgot.
    async fn forget(
        &self,
        side: WanSide,
        retention: WanRetention,
        now_ms: u64,
        limit: usize,
    ) -> Result<u64, StoreError>;

    /// How many rows there are.
    async fn standing(&self, side: WanSide) -> Result<WanStanding, StoreError>;

    /// Whether others may hold rows in hand, too.
    fn is_shared(&self) -> bool {
        false
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WanSide {
    /// What came from other sites.
    In,
    /// What is to go to them.
    Out,
}

/// A short hash of whatever names a row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowName(pub [u8; 16]);

impl fmt::Debug for RowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRow {
    pub name: RowName,
    /// A second name, of the message that carried it.
    pub message: Option<RowName>,
    pub lane: Option<RowName>,
    pub body: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutTerms {
    pub now_ms: u64,
    /// When others may take the rows in hand.
    pub due_ms: u64,
    /// Most rows that may wait.
    pub most: u64,
}

/// What became of a row that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    First {
        number: u64,
        /// Whether no other row of its lane waits.
        leads: bool,
    },
    Repeated,
    /// As many wait as may.
    Full,
}

/// A row in hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WanRow {
    pub number: u64,
    pub put_ms: u64,
    /// As the last settlement told it.
    pub attempts: u32,
    pub body: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadRow {
    pub row: WanRow,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// Of one that waits: nothing more is to be done.
    Done,
    /// Of one that waits: not now.
    Later { due_ms: u64, attempts: u32 },
    /// Of one that waits: nobody tries again unless somebody says so.
    Dead { reason: String },
    /// Of a dead one: it waits again.
    Again { due_ms: u64 },
    /// Of a dead one: nobody needs it any more.
    Dropped,
}

/// How long and how many settled rows are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WanRetention {
    /// Since they came.
    pub keep_for_ms: u64,
    pub keep_count: u64,
}

impl WanRetention {
    /// Whether a row may be forgotten when so many more settled ones are there than may be.
    pub(super) fn is_over(self, put_ms: u64, now_ms: u64, too_many: u64) -> bool {
        too_many > 0 || put_ms.saturating_add(self.keep_for_ms) <= now_ms
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WanStanding {
    pub waiting: u64,
    /// When the first of those that wait came.
    pub oldest_ms: Option<u64>,
    pub dead: u64,
}
