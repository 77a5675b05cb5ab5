//! How often somebody may call: the port to what counts, and the turnstile that calls pass.
//!
//! Owns [`Turnstile`]. What is denied is counted nowhere, so a caller that waits as long as it is told comes through. A key
//! that was denied is denied here until its time has come, without asking again; while the counting store does not
//! answer, nobody comes through and one call in a while tries it. Read `memory` (the port in its plainest form;
//! `store/redis/limits.rs` is the shared one), then `failures` (addresses that keep presenting bad credentials).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use archipel_kit::admission::{KeyTimes, Rule};
use archipel_kit::clock::Clock;
use async_trait::async_trait;
use futures_util::future::join_all;

use crate::metrics::{Limited, LimiterMetrics};
use crate::store::{Claim, ClaimRequest, ClaimStore, StoreError};

mod failures;
mod memory;

pub use failures::Failures;
pub use memory::MemoryLimiter;

/// Keys whose denial is remembered here.
const DENIED_KEYS: usize = 65_536;

/// While the store is away it is asked this often, by one call, so that the others do not wait for its time limit.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// What is told when nobody can say how often somebody has called (contract/public-tier.md 5).
const UNDECIDED_RETRY_SECONDS: u64 = 30;

/// How often somebody may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// At most so many calls in any stretch of time of this length (contract/public-tier.md 5).
    Window { max: u32, window: Duration },
    /// At a steady rate, some of them at once.
    Steady(Rule),
}

impl Limit {
    /// How many calls may come at once: what callers are told.
    pub fn calls(self) -> u64 {
        match self {
            Self::Window { max, .. } => u64::from(max),
            Self::Steady(rule) => rule.limit(),
        }
    }
}

/// Under which name calls are counted, and against what.
#[derive(Debug, Clone, Copy)]
pub struct Bucket<'a> {
    pub key: &'a str,
    pub limit: Limit,
}

/// A call that asks to pass. At least one bucket.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// It passes when all of them let it.
    pub buckets: &'a [Bucket<'a>],
    /// Whose reputation the last bucket speaks of, where reputation counts.
    pub reputation: Option<Reputation<'a>>,
}

impl<'a> Call<'a> {
    /// A call of somebody without a reputation.
    pub const fn of(buckets: &'a [Bucket<'a>]) -> Self {
        Self {
            buckets,
            reputation: None,
        }
    }
}

/// The buckets of limits that were told with their names.
pub fn buckets(limits: &[(String, Limit)]) -> Vec<Bucket<'_>> {
    limits
        .iter()
        .map(|(key, limit)| Bucket { key, limit: *limit })
        .collect()
}

/// A call that has an id, which must be its own.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    pub claim: ClaimRequest<'a>,
    /// Without buckets it is not counted.
    pub call: Call<'a>,
}

impl Entry<'_> {
    fn is_counted(&self) -> bool {
        !self.call.buckets.is_empty()
    }
}

/// What became of an id, and, if nobody had taken it, of the call that is counted.
pub type Entered = (Claim, Option<Passed>);

/// How somebody has behaved (contract/public-tier.md 6).
#[derive(Debug, Clone, Copy)]
pub struct Reputation<'a> {
    pub id: &'a str,
    /// So many bad calls, and the caller is blocked. Absent: bad calls are only counted.
    pub block_at: Option<u64>,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// This bucket is full.
    Denied {
        bucket: usize,
        retry_after_ms: u64,
    },
    /// The caller has behaved too badly for too long.
    Blocked,
}

/// How a call went, for the caller's reputation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    Good,
    /// It could not be answered with a result, by the caller's own fault.
    Bad,
}

/// Counts calls.
#[async_trait]
pub trait Limiter: Send + Sync + fmt::Debug {
    /// Counts one call in every bucket, or in none when one is full or the caller is blocked. That the last bucket was full
    /// speaks against the caller, if it has a reputation.
    async fn admit(&self, call: Call<'_>) -> Result<Admission, StoreError>;

    /// Claims the id of each call and, if nobody had taken the id, counts the call like [`Limiter::admit`], all in one step
    /// and at one time. Absent where what counts is not what keeps the claims of the node.
    async fn claim_and_admit(
        &self,
        _: &[Entry<'_>],
    ) -> Option<Result<Vec<(Claim, Option<Admission>)>, StoreError>> {
        None
    }

    /// Notes how a call of somebody went.
    async fn note(&self, id: &str, conduct: Conduct) -> Result<(), StoreError>;
}

/// Why a call does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// How many calls may come.
    pub limit: u64,
    pub retry_after_seconds: u64,
    pub why: Why,
}

/// Whether a call may pass.
pub type Passed = Result<(), Held>;

/// What holds a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Full,
    Blocked,
    Undecided,
}

