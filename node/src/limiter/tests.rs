//! What every adapter of the port must do, in real time because Redis has a clock of its own; and the turnstile.

use archipel_kit::clock::{ManualClock, SystemClock};
use parking_lot::Mutex;

use super::*;
use crate::store::redis::tests::fresh_store;

macro_rules! contract {
    ($($case:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $case() {
                super::$case(&super::MemoryLimiter::new(std::sync::Arc::new(super::SystemClock::new()))).await;
            })+
        }
        mod redis {
            $(#[tokio::test] async fn $case() { super::$case(&*super::fresh_store()).await; })+
        }
    };
}

contract!(
    a_window_is_full_until_its_first_call_is_over,
    a_steady_limit_gives_a_burst_then_its_rate,
    a_call_is_counted_in_all_buckets_or_in_none,
    concurrent_calls_never_pass_more_than_they_may,
    bad_conduct_blocks,
);

const fn window(max: u32, window_ms: u64) -> Limit {
    Limit::Window {
        max,
        window: Duration::from_millis(window_ms),
    }
}

async fn admit(limiter: &impl Limiter, buckets: &[(&str, Limit)]) -> Admission {
    let buckets: Vec<Bucket<'_>> = buckets
        .iter()
        .map(|&(key, limit)| Bucket { key, limit })
        .collect();
    let call = Call {
        buckets: &buckets,
        reputation: None,
    };
    limiter.admit(call).await.unwrap()
}

/// How long a call must wait, and for which bucket.
fn wait(admission: Admission) -> (usize, u64) {
    match admission {
        Admission::Denied {
            bucket,
            retry_after_ms,
        } => Some((bucket, retry_after_ms)),
        _ => None,
    }
    .unwrap()
}

async fn a_window_is_full_until_its_first_call_is_over(limiter: &impl Limiter) {
    let two = [("peer", window(2, 60_000))];
    assert_eq!(admit(limiter, &two).await, Admission::Admitted);
    assert_eq!(admit(limiter, &two).await, Admission::Admitted);
    for _ in 0..3 {
        let (bucket, retry_after_ms) = wait(admit(limiter, &two).await);
        assert_eq!(bucket, 0);
        assert!(
            (50_000..=60_000).contains(&retry_after_ms),
            "{retry_after_ms}"
        );
    }
    let other = [("another", window(2, 60_000))];
    assert_eq!(admit(limiter, &other).await, Admission::Admitted);
    // What was denied was not counted: the next call passes as soon as the first one is over, however many were tried.
    let short = [("short", window(1, 100))];
    let begun = SystemClock::new();
    assert_eq!(admit(limiter, &short).await, Admission::Admitted);
    let mut denied = 0;
    while admit(limiter, &short).await != Admission::Admitted {
        denied += 1;
        tokio::task::yield_now().await;
    }
    assert!(denied > 0);
    assert!(begun.monotonic() >= Duration::from_millis(99));
}

async fn a_steady_limit_gives_a_burst_then_its_rate(limiter: &impl Limiter) {
    let limit = [("peer", Limit::Steady(Rule::per_minute(60, 2)))];
    assert_eq!(admit(limiter, &limit).await, Admission::Admitted);
    assert_eq!(admit(limiter, &limit).await, Admission::Admitted);
    let (_, retry_after_ms) = wait(admit(limiter, &limit).await);
    assert!((1..=1000).contains(&retry_after_ms), "{retry_after_ms}");
}

async fn a_call_is_counted_in_all_buckets_or_in_none(limiter: &impl Limiter) {
    let (wide, narrow) = (("wide", window(3, 60_000)), ("narrow", window(1, 60_000)));
    let both = [wide, narrow];
    assert_eq!(admit(limiter, &both).await, Admission::Admitted);
    for _ in 0..5 {
        assert_eq!(wait(admit(limiter, &both).await).0, 1);
    }
    assert_eq!(admit(limiter, &[wide]).await, Admission::Admitted);
    assert_eq!(admit(limiter, &[wide]).await, Admission::Admitted);
    assert_eq!(wait(admit(limiter, &both).await).0, 0);
}

async fn concurrent_calls_never_pass_more_than_they_may(limiter: &impl Limiter) {
    let buckets = [("busy", window(10, 60_000))];
    let calls = (0..64).map(|_| admit(limiter, &buckets));
    let admitted = futures_util::future::join_all(calls).await;
    let passed = admitted.iter().filter(|one| **one == Admission::Admitted);
    assert_eq!(passed.count(), 10);
}

