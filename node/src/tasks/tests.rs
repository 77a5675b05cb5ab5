//! Hub and actors together, with agents and a store that do what a test tells them.
//!
//! Time is paused, and everything runs on one thread: [`quiet`] comes back when nothing is left to do at this moment.
//! Read `turns` (the agent's side), `deciding` (whether there is a task), `keeping` (the store's), `watching` (the watcher's), `finding` (the hub's) and
//! `recovering` (what was left).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::{Actor, Addr};
use archipel_kit::clock::{Clock, ManualClock};
use archipel_protocol::a2a::{Artifact, Message, Part, Role, Task, TaskState};
use archipel_protocol::object::{Extra, Json};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, oneshot};
use uuid::Uuid;

use crate::metrics::TaskMetrics;
use crate::push::PushSignal;
use crate::store::memory::MemoryStore;
use crate::store::{
    EventRow, Retention, Snapshot, StoreError, StoredTask, TaskChange, TaskPage, TaskQuery,
    TaskStore, Unanswered,
};
use crate::tasks::actor::{TaskLimits, TaskPorts};
use crate::tasks::answered;
use crate::tasks::command::{
    Answered, AskTask, Asked, OpenTask, Reply, Sent, TaskCaller, TaskCommand, TaskError,
    TurnAnswer, TurnCommand, TurnSetup,
};
use crate::tasks::executor::{AgentExecutor, ExecutorFailure, Turn, TurnEvent, TurnEvents};
use crate::tasks::executor::{Executors, TurnEnded, TurnFuture};
use crate::tasks::feed::{Feed, FeedEnd, LogEvent};
use crate::tasks::hub::TaskHub;
use crate::tasks::shard::Shard;

mod deciding;
mod finding;
mod keeping;
mod recovering;
mod retaining;
mod turns;
mod watching;

const NOW_MS: u64 = 1_767_225_600_000;
const LIMITS: TaskLimits = TaskLimits {
    turn: Duration::from_secs(60),
    task: Duration::from_secs(600),
    size: 1 << 20,
    live_bytes: 8 << 20,
};
const BOUND: usize = 3;

/// One hub and what it works with.
struct World {
    hub: Addr<TaskHub>,
    store: Arc<ScriptedStore>,
    clock: Arc<ManualClock>,
    metrics: TaskMetrics,
    /// Who works for the agent, when no request says it.
    executor: Arc<Mutex<Option<Arc<dyn AgentExecutor>>>>,
}

/// Keeps tasks in memory, when and as far as the test lets it.
#[derive(Debug)]
struct ScriptedStore {
    rows: MemoryStore,
    /// What the next commits come to; those after them succeed.
    refusals: Mutex<VecDeque<StoreError>>,
    load_refusals: Mutex<VecDeque<StoreError>>,
    /// Each commit takes one permit for good.
    permits: Semaphore,
    commits: AtomicUsize,
    loads: AtomicUsize,
}

/// An agent whose turns the test plays.
struct Puppet(mpsc::UnboundedSender<Play>);

/// One turn of a puppet.
struct Play {
    turn: Turn,
    events: TurnEvents,
    end: oneshot::Sender<Result<(), ExecutorFailure>>,
}

/// An agent that does the same in every turn.
struct Does<F>(F);

/// Lets everything happen that can happen without time going by.
async fn quiet() {
    pass(Duration::from_millis(1)).await;
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

fn caller() -> TaskCaller {
    TaskCaller {
        owner: "operator".into(),
        agent: "puppet".into(),
    }
}

fn said(text: &str) -> Message {
    Message {
        message_id: "m".to_owned(),
        context_id: None,
        task_id: None,
        role: Role::User,
        parts: vec![Part::text(text)],
        metadata: None,
        extensions: Vec::new(),
        reference_task_ids: Vec::new(),
        extra: Extra::default(),
    }
}

fn status(state: TaskState) -> TurnEvent {
    TurnEvent::status(state, None)
}

fn piece(name: &str) -> TurnEvent {
    let artifact = Artifact::new(name, name, vec![Part::text("piece")]);
    TurnEvent::artifact(artifact, true, false)
}

fn does<F, R>(run: F) -> Arc<dyn AgentExecutor>
where
    F: Fn(Turn, TurnEvents) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), ExecutorFailure>> + 'static,
{
    Arc::new(Does(move |turn, events| run(turn, events).boxed_local()))
}

