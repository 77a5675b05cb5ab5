//! The cases every adapter must pass: each is a function of an empty store, and runs once per adapter.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use uuid::Uuid;

use super::embedded::{Durability, EmbeddedSettings, EmbeddedStore};
use super::memory::MemoryStore;
use super::redis::tests::fresh_store;
use super::{
    AuditRow, AuditStore, Claim, ClaimRequest, ClaimStore, EventRow, Retention, Snapshot,
    StoreError, TaskChange, TaskStore, WebhookStore,
};

const KEEP_ALL: Retention = Retention {
    keep_for_ms: u64::MAX,
    keep_waiting_for_ms: u64::MAX,
    keep_count: u64::MAX,
};

pub(super) trait Store: TaskStore + WebhookStore + ClaimStore + AuditStore {}
impl<S: TaskStore + WebhookStore + ClaimStore + AuditStore> Store for S {}

macro_rules! contract {
    ($($case:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $case() { super::$case(&super::MemoryStore::new(1000)).await; })+
        }
        mod redis {
            $(#[tokio::test] async fn $case() { super::$case(&*super::fresh_store()).await; })+
        }
        mod embedded {
            $(#[tokio::test] async fn $case() {
                let directory = tempfile::tempdir().unwrap();
                super::$case(&super::embedded_in(directory.path())).await;
            })+
        }
    };
}

mod agents;
mod lists;
mod peers;
mod wan;
mod webhooks;

contract!(
    a_change_comes_back,
    an_unknown_task_is_not_there,
    the_first_change_needs_a_snapshot,
    later_changes_may_carry_only_events,
    a_new_snapshot_replaces_the_old_one,
    events_are_read_in_pages,
    unfinished_tasks_are_listed_by_id,
    purge_by_count_takes_the_oldest,
    purge_by_age_takes_what_is_over,
    purge_keeps_unfinished_tasks,
    purge_forgets_events_too,
    a_task_may_become_unfinished_again,
    waiting_beyond_the_time_is_unanswered,
    waiting_beyond_the_number_is_unanswered,
    a_claim_is_first_once,
    a_claim_ends_with_its_time,
    concurrent_claims_have_one_winner,
    expired_claims_do_not_revive_others,
    audit_rows_are_read_in_pages,
    audit_rows_are_never_replaced,
    many_writers_lose_nothing,
);

pub(super) fn embedded_in(directory: &std::path::Path) -> EmbeddedStore {
    let settings = EmbeddedSettings {
        directory: directory.to_owned(),
        durability: Durability::Process,
        max_bytes: None,
    };
    EmbeddedStore::open(&settings).unwrap()
}

/// Task `number`, terminal if `finished`, last changed at `updated_ms`, with a snapshot and no events.
pub(super) fn task(number: u128, finished: bool, updated_ms: u64) -> TaskChange {
    TaskChange {
        id: Uuid::from_u128(number),
        owner: Arc::from("alice"),
        agent: Arc::from("echo"),
        context_id: Arc::from("context-1"),
        state: if finished { 3 } else { 1 },
        terminal: finished,
        updated_ms,
        snapshot: Some(Snapshot {
            seq: 0,
            head: body("head", 0),
            rest: body("rest", 0),
        }),
        events: Vec::new(),
        webhook: None,
        hold: None,
    }
}

pub(super) fn events(seqs: std::ops::RangeInclusive<u64>) -> Vec<EventRow> {
    seqs.map(|seq| EventRow {
        seq,
        body: body("event", seq),
    })
    .collect()
}

pub(super) fn audit_row(seq: u64) -> AuditRow {
    AuditRow {
        seq,
        at_ms: 1000 + seq,
        body: body("audit", seq),
        hash: [u8::try_from(seq % 256).unwrap(); 32],
    }
}

fn body(what: &str, seq: u64) -> Bytes {
    Bytes::from(format!("{what} {seq}"))
}

