//! What the reader tells, and when it stops.

use archipel_protocol::a2a::Role;
use archipel_protocol::object::Extra;
use tokio::sync::mpsc::Receiver;

use super::*;

/// Long enough to be read on a blocking thread.
const LONG: usize = READ_IN_PLACE + 1;

fn turn(text: &str) -> Turn {
    let message = Message {
        message_id: "m".to_owned(),
        context_id: None,
        task_id: None,
        role: Role::User,
        parts: vec![Part::text(text)],
        metadata: None,
        extensions: Vec::new(),
        reference_task_ids: Vec::new(),
        extra: Extra::default(),
    };
    Turn {
        task_id: "t".into(),
        context_id: "c".into(),
        message,
        metadata: None,
        memory: None,
        accepted_output_modes: Vec::new(),
        extensions: None,
        task: None,
        traceparent: None,
        kept: None,
        canceled: CancellationToken::new(),
    }
}

/// The artifacts that were told so far, each piece by its name, and what the client is asked for.
fn told(events: &mut Receiver<TurnEvent>) -> Vec<String> {
    std::iter::from_fn(|| events.try_recv().ok())
        .map(|event| match event {
            TurnEvent::Artifact { artifact, .. } => artifact.artifact_id,
            other => format!("{other:?}"),
        })
        .collect()
}

async fn check(text: &str, expected: &[&str]) {
    let (events, mut received) = TurnEvents::channel();
    assert_eq!(read(turn(text), events).await, Ok(()));
    assert_eq!(told(&mut received), expected, "{} bytes", text.len());
}

#[actix::test]
async fn a_text_is_read_in_three_steps_short_or_long() {
    let steps = ["statistics", "key-terms", "summary"];
    check("One sentence about a mesh.", &steps).await;
    check(&"word ".repeat(LONG / 5 + 1), &steps).await;
}

#[actix::test]
async fn without_a_text_the_client_is_asked_for_one() {
    let (events, mut received) = TurnEvents::channel();
    assert_eq!(read(turn(" \n "), events).await, Ok(()));
    let asked = received.try_recv().unwrap();
    assert!(
        matches!(
            &asked,
            TurnEvent::Status { status, .. } if status.state == TaskState::InputRequired
        ),
        "{asked:?}"
    );
}

#[actix::test]
async fn nothing_is_read_of_a_canceled_task() {
    for text in ["short".to_owned(), "x".repeat(LONG)] {
        let turn = turn(&text);
        turn.canceled.cancel();
        let (events, mut received) = TurnEvents::channel();
        assert_eq!(read(turn, events).await, Err(ExecutorFailure::Ended));
        assert_eq!(told(&mut received), [""; 0]);
    }
}

#[actix::test]
async fn a_cancellation_ends_the_work_between_two_steps() {
    let turn = turn(&"A sentence of a long text. ".repeat(LONG));
    let canceled = turn.canceled.clone();
    let (events, mut received) = TurnEvents::channel();
    let reading = actix_rt::spawn(read(turn, events));
    assert!(received.recv().await.is_some(), "the statistics");
    canceled.cancel();
    assert_eq!(reading.await.unwrap(), Err(ExecutorFailure::Ended));
    assert_eq!(told(&mut received), [""; 0]);
}

#[actix::test]
async fn a_step_with_a_mistake_in_it_breaks_the_turn_only() {
    let given: Arc<str> = "x".repeat(LONG).into();
    let canceled = CancellationToken::new();
    let step = on(&given, &canceled, |given| {
        given.strip_prefix('y').unwrap().len()
    });
    assert_eq!(step.await, Err(ExecutorFailure::Broken));
}
