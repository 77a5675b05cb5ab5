//! Whether an agent is to be called now: how many turns it has, and whether it keeps failing.
//!
//! One [`AgentRun`] for each agent elsewhere, shared by all workers. [`AgentRun::begin`] lets a turn in, or says why not
//! and when to try again; what it gives back is the executor of this one turn, which gives its place back when it is
//! dropped and tells the breaker how the turn went.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use archipel_kit::clock::Clock;
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::object::Json;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::agents::breaker::{Breaker, BreakerRule, BreakerState, LeftAlone, Pass, Verdict};
use crate::error::RETRY_AFTER_SECONDS;
use crate::metrics::{AgentMetrics, NotCalled, TurnEnd};
use crate::tasks::executor::{
    AgentExecutor, CancelFuture, ExecutorFailure, Turn, TurnEvents, TurnFuture,
};

/// How many turns an agent may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TurnLimits {
    /// At once; 0 is any number.
    pub concurrent: usize,
    /// Behind those.
    pub waiting: usize,
}

/// Why an agent is not to be called now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    /// The operator paused it.
    #[error("the agent is paused")]
    Paused,
    /// It has as many turns as it may.
    #[error("the agent has as many messages to work on as it takes")]
    Busy,
    /// It keeps failing.
    #[error("the agent keeps failing and is left alone for a while")]
    LeftAlone(Duration),
}

/// What an agent is doing, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunSnapshot {
    /// Turns that were let in and have not ended.
    pub turns: usize,
    /// Of the breaker.
    pub breaker: BreakerState,
    /// It did not answer when it was last looked after.
    pub away: bool,
}

/// See the module.
#[derive(Debug)]
pub struct AgentRun {
    limits: TurnLimits,
    /// Turns that were let in and have not ended; at most `concurrent + waiting` where there is a limit.
    turns: AtomicUsize,
    /// One permit for each turn that may run.
    places: Option<Arc<Semaphore>>,
    breaker: Mutex<Breaker>,
    /// It did not answer when it was last looked after.
    away: AtomicBool,
    clock: Arc<dyn Clock>,
    metrics: AgentMetrics,
}

/// The place of a turn among those that run; given back when it is dropped.
pub type Place = Option<OwnedSemaphorePermit>;

/// A turn that was let in.
#[derive(Debug)]
pub struct Admission {
    run: Arc<AgentRun>,
    /// `None` once it was settled.
    pass: Option<Pass>,
}

impl AgentRun {
    /// An agent without turns that has never failed.
    pub fn new(
        limits: TurnLimits,
        rule: BreakerRule,
        clock: Arc<dyn Clock>,
        metrics: AgentMetrics,
    ) -> Self {
        Self {
            limits,
            turns: AtomicUsize::new(0),
            places: (limits.concurrent > 0).then(|| Arc::new(Semaphore::new(limits.concurrent))),
            breaker: Mutex::new(Breaker::new(rule)),
            away: AtomicBool::new(false),
            clock,
            metrics,
        }
    }

    /// What it is doing.
    pub fn snapshot(&self) -> RunSnapshot {
        RunSnapshot {
            turns: self.turns.load(Ordering::Relaxed),
            breaker: self.breaker.lock().state(),
            away: self.away.load(Ordering::Relaxed),
        }
    }

    /// Notes how it was found when it was looked after.
    pub fn note_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    /// Waits until fewer turns run than may; nothing to wait for where there is no limit.
    async fn place(&self) -> Place {
        let places = Arc::clone(self.places.as_ref()?);
        // It is never closed.
        places.acquire_owned().await.ok()
    }

    /// The limits it was made with.
    pub fn limits(&self) -> TurnLimits {
        self.limits
    }

    /// Lets a turn in.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(self: &Arc<Self>) -> Result<Admission, NotNow> {
        if !self.take_place() {
            return Err(self.refuse(NotNow::Busy));
        }
        let admitted = self.breaker.lock().admit(self.clock.monotonic());
        match admitted {
            Ok(pass) => {
                self.metrics.turns.add(1, ());
                Ok(Admission {
                    run: Arc::clone(self),
                    pass: Some(pass),
                })
            }
            Err(LeftAlone(pause)) => {
                self.turns.fetch_sub(1, Ordering::Relaxed);
                Err(self.refuse(NotNow::LeftAlone(pause)))
            }
        }
    }

    /// The executor of one turn of an agent whose turns `executor` runs.
    ///
    /// # Errors
    /// Why the agent is not to be called now.
    pub fn begin(
        self: &Arc<Self>,
        executor: &Arc<dyn AgentExecutor>,
    ) -> Result<Arc<dyn AgentExecutor>, NotNow> {
        Ok(Arc::new(AdmittedTurn {
            executor: Arc::clone(executor),
            admission: Mutex::new(Some(self.admit()?)),
        }))
    }

    /// Counts a call that was refused.
    pub fn refuse(&self, why: NotNow) -> NotNow {
        self.metrics.refused.count(match why {
            NotNow::Paused => NotCalled::Paused,
            NotNow::Busy => NotCalled::Busy,
            NotNow::LeftAlone(_) => NotCalled::Tripped,
        });
        why
    }

    fn take_place(&self) -> bool {
        let most = match self.limits.concurrent {
            0 => usize::MAX,
            concurrent => concurrent.saturating_add(self.limits.waiting),
        };
        let taken = self
            .turns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |turns| {
                (turns < most).then(|| turns + 1)
            });
        taken.is_ok()
    }
}

