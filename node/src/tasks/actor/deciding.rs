//! Whether a first message opens a task: an agent may answer it, or refuse it, without one (A2A 1.0 §3.1.1).
//!
//! Until its first event the task is nowhere but here. Whatever that event is but an answer or a refusal, the task is there
//! from its opening on, as if it had been from the first; a stream does not wait for it long.

use actix::prelude::*;
use archipel_protocol::error::ErrorCode;
use bytes::Bytes;

use super::{SILENT_AT_FIRST, TaskActor, Undecided};
use crate::tasks::command::{Sent, TaskError, TurnAnswer, TurnCommand};
use crate::tasks::executor::{ExecutorFailure, TurnEvent};
use crate::tasks::feed::Feed;
use crate::tasks::machine::json;
use crate::tasks::turn::TurnStep;

impl TaskActor {
    /// Begins the first turn.
    pub(super) fn begin(&mut self, mut opening: TurnCommand, ctx: &mut Context<Self>) {
        self.register(opening.webhook.take(), 0);
        let at_once = matches!(opening.answer, TurnAnswer::Opened { .. });
        let streams = matches!(opening.answer, TurnAnswer::Stream { .. });
        self.undecided = Some(Undecided {
            answer: opening.answer,
            patience: None,
        });
        if at_once || !opening.turn.executor.may_decline_task() {
            self.open_task(ctx);
        } else if streams {
            let patience = ctx.run_later(SILENT_AT_FIRST, |actor, ctx| {
                actor.decide(ctx);
                actor.commit(ctx);
            });
            if let Some(undecided) = &mut self.undecided {
                undecided.patience = Some(patience);
            }
        }
        self.run_turn(opening.turn, ctx);
    }

    /// From now on there is a task, if that was open. Its agent has begun to work on it.
    pub(super) fn decide(&mut self, ctx: &mut Context<Self>) {
        if self.undecided.is_some() {
            self.open_task(ctx);
            self.work_begins();
        }
    }

    fn open_task(&mut self, ctx: &mut Context<Self>) {
        if let Some(answer) = self.take_undecided(ctx) {
            self.ports.metrics.opened.count(());
            self.answer_turn(answer);
        }
    }

    fn take_undecided(&mut self, ctx: &mut Context<Self>) -> Option<TurnAnswer> {
        let undecided = self.undecided.take()?;
        if let Some(patience) = undecided.patience {
            ctx.cancel_future(patience);
        }
        Some(undecided.answer)
    }

    /// Whether the first thing that the agent says means that there is no task.
    pub(super) fn is_declined(&self, step: &TurnStep) -> bool {
        match (step.told.first(), &step.outcome) {
            (Some(first), _) => matches!(first, TurnEvent::Answer(_)),
            (None, Some(Err(failure))) => refusal(failure).is_some(),
            (None, _) => false,
        }
    }

    /// There never was a task: the sender gets the answer or the refusal.
    pub(super) fn decline(&mut self, step: TurnStep, ctx: &mut Context<Self>) {
        let mut outcome = step.outcome.and_then(Result::err);
        for told in step.told {
            if let TurnEvent::Answer(mut message) = told {
                outcome = None;
                // Its task, if it names one, is none of ours.
                message.task_id = None;
                self.answer_alone(json(&message), ctx);
            }
        }
        let refused = outcome.as_ref().and_then(refusal);
        if let (Some(code), Some(answer)) = (refused, self.take_undecided(ctx)) {
            answer.refuse(TaskError::Declined(code));
        }
        self.end_turn(ctx);
        self.commits.lost = true;
        self.rest(ctx);
    }

    fn answer_alone(&mut self, message: Bytes, ctx: &mut Context<Self>) {
        match self.take_undecided(ctx) {
            Some(TurnAnswer::Settled { reply, .. } | TurnAnswer::Opened { reply, .. }) => {
                reply.send(Ok(Sent::Message(message)));
            }
            Some(TurnAnswer::Stream { reply, .. }) => {
                let log = self.ports.store.clone();
                let cut_off = self.ports.metrics.watchers_cut.clone();
                reply.send(Ok(Feed::of_message(&message, log, cut_off)));
            }
            None => {}
        }
    }
}

/// The error that a refusal is told as, if it speaks of the message. One that speaks of the agent's own trouble fails the
/// task.
fn refusal(failure: &ExecutorFailure) -> Option<ErrorCode> {
    use ErrorCode::{
        ContentTypeNotSupported, ExtensionSupportRequired, InvalidParams,
        PushNotificationNotSupported, UnsupportedOperation,
    };
    let ExecutorFailure::Refused(number) = failure else {
        return None;
    };
    [
        InvalidParams,
        PushNotificationNotSupported,
        UnsupportedOperation,
        ContentTypeNotSupported,
        ExtensionSupportRequired,
    ]
    .into_iter()
    .find(|code| i64::from(code.rpc_code()) == *number)
}
