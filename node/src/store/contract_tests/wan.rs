//! What every store of envelopes must do.

use super::{embedded_in, fresh_store};
use crate::store::memory::MemoryWan;
use crate::store::wan::{
    Kept, NewRow, PutTerms, RowName, Settlement, WanRetention, WanSide, WanStore,
};

const NOW: u64 = 1_000_000;
const SIDES: [WanSide; 2] = [WanSide::In, WanSide::Out];

macro_rules! contract {
    ($($case:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $case() { super::$case(&super::MemoryWan::default()).await; })+
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

contract!(
    what_comes_again_is_known_by_either_name,
    rows_in_hand_are_nobody_elses_for_a_while,
    rows_are_held_for_longer,
    a_lane_keeps_its_order,
    dead_rows_are_kept_and_tried_again,
    no_more_wait_than_may,
    settled_rows_are_forgotten_with_their_names,
    no_number_is_given_twice,
    many_put_one_row_once,
);

fn name(number: u8) -> RowName {
    RowName([number; 16])
}

fn row(number: u8) -> NewRow {
    NewRow {
        name: name(number),
        message: None,
        lane: None,
        body: vec![number].into(),
    }
}

fn lane(number: u8, lane: u8) -> NewRow {
    NewRow {
        lane: Some(name(lane)),
        ..row(number)
    }
}

async fn put(store: &dyn WanStore, side: WanSide, rows: Vec<NewRow>) -> Vec<Kept> {
    let terms = PutTerms {
        now_ms: NOW,
        due_ms: NOW,
        most: 100,
    };
    store.put(side, rows, terms).await.unwrap()
}

/// The numbers that the store gave.
async fn numbers(store: &dyn WanStore, side: WanSide, rows: Vec<NewRow>) -> Vec<u64> {
    let kept = put(store, side, rows).await.into_iter();
    kept.map(|kept| match kept {
        Kept::First { number, .. } => number,
        other => panic!("{other:?}"),
    })
    .collect()
}

async fn due(store: &dyn WanStore, side: WanSide, now_ms: u64) -> Vec<u8> {
    let rows = store.lease(side, 10, now_ms, now_ms + 1000).await.unwrap();
    rows.iter().map(|row| row.body[0]).collect()
}

async fn what_comes_again_is_known_by_either_name(store: &dyn WanStore) {
    for side in SIDES {
        let both = NewRow {
            message: Some(name(9)),
            ..row(1)
        };
        let same_message = NewRow {
            message: Some(name(9)),
            ..row(2)
        };
        let kept = put(store, side, vec![both.clone(), both.clone(), same_message]).await;
        assert!(
            matches!(
                kept[..],
                [
                    Kept::First { leads: true, .. },
                    Kept::Repeated,
                    Kept::Repeated
                ]
            ),
            "{kept:?}"
        );
        let Kept::First { number, .. } = kept[0] else {
            panic!("{kept:?}")
        };
        // Also when it is settled.
        let done = vec![(number, Settlement::Done)];
        assert_eq!(store.settle(side, done.clone()).await, Ok(1));
        assert_eq!(store.settle(side, done).await, Ok(0));
        assert_eq!(put(store, side, vec![both]).await, [Kept::Repeated]);
        assert_eq!(due(store, side, u64::MAX / 4).await, [0_u8; 0]);
    }
}

async fn rows_in_hand_are_nobody_elses_for_a_while(store: &dyn WanStore) {
    let side = WanSide::Out;
    let numbers = numbers(store, side, vec![row(1), row(2), row(3)]).await;
    let leased = store.lease(side, 2, NOW, NOW + 1000).await.unwrap();
    assert_eq!(leased[0].put_ms, NOW);
    assert_eq!(
        leased.iter().map(|row| row.number).collect::<Vec<_>>(),
        numbers[..2]
    );
    assert_eq!(due(store, side, NOW).await, [3]);
    assert_eq!(due(store, side, NOW + 999).await, [0_u8; 0]);
    let later = Settlement::Later {
        due_ms: NOW + 5000,
        attempts: 7,
    };
    let settled = vec![(numbers[0], later), (numbers[1], Settlement::Done)];
    assert_eq!(store.settle(side, settled).await, Ok(2));
    assert_eq!(due(store, side, NOW + 1000).await, [3]);
    let leased = store.lease(side, 9, NOW + 5000, NOW + 6000).await.unwrap();
    let told: Vec<_> = leased
        .iter()
        .map(|row| (row.number, row.attempts))
        .collect();
    assert_eq!(told, [(numbers[0], 7), (numbers[2], 0)]);
}

async fn rows_are_held_for_longer(store: &dyn WanStore) {
    let side = WanSide::In;
    let numbers = numbers(store, side, vec![row(1), row(2), row(3)]).await;
    assert_eq!(due(store, side, NOW).await, [1, 2, 3]);
    let done = vec![(numbers[1], Settlement::Done)];
    store.settle(side, done).await.unwrap();
    let held = vec![numbers[0], numbers[1], numbers[2] + 1];
    store.hold(side, held, NOW + 3000).await.unwrap();
    assert_eq!(due(store, side, NOW + 1000).await, [3]);
    assert_eq!(due(store, side, NOW + 2999).await, [3]);
    // What was settled before waits no more.
    assert_eq!(due(store, side, NOW + 4000).await, [1, 3]);
    assert_eq!(store.standing(side).await.unwrap().waiting, 2);
}

async fn a_lane_keeps_its_order(store: &dyn WanStore) {
    let side = WanSide::In;
    let kept = put(store, side, vec![lane(1, 8), lane(2, 8), lane(3, 9)]).await;
    let leads: Vec<_> = kept
        .iter()
        .map(|kept| matches!(kept, Kept::First { leads: true, .. }))
        .collect();
    assert_eq!(leads, [true, false, true]);
    let Kept::First { number: first, .. } = kept[0] else {
        panic!("{kept:?}")
    };
    assert_eq!(due(store, side, NOW).await, [1, 3]);
    // Not even when the first one's time is long over.
    let later = Settlement::Later {
        due_ms: NOW + 9000,
        attempts: 1,
    };
    assert_eq!(store.settle(side, vec![(first, later)]).await, Ok(1));
    assert_eq!(due(store, side, NOW + 5000).await, [3]);
    let dead = Settlement::Dead {
        reason: "no".to_owned(),
    };
    assert_eq!(store.settle(side, vec![(first, dead)]).await, Ok(1));
    assert_eq!(due(store, side, NOW + 5000).await, [2]);
    // Tried again, it is the first one again.
    let again = Settlement::Again { due_ms: NOW + 5000 };
    assert_eq!(store.settle(side, vec![(first, again)]).await, Ok(1));
    assert_eq!(due(store, side, NOW + 6000).await, [1, 3]);
    let done = vec![(first, Settlement::Done)];
    assert_eq!(store.settle(side, done).await, Ok(1));
    assert_eq!(due(store, side, NOW + 8000).await, [2, 3]);
}

async fn dead_rows_are_kept_and_tried_again(store: &dyn WanStore) {
    let side = WanSide::In;
    let numbers = numbers(store, side, vec![row(1), row(2)]).await;
    let dead = |reason: &str| Settlement::Dead {
        reason: reason.to_owned(),
    };
    let settled = vec![(numbers[0], dead("one")), (numbers[1], dead("two"))];
    assert_eq!(store.settle(side, settled).await, Ok(2));
    let rows = store.dead(side, 0, 10).await.unwrap();
    let told: Vec<_> = rows
        .iter()
        .map(|dead| (dead.row.number, dead.reason.as_str(), dead.row.body[0]))
        .collect();
    assert_eq!(told, [(numbers[0], "one", 1), (numbers[1], "two", 2)]);
    assert_eq!(store.dead(side, numbers[0], 10).await.unwrap().len(), 1);
    assert_eq!(store.standing(side).await.unwrap().dead, 2);
    let settled = vec![
        (numbers[0], Settlement::Again { due_ms: NOW }),
        (numbers[1], Settlement::Dropped),
    ];
    assert_eq!(store.settle(side, settled.clone()).await, Ok(2));
    assert_eq!(store.settle(side, settled).await, Ok(0));
    assert_eq!(due(store, side, NOW).await, [1]);
    assert_eq!(store.dead(side, 0, 10).await, Ok(Vec::new()));
    assert_eq!(put(store, side, vec![row(2)]).await, [Kept::Repeated]);
}

async fn no_more_wait_than_may(store: &dyn WanStore) {
    let side = WanSide::Out;
    let terms = PutTerms {
        now_ms: NOW,
        due_ms: NOW,
        most: 2,
    };
    let rows = vec![row(1), row(2), row(3), row(1)];
    let kept = store.put(side, rows, terms).await.unwrap();
    assert_eq!(kept[2..], [Kept::Full, Kept::Repeated]);
    let standing = store.standing(side).await.unwrap();
    assert_eq!((standing.waiting, standing.oldest_ms), (2, Some(NOW)));
    let Kept::First { number, .. } = kept[0] else {
        panic!("{kept:?}")
    };
    let done = vec![(number, Settlement::Done)];
    assert_eq!(store.settle(side, done).await, Ok(1));
    let kept = store.put(side, vec![row(3)], terms).await.unwrap();
    assert!(matches!(kept[..], [Kept::First { .. }]), "{kept:?}");
    assert_eq!(
        store.standing(WanSide::In).await.unwrap().waiting,
        0,
        "sides do not meet"
    );
}

async fn settled_rows_are_forgotten_with_their_names(store: &dyn WanStore) {
    let side = WanSide::In;
    let all = numbers(store, side, (1..=4).map(row).collect()).await;
    let done = all[..3].iter().map(|number| (*number, Settlement::Done));
    assert_eq!(store.settle(side, done.collect()).await, Ok(3));
    let forget = async |keep_for_ms, keep_count, now_ms, limit| {
        let retention = WanRetention {
            keep_for_ms,
            keep_count,
        };
        store.forget(side, retention, now_ms, limit).await.unwrap()
    };
    assert_eq!(forget(1000, 100, NOW + 999, 10).await, 0);
    assert_eq!(forget(u64::MAX, 2, NOW, 10).await, 1);
    assert_eq!(forget(1000, 100, NOW + 1000, 1).await, 1);
    assert_eq!(forget(1000, 100, NOW + 1000, 10).await, 1);
    let kept = put(store, side, vec![row(1), row(4)]).await;
    assert!(
        matches!(kept[..], [Kept::First { .. }, Kept::Repeated]),
        "what waits is not forgotten: {kept:?}"
    );
}

async fn no_number_is_given_twice(store: &dyn WanStore) {
    let side = WanSide::In;
    let first = numbers(store, side, vec![row(1)]).await;
    let done = vec![(first[0], Settlement::Done)];
    store.settle(side, done).await.unwrap();
    let none = WanRetention {
        keep_for_ms: 0,
        keep_count: 0,
    };
    assert_eq!(store.forget(side, none, NOW, 10).await, Ok(1));
    let second = numbers(store, side, vec![row(2)]).await;
    assert!(second[0] > first[0], "{first:?} {second:?}");
}

async fn many_put_one_row_once(store: &dyn WanStore) {
    let puts = (0..20).map(|_| put(store, WanSide::In, vec![row(1)]));
    let kept = futures_util::future::join_all(puts).await;
    let first = kept
        .iter()
        .flatten()
        .filter(|kept| matches!(kept, Kept::First { .. }));
    assert_eq!(first.count(), 1);
}

#[tokio::test]
async fn the_file_remembers() {
    let directory = tempfile::tempdir().unwrap();
    let store = embedded_in(directory.path());
    let numbers = numbers(&store, WanSide::In, vec![row(1), row(2)]).await;
    let done = vec![(numbers[0], Settlement::Done)];
    assert_eq!(store.settle(WanSide::In, done).await, Ok(1));
    let before = WanStore::standing(&store, WanSide::In).await;
    store.close().await;
    let opened_again = embedded_in(directory.path());
    assert_eq!(opened_again.standing(WanSide::In).await, before);
    assert_eq!(
        put(&opened_again, WanSide::In, vec![row(1)]).await,
        [Kept::Repeated]
    );
    assert_eq!(due(&opened_again, WanSide::In, NOW).await, [2]);
}
