//! An envelope has one effect, whatever fails.

use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use archipel_kit::clock::ManualClock;
use archipel_protocol::wan::WanMessage;
use futures_util::stream::{self, BoxStream};
use tokio::sync::mpsc;

use super::*;
use crate::bus::{BusError, Publish, Published};
use crate::registry::AgentTable;
use crate::store::memory::MemoryWan;
use crate::wan::calls::{Deliver, Posted, Seen};
use crate::wan::effects::Effects;
use crate::wan::names;
use crate::wan::place::Places;
use crate::wan::seals::tests::federation;
use crate::wan::worker::Worker;

const NOW: u64 = 1_767_225_600_000;

/// A bus that fails so many times, then tells what it is told.
struct FakeBus {
    failures: Arc<AtomicUsize>,
    told: mpsc::UnboundedSender<(String, uuid::Uuid)>,
}

impl Actor for FakeBus {
    type Context = Context<Self>;
}

impl Handler<Publish> for FakeBus {
    type Result = Result<Published, BusError>;

    fn handle(&mut self, message: Publish, _: &mut Self::Context) -> Self::Result {
        let fails = self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        if fails.is_ok() {
            return Err(BusError::Unavailable);
        }
        let event_id = message.event_id.unwrap();
        let correlation_id = message.correlation_id.unwrap().as_str().to_owned();
        self.told.send((correlation_id, event_id)).unwrap();
        Ok(Published { event_id })
    }
}

/// Sees to no calls.
struct Nobody;

impl Actor for Nobody {
    type Context = Context<Self>;
}

impl Handler<Posted> for Nobody {
    type Result = MessageResult<Posted>;

    fn handle(&mut self, _: Posted, _: &mut Self::Context) -> Self::Result {
        MessageResult(Seen::Dead("nobody is called here".to_owned()))
    }
}

impl Handler<Deliver> for Nobody {
    type Result = MessageResult<Deliver>;

    fn handle(&mut self, _: Deliver, _: &mut Self::Context) -> Self::Result {
        MessageResult(Seen::Dead("nobody is told here".to_owned()))
    }
}

/// A node without agents.
fn places() -> Places {
    let federation = federation(("https://a.example", 1), ("https://b.example", 2));
    Places {
        own: federation.own().clone(),
        agents: Arc::new(ArcSwap::from_pointee(AgentTable::new(Vec::new(), None))),
        federation: Arc::new(federation),
    }
}

struct Scene {
    store: Arc<MemoryWan>,
    clock: Arc<ManualClock>,
    failures: Arc<AtomicUsize>,
    told: mpsc::UnboundedReceiver<(String, uuid::Uuid)>,
    ports: QueuePorts,
}

impl Scene {
    fn new() -> Self {
        let (sender, told) = mpsc::unbounded_channel();
        let failures = Arc::<AtomicUsize>::default();
        let bus = FakeBus {
            failures: Arc::clone(&failures),
            told: sender,
        };
        let nobody = Nobody.start();
        let (store, clock) = (Arc::<MemoryWan>::default(), Arc::new(ManualClock::new(NOW)));
        let ports = QueuePorts {
            side: WanSide::In,
            store: store.clone(),
            work: Arc::new(Effects::new(
                (
                    bus.start().recipient(),
                    nobody.clone().recipient(),
                    nobody.recipient(),
                ),
                places(),
                Worker::Off,
                clock.clone(),
            )),
            clock: clock.clone(),
            metrics: WanMetrics::new(&opentelemetry::global::meter("tests")),
            retention: WanRetention {
                keep_for_ms: u64::MAX,
                keep_count: u64::MAX,
            },
            max_waiting: 3,
        };
        Self {
            store,
            clock,
            failures,
            told,
            ports,
        }
    }

    fn start(&self) -> Addr<WanQueue> {
        WanQueue::new(self.ports.clone()).start()
    }

    async fn waiting(&self) -> u64 {
        self.store.standing(WanSide::In).await.unwrap().waiting
    }
}

fn parcel(correlation_id: &str, message_id: Option<&str>) -> Parcel {
    let body = format!(
        r#"{{"v":1,"correlationId":"{correlation_id}","sourceOrigin":"https://a.example"}}"#
    );
    Parcel {
        message: WanMessage::decode(body.as_bytes()).unwrap(),
        message_id: message_id.map(str::to_owned),
        body: None,
    }
}