impl Why {
    /// The reason for the audit record.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Full => "rate_limited",
            Self::Blocked => "reputation",
            Self::Undecided => "limit_undecided",
        }
    }
}

/// Lets calls pass as often as they may. One for all workers.
#[derive(Debug)]
pub struct Turnstile {
    limiter: Arc<dyn Limiter>,
    /// Until when a key that was denied will be denied; microseconds of the monotonic clock.
    denied: KeyTimes<Box<str>>,
    /// When the store may be asked again; 0 while it answers.
    away_until_us: AtomicU64,
    clock: Arc<dyn Clock>,
    metrics: LimiterMetrics,
}

impl Turnstile {
    /// Counts with this limiter.
    pub fn new(limiter: Arc<dyn Limiter>, clock: Arc<dyn Clock>, metrics: LimiterMetrics) -> Self {
        Self {
            limiter,
            denied: KeyTimes::new(DENIED_KEYS),
            away_until_us: AtomicU64::new(0),
            clock,
            metrics,
        }
    }

    /// Whether a call would be held without being counted, because its key was denied a moment ago: to be asked before a
    /// call has cost anything.
    ///
    /// # Errors
    /// How long the caller is to wait.
    pub fn check_denied(&self, bucket: Bucket<'_>) -> Result<(), Held> {
        let call = Call::of(std::slice::from_ref(&bucket));
        let Some(held) = self.denied_again(&call, self.now_us()) else {
            return Ok(());
        };
        self.metrics.calls.count(Limited::DeniedAgain);
        Err(held)
    }

    /// Lets one call pass, or holds it.
    ///
    /// # Errors
    /// How long the caller is to wait.
    pub async fn pass(&self, call: Call<'_>) -> Result<(), Held> {
        let now_us = self.now_us();
        if let Some(held) = self.denied_again(&call, now_us) {
            self.metrics.calls.count(Limited::DeniedAgain);
            return Err(held);
        }
        if !self.may_ask(now_us) {
            return Err(self.undecided(&call));
        }
        match self.limiter.admit(call).await {
            Ok(admission) => {
                self.answered();
                self.settle(&call, admission)
            }
            Err(error) => {
                self.failed(error);
                Err(self.undecided(&call))
            }
        }
    }

