//! A token is taken once: three replicas that share a Redis, which loses its data, restarts and hangs while tokens are shown
//! to all of them at once, and replicas that die; and a node that keeps its claims itself.
//!
//! What happens when is drawn from a seed, which is printed and can be given in `ARCHIPEL_TEST_SEED`.

use std::collections::BTreeMap;
use std::time::Duration;

use archipel_kit::client::{AddressPolicy, ClientOptions, HttpClient, RequestBody, Timeouts};
use archipel_tests::mesh::{Identity, NodeConfig, NodeProcess, until};
use archipel_tests::services::RedisServer;
use futures_util::future::join_all;
use http::Request;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};

use crate::{ECHO, NODE};

const SEED_VARIABLE: &str = "ARCHIPEL_TEST_SEED";
/// How often tokens are shown in all.
const PRESENTATIONS: usize = 10_000;
/// New tokens in each round.
const NEW: usize = 12;
/// Used tokens that are shown again in each round.
const OLD: usize = 4;
/// How often each token is shown to each replica at once.
const TIMES: usize = 2;

/// What can go wrong while tokens are shown.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    RedisRestarts,
    RedisRestartsEmpty,
    RedisIsFlushed,
    RedisHangs,
    ReplicaIsKilled,
}

const TROUBLES: [Trouble; 5] = [
    Trouble::RedisRestarts,
    Trouble::RedisRestartsEmpty,
    Trouble::RedisIsFlushed,
    Trouble::RedisHangs,
    Trouble::ReplicaIsKilled,
];

/// The node whose replicas are shown tokens, and a peer of it.
struct World {
    own: Identity,
    peer: Identity,
    client: HttpClient,
    /// How often each token was taken.
    taken: BTreeMap<String, usize>,
    shown: usize,
}

impl World {
    fn new() -> Self {
        Self {
            own: Identity::of_new_node(),
            peer: Identity::of_new_node(),
            client: HttpClient::new(ClientOptions::new(AddressPolicy::Any)),
            taken: BTreeMap::new(),
            shown: 0,
        }
    }

    /// Makes what is configured a process of the node.
    fn configure(&self, config: &mut NodeConfig) {
        let listen = config.listen().to_owned();
        self.own.configure(config);
        self.peer.configure_as_peer(config, "alpha");
        config.add(&format!(
            "listen = \"{listen}\"\npublic_origin = \"{}\"\n\
             limits.failures = 0\nfederation.rate_limit = 100000",
            self.own.origin()
        ));
    }

    fn mint(&self) -> String {
        self.peer.token_for(self.own.origin())
    }

    /// The status of one answer; `None` when there is none.
    async fn show(&self, origin: &str, token: &str) -> Option<u16> {
        let request = Request::builder()
            .method("POST")
            .uri(format!("{origin}{ECHO}"))
            .header("content-type", "application/json")
            .header("a2a-version", "1.0")
            .header("x-hive-federation-jwt", token)
            .body(RequestBody::from(
                r#"{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{"id":"none"}}"#,
            ))
            .unwrap();
        let limits = Timeouts {
            total: Some(Duration::from_secs(20)),
            ..Timeouts::default()
        };
        let answer = self.client.send(request, limits).await.ok()?;
        let status = answer.status.as_u16();
        answer.read_all(1 << 16).await.ok()?;
        assert!(matches!(status, 200 | 401 | 503), "{status}");
        Some(status)
    }

    /// Shows each token to each origin, several times and all at once; the statuses of the answers.
    async fn show_all(&mut self, origins: &[String], tokens: &[String]) -> Vec<Option<u16>> {
        let pairs: Vec<(&String, &String)> = (0..TIMES)
            .flat_map(|_| tokens)
            .flat_map(|token| origins.iter().map(move |origin| (origin, token)))
            .collect();
        let shown = pairs.iter().map(|(origin, token)| self.show(origin, token));
        let statuses = join_all(shown).await;
        for ((_, token), status) in pairs.iter().zip(&statuses) {
            let taken = self.taken.entry((*token).clone()).or_default();
            *taken += usize::from(*status == Some(200));
            assert!(*taken <= 1, "taken twice: {token}");
        }
        self.shown += statuses.len();
        statuses
    }

    /// Mints until a token is taken.
    async fn is_served(&mut self, origin: &str) {
        let origins = [origin.to_owned()];
        until("a token that is taken", async || {
            let token = self.mint();
            let statuses = self.show_all(&origins, &[token]).await;
            statuses.contains(&Some(200)).then_some(())
        })
        .await;
    }
}

fn seeded() -> StdRng {
    let given = std::env::var(SEED_VARIABLE).ok();
    let seed = given.map_or_else(rand::random, |seed| seed.parse().unwrap());
    // Shown by the test runner when the test fails.
    #[expect(
        clippy::print_stderr,
        reason = "without the seed a failure could not be repeated"
    )]
    {
        eprintln!("{SEED_VARIABLE}={seed}");
    }
    StdRng::seed_from_u64(seed)
}

