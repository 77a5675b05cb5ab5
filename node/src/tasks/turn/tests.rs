//! What a running turn yields, poll by poll.

use archipel_protocol::a2a::{Message, Part, Role, TaskState};
use archipel_protocol::object::Extra;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::*;

/// Runs a closure.
struct Does<F>(F);

impl<F> AgentExecutor for Does<F>
where
    F: Fn(TurnEvents) -> TurnFuture + Send + Sync,
{
    fn run(self: Arc<Self>, _: Turn, events: TurnEvents) -> TurnFuture {
        (self.0)(events)
    }
}

fn steps<F, R>(run: F) -> TurnSteps
where
    F: Fn(TurnEvents) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), ExecutorFailure>> + 'static,
{
    let message = Message {
        message_id: "m".to_owned(),
        context_id: None,
        task_id: None,
        role: Role::User,
        parts: vec![Part::text("hello")],
        metadata: None,
        extensions: Vec::new(),
        reference_task_ids: Vec::new(),
        extra: Extra::default(),
    };
    let turn = Turn {
        task_id: "t".into(),
        context_id: "c".into(),
        message,
        metadata: None,
        memory: None,
        traceparent: None,
        accepted_output_modes: Vec::new(),
        extensions: None,
        task: None,
        kept: None,
        canceled: CancellationToken::new(),
    };
    let executor = Does(move |events| run(events).boxed_local());
    TurnSteps::run(Arc::new(executor), turn)
}

fn working() -> TurnEvent {
    TurnEvent::status(TaskState::Working, None)
}

/// How many events each step has, and how the last one ends.
async fn collect(mut steps: TurnSteps) -> (Vec<usize>, Option<Result<(), ExecutorFailure>>) {
    let (mut told, mut last) = (Vec::new(), None);
    while let Some(step) = steps.next().await {
        told.push(step.told.len());
        last = step.outcome;
    }
    (told, last)
}

#[tokio::test]
async fn an_agent_that_answers_at_once_is_one_step() {
    let quick = steps(|events| async move {
        events.tell(working()).await?;
        Ok(events.tell(working()).await?)
    });
    assert_eq!(collect(quick).await, (vec![2], Some(Ok(()))));
    let silent = steps(|_| async { Err(ExecutorFailure::Lost) });
    assert_eq!(
        collect(silent).await,
        (vec![0], Some(Err(ExecutorFailure::Lost)))
    );
}

#[tokio::test]
async fn an_agent_that_needs_time_begins_with_an_empty_step() {
    let slow = steps(|events| async move {
        tokio::task::yield_now().await;
        Ok(events.tell(working()).await?)
    });
    assert_eq!(collect(slow).await, (vec![0, 1], Some(Ok(()))));
}

#[tokio::test]
async fn the_last_words_of_a_busy_executor_are_not_lost() {
    // Whatever it waits for on the way uses up what tokio lets one task do at a time.
    let busy = steps(|events| async move {
        for _ in 0..60 {
            let (sender, receiver) = oneshot::channel();
            sender.send(()).ok();
            receiver.await.ok();
        }
        for _ in 0..60 {
            events.tell(working()).await?;
        }
        Ok(())
    });
    let (told, outcome) = collect(busy).await;
    assert_eq!((told.iter().sum::<usize>(), outcome), (60, Some(Ok(()))));
}

#[tokio::test]
async fn what_is_told_from_elsewhere_wakes_the_turn() {
    let split = steps(|events| async move {
        let (done, finished) = oneshot::channel();
        let teller = async move {
            tokio::task::yield_now().await;
            events.tell(working()).await.ok();
            done.send(()).ok();
        };
        #[expect(clippy::disallowed_methods, reason = "this test runs outside actix")]
        tokio::spawn(teller);
        finished.await.map_err(|_| ExecutorFailure::Lost)
    });
    let (told, outcome) = collect(split).await;
    assert_eq!((told.iter().sum::<usize>(), outcome), (1, Some(Ok(()))));
}

#[tokio::test]
async fn a_panic_ends_the_turn_after_what_was_told() {
    let broken = steps(|events| async move {
        events.tell(working()).await?;
        panic!("an executor with a mistake in it");
    });
    assert_eq!(
        collect(broken).await,
        (vec![1], Some(Err(ExecutorFailure::Broken)))
    );
}