/// Tells so many pieces and is done.
fn tells(pieces: usize) -> Arc<dyn AgentExecutor> {
    does(move |_, events| async move {
        for _ in 0..pieces {
            events.tell(piece("a")).await?;
        }
        Ok(())
    })
}

/// Asks the client, and is done.
fn asks() -> Arc<dyn AgentExecutor> {
    does(|_, events| async move { Ok(events.tell(status(TaskState::InputRequired)).await?) })
}

/// A task as it is answered.
trait TaskJson {
    fn json(&self) -> &Bytes;
}

impl TaskJson for Bytes {
    fn json(&self) -> &Bytes {
        self
    }
}

impl TaskJson for Sent {
    fn json(&self) -> &Bytes {
        match self {
            Self::Task(task) => task,
            Self::Message(message) => panic!("an answer without a task: {message:?}"),
        }
    }
}

/// A task in short: its state, its messages and the pieces of its artifacts.
#[derive(Debug, PartialEq, Eq)]
struct Short(TaskState, usize, usize);

fn short(task: &impl TaskJson) -> Short {
    let task = task_of(task);
    let pieces = task.artifacts.iter().map(|artifact| artifact.parts.len());
    Short(task.status.state, task.history.len(), pieces.sum())
}

fn task_of(body: &impl TaskJson) -> Task {
    Task::read(std::str::from_utf8(body.json()).unwrap()).unwrap()
}

fn reason(body: &impl TaskJson) -> String {
    task_of(body).status.message.unwrap().joined_text()
}

/// An event in short: which kind it is and the state or artifact it tells of.
fn event(event: &LogEvent) -> String {
    let body: Value = serde_json::from_slice(&event.body).unwrap();
    let (kind, what) = body.as_object().unwrap().iter().next().unwrap();
    let about = match kind.as_str() {
        "artifactUpdate" => &what["artifact"]["artifactId"],
        _ => &what["status"]["state"],
    };
    format!("{kind} {}", about.as_str().unwrap())
}

/// Everything that is in the feed now.
fn events(feed: &mut Feed) -> Vec<String> {
    std::iter::from_fn(|| feed.ready())
        .map(|shown| event(&shown))
        .collect()
}

fn id_of(first: &LogEvent) -> Uuid {
    let body: Value = serde_json::from_slice(&first.body).unwrap();
    body["task"]["id"].as_str().unwrap().parse().unwrap()
}

impl World {
    fn start() -> Self {
        Self::on(ScriptedStore::new(Semaphore::MAX_PERMITS))
    }

    fn on(store: ScriptedStore) -> Self {
        tokio::time::pause();
        let store = Arc::new(store);
        let executor = Arc::default();
        let found: Arc<Mutex<Option<Arc<dyn AgentExecutor>>>> = Arc::clone(&executor);
        let clock = Arc::new(ManualClock::new(NOW_MS));
        let metrics = TaskMetrics::new(&opentelemetry::global::meter("tests"));
        let ports = TaskPorts {
            replicas: None,
            store: Arc::clone(&store) as Arc<dyn TaskStore>,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            executors: Executors::new(move |_| found.lock().clone()),
            limits: LIMITS,
            metrics: metrics.clone(),
            push: PushSignal::unheard(),
        };
        Self {
            hub: TaskHub::new(Shard::new(0, 1), ports, BOUND).start(),
            store,
            clock,
            metrics,
            executor,
        }
    }

