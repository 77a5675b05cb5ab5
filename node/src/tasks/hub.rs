//! `TaskHub` owns which tasks are live on one worker: it opens them, finds them, loads them from the store and lets go of
//! idle ones.
//!
//! It refuses new tasks beyond its bounds. Of a task that is being loaded it holds the commands back, so that a task never
//! has two actors. Of a task whose actor died it makes a new one, soon or at the next command. What is different where
//! several replicas are one node stands in `shared`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use crate::store::{Fence, StoreError, StoredTask};
use crate::tasks::actor::{HubPort, TaskActor, TaskPorts};
use crate::tasks::command::{AskTask, Asked, OpenTask, TaskCaller, TaskError};
use crate::tasks::held::is_too_much;
use crate::tasks::machine::Record;
use crate::tasks::recovery::RecoverTask;
use crate::tasks::shard::Shard;

mod shared;

/// Commands that may wait for one worker; more are refused.
const MAILBOX: usize = 8192;
/// Commands that may wait for one task to be loaded.
const HELD_BACK: usize = 64;
/// How long a task whose actor died stays alone, unless somebody asks for it.
const LOAD_AGAIN: Duration = Duration::from_secs(1);

/// Tells the hub that a task's actor has nothing to do after so many commands.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct TaskIdle {
    /// Which task.
    pub id: Uuid,
    /// Which of the actors that the task had.
    pub actor: u64,
    /// How many commands its actor has handled.
    pub handled: u64,
    /// What is left of the task here.
    pub leaving: Leaving,
}

/// How an actor that has nothing to do leaves its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// It may go unless another command is on its way.
    Idle,
    /// The same, and it holds the task, which others wait for.
    Holding(Fence),
    /// It holds the task no more: whatever is asked of it now may be answered better elsewhere.
    Released,
    /// What it believes of the task is not what the store has.
    Lost,
}

/// Tells the hub that a task's actor died.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct TaskDied {
    /// Which task.
    pub id: Uuid,
    /// Which of the actors that the task had.
    pub actor: u64,
}

/// See the module.
pub struct TaskHub {
    shard: Shard,
    ports: TaskPorts,
    /// Most live tasks on this worker.
    bound: usize,
    live: HashMap<Uuid, Live>,
    /// Actors started so far.
    started: u64,
    /// Tasks that are being loaded.
    loading: HashMap<Uuid, Loading>,
    /// Who shows tasks to watchers, where several replicas are one node; at most `bound`.
    followers: HashMap<Uuid, Live>,
}

/// What waits for a task to be loaded.
#[derive(Default)]
struct Loading {
    /// Commands; at most `HELD_BACK`.
    asked: Vec<Asked>,
    /// The place of a turn that is taken up again.
    place: Option<OwnedSemaphorePermit>,
}

struct Live {
    actor: Recipient<Asked>,
    /// Its number: an earlier actor of the same task may still have something to say.
    number: u64,
    /// Commands sent to the actor.
    sent: u64,
}

impl TaskHub {
    /// A hub for the tasks of `shard`.
    pub fn new(shard: Shard, ports: TaskPorts, bound: usize) -> Self {
        Self {
            shard,
            ports,
            bound,
            live: HashMap::new(),
            started: 0,
            loading: HashMap::new(),
            followers: HashMap::new(),
        }
    }

    fn pass_on(&mut self, id: Uuid, mut asked: Asked, ctx: &mut Context<Self>) {
        if let Some(replicas) = self.ports.replicas.clone() {
            match self.pass_on_shared(id, asked, &replicas, ctx) {
                Some(left) => asked = left,
                None => return,
            }
        }
        if let Some(live) = self.live.get_mut(&id) {
            if live.actor.connected() {
                return live.pass_on(asked);
            }
            tracing::error!(task.id = %id, "the actor of a task died; it is loaded again");
            self.forget(id);
        }
        let held_back = &mut self.load(id, ctx).asked;
        if held_back.len() >= HELD_BACK {
            return asked.command.refuse(TaskError::Busy);
        }
        held_back.push(asked);
    }

    /// Begins to load a task, unless that is under way; what waits for it.
    fn load(&mut self, id: Uuid, ctx: &mut Context<Self>) -> &mut Loading {
        if !self.loading.contains_key(&id) {
            self.ask_store(id, ctx);
        }
        self.loading.entry(id).or_default()
    }

    fn ask_store(&self, id: Uuid, ctx: &mut Context<Self>) {
        if let Some(replicas) = self.ports.replicas.clone() {
            // Not before whoever asks has its place among those who wait.
            let placed = std::future::ready(()).into_actor(self);
            ctx.spawn(placed.map(move |(), hub, ctx| hub.take(id, &replicas, ctx)));
            return;
        }
        let store = Arc::clone(&self.ports.store);
        let loaded = async move { store.load(id).await }.into_actor(self);
        ctx.spawn(loaded.map(move |outcome, hub, ctx| match outcome {
            Ok(Some(stored)) => hub.loaded(id, &stored, None, ctx),
            Ok(None) => hub.refuse_held_back(id, &TaskError::NotFound),
            Err(error) => {
                tracing::warn!(task.id = %id, %error, "a task could not be loaded");
                hub.refuse_held_back(id, &TaskError::NotKept(error));
            }
        }));
    }

