//! What a page shows, in which order, and what it counts.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::{KEEP_ALL, MemoryStore, Store, embedded_in, events, fresh_store, task};
use crate::store::{PAGE_BYTES, Retention, Snapshot, TaskChange, TaskPage, TaskQuery};

contract!(
    the_last_change_comes_first,
    tasks_of_one_millisecond_keep_their_order,
    each_condition_narrows_the_list,
    nobody_sees_the_tasks_of_others,
    a_task_that_opened_its_conversation_is_found_in_it,
    a_task_that_opened_its_conversation_keeps_its_place,
    pages_follow_one_another,
    pages_are_not_moved_by_what_comes_in_between,
    a_place_that_is_gone_is_still_a_place,
    a_page_holds_the_rest_only_if_asked,
    a_page_holds_the_events_after_the_snapshot,
    a_page_ends_when_it_is_heavy,
    what_was_forgotten_is_not_counted,
    a_task_that_changes_hands_is_counted_once,
);

fn all() -> TaskQuery {
    TaskQuery {
        owner: Arc::from("alice"),
        agent: Arc::from("echo"),
        context_id: None,
        state: None,
        updated_from_ms: None,
        after: None,
        limit: 10,
        whole: true,
    }
}

/// Task `number`, named by its head.
fn named(number: u128, state: u8, updated_ms: u64) -> TaskChange {
    TaskChange {
        state,
        terminal: state == 3,
        snapshot: Some(Snapshot {
            seq: 0,
            head: Bytes::from(number.to_string()),
            rest: Bytes::from_static(b"rest"),
        }),
        ..task(number, false, updated_ms)
    }
}

fn names(page: &TaskPage) -> Vec<String> {
    let heads = page.tasks.iter().map(|task| &task.snapshot.head);
    heads
        .map(|head| String::from_utf8(head.to_vec()).unwrap())
        .collect()
}

/// The query finds these, and says that there are so many.
async fn check(store: &impl Store, query: TaskQuery, expected: &[&str]) {
    let page = store.list(query).await.unwrap();
    assert_eq!(names(&page), expected);
    assert_eq!(page.total, expected.len() as u64);
    assert_eq!(page.next, None);
}

async fn the_last_change_comes_first(store: &impl Store) {
    for (number, updated_ms) in [(1, 20), (2, 40), (3, 10), (4, 30)] {
        store.commit(named(number, 1, updated_ms)).await.unwrap();
    }
    check(store, all(), &["2", "4", "1", "3"]).await;
    store.commit(named(3, 3, 50)).await.unwrap();
    check(store, all(), &["3", "2", "4", "1"]).await;
}

async fn tasks_of_one_millisecond_keep_their_order(store: &impl Store) {
    for number in 1..=9 {
        let state = [1, 3, 6][usize::try_from(number % 3).unwrap()];
        store.commit(named(number, state, 10)).await.unwrap();
    }
    let expected = ["9", "8", "7", "6", "5", "4", "3", "2", "1"];
    check(store, all(), &expected).await;
    for limit in 1..=4 {
        let mut query = TaskQuery { limit, ..all() };
        let mut found = Vec::new();
        loop {
            let page = store.list(query.clone()).await.unwrap();
            found.extend(names(&page));
            query.after = page.next;
            if page.next.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "{limit} on a page");
    }
}

async fn each_condition_narrows_the_list(store: &impl Store) {
    for (number, context_id, state, updated_ms) in [
        (1, "a", 3, 10),
        (2, "b", 3, 20),
        (3, "a", 6, 30),
        (4, "a", 3, 40),
        (5, "b", 6, 50),
    ] {
        let context_id = Arc::from(context_id);
        let change = named(number, state, updated_ms);
        let change = TaskChange {
            context_id,
            ..change
        };
        store.commit(change).await.unwrap();
    }
    let query = |context_id: Option<&str>, state, updated_from_ms| TaskQuery {
        context_id: context_id.map(Arc::from),
        state,
        updated_from_ms,
        ..all()
    };
    for (wanted, expected) in [
        (query(Some("a"), None, None), &["4", "3", "1"][..]),
        (query(Some("c"), None, None), &[]),
        (query(None, Some(6), None), &["5", "3"]),
        (query(None, Some(1), None), &[]),
        (query(None, Some(200), None), &[]),
        (query(None, None, Some(30)), &["5", "4", "3"]),
        (query(None, None, Some(0)), &["5", "4", "3", "2", "1"]),
        (query(None, None, Some(51)), &[]),
        (query(None, None, Some(u64::MAX)), &[]),
        (query(Some("a"), Some(3), None), &["4", "1"]),
        (query(Some("a"), Some(3), Some(11)), &["4"]),
        (query(None, Some(3), Some(20)), &["4", "2"]),
    ] {
        check(store, wanted, expected).await;
    }
}

