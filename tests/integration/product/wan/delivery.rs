//! Two sites, each of two replicas with a Redis and a NATS of its own, joined by a leaf node: while all of them are killed
//! and started again, and the link is cut, every envelope that was accepted has one effect, and the poisoned are the dead.
//!
//! `ARCHIPEL_DELIVERY_SEED` repeats a run; `ARCHIPEL_DELIVERY_ENVELOPES` makes it longer.

use std::collections::{HashMap, HashSet};
use std::io::{Write as _, stderr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use archipel_tests::mesh::{Client, FakeAgent, NodeProcess, free_port};
use archipel_tests::services::{NatsServer, RedisServer};
use async_nats::jetstream::{self, context::PublishErrorKind};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::NODE;

const ENVELOPES: usize = 1_500;
/// Letters that are no envelopes.
const POISONED: usize = 20;
/// Clients that publish at the same time.
const PUBLISHERS: usize = 16;
/// Things that happen at least, however quick the publishers are.
const EVENTS: usize = 8;
/// Longer than anything rests on the way: what a killed replica had in hand is left alone for twenty seconds.
const LONGEST_REST: Duration = Duration::from_secs(150);
const SUBJECT: &str = "hive.mesh.wan";
const ALPHA: &str = "http://alpha.example";
const BETA: &str = "http://beta.example";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_accepted_envelope_has_one_effect_whatever_is_killed() {
    let seed = number_from("ARCHIPEL_DELIVERY_SEED").unwrap_or_else(rand::random);
    let envelopes = number_from("ARCHIPEL_DELIVERY_ENVELOPES")
        .map_or(ENVELOPES, |number| usize::try_from(number).unwrap());
    // Shown whatever comes of it, also when a wait is in vain.
    writeln!(stderr(), "ARCHIPEL_DELIVERY_SEED={seed} repeats this run").unwrap();
    let receiver = Receiver::start();
    let mut sites = Sites::start(receiver.origin()).await;
    poison(&sites.alpha.nats.url()).await;
    let published = Published::begin(&sites.alpha, envelopes);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut happened = Vec::new();
    while happened.len() < EVENTS || !published.is_over() {
        happened.push(sites.suffer(&mut rng).await);
        // Time to come back, and to do something before the next thing happens.
        sleep(Duration::from_millis(rng.random_range(200..1_000))).await;
    }
    writeln!(stderr(), "what happened: {happened:?}").unwrap();
    published.end().await;
    let seen = receiver.until_all(envelopes).await;
    sites.beta.until_idle().await;
    sites.alpha.until_idle().await;
    let effects: HashSet<&String> = seen.values().flatten().collect();
    for (envelope, effects) in &seen {
        assert_eq!(effects.len(), 1, "{envelope} has one effect: {effects:?}");
    }
    assert_eq!((seen.len(), effects.len()), (envelopes, envelopes));
    let dead = sites.beta.dead().await;
    assert_eq!(dead.len(), POISONED, "{dead:?}");
    for letter in &dead {
        assert_eq!(letter["correlationId"], Value::Null, "{letter}");
    }
}

/// One site.
struct Site {
    redis: RedisServer,
    nats: NatsServer,
    replicas: [NodeProcess; 2],
}

/// Both, and the link between them.
struct Sites {
    alpha: Site,
    beta: Site,
    link: Link,
}

impl Sites {
    async fn start(webhook: &str) -> Self {
        let leaf_port = free_port();
        let hub = format!("leafnodes {{ listen: \"127.0.0.1:{leaf_port}\" }}");
        let alpha_nats = NatsServer::start_with(Some("alpha"), &hub).unwrap();
        let link = Link::start(leaf_port).await;
        let leaf = format!(
            "leafnodes {{ reconnect: 1, remotes: [ {{ url: \"nats-leaf://127.0.0.1:{}\"\n\
             deny_imports: [\"{SUBJECT}\", \"archipel.>\"]\n deny_exports: [\"{SUBJECT}\", \"archipel.>\"] }} ] }}",
            link.port
        );
        let beta_nats = NatsServer::start_with(Some("beta"), &leaf).unwrap();
        let worker = format!(
            "[wan]\nworker = \"webhook\"\nwebhook_url = \"{webhook}/hook\"\nwebhook_bearer = \"of the webhook\"\n\
             webhook_retry = \"100ms\"\nwebhook_attempts = 10"
        );
        Self {
            alpha: Site::start((ALPHA, "beta"), alpha_nats, "").await,
            beta: Site::start((BETA, "alpha"), beta_nats, &worker).await,
            link,
        }
    }

    /// Something goes away for a moment.
    async fn suffer(&mut self, rng: &mut StdRng) -> &'static str {
        let away = Duration::from_millis(rng.random_range(100..1_200));
        let at_alpha = rng.random_bool(0.5);
        let site = if at_alpha {
            &mut self.alpha
        } else {
            &mut self.beta
        };
        match rng.random_range(0..5) {
            0 => {
                site.nats.kill().unwrap();
                sleep(away).await;
                site.nats.restart().unwrap();
                "NATS killed"
            }
            1 => {
                site.redis.kill().unwrap();
                sleep(away).await;
                site.redis.restart().unwrap();
                "Redis killed"
            }
            2 | 3 => {
                let replica = &mut site.replicas[rng.random_range(0..2)];
                replica.kill().await;
                sleep(away).await;
                replica.restart().await;
                "replica killed"
            }
            _ => {
                self.link.cut(away).await;
                "link cut"
            }
        }
    }
}