async fn bad_conduct_blocks(limiter: &impl Limiter) {
    let buckets = [
        Bucket {
            key: "address",
            limit: window(100, 60_000),
        },
        Bucket {
            key: "id",
            limit: window(1, 60_000),
        },
    ];
    let as_somebody = async |id, buckets: &[Bucket<'_>]| {
        let reputation = Some(Reputation {
            id,
            block_at: Some(3),
        });
        let call = Call {
            buckets,
            reputation,
        };
        limiter.admit(call).await.unwrap()
    };
    assert_eq!(as_somebody("a", &buckets).await, Admission::Admitted);
    limiter.note("a", Conduct::Good).await.unwrap();
    limiter.note("a", Conduct::Bad).await.unwrap();
    for _ in 0..2 {
        assert_eq!(wait(as_somebody("a", &buckets).await).0, 1);
    }
    let address = buckets.split_at(1).0;
    assert_eq!(as_somebody("a", address).await, Admission::Blocked);
    assert_eq!(as_somebody("b", address).await, Admission::Admitted);
}

/// A limiter that says what it is told to, and counts how often it was asked.
#[derive(Debug)]
struct Told {
    says: Mutex<Result<Admission, StoreError>>,
    asked: AtomicU64,
}

#[async_trait]
impl Limiter for Told {
    async fn admit(&self, _: Call<'_>) -> Result<Admission, StoreError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.says.lock().clone()
    }

    async fn note(&self, _: &str, _: Conduct) -> Result<(), StoreError> {
        Ok(())
    }
}

struct Scene {
    told: Arc<Told>,
    clock: Arc<ManualClock>,
    turnstile: Turnstile,
}

impl Scene {
    fn new() -> Self {
        let told = Arc::new(Told {
            says: Mutex::new(Ok(Admission::Admitted)),
            asked: AtomicU64::new(0),
        });
        let clock = Arc::new(ManualClock::new(0));
        let metrics = LimiterMetrics::new(&opentelemetry::global::meter("tests"));
        Self {
            turnstile: Turnstile::new(told.clone(), clock.clone(), metrics),
            told,
            clock,
        }
    }

    fn says(&self, says: Result<Admission, StoreError>) {
        *self.told.says.lock() = says;
    }

    /// Sends one call and says how it was held, and whether the limiter was asked.
    async fn call(&self, reputation: Option<&str>) -> (Option<(u64, Why)>, bool) {
        let before = self.told.asked.load(Ordering::Relaxed);
        let buckets = [Bucket {
            key: "key",
            limit: window(7, 1000),
        }];
        let call = Call {
            buckets: &buckets,
            reputation: reputation.map(|id| Reputation { id, block_at: None }),
        };
        let held = self.turnstile.pass(call).await.err();
        if let Some(held) = held {
            assert_eq!(held.limit, 7);
        }
        (
            held.map(|held| (held.retry_after_seconds, held.why)),
            self.told.asked.load(Ordering::Relaxed) != before,
        )
    }
}

#[tokio::test]
async fn a_key_that_was_denied_costs_no_second_question() {
    let scene = Scene::new();
    assert_eq!(scene.call(None).await, (None, true));
    scene.says(Ok(Admission::Denied {
        bucket: 0,
        retry_after_ms: 2500,
    }));
    assert_eq!(scene.call(None).await, (Some((3, Why::Full)), true));
    scene.clock.advance(Duration::from_millis(1200));
    assert_eq!(scene.call(None).await, (Some((2, Why::Full)), false));
    let bucket = |key| Bucket {
        key,
        limit: window(7, 1000),
    };
    assert!(scene.turnstile.check_denied(bucket("key")).is_err());
    assert_eq!(scene.turnstile.check_denied(bucket("other")), Ok(()));
    // Somebody with a reputation makes it worse, so it must be heard of.
    assert_eq!(scene.call(Some("a")).await, (Some((3, Why::Full)), true));
    scene.says(Ok(Admission::Admitted));
    scene.clock.advance(Duration::from_secs(3));
    assert_eq!(scene.call(None).await, (None, true));
}

#[tokio::test]
async fn while_calls_cannot_be_counted_nobody_passes() {
    let scene = Scene::new();
    scene.says(Err(StoreError::Unavailable));
    let held = Some((30, Why::Undecided));
    assert_eq!(scene.call(None).await, (held, true));
    assert_eq!(scene.call(None).await, (held, false));
    scene.clock.advance(TRY_AGAIN);
    assert_eq!(scene.call(None).await, (held, true));
    assert_eq!(scene.call(None).await, (held, false));
    scene.says(Ok(Admission::Admitted));
    scene.clock.advance(TRY_AGAIN);
    assert_eq!(scene.call(None).await, (None, true));
    assert_eq!(scene.call(None).await, (None, true));
}
