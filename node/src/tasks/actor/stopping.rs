//! What ends a task or a turn from our side: its limits, and the client's wish.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use actix::prelude::*;
use archipel_protocol::a2a::{Message, TaskState};
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::time::timeout;
use uuid::Uuid;

use super::{ASK_TO_STOP, Answer, STOP_GRACE, TaskActor};
use crate::tasks::command::Reply;
use crate::tasks::executor::CancelAnswer;
use crate::tasks::feed::Settled;

const UNANSWERED: &str = "nobody answered for as long as a task may wait";

impl TaskActor {
    /// The turn's clock starts when its first step has not ended it, so that quick agents cost no timer.
    pub(super) fn limit_turn(&mut self, ctx: &mut Context<Self>) {
        let of_turn = self.ports.limits.turn;
        let of_task = self.time_left();
        if let Some(turn) = &mut self.turn
            && turn.timer.is_none()
            && !turn.executor.is_posted()
        {
            let steps = turn.steps;
            turn.timer = Some(ctx.run_later(of_turn.min(of_task), move |actor, ctx| {
                // The turn may have ended in the very moment in which its time was over.
                if actor.is_running(steps) {
                    actor.turn_is_late(of_task <= of_turn, ctx);
                }
            }));
        }
    }

    fn turn_is_late(&mut self, whole_task: bool, ctx: &mut Context<Self>) {
        self.decide(ctx);
        if whole_task {
            self.end_late();
            self.stop_turn(ctx);
        } else if self.record.settled() == Settled::No {
            self.fail("the agent took longer than one turn may");
            self.stop_turn(ctx);
        } else {
            // It waits for authorization; the client may go on with the task.
            self.end_turn(ctx);
        }
        self.commit(ctx);
    }

    /// How much longer the task may take. An id that does not say when the task was opened is not one of ours.
    fn time_left(&self) -> Duration {
        let limit = self.ports.limits.task;
        let Some(opened) = self.id.get_timestamp() else {
            return limit;
        };
        let (seconds, nanoseconds) = opened.to_unix();
        let opened = Duration::new(seconds, nanoseconds);
        let now = Duration::from_millis(self.ports.clock.now_ms());
        limit.saturating_sub(now.saturating_sub(opened))
    }

    pub(super) fn is_out_of_time(&self) -> bool {
        self.time_left().is_zero()
    }

    pub(super) fn end_late(&mut self) {
        self.fail("the task took longer than a task may");
    }

    /// The task has ended without its agent: the executor may tell it, and is dropped if that takes too long.
    pub(super) fn stop_turn(&mut self, ctx: &mut Context<Self>) {
        let Some(turn) = &mut self.turn else {
            return;
        };
        turn.canceled.cancel();
        let grace = ctx.run_later(STOP_GRACE, |actor, ctx| {
            actor.end_turn(ctx);
            actor.rest(ctx);
        });
        if let Some(limit) = turn.timer.replace(grace) {
            ctx.cancel_future(limit);
        }
    }

    pub(super) fn end_turn(&mut self, ctx: &mut Context<Self>) {
        if let Some(turn) = self.turn.take() {
            ctx.cancel_future(turn.steps);
            if let Some(timer) = turn.timer {
                ctx.cancel_future(timer);
            }
        }
    }

    /// Cancels the task if its agent stops (A2A 1.0 §3.1.5: success is not guaranteed). The turn goes on meanwhile: it may
    /// end first.
    pub(super) fn cancel(&mut self, reply: Reply<Bytes>, ctx: &mut Context<Self>) {
        if self.record.settled() == Settled::Ended {
            return self.defer(Answer::NotCancelable(reply));
        }
        self.canceling.push(reply);
        if self.canceling.len() > 1 {
            return;
        }
        let executor = match &self.turn {
            Some(turn) => Some(turn.executor.clone()),
            None => self.ports.executors.of(&self.owner.agent),
        };
        let memory = self.record.memory.clone();
        let Some(asked) = executor.and_then(|executor| executor.cancel(memory)) else {
            self.stop_turn_of_canceled(ctx);
            return self.commit(ctx);
        };
        // An agent that cannot be asked is not waited for; an executor that panics is one.
        let asked = timeout(ASK_TO_STOP, AssertUnwindSafe(asked).catch_unwind());
        ctx.spawn(asked.into_actor(self).map(|answer, actor, ctx| {
            let answer = answer.map(|answer| answer.unwrap_or(CancelAnswer::Stops));
            actor.agent_answered(answer.unwrap_or(CancelAnswer::Stops), ctx);
        }));
    }

    /// Cancels a task whose client has not answered since then. Nothing has failed, so it does not fail: it is canceled
    /// before completion, by us, and says why. Its agent is asked to stop, and if it does not want to, the task ends all
    /// the same.
    pub(super) fn give_up(&mut self, since_ms: u64, reply: Reply<Bytes>, ctx: &mut Context<Self>) {
        let status = &self.record.task.status;
        let since = status.timestamp.map(|at| at.unix_ms());
        let waits = status.state.is_interrupted() && since == Some(since_ms);
        if !waits || self.turn.is_some() || !self.canceling.is_empty() {
            return self.defer(Answer::NotCancelable(reply));
        }
        self.given_up = true;
        self.cancel(reply, ctx);
    }

    fn agent_answered(&mut self, answer: CancelAnswer, ctx: &mut Context<Self>) {
        if self.commits.lost {
            return self.rest(ctx);
        }
        let has_ended = self.record.settled() == Settled::Ended;
        let ends = answer == CancelAnswer::Stops || self.given_up;
        if ends && !has_ended {
            self.end_turn(ctx);
            self.end_canceled();
        }
        self.answer_cancelers();
        self.commit(ctx);
    }

    fn stop_turn_of_canceled(&mut self, ctx: &mut Context<Self>) {
        self.end_canceled();
        self.stop_turn(ctx);
        self.answer_cancelers();
    }

    fn end_canceled(&mut self) {
        let reason = self.given_up.then(|| {
            let message_id = Uuid::new_v4().to_string();
            Message::from_agent(message_id, UNANSWERED)
        });
        if let Ok(event) = self.record.cancel(reason, self.ports.clock.now_ms()) {
            self.gather(event);
        }
    }

    fn answer_cancelers(&mut self) {
        for reply in std::mem::take(&mut self.canceling) {
            let answer = if self.record.task.status.state == TaskState::Canceled {
                Answer::View(self.view(None), reply)
            } else {
                Answer::NotCancelable(reply)
            };
            self.defer(answer);
        }
    }

    pub(super) fn fail(&mut self, reason: &str) {
        let message_id = Uuid::new_v4().to_string();
        if let Ok(event) = self
            .record
            .fail(reason, message_id, self.ports.clock.now_ms())
        {
            self.gather(event);
        }
    }
}