    fn open(&self, executor: &Arc<dyn AgentExecutor>, answer: TurnAnswer) {
        let command = turn(said("hello"), executor, answer);
        let open = OpenTask {
            id: None,
            caller: caller(),
            command,
        };
        self.hub.try_send(open).unwrap();
    }

    /// Opens a task and waits for its outcome.
    fn send(&self, executor: &Arc<dyn AgentExecutor>) -> Answered<Sent> {
        let (reply, answer) = Reply::pair();
        self.open(
            executor,
            TurnAnswer::Settled {
                history: None,
                reply,
            },
        );
        answer
    }

    /// Opens a task and watches it.
    fn stream(&self, executor: &Arc<dyn AgentExecutor>) -> Answered<Feed> {
        let (reply, answer) = Reply::pair();
        self.open(
            executor,
            TurnAnswer::Stream {
                history: None,
                reply,
            },
        );
        answer
    }

    /// A task that a puppet works on, the turn, and a watcher that has seen it begin.
    async fn working(&self) -> (Uuid, Play, Feed) {
        let (puppet, mut plays) = Puppet::pair();
        let mut feed = answered(self.stream(&puppet)).await.unwrap();
        let id = id_of(&feed.next().await.unwrap());
        assert_eq!(
            event(&feed.next().await.unwrap()),
            "statusUpdate TASK_STATE_WORKING"
        );
        (id, plays.recv().await.unwrap(), feed)
    }

    /// A task that waits for the client.
    async fn interrupted(&self) -> Uuid {
        let task = answered(self.send(&asks())).await.unwrap();
        task_of(&task).id.parse().unwrap()
    }

    fn ask(&self, id: Uuid, command: TaskCommand) {
        let asked = Asked {
            caller: caller(),
            command,
        };
        self.hub.try_send(AskTask { id, asked }).unwrap();
    }

    fn read(&self, id: Uuid) -> Answered<Bytes> {
        let (reply, answer) = Reply::pair();
        self.ask(
            id,
            TaskCommand::Read {
                history: None,
                reply,
            },
        );
        answer
    }

    fn cancel(&self, id: Uuid) -> Answered<Bytes> {
        let (reply, answer) = Reply::pair();
        self.ask(id, TaskCommand::Cancel { reply });
        answer
    }

    fn watch(&self, id: Uuid) -> Answered<Feed> {
        self.watch_after(id, None)
    }

    fn watch_after(&self, id: Uuid, after: Option<u64>) -> Answered<Feed> {
        let (reply, answer) = Reply::pair();
        self.ask(id, TaskCommand::Watch { after, reply });
        answer
    }

    /// Sends a further message and waits for the outcome.
    fn say(&self, id: Uuid, text: &str, executor: &Arc<dyn AgentExecutor>) -> Answered<Sent> {
        let (reply, answer) = Reply::pair();
        let settled = TurnAnswer::Settled {
            history: None,
            reply,
        };
        let command = turn(said(text), executor, settled);
        self.ask(id, TaskCommand::Turn(Box::new(command)));
        answer
    }

    fn live(&self) -> i64 {
        self.metrics.live.value(())
    }

    /// How many actors there are, those that the hub let go of included: each holds the clock.
    fn actors(&self) -> usize {
        // The test and the hub hold it too.
        Arc::strong_count(&self.clock) - 2
    }
}

/// An agent that may answer without a task.
struct May<F>(Does<F>);

fn may<F, R>(run: F) -> Arc<dyn AgentExecutor>
where
    F: Fn(Turn, TurnEvents) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), ExecutorFailure>> + 'static,
{
    Arc::new(May(Does(move |turn, events| {
        run(turn, events).boxed_local()
    })))
}

impl<F> AgentExecutor for May<F>
where
    F: Fn(Turn, TurnEvents) -> TurnFuture + Send + Sync,
{
    fn run(self: Arc<Self>, turn: Turn, events: TurnEvents) -> TurnFuture {
        (self.0.0)(turn, events)
    }

    fn may_decline_task(&self) -> bool {
        true
    }
}