async fn seqs(store: &impl Store, id: Uuid, after: u64, limit: usize) -> Vec<u64> {
    store
        .events(id, after, limit)
        .await
        .unwrap()
        .iter()
        .map(|event| event.seq)
        .collect()
}

async fn a_change_comes_back(store: &impl Store) {
    let mut change = task(1, false, 50);
    change.snapshot = Some(Snapshot {
        seq: 2,
        head: body("head", 2),
        rest: body("rest", 2),
    });
    change.events = events(1..=4);
    change.events[3].body = Bytes::new();
    store.commit(change.clone()).await.unwrap();

    let loaded = store.load(change.id).await.unwrap().unwrap();
    assert_eq!(
        (&*loaded.owner, &*loaded.agent, &*loaded.context_id),
        ("alice", "echo", "context-1")
    );
    assert_eq!((loaded.state, loaded.updated_ms), (1, 50));
    assert_eq!(loaded.snapshot, change.snapshot.unwrap());
    assert_eq!(loaded.events, change.events[2..]);
    assert_eq!(
        store.events(change.id, 0, 100).await.unwrap(),
        change.events
    );
    assert_eq!(store.count().await.unwrap(), 1);
}

async fn an_unknown_task_is_not_there(store: &impl Store) {
    let id = Uuid::from_u128(7);
    assert_eq!(store.load(id).await.unwrap(), None);
    assert_eq!(store.events(id, 0, 10).await.unwrap(), Vec::new());
    assert_eq!(store.count().await.unwrap(), 0);
}

async fn the_first_change_needs_a_snapshot(store: &impl Store) {
    let change = TaskChange {
        snapshot: None,
        events: events(1..=1),
        ..task(1, false, 1)
    };
    assert!(matches!(
        store.commit(change.clone()).await,
        Err(StoreError::Corrupt(_))
    ));
    assert_eq!(store.load(change.id).await.unwrap(), None);
    assert_eq!(seqs(store, change.id, 0, 10).await, Vec::<u64>::new());
    assert_eq!(store.count().await.unwrap(), 0);
}

async fn later_changes_may_carry_only_events(store: &impl Store) {
    store
        .commit(TaskChange {
            events: events(1..=2),
            ..task(1, false, 10)
        })
        .await
        .unwrap();
    let later = TaskChange {
        snapshot: None,
        events: events(3..=3),
        state: 2,
        ..task(1, false, 20)
    };
    store
        .commit(TaskChange {
            owner: Arc::from("bob"),
            ..later
        })
        .await
        .unwrap();

    let loaded = store.load(Uuid::from_u128(1)).await.unwrap().unwrap();
    assert_eq!(
        (&*loaded.owner, loaded.state, loaded.updated_ms),
        ("bob", 2, 20)
    );
    assert_eq!(loaded.snapshot.seq, 0);
    assert_eq!(loaded.events, events(1..=3));
    assert_eq!(store.count().await.unwrap(), 1);
}

async fn a_new_snapshot_replaces_the_old_one(store: &impl Store) {
    store
        .commit(TaskChange {
            events: events(1..=2),
            ..task(1, false, 10)
        })
        .await
        .unwrap();
    let snapshot = Snapshot {
        seq: 4,
        head: Bytes::from(vec![7; 100_000]),
        rest: Bytes::from(vec![8; 100_000]),
    };
    let change = TaskChange {
        snapshot: Some(snapshot.clone()),
        events: events(3..=5),
        ..task(1, true, 20)
    };
    store.commit(change).await.unwrap();

    let loaded = store.load(Uuid::from_u128(1)).await.unwrap().unwrap();
    assert_eq!(loaded.snapshot, snapshot);
    assert_eq!(loaded.events, events(5..=5));
    assert_eq!(
        seqs(store, Uuid::from_u128(1), 0, 10).await,
        [1, 2, 3, 4, 5]
    );
}