async fn nobody_sees_the_tasks_of_others(store: &impl Store) {
    for (number, owner, agent) in [
        (1, "alice", "echo"),
        (2, "alice", "text"),
        (3, "bob", "echo"),
        (4, "aliceecho", ""),
    ] {
        let change = TaskChange {
            owner: Arc::from(owner),
            agent: Arc::from(agent),
            ..named(number, 1, 10)
        };
        store.commit(change).await.unwrap();
    }
    check(store, all(), &["1"]).await;
    let in_context = TaskQuery {
        context_id: Some(Arc::from("context-1")),
        ..all()
    };
    check(store, in_context.clone(), &["1"]).await;
    let of_bob = TaskQuery {
        owner: Arc::from("bob"),
        ..in_context
    };
    check(store, of_bob, &["3"]).await;
    let of_nobody = TaskQuery {
        owner: Arc::from("Alice"),
        ..all()
    };
    check(store, of_nobody, &[]).await;
}

/// Three tasks of a conversation that the second one opened; what asks for them.
async fn conversation(store: &impl Store) -> TaskQuery {
    let context_id: Arc<str> = Uuid::from_u128(7).to_string().into();
    for (number, state, updated_ms) in [(5, 3, 10), (7, 6, 20), (9, 3, 30)] {
        let context_id = context_id.clone();
        let change = named(number, state, updated_ms);
        let change = TaskChange {
            context_id,
            ..change
        };
        store.commit(change).await.unwrap();
    }
    TaskQuery {
        context_id: Some(context_id),
        ..all()
    }
}

async fn a_task_that_opened_its_conversation_is_found_in_it(store: &impl Store) {
    let query = conversation(store).await;
    let loaded = store.load(Uuid::from_u128(7)).await.unwrap().unwrap();
    assert_eq!(Some(loaded.context_id), query.context_id);
    check(store, query.clone(), &["9", "7", "5"]).await;
    for (state, updated_from_ms, owner, expected) in [
        (Some(6), None, "alice", &["7"][..]),
        (Some(3), None, "alice", &["9", "5"]),
        (None, Some(20), "alice", &["9", "7"]),
        (None, Some(21), "alice", &["9"]),
        (None, None, "bob", &[]),
    ] {
        let query = TaskQuery {
            state,
            updated_from_ms,
            owner: owner.into(),
            ..query.clone()
        };
        check(store, query, expected).await;
    }
}

async fn a_task_that_opened_its_conversation_keeps_its_place(store: &impl Store) {
    let mut query = TaskQuery {
        limit: 1,
        ..conversation(store).await
    };
    let mut found = Vec::new();
    for _ in 0..3 {
        let page = store.list(query.clone()).await.unwrap();
        found.extend(names(&page));
        assert_eq!(page.total, 3);
        query.after = page.next;
    }
    assert_eq!((found, query.after), (strings(&["9", "7", "5"]), None));
    let context_id = query.context_id.clone().unwrap();
    let moved = TaskChange {
        context_id,
        ..named(7, 3, 40)
    };
    store.commit(moved).await.unwrap();
    assert_eq!(names(&store.list(query).await.unwrap()), ["7"]);
}

