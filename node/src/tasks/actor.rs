//! `TaskActor` owns one live task: its record, its running turn, who waits for it and who watches it.
//!
//! It answers [`TaskCommand`]s of the task's owner, and tells everybody else that there is no such task. Nothing is shown
//! before it is kept: events gather while a commit is in flight, the next commit takes them all, and only then do they
//! reach watchers, readers and waiting senders. It refuses a message while a turn is running and after the task's end.
//! When it dies, `TaskHub` makes a new one from the store, which goes on with a turn that ran or says that it is lost. Read
//! on in `turning` (the agent's side), `deciding` (whether there is a task at all), `stopping` (limits and cancellation),
//! `reporting` (what an agent elsewhere came to), `keeping` (the store's and the watchers') and `holding` (other replicas').
//!
//! Memory: a live task is held as its record. Beside it there is, for a moment, its JSON (for the store and whoever reads
//! it) and the events that are not kept yet. Nothing else grows with the task.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use archipel_kit::clock::Clock;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::metrics::TaskMetrics;
use crate::push::PushSignal;
use crate::replicas::Replicas;
use crate::store::{EventRow, Fence, TaskStore, Webhook};
use crate::tasks::calls::Calls;
use crate::tasks::command::{
    AskTask, Asked, Reply, Sent, TaskCaller, TaskCommand, TaskError, TurnAnswer, TurnCommand,
};
use crate::tasks::executor::{AgentExecutor, Executors};
use crate::tasks::feed::{Board, Feed, FirstItem, LogEvent, Settled};
use crate::tasks::held::HeldBytes;
use crate::tasks::hub::{TaskDied, TaskIdle};
use crate::tasks::machine::{Record, Written};
use crate::tasks::turn::TurnStep;

mod deciding;
mod holding;
mod keeping;
mod reporting;
mod stopping;
mod telling;
mod turning;

/// Commands that may wait for one task; more are refused.
const MAILBOX: usize = 64;
/// Events that watchers are shown before they get a chance to take them; well below what a board holds.
const SHOWN_AT_ONCE: usize = 64;
/// Bytes of events after which a snapshot is kept in mid-turn at the earliest, so that loading a task stays cheap.
const BYTES_PER_SNAPSHOT: usize = 64 * 1024;
/// How long a store that refused is left alone.
const RETRY: Duration = Duration::from_secs(1);
/// How long the executor of a task that ended without it may take to tell its agent.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// How long an agent may take to say whether it stops.
const ASK_TO_STOP: Duration = Duration::from_secs(15);
/// How long the agent of a turn that is taken up again may keep its place without a word.
const SILENT_IN_PLACE: Duration = Duration::from_secs(2);
/// How long an agent may be silent before a stream begins with the task that the message opened. Who waits for the outcome
/// has nothing of being told earlier.
const SILENT_AT_FIRST: Duration = Duration::from_secs(1);
/// How often watchers that left are looked for while nothing happens.
const SWEEP: Duration = Duration::from_secs(30);

/// What every task needs.
#[derive(Debug, Clone)]
pub struct TaskPorts {
    /// Where tasks are kept.
    pub store: Arc<dyn TaskStore>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The other replicas of this node, if it has any.
    pub replicas: Option<ReplicaPorts>,
    /// Who works for an agent, when no request says it.
    pub executors: Executors,
    /// Bounds of one task.
    pub limits: TaskLimits,
    /// What is counted.
    pub metrics: TaskMetrics,
    /// Takes the news that there is something to tell webhooks of.
    pub push: PushSignal,
}

/// How the other replicas are reached.
#[derive(Debug, Clone)]
pub struct ReplicaPorts {
    /// Who holds which task.
    pub port: Arc<dyn Replicas>,
    /// Commands for tasks that another one holds.
    pub calls: Arc<Calls>,
}

/// Bounds of one task.
#[derive(Debug, Clone, Copy)]
pub struct TaskLimits {
    /// How long one turn may take.
    pub turn: Duration,
    /// How old a task may become while it is worked on or asked to go on.
    pub task: Duration,
    /// By how many bytes of JSON a task may grow.
    pub size: usize,
    /// How many bytes of JSON all live tasks together may hold before new turns are refused.
    pub live_bytes: usize,
}

/// How an actor reaches its hub.
#[derive(Debug)]
pub struct HubPort {
    /// Takes the news that the actor has nothing to do.
    pub idle: Recipient<TaskIdle>,
    /// Takes commands back that came too late.
    pub ask: Recipient<AskTask>,
    /// Takes the news that the actor died.
    pub died: Recipient<TaskDied>,
    /// Which task the actor is for.
    pub task: Uuid,
    /// The hub's number for this actor.
    pub actor: u64,
}

impl Drop for HubPort {
    fn drop(&mut self) {
        // An actor that panics has no other last word.
        if std::thread::panicking() {
            let died = TaskDied {
                id: self.task,
                actor: self.actor,
            };
            if self.died.try_send(died).is_err() {
                tracing::error!(task.id = %self.task, "the hub did not hear that the actor of a task died");
            }
        }
    }
}

