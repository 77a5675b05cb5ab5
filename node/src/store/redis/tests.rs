//! A real Redis for the contract of the ports, and what only Redis can get wrong.

use std::ops::Deref;
use std::sync::Weak;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use archipel_kit::admission::Rule;
use archipel_kit::clock::{Clock as _, SystemClock};
use archipel_kit::settings::{Environment, Secret, load};
use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use uuid::Uuid;

use super::*;
use crate::config::NodeSettings;
use crate::limiter::{Admission, Bucket, Call, Entry, Limit, Limiter};
use crate::replicas::{Holder, Taker};
use crate::store::contract_tests::{audit_row, claim, events, task};
use crate::store::{
    AuditStore, Claim, ClaimRequest, ClaimStore, Fence, Hold, Retention, StoreError, TaskChange,
    TaskQuery, TaskStore,
};

#[path = "../../../../tests/src/services.rs"]
#[expect(dead_code, unreachable_pub, reason = "other tests use the rest")]
pub(crate) mod services;

use services::{RedisCluster, RedisSentinel, RedisServer};

/// An empty store in a Redis that the tests share which run at the same time; the last of them ends it.
pub(crate) struct FreshStore {
    store: RedisStore,
    prefix: String,
    server: Arc<RedisServer>,
}

impl Deref for FreshStore {
    type Target = RedisStore;

    fn deref(&self) -> &RedisStore {
        &self.store
    }
}

pub(crate) fn fresh_store() -> FreshStore {
    static SHARED: Mutex<Weak<RedisServer>> = Mutex::new(Weak::new());
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let mut shared = SHARED.lock();
    let server = shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(RedisServer::start().unwrap());
        *shared = Arc::downgrade(&server);
        server
    });
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let prefix = format!("test-{number}");
    FreshStore {
        store: store_at(&server.url(), &prefix, PATIENCE),
        prefix,
        server,
    }
}

/// A store in a Redis that may be ended.
pub(in crate::store) fn private_store() -> (RedisServer, RedisStore) {
    let server = RedisServer::start().unwrap();
    let store = store_at(&server.url(), "away", SHORT);
    (server, store)
}

/// A machine that runs all tests at once may keep a server waiting.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of tests in which servers go away.
const SHORT: Duration = Duration::from_millis(300);

fn store_at(url: &str, prefix: &str, patience: Duration) -> RedisStore {
    let settings = load::<NodeSettings>(None, &Environment::default()).unwrap();
    let settings = RedisSettings {
        url: Some(Secret::new(url)),
        prefix: prefix.to_owned(),
        patience,
        ..settings.redis
    };
    let address = Address::from_settings(&settings).unwrap().unwrap();
    RedisStore::open(address, &settings, Arc::new(SystemClock::new())).unwrap()
}

/// A change of task 1 under a hold, with the events of these numbers.
fn held(hold: Hold, state: u8, seqs: std::ops::RangeInclusive<u64>) -> TaskChange {
    TaskChange {
        hold: Some(Box::new(hold)),
        events: events(seqs),
        state,
        ..task(1, state == 3, 10)
    }
}

fn begun(fence: Fence) -> Hold {
    Hold {
        before: None,
        fence,
        goes_on: true,
    }
}

const ANYBODY: Taker = Taker {
    owner: None,
    dead: None,
};

fn alice() -> Taker {
    Taker {
        owner: Some(("alice".into(), "echo".into())),
        dead: None,
    }
}

/// Two replicas of one node.
fn pair() -> (FreshStore, RedisStore) {
    let first = fresh_store();
    let second = store_at(&first.server.url(), &first.prefix, PATIENCE);
    (first, second)
}