async fn take(queue: &Addr<WanQueue>, parcels: Vec<Parcel>) -> Vec<Taken> {
    queue.send(Take(parcels)).await.unwrap().unwrap()
}

#[actix::test]
async fn an_envelope_has_one_effect() {
    let mut scene = Scene::new();
    let queue = scene.start();
    let one = parcel("corr-0001", Some("id-1"));
    let taken = take(&queue, vec![one.clone(), one.clone()]).await;
    assert_eq!(taken, [Taken::First, Taken::Repeated]);
    let renamed = parcel("corr-0002", Some("id-1"));
    assert_eq!(take(&queue, vec![one, renamed]).await, [Taken::Repeated; 2]);
    // Also when the message is called as a node calls it.
    let three = parcel("corr-0003", None);
    let id = names::message_id(names::of(&three.message.envelope));
    let both = ["corr-0003", "corr-0004"].map(|name| parcel(name, Some(&id)));
    let taken = take(&queue, both.to_vec()).await;
    assert_eq!(taken, [Taken::First, Taken::Repeated]);
    for expected in ["corr-0001", "corr-0003"] {
        let (correlation_id, _) = scene.told.recv().await.unwrap();
        assert_eq!(correlation_id, expected);
    }
    while queue.send(Look).await.unwrap().unwrap().in_hand > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.waiting().await, 0);
    assert!(scene.told.try_recv().is_err());
}

#[actix::test]
async fn an_effect_that_fails_is_tried_until_it_is_done() {
    let mut scene = Scene::new();
    scene.failures.store(2, Ordering::SeqCst);
    let queue = scene.start();
    tokio::time::pause();
    let taken = take(&queue, vec![parcel("corr-0001", None)]).await;
    assert_eq!(taken, [Taken::First]);
    let told = loop {
        // Sweeps follow the timer, what is due the clock.
        scene.clock.advance(SWEEP);
        tokio::time::advance(SWEEP).await;
        if let Ok(told) = scene.told.try_recv() {
            break told;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(told.0, "corr-0001");
    assert_eq!(scene.failures.load(Ordering::SeqCst), 0);
}

/// Begins with each envelope and never ends.
#[derive(Default)]
struct Endless(AtomicUsize);

impl Work for Endless {
    fn run(&self, held: Vec<Held>) -> BoxStream<'_, (u64, Outcome)> {
        self.0.fetch_add(held.len(), Ordering::SeqCst);
        stream::pending().boxed()
    }
}

#[actix::test]
async fn an_effect_that_takes_long_is_not_begun_again() {
    let work = Arc::<Endless>::default();
    let mut scene = Scene::new();
    scene.ports.work = work.clone();
    let queue = scene.start();
    let taken = take(&queue, vec![parcel("corr-0001", None)]).await;
    assert_eq!(taken, [Taken::First]);
    tokio::time::pause();
    for _ in 0..120 {
        scene.clock.advance(SWEEP);
        tokio::time::advance(SWEEP).await;
        // Looked at when the sweeps of that second are over.
        assert_eq!(queue.send(Look).await.unwrap().unwrap().in_hand, 1);
    }
    assert_eq!(work.0.load(Ordering::SeqCst), 1);
}

#[actix::test]
async fn what_another_process_had_in_hand_is_seen_to_under_the_same_id() {
    let mut scene = Scene::new();
    let terms = PutTerms {
        now_ms: NOW - 1,
        due_ms: NOW - 1 + HAND_MS,
        most: 10,
    };
    let rows = vec![parcel("corr-0001", None).unpack().0];
    scene.store.put(WanSide::In, rows, terms).await.unwrap();
    let queue = scene.start();
    let (_, first_id) = scene.told.recv().await.unwrap();
    let other = Scene::new();
    let taken = take(&other.start(), vec![parcel("corr-0001", None)]).await;
    assert_eq!(taken, [Taken::First], "another store");
    let mut other = other;
    assert_eq!(other.told.recv().await.unwrap().1, first_id);
    drop(queue);
}

#[actix::test]
async fn no_more_wait_than_may() {
    let scene = Scene::new();
    scene.failures.store(usize::MAX, Ordering::SeqCst);
    let queue = scene.start();
    let ids = ["corr-0001", "corr-0002", "corr-0003", "corr-0004"];
    let parcels = ids.map(|id| parcel(id, None)).to_vec();
    let taken = take(&queue, parcels).await;
    assert_eq!(taken[..3], [Taken::First; 3]);
    assert_eq!(taken[3], Taken::Full);
}