/// See the module.
pub struct TaskActor {
    id: Uuid,
    owner: TaskCaller,
    record: Record,
    ports: TaskPorts,
    hub: HubPort,
    /// The command that opened the task, until the actor runs.
    opening: Option<TurnCommand>,
    turn: Option<RunningTurn>,
    commits: Commits,
    /// Answers that say what is not kept yet.
    deferred: Vec<Deferred>,
    /// Clients that want the task to end, while its agent is asked.
    canceling: Vec<Reply<Bytes>>,
    /// The task is canceled because its client did not answer.
    given_up: bool,
    /// Senders that wait for the outcome.
    waiting: Vec<(Option<u32>, Reply<Sent>)>,
    /// Who sent the first message, as long as its agent may still answer without a task. Nothing is kept meanwhile, and
    /// nobody knows of the task.
    undecided: Option<Undecided>,
    /// What watchers see, while there are any.
    board: Option<Board>,
    /// Commands handled, for the hub to tell whether another is on its way.
    handled: u64,
    sweep: Option<SpawnHandle>,
    /// The whole task as JSON, as it was after the event of that number.
    view: (u64, Written),
    /// Whether the task has webhooks is not known, because it comes from the store.
    webhooks_unknown: bool,
    /// What the task counts for among all live ones.
    held: HeldBytes,
    /// Its place among the turns that are taken up again at once.
    place: Option<Place>,
    /// Under which right it changes the task, where several replicas are one node.
    hold: Option<TaskHold>,
}

/// The hold of an actor on its task.
struct TaskHold {
    fence: Fence,
    /// Of the hold before, when this one began in the store; `None` when it begins with the first change.
    before: Option<Fence>,
    /// The change in flight ends the hold.
    ending: bool,
    /// The hold has ended: others may have changed the task since.
    ended: bool,
    /// The hub knows that it has.
    told: bool,
}

struct Place {
    _permit: OwnedSemaphorePermit,
    /// Gives it back when the agent is silent.
    patience: Option<SpawnHandle>,
}

struct Undecided {
    answer: TurnAnswer,
    /// Decides for a task when the agent is silent.
    patience: Option<SpawnHandle>,
}

/// The way of events to the store. Bounded by the task's size limit.
#[derive(Default)]
struct Commits {
    /// Applied, not yet handed to the store.
    gathered: Vec<EventRow>,
    /// Handed to the store, put back if it refuses.
    in_flight: Vec<EventRow>,
    /// Came with the last message; goes with the next change.
    webhook: Option<Box<Webhook>>,
    running: bool,
    /// The store refused: nothing is handed to it until it is tried again.
    paused: bool,
    /// Given up: the task was refused as a whole, or the store contradicts it. Nothing of it is kept or shown any more.
    lost: bool,
    /// Number of the last event that is kept; 0 = not even the task itself.
    kept: u64,
    /// Bytes of events handed to the store since the last snapshot.
    since_snapshot: usize,
    /// Size of the last snapshot. The next one waits until as much has been added, so that writing snapshots costs no
    /// more than writing the events.
    snapshot_size: usize,
    /// The next change must carry a snapshot, whatever has been added.
    snapshot_due: bool,
    /// Applied, not yet shown to watchers.
    unshown: VecDeque<LogEvent>,
    /// Watchers have got as much as they are shown at once; the rest follows when they had time to take it.
    showing: bool,
}

struct RunningTurn {
    executor: Arc<dyn AgentExecutor>,
    /// Fired when the task ended without the agent.
    canceled: CancellationToken,
    /// Fired when the store has the task.
    kept: Option<CancellationToken>,
    /// The running executor; it names the turn, too.
    steps: SpawnHandle,
    /// Ends the turn: at its limit, or after the grace once it was told to stop.
    timer: Option<SpawnHandle>,
}

/// An answer that waits until event `after` is kept.
struct Deferred {
    after: u64,
    answer: Answer,
}

enum Answer {
    View(Bytes, Reply<Bytes>),
    Sent(Bytes, Reply<Sent>),
    Feed(FirstItem, Reply<Feed>),
    // That a task has ended is no more to be told too early than how it ended.
    NotCancelable(Reply<Bytes>),
    NothingToWatch(Reply<Feed>),
}

impl TaskActor {
    /// A new task that begins with `opening`, its first turn. Its first command counts as handled.
    pub fn open(
        id: Uuid,
        owner: TaskCaller,
        ports: TaskPorts,
        hub: HubPort,
        mut opening: TurnCommand,
    ) -> Self {
        let id_text = id.hyphenated().to_string();
        let context_id = opening
            .message
            .context_id
            .take()
            // A conversation that begins here is called like its first task: stores need no second index entry for it.
            .unwrap_or_else(|| id_text.clone());
        let record = Record::open(
            &id_text,
            &context_id,
            opening.message.clone(),
            ports.clock.now_ms(),
        );
        let hold = ports
            .replicas
            .is_some()
            .then(|| TaskHold::new(Fence::random(), None));
        Self {
            opening: Some(opening),
            handled: 1,
            hold,
            webhooks_unknown: false,
            ..Self::of(id, owner, record, ports, hub)
        }
    }