async fn events_are_read_in_pages(store: &impl Store) {
    let id = Uuid::from_u128(2);
    store
        .commit(TaskChange {
            events: events(1..=1),
            ..task(1, false, 10)
        })
        .await
        .unwrap();
    store
        .commit(TaskChange {
            events: events(1..=4),
            ..task(2, false, 10)
        })
        .await
        .unwrap();
    store
        .commit(TaskChange {
            events: events(5..=9),
            snapshot: None,
            ..task(2, false, 10)
        })
        .await
        .unwrap();
    store
        .commit(TaskChange {
            events: events(1..=1),
            ..task(3, false, 10)
        })
        .await
        .unwrap();

    assert_eq!(seqs(store, id, 0, 3).await, [1, 2, 3]);
    assert_eq!(seqs(store, id, 3, 3).await, [4, 5, 6]);
    assert_eq!(seqs(store, id, 6, 100).await, [7, 8, 9]);
    assert_eq!(seqs(store, id, 9, 100).await, Vec::<u64>::new());
    assert_eq!(seqs(store, id, u64::MAX, 100).await, Vec::<u64>::new());
    assert_eq!(seqs(store, id, 0, 0).await, Vec::<u64>::new());
}

async fn unfinished_tasks_are_listed_by_id(store: &impl Store) {
    for (number, finished) in [(5, false), (1, false), (3, true), (4, false), (2, false)] {
        store.commit(task(number, finished, 10)).await.unwrap();
    }
    store.commit(task(4, true, 20)).await.unwrap();

    let ids = |numbers: &[u128]| {
        numbers
            .iter()
            .map(|number| Uuid::from_u128(*number))
            .collect::<Vec<_>>()
    };
    assert_eq!(store.unfinished(None, 2).await.unwrap(), ids(&[1, 2]));
    assert_eq!(
        store
            .unfinished(Some(Uuid::from_u128(2)), 10)
            .await
            .unwrap(),
        ids(&[5])
    );
    assert_eq!(
        store
            .unfinished(Some(Uuid::from_u128(5)), 10)
            .await
            .unwrap(),
        ids(&[])
    );
}

async fn purge_by_count_takes_the_oldest(store: &impl Store) {
    for (number, updated_ms) in [(1, 40), (2, 10), (3, 30), (4, 20)] {
        store.commit(task(number, true, updated_ms)).await.unwrap();
    }
    store.commit(task(2, true, 50)).await.unwrap();

    let retention = Retention {
        keep_count: 1,
        ..KEEP_ALL
    };
    assert_eq!(store.purge(retention, 100, 2).await.unwrap(), 2);
    assert!(store.load(Uuid::from_u128(4)).await.unwrap().is_none());
    assert!(store.load(Uuid::from_u128(3)).await.unwrap().is_none());
    assert_eq!(store.purge(retention, 100, 2).await.unwrap(), 1);
    assert_eq!(store.purge(retention, 100, 2).await.unwrap(), 0);
    assert!(store.load(Uuid::from_u128(2)).await.unwrap().is_some());
    assert_eq!(store.count().await.unwrap(), 1);
}

async fn purge_by_age_takes_what_is_over(store: &impl Store) {
    for number in 1..=3 {
        store
            .commit(task(number, true, 100 * u64::try_from(number).unwrap()))
            .await
            .unwrap();
    }
    let retention = Retention {
        keep_for_ms: 1000,
        ..KEEP_ALL
    };
    assert_eq!(store.purge(retention, 500, 10).await.unwrap(), 0);
    assert_eq!(store.purge(retention, 1099, 10).await.unwrap(), 0);
    assert_eq!(store.purge(retention, 1200, 10).await.unwrap(), 2);
    assert!(store.load(Uuid::from_u128(3)).await.unwrap().is_some());
}

async fn purge_keeps_unfinished_tasks(store: &impl Store) {
    store.commit(task(1, false, 1)).await.unwrap();
    assert_eq!(
        store
            .purge(
                Retention {
                    keep_for_ms: 0,
                    keep_waiting_for_ms: 0,
                    keep_count: 0
                },
                u64::MAX,
                10
            )
            .await
            .unwrap(),
        0
    );
    assert!(store.load(Uuid::from_u128(1)).await.unwrap().is_some());
}

