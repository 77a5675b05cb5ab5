//! One limit for several gateways, through a real Redis that comes and goes.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use actix_web::test;
use archipel_tests::services::RedisServer;
use futures_util::future::join_all;

use crate::world::{Node, TestGateway, assert_rpc_error};

/// A gateway whose limit lies in `redis`: a burst, and then one call a minute, so that no test lives to see another.
fn shared(node: &Node, redis: &RedisServer, burst: &str, without_redis: &str) -> TestGateway {
    TestGateway::start(
        node.address,
        &[
            ("GATEWAY_RATE_LIMIT_PER_MIN", "1"),
            ("GATEWAY_RATE_LIMIT_BURST", burst),
            ("GATEWAY_RATE_LIMIT_REDIS_URL", &redis.url()),
            ("GATEWAY_RATE_LIMIT_WITHOUT_REDIS", without_redis),
        ],
    )
}

async fn state(redis: &RedisServer) -> (Option<String>, i64) {
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let key = "{archipel:gw:rl}:address:127.0.0.1";
    redis::pipe()
        .get(key)
        .pttl(key)
        .query_async(&mut connection)
        .await
        .unwrap()
}

#[test]
async fn two_gateways_admit_as_much_as_one() {
    let node = Node::start();
    let redis = RedisServer::start().unwrap();
    let gateways = [
        shared(&node, &redis, "20", "deny"),
        shared(&node, &redis, "20", "deny"),
    ];
    let calls = (0..30)
        .flat_map(|_| gateways.iter())
        .map(|gateway| gateway.call_status(&[]));
    let statuses = join_all(calls).await;
    let count = |status: u16| statuses.iter().filter(|seen| **seen == status).count();
    assert_eq!((count(200), count(429)), (20, 40), "{statuses:?}");
}

