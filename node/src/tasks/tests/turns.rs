//! What begins, limits and ends a turn.

use super::*;
use crate::tasks::executor::{CancelAnswer, CancelFuture};
use crate::tasks::machine::TurnRefusal;

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

/// A puppet that is asked whether it stops.
struct Asked {
    puppet: Arc<dyn AgentExecutor>,
    answer: Mutex<Option<oneshot::Receiver<CancelAnswer>>>,
    /// What it remembered when it was asked.
    memory: Mutex<Vec<Option<String>>>,
}

impl Asked {
    fn pair() -> (
        Arc<Self>,
        mpsc::UnboundedReceiver<Play>,
        oneshot::Sender<CancelAnswer>,
    ) {
        let (puppet, plays) = Puppet::pair();
        let (answer, answered) = oneshot::channel();
        let asked = Self {
            puppet,
            answer: Mutex::new(Some(answered)),
            memory: Mutex::default(),
        };
        (Arc::new(asked), plays, answer)
    }
}

impl AgentExecutor for Asked {
    fn run(self: Arc<Self>, turn: Turn, events: TurnEvents) -> TurnFuture {
        Arc::clone(&self.puppet).run(turn, events)
    }

    fn cancel(self: Arc<Self>, memory: Option<Json>) -> Option<CancelFuture> {
        self.memory
            .lock()
            .push(memory.map(|memory| memory.text().to_owned()));
        let answer = self.answer.lock().take().unwrap();
        Some(async move { answer.await.unwrap() }.boxed_local())
    }
}