async fn purge_forgets_events_too(store: &impl Store) {
    store
        .commit(TaskChange {
            events: events(1..=3),
            ..task(1, true, 1)
        })
        .await
        .unwrap();
    store
        .commit(TaskChange {
            events: events(1..=3),
            ..task(2, false, 1)
        })
        .await
        .unwrap();
    assert_eq!(
        store
            .purge(
                Retention {
                    keep_count: 0,
                    ..KEEP_ALL
                },
                1,
                10
            )
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        seqs(store, Uuid::from_u128(1), 0, 10).await,
        Vec::<u64>::new()
    );
    assert_eq!(seqs(store, Uuid::from_u128(2), 0, 10).await, [1, 2, 3]);
    store
        .commit(TaskChange {
            events: events(1..=1),
            ..task(1, false, 1)
        })
        .await
        .unwrap();
    assert_eq!(seqs(store, Uuid::from_u128(1), 0, 10).await, [1]);
}

async fn a_task_may_become_unfinished_again(store: &impl Store) {
    store.commit(task(1, true, 1)).await.unwrap();
    store.commit(task(1, false, 2)).await.unwrap();
    assert_eq!(
        store
            .purge(
                Retention {
                    keep_count: 0,
                    ..KEEP_ALL
                },
                1,
                10
            )
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        store.unfinished(None, 10).await.unwrap(),
        [Uuid::from_u128(1)]
    );
}

/// Of an id that is younger than any store.
pub(super) async fn claim(store: &impl Store, key: &str, expires_at_ms: u64, now_ms: u64) -> Claim {
    let request = ClaimRequest {
        key,
        given_at_ms: 1 << 52,
        expires_at_ms,
        now_ms,
    };
    store.claim(request).await.unwrap()
}

fn waiting(number: u128, state: u8, updated_ms: u64) -> TaskChange {
    TaskChange {
        state,
        ..task(number, false, updated_ms)
    }
}

async fn unanswered(store: &impl Store, retention: Retention, now_ms: u64) -> Vec<u128> {
    let found = store.unanswered(retention, now_ms, 2).await.unwrap();
    for task in &found {
        assert_eq!((&*task.owner, &*task.agent), ("alice", "echo"));
    }
    found.iter().map(|task| task.id.as_u128()).collect()
}

async fn waiting_beyond_the_time_is_unanswered(store: &impl Store) {
    for (number, state, updated_ms) in [(1, 6, 40), (2, 8, 20), (3, 6, 30), (4, 2, 10)] {
        let change = waiting(number, state, updated_ms);
        store.commit(change).await.unwrap();
    }
    store.commit(task(5, true, 10)).await.unwrap();
    let retention = Retention {
        keep_waiting_for_ms: 100,
        ..KEEP_ALL
    };
    for (now_ms, expected) in [(119, &[][..]), (120, &[2]), (135, &[2, 3]), (999, &[2, 3])] {
        assert_eq!(unanswered(store, retention, now_ms).await, expected);
    }
    // One is answered, one waits anew, one ends.
    for (number, state, updated_ms) in [(1, 2, 50), (2, 6, 60), (3, 5, 70)] {
        let change = TaskChange {
            terminal: state == 5,
            ..waiting(number, state, updated_ms)
        };
        store.commit(change).await.unwrap();
    }
    assert_eq!(unanswered(store, retention, 999).await, [2]);
}

async fn waiting_beyond_the_number_is_unanswered(store: &impl Store) {
    let retention = Retention {
        keep_count: 3,
        ..KEEP_ALL
    };
    for (number, expected) in [(1, &[][..]), (2, &[]), (3, &[]), (4, &[1]), (5, &[1, 2])] {
        let updated_ms = u64::try_from(number).unwrap();
        store.commit(task(10 + number, true, 1)).await.unwrap();
        store.commit(waiting(number, 6, updated_ms)).await.unwrap();
        assert_eq!(unanswered(store, retention, 9).await, expected);
    }
    store.commit(task(2, true, 9)).await.unwrap();
    assert_eq!(unanswered(store, retention, 9).await, [1]);
}

