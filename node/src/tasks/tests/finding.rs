//! The hub: every task has one actor at most, and is found whenever it is asked for.

use super::*;
use crate::tasks::hub::Leaving;
use crate::tasks::hub::TaskIdle;
use crate::tasks::shard::{HubPorts, ShardTable};
use crate::tasks::{Tasks, task_id};

/// Commands that the hub holds back for a task that is being loaded.
const HELD_BACK: usize = 64;

#[actix::test]
async fn more_tasks_than_the_bound_are_refused() {
    let world = World::start();
    let mut plays = Vec::new();
    for _ in 0..BOUND {
        plays.push(world.working().await);
    }
    assert_eq!(answered(world.send(&tells(1))).await, Err(TaskError::Busy));
    let (_, play, _) = plays.pop().unwrap();
    play.end(Ok(()));
    quiet().await;
    assert!(answered(world.send(&tells(1))).await.is_ok());
}

#[actix::test]
async fn a_task_is_loaded_once_for_all_who_ask() {
    let world = World::start();
    let id = world.interrupted().await;
    quiet().await;
    let asked: Vec<_> = (0..HELD_BACK).map(|_| world.read(id)).collect();
    let too_many = world.read(id);
    for answer in asked {
        let task = answered(answer).await.unwrap();
        assert_eq!(short(&task), Short(TaskState::InputRequired, 1, 0));
    }
    assert_eq!(answered(too_many).await, Err(TaskError::Busy));
    assert_eq!(world.store.loads(), 1);
    quiet().await;
    assert_eq!((world.live(), world.actors()), (0, 0));
}

#[actix::test]
async fn a_task_that_cannot_be_loaded_is_refused_to_all_who_ask() {
    let world = World::start();
    assert_eq!(
        answered(world.read(Uuid::new_v4())).await,
        Err(TaskError::NotFound)
    );
    let id = world.interrupted().await;
    quiet().await;
    world
        .store
        .load_refusals
        .lock()
        .push_back(StoreError::Unavailable);
    let (first, second) = (world.read(id), world.cancel(id));
    let refused = Err(TaskError::NotKept(StoreError::Unavailable));
    assert_eq!(answered(first).await, refused);
    assert_eq!(answered(second).await, refused);
    assert!(answered(world.cancel(id)).await.is_ok());
}

#[actix::test]
async fn nobody_else_can_tell_that_a_task_exists() {
    let world = World::start();
    let (live, _play, _feed) = world.working().await;
    let kept = world.interrupted().await;
    quiet().await;
    for id in [live, kept, Uuid::new_v4()] {
        for (owner, agent) in [("somebody", "puppet"), ("operator", "another")] {
            let (reply, answer) = Reply::pair();
            let asked = Asked {
                caller: TaskCaller {
                    owner: owner.into(),
                    agent: agent.into(),
                },
                command: TaskCommand::Cancel { reply },
            };
            world.hub.try_send(AskTask { id, asked }).unwrap();
            assert_eq!(answered(answer).await, Err(TaskError::NotFound));
        }
    }
    quiet().await;
    assert_eq!((world.live(), world.actors()), (1, 1));
}

#[actix::test]
async fn a_command_to_a_task_that_is_being_let_go_is_answered() {
    let world = World::start();
    let id = world.interrupted().await;
    for _ in 0..20 {
        // No pause: the actor says that it is idle while the next command is on its way.
        let (first, second) = (world.read(id), world.watch(id));
        assert!(answered(first).await.is_ok());
        assert!(answered(second).await.is_ok());
    }
    pass(Duration::from_secs(60)).await;
    assert_eq!((world.live(), world.actors()), (0, 0));
}

#[actix::test]
async fn only_the_actor_itself_can_say_that_it_is_idle() {
    let world = World::start();
    let (id, play, _feed) = world.working().await;
    // As an earlier actor of the task would have said it.
    let idle = TaskIdle {
        leaving: Leaving::Idle,
        id,
        actor: 0,
        handled: 1,
    };
    world.hub.try_send(idle).unwrap();
    quiet().await;
    assert_eq!(world.live(), 1);
    play.end(Ok(()));
    quiet().await;
    assert_eq!(world.live(), 0);
}

#[actix::test]
async fn a_task_whose_actor_died_is_loaded_again() {
    let world = World::start();
    let id = world.interrupted().await;
    let deadly: Arc<dyn AgentExecutor> = Arc::new(Does(|_, _| panic!("a mistake in an executor")));
    assert_eq!(
        answered(world.say(id, "more", &deadly)).await,
        Err(TaskError::Busy)
    );
    let task = answered(world.read(id)).await.unwrap();
    assert_eq!(short(&task), Short(TaskState::InputRequired, 1, 0));
    quiet().await;
    assert_eq!((world.live(), world.actors()), (0, 0));
}

#[test]
fn only_our_own_spelling_of_an_id_names_a_task() {
    let check =
        |text: &str, expected: bool| assert_eq!(task_id(text).is_some(), expected, "{text}");
    check("019b76da-a800-7c46-9a1a-a98f5ea1ecf1", true);
    check("019B76DA-A800-7C46-9A1A-A98F5EA1ECF1", false);
    check("019b76daa8007c469a1aa98f5ea1ecf1", false);
    check("{019b76da-a800-7c46-9a1a-a98f5ea1ecf1}", false);
    check("urn:uuid:019b76da-a800-7c46-9a1a-a98f5ea1ecf1", false);
    check("019b76da-a800-7c46-9a1a-a98f5ea1ecf1 ", false);
    check("", false);
}

#[actix::test]
async fn a_task_of_another_worker_is_asked_there_and_a_worker_that_is_not_there_is_busy() {
    let world = World::start();
    let ports = HubPorts {
        open: world.hub.clone().recipient(),
        ask: world.hub.clone().recipient(),
        recover: world.hub.clone().recipient(),
    };
    let table = ShardTable::new(2);
    let (there, _) = table.enter(|_| ports.clone()).unwrap();
    let here = Tasks::new(Shard::new(1, 2), ports, table.clone(), world.store.clone());
    let theirs = there.task_id(NOW_MS).to_string();
    let missing = here.read(&theirs, caller(), None).await;
    assert_eq!(missing, Err(TaskError::NotFound), "asked there");
    let nowhere = Tasks::new(
        there,
        table.hub(0).unwrap(),
        ShardTable::new(2),
        here.store.clone(),
    );
    let id = Shard::new(1, 2).task_id(NOW_MS).to_string();
    assert_eq!(
        nowhere.read(&id, caller(), None).await,
        Err(TaskError::Busy)
    );
    assert_eq!(
        nowhere.cancel("no-id-of-ours", caller()).await,
        Err(TaskError::NotFound)
    );
}