#[actix::test]
async fn a_task_is_canceled_when_its_agent_stops() {
    let world = World::start();
    let (agent, mut plays, answer) = Asked::pair();
    let executor: Arc<dyn AgentExecutor> = agent.clone();
    let mut feed = answered(world.stream(&executor)).await.unwrap();
    let id = id_of(&feed.next().await.unwrap());
    let play = plays.recv().await.unwrap();
    let known = TurnEvent::Remember(Json::read(r#""theirs""#).unwrap());
    play.tell(known).await.unwrap();
    quiet().await;
    let (first, second) = (world.cancel(id), world.cancel(id));
    play.tell(piece("meanwhile")).await.unwrap();
    quiet().await;
    let refused = answered(world.say(id, "more", &tells(1))).await;
    assert_eq!(refused, Err(TurnRefusal::Busy.into()));
    answer.send(CancelAnswer::Stops).unwrap();
    for canceled in [first, second] {
        let task = answered(canceled).await.unwrap();
        assert_eq!(short(&task), Short(TaskState::Canceled, 1, 1));
    }
    assert_eq!(*agent.memory.lock(), [Some(r#""theirs""#.to_owned())]);
    assert!(play.is_dropped());
    let seen = events(&mut feed);
    assert_eq!(seen.last().unwrap(), "statusUpdate TASK_STATE_CANCELED");
    quiet().await;
    assert_eq!((world.live(), world.actors()), (0, 0));
}

#[actix::test]
async fn a_task_whose_agent_goes_on_is_not_canceled() {
    let world = World::start();
    let (agent, mut plays, answer) = Asked::pair();
    let executor: Arc<dyn AgentExecutor> = agent;
    let mut feed = answered(world.stream(&executor)).await.unwrap();
    let id = id_of(&feed.next().await.unwrap());
    let play = plays.recv().await.unwrap();
    let canceled = world.cancel(id);
    answer.send(CancelAnswer::GoesOn).unwrap();
    assert_eq!(answered(canceled).await, Err(TaskError::NotCancelable));
    assert!(!play.turn.canceled.is_cancelled());
    play.tell(piece("a")).await.unwrap();
    play.end(Ok(()));
    quiet().await;
    let task = answered(world.read(id)).await.unwrap();
    assert_eq!(short(&task), Short(TaskState::Completed, 1, 1));
}

#[actix::test]
async fn a_task_that_ends_while_its_agent_is_asked_has_ended_that_way() {
    for (told, expected) in [
        (TaskState::Completed, Err(TaskError::NotCancelable)),
        (TaskState::Canceled, Ok(Short(TaskState::Canceled, 1, 0))),
    ] {
        let world = World::start();
        let (agent, mut plays, answer) = Asked::pair();
        let executor: Arc<dyn AgentExecutor> = agent;
        let mut feed = answered(world.stream(&executor)).await.unwrap();
        let id = id_of(&feed.next().await.unwrap());
        let play = plays.recv().await.unwrap();
        let canceled = world.cancel(id);
        play.tell(status(told)).await.unwrap();
        quiet().await;
        answer.send(CancelAnswer::Stops).unwrap();
        let canceled = answered(canceled).await.map(|task| short(&task));
        assert_eq!(canceled, expected);
        tokio::time::resume();
    }
}

#[actix::test]
async fn an_agent_that_does_not_say_whether_it_stops_is_not_waited_for() {
    let world = World::start();
    let (agent, mut plays, answer) = Asked::pair();
    let executor: Arc<dyn AgentExecutor> = agent;
    let mut feed = answered(world.stream(&executor)).await.unwrap();
    let id = id_of(&feed.next().await.unwrap());
    let _play = plays.recv().await.unwrap();
    let task = answered(world.cancel(id)).await.unwrap();
    assert_eq!(short(&task), Short(TaskState::Canceled, 1, 0));
    drop(answer);
}

#[actix::test]
async fn the_agent_of_a_task_that_waits_for_the_client_is_asked_too() {
    let world = World::start();
    let id = world.interrupted().await;
    quiet().await;
    let (agent, _plays, answer) = Asked::pair();
    *world.executor.lock() = Some(agent.clone());
    answer.send(CancelAnswer::GoesOn).unwrap();
    let canceled = answered(world.cancel(id)).await;
    assert_eq!(canceled, Err(TaskError::NotCancelable));
    assert_eq!(agent.memory.lock().len(), 1);
    quiet().await;
    assert_eq!((world.live(), world.actors()), (0, 0));
}

#[actix::test]
async fn an_agent_that_asked_for_authorization_may_go_on_by_itself() {
    let world = World::start();
    let (puppet, mut plays) = Puppet::pair();
    let waits = world.send(&puppet);
    let play = plays.recv().await.unwrap();
    play.tell(status(TaskState::AuthRequired)).await.unwrap();
    let task = answered(waits).await.unwrap();
    assert_eq!(short(&task), Short(TaskState::AuthRequired, 1, 0));
    let id: Uuid = task_of(&task).id.parse().unwrap();
    let mut feed = answered(world.watch(id)).await.unwrap();
    play.tell(status(TaskState::Working)).await.unwrap();
    play.tell(piece("a")).await.unwrap();
    play.end(Ok(()));
    quiet().await;
    assert_eq!(
        events(&mut feed),
        [
            "task TASK_STATE_AUTH_REQUIRED",
            "statusUpdate TASK_STATE_WORKING",
            "artifactUpdate a",
            "statusUpdate TASK_STATE_COMPLETED",
        ]
    );
}

#[actix::test]
async fn who_asked_for_authorization_may_be_answered_or_given_up() {
    let world = World::start();
    let (puppet, mut plays) = Puppet::pair();
    let waits = world.send(&puppet);
    let first = plays.recv().await.unwrap();
    first.tell(status(TaskState::AuthRequired)).await.unwrap();
    let id: Uuid = task_of(&answered(waits).await.unwrap()).id.parse().unwrap();
    let answer = world.say(id, "the code is 7", &puppet);
    let second = plays.recv().await.unwrap();
    assert!(first.is_dropped());
    second.tell(status(TaskState::AuthRequired)).await.unwrap();
    let task = answered(answer).await.unwrap();
    assert_eq!(short(&task), Short(TaskState::AuthRequired, 2, 0));
    // Nobody comes: the agent is let go of, and the task still waits.
    pass(LIMITS.turn + Duration::from_secs(1)).await;
    assert!(second.is_dropped());
    assert_eq!((world.live(), world.actors()), (0, 0));
    let task = answered(world.say(id, "here it is", &tells(1)))
        .await
        .unwrap();
    assert_eq!(short(&task), Short(TaskState::Completed, 3, 1));
}

#[actix::test]
async fn a_task_that_takes_too_long_fails_at_work_and_at_the_next_message() {
    let world = World::start();
    let id = world.interrupted().await;
    world.clock.advance(LIMITS.task - Duration::from_secs(5));
    let (puppet, mut plays) = Puppet::pair();
    let waits = world.say(id, "more", &puppet);
    let play = plays.recv().await.unwrap();
    pass(Duration::from_secs(6)).await;
    let task = answered(waits).await.unwrap();
    assert_eq!(reason(&task), "the task took longer than a task may");
    assert!(play.turn.canceled.is_cancelled());

    let id = world.interrupted().await;
    world.clock.advance(LIMITS.task);
    let refused = answered(world.say(id, "more", &tells(1))).await;
    assert_eq!(refused, Err(TurnRefusal::Ended.into()));
    let task = answered(world.read(id)).await.unwrap();
    assert_eq!(reason(&task), "the task took longer than a task may");
}

#[actix::test]
async fn what_live_tasks_hold_together_is_bounded() {
    let world = World::start();
    let large = "x".repeat(LIMITS.size - 1000);
    let waiting = world.interrupted().await;
    let mut plays = Vec::new();
    let bound = LIMITS.live_bytes / LIMITS.size;
    let (puppet, mut played) = Puppet::pair();
    // More than the hub opens at once: they are further messages.
    let mut ids = Vec::new();
    for _ in 0..bound {
        ids.push(world.interrupted().await);
        quiet().await;
    }
    for id in ids {
        let _waits = world.say(id, "more", &puppet);
        let play = played.recv().await.unwrap();
        let made = Artifact::new("a", "a", vec![Part::text(large.clone())]);
        play.tell(TurnEvent::artifact(made, false, false))
            .await
            .unwrap();
        quiet().await;
        plays.push(play);
    }
    assert!(world.metrics.live_bytes.value(()) > 8 << 20);
    assert_eq!(answered(world.send(&tells(1))).await, Err(TaskError::Busy));
    let refused = answered(world.say(waiting, "more", &tells(1))).await;
    assert_eq!(refused, Err(TaskError::Busy));
    for play in plays {
        play.end(Ok(()));
    }
    quiet().await;
    assert_eq!(world.metrics.live_bytes.value(()), 0);
    assert!(
        answered(world.say(waiting, "more", &tells(1)))
            .await
            .is_ok()
    );
}
