//! What becomes of turns that a dead process or a dead actor left.

use super::*;
use crate::tasks::executor::CancelFuture;
use crate::tasks::machine::Record;
use crate::tasks::recovery;
use crate::tasks::shard::{HubPorts, ShardTable};

const LEFT: &str =
    "the work on this message was interrupted inside the node, and its agent cannot go on with it";

/// A puppet that can go on with a turn.
struct Resumes(Arc<dyn AgentExecutor>);

impl AgentExecutor for Resumes {
    fn run(self: Arc<Self>, turn: Turn, events: TurnEvents) -> TurnFuture {
        Arc::clone(&self.0).run(turn, events)
    }

    fn resume(self: Arc<Self>, turn: Turn, events: TurnEvents) -> Option<TurnFuture> {
        Some(self.run(turn, events))
    }

    fn cancel(self: Arc<Self>, _: Option<Json>) -> Option<CancelFuture> {
        panic!("a mistake in an executor");
    }
}

/// Keeps a task as a process left it; its id.
async fn left(world: &World, state: TaskState) -> Uuid {
    let id = Shard::new(0, 1).task_id(NOW_MS);
    let mut record = Record::open(&id.to_string(), "c", said("hello"), NOW_MS);
    if state != TaskState::Submitted {
        let remembered = TurnEvent::Remember(Json::read(r#"{"theirs":1}"#).unwrap());
        record.apply(remembered, NOW_MS);
        record.apply(status(state), NOW_MS).unwrap();
    }
    let snapshot = record.snapshot();
    keep(world, id, state, snapshot).await;
    id
}

async fn keep(world: &World, id: Uuid, state: TaskState, snapshot: Snapshot) {
    let change = TaskChange {
        id,
        owner: caller().owner,
        agent: caller().agent,
        context_id: "c".into(),
        state: state.number(),
        terminal: state.is_terminal(),
        updated_ms: NOW_MS,
        snapshot: Some(snapshot),
        events: Vec::new(),
        webhook: None,
        hold: None,
    };
    world.store.rows.commit(change).await.unwrap();
}

/// Runs the recovery to its end; how many turns were taken up.
async fn recover(world: &World) -> u64 {
    let table = ShardTable::new(1);
    let starting = async {
        quiet().await;
        // The worker starts after the recovery has.
        table.enter(|_| HubPorts {
            open: world.hub.clone().recipient(),
            ask: world.hub.clone().recipient(),
            recover: world.hub.clone().recipient(),
        });
    };
    let (found, ()) = tokio::join!(recovery::run(world.store.as_ref(), &table), starting);
    quiet().await;
    found
}

async fn state_of(world: &World, id: Uuid) -> TaskState {
    let stored = world.store.rows.load(id).await.unwrap().unwrap();
    TaskState::from_number(stored.state).unwrap()
}

#[actix::test]
async fn what_was_worked_on_is_taken_up_and_nothing_else() {
    use TaskState::{AuthRequired, Canceled, Completed, InputRequired, Submitted, Working};
    for (state, is_left) in [
        (Submitted, true),
        (Working, true),
        (InputRequired, false),
        (AuthRequired, false),
        (Completed, false),
        (Canceled, false),
    ] {
        let world = World::start();
        *world.executor.lock() = Some(tells(1));
        let id = left(&world, state).await;
        assert_eq!(recover(&world).await, u64::from(is_left), "{state:?}");
        let expected = if is_left { TaskState::Failed } else { state };
        assert_eq!(state_of(&world, id).await, expected);
        if is_left {
            assert_eq!(reason(&answered(world.read(id)).await.unwrap()), LEFT);
        }
        assert_eq!(recover(&world).await, 0, "once is enough");
        assert_eq!((world.live(), world.actors()), (0, 0));
        tokio::time::resume();
    }
}

#[actix::test]
async fn an_agent_that_can_goes_on_where_it_was() {
    let world = World::start();
    let (puppet, mut plays) = Puppet::pair();
    *world.executor.lock() = Some(Arc::new(Resumes(puppet)));
    let id = left(&world, TaskState::Working).await;
    assert_eq!(recover(&world).await, 1);
    let play = plays.recv().await.unwrap();
    assert_eq!(play.turn.message.joined_text(), "hello");
    assert_eq!(play.turn.memory.as_ref().unwrap().text(), r#"{"theirs":1}"#);
    let seen = play.turn.task.as_ref().unwrap();
    assert_eq!(seen.status.state, TaskState::Working);
    let mut feed = answered(world.watch(id)).await.unwrap();
    play.tell(piece("a")).await.unwrap();
    play.end(Ok(()));
    quiet().await;
    assert_eq!(
        events(&mut feed),
        [
            "task TASK_STATE_WORKING",
            "artifactUpdate a",
            "statusUpdate TASK_STATE_COMPLETED"
        ]
    );
    assert_eq!((world.live(), world.actors()), (0, 0));
}

#[actix::test]
async fn a_task_whose_agent_is_gone_fails() {
    let world = World::start();
    let id = left(&world, TaskState::Working).await;
    recover(&world).await;
    let task = answered(world.read(id)).await.unwrap();
    assert!(reason(&task).contains("not here any more"));
}

#[actix::test]
async fn who_asks_first_finds_the_same() {
    let world = World::start();
    *world.executor.lock() = Some(tells(1));
    let id = left(&world, TaskState::Working).await;
    let task = answered(world.read(id)).await.unwrap();
    assert_eq!(reason(&task), LEFT);
}

#[actix::test]
async fn what_is_loaded_for_nothing_is_let_go() {
    let world = World::start();
    let id = left(&world, TaskState::InputRequired).await;
    let places = Arc::new(Semaphore::new(1));
    // As if the task had been dealt with between the look and the load.
    let recover = recovery::RecoverTask {
        id,
        place: Arc::clone(&places).try_acquire_owned().unwrap(),
    };
    world.hub.try_send(recover).unwrap();
    quiet().await;
    let left = (world.live(), world.actors(), places.available_permits());
    assert_eq!(left, (0, 0, 1));
}

/// Breaks down when it is to go on.
struct Breaks;

impl AgentExecutor for Breaks {
    fn run(self: Arc<Self>, _: Turn, _: TurnEvents) -> TurnFuture {
        unreachable!("it is resumed")
    }

    fn resume(self: Arc<Self>, _: Turn, _: TurnEvents) -> Option<TurnFuture> {
        panic!("a mistake in an executor")
    }
}

#[actix::test]
async fn an_executor_that_breaks_down_cannot_go_on() {
    let world = World::start();
    *world.executor.lock() = Some(Arc::new(Breaks));
    let id = left(&world, TaskState::Working).await;
    assert_eq!(recover(&world).await, 1);
    assert_eq!(reason(&answered(world.read(id)).await.unwrap()), LEFT);
}

#[actix::test]
async fn a_task_whose_actor_died_is_taken_up_without_being_asked_for() {
    let world = World::start();
    let (puppet, mut plays) = Puppet::pair();
    let executor: Arc<dyn AgentExecutor> = Arc::new(Resumes(puppet));
    *world.executor.lock() = Some(Arc::clone(&executor));
    let mut feed = answered(world.stream(&executor)).await.unwrap();
    let id = id_of(&feed.next().await.unwrap());
    let first = plays.recv().await.unwrap();
    first.tell(piece("a")).await.unwrap();
    quiet().await;
    assert_eq!(answered(world.cancel(id)).await, Err(TaskError::Busy));
    assert!(first.is_dropped());
    assert_eq!(events(&mut feed).len(), 2);
    assert_eq!(feed.next().await, Err(FeedEnd::Lost));
    pass(Duration::from_secs(2)).await;
    let second = plays.recv().await.unwrap();
    assert_eq!(second.turn.task.as_ref().unwrap().artifacts.len(), 1);
    second.end(Ok(()));
    quiet().await;
    assert_eq!(state_of(&world, id).await, TaskState::Completed);
    assert_eq!((world.live(), world.actors()), (0, 0));
}

#[actix::test]
async fn many_turns_are_taken_up_around_one_that_cannot_be_read_and_a_store_that_is_away() {
    let world = World::start();
    for _ in 0..300 {
        left(&world, TaskState::Working).await;
        left(&world, TaskState::InputRequired).await;
    }
    let unreadable = Snapshot {
        seq: 1,
        head: "{".into(),
        rest: Bytes::new(),
    };
    let id = Shard::new(0, 1).task_id(NOW_MS);
    keep(&world, id, TaskState::Working, unreadable).await;
    for _ in 0..3 {
        let mut refusals = world.store.load_refusals.lock();
        refusals.push_back(StoreError::Unavailable);
    }
    assert_eq!(recover(&world).await, 301);
    assert_eq!(
        world.store.rows.unfinished(None, 1000).await.unwrap().len(),
        301
    );
}

#[actix::test]
async fn turns_are_taken_up_a_few_at_a_time() {
    let world = World::start();
    let (puppet, mut plays) = Puppet::pair();
    *world.executor.lock() = Some(Arc::new(Resumes(puppet)));
    for _ in 0..100 {
        left(&world, TaskState::Working).await;
    }
    let mut held = Vec::new();
    let recovery = recover(&world);
    let others = async {
        pass(Duration::from_secs(1)).await;
        while let Ok(play) = plays.try_recv() {
            held.push(play);
        }
        let at_first = held.len();
        pass(Duration::from_secs(10)).await;
        while let Ok(play) = plays.try_recv() {
            held.push(play);
        }
        at_first
    };
    let (found, at_first) = tokio::join!(recovery, others);
    assert_eq!((found, at_first, held.len()), (100, 32, 100));
}
