//! The turns of a task: what begins one, what the agent's events do, what ends it.

use std::sync::Arc;

use actix::prelude::*;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Answer, RunningTurn, STOP_GRACE, TaskActor};
use crate::store::Webhook;
use crate::tasks::command::{NewWebhook, Reply, TurnAnswer, TurnCommand, TurnSetup};
use crate::tasks::executor::{ExecutorFailure, Turn, TurnEvent};
use crate::tasks::feed::Settled;
use crate::tasks::machine::TurnRefusal;
use crate::tasks::turn::TurnSteps;

impl TaskActor {
    pub(super) fn further_turn(&mut self, command: TurnCommand, ctx: &mut Context<Self>) {
        // An end of the last turn that is not kept yet is known to nobody.
        let busy = self.turn.is_some() || self.commits.kept < self.record.seq;
        if busy && self.record.settled() != Settled::Ended {
            return command.answer.refuse(TurnRefusal::Busy.into());
        }
        let limit = self.ports.limits.size;
        if let Err(refusal) = self.record.hear(command.message, limit) {
            return command.answer.refuse(refusal.into());
        }
        self.register(command.webhook, self.record.seq);
        // The turn first: what the sender is told begins with a task that works again.
        self.run_turn(command.turn, ctx);
        self.answer_turn(command.answer);
        self.commit(ctx);
    }

    /// Notes the webhook that came with a message; it is told of the events after `delivered`.
    pub(super) fn register(&mut self, webhook: Option<NewWebhook>, delivered: u64) {
        self.commits.webhook = webhook.map(|new| {
            Box::new(Webhook {
                task: self.id,
                id: new.id,
                config: new.config,
                delivered,
                done: false,
            })
        });
    }

    /// Notes what the sender of a message waits for; the answer to all but the last kind is the task as it is now.
    pub(super) fn answer_turn(&mut self, answer: TurnAnswer) {
        match answer {
            TurnAnswer::Settled { history, reply } => self.waiting.push((history, reply)),
            TurnAnswer::Opened { history, reply } => {
                let view = self.view(history);
                self.defer(Answer::View(view, reply));
            }
            TurnAnswer::Stream { reply } => self.watch(None, reply),
        }
    }

    pub(super) fn run_turn(&mut self, setup: TurnSetup, ctx: &mut Context<Self>) {
        // What was just heard; beginning may move other words behind it.
        let Some(message) = self.record.task.history.last().cloned() else {
            return;
        };
        let begun = self.record.begin(self.ports.clock.now_ms());
        self.gather(begun);
        let canceled = CancellationToken::new();
        let turn = Turn {
            task_id: self.record.task.id.as_str().into(),
            context_id: self
                .record
                .task
                .context_id
                .as_deref()
                .unwrap_or_default()
                .into(),
            message,
            metadata: setup.metadata,
            accepted_output_modes: setup.accepted_output_modes,
            extensions: setup.extensions,
            task: setup
                .executor
                .reads_task()
                .then(|| Arc::new(self.record.task.clone())),
            memory: self.record.memory.clone(),
            traceparent: setup.traceparent,
            canceled: canceled.clone(),
        };
        let steps = ctx.add_stream(TurnSteps::run(setup.executor, turn));
        self.turn = Some(RunningTurn {
            canceled,
            steps,
            timer: None,
        });
    }

    pub(super) fn is_running(&self, steps: SpawnHandle) -> bool {
        self.turn.as_ref().is_some_and(|turn| turn.steps == steps)
    }

    pub(super) fn apply(&mut self, told: TurnEvent, ctx: &mut Context<Self>) {
        // Nothing counts after the status that ended the turn, nor after the turn was told to stop.
        if self
            .turn
            .as_ref()
            .is_none_or(|turn| turn.canceled.is_cancelled())
        {
            return;
        }
        if let Some(event) = self.record.apply(told, self.ports.clock.now_ms()) {
            self.gather(event);
        } else {
            // It may have changed what is seen of the task without an event.
            self.view.0 = 0;
        }
        if self.record.size() > self.ports.limits.size && self.record.settled() == Settled::No {
            self.fail("the task grew beyond what one task may hold");
            self.stop_turn(ctx);
        } else if self.record.settled() != Settled::No {
            self.end_turn(ctx);
        }
    }

    pub(super) fn finish_turn(
        &mut self,
        outcome: Result<(), ExecutorFailure>,
        ctx: &mut Context<Self>,
    ) {
        if self.turn.is_none() {
            return;
        }
        match outcome {
            Ok(()) => {
                if let Some(event) = self.record.finish(self.ports.clock.now_ms()) {
                    self.gather(event);
                }
            }
            Err(failure) => {
                if failure == ExecutorFailure::Broken {
                    tracing::error!(task.id = %self.id, "an executor panicked");
                }
                self.fail(&failure.to_string());
            }
        }
        self.end_turn(ctx);
    }

    /// The turn's clock starts when its first step has not ended it, so that quick agents cost no timer.
    pub(super) fn limit_turn(&mut self, ctx: &mut Context<Self>) {
        let limit = self.ports.limits.turn;
        if let Some(turn) = &mut self.turn
            && turn.timer.is_none()
        {
            let steps = turn.steps;
            turn.timer = Some(ctx.run_later(limit, move |actor, ctx| {
                // The turn may have ended in the very moment in which its time was over.
                if actor.is_running(steps) {
                    actor.fail("the agent took longer than one turn may");
                    actor.stop_turn(ctx);
                    actor.commit(ctx);
                }
            }));
        }
    }

    /// The task has ended without its agent: the executor may tell it, and is dropped if that takes too long.
    fn stop_turn(&mut self, ctx: &mut Context<Self>) {
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

    pub(super) fn cancel(&mut self, reply: Reply<Bytes>, ctx: &mut Context<Self>) {
        match self.record.cancel(self.ports.clock.now_ms()) {
            Err(_) => return self.defer(Answer::NotCancelable(reply)),
            Ok(event) => self.gather(event),
        }
        self.stop_turn(ctx);
        let view = self.view(None);
        self.defer(Answer::View(view, reply));
        self.commit(ctx);
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