#[test]
async fn denied_calls_are_not_counted_and_cost_redis_nothing() {
    let node = Node::start();
    let redis = RedisServer::start().unwrap();
    let first = shared(&node, &redis, "1", "deny");
    let second = shared(&node, &redis, "1", "deny");
    assert_eq!(first.call_status(&[]).await, 200);
    let (counted, life) = state(&redis).await;
    assert!(
        counted.is_some() && (1..=60_001).contains(&life),
        "{counted:?} {life}"
    );
    for _ in 0..5 {
        assert_eq!(first.call_status(&[]).await, 429);
        assert_eq!(second.call_status(&[]).await, 429);
    }
    assert_eq!(state(&redis).await.0, counted);
    for gateway in [&first, &second] {
        let text = gateway.metrics().await;
        assert!(
            text.contains(r#"archipel_gateway_rate_limit_decisions_total{decision="denied"} 1"#),
            "{text}"
        );
        assert!(
            text.contains(
                r#"archipel_gateway_rate_limit_decisions_total{decision="denied_again"} 4"#
            ),
            "{text}"
        );
    }
}

#[test]
async fn without_redis_each_gateway_counts_for_itself_until_it_is_back() {
    let node = Node::start();
    let mut redis = RedisServer::start().unwrap();
    let gateway = shared(&node, &redis, "2", "local");
    assert_eq!(gateway.call_status(&[]).await, 200);
    redis.kill().unwrap();
    for expected in [200, 200, 429] {
        assert_eq!(gateway.call_status(&[]).await, expected);
    }
    let text = gateway.metrics().await;
    assert!(text.contains(r#"decision="without_redis"} 2"#), "{text}");
    assert!(
        text.contains("archipel_gateway_rate_limit_redis_up 0"),
        "{text}"
    );

    redis.restart().unwrap();
    recover(&gateway).await;
    // The new Redis knows nothing: what is admitted now is counted there.
    assert!(state(&redis).await.0.is_some());
}

#[test]
async fn without_redis_the_strict_policy_refuses_until_it_is_back() {
    let node = Node::start();
    let mut redis = RedisServer::start().unwrap();
    let gateway = shared(&node, &redis, "100", "deny");
    assert_eq!(gateway.call_status(&[]).await, 200);
    redis.kill().unwrap();
    assert_rpc_error(
        gateway.call(&[]).await,
        503,
        -32000,
        "RATE_LIMIT_UNAVAILABLE",
    )
    .await;
    redis.restart().unwrap();
    recover(&gateway).await;
    redis.suspend().unwrap();
    gateway.clock.advance(Duration::from_secs(1));
    assert_rpc_error(
        gateway.call(&[]).await,
        503,
        -32000,
        "RATE_LIMIT_UNAVAILABLE",
    )
    .await;
    redis.resume().unwrap();
    recover(&gateway).await;
}

/// Calls until Redis is used again; each try is one that the gateway's own patience allows.
async fn recover(gateway: &TestGateway) {
    for _ in 0..50 {
        gateway.clock.advance(Duration::from_secs(1));
        gateway.call_status(&[]).await;
        if gateway
            .metrics()
            .await
            .contains("archipel_gateway_rate_limit_redis_up 1")
        {
            return;
        }
    }
    assert!(
        gateway
            .metrics()
            .await
            .contains("archipel_gateway_rate_limit_redis_up 1"),
        "redis is not used again"
    );
}

/// Replicas that count `per_minute` together over one Redis.
fn replicas(node: &Node, redis: &RedisServer, per_minute: &str) -> Vec<TestGateway> {
    let replica = || {
        TestGateway::start(
            node.address,
            &[
                ("GATEWAY_RATE_LIMIT_PER_MIN", per_minute),
                ("GATEWAY_RATE_LIMIT_REDIS_URL", &redis.url()),
                ("GATEWAY_RATE_LIMIT_REDIS_TIMEOUT_MS", "3000"),
                ("GATEWAY_RATE_LIMIT_LOCAL_SHARE", "25"),
                ("GATEWAY_RATE_LIMIT_HEADERS", "all"),
            ],
        )
    };
    std::iter::repeat_with(replica).take(4).collect()
}

/// 200 clients that call until each was refused, spread over the replicas; gives how many calls were admitted.
async fn flood(gateways: &[TestGateway]) -> usize {
    let clients = (0..200).map(|client| async move {
        let gateway = gateways.get(client % gateways.len()).unwrap();
        let mut admitted = 0;
        while gateway.call_status(&[]).await == 200 {
            admitted += 1;
        }
        admitted
    });
    join_all(clients).await.into_iter().sum()
}

/// The error: what comes free while the flood lasts, which is as much as the limit gives in that time.
fn assert_admitted(admitted: usize, limit: usize, took: Duration) {
    let comes_free = (limit as f64 * took.as_secs_f64() / 60.0).ceil() as usize + 1;
    assert!(
        admitted <= limit + comes_free && admitted * 100 >= limit * 98,
        "{admitted} of {limit}, {comes_free} more in {took:?}"
    );
}

#[test]
async fn four_replicas_and_200_clients_get_what_the_limit_says() {
    const LIMIT: usize = 2000;
    let node = Node::start();
    let mut redis = RedisServer::start().unwrap();
    let gateways = replicas(&node, &redis, "2000");
    let began = tokio::time::Instant::now();
    let admitted = flood(&gateways).await;
    assert_admitted(admitted, LIMIT, began.elapsed());

    // Without Redis each gives its quarter, and says so.
    redis.kill().unwrap();
    for gateway in &gateways {
        gateway.clock.advance(Duration::from_secs(120));
    }
    let answer = gateways.first().unwrap().call(&[]).await;
    assert_eq!(
        answer.headers.get("x-ratelimit-counted-by").unwrap(),
        "this-gateway"
    );
    assert_eq!(answer.headers.get("ratelimit-limit").unwrap(), "500");
    let admitted = flood(&gateways).await;
    assert!(
        (LIMIT * 98 / 100..=LIMIT).contains(&(admitted + 1)),
        "{admitted}: their clocks stand still"
    );

    // Back without a restart, and shared again.
    redis.restart().unwrap();
    for gateway in &gateways {
        gateway.clock.advance(Duration::from_secs(120));
        recover(gateway).await;
        gateway.clock.advance(Duration::from_secs(120));
    }
    redis.restart().unwrap();
    for gateway in &gateways {
        gateway.clock.advance(Duration::from_secs(1));
    }
    let began = tokio::time::Instant::now();
    let admitted = flood(&gateways).await;
    assert_admitted(admitted, LIMIT, began.elapsed());
}

#[test]
async fn a_redis_that_comes_and_goes_leaves_the_limit_as_it_was() {
    const LIMIT: usize = 2000;
    let node = Node::start();
    let mut redis = RedisServer::start().unwrap();
    let gateways = replicas(&node, &redis, "2000");
    for _ in 0..5 {
        redis.kill().unwrap();
        for gateway in &gateways {
            assert_eq!(gateway.call_status(&[]).await, 200);
        }
        redis.restart().unwrap();
        for gateway in &gateways {
            gateway.clock.advance(Duration::from_secs(1));
            recover(gateway).await;
        }
    }
    // What was counted on the way is gone.
    redis.restart().unwrap();
    for gateway in &gateways {
        gateway.clock.advance(Duration::from_secs(1));
        recover(gateway).await;
    }
    let began = tokio::time::Instant::now();
    let admitted = flood(&gateways).await;
    assert_admitted(admitted, LIMIT, began.elapsed());
}

#[test]
async fn a_clock_of_redis_that_was_set_back_locks_nobody_out() {
    let node = Node::start();
    let redis = RedisServer::start().unwrap();
    let gateway = shared(&node, &redis, "3", "deny");
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    // A state of an hour ahead, as a clock leaves that was an hour fast.
    let (seconds, _): (u64, u64) = redis::cmd("TIME")
        .query_async(&mut connection)
        .await
        .unwrap();
    let ahead = (seconds + 3600) * 1_000_000;
    let _: () = redis::cmd("SET")
        .arg("{archipel:gw:rl}:address:127.0.0.1")
        .arg(ahead)
        .query_async(&mut connection)
        .await
        .unwrap();
    let answer = gateway.call(&[]).await;
    let after = answer.headers.get("retry-after").unwrap();
    let after: u64 = after.to_str().unwrap().parse().unwrap();
    assert!(after <= 60, "one call's time, not an hour: {after}");
}
