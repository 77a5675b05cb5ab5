//! Which tasks fail when a node starts, and how.

use archipel_kit::clock::ManualClock;
use archipel_protocol::a2a::{Message, TaskState};
use bytes::Bytes;

use super::*;
use crate::store::memory::MemoryStore;
use crate::tasks::executor::TurnEvent;

const NOW_MS: u64 = 1_767_225_600_000;

/// Keeps a task in `state`; its id.
async fn kept(store: &MemoryStore, state: TaskState) -> Uuid {
    let id = Uuid::new_v4();
    let hello = Message::from_agent("m".to_owned(), "hello");
    let mut record = Record::open(&id.to_string(), "c", hello, NOW_MS);
    if state != TaskState::Submitted {
        let told = TurnEvent::status(state, None);
        record.apply(told, NOW_MS).unwrap();
    }
    keep(store, id, state, record.snapshot()).await;
    id
}

async fn keep(store: &MemoryStore, id: Uuid, state: TaskState, snapshot: crate::store::Snapshot) {
    let change = TaskChange {
        id,
        owner: "o".into(),
        agent: "a".into(),
        context_id: "c".into(),
        state: state.number(),
        terminal: state.is_terminal(),
        updated_ms: NOW_MS,
        snapshot: Some(snapshot),
        events: Vec::new(),
        webhook: None,
        hold: None,
    };
    store.commit(change).await.unwrap();
}

async fn recover(store: &MemoryStore) -> u64 {
    let clock = ManualClock::new(NOW_MS + 1);
    fail_interrupted_turns(store, &clock).await.unwrap()
}

#[tokio::test]
async fn what_was_worked_on_fails_and_nothing_else() {
    use TaskState::{AuthRequired, Canceled, Completed, InputRequired, Submitted, Working};
    for (state, fails) in [
        (Submitted, true),
        (Working, true),
        (InputRequired, false),
        (AuthRequired, false),
        (Completed, false),
        (Canceled, false),
    ] {
        let store = MemoryStore::new(10);
        let id = kept(&store, state).await;
        assert_eq!(recover(&store).await, u64::from(fails), "{state:?}");
        let stored = store.load(id).await.unwrap().unwrap();
        let record = Record::restore(&stored).unwrap();
        let expected = if fails { TaskState::Failed } else { state };
        assert_eq!(record.task.status.state, expected);
        assert_eq!(stored.state, expected.number());
        if fails {
            let said = record.task.status.message.unwrap().joined_text();
            assert_eq!(said, REASON);
            assert_eq!(stored.updated_ms, NOW_MS + 1);
        }
        assert_eq!(recover(&store).await, 0, "once is enough");
    }
}

#[tokio::test]
async fn more_than_a_page_of_tasks_is_recovered_around_one_that_cannot_be_read() {
    let store = MemoryStore::new(10);
    for _ in 0..=PAGE {
        kept(&store, TaskState::Working).await;
        kept(&store, TaskState::InputRequired).await;
    }
    let unreadable = crate::store::Snapshot {
        seq: 1,
        head: "{".into(),
        rest: Bytes::new(),
    };
    keep(&store, Uuid::new_v4(), TaskState::Working, unreadable).await;
    assert_eq!(recover(&store).await, PAGE as u64 + 1);
}
