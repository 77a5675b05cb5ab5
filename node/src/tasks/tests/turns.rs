//! What begins, limits and ends a turn.

use super::*;
use crate::tasks::machine::{Record, TurnRefusal};

#[actix::test]
async fn a_quick_agent_costs_one_commit_and_leaves_nothing_behind() {
    let world = World::start();
    let task = answered(world.send(&tells(3))).await.unwrap();
    assert_eq!(short(&task), Short(TaskState::Completed, 1, 3));
    quiet().await;
    let left = (world.store.commits(), world.live(), world.actors());
    assert_eq!(left, (1, 0, 0));
}

#[actix::test]
async fn nothing_of_a_turn_counts_after_the_status_that_ended_it() {
    for (last_words, outcome) in [
        (Some(TaskState::Completed), Ok(())),
        (Some(TaskState::Working), Ok(())),
        (None, Err(ExecutorFailure::Lost)),
    ] {
        let world = World::start();
        let agent = does(move |_, events| {
            let outcome = outcome.clone();
            async move {
                events.tell(status(TaskState::InputRequired)).await?;
                if let Some(state) = last_words {
                    events.tell(status(state)).await?;
                }
                outcome
            }
        });
        let task = answered(world.send(&agent)).await.unwrap();
        assert_eq!(short(&task), Short(TaskState::InputRequired, 1, 0));
        quiet().await;
        tokio::time::resume();
    }
}

#[actix::test]
async fn the_executor_of_a_canceled_task_may_tell_its_agent() {
    let world = World::start();
    let (id, play, mut feed) = world.working().await;
    let canceled = answered(world.cancel(id)).await.unwrap();
    assert_eq!(short(&canceled), Short(TaskState::Canceled, 1, 0));
    assert!(play.turn.canceled.is_cancelled());
    play.tell(piece("late")).await.unwrap();
    quiet().await;
    assert!(!play.is_dropped(), "it has not told its agent yet");
    assert_eq!(events(&mut feed), ["statusUpdate TASK_STATE_CANCELED"]);
    play.end(Err(ExecutorFailure::Ended));
    quiet().await;
    assert_eq!((world.live(), world.actors()), (0, 0));
    assert_eq!(
        short(&answered(world.read(id)).await.unwrap()),
        short(&canceled)
    );
}

#[actix::test]
async fn an_executor_that_does_not_end_is_dropped() {
    let world = World::start();
    let (id, play, _feed) = world.working().await;
    answered(world.cancel(id)).await.unwrap();
    pass(Duration::from_secs(9)).await;
    assert!(!play.is_dropped());
    let refused = answered(world.say(id, "more", &tells(1))).await;
    assert_eq!(refused, Err(TurnRefusal::Ended.into()));
    pass(Duration::from_secs(2)).await;
    assert!(play.is_dropped());
    assert_eq!((world.live(), world.actors()), (0, 0));
}

#[actix::test]
async fn a_turn_that_takes_too_long_fails_and_its_executor_may_tell_the_agent() {
    let world = World::start();
    let (id, play, mut feed) = world.working().await;
    pass(LIMITS.turn - Duration::from_secs(1)).await;
    assert_eq!(events(&mut feed), [""; 0]);
    pass(Duration::from_secs(2)).await;
    assert_eq!(events(&mut feed), ["statusUpdate TASK_STATE_FAILED"]);
    let task = answered(world.read(id)).await.unwrap();
    assert_eq!(reason(&task), "the agent took longer than one turn may");
    assert!(play.turn.canceled.is_cancelled());
    assert!(!play.is_dropped());
    play.end(Ok(()));
    quiet().await;
    assert_eq!((world.live(), world.actors()), (0, 0));
}

#[actix::test]
async fn each_turn_has_its_own_time() {
    let world = World::start();
    let (id, play, mut feed) = world.working().await;
    pass(LIMITS.turn - Duration::from_secs(1)).await;
    play.tell(status(TaskState::InputRequired)).await.unwrap();
    quiet().await;
    assert!(play.is_dropped());
    let (puppet, mut plays) = Puppet::pair();
    let outcome = world.say(id, "more", &puppet);
    let second = plays.recv().await.unwrap();
    pass(LIMITS.turn - Duration::from_secs(1)).await;
    second.tell(piece("a")).await.unwrap();
    second.end(Ok(()));
    let task = answered(outcome).await.unwrap();
    assert_eq!(short(&task), Short(TaskState::Completed, 2, 1));
    assert_eq!(
        events(&mut feed),
        [
            "statusUpdate TASK_STATE_INPUT_REQUIRED",
            "statusUpdate TASK_STATE_WORKING",
            "artifactUpdate a",
            "statusUpdate TASK_STATE_COMPLETED",
        ]
    );
}