    /// A task as it was kept.
    pub fn kept(
        id: Uuid,
        owner: TaskCaller,
        record: Record,
        ports: TaskPorts,
        hub: HubPort,
    ) -> Self {
        let mut actor = Self::of(id, owner, record, ports, hub);
        actor.commits.kept = actor.record.seq;
        actor
    }

    /// The actor holds the task for this replica, if there are several.
    #[must_use]
    pub fn holding(mut self, fence: Option<Fence>) -> Self {
        self.hold = fence.map(|fence| TaskHold::new(fence, Some(fence)));
        self
    }

    /// The actor has a place among the turns that are taken up again.
    #[must_use]
    pub fn in_place(mut self, place: Option<OwnedSemaphorePermit>) -> Self {
        self.place = place.map(|permit| Place {
            _permit: permit,
            patience: None,
        });
        self
    }

    fn of(id: Uuid, owner: TaskCaller, record: Record, ports: TaskPorts, hub: HubPort) -> Self {
        let mut held = HeldBytes::of(ports.metrics.live_bytes.clone());
        held.set(record.size());
        Self {
            id,
            owner,
            record,
            ports,
            hub,
            opening: None,
            turn: None,
            commits: Commits::default(),
            deferred: Vec::new(),
            canceling: Vec::new(),
            given_up: false,
            waiting: Vec::new(),
            undecided: None,
            board: None,
            handled: 0,
            sweep: None,
            view: (0, Written::default()),
            webhooks_unknown: true,
            held,
            place: None,
            hold: None,
        }
    }

    /// Starts the actor. Its mailbox has its full size at once, for the commands that were held back for it.
    pub fn launch(self) -> Recipient<Asked> {
        Self::create(|ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            self
        })
        .recipient()
    }
}

impl Actor for TaskActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(opening) = self.opening.take() {
            self.begin(opening, ctx);
        } else if self.record.settled() == Settled::No {
            // The agent was at work when the actor or the process before this one died.
            self.recover_turn(ctx);
        } else {
            // Nothing is left to do, and maybe nobody asked.
            self.rest(ctx);
        }
    }
}

impl Handler<Asked> for TaskActor {
    type Result = ();

    fn handle(&mut self, asked: Asked, ctx: &mut Self::Context) {
        self.handled += 1;
        if asked.caller != self.owner {
            // Missing and foreign are the same to whoever asks.
            asked.command.refuse(TaskError::NotFound);
            return self.rest(ctx);
        }
        if self.is_released() {
            return self.pass_back(asked);
        }
        if self.commits.lost {
            // The next actor has what the store has.
            asked.command.refuse(TaskError::Busy);
            return self.rest(ctx);
        }
        match asked.command {
            TaskCommand::Turn(command) => self.further_turn(*command, ctx),
            TaskCommand::Read { history, reply } => {
                let view = self.view(history);
                self.defer(Answer::View(view, reply));
            }
            TaskCommand::Watch { after, reply } => self.watch(after, None, reply),
            TaskCommand::Cancel { reply } => self.cancel(reply, ctx),
            TaskCommand::GiveUp { since_ms, reply } => self.give_up(since_ms, reply, ctx),
            TaskCommand::Report { task, reply } => self.report(*task, reply, ctx),
        }
        self.release(ctx);
    }
}

impl StreamHandler<TurnStep> for TaskActor {
    fn handle(&mut self, step: TurnStep, ctx: &mut Self::Context) {
        // The executor of a turn that has ended may have one more step in it.
        if !self.is_running(ctx.handle()) {
            return;
        }
        if !step.told.is_empty() || step.outcome.is_some() {
            self.give_place_back(ctx);
            if self.undecided.is_some() && self.is_declined(&step) {
                return self.decline(step, ctx);
            }
            self.decide(ctx);
        }
        for event in step.told {
            self.apply(event, ctx);
        }
        match step.outcome {
            Some(outcome) => self.finish_turn(outcome, ctx),
            None => self.limit_turn(ctx),
        }
        self.commit(ctx);
    }

    // The default stops the actor when a stream ends.
    fn finished(&mut self, _: &mut Self::Context) {}
}

impl TaskHold {
    fn new(fence: Fence, before: Option<Fence>) -> Self {
        Self {
            fence,
            before,
            ending: false,
            ended: false,
            told: false,
        }
    }
}

impl Answer {
    fn refuse(self, error: TaskError) {
        match self {
            Self::View(_, reply) | Self::NotCancelable(reply) => reply.send(Err(error)),
            Self::Sent(_, reply) => reply.send(Err(error)),
            Self::Feed(_, reply) | Self::NothingToWatch(reply) => reply.send(Err(error)),
        }
    }
}
