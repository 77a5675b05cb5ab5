//! The line between the sites: a broker that keeps letters until the site they are for has settled them.
//!
//! Owns the port [`WanLine`] and the words of it. A letter is handed to one replica of a site at a time, again whenever
//! nobody settled it in time, and for as long as it may be tried; then it lies among the dead letters with the reason.
//! So a letter may come twice, and never gets lost: whoever takes it keeps what it took before settling it.
//! Read `jetstream` (the line over NATS), then `in_process` (the line without a broker, for tests).

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

#[cfg(test)]
mod contract_tests;
#[cfg(test)]
pub(crate) mod in_process;
pub mod jetstream;

/// How long [`WanLine::pull`] waits for a first delivery.
pub const PULL_PATIENCE: Duration = Duration::from_secs(3);

/// The way to the broker, shared by all replicas of a site.
#[async_trait]
pub trait WanLine: Send + Sync + fmt::Debug {
    /// Hands letters over, in their order; each answer is the broker's word that it keeps that letter. Letters of one
    /// `message_id` count as one within the broker's window: the later ones are answered like the first and not kept.
    async fn publish(&self, letters: Vec<Letter>) -> Vec<Result<(), LineError>>;

    /// At most `most` deliveries that nobody settled and nobody else is at work on. Waits until there is one, or
    /// [`PULL_PATIENCE`] has passed.
    async fn pull(&self, most: usize) -> Result<Vec<Delivery>, LineError>;

    /// Says what became of a delivery. Where this fails, the delivery comes again.
    async fn settle(&self, delivery: &Delivery, verdict: Verdict) -> Result<(), LineError>;

    /// Dead letters of this site whose sequence is above `after`, the oldest first.
    async fn dead(&self, after: u64, limit: usize) -> Result<Vec<DeadLetter>, LineError>;

    /// One dead letter.
    async fn dead_letter(&self, sequence: u64) -> Result<Option<DeadLetter>, LineError>;

    /// Publishes a dead letter as a new one, which is dead no more. `false`: there is none.
    async fn again(&self, sequence: u64) -> Result<bool, LineError>;

    /// Forgets a dead letter. `false`: there is none.
    async fn drop_dead(&self, sequence: u64) -> Result<bool, LineError>;
}

/// What goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// By which the broker knows it again.
    pub message_id: String,
    pub body: Bytes,
    pub headers: Headers,
}

/// Names and values. Those that the broker makes (`Nats-..`) are not among them.
pub type Headers = Vec<(String, String)>;

/// What came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// By which the sender's broker knew it; other programs send letters without one.
    pub message_id: Option<String>,
    pub body: Bytes,
    pub headers: Headers,
    /// Which attempt this is, from 1.
    pub attempt: u64,
    /// Where the letter lies in the broker: the same at each attempt, larger for a later letter.
    pub sequence: u64,
    /// How the adapter finds it again.
    handle: Box<str>,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is kept, or is not for us.
    Done,
    /// Not now: once more after this time. At its last attempt it is dead instead.
    Later(Duration),
    /// Not yet, and nobody else is to try: the time to settle it begins anew.
    StillWorking,
    /// It can never be taken. It lies among the dead letters from now on, with this reason.
    Never(String),
}

/// A letter that nobody could take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its place among the dead letters, by which it is called.
    pub sequence: u64,
    /// The place that it had on the line.
    pub line_sequence: u64,
    /// Why it is here.
    pub reason: String,
    /// When it came here, in milliseconds since the Unix epoch.
    pub died_ms: u64,
    /// As they came.
    pub message_id: Option<String>,
    pub body: Bytes,
    pub headers: Headers,
}

/// How a line treats those who are slow or fail.
#[derive(Debug, Clone, Copy)]
pub struct LineRules {
    /// A delivery that is not settled for so long is given to the next one.
    pub settle_within: Duration,
    /// How often a letter is tried before it is dead.
    pub attempts: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Now; later it may do. Whether the broker heard us is not known: the same `message_id` makes another try safe.
    #[error("the line between the sites is not available: {0}")]
    Unavailable(String),
    /// This letter, whenever it is tried.
    #[error("the line between the sites refuses the letter: {0}")]
    Refused(String),
}

impl LineRules {
    /// Why a letter is dead that was tried as often as it may be.
    pub fn worn_out(&self) -> String {
        format!("given up after {} attempts", self.attempts)
    }
}
