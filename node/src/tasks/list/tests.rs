//! What a page says, and which tokens are taken.

use archipel_protocol::a2a::{Artifact, Message, Part, TaskList, TaskState};
use archipel_protocol::object::Json;
use uuid::Uuid;

use super::*;
use crate::store::memory::MemoryStore;
use crate::store::{EventRow, Snapshot, TaskChange, TaskPlace};
use crate::tasks::executor::TurnEvent;
use crate::tasks::machine::Record;

const NOW: u64 = 1_767_225_600_000;

fn caller() -> TaskCaller {
    TaskCaller {
        owner: "alice".into(),
        agent: "echo".into(),
    }
}

fn asks() -> ListTasksParams {
    ListTasksParams {
        tenant: None,
        context_id: None,
        status: None,
        page_size: 50,
        page_token: None,
        history_length: None,
        status_timestamp_after: None,
        include_artifacts: false,
    }
}

/// A task that was told these events, kept after the first `kept` of them.
fn told(name: &str, at_ms: u64, events: Vec<TurnEvent>, kept: usize) -> (Record, TaskChange) {
    let hello = Message::from_agent("m1".to_owned(), "hello");
    let id = Uuid::new_v4();
    let mut record = Record::open(&id.to_string(), name, hello, at_ms);
    let mut snapshot = None;
    let mut rows = Vec::new();
    for (number, event) in events.into_iter().enumerate() {
        if number == kept {
            snapshot = Some(record.snapshot());
            rows.clear();
        }
        rows.extend(record.apply(event, at_ms).map(|event| EventRow {
            seq: event.seq,
            body: event.body,
        }));
    }
    let snapshot = snapshot.unwrap_or_else(|| {
        rows.clear();
        record.snapshot()
    });
    let state = record.task.status.state;
    let change = TaskChange {
        id,
        owner: "alice".into(),
        agent: "echo".into(),
        context_id: name.into(),
        state: state.number(),
        terminal: state.is_terminal(),
        updated_ms: at_ms,
        snapshot: Some(snapshot),
        events: rows,
        webhook: None,
        hold: None,
    };
    (record, change)
}

fn piece(text: &str) -> TurnEvent {
    TurnEvent::artifact(Artifact::new("a", "a", vec![Part::text(text)]), true, false)
}

fn asked(text: &str) -> TurnEvent {
    let message = Message::from_agent("m2".to_owned(), text);
    TurnEvent::status(TaskState::InputRequired, Some(message))
}

fn remembered() -> TurnEvent {
    TurnEvent::Remember(Json::read("{\"artifacts\":[]}").unwrap())
}

async fn list(store: &MemoryStore, params: &ListTasksParams) -> TaskList {
    let page = page(store, caller(), params).await.unwrap();
    TaskList::read(std::str::from_utf8(&page).unwrap()).unwrap()
}

#[tokio::test]
async fn an_empty_list_has_all_its_members() {
    let page = page(&MemoryStore::new(1), caller(), &asks()).await.unwrap();
    assert_eq!(
        page,
        r#"{"tasks":[],"nextPageToken":"","pageSize":50,"totalSize":0}"#
    );
}

#[tokio::test]
async fn a_task_is_shown_alike_however_it_was_kept() {
    for kept in 0..=4 {
        let events = vec![piece("one"), remembered(), piece("two"), asked("which?")];
        let (record, change) = told("c", NOW, events, kept);
        let store = MemoryStore::new(1);
        store.commit(change).await.unwrap();
        for include_artifacts in [false, true] {
            for history_length in [None, Some(0), Some(1), Some(9)] {
                let shown = list(
                    &store,
                    &ListTasksParams {
                        history_length,
                        include_artifacts,
                        ..asks()
                    },
                )
                .await;
                let mut expected = record.task.clone().with_history_limit(history_length);
                if !include_artifacts {
                    expected.artifacts.clear();
                }
                assert_eq!(shown.tasks, [expected], "kept after {kept}");
            }
        }
    }
}