#[tokio::test]
async fn a_task_is_changed_by_whoever_holds_it() {
    let (first, second) = pair();
    let id = Uuid::from_u128(1);
    let hold = begun(Fence::random());
    let opening = held(hold, 1, 1..=2);
    first.commit(opening.clone()).await.unwrap();
    // The answer was lost: trying again adds nothing.
    first.commit(opening).await.unwrap();
    first.commit(held(hold, 1, 2..=4)).await.unwrap();
    assert_eq!(first.events(id, 0, 10).await.unwrap(), events(1..=4));

    let taken = second.take(id, alice()).await.unwrap().unwrap();
    assert_eq!(taken.holder, Holder::Other(first.own_id()));
    assert_eq!(taken.task, first.load(id).await.unwrap().unwrap());
    for intruder in [Some(begun(Fence::random())), None] {
        let change = TaskChange {
            hold: intruder.map(Box::new),
            ..held(hold, 1, 5..=5)
        };
        let refused = second.commit(change).await;
        assert!(
            matches!(refused, Err(StoreError::Corrupt(_))),
            "{refused:?}"
        );
    }
    let settled = Hold {
        goes_on: false,
        ..hold
    };
    first.commit(held(settled, 6, 5..=5)).await.unwrap();
    let taken = second.take(id, alice()).await.unwrap().unwrap();
    let Holder::Us(fence) = taken.holder else {
        panic!("{:?}", taken.holder);
    };
    let refused = first.commit(held(hold, 1, 6..=6)).await;
    assert!(
        matches!(refused, Err(StoreError::Corrupt(_))),
        "{refused:?}"
    );
    let later = Hold {
        before: Some(fence),
        fence,
        goes_on: false,
    };
    second.commit(held(later, 3, 6..=6)).await.unwrap();
    let taken = first.take(id, alice()).await.unwrap().unwrap();
    assert_eq!(taken.holder, Holder::Nobody);
}

#[tokio::test]
async fn only_its_owner_takes_a_task_and_others_may_have_it_when_it_is_released() {
    let (first, second) = pair();
    let id = Uuid::from_u128(1);
    assert!(first.take(id, ANYBODY).await.unwrap().is_none());
    first.commit(task(1, false, 10)).await.unwrap();
    let stranger = Taker {
        owner: Some(("alice".into(), "text".into())),
        dead: None,
    };
    let taken = first.take(id, stranger).await.unwrap().unwrap();
    assert_eq!(taken.holder, Holder::Nobody);
    let taken = first.take(id, alice()).await.unwrap().unwrap();
    let Holder::Us(fence) = taken.holder else {
        panic!("{:?}", taken.holder);
    };
    let others = async || second.take(id, alice()).await.unwrap().unwrap().holder;
    first.release(id, Fence::random()).await.unwrap();
    assert_eq!(others().await, Holder::Other(first.own_id()));
    first.release(id, fence).await.unwrap();
    assert!(matches!(others().await, Holder::Us(_)));
}