async fn replicas(world: &World, redis: &RedisServer) -> Vec<NodeProcess> {
    let url = redis.url();
    let start = || {
        NodeProcess::start(NODE, |config| {
            world.configure(config);
            config.add(&format!("[redis]\nurl = \"{url}\""));
        })
    };
    let (first, second, third) = tokio::join!(start(), start(), start());
    vec![first, second, third]
}

/// Lets something go wrong, and gives what has to be put right again a moment to be wrong.
async fn cause(trouble: Trouble, redis: &mut RedisServer, victim: &mut NodeProcess) {
    match trouble {
        Trouble::RedisRestarts => redis.restart().unwrap(),
        Trouble::RedisRestartsEmpty => redis.restart_empty().unwrap(),
        Trouble::RedisIsFlushed => drop(redis.ask(&["flushall"]).unwrap()),
        Trouble::RedisHangs => {
            redis.suspend().unwrap();
            tokio::time::sleep(Duration::from_millis(400)).await;
            redis.resume().unwrap();
        }
        Trouble::ReplicaIsKilled => {
            victim.kill().await;
            victim.restart().await;
        }
    }
}

#[tokio::test]
async fn no_token_is_taken_twice_whatever_is_lost_meanwhile() {
    let mut random = seeded();
    let mut world = World::new();
    // What it is told is on the disk before it answers, so that a restart can keep everything.
    let keeping = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut redis = RedisServer::start_with(&keeping).unwrap();
    let mut nodes = replicas(&world, &redis).await;
    let origins: Vec<String> = nodes.iter().map(|node| node.origin().to_owned()).collect();
    world.is_served(&origins[0]).await;
    let mut ahead = Vec::new();
    let mut quiet_rounds = 0;
    while world.shown < PRESENTATIONS {
        if ahead.is_empty() {
            // Each trouble comes as often as every other, between rounds in which nothing happens.
            ahead = TROUBLES.map(Some).to_vec();
            ahead.resize(20, None);
            ahead.shuffle(&mut random);
        }
        let trouble = ahead.pop().flatten();
        let known: Vec<String> = world.taken.keys().cloned().collect();
        let mut tokens: Vec<String> = known.sample(&mut random, OLD).cloned().collect();
        tokens.extend((0..NEW).map(|_| world.mint()));
        let victim = random.random_range(0..nodes.len());
        let Some(trouble) = trouble else {
            let statuses = world.show_all(&origins, &tokens).await;
            quiet_rounds += usize::from(statuses.contains(&Some(200)));
            continue;
        };
        let before = world.mint();
        let (_, statuses) = tokio::join!(
            cause(trouble, &mut redis, &mut nodes[victim]),
            world.show_all(&origins, &tokens),
        );
        assert!(!statuses.is_empty());
        if matches!(
            trouble,
            Trouble::RedisRestartsEmpty | Trouble::RedisIsFlushed
        ) {
            // Nobody has ever shown it, but nobody can know that any more.
            let statuses = world.show_all(&origins, &[before]).await;
            assert!(!statuses.contains(&Some(200)), "{trouble:?}: {statuses:?}");
        }
        // Everything is well again, for every replica.
        for origin in &origins {
            world.is_served(origin).await;
        }
    }
    assert!(quiet_rounds > 0);
    let taken: usize = world.taken.values().sum();
    assert!(
        taken >= NEW * quiet_rounds / 2,
        "{taken} of {quiet_rounds} rounds"
    );
}

#[tokio::test]
async fn while_redis_cannot_tell_no_token_is_taken() {
    let mut world = World::new();
    let redis = RedisServer::start().unwrap();
    let nodes = replicas(&world, &redis).await;
    let origins: Vec<String> = nodes.iter().map(|node| node.origin().to_owned()).collect();
    world.is_served(&origins[0]).await;
    redis.suspend().unwrap();
    let tokens = [world.mint(), world.mint()];
    let statuses = world.show_all(&origins, &tokens).await;
    assert_eq!(
        statuses,
        vec![Some(503); tokens.len() * origins.len() * TIMES]
    );
    redis.resume().unwrap();
    world.is_served(&origins[1]).await;
}

#[tokio::test]
async fn a_node_that_keeps_its_claims_itself_remembers_them_when_it_is_killed() {
    let mut world = World::new();
    let mut node = NodeProcess::start(NODE, |config| world.configure(config)).await;
    let origins = [node.origin().to_owned()];
    for _ in 0..3 {
        let tokens: Vec<String> = (0..20).map(|_| world.mint()).collect();
        let (_, statuses) = tokio::join!(node.kill(), world.show_all(&origins, &tokens));
        node.restart().await;
        assert!(!statuses.is_empty());
        // Those that were taken before it died are not taken again; the assertion is in the showing.
        world.show_all(&origins, &tokens).await;
        let all: Vec<String> = world.taken.keys().cloned().collect();
        let again = world.show_all(&origins, &all).await;
        assert!(!again.contains(&Some(200)));
        world.is_served(&origins[0]).await;
    }
}
