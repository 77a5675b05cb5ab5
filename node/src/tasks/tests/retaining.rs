//! What is not kept any longer.

use super::*;
use crate::tasks::retention::sweep;
use crate::tasks::shard::{HubPorts, ShardTable};

const RETENTION: Retention = Retention {
    keep_for_ms: 5000,
    keep_waiting_for_ms: 1000,
    keep_count: 9,
};

async fn sweep_at(world: &World, now_ms: u64) {
    let table = ShardTable::new(1);
    table
        .enter(|_| HubPorts {
            open: world.hub.clone().recipient(),
            ask: world.hub.clone().recipient(),
            recover: world.hub.clone().recipient(),
        })
        .unwrap();
    let clock = ManualClock::new(now_ms);
    sweep(world.store.as_ref(), &table, RETENTION, &clock).await;
}

#[actix::test]
async fn a_task_that_nobody_answers_is_canceled_and_forgotten_later() {
    let world = World::start();
    let id = world.interrupted().await;
    let mut feed = answered(world.watch(id)).await.unwrap();
    sweep_at(&world, NOW_MS + 999).await;
    let task = answered(world.read(id)).await.unwrap();
    assert_eq!(task_of(&task).status.state, TaskState::InputRequired);

    sweep_at(&world, NOW_MS + 1000).await;
    let task = answered(world.read(id)).await.unwrap();
    assert_eq!(task_of(&task).status.state, TaskState::Canceled);
    assert_eq!(
        reason(&task),
        "nobody answered for as long as a task may wait"
    );
    quiet().await;
    assert_eq!(
        events(&mut feed).last().unwrap(),
        "statusUpdate TASK_STATE_CANCELED"
    );
    sweep_at(&world, NOW_MS + 1000).await;
    assert_eq!(world.store.count().await, Ok(1));
    // Its end is as old as the world's clock.
    sweep_at(&world, NOW_MS + 5000).await;
    assert_eq!(world.store.count().await, Ok(0));
}

#[actix::test]
async fn many_tasks_that_nobody_answers_are_canceled_in_one_sweep() {
    let world = World::start();
    for _ in 0..300 {
        world.interrupted().await;
        quiet().await;
    }
    sweep_at(&world, NOW_MS + 1000).await;
    let left = world.store.unanswered(RETENTION, u64::MAX, 1).await;
    assert_eq!(left, Ok(Vec::new()));
}

#[actix::test]
async fn only_what_still_waits_is_given_up() {
    let world = World::start();
    let id = world.interrupted().await;
    let give_up = |since_ms| {
        let (reply, answer) = Reply::pair();
        world.ask(id, TaskCommand::GiveUp { since_ms, reply });
        answered(answer)
    };
    assert_eq!(give_up(NOW_MS - 1).await, Err(TaskError::NotCancelable));
    assert!(give_up(NOW_MS).await.is_ok());
    assert_eq!(give_up(NOW_MS).await, Err(TaskError::NotCancelable));
}