async fn a_claim_is_first_once(store: &impl Store) {
    assert_eq!(claim(store, "a", 100, 1).await, Claim::First);
    assert_eq!(claim(store, "a", 100, 1).await, Claim::Repeated);
    assert_eq!(claim(store, "a", 900, 99).await, Claim::Repeated);
    assert_eq!(claim(store, "A", 100, 1).await, Claim::First);
    assert_eq!(claim(store, "", 100, 1).await, Claim::First);
}

async fn a_claim_ends_with_its_time(store: &impl Store) {
    assert_eq!(claim(store, "a", 100, 1).await, Claim::First);
    assert_eq!(claim(store, "a", 200, 100).await, Claim::First);
    assert_eq!(claim(store, "a", 300, 199).await, Claim::Repeated);
    assert_eq!(claim(store, "a", 300, 200).await, Claim::First);
}

async fn concurrent_claims_have_one_winner(store: &impl Store) {
    let claims = join_all((0..100).map(|_| claim(store, "a", 100, 1))).await;
    let first = claims
        .into_iter()
        .filter(|claim| *claim == Claim::First)
        .count();
    assert_eq!(first, 1);
}

async fn expired_claims_do_not_revive_others(store: &impl Store) {
    for number in 0..50 {
        let expires_at_ms = if number % 2 == 0 { 100 } else { 1000 };
        claim(store, &format!("key {number}"), expires_at_ms, 1).await;
    }
    // More than enough claims to sweep all that is over.
    for number in 0..50 {
        claim(store, &format!("other {number}"), 1000, 500).await;
    }
    for number in 0..50 {
        let expected = if number % 2 == 0 {
            Claim::First
        } else {
            Claim::Repeated
        };
        assert_eq!(
            claim(store, &format!("key {number}"), 1000, 500).await,
            expected
        );
    }
}

async fn audit_rows_are_read_in_pages(store: &impl Store) {
    assert_eq!(store.last().await.unwrap(), None);
    store
        .append((1..=3).map(audit_row).collect())
        .await
        .unwrap();
    store.append(vec![audit_row(4)]).await.unwrap();
    assert_eq!(store.last().await.unwrap(), Some(audit_row(4)));
    assert_eq!(
        store.page(0, 3).await.unwrap(),
        [audit_row(1), audit_row(2), audit_row(3)]
    );
    assert_eq!(store.page(3, 3).await.unwrap(), [audit_row(4)]);
    assert_eq!(store.page(4, 3).await.unwrap(), []);
}

async fn audit_rows_are_never_replaced(store: &impl Store) {
    store.append(vec![audit_row(1)]).await.unwrap();
    let other = AuditRow {
        body: Bytes::from_static(b"other"),
        ..audit_row(1)
    };
    assert!(matches!(
        store.append(vec![audit_row(2), other]).await,
        Err(StoreError::Corrupt(_))
    ));
    assert_eq!(store.page(0, 10).await.unwrap(), [audit_row(1)]);
}

async fn many_writers_lose_nothing(store: &impl Store) {
    let writer = |number: u128| async move {
        store
            .commit(TaskChange {
                events: events(1..=3),
                ..task(number, false, 1)
            })
            .await?;
        for seq in 4..=8 {
            let later = TaskChange {
                snapshot: None,
                events: events(seq..=seq),
                ..task(number, seq == 8, seq)
            };
            store.commit(later).await?;
        }
        Ok::<(), StoreError>(())
    };
    for outcome in join_all((1..=200).map(writer)).await {
        outcome.unwrap();
    }
    assert_eq!(store.count().await.unwrap(), 200);
    for number in 1..=200 {
        assert_eq!(
            seqs(store, Uuid::from_u128(number), 0, 100).await,
            [1, 2, 3, 4, 5, 6, 7, 8]
        );
    }
}
