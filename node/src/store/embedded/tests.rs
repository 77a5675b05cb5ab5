//! What only the embedded store promises.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::Bytes;
use futures_util::future::join_all;
use rusqlite::{Connection, ErrorCode, ffi};
use uuid::Uuid;

use super::{Durability, EmbeddedSettings, EmbeddedStore, OpenError};
use crate::store::contract_tests::{audit_row, claim, embedded_in, events, task};
use crate::store::{
    AuditStore, Claim, Retention, Snapshot, StoreError, TaskChange, TaskQuery, TaskStore,
};

fn settings(directory: &Path) -> EmbeddedSettings {
    EmbeddedSettings {
        directory: directory.to_owned(),
        durability: Durability::Full,
        max_bytes: None,
    }
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let store = embedded_in(directory.path());
    store
        .commit(TaskChange {
            events: events(1..=3),
            ..task(1, false, 1)
        })
        .await
        .unwrap();
    store.commit(task(2, true, 1)).await.unwrap();
    claim(&store, "a", 100, 1).await;
    store.append(vec![audit_row(1)]).await.unwrap();
    store.close().await;
    assert_eq!(
        store.commit(task(3, true, 1)).await,
        Err(StoreError::Unavailable)
    );
    store.close().await;

    let store = embedded_in(directory.path());
    assert_eq!(
        store
            .load(Uuid::from_u128(1))
            .await
            .unwrap()
            .unwrap()
            .events,
        events(1..=3)
    );
    assert_eq!(
        store.unfinished(None, 10).await.unwrap(),
        [Uuid::from_u128(1)]
    );
    assert_eq!(claim(&store, "a", 100, 1).await, Claim::Repeated);
    assert_eq!(store.last().await.unwrap(), Some(audit_row(1)));
    assert_eq!(store.count().await.unwrap(), 2);
    let retention = Retention {
        keep_for_ms: u64::MAX,
        keep_waiting_for_ms: u64::MAX,
        keep_count: 0,
    };
    assert_eq!(store.purge(retention, 1, 10).await.unwrap(), 1);
}

#[tokio::test]
async fn closing_finishes_what_was_taken() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&settings(directory.path())).unwrap();
    let writes = join_all((1..=1500).map(|number| store.commit(task(number, true, 1))));
    let (outcomes, ()) = tokio::join!(writes, store.close());
    let acknowledged = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, Ok(()) | Err(StoreError::Unavailable)))
    );

    let store = EmbeddedStore::open(&settings(directory.path())).unwrap();
    assert_eq!(store.count().await.unwrap(), acknowledged as u64);
}

#[tokio::test]
async fn one_process_owns_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let store = embedded_in(directory.path());
    assert!(matches!(
        EmbeddedStore::open(&settings(directory.path())),
        Err(OpenError::InUse(_))
    ));
    store.close().await;
    EmbeddedStore::open(&settings(directory.path())).unwrap();
}

#[tokio::test]
async fn the_data_is_private() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("a/data");
    let store = embedded_in(&directory);
    store.commit(task(1, true, 1)).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    for file in fs::read_dir(&directory).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[tokio::test]
async fn a_newer_file_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    embedded_in(directory.path()).close().await;
    let path = directory.path().join("archipel.db");
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let refused = EmbeddedStore::open(&settings(directory.path()));
    assert!(matches!(
        refused,
        Err(OpenError::Newer {
            found: 99,
            known: 5,
            ..
        })
    ));
}

#[tokio::test]
async fn a_file_of_the_first_release_is_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let old = Connection::open(directory.path().join("archipel.db")).unwrap();
    old.execute_batch(super::schema::TABLES).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    for (number, state, text) in [(1_u8, 3, "{\"id\":1}"), (2, 6, "{\"id\":2}\nmemory")] {
        let mut id = [0; 16];
        id[15] = number;
        old.execute(
            "INSERT INTO task VALUES (?1, ?2, 'alice', 'echo', 'context-1', ?3, ?3 = 3, 10 * ?1, 1, ?4)",
            rusqlite::params![number, id, state, text.as_bytes()],
        )
        .unwrap();
        let bodies = super::rows::pack(&events(1..=2));
        let place = super::rows::place(number.into(), 2);
        old.execute("INSERT INTO event VALUES (?1, ?2)", (place, bodies))
            .unwrap();
    }
    drop(old);

    let store = embedded_in(directory.path());
    let query = TaskQuery {
        owner: "alice".into(),
        agent: "echo".into(),
        context_id: Some("context-1".into()),
        state: None,
        updated_from_ms: None,
        after: None,
        limit: 10,
        whole: true,
    };
    let page = store.list(query).await.unwrap();
    let heads: Vec<_> = page.tasks.iter().map(|task| &*task.snapshot.head).collect();
    assert_eq!(heads, [&b"{\"id\":2}\nmemory"[..], b"{\"id\":1}"]);
    assert_eq!(page.total, 2);
    let loaded = store.load(Uuid::from_u128(1)).await.unwrap().unwrap();
    assert_eq!(
        (loaded.snapshot.rest.len(), loaded.events),
        (0, events(2..=2))
    );
    store.commit(task(1, true, 50)).await.unwrap();
    assert_eq!(store.count().await.unwrap(), 2);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = EmbeddedStore::open(&settings(&file.join("data")));
    assert!(matches!(refused, Err(OpenError::Directory { path, .. }) if path == file.join("data")));
}

