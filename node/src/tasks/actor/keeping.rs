//! Keeping, then showing: the way of events to the store, and only from there to anybody.

use std::sync::Arc;

use actix::prelude::*;
use bytes::Bytes;
use futures_util::FutureExt;

use super::{Answer, BYTES_PER_SNAPSHOT, Deferred, RETRY, SHOWN_AT_ONCE, SWEEP, TaskActor};
use crate::store::{EventRow, StoreError, TaskChange};
use crate::tasks::command::{Reply, Sent, TaskError};
use crate::tasks::feed::{Board, Feed, FirstItem, LogEvent, Settled};
use crate::tasks::hub::TaskIdle;
use crate::tasks::machine::{TurnRefusal, Written};

impl TaskActor {
    pub(super) fn gather(&mut self, event: LogEvent) {
        if event.settled == Settled::Ended {
            self.ports.metrics.count_end(self.record.task.status.state);
        }
        self.commits.gathered.push(EventRow {
            seq: event.seq,
            body: event.body.clone(),
        });
        self.held.set(self.record.size());
        self.commits.unshown.push_back(event);
    }

    pub(super) fn commit(&mut self, ctx: &mut Context<Self>) {
        let unkept =
            self.commits.kept == 0 || !self.commits.gathered.is_empty() || self.record.unlogged;
        let waits = self.commits.running
            || self.commits.paused
            || self.commits.lost
            || self.undecided.is_some();
        if waits || !unkept {
            return self.release(ctx);
        }
        self.commits.running = true;
        let through = self.record.seq;
        let change = self.next_change();
        let store = Arc::clone(&self.ports.store);
        let mut kept = async move { store.commit(change).await }.boxed();
        // The memory store answers at once; only a store that does not costs a trip through the scheduler.
        match (&mut kept).now_or_never() {
            Some(outcome) => self.committed(through, outcome, ctx),
            None => {
                let kept = kept.into_actor(self);
                ctx.spawn(
                    kept.map(move |outcome, actor, ctx| actor.committed(through, outcome, ctx)),
                );
            }
        }
    }

    fn next_change(&mut self) -> TaskChange {
        self.commits.in_flight = std::mem::take(&mut self.commits.gathered);
        let added: usize = self
            .commits
            .in_flight
            .iter()
            .map(|event| event.body.len())
            .sum();
        self.commits.since_snapshot += added;
        let state = self.record.task.status.state;
        let due = self.commits.kept == 0
            || self.commits.snapshot_due
            || self.record.unlogged
            || self.record.settled() != Settled::No
            || self.commits.since_snapshot >= BYTES_PER_SNAPSHOT.max(self.commits.snapshot_size);
        // In mid-turn nobody else will want just this state: it is not remembered, since it may be large.
        let view = match (due, self.record.settled()) {
            (false, _) => Written::default(),
            (true, Settled::No) => self.record.write(),
            (true, _) => self.written(),
        };
        TaskChange {
            id: self.id,
            owner: Arc::clone(&self.owner.owner),
            agent: Arc::clone(&self.owner.agent),
            context_id: self
                .record
                .task
                .context_id
                .as_deref()
                .unwrap_or_default()
                .into(),
            state: state.number(),
            terminal: state.is_terminal(),
            updated_ms: self
                .record
                .task
                .status
                .timestamp
                .map_or(0, |at| at.unix_ms()),
            snapshot: due.then(|| {
                self.commits.since_snapshot = 0;
                self.commits.snapshot_size = view.json().len();
                self.commits.snapshot_due = false;
                self.record.unlogged = false;
                self.record.keep(&view)
            }),
            events: self.commits.in_flight.clone(),
            webhook: self.commits.webhook.clone(),
            hold: self.hold_of_change(),
        }
    }

    fn committed(
        &mut self,
        through: u64,
        outcome: Result<(), StoreError>,
        ctx: &mut Context<Self>,
    ) {
        self.commits.running = false;
        match outcome {
            Ok(()) => {
                self.commits.in_flight.clear();
                self.commits.kept = through;
                self.tell_webhooks();
                self.change_is_kept();
                if let Some(kept) = self.turn.as_mut().and_then(|turn| turn.kept.take()) {
                    kept.cancel();
                }
                if self.turn.is_none() {
                    self.give_place_back(ctx);
                }
                self.release(ctx);
                if !self.commits.gathered.is_empty() || self.record.unlogged {
                    self.commit(ctx);
                }
            }
            Err(error) => self.not_committed(error, ctx),
        }
    }

    /// Nothing is acknowledged. A task that was never kept is gone, and one that contradicts the store is what the store
    /// has; another keeps its events and tries again.
    fn not_committed(&mut self, error: StoreError, ctx: &mut Context<Self>) {
        tracing::warn!(task.id = %self.id, %error, "a task could not be kept");
        let waiting = self.waiting.drain(..).map(|(_, reply)| reply);
        for reply in waiting {
            reply.send(Err(TaskError::NotKept(error.clone())));
        }
        for deferred in self.deferred.drain(..) {
            deferred.answer.refuse(TaskError::NotKept(error.clone()));
        }
        let mut events = std::mem::take(&mut self.commits.in_flight);
        events.append(&mut self.commits.gathered);
        if self.commits.kept == 0 || matches!(error, StoreError::Corrupt(_)) {
            self.commits.lost = true;
            self.end_turn(ctx);
            self.commits.unshown.clear();
            self.board = None;
            for reply in self.canceling.drain(..) {
                reply.send(Err(TaskError::NotKept(error.clone())));
            }
            return self.rest(ctx);
        }
        // The next change must not count on a snapshot that was in this one.
        self.commits.snapshot_due = true;
        self.commits.gathered = events;
        self.commits.paused = true;
        ctx.run_later(RETRY, |actor, ctx| {
            actor.commits.paused = false;
            actor.commit(ctx);
        });
    }