impl Admission {
    /// Waits until fewer turns run than may.
    pub async fn place(&self) -> Place {
        self.run.place().await
    }

    /// Ends the turn.
    pub fn settle(&mut self, verdict: Verdict) {
        let Some(pass) = self.pass.take() else {
            return;
        };
        let run = &self.run;
        let now = run.clock.monotonic();
        let (before, after) = {
            let mut breaker = run.breaker.lock();
            let before = breaker.state();
            breaker.settle(pass, verdict, now);
            (before, breaker.state())
        };
        if before != BreakerState::Tripped
            && after == BreakerState::Tripped
            && verdict == Verdict::Bad
        {
            run.metrics.tripped.count(());
        }
        run.turns.fetch_sub(1, Ordering::Relaxed);
        run.metrics.turns.add(-1, ());
        run.metrics.ended.count(match verdict {
            Verdict::Good => TurnEnd::Answered,
            Verdict::Bad => TurnEnd::Failed,
            Verdict::Unknown => TurnEnd::Ended,
        });
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.settle(Verdict::Unknown);
    }
}

/// The executor of one turn that was let in. A further turn with it runs as the agent's own executor would.
struct AdmittedTurn {
    executor: Arc<dyn AgentExecutor>,
    admission: Mutex<Option<Admission>>,
}

impl AgentExecutor for AdmittedTurn {
    fn run(self: Arc<Self>, turn: Turn, events: TurnEvents) -> TurnFuture {
        let executor = Arc::clone(&self.executor);
        let Some(admission) = self.admission.lock().take() else {
            return executor.run(turn, events);
        };
        let mut running = Running {
            admission,
            canceled: turn.canceled.clone(),
            has_begun: false,
        };
        Box::pin(async move {
            let place = running.admission.place();
            let Some(_place) = turn.canceled.run_until_cancelled(place).await else {
                return Err(ExecutorFailure::Ended);
            };
            running.has_begun = true;
            let result = executor.run(turn, events).await;
            running.admission.settle(verdict(&result));
            result
        })
    }

    fn resume(self: Arc<Self>, turn: Turn, events: TurnEvents) -> Option<TurnFuture> {
        Arc::clone(&self.executor).resume(turn, events)
    }

    fn may_decline_task(&self) -> bool {
        self.executor.may_decline_task()
    }

    fn is_posted(&self) -> bool {
        self.executor.is_posted()
    }

    fn cancel(self: Arc<Self>, memory: Option<Json>) -> Option<CancelFuture> {
        Arc::clone(&self.executor).cancel(memory)
    }

    fn reads_task(&self) -> bool {
        self.executor.reads_task()
    }
}

/// A turn that is at work, or waits for its place.
struct Running {
    admission: Admission,
    canceled: CancellationToken,
    has_begun: bool,
}

impl Drop for Running {
    /// A task drops its turn once the agent has told its end, which is as good as any answer. A turn that was told to
    /// stop says nothing of the agent.
    fn drop(&mut self) {
        if self.has_begun && !self.canceled.is_cancelled() {
            self.admission.settle(Verdict::Good);
        }
    }
}

/// What the end of a turn says of the agent. Errors that it tells itself are answers, unless they are about itself.
fn verdict(result: &Result<(), ExecutorFailure>) -> Verdict {
    /// JSON-RPC: the agent's own error.
    const INTERNAL_ERROR: i64 = -32603;
    match result {
        Ok(()) | Err(ExecutorFailure::Declined(_)) => Verdict::Good,
        Err(ExecutorFailure::Refused(INTERNAL_ERROR | 401 | 429 | 500..)) => Verdict::Bad,
        Err(ExecutorFailure::Refused(_)) => Verdict::Good,
        Err(ExecutorFailure::Ended) => Verdict::Unknown,
        Err(_) => Verdict::Bad,
    }
}

impl NotNow {
    /// After how many seconds it is worth trying again; nobody knows how long a pause lasts.
    pub fn retry_after(self) -> u64 {
        match self {
            Self::Paused => 30,
            Self::Busy => 1,
            Self::LeftAlone(pause) => pause.as_secs() + 1,
        }
    }
}

impl From<NotNow> for RpcError {
    fn from(why: NotNow) -> Self {
        Self::new(ErrorCode::Unavailable, why.to_string())
            .with(RETRY_AFTER_SECONDS, why.retry_after().to_string())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