impl Site {
    async fn start((origin, other): (&str, &str), nats: NatsServer, more: &str) -> Self {
        // What it has answered survives it. Synced every second it would not: while a sync is slow, Redis answers before it
        // has written anything.
        let keeping = ["--appendonly", "yes", "--appendfsync", "always"];
        let redis = RedisServer::start_with(&keeping).unwrap();
        let settings = format!(
            "public_origin = \"{origin}\"\n[redis]\nurl = \"{}\"\n[nats]\nurl = \"{}\"\n\
             line.from_domains = [\"{other}\"]\nline.settle_within = \"5s\"\n{more}",
            redis.url(),
            nats.url()
        );
        let replica = || NodeProcess::start(NODE, |config| config.add(&settings));
        Self {
            replicas: [replica().await, replica().await],
            redis,
            nats,
        }
    }

    /// Waits until nothing waits on either side.
    async fn until_idle(&self) {
        let client = self.replicas[0].client();
        let idle = async {
            loop {
                let status = client.get("/api/mesh/wan").await.json();
                if status["inbox"]["waiting"] == 0 && status["outbox"]["waiting"] == 0 {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let idle = timeout(LONGEST_REST, idle).await;
        assert!(idle.is_ok(), "something waits for ever");
    }

    async fn dead(&self) -> Vec<Value> {
        let list = self.replicas[0].client().get("/api/mesh/wan/dead").await;
        list.json()["dead"].as_array().unwrap().clone()
    }
}

/// Envelopes on their way to be accepted.
struct Published {
    clients: JoinSet<()>,
    left: Arc<AtomicUsize>,
}

impl Published {
    /// Has alpha accept every one of them, at either replica, however often that takes.
    fn begin(alpha: &Site, envelopes: usize) -> Self {
        let left = Arc::new(AtomicUsize::new(envelopes));
        let mut clients = JoinSet::new();
        for first in 0..PUBLISHERS {
            let ways = [alpha.replicas[0].client(), alpha.replicas[1].client()];
            let left = Arc::clone(&left);
            clients.spawn(async move {
                for number in (first..envelopes).step_by(PUBLISHERS) {
                    publish(&ways, number).await;
                    left.fetch_sub(1, Ordering::Relaxed);
                }
            });
        }
        Self { clients, left }
    }

    fn is_over(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    async fn end(mut self) {
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
    }
}

async fn publish(ways: &[Client], number: usize) {
    let envelope = json!({
        "v": 1,
        "correlationId": correlation(number),
        "sourceOrigin": ALPHA,
        "targetOrigin": BETA,
        "payload": {"number": number},
    });
    for way in ways.iter().cycle().skip(number % 2) {
        let answer = way.try_post("/v1/publish", envelope.to_string()).await;
        match answer.map(|answer| answer.status) {
            Some(202) => return,
            Some(503) | None => sleep(Duration::from_millis(50)).await,
            Some(other) => panic!("{other} to an envelope"),
        }
    }
}

fn correlation(number: usize) -> String {
    format!("delivery-{number:06}")
}

/// Puts letters on alpha's line that are no envelopes, once its node has made the stream that takes them.
async fn poison(nats_url: &str) {
    let client = async_nats::connect(nats_url).await.unwrap();
    let line = jetstream::new(client);
    for number in 0..POISONED {
        let letter = Bytes::from(format!("no envelope {number}"));
        loop {
            let taken = line.publish(SUBJECT, letter.clone()).await.unwrap().await;
            match taken {
                Ok(_) => break,
                Err(error) if error.kind() == PublishErrorKind::StreamNotFound => {
                    sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Who gets beta's envelopes.
struct Receiver {
    origin: String,
    /// Of each envelope, the names of the effects it had.
    seen: Arc<Mutex<HashMap<String, HashSet<String>>>>,
    task: AbortHandle,
}

impl Receiver {
    fn start() -> Self {
        let mut agent = FakeAgent::start();
        let origin = agent.origin().to_owned();
        let seen: Arc<Mutex<HashMap<String, HashSet<String>>>> = Arc::default();
        let noted = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut calls = 0_u32;
            while let Some(call) = agent.next_call().await {
                calls += 1;
                let envelope = call.body()["correlationId"].as_str().unwrap().to_owned();
                let effect = call.header("idempotency-key").unwrap().to_owned();
                noted
                    .lock()
                    .unwrap()
                    .entry(envelope)
                    .or_default()
                    .insert(effect);
                // Now and then it has noted what it says it has not.
                let status = if calls.is_multiple_of(50) { 503 } else { 204 };
                call.answer_raw(status, "text/plain", "");
            }
        });
        Self {
            origin,
            seen,
            task: task.abort_handle(),
        }
    }

    fn origin(&self) -> &str {
        &self.origin
    }

    /// What has come, once so many envelopes have.
    async fn until_all(&self, envelopes: usize) -> HashMap<String, HashSet<String>> {
        let come = || self.seen.lock().unwrap().len();
        loop {
            let before = come();
            if before >= envelopes {
                return self.seen.lock().unwrap().clone();
            }
            let more = async {
                while come() == before {
                    sleep(Duration::from_millis(20)).await;
                }
            };
            if timeout(LONGEST_REST, more).await.is_err() {
                let seen = self.seen.lock().unwrap();
                let missing = (0..envelopes).map(correlation);
                let missing: Vec<_> = missing.filter(|id| !seen.contains_key(id)).collect();
                panic!("{before} of {envelopes} came, and nothing more: {missing:?} did not");
            }
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The way from beta's broker to alpha's, which can be cut.
struct Link {
    port: u16,
    is_cut: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Link {
    async fn start(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_cut = Arc::new(AtomicBool::new(false));
        let cut = Arc::clone(&is_cut);
        let task = tokio::spawn(async move {
            let mut ways = JoinSet::new();
            loop {
                let Ok(accepted) = timeout(Duration::from_millis(20), listener.accept()).await
                else {
                    if cut.load(Ordering::Relaxed) {
                        ways.abort_all();
                    }
                    continue;
                };
                let (mut near, _) = accepted.unwrap();
                if cut.load(Ordering::Relaxed) {
                    continue;
                }
                ways.spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(("127.0.0.1", to)).await {
                        // Either side may go away at any time.
                        let _ = copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        Self {
            port,
            is_cut,
            task: task.abort_handle(),
        }
    }

    async fn cut(&self, time: Duration) {
        self.is_cut.store(true, Ordering::Relaxed);
        sleep(time).await;
        self.is_cut.store(false, Ordering::Relaxed);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap())
}
