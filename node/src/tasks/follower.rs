//! `TaskFollower` owns the watchers that this worker has of one task, where several replicas are one node.
//!
//! It answers `Watch` of the task's owner from the store, and shows its watchers what any replica has kept since: it is
//! told when the log may have grown, reads on from the last event that it has shown, and never guesses. So every watcher
//! sees equal events in equal order wherever it is, also when the replica that works on the task dies. It ends itself
//! when nobody watches any more; when it dies, its watchers are told to come again.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::stream;
use uuid::Uuid;

use crate::replicas::Following;
use crate::store::{EventRow, StoreError, StoredTask};
use crate::tasks::actor::{HubPort, TaskPorts};
use crate::tasks::command::{Asked, TaskCaller, TaskCommand, TaskError};
use crate::tasks::feed::{Board, Feed, FirstItem, LogEvent, Settled};
use crate::tasks::hub::{Leaving, TaskIdle};
use crate::tasks::machine::{Record, TurnRefusal};

/// Watchers that may wait to be let in; more are refused.
const MAILBOX: usize = 1024;
/// Events that are read and shown at once; well below what a board holds.
const PAGE: usize = 64;
/// How long a log that cannot be read is left alone.
const RETRY: Duration = Duration::from_secs(1);
/// How often watchers that left are looked for.
const SWEEP: Duration = Duration::from_secs(30);

/// See the module.
pub struct TaskFollower {
    id: Uuid,
    ports: TaskPorts,
    hub: HubPort,
    /// What watchers see, once there is one.
    board: Option<Board>,
    /// The last event on the board.
    shown: u64,
    /// A page is being read.
    reading: bool,
    /// There was news while a page was being read.
    again: bool,
    /// Commands handled, for the hub to tell whether another is on its way.
    handled: u64,
    /// Of them, those whose answer waits for the store.
    loading: usize,
    following: Option<Following>,
}

/// The log may have grown.
struct News;

impl TaskFollower {
    /// Follows a task that nobody watches yet.
    pub fn new(id: Uuid, ports: TaskPorts, hub: HubPort, following: Following) -> Self {
        Self {
            id,
            ports,
            hub,
            board: None,
            shown: 0,
            reading: false,
            again: false,
            handled: 0,
            loading: 0,
            following: Some(following),
        }
    }

    /// Starts the follower.
    pub fn launch(self) -> Recipient<Asked> {
        Self::create(|ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            self
        })
        .recipient()
    }

    fn begin(
        &mut self,
        caller: &TaskCaller,
        after: Option<u64>,
        stored: Option<StoredTask>,
    ) -> Result<Feed, TaskError> {
        let stored = stored.filter(|stored| caller.is_owner(stored));
        let stored = stored.ok_or(TaskError::NotFound)?;
        let mut record = Record::restore(&stored).map_err(|error| {
            tracing::error!(task.id = %self.id, %error, "a kept task cannot be read");
            TaskError::Busy
        })?;
        let (seq, settled) = (record.seq, record.settled());
        let first = FirstItem::of(seq, settled, after, || record.write().item());
        let first = first.ok_or(TurnRefusal::Ended)?;
        if self.board.is_none() {
            self.shown = seq;
        }
        let (id, shown) = (self.id, self.shown);
        let board = self.board.get_or_insert_with(|| {
            let cut_off = self.ports.metrics.watchers_cut.clone();
            Board::new(id, shown, Arc::clone(&self.ports.store), cut_off)
        });
        Ok(board.feed(first))
    }

    fn read_on(&mut self, ctx: &mut Context<Self>) {
        if self.board.is_none() {
            return;
        }
        if self.reading {
            self.again = true;
            return;
        }
        self.reading = true;
        self.again = false;
        let (store, id, shown) = (Arc::clone(&self.ports.store), self.id, self.shown);
        let page = async move { store.events(id, shown, PAGE).await }.into_actor(self);
        ctx.spawn(page.map(|page, follower, ctx| {
            follower.reading = false;
            follower.show(page, ctx);
        }));
    }

    fn show(&mut self, page: Result<Vec<EventRow>, StoreError>, ctx: &mut Context<Self>) {
        let rows = match page {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(task.id = %self.id, %error, "the log of a task cannot be read");
                ctx.run_later(RETRY, Self::read_on);
                return;
            }
        };
        let full = rows.len() == PAGE;
        let Some(events) = LogEvent::successors(self.shown, rows) else {
            // Somebody forgot a part of the log: whoever watches has to look anew.
            tracing::warn!(task.id = %self.id, "events of a task are missing in its log");
            self.board = None;
            return self.rest();
        };
        if let (Some(board), Some(last)) = (&mut self.board, events.back()) {
            self.shown = last.seq;
            let ended = last.settled == Settled::Ended;
            board.show(events.into());
            if ended {
                self.board = None;
                return self.rest();
            }
        }
        if full || self.again {
            // Watchers get a chance to take what they were shown.
            let others_had_time = tokio::task::yield_now().into_actor(self);
            ctx.spawn(others_had_time.map(|(), follower, ctx| follower.read_on(ctx)));
        }
    }

    /// Tells the hub when nobody watches; the hub lets go of this follower unless a watcher is on its way.
    fn rest(&mut self) {
        let is_watched = self.board.as_ref().is_some_and(Board::is_watched);
        if is_watched || self.loading > 0 {
            return;
        }
        self.board = None;
        let idle = TaskIdle {
            id: self.id,
            actor: self.hub.actor,
            handled: self.handled,
            leaving: Leaving::Idle,
        };
        if self.hub.idle.try_send(idle).is_err() {
            tracing::debug!(task.id = %self.id, "the hub has no time for a follower that rests");
        }
    }
}

impl Actor for TaskFollower {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(following) = self.following.take() {
            ctx.add_stream(stream::unfold(following, |mut following| async move {
                following.news().await.then_some((News, following))
            }));
        }
        ctx.run_interval(SWEEP, |follower, _| follower.rest());
    }
}

impl Handler<Asked> for TaskFollower {
    type Result = ();

    fn handle(&mut self, asked: Asked, ctx: &mut Self::Context) {
        self.handled += 1;
        let TaskCommand::Watch { after, reply } = asked.command else {
            return asked.command.refuse(TaskError::Busy);
        };
        self.loading += 1;
        let (store, id) = (Arc::clone(&self.ports.store), self.id);
        let loaded = async move { store.load(id).await }.into_actor(self);
        ctx.spawn(loaded.map(move |loaded, follower, ctx| {
            follower.loading -= 1;
            let begun = loaded
                .map_err(TaskError::NotKept)
                .and_then(|stored| follower.begin(&asked.caller, after, stored));
            reply.send(begun);
            // The log may have grown while the task was being read.
            follower.read_on(ctx);
        }));
    }
}

impl StreamHandler<News> for TaskFollower {
    fn handle(&mut self, _: News, ctx: &mut Self::Context) {
        self.read_on(ctx);
    }
}