#[tokio::test]
async fn what_a_dead_replica_held_is_found_and_taken() {
    let (first, second) = pair();
    assert!(!first.is_sure());
    assert_eq!(first.beat().await.unwrap(), []);
    assert!(first.is_sure());
    assert!(second.lives(first.own_id()).await.unwrap());
    let fence = Fence::random();
    for number in 1..=40 {
        let change = TaskChange {
            id: Uuid::from_u128(number),
            ..held(begun(fence), 1, 1..=1)
        };
        first.commit(change).await.unwrap();
    }
    first.leave().await.unwrap();
    assert!(!first.is_sure());
    assert!(!second.lives(first.own_id()).await.unwrap());
    assert_eq!(second.beat().await.unwrap(), [first.own_id()]);
    let mut found = 0;
    loop {
        let orphans = second.orphans(first.own_id()).await.unwrap();
        if orphans.is_empty() {
            break;
        }
        for id in orphans {
            let taker = Taker {
                owner: None,
                dead: Some(first.own_id()),
            };
            let taken = second.take(id, taker).await.unwrap().unwrap();
            assert!(matches!(taken.holder, Holder::Us(_)));
            found += 1;
        }
    }
    assert_eq!(found, 40);
    assert_eq!(second.beat().await.unwrap(), []);
    let refused = first.commit(held(begun(fence), 1, 2..=2)).await;
    assert!(
        matches!(refused, Err(StoreError::Corrupt(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn whoever_follows_a_task_hears_of_every_change_elsewhere() {
    let (first, second) = pair();
    first.commit(task(1, false, 10)).await.unwrap();
    let mut following = second.follow(Uuid::from_u128(1));
    // That it is being listened for now.
    assert!(following.news().await);
    for seq in 1..=3 {
        let change = TaskChange {
            snapshot: None,
            events: events(seq..=seq),
            ..task(1, false, 10)
        };
        first.commit(change).await.unwrap();
        assert!(following.news().await);
    }
}

#[tokio::test]
async fn messages_reach_the_replica_that_they_are_for() {
    let (first, second) = pair();
    let mut inbox = second.inbox().unwrap();
    assert!(second.inbox().is_none());
    // Until the second one listens, what is published is lost.
    let told = async {
        loop {
            first
                .tell(second.own_id(), Bytes::from_static(b"hello\n"))
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        message = inbox.recv() => assert_eq!(message.unwrap(), "hello\n"),
        () = told => {}
    }
}

#[tokio::test]
async fn what_was_given_out_before_the_memory_of_claims_is_not_taken() {
    let store = fresh_store();
    let claim_ahead = async |key: &'static str, given_at_ms: u64, ahead_ms: u64| {
        let request = ClaimRequest {
            key,
            given_at_ms,
            expires_at_ms: u64::MAX >> 12,
            now_ms: given_at_ms - ahead_ms,
        };
        store.claim(request).await.unwrap()
    };
    let claim = async |key, given_at_ms| claim_ahead(key, given_at_ms, 0).await;
    let young = 1 << 50;
    assert_eq!(claim("a", 1).await, Claim::BeforeEpoch);
    assert_eq!(claim("a", young).await, Claim::First);
    assert_eq!(claim("a", young).await, Claim::Repeated);
    let now_ms = SystemClock::new().now_ms();
    store.server.ask(&["flushall"]).unwrap();
    assert_eq!(claim("a", now_ms).await, Claim::BeforeEpoch);
    assert_eq!(claim("b", young).await, Claim::First);
    // An issuer whose clock is half a minute ahead was met: what it dates now may have been shown before the loss.
    assert_eq!(claim_ahead("c", young, 30_000).await, Claim::First);
    store.server.ask(&["flushall"]).unwrap();
    let now_ms = SystemClock::new().now_ms();
    assert_eq!(claim("c", now_ms + 20_000).await, Claim::BeforeEpoch);
    assert_eq!(claim("d", now_ms + 40_000).await, Claim::First);
}

#[tokio::test]
async fn a_redis_that_is_away_is_not_waited_for_and_comes_back() {
    let (mut server, store) = private_store();
    store.begin().await;
    let id = Uuid::from_u128(1);
    let mut following = store.follow(id);
    let is_away = async || {
        let asked = tokio::time::Instant::now();
        let answers = join_all((0..50).map(|_| store.load(id))).await;
        assert!(asked.elapsed() < Duration::from_secs(1));
        answers
            .iter()
            .all(|answer| *answer == Err(StoreError::Unavailable))
    };
    server.suspend().unwrap();
    assert!(is_away().await);
    server.resume().unwrap();
    comes_back(&store).await;
    server.kill().unwrap();
    assert!(is_away().await);
    server.restart().unwrap();
    comes_back(&store).await;
    // Scripts are gone with the server, and so is whom it told.
    while following.news().await {
        store.commit(task(1, false, 10)).await.unwrap();
        let change = TaskChange {
            events: events(1..=1),
            snapshot: None,
            ..task(1, false, 10)
        };
        if store.commit(change).await.is_ok() {
            break;
        }
    }
    assert_eq!(store.count().await, Ok(1));
}

#[tokio::test]
async fn a_cluster_serves_as_a_server_does() {
    let cluster = RedisCluster::start().unwrap();
    let first = store_at(&cluster.url(), "cluster", SHORT);
    let second = store_at(&cluster.url(), "cluster", SHORT);
    first.begin().await;
    serves(&first, &second).await;
}

#[tokio::test]
async fn behind_sentinels_a_new_master_is_found() {
    let mut redis = RedisSentinel::start().unwrap();
    let first = store_at(&redis.url(), "sentinel", SHORT);
    let second = store_at(&redis.url(), "sentinel", SHORT);
    first.begin().await;
    serves(&first, &second).await;
    redis.kill_master().unwrap();
    assert_eq!(first.count().await, Err(StoreError::Unavailable));
    comes_back(&first).await;
    comes_back(&second).await;
    first.commit(task(100, false, 10)).await.unwrap();
    let found = second.load(Uuid::from_u128(100)).await.unwrap();
    assert!(found.is_some());
}

/// Tasks in all partitions, lists of them, news of them, claims and the audit chain.
async fn serves(first: &RedisStore, second: &RedisStore) {
    for number in 1..=40 {
        let change = TaskChange {
            events: events(1..=3),
            ..task(number, number % 2 == 0, 10)
        };
        first.commit(change).await.unwrap();
    }
    assert_eq!(second.count().await, Ok(40));
    assert_eq!(second.unfinished(None, 100).await.unwrap().len(), 20);
    let query = TaskQuery {
        owner: "alice".into(),
        agent: "echo".into(),
        context_id: None,
        state: None,
        updated_from_ms: None,
        after: None,
        limit: 50,
        whole: true,
    };
    let page = second.list(query).await.unwrap();
    assert_eq!((page.tasks.len(), page.total), (40, 40));
    let retention = Retention {
        keep_for_ms: u64::MAX,
        keep_waiting_for_ms: u64::MAX,
        keep_count: 5,
    };
    assert_eq!(second.purge(retention, 10, 100).await, Ok(15));
    let mut following = second.follow(Uuid::from_u128(1));
    assert!(following.news().await);
    let change = TaskChange {
        events: events(4..=4),
        snapshot: None,
        ..task(1, false, 10)
    };
    first.commit(change).await.unwrap();
    assert!(following.news().await);
    first.append(vec![audit_row(1)]).await.unwrap();
    assert_eq!(second.last().await, Ok(Some(audit_row(1))));
    for (store, expected) in [(first, Claim::First), (second, Claim::Repeated)] {
        assert_eq!(claim(store, "a", 100, 1).await, expected);
    }
}

async fn comes_back(store: &RedisStore) {
    while store.count().await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_call_is_claimed_and_counted_in_one_trip() {
    let store = fresh_store();
    let limits = [
        Limit::Window {
            max: 2,
            window: Duration::from_secs(60),
        },
        Limit::Steady(Rule {
            emission_us: 60_000_000,
            burst_us: 120_000_000,
        }),
    ];
    let young = 1 << 50;
    for (name, limit) in ["window", "steady"].into_iter().zip(limits) {
        let enter = async |key: &str, given_at_ms: u64| {
            let claim = ClaimRequest {
                key,
                given_at_ms,
                expires_at_ms: u64::MAX >> 12,
                now_ms: given_at_ms,
            };
            let call = Call {
                buckets: &[Bucket { key: name, limit }],
                reputation: None,
            };
            let entries = [Entry { claim, call }];
            let entered = store.claim_and_admit(&entries).await.unwrap();
            entered.unwrap().remove(0)
        };
        let id = |number: u32| format!("{name}{number}");
        assert_eq!(enter(&id(0), 1).await, (Claim::BeforeEpoch, None));
        let admitted = (Claim::First, Some(Admission::Admitted));
        assert_eq!(enter(&id(1), young).await, admitted);
        // Who presents an id again uses up nothing.
        for _ in 0..3 {
            assert_eq!(enter(&id(1), young).await, (Claim::Repeated, None));
        }
        assert_eq!(enter(&id(2), young).await, admitted);
        let (claim, held) = enter(&id(3), young).await;
        assert_eq!(claim, Claim::First);
        assert!(
            matches!(held, Some(Admission::Denied { bucket: 0, .. })),
            "{held:?}"
        );
        assert_eq!(enter(&id(3), young).await, (Claim::Repeated, None));
    }
}

#[tokio::test]
async fn calls_that_enter_together_are_claimed_and_counted_one_by_one() {
    let store = fresh_store();
    let window = Duration::from_secs(60);
    let limit = |max| Limit::Window { max, window };
    let bucket = |key, max| Bucket {
        key,
        limit: limit(max),
    };
    let (narrow, wide) = (
        [bucket("narrow", 2)],
        [bucket("wide", 9), bucket("narrow", 2)],
    );
    let young = 1 << 50;
    let entry = |key, given_at_ms, buckets| Entry {
        claim: ClaimRequest {
            key,
            given_at_ms,
            expires_at_ms: u64::MAX >> 12,
            now_ms: young,
        },
        call: Call::of(buckets),
    };
    let entries = [
        entry("a", young, &narrow),
        entry("old", 1, &narrow),
        entry("a", young, &wide),
        entry("b", young, &[]),
        entry("c", young, &wide),
        entry("d", young, &narrow),
        entry("b", young, &[]),
    ];
    let answers = store.claim_and_admit(&entries).await.unwrap().unwrap();
    let claims: Vec<Claim> = answers.iter().map(|(claim, _)| *claim).collect();
    let (first, repeated) = (Claim::First, Claim::Repeated);
    let expected = [
        first,
        Claim::BeforeEpoch,
        repeated,
        first,
        first,
        first,
        repeated,
    ];
    assert_eq!(claims, expected);
    let told: Vec<_> = answers.into_iter().filter_map(|(_, told)| told).collect();
    let (counted, uncounted) = (Admission::Admitted, Admission::Admitted);
    let (held, passed) = told.split_last().unwrap();
    assert_eq!(passed, [counted, uncounted, counted]);
    assert!(matches!(held, Admission::Denied { bucket: 0, .. }));
}