fn turn(message: Message, executor: &Arc<dyn AgentExecutor>, answer: TurnAnswer) -> TurnCommand {
    TurnCommand {
        message,
        turn: TurnSetup {
            executor: Arc::clone(executor),
            metadata: None,
            traceparent: None,
            accepted_output_modes: Vec::new(),
            extensions: None,
        },
        webhook: None,
        answer,
    }
}

impl Puppet {
    fn pair() -> (Arc<dyn AgentExecutor>, mpsc::UnboundedReceiver<Play>) {
        let (plays, played) = mpsc::unbounded_channel();
        (Arc::new(Self(plays)), played)
    }
}

impl AgentExecutor for Puppet {
    fn run(self: Arc<Self>, turn: Turn, events: TurnEvents) -> TurnFuture {
        let (end, ended) = oneshot::channel();
        let play = Play { turn, events, end };
        self.0.send(play).ok();
        async move { ended.await.unwrap_or(Err(ExecutorFailure::Lost)) }.boxed_local()
    }
}

impl Play {
    async fn tell(&self, event: TurnEvent) -> Result<(), TurnEnded> {
        self.events.tell(event).await
    }

    fn end(self, outcome: Result<(), ExecutorFailure>) {
        self.end.send(outcome).unwrap();
    }

    /// Whether the task has let go of its executor.
    fn is_dropped(&self) -> bool {
        self.end.is_closed()
    }
}

impl<F> AgentExecutor for Does<F>
where
    F: Fn(Turn, TurnEvents) -> TurnFuture + Send + Sync,
{
    fn run(self: Arc<Self>, turn: Turn, events: TurnEvents) -> TurnFuture {
        (self.0)(turn, events)
    }
}

impl ScriptedStore {
    fn new(permits: usize) -> Self {
        Self {
            rows: MemoryStore::new(100),
            refusals: Mutex::default(),
            load_refusals: Mutex::default(),
            permits: Semaphore::new(permits),
            commits: AtomicUsize::new(0),
            loads: AtomicUsize::new(0),
        }
    }

    fn refuse(&self, error: StoreError) {
        self.refusals.lock().push_back(error);
    }

    fn let_through(&self, commits: usize) {
        self.permits.add_permits(commits);
    }

    fn commits(&self) -> usize {
        self.commits.load(Ordering::SeqCst)
    }

    fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl TaskStore for ScriptedStore {
    async fn commit(&self, change: TaskChange) -> Result<(), StoreError> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.permits.acquire().await.unwrap().forget();
        let refusal = self.refusals.lock().pop_front();
        match refusal {
            Some(error) => Err(error),
            None => self.rows.commit(change).await,
        }
    }

    async fn load(&self, id: Uuid) -> Result<Option<StoredTask>, StoreError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        // A store that has to look never answers at once.
        tokio::task::yield_now().await;
        let refusal = self.load_refusals.lock().pop_front();
        match refusal {
            Some(error) => Err(error),
            None => self.rows.load(id).await,
        }
    }

    async fn events(
        &self,
        id: Uuid,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        self.rows.events(id, after_seq, limit).await
    }

    async fn list(&self, query: TaskQuery) -> Result<TaskPage, StoreError> {
        self.rows.list(query).await
    }

    async fn unfinished(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<Uuid>, StoreError> {
        self.rows.unfinished(after, limit).await
    }

    async fn purge(
        &self,
        retention: Retention,
        now_ms: u64,
        limit: usize,
    ) -> Result<u64, StoreError> {
        self.rows.purge(retention, now_ms, limit).await
    }

    async fn unanswered(
        &self,
        retention: Retention,
        now_ms: u64,
        limit: usize,
    ) -> Result<Vec<Unanswered>, StoreError> {
        self.rows.unanswered(retention, now_ms, limit).await
    }

    async fn count(&self) -> Result<u64, StoreError> {
        self.rows.count().await
    }
}
