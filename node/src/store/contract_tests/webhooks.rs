//! Webhooks, how far they have been told, and that they go with their task.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::{KEEP_ALL, MemoryStore, Store, embedded_in, events, fresh_store, task};
use crate::store::{MAX_WEBHOOKS, Put, Retention, TaskChange, Webhook};

contract!(
    a_webhook_comes_back,
    a_webhook_of_the_same_id_is_replaced,
    webhooks_need_their_task,
    a_task_has_a_bounded_number_of_webhooks,
    a_webhook_may_come_with_a_change,
    the_oldest_makes_way_for_one_that_comes_with_a_change,
    ids_are_scoped_to_their_task,
    delivery_never_goes_back,
    what_is_undelivered_is_found,
    webhooks_go_with_their_task,
);

fn webhook(task: u128, id: &str) -> Webhook {
    Webhook {
        task: Uuid::from_u128(task),
        id: Arc::from(id),
        config: Bytes::from(format!("config of {id}")),
        delivered: 0,
        done: false,
    }
}

async fn ids(store: &impl Store, task: u128) -> Vec<String> {
    let webhooks = store.of_task(Uuid::from_u128(task)).await.unwrap();
    webhooks
        .iter()
        .map(|webhook| webhook.id.to_string())
        .collect()
}

async fn a_webhook_comes_back(store: &impl Store) {
    store.commit(task(1, false, 1)).await.unwrap();
    let kept = Webhook {
        delivered: 3,
        ..webhook(1, "a")
    };
    assert_eq!(store.put(kept.clone()).await, Ok(Put::Kept));
    assert_eq!(store.get(kept.task, "a").await, Ok(Some(kept.clone())));
    assert_eq!(store.get(kept.task, "b").await, Ok(None));
    assert_eq!(store.of_task(kept.task).await, Ok(vec![kept.clone()]));
    assert_eq!(store.delete(kept.task, "a").await, Ok(true));
    assert_eq!(store.delete(kept.task, "a").await, Ok(false));
    assert_eq!(store.of_task(kept.task).await, Ok(Vec::new()));
}

async fn a_webhook_of_the_same_id_is_replaced(store: &impl Store) {
    store.commit(task(1, false, 1)).await.unwrap();
    for id in ["a", "b"] {
        store.put(webhook(1, id)).await.unwrap();
    }
    store
        .delivered(Uuid::from_u128(1), "a", 9, true)
        .await
        .unwrap();
    let new = Webhook {
        config: Bytes::from_static(b"new"),
        delivered: 4,
        ..webhook(1, "a")
    };
    assert_eq!(store.put(new.clone()).await, Ok(Put::Kept));
    assert_eq!(store.get(new.task, "a").await, Ok(Some(new)));
    assert_eq!(ids(store, 1).await, ["a", "b"]);
}

async fn webhooks_need_their_task(store: &impl Store) {
    assert_eq!(store.put(webhook(1, "a")).await, Ok(Put::NoTask));
    assert_eq!(store.delete(Uuid::from_u128(1), "a").await, Ok(false));
    let told = store.delivered(Uuid::from_u128(1), "a", 1, true).await;
    assert_eq!(told, Ok(()));
    assert_eq!(ids(store, 1).await, [""; 0]);
}

async fn a_task_has_a_bounded_number_of_webhooks(store: &impl Store) {
    store.commit(task(1, false, 1)).await.unwrap();
    for number in 0..MAX_WEBHOOKS {
        let put = store.put(webhook(1, &number.to_string())).await;
        assert_eq!(put, Ok(Put::Kept));
    }
    assert_eq!(store.put(webhook(1, "more")).await, Ok(Put::TooMany));
    assert_eq!(store.put(webhook(1, "0")).await, Ok(Put::Kept));
    assert_eq!(ids(store, 1).await.len(), MAX_WEBHOOKS);
    assert_eq!(store.delete(Uuid::from_u128(1), "0").await, Ok(true));
    assert_eq!(store.put(webhook(1, "more")).await, Ok(Put::Kept));
}