#[tokio::test]
async fn one_failing_write_leaves_its_neighbours_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = embedded_in(directory.path());
    let change = |number| {
        // Every seventh has no snapshot, and cannot be kept.
        let change = TaskChange {
            events: events(1..=1),
            ..task(number, false, 1)
        };
        if number % 7 == 0 {
            TaskChange {
                snapshot: None,
                ..change
            }
        } else {
            change
        }
    };
    let outcomes = join_all((1..=70).map(|number| store.commit(change(number)))).await;
    for (number, outcome) in (1..=70).zip(outcomes) {
        assert_eq!(outcome.is_ok(), number % 7 != 0);
        let kept = store.events(Uuid::from_u128(number), 0, 10).await.unwrap();
        assert_eq!(kept.len(), usize::from(number % 7 != 0));
    }
    assert_eq!(store.count().await.unwrap(), 60);
}

#[tokio::test]
async fn a_full_store_recovers_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let limited = EmbeddedSettings {
        max_bytes: Some(1024 * 1024),
        ..settings(directory.path())
    };
    let store = EmbeddedStore::open(&limited).unwrap();
    let large = |number| {
        let snapshot = Snapshot {
            seq: 0,
            head: Bytes::new(),
            rest: Bytes::from(vec![1; 100_000]),
        };
        TaskChange {
            snapshot: Some(snapshot),
            ..task(number, true, 1)
        }
    };
    let outcomes = join_all((1..=20).map(|number| store.commit(large(number)))).await;
    let kept = outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64;
    assert!((5..=10).contains(&kept));
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, Ok(()) | Err(StoreError::Full)))
    );
    assert_eq!(store.count().await.unwrap(), kept);

    let retention = Retention {
        keep_for_ms: u64::MAX,
        keep_waiting_for_ms: u64::MAX,
        keep_count: 1,
    };
    assert_eq!(store.purge(retention, 1, 100).await.unwrap(), kept - 1);
    store.commit(large(100)).await.unwrap();
    assert_eq!(store.count().await.unwrap(), 2);
}

#[tokio::test]
async fn a_task_has_room_for_millions_of_events() {
    let directory = tempfile::tempdir().unwrap();
    let store = embedded_in(directory.path());
    let last = (1 << 24) - 1;
    store
        .commit(TaskChange {
            events: events(last..=last),
            ..task(1, false, 1)
        })
        .await
        .unwrap();
    store
        .commit(TaskChange {
            events: events(1..=1),
            ..task(2, false, 1)
        })
        .await
        .unwrap();
    let beyond = TaskChange {
        events: events(last + 1..=last + 1),
        ..task(1, false, 1)
    };
    assert_eq!(store.commit(beyond).await, Err(StoreError::Full));
    assert_eq!(
        store.events(Uuid::from_u128(1), 5, 10).await.unwrap(),
        events(last..=last)
    );
    assert_eq!(
        store.events(Uuid::from_u128(2), 0, 10).await.unwrap(),
        events(1..=1)
    );
}

#[test]
fn sqlite_errors_become_conditions() {
    let check = |code: i32, expected: &StoreError| {
        let error = StoreError::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        assert_eq!(
            std::mem::discriminant(&error),
            std::mem::discriminant(expected),
            "{code}"
        );
    };
    check(ffi::SQLITE_FULL, &StoreError::Full);
    check(ffi::SQLITE_READONLY, &StoreError::ReadOnly);
    check(ffi::SQLITE_READONLY_DBMOVED, &StoreError::ReadOnly);
    check(ffi::SQLITE_IOERR_WRITE, &StoreError::Unavailable);
    check(ffi::SQLITE_BUSY, &StoreError::Unavailable);
    check(ffi::SQLITE_CORRUPT, &StoreError::Corrupt(String::new()));
    assert_eq!(ffi::Error::new(ffi::SQLITE_FULL).code, ErrorCode::DiskFull);
}
