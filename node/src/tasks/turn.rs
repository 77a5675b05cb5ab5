//! One running turn as a stream of steps, polled by the task's actor itself.
//!
//! The executor's future and the queue of what it told are polled together, in the actor's own context. An agent that
//! answers at once has told everything in the first poll, so its whole turn is one step and one commit; no further task
//! and no wake-up is spent on it. An executor that panics ends its turn and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::mpsc;

use crate::tasks::executor::{
    AgentExecutor, ExecutorFailure, Turn, TurnEvent, TurnEvents, TurnFuture,
};

/// What a running turn has come to.
#[derive(Debug, PartialEq)]
pub struct TurnStep {
    /// What was told since the last step, in order. Empty in the first step when the agent needs time.
    pub told: Vec<TurnEvent>,
    /// Set in the last step: the executor ended.
    pub outcome: Option<Result<(), ExecutorFailure>>,
}

/// A running turn.
pub struct TurnSteps {
    /// `None` once the executor has ended.
    running: Option<TurnFuture>,
    told: mpsc::Receiver<TurnEvent>,
    begun: bool,
}

impl TurnSteps {
    /// Runs `turn`; nothing happens before the first poll.
    pub fn run(executor: Arc<dyn AgentExecutor>, turn: Turn) -> Self {
        let (events, told) = TurnEvents::channel();
        Self {
            running: Some(executor.run(turn, events)),
            told,
            begun: false,
        }
    }

    /// Goes on with `turn`, if the executor can. One that panics cannot, and must not be asked for ever.
    pub fn resume(executor: Arc<dyn AgentExecutor>, turn: Turn) -> Option<Self> {
        let (events, told) = TurnEvents::channel();
        let resumed = catch_unwind(AssertUnwindSafe(|| executor.resume(turn, events)));
        Some(Self {
            running: Some(resumed.ok().flatten()?),
            told,
            begun: false,
        })
    }
}

impl Stream for TurnSteps {
    type Item = TurnStep;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<TurnStep>> {
        let Some(running) = &mut self.running else {
            return Poll::Ready(None);
        };
        // Safe to assert: an executor that panicked is dropped without being asked again.
        let outcome = match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx))) {
            Ok(Poll::Ready(outcome)) => Some(outcome),
            Ok(Poll::Pending) => None,
            Err(_) => Some(Err(ExecutorFailure::Broken)),
        };
        if outcome.is_some() {
            self.running = None;
        }
        let mut told = Vec::new();
        // Not `poll_recv`: it stops when tokio thinks that this worker has done enough for now, and what an executor
        // told just before it ended would be lost.
        while let Ok(event) = self.told.try_recv() {
            told.push(event);
        }
        if told.is_empty() && outcome.is_none() && self.begun {
            // An executor may hand its end of the queue to somebody else, who must wake this turn.
            let Poll::Ready(Some(event)) = self.told.poll_recv(cx) else {
                return Poll::Pending;
            };
            told.push(event);
        }
        self.begun = true;
        Poll::Ready(Some(TurnStep { told, outcome }))
    }
}

#[cfg(test)]
#[expect(clippy::panic, reason = "one executor has to panic")]
mod tests;