async fn pages_follow_one_another(store: &impl Store) {
    for number in 1..=7 {
        let updated_ms = u64::try_from(number).unwrap() / 2;
        store.commit(named(number, 3, updated_ms)).await.unwrap();
    }
    let query = TaskQuery { limit: 3, ..all() };
    let first = store.list(query.clone()).await.unwrap();
    assert_eq!((names(&first), first.total), (strings(&["7", "6", "5"]), 7));
    let after = first.next;
    let second = store
        .list(TaskQuery {
            after,
            ..query.clone()
        })
        .await
        .unwrap();
    assert_eq!(
        (names(&second), second.total),
        (strings(&["4", "3", "2"]), 7)
    );
    let after = second.next;
    let third = store
        .list(TaskQuery {
            after,
            ..query.clone()
        })
        .await
        .unwrap();
    assert_eq!((names(&third), third.total), (strings(&["1"]), 7));
    assert_eq!(third.next, None);
    let exact = store.list(TaskQuery { limit: 7, ..query }).await.unwrap();
    assert_eq!((exact.tasks.len(), exact.next), (7, None));
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

async fn pages_are_not_moved_by_what_comes_in_between(store: &impl Store) {
    for number in 1..=6 {
        let updated_ms = 10 * u64::try_from(number).unwrap();
        store.commit(named(number, 1, updated_ms)).await.unwrap();
    }
    let query = TaskQuery { limit: 2, ..all() };
    let first = store.list(query.clone()).await.unwrap();
    assert_eq!(names(&first), ["6", "5"]);
    // A new task, one from the first page and one from a later page that move to the front.
    store.commit(named(7, 1, 70)).await.unwrap();
    store.commit(named(6, 3, 80)).await.unwrap();
    store.commit(named(3, 3, 90)).await.unwrap();
    let after = first.next;
    let second = store
        .list(TaskQuery {
            after,
            ..query.clone()
        })
        .await
        .unwrap();
    assert_eq!(names(&second), ["4", "2"]);
    let after = second.next;
    let third = store.list(TaskQuery { after, ..query }).await.unwrap();
    assert_eq!((names(&third), third.next), (strings(&["1"]), None));
}

async fn a_place_that_is_gone_is_still_a_place(store: &impl Store) {
    for number in 1..=4 {
        let updated_ms = 10 * u64::try_from(number).unwrap();
        store.commit(named(number, 3, updated_ms)).await.unwrap();
    }
    let query = TaskQuery { limit: 2, ..all() };
    let first = store.list(query.clone()).await.unwrap();
    let purged = Retention {
        keep_count: 0,
        ..KEEP_ALL
    };
    assert_eq!(store.purge(purged, 100, 1).await, Ok(1));
    store.commit(named(3, 3, 50)).await.unwrap();
    let after = first.next;
    let second = store.list(TaskQuery { after, ..query }).await.unwrap();
    assert_eq!((names(&second), second.total), (strings(&["2"]), 3));
}

async fn a_page_holds_the_rest_only_if_asked(store: &impl Store) {
    store.commit(named(1, 1, 10)).await.unwrap();
    for (whole, rest) in [(true, "rest"), (false, "")] {
        let page = store.list(TaskQuery { whole, ..all() }).await.unwrap();
        assert_eq!(page.tasks[0].snapshot.rest, rest);
    }
}

async fn a_page_holds_the_events_after_the_snapshot(store: &impl Store) {
    let mut change = named(1, 1, 10);
    change.snapshot.as_mut().unwrap().seq = 2;
    change.events = events(1..=4);
    store.commit(change).await.unwrap();
    let page = store.list(all()).await.unwrap();
    assert_eq!(page.tasks[0].events, events(3..=4));
    let loaded = store.load(Uuid::from_u128(1)).await.unwrap();
    assert_eq!(Some(&page.tasks[0]), loaded.as_ref());
}

async fn a_page_ends_when_it_is_heavy(store: &impl Store) {
    for number in 1..=4 {
        let mut change = named(number, 3, 10);
        change.snapshot.as_mut().unwrap().rest = vec![b'x'; PAGE_BYTES / 2].into();
        store.commit(change).await.unwrap();
    }
    let first = store.list(all()).await.unwrap();
    assert_eq!((names(&first), first.total), (strings(&["4", "3"]), 4));
    let after = first.next;
    let second = store.list(TaskQuery { after, ..all() }).await.unwrap();
    assert_eq!(names(&second), ["2", "1"]);
    let light = TaskQuery {
        whole: false,
        ..all()
    };
    assert_eq!(
        names(&store.list(light).await.unwrap()),
        ["4", "3", "2", "1"]
    );
}

async fn what_was_forgotten_is_not_counted(store: &impl Store) {
    for number in 1..=5 {
        store.commit(named(number, 3, 10)).await.unwrap();
    }
    store.commit(named(6, 1, 10)).await.unwrap();
    let purged = Retention {
        keep_count: 2,
        ..KEEP_ALL
    };
    assert_eq!(store.purge(purged, 100, 10).await, Ok(3));
    let page = store.list(all()).await.unwrap();
    assert_eq!((page.tasks.len(), page.total), (3, 3));
    let in_context = TaskQuery {
        context_id: Some(Arc::from("context-1")),
        state: Some(3),
        ..all()
    };
    assert_eq!(store.list(in_context).await.unwrap().total, 2);
}

async fn a_task_that_changes_hands_is_counted_once(store: &impl Store) {
    store.commit(named(1, 1, 10)).await.unwrap();
    let handed_over = TaskChange {
        owner: Arc::from("bob"),
        context_id: Arc::from("context-2"),
        snapshot: None,
        ..named(1, 2, 20)
    };
    store.commit(handed_over).await.unwrap();
    check(store, all(), &[]).await;
    let of_bob = TaskQuery {
        owner: Arc::from("bob"),
        ..all()
    };
    check(store, of_bob.clone(), &["1"]).await;
    let old_context = TaskQuery {
        context_id: Some(Arc::from("context-1")),
        ..of_bob
    };
    check(store, old_context, &[]).await;
}