async fn a_webhook_may_come_with_a_change(store: &impl Store) {
    for webhook in [Some(webhook(1, "a")), None, Some(webhook(1, "b"))] {
        let change = TaskChange {
            webhook: webhook.map(Box::new),
            ..task(1, false, 1)
        };
        store.commit(change).await.unwrap();
    }
    assert_eq!(ids(store, 1).await, ["a", "b"]);
}

async fn the_oldest_makes_way_for_one_that_comes_with_a_change(store: &impl Store) {
    store.commit(task(1, false, 1)).await.unwrap();
    for number in 0..MAX_WEBHOOKS {
        store.put(webhook(1, &number.to_string())).await.unwrap();
    }
    for id in ["new", "7"] {
        let change = TaskChange {
            webhook: Some(Box::new(webhook(1, id))),
            ..task(1, false, 1)
        };
        store.commit(change).await.unwrap();
        let ids = ids(store, 1).await;
        assert_eq!((ids.len(), &*ids[0]), (MAX_WEBHOOKS, "1"));
        assert!(ids.contains(&id.to_owned()));
    }
}

async fn ids_are_scoped_to_their_task(store: &impl Store) {
    for number in 1..=2 {
        store.commit(task(number, false, 1)).await.unwrap();
        store.put(webhook(number, "a")).await.unwrap();
    }
    assert_eq!(store.delete(Uuid::from_u128(1), "a").await, Ok(true));
    assert_eq!(ids(store, 2).await, ["a"]);
}

async fn delivery_never_goes_back(store: &impl Store) {
    store.commit(task(1, false, 1)).await.unwrap();
    store.put(webhook(1, "a")).await.unwrap();
    for (through, done, expected) in [
        (5, false, (5, false)),
        (3, false, (5, false)),
        (6, true, (6, true)),
        (7, false, (7, true)),
    ] {
        let id = Uuid::from_u128(1);
        store.delivered(id, "a", through, done).await.unwrap();
        let kept = store.get(id, "a").await.unwrap().unwrap();
        assert_eq!((kept.delivered, kept.done), expected);
    }
}

async fn what_is_undelivered_is_found(store: &impl Store) {
    for number in 1..=5 {
        let change = TaskChange {
            events: events(1..=3),
            ..task(number, true, 1)
        };
        store.commit(change).await.unwrap();
    }
    for (number, id, delivered, done) in [
        (5, "a", 0, false),
        (1, "a", 3, false),
        (2, "a", 2, false),
        (2, "b", 0, false),
        (3, "a", 0, true),
        (4, "a", 3, false),
        (4, "b", 1, false),
    ] {
        let put = Webhook {
            delivered,
            done,
            ..webhook(number, id)
        };
        store.put(put).await.unwrap();
    }
    let found = async |after: Option<u128>, limit| {
        let found = store.undelivered(after.map(Uuid::from_u128), limit).await;
        let numbers = found.unwrap().into_iter().map(|id| id.as_u128());
        numbers.collect::<Vec<_>>()
    };
    assert_eq!(found(None, 10).await, [2, 4, 5]);
    assert_eq!(found(None, 2).await, [2, 4]);
    assert_eq!(found(Some(4), 2).await, [5]);
    store
        .delivered(Uuid::from_u128(5), "a", 3, false)
        .await
        .unwrap();
    assert_eq!(found(Some(4), 2).await, [0; 0]);
}

async fn webhooks_go_with_their_task(store: &impl Store) {
    for number in 1..=2 {
        let change = TaskChange {
            webhook: Some(Box::new(webhook(number, "a"))),
            ..task(number, true, 1)
        };
        store.commit(change).await.unwrap();
    }
    let none = Retention {
        keep_count: 1,
        ..KEEP_ALL
    };
    assert_eq!(store.purge(none, 1, 10).await, Ok(1));
    let left = [ids(store, 1).await, ids(store, 2).await].concat();
    assert_eq!(left, ["a"]);
    assert_eq!(
        store
            .purge(
                Retention {
                    keep_count: 0,
                    ..none
                },
                1,
                10
            )
            .await,
        Ok(1)
    );
    assert_eq!(ids(store, 2).await, [""; 0]);
    store.commit(task(2, false, 1)).await.unwrap();
    assert_eq!(ids(store, 2).await, [""; 0]);
}
