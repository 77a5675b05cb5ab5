//! Nothing is shown before it is kept, whatever the store does.

use super::*;
use crate::tasks::machine::{Record, TurnRefusal};

#[actix::test]
async fn nothing_is_shown_before_it_is_kept() {
    let world = World::on(ScriptedStore::new(0));
    let mut feed = world.stream(&tells(1));
    quiet().await;
    assert!(feed.try_recv().is_err());
    world.store.let_through(1);
    let mut feed = answered(feed).await.unwrap();
    quiet().await;
    assert_eq!(
        events(&mut feed),
        [
            "task TASK_STATE_SUBMITTED",
            "statusUpdate TASK_STATE_WORKING",
            "artifactUpdate a",
            "statusUpdate TASK_STATE_COMPLETED",
        ]
    );
}

#[actix::test]
async fn a_message_that_is_posted_goes_when_its_task_is_kept() {
    struct Posts(Mutex<Option<oneshot::Sender<()>>>);
    impl AgentExecutor for Posts {
        fn run(self: Arc<Self>, turn: Turn, events: TurnEvents) -> TurnFuture {
            async move {
                let memory = Json::read("1").unwrap();
                events.tell(TurnEvent::Remember(memory)).await?;
                turn.kept.unwrap().cancelled().await;
                self.0.lock().take().unwrap().send(()).unwrap();
                std::future::pending().await
            }
            .boxed_local()
        }

        fn is_posted(&self) -> bool {
            true
        }
    }
    let world = World::on(ScriptedStore::new(0));
    let (posted, mut goes) = oneshot::channel();
    let agent: Arc<dyn AgentExecutor> = Arc::new(Posts(Mutex::new(Some(posted))));
    let feed = world.stream(&agent);
    quiet().await;
    assert!(goes.try_recv().is_err());
    world.store.let_through(1);
    quiet().await;
    assert_eq!(goes.try_recv(), Ok(()));
    let id = id_of(&answered(feed).await.unwrap().next().await.unwrap());
    let kept = world.store.load(id).await.unwrap().unwrap();
    assert_eq!(Record::restore(&kept).unwrap().memory.unwrap().text(), "1");
}

#[actix::test]
async fn events_gather_while_a_commit_is_under_way() {
    let world = World::on(ScriptedStore::new(1));
    let (id, play, mut feed) = world.working().await;
    for name in ["a", "b", "c"] {
        play.tell(piece(name)).await.unwrap();
        quiet().await;
    }
    let mut read = world.read(id);
    quiet().await;
    assert!(read.try_recv().is_err(), "it would show what is not kept");
    assert_eq!((world.store.commits(), events(&mut feed).len()), (2, 0));
    world.store.let_through(2);
    let task = answered(read).await.unwrap();
    assert_eq!(short(&task), Short(TaskState::Working, 1, 3));
    assert_eq!(
        (world.store.commits(), events(&mut feed).len()),
        (3, 3),
        "two pieces were kept together"
    );
}

#[actix::test]
async fn a_task_that_was_refused_once_is_never_kept() {
    let world = World::start();
    world.store.refuse(StoreError::Full);
    let agent = does(|_, events| async move {
        events.tell(piece("a")).await?;
        // The second step comes after the refusal.
        tokio::task::yield_now().await;
        Ok(events.tell(piece("b")).await?)
    });
    let refused = answered(world.send(&agent)).await;
    assert_eq!(refused, Err(TaskError::NotKept(StoreError::Full)));
    quiet().await;
    assert_eq!(world.store.count().await, Ok(0));
    assert_eq!((world.live(), world.actors()), (0, 0));
}

#[actix::test]
async fn a_refused_change_is_tried_again_and_shown_then() {
    let world = World::start();
    let (id, play, mut feed) = world.working().await;
    world.store.refuse(StoreError::Unavailable);
    play.tell(piece("a")).await.unwrap();
    quiet().await;
    assert_eq!(events(&mut feed), [""; 0]);
    pass(Duration::from_secs(1)).await;
    assert_eq!(events(&mut feed), ["artifactUpdate a"]);
    play.end(Ok(()));
    quiet().await;
    let task = answered(world.read(id)).await.unwrap();
    assert_eq!(short(&task), Short(TaskState::Completed, 1, 1));
}

#[actix::test]
async fn a_store_that_refused_is_left_alone_for_a_while() {
    let world = World::start();
    let (_, play, mut feed) = world.working().await;
    for _ in 0..3 {
        world.store.refuse(StoreError::Unavailable);
    }
    for _ in 0..5 {
        play.tell(piece("a")).await.unwrap();
        quiet().await;
    }
    assert_eq!(
        world.store.commits(),
        2,
        "the task's first and the refused one"
    );
    pass(Duration::from_secs(10)).await;
    assert_eq!((world.store.commits(), events(&mut feed).len()), (5, 5));
}

#[actix::test]
async fn a_cancellation_that_is_not_kept_is_not_acknowledged() {
    let world = World::start();
    let (id, play, mut feed) = world.working().await;
    world.store.refuse(StoreError::ReadOnly);
    let canceled = answered(world.cancel(id)).await;
    assert_eq!(canceled, Err(TaskError::NotKept(StoreError::ReadOnly)));
    assert!(play.turn.canceled.is_cancelled());
    assert_eq!(events(&mut feed), [""; 0]);
    let task = answered(world.read(id)).await.unwrap();
    assert_eq!(short(&task), Short(TaskState::Canceled, 1, 0));
}

#[actix::test]
async fn that_a_task_has_ended_is_told_only_when_it_is_kept() {
    let world = World::on(ScriptedStore::new(1));
    let (id, play, _feed) = world.working().await;
    play.end(Ok(()));
    quiet().await;
    world.store.refuse(StoreError::Unavailable);
    let (canceled, watched) = (world.cancel(id), world.watch(id));
    quiet().await;
    world.store.let_through(1);
    let not_kept = TaskError::NotKept(StoreError::Unavailable);
    assert_eq!(answered(canceled).await, Err(not_kept.clone()));
    assert_eq!(answered(watched).await.unwrap_err(), not_kept);
    let (canceled, watched) = (world.cancel(id), world.watch(id));
    world.store.let_through(1);
    assert_eq!(answered(canceled).await, Err(TaskError::NotCancelable));
    let ended = TurnRefusal::Ended.into();
    assert_eq!(answered(watched).await.unwrap_err(), ended);
}

#[actix::test]
async fn a_task_that_contradicts_the_store_is_loaded_anew() {
    let world = World::start();
    let (id, play, mut feed) = world.working().await;
    world.store.refuse(StoreError::Corrupt("rows".into()));
    play.tell(piece("a")).await.unwrap();
    quiet().await;
    assert!(play.is_dropped());
    assert_eq!(feed.next().await, Err(FeedEnd::Lost));
    assert_eq!((world.live(), world.actors()), (0, 0));
    let task = answered(world.read(id)).await.unwrap();
    assert_eq!(short(&task), Short(TaskState::Failed, 1, 0));
}

#[actix::test]
async fn what_was_kept_in_pieces_comes_back_whole() {
    let world = World::start();
    let (id, play, feed) = world.working().await;
    for _ in 0..200 {
        play.tell(piece("a")).await.unwrap();
    }
    play.tell(status(TaskState::InputRequired)).await.unwrap();
    drop(feed);
    quiet().await;
    pass(Duration::from_secs(60)).await;
    assert_eq!(world.live(), 0);
    let task = answered(world.read(id)).await.unwrap();
    assert_eq!(short(&task), Short(TaskState::InputRequired, 1, 200));
    assert_eq!(world.store.loads(), 1);
}
