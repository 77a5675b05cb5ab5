//! Whether a first message opens a task.

use archipel_protocol::error::ErrorCode;

use super::*;

fn alone() -> TurnEvent {
    let mut answer = Message::from_agent("a".to_owned(), "alone");
    answer.task_id = Some("theirs".to_owned());
    TurnEvent::Answer(answer)
}

/// Answers without a task, after a moment.
fn answers_alone() -> Arc<dyn AgentExecutor> {
    may(|_, events| async move {
        tokio::task::yield_now().await;
        Ok(events.tell(alone()).await?)
    })
}

fn text(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap()
}

async fn nothing_is_left(world: &World) {
    quiet().await;
    let left = (world.store.commits(), world.live(), world.actors());
    assert_eq!(left, (0, 0, 0));
}

#[actix::test]
async fn an_answer_without_a_task_leaves_none() {
    let world = World::start();
    let sent = answered(world.send(&answers_alone())).await.unwrap();
    let Sent::Message(message) = sent else {
        panic!("a task: {sent:?}")
    };
    let message = text(&message);
    assert_eq!(message["parts"][0]["text"], "alone");
    assert_eq!(message.get("taskId"), None);
    nothing_is_left(&world).await;
}

#[actix::test]
async fn a_stream_of_an_answer_without_a_task_is_that_answer() {
    let world = World::start();
    let mut feed = answered(world.stream(&answers_alone())).await.unwrap();
    let only = feed.next().await.unwrap();
    assert_eq!(text(&only.body)["message"]["messageId"], "a");
    assert_eq!(feed.next().await, Err(FeedEnd::Over));
    nothing_is_left(&world).await;
}

#[actix::test]
async fn who_wants_to_hear_at_once_gets_a_task_and_so_does_a_further_message() {
    let world = World::start();
    let (reply, answer) = Reply::pair();
    let opened = TurnAnswer::Opened {
        history: None,
        reply,
    };
    world.open(&answers_alone(), opened);
    let task = answered(answer).await.unwrap();
    assert_eq!(task_of(&task).status.state, TaskState::Submitted);
    let id: Uuid = task_of(&task).id.parse().unwrap();
    quiet().await;
    let task = answered(world.read(id)).await.unwrap();
    assert_eq!(
        (short(&task), reason(&task)),
        (Short(TaskState::Completed, 1, 0), "alone".to_owned())
    );

    let id = world.interrupted().await;
    let task = answered(world.say(id, "more", &answers_alone()))
        .await
        .unwrap();
    assert_eq!(reason(&task), "alone");
}

#[actix::test]
async fn a_refused_message_opens_no_task() {
    for (number, expected) in [
        (-32602, Some(ErrorCode::InvalidParams)),
        (-32004, Some(ErrorCode::UnsupportedOperation)),
        (-32005, Some(ErrorCode::ContentTypeNotSupported)),
        (-32603, None),
        (500, None),
    ] {
        let world = World::start();
        let refuses = may(move |_, _| async move {
            tokio::task::yield_now().await;
            Err(ExecutorFailure::Refused(number))
        });
        match (answered(world.send(&refuses)).await, expected) {
            (Err(error), Some(code)) => {
                assert_eq!(error.told(None).code, code);
                nothing_is_left(&world).await;
            }
            (Ok(task), None) => assert_eq!(task_of(&task).status.state, TaskState::Failed),
            (other, _) => panic!("{number}: {other:?}"),
        }
        tokio::time::resume();
    }
}

#[actix::test]
async fn nothing_is_kept_before_the_first_event() {
    let world = World::start();
    let (tell, told) = oneshot::channel::<()>();
    let told = Mutex::new(Some(told));
    let slow = may(move |_, events| {
        let told = told.lock().take().unwrap();
        async move {
            told.await.ok();
            events.tell(piece("a")).await?;
            events.tell(alone()).await?;
            Ok(())
        }
    });
    let answer = world.send(&slow);
    quiet().await;
    assert_eq!((world.store.commits(), world.live()), (0, 1));
    tell.send(()).unwrap();
    let task = answered(answer).await.unwrap();
    assert_eq!(short(&task), Short(TaskState::Completed, 1, 1));
}

#[actix::test]
async fn a_stream_does_not_wait_long_for_an_agent() {
    let world = World::start();
    let (tell, told) = oneshot::channel::<()>();
    let told = Mutex::new(Some(told));
    let slow = may(move |_, events| {
        let told = told.lock().take().unwrap();
        async move {
            told.await.ok();
            Ok(events.tell(alone()).await?)
        }
    });
    let mut feed = answered(world.stream(&slow)).await.unwrap();
    quiet().await;
    let opened = [
        "task TASK_STATE_SUBMITTED",
        "statusUpdate TASK_STATE_WORKING",
    ];
    assert_eq!(events(&mut feed), opened);
    tell.send(()).unwrap();
    quiet().await;
    assert_eq!(events(&mut feed), ["statusUpdate TASK_STATE_COMPLETED"]);
    assert_eq!((world.live(), world.actors()), (0, 0));
}

#[actix::test]
async fn an_agent_that_says_nothing_fails_its_task_in_time() {
    let world = World::start();
    let silent = may(|turn, _| async move {
        turn.canceled.cancelled().await;
        Err(ExecutorFailure::Ended)
    });
    let answer = world.send(&silent);
    pass(LIMITS.turn + Duration::from_secs(1)).await;
    let task = answered(answer).await.unwrap();
    assert_eq!(reason(&task), "the agent took longer than one turn may");
}
