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
async fn two_thousand_watchers_see_the_same() {
    let world = World::start();
    let (id, play, first) = world.working().await;
    let mut feeds = vec![first];
    while feeds.len() < 2000 {
        let asked: Vec<_> = (0..50).map(|_| world.watch(id)).collect();
        for feed in asked {
            let mut feed = answered(feed).await.unwrap();
            assert_eq!(
                event(&feed.next().await.unwrap()),
                "task TASK_STATE_WORKING"
            );
            feeds.push(feed);
        }
    }
    for number in 0..300 {
        play.tell(piece(&format!("a{number}"))).await.unwrap();
    }
    play.end(Ok(()));
    quiet().await;
    let mut expected = None;
    for mut feed in feeds {
        let mut seen = Vec::new();
        while let Ok(event) = feed.next().await {
            seen.push((event.seq, event.body));
        }
        assert_eq!(seen.len(), 301);
        let expected = expected.get_or_insert_with(|| seen.clone());
        assert!(*expected == seen);
    }
    assert_eq!(world.metrics.watchers_cut.value(()), 0);
}

#[actix::test]
async fn a_watcher_that_returns_gets_what_it_missed() {
    let world = World::start();
    let (id, play, _feed) = world.working().await;
    for name in ["a", "b", "c"] {
        play.tell(piece(name)).await.unwrap();
    }
    quiet().await;
    let pieces = ["artifactUpdate a", "artifactUpdate b", "artifactUpdate c"];
    for (after, expected) in [
        (Some(2), &pieces[..]),
        (Some(4), &pieces[2..]),
        (Some(5), &[][..]),
        // The opening is told by the task alone, and so is what never was.
        (Some(0), &["task TASK_STATE_WORKING"][..]),
        (Some(9), &["task TASK_STATE_WORKING"][..]),
    ] {
        let mut feed = answered(world.watch_after(id, after)).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < expected.len() {
            seen.push(event(&feed.next().await.unwrap()));
        }
        assert_eq!(seen, expected, "{after:?}");
        assert_eq!(events(&mut feed), [""; 0]);
    }
    play.end(Ok(()));
    quiet().await;
    let mut feed = answered(world.watch_after(id, Some(4))).await.unwrap();
    assert_eq!(event(&feed.next().await.unwrap()), pieces[2]);
    assert_eq!(
        event(&feed.next().await.unwrap()),
        "statusUpdate TASK_STATE_COMPLETED"
    );
    assert_eq!(feed.next().await, Err(FeedEnd::Over));
    let all_seen = answered(world.watch_after(id, Some(6))).await;
    assert_eq!(all_seen.unwrap_err(), TurnRefusal::Ended.into());
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