    /// Claims the ids of calls and lets pass, or holds, those whose id nobody had taken. One answer for each, in their order:
    /// an error where nobody can tell whether the id was taken.
    pub async fn enter(
        &self,
        claims: &dyn ClaimStore,
        entries: &[Entry<'_>],
    ) -> Vec<Result<Entered, StoreError>> {
        let is_quiet = self.away_until_us.load(Ordering::Relaxed) == 0;
        if is_quiet && let Some(answers) = self.enter_together(entries).await {
            return answers;
        }
        let alone = entries.iter().map(|entry| self.enter_alone(claims, entry));
        join_all(alone).await
    }

    /// Nothing where ids and calls are not counted in one place.
    async fn enter_together(
        &self,
        entries: &[Entry<'_>],
    ) -> Option<Vec<Result<Entered, StoreError>>> {
        let now_us = self.now_us();
        let held: Vec<Option<Held>> = entries
            .iter()
            .map(|entry| self.denied_again(&entry.call, now_us))
            .collect();
        // A call that is held here is not counted, but its id is taken all the same.
        let asked: Vec<Entry<'_>> = entries
            .iter()
            .zip(&held)
            .map(|(entry, held)| match held {
                Some(_) => Entry {
                    call: Call::of(&[]),
                    ..*entry
                },
                None => *entry,
            })
            .collect();
        let answers = match self.limiter.claim_and_admit(&asked).await? {
            Ok(answers) => answers,
            // Where nobody can tell whether an id was taken, nothing is said of the limit.
            Err(error) => return Some(vec![Err(error); entries.len()]),
        };
        let passed = |entry: &Entry<'_>, held, (claimed, admission)| {
            let passed = match (held, admission) {
                (Some(held), Some(_)) => {
                    self.metrics.calls.count(Limited::DeniedAgain);
                    Some(Err(held))
                }
                (None, Some(admission)) if entry.is_counted() => {
                    Some(self.settle(&entry.call, admission))
                }
                _ => None,
            };
            Ok((claimed, passed))
        };
        let all = entries.iter().zip(held).zip(answers);
        let all = all.map(|((entry, held), answer)| passed(entry, held, answer));
        Some(all.collect())
    }

    async fn enter_alone(
        &self,
        claims: &dyn ClaimStore,
        entry: &Entry<'_>,
    ) -> Result<Entered, StoreError> {
        let claimed = claims.claim(entry.claim).await?;
        let passed = match claimed {
            Claim::First if entry.is_counted() => Some(self.pass(entry.call).await),
            Claim::First | Claim::Repeated | Claim::BeforeEpoch => None,
        };
        Ok((claimed, passed))
    }

    /// Notes how a call went, for a reputation. Nobody waits for it: a note that is lost is one bad call forgiven.
    pub fn note(self: &Arc<Self>, id: String, conduct: Conduct) {
        let this = Arc::clone(self);
        actix_rt::spawn(async move {
            if this.may_ask(this.now_us())
                && let Err(error) = this.limiter.note(&id, conduct).await
            {
                this.failed(error);
            }
        });
    }

    fn settle(&self, call: &Call<'_>, admission: Admission) -> Result<(), Held> {
        match admission {
            Admission::Admitted => {
                self.metrics.calls.count(Limited::Admitted);
                Ok(())
            }
            Admission::Denied {
                bucket,
                retry_after_ms,
            } => {
                self.metrics.calls.count(Limited::Denied);
                let denied = call.buckets.get(bucket);
                if let Some(denied) = denied {
                    let now_us = self.now_us();
                    let until = now_us.saturating_add(retry_after_ms.saturating_mul(1000));
                    self.denied.set(&denied.key.into(), until, now_us);
                }
                Err(Held {
                    limit: denied.map_or(0, |bucket| bucket.limit.calls()),
                    retry_after_seconds: retry_after_ms.div_ceil(1000).max(1),
                    why: Why::Full,
                })
            }
            Admission::Blocked => {
                self.metrics.calls.count(Limited::Blocked);
                let block_at = call.reputation.and_then(|reputation| reputation.block_at);
                Err(Held {
                    limit: block_at.unwrap_or_default(),
                    retry_after_seconds: 0,
                    why: Why::Blocked,
                })
            }
        }
    }

    /// What was denied a moment ago. The last bucket of somebody with a reputation is asked again, because that is what
    /// their reputation is made of.
    fn denied_again(&self, call: &Call<'_>, now_us: u64) -> Option<Held> {
        let remembered = match call.reputation {
            Some(_) => call.buckets.len().saturating_sub(1),
            None => call.buckets.len(),
        };
        call.buckets.iter().take(remembered).find_map(|bucket| {
            let until_us = self.denied.get(&bucket.key.into(), now_us)?;
            Some(Held {
                limit: bucket.limit.calls(),
                retry_after_seconds: (until_us - now_us).div_ceil(1_000_000),
                why: Why::Full,
            })
        })
    }

    fn undecided(&self, call: &Call<'_>) -> Held {
        self.metrics.calls.count(Limited::Undecided);
        Held {
            limit: call
                .buckets
                .first()
                .map_or(0, |bucket| bucket.limit.calls()),
            retry_after_seconds: UNDECIDED_RETRY_SECONDS,
            why: Why::Undecided,
        }
    }

    /// Whether the store answers, or it is this call's turn to try it again.
    fn may_ask(&self, now_us: u64) -> bool {
        let until_us = self.away_until_us.load(Ordering::Relaxed);
        if until_us == 0 {
            return true;
        }
        let next = now_us + TRY_AGAIN.as_micros() as u64;
        let (order, away) = (Ordering::Relaxed, &self.away_until_us);
        now_us >= until_us && away.compare_exchange(until_us, next, order, order).is_ok()
    }

    fn answered(&self) {
        // A plain read first: the usual answer must not write to a line that all workers read.
        if self.away_until_us.load(Ordering::Relaxed) != 0
            && self.away_until_us.swap(0, Ordering::Relaxed) != 0
        {
            tracing::info!("calls are counted again");
        }
    }

    fn failed(&self, error: StoreError) {
        let until_us = self.now_us() + TRY_AGAIN.as_micros() as u64;
        if self.away_until_us.swap(until_us, Ordering::Relaxed) == 0 {
            tracing::warn!(%error, "calls cannot be counted: peers and public callers are refused until they can");
        }
    }

    fn now_us(&self) -> u64 {
        now_us(self.clock.as_ref())
    }
}

/// Counted from one second on, so that no time is ever 0, which means "never".
fn now_us(clock: &dyn Clock) -> u64 {
    1_000_000 + u64::try_from(clock.monotonic().as_micros()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
pub(crate) mod tests;