    fn loaded(
        &mut self,
        id: Uuid,
        stored: &StoredTask,
        fence: Option<Fence>,
        ctx: &mut Context<Self>,
    ) {
        let record = match Record::restore(stored) {
            Ok(record) => record,
            Err(error) => {
                tracing::error!(task.id = %id, %error, "a kept task cannot be read");
                return self.refuse_held_back(id, &TaskError::Busy);
            }
        };
        let owner = TaskCaller {
            owner: stored.owner.clone(),
            agent: stored.agent.clone(),
        };
        let port = self.port(id, ctx);
        let waiting = self.loading.remove(&id).unwrap_or_default();
        let actor = TaskActor::kept(id, owner, record, self.ports.clone(), port);
        self.enter(id, actor.in_place(waiting.place).holding(fence), 0);
        for asked in waiting.asked {
            self.pass_on(id, asked, ctx);
        }
    }

    /// How the next actor reaches this hub.
    fn port(&mut self, task: Uuid, ctx: &mut Context<Self>) -> HubPort {
        self.started += 1;
        HubPort {
            idle: ctx.address().recipient(),
            ask: ctx.address().recipient(),
            died: ctx.address().recipient(),
            task,
            actor: self.started,
        }
    }

    fn enter(&mut self, id: Uuid, actor: TaskActor, sent: u64) {
        let live = Live {
            actor: actor.launch(),
            number: self.started,
            sent,
        };
        self.live.insert(id, live);
        self.ports.metrics.live.add(1, ());
    }

    /// Dropping the last recipient of a task's actor ends it.
    fn forget(&mut self, id: Uuid) {
        if self.live.remove(&id).is_some() {
            self.ports.metrics.live.add(-1, ());
        }
    }

    fn refuse_held_back(&mut self, id: Uuid, error: &TaskError) {
        for asked in self.loading.remove(&id).unwrap_or_default().asked {
            asked.command.refuse(error.clone());
        }
    }
}

impl Live {
    fn pass_on(&mut self, asked: Asked) {
        match self.actor.try_send(asked) {
            Ok(()) => self.sent += 1,
            Err(SendError::Full(asked) | SendError::Closed(asked)) => {
                asked.command.refuse(TaskError::Busy);
            }
        }
    }
}

impl Actor for TaskHub {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<OpenTask> for TaskHub {
    type Result = ();

    fn handle(&mut self, open: OpenTask, ctx: &mut Self::Context) {
        let replicas = self.ports.replicas.as_ref();
        if replicas.is_some_and(|replicas| !replicas.port.is_sure()) {
            let error = TaskError::NotKept(StoreError::Unavailable);
            return open.command.answer.refuse(error);
        }
        let is_here = |id: &Uuid| self.live.contains_key(id) || self.loading.contains_key(id);
        if open.id.as_ref().is_some_and(is_here) {
            return open.command.answer.refuse(TaskError::Busy);
        }
        let held = &self.ports.metrics.live_bytes;
        if self.live.len() >= self.bound || is_too_much(held, self.ports.limits.live_bytes) {
            return open.command.answer.refuse(TaskError::Busy);
        }
        let new = || self.shard.task_id(self.ports.clock.now_ms());
        let id = open.id.unwrap_or_else(new);
        let port = self.port(id, ctx);
        let actor = TaskActor::open(id, open.caller, self.ports.clone(), port, open.command);
        self.enter(id, actor, 1);
    }
}

impl Handler<AskTask> for TaskHub {
    type Result = ();

    fn handle(&mut self, ask: AskTask, ctx: &mut Self::Context) {
        self.pass_on(ask.id, ask.asked, ctx);
    }
}

impl Handler<TaskDied> for TaskHub {
    type Result = ();

    fn handle(&mut self, died: TaskDied, ctx: &mut Self::Context) {
        let is_that = |live: &Live| live.number == died.actor;
        if self.live.get(&died.id).is_some_and(is_that) {
            tracing::error!(task.id = %died.id, "the actor of a task died; it is loaded again");
            self.forget(died.id);
            // Not at once: what killed it may do so again.
            ctx.run_later(LOAD_AGAIN, move |hub, ctx| {
                if !hub.live.contains_key(&died.id) {
                    hub.load(died.id, ctx);
                }
            });
        }
    }
}

impl Handler<RecoverTask> for TaskHub {
    type Result = ();

    fn handle(&mut self, recover: RecoverTask, ctx: &mut Self::Context) {
        // A task that is live already is being dealt with.
        if !self.live.contains_key(&recover.id) {
            self.load(recover.id, ctx).place = Some(recover.place);
        }
    }
}

impl Handler<TaskIdle> for TaskHub {
    type Result = ();

    fn handle(&mut self, idle: TaskIdle, ctx: &mut Self::Context) {
        let rests = |live: &Live| live.number == idle.actor && live.sent == idle.handled;
        if self.followers.get(&idle.id).is_some_and(rests) {
            self.followers.remove(&idle.id);
            return;
        }
        let Some(live) = self.live.get(&idle.id) else {
            return;
        };
        let goes = rests(live) || (live.number == idle.actor && idle.leaving == Leaving::Released);
        if !goes {
            return;
        }
        self.forget(idle.id);
        match idle.leaving {
            Leaving::Holding(fence) => self.release(idle.id, fence, ctx),
            // Whether the store has more of it than the actor knew, or nothing, is found out by loading it.
            Leaving::Lost if self.ports.replicas.is_some() => self.load_later(idle.id, ctx),
            _ => {}
        }
    }
}