    /// Written once for the store and for whoever waits for the same state.
    pub(super) fn view(&mut self, history: Option<u32>) -> Bytes {
        if history.is_some() {
            return self.record.view(history);
        }
        self.written().json()
    }

    fn written(&mut self) -> Written {
        if self.view.0 != self.record.seq {
            self.view = (self.record.seq, self.record.write());
        }
        self.view.1.clone()
    }

    pub(super) fn defer(&mut self, answer: Answer) {
        self.deferred.push(Deferred {
            after: self.record.seq,
            answer,
        });
    }

    /// Begins a feed.
    pub(super) fn watch(&mut self, after: Option<u64>, history: Option<u32>, reply: Reply<Feed>) {
        let (seq, settled) = (self.record.seq, self.record.settled());
        let first = FirstItem::of(seq, settled, after, || match history {
            None => self.written().item(),
            Some(_) => [b"{\"task\":", &self.record.view(history)[..], b"}"]
                .concat()
                .into(),
        });
        self.defer(match first {
            Some(first) => Answer::Feed(first, reply),
            None => Answer::NothingToWatch(reply),
        });
    }

    fn board(&mut self) -> &mut Board {
        self.board.get_or_insert_with(|| {
            let shown = match self.commits.unshown.front() {
                Some(next) => next.seq - 1,
                None => self.record.seq,
            };
            let cut_off = self.ports.metrics.watchers_cut.clone();
            Board::new(self.id, shown, Arc::clone(&self.ports.store), cut_off)
        })
    }

    /// Hands out whatever says only what is kept, in this order: new watchers begin, events are shown, senders that
    /// waited for the outcome get it.
    pub(super) fn release(&mut self, ctx: &mut Context<Self>) {
        let kept = self.commits.kept;
        if kept == 0 {
            return;
        }
        let due: Vec<Deferred> = self
            .deferred
            .extract_if(.., |deferred| deferred.after <= kept)
            .collect();
        for deferred in due {
            match deferred.answer {
                Answer::View(view, reply) => reply.send(Ok(view)),
                Answer::Sent(view, reply) => reply.send(Ok(Sent::Task(view))),
                Answer::Feed(first, reply) => reply.send(Ok(self.board().feed(first))),
                Answer::NotCancelable(reply) => reply.send(Err(TaskError::NotCancelable)),
                Answer::NothingToWatch(reply) => reply.send(Err(TurnRefusal::Ended.into())),
            }
        }
        self.show(ctx);
        if self.record.settled() != Settled::No && kept == self.record.seq {
            for (history, reply) in std::mem::take(&mut self.waiting) {
                let view = self.view(history);
                reply.send(Ok(Sent::Task(view)));
            }
        }
        self.rest(ctx);
    }

    /// Shows watchers what is kept, a part of it at a time: a burst must not cut off those who had no time to read.
    fn show(&mut self, ctx: &mut Context<Self>) {
        if self.commits.showing {
            return;
        }
        let kept = self.commits.kept;
        let unshown = &mut self.commits.unshown;
        let Some(board) = &mut self.board else {
            return while unshown.pop_front_if(|event| event.seq <= kept).is_some() {};
        };
        let due = std::iter::from_fn(|| unshown.pop_front_if(|event| event.seq <= kept));
        let shown: Vec<LogEvent> = due.take(SHOWN_AT_ONCE).collect();
        let more = shown.len() == SHOWN_AT_ONCE && board.is_watched();
        board.show(shown);
        if more {
            self.commits.showing = true;
            let others_had_time = tokio::task::yield_now().into_actor(self);
            ctx.spawn(others_had_time.map(|(), actor, ctx| {
                actor.commits.showing = false;
                actor.release(ctx);
            }));
        }
    }

    /// Tells the hub when nothing keeps this actor alive; the hub lets go of it unless another command is on its way.
    pub(super) fn rest(&mut self, ctx: &mut Context<Self>) {
        let busy = self.turn.is_some()
            || self.commits.running
            || self.undecided.is_some()
            || !self.commits.gathered.is_empty()
            || self.record.unlogged
            || !self.commits.unshown.is_empty()
            || !self.deferred.is_empty()
            || !self.canceling.is_empty()
            || !self.waiting.is_empty();
        if busy {
            return;
        }
        // Everything is shown. Who has not read it yet has what the board had, and the log.
        let is_watched = self.board.as_ref().is_some_and(Board::is_watched)
            && self.record.settled() != Settled::Ended
            && self.hold.is_none();
        if !is_watched {
            self.board = None;
        } else {
            // Whoever comes next has it written again: nothing happens to this task now.
            self.view = (0, Written::default());
            if self.sweep.is_none() {
                self.sweep = Some(ctx.run_interval(SWEEP, |actor, ctx| actor.rest(ctx)));
            }
            return;
        }
        if let Some(sweep) = self.sweep.take() {
            ctx.cancel_future(sweep);
        }
        let idle = TaskIdle {
            id: self.id,
            actor: self.hub.actor,
            handled: self.handled,
            leaving: self.leaving(),
        };
        match self.hub.idle.try_send(idle) {
            Ok(()) => {
                if let Some(hold) = &mut self.hold {
                    hold.told = hold.ended;
                }
            }
            Err(SendError::Full(_)) => {
                // The hub is busy: ask again later rather than live for ever.
                ctx.run_later(RETRY, |actor, ctx| actor.rest(ctx));
            }
            Err(SendError::Closed(_)) => ctx.stop(),
        }
    }
}
