//! What watchers see, and what becomes of those that are slow or leave.

use archipel_protocol::error::ErrorCode;

use super::*;
use crate::tasks::feed::FEED_CAPACITY;
use crate::tasks::machine::TurnRefusal;

#[actix::test]
async fn a_late_watcher_sees_the_task_and_only_what_comes_after() {
    let world = World::start();
    let (id, play, mut early) = world.working().await;
    play.tell(piece("a")).await.unwrap();
    quiet().await;
    let mut late = answered(world.watch(id)).await.unwrap();
    play.tell(piece("b")).await.unwrap();
    play.end(Ok(()));
    quiet().await;
    let rest = ["artifactUpdate b", "statusUpdate TASK_STATE_COMPLETED"];
    let late = events(&mut late);
    assert_eq!(late[0], "task TASK_STATE_WORKING");
    assert_eq!(late[1..], rest);
    assert_eq!(events(&mut early)[1..], rest);
}

#[actix::test]
async fn a_watcher_that_comes_during_a_commit_sees_nothing_twice() {
    let world = World::on(ScriptedStore::new(1));
    let (id, play, _feed) = world.working().await;
    play.tell(piece("a")).await.unwrap();
    quiet().await;
    let feed = world.watch(id);
    play.tell(piece("b")).await.unwrap();
    play.end(Ok(()));
    quiet().await;
    world.store.let_through(10);
    let mut feed = answered(feed).await.unwrap();
    quiet().await;
    let first = feed.ready().unwrap();
    let seen = event(&first);
    let pieces = String::from_utf8_lossy(&first.body)
        .matches("piece")
        .count();
    assert_eq!((seen.as_str(), pieces), ("task TASK_STATE_WORKING", 1));
    assert_eq!(
        events(&mut feed),
        ["artifactUpdate b", "statusUpdate TASK_STATE_COMPLETED"]
    );
}

#[actix::test]
async fn a_task_that_has_ended_has_nothing_to_watch() {
    let world = World::start();
    let task = answered(world.send(&tells(1))).await.unwrap();
    let id = task_of(&task).id;
    let refused = answered(world.watch(id.parse().unwrap()))
        .await
        .unwrap_err();
    assert_eq!(refused, TurnRefusal::Ended.into());
    assert_eq!(
        refused.told(Some(&id)).code,
        ErrorCode::UnsupportedOperation
    );
}

#[actix::test]
async fn a_burst_cuts_nobody_off_who_reads() {
    let burst = usize::try_from(4 * FEED_CAPACITY).unwrap();
    for permits in [Semaphore::MAX_PERMITS, 0] {
        let world = World::on(ScriptedStore::new(permits));
        let feed = world.stream(&tells(burst));
        if permits == 0 {
            // A store that is slow: everything gathers, and is shown at once.
            quiet().await;
            world.store.let_through(100);
        }
        let mut feed = answered(feed).await.unwrap();
        let mut seen = Vec::new();
        while let Ok(shown) = feed.next().await {
            seen.push(event(&shown));
        }
        assert_eq!(seen.len(), burst + 3);
        assert_eq!(seen.last().unwrap(), "statusUpdate TASK_STATE_COMPLETED");
        assert_eq!(world.metrics.watchers_cut.value(()), 0);
        quiet().await;
        assert_eq!((world.live(), world.actors()), (0, 0));
        tokio::time::resume();
    }
}

#[actix::test]
async fn a_slow_watcher_is_cut_off_and_no_other() {
    let world = World::start();
    let (id, play, mut quick) = world.working().await;
    let mut slow = answered(world.watch(id)).await.unwrap();
    let left = answered(world.watch(id)).await.unwrap();
    drop(left);
    for _ in 0..=FEED_CAPACITY {
        play.tell(piece("a")).await.unwrap();
        assert_eq!(event(&quick.next().await.unwrap()), "artifactUpdate a");
    }
    play.end(Ok(()));
    quiet().await;
    assert_eq!(events(&mut quick), ["statusUpdate TASK_STATE_COMPLETED"]);
    assert_eq!(slow.next().await, Err(FeedEnd::TooSlow));
    assert_eq!(world.metrics.watchers_cut.value(()), 1);
}

#[actix::test]
async fn watchers_that_leave_let_the_task_go() {
    let world = World::start();
    let id = world.interrupted().await;
    quiet().await;
    assert_eq!(world.live(), 0);
    let feed = answered(world.watch(id)).await.unwrap();
    pass(Duration::from_secs(300)).await;
    assert_eq!(world.live(), 1);
    drop(feed);
    pass(Duration::from_secs(31)).await;
    assert_eq!((world.live(), world.actors()), (0, 0));
}
