//! The turns of a task: what begins one, what goes on with one that was left, what the agent's events do, what ends it.

use std::sync::Arc;

use actix::prelude::*;
use archipel_protocol::a2a::{Message, Role, TaskState};
use tokio_util::sync::CancellationToken;

use super::{Answer, RunningTurn, SILENT_IN_PLACE, TaskActor};
use crate::store::Webhook;
use crate::tasks::command::{NewWebhook, TaskError, TurnAnswer, TurnCommand, TurnSetup};
use crate::tasks::executor::{AgentExecutor, ExecutorFailure, Turn, TurnEvent};
use crate::tasks::feed::Settled;
use crate::tasks::machine::TurnRefusal;
use crate::tasks::turn::TurnSteps;

const LEFT: &str =
    "the work on this message was interrupted inside the node, and its agent cannot go on with it";
const AGENT_GONE: &str =
    "the work on this message was interrupted inside the node, and its agent is not here any more";

impl TaskActor {
    pub(super) fn further_turn(&mut self, command: TurnCommand, ctx: &mut Context<Self>) {
        // An end of the last turn that is not kept yet is known to nobody. An agent that waits for authorization may be
        // told more; then the turn that waited is over.
        let settled = self.record.settled();
        let working = self.turn.is_some() && settled == Settled::No;
        let busy = working || !self.canceling.is_empty() || self.commits.kept < self.record.seq;
        if busy && settled != Settled::Ended {
            return command.answer.refuse(TurnRefusal::Busy.into());
        }
        if settled != Settled::Ended && self.is_out_of_time() {
            self.end_late();
            self.end_turn(ctx);
            self.commit(ctx);
        }
        let limits = self.ports.limits;
        if self.held.is_too_much(limits.live_bytes) {
            return command.answer.refuse(TaskError::Busy);
        }
        if let Err(refusal) = self.record.hear(command.message, limits.size) {
            return command.answer.refuse(refusal.into());
        }
        self.register(command.webhook, self.record.seq);
        self.end_turn(ctx);
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
                self.defer(Answer::Sent(view, reply));
            }
            TurnAnswer::Stream { history, reply } => self.watch(None, history, reply),
        }
    }

    pub(super) fn run_turn(&mut self, setup: TurnSetup, ctx: &mut Context<Self>) {
        // What was just heard; beginning may move other words behind it.
        let Some(message) = self.record.task.history.last().cloned() else {
            return;
        };
        let executor = setup.executor;
        if self.undecided.is_none() && !executor.is_posted() {
            self.work_begins();
        }
        let turn = Turn {
            metadata: setup.metadata,
            accepted_output_modes: setup.accepted_output_modes,
            extensions: setup.extensions,
            task: executor
                .reads_task()
                .then(|| Arc::new(self.record.task.clone())),
            traceparent: setup.traceparent,
            kept: executor.is_posted().then(CancellationToken::new),
            ..self.turn_on(message)
        };
        let signals = (turn.canceled.clone(), turn.kept.clone());
        let steps = TurnSteps::run(Arc::clone(&executor), turn);
        self.follow(executor, signals, steps, ctx);
    }

    pub(super) fn work_begins(&mut self) {
        let begun = self.record.begin(self.ports.clock.now_ms());
        self.gather(begun);
    }

    /// Goes on with the turn that a dead actor or process left. Nobody else would ever end the task, so it fails when its
    /// agent cannot go on.
    pub(super) fn recover_turn(&mut self, ctx: &mut Context<Self>) {
        let Some(executor) = self.ports.executors.of(&self.owner.agent) else {
            self.fail(AGENT_GONE);
            return self.commit(ctx);
        };
        let mut said = self.record.task.history.iter().rev();
        let message = said.find(|said| said.role == Role::User).cloned();
        let steps = message.and_then(|message| {
            let turn = Turn {
                task: Some(Arc::new(self.record.task.clone())),
                ..self.turn_on(message)
            };
            let signals = (turn.canceled.clone(), turn.kept.clone());
            TurnSteps::resume(Arc::clone(&executor), turn).map(|steps| (signals, steps))
        });
        match steps {
            Some((signals, steps)) => {
                tracing::info!(task.id = %self.id, "a turn that was interrupted goes on");
                self.follow(executor, signals, steps, ctx);
                if let Some(place) = &mut self.place {
                    place.patience = Some(ctx.run_later(SILENT_IN_PLACE, |actor, ctx| {
                        actor.give_place_back(ctx);
                    }));
                }
            }
            None => {
                self.fail(LEFT);
                self.commit(ctx);
            }
        }
    }

    pub(super) fn give_place_back(&mut self, ctx: &mut Context<Self>) {
        if let Some(patience) = self.place.take().and_then(|place| place.patience) {
            ctx.cancel_future(patience);
        }
    }

    /// A turn of which only the message is known.
    fn turn_on(&self, message: Message) -> Turn {
        let task = &self.record.task;
        Turn {
            task_id: task.id.as_str().into(),
            context_id: task.context_id.as_deref().unwrap_or_default().into(),
            message,
            metadata: None,
            accepted_output_modes: Vec::new(),
            extensions: None,
            task: None,
            memory: self.record.memory.clone(),
            traceparent: None,
            kept: None,
            canceled: CancellationToken::new(),
        }
    }

    fn follow(
        &mut self,
        executor: Arc<dyn AgentExecutor>,
        (canceled, kept): (CancellationToken, Option<CancellationToken>),
        steps: TurnSteps,
        ctx: &mut Context<Self>,
    ) {
        let steps = ctx.add_stream(steps);
        self.turn = Some(RunningTurn {
            executor,
            canceled,
            kept,
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
        let state = self.record.task.status.state;
        if state.is_terminal() || state == TaskState::InputRequired {
            self.end_turn(ctx);
        } else if self.record.size() > self.ports.limits.size {
            self.fail("the task grew beyond what one task may hold");
            self.stop_turn(ctx);
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
            // The client was asked for authorization, and can still answer.
            Err(_) if self.record.settled() != Settled::No => {}
            Err(failure) => {
                if failure == ExecutorFailure::Broken {
                    tracing::error!(task.id = %self.id, "an executor panicked");
                }
                self.fail(&failure.to_string());
            }
        }
        self.end_turn(ctx);
    }
}