#[actix::test]
async fn a_task_holds_no_more_than_it_may() {
    let world = World::start();
    let large = "x".repeat(LIMITS.size);
    let agent = does(move |_, events| {
        let large = large.clone();
        async move {
            let artifact = Artifact::new("a", "a", vec![Part::text(large)]);
            events
                .tell(TurnEvent::artifact(artifact, false, false))
                .await?;
            Ok(events.tell(piece("b")).await?)
        }
    });
    let task = answered(world.send(&agent)).await.unwrap();
    assert_eq!(short(&task), Short(TaskState::Failed, 1, 1));
    assert_eq!(reason(&task), "the task grew beyond what one task may hold");
}

#[actix::test]
async fn what_the_client_says_counts_toward_the_size_of_a_task() {
    let world = World::start();
    let id = world.interrupted().await;
    let half = "x".repeat(LIMITS.size / 2);
    let task = answered(world.say(id, &half, &asks())).await.unwrap();
    assert_eq!(task_of(&task).status.state, TaskState::InputRequired);
    let refused = answered(world.say(id, &half, &asks())).await;
    assert_eq!(refused, Err(TurnRefusal::TooLarge.into()));
    let task = answered(world.say(id, "small", &tells(1))).await.unwrap();
    assert_eq!(short(&task), Short(TaskState::Completed, 3, 1));
}

#[actix::test]
async fn an_executor_that_panics_fails_its_task() {
    let world = World::start();
    let agent = does(|_, events| async move {
        events.tell(piece("a")).await?;
        tokio::task::yield_now().await;
        panic!("an agent with a mistake in it");
    });
    let task = answered(world.send(&agent)).await.unwrap();
    assert_eq!(short(&task), Short(TaskState::Failed, 1, 1));
    assert_eq!(reason(&task), "the agent broke down");
    quiet().await;
    assert_eq!((world.live(), world.actors()), (0, 0));
}

#[actix::test]
async fn a_turn_that_was_lost_with_its_actor_has_failed() {
    let world = World::start();
    let id = Uuid::new_v4();
    let mut record = Record::open(&id.to_string(), "c", said("hello"), NOW_MS);
    record.begin(NOW_MS);
    let change = TaskChange {
        id,
        owner: caller().owner,
        agent: caller().agent,
        context_id: "c".into(),
        state: record.task.status.state.number(),
        terminal: false,
        updated_ms: NOW_MS,
        snapshot: Some(record.snapshot()),
        events: Vec::new(),
        webhook: None,
        hold: None,
    };
    world.store.rows.commit(change).await.unwrap();
    let task = answered(world.read(id)).await.unwrap();
    assert_eq!(short(&task), Short(TaskState::Failed, 1, 0));
    quiet().await;
    assert_eq!(
        (world.store.commits(), world.live(), world.actors()),
        (1, 0, 0)
    );
}

#[actix::test]
async fn messages_are_refused_while_the_agent_works_and_after_the_end() {
    let world = World::start();
    let (id, play, _feed) = world.working().await;
    let refused = answered(world.say(id, "more", &tells(1))).await;
    assert_eq!(refused, Err(TurnRefusal::Busy.into()));
    play.end(Ok(()));
    quiet().await;
    let refused = answered(world.say(id, "more", &tells(1))).await;
    assert_eq!(refused, Err(TurnRefusal::Ended.into()));
    assert_eq!(
        answered(world.cancel(id)).await,
        Err(TaskError::NotCancelable)
    );
}

#[actix::test]
async fn a_sender_has_its_outcome_before_the_next_message_is_taken() {
    let world = World::on(ScriptedStore::new(0));
    let first = world.stream(&asks());
    quiet().await;
    // The question is asked, but it is not kept yet, so nobody knows of it.
    world.store.let_through(1);
    let mut feed = answered(first).await.unwrap();
    let id = id_of(&feed.next().await.unwrap());
    let (puppet, mut plays) = Puppet::pair();
    let second = world.say(id, "more", &puppet);
    plays
        .recv()
        .await
        .unwrap()
        .tell(status(TaskState::InputRequired))
        .await
        .unwrap();
    quiet().await;
    let early = answered(world.say(id, "too early", &tells(1)));
    world.store.let_through(1);
    quiet().await;
    assert_eq!(early.await, Err(TurnRefusal::Busy.into()));
    world.store.let_through(1);
    let task = answered(second).await.unwrap();
    assert_eq!(short(&task), Short(TaskState::InputRequired, 2, 0));
}