#[tokio::test]
async fn a_task_kept_before_lists_were_served_is_shown_too() {
    let (mut record, mut change) = told("c", NOW, vec![piece("one")], 9);
    let old = [record.write().json().as_ref(), b"\n{\"k\":1}"].concat();
    change.snapshot = Some(Snapshot {
        seq: record.seq,
        head: old.into(),
        rest: Bytes::new(),
    });
    let store = MemoryStore::new(1);
    store.commit(change).await.unwrap();
    assert_eq!(list(&store, &asks()).await.tasks[0].artifacts, []);
    let whole = ListTasksParams {
        include_artifacts: true,
        ..asks()
    };
    assert_eq!(list(&store, &whole).await.tasks, [record.task]);
}

#[tokio::test]
async fn what_cannot_be_read_is_left_out() {
    let store = MemoryStore::new(3);
    for (name, head) in [("a", None), ("b", Some("{")), ("c", None)] {
        let (_, mut change) = told(name, NOW, vec![asked("?")], 9);
        if let Some(head) = head {
            change.snapshot.as_mut().unwrap().head = head.into();
        }
        store.commit(change).await.unwrap();
    }
    let page = list(&store, &asks()).await;
    assert_eq!((page.tasks.len(), page.total_size), (2, 3));
}

#[tokio::test]
async fn pages_follow_one_another_by_their_tokens() {
    let store = MemoryStore::new(9);
    for number in 0..5 {
        let (_, change) = told(&number.to_string(), NOW + number, vec![asked("?")], 9);
        store.commit(change).await.unwrap();
    }
    let mut params = ListTasksParams {
        page_size: 2,
        ..asks()
    };
    let mut contexts = Vec::new();
    loop {
        let page = list(&store, &params).await;
        assert_eq!((page.page_size, page.total_size), (2, 5));
        contexts.extend(page.tasks.into_iter().filter_map(|task| task.context_id));
        if page.next_page_token.is_empty() {
            break;
        }
        params.page_token = Some(page.next_page_token);
    }
    assert_eq!(contexts, ["4", "3", "2", "1", "0"]);
}

#[tokio::test]
async fn times_between_milliseconds_count() {
    let store = MemoryStore::new(1);
    let (_, change) = told("c", NOW, vec![asked("?")], 9);
    store.commit(change).await.unwrap();
    for (since, found) in [
        ("\"2026-01-01T00:00:00Z\"", 1),
        ("\"2026-01-01T01:00:00+01:00\"", 1),
        ("\"2026-01-01T00:00:00.000000001Z\"", 0),
        ("\"2025-12-31T23:59:59.999999999Z\"", 1),
        ("\"1960-01-01T00:00:00Z\"", 1),
    ] {
        let raw = serde_json::from_str(since).unwrap();
        let status_timestamp_after = Some(Timestamp::parse(raw).unwrap());
        let params = ListTasksParams {
            status_timestamp_after,
            ..asks()
        };
        assert_eq!(list(&store, &params).await.total_size, found, "{since}");
    }
}

#[tokio::test]
async fn a_token_is_good_for_its_list_only() {
    let first = query(caller(), &asks()).unwrap();
    let place = TaskPlace {
        updated_ms: NOW,
        tie: 7 << 70,
    };
    let good = token::write(&first, place);
    assert_eq!(token::read(&first, &good), Some(place));
    let on = |change: fn(&mut TaskQuery)| {
        let mut other = first.clone();
        change(&mut other);
        token::read(&other, &good)
    };
    assert_eq!(on(|query| query.limit = 3), Some(place));
    assert_eq!(on(|query| query.whole = true), Some(place));
    let others: [fn(&mut TaskQuery); 6] = [
        |query| query.owner = "bob".into(),
        |query| query.agent = "ech".into(),
        |query| query.context_id = Some("".into()),
        |query| query.state = Some(1),
        |query| query.updated_from_ms = Some(0),
        |query| query.updated_from_ms = Some(1),
    ];
    for other in others {
        assert_eq!(on(other), None);
    }
    for position in 0..good.len() {
        let mut bad = good.clone().into_bytes();
        bad[position] = if bad[position] == b'0' { b'1' } else { b'0' };
        let bad = String::from_utf8(bad).unwrap();
        let params = ListTasksParams {
            page_token: Some(bad),
            ..asks()
        };
        let refused = page(&MemoryStore::new(1), caller(), &params).await;
        assert_eq!(refused, Err(TaskError::WrongPageToken));
    }
    for bad in ["", "1", "x", &good[2..], &format!("{good}00"), "é"] {
        assert_eq!(token::read(&first, bad), None, "{bad}");
    }
}
