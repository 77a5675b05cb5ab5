//! The bus inside one site: events to subscribers in this process, and over each broker beside its raw client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler};
use anyhow::{Context as _, ensure};
use archipel_kit::clock::{Clock, SystemClock};
use archipel_kit::settings::{Environment, Secret, load};
use archipel_node::bus::{
    BusActor, BusAdapter, BusEvent, BusRules, Publish, Received, Snapshot, Subscribe,
    in_process as local, nats as over,
};
use archipel_node::config::NodeSettings;
use archipel_node::nats::Nats;
use archipel_node::store::redis::{Address, RedisStore};
use archipel_protocol::envelope::{
    AgentLifecycle, BusSecret, Event, EventId, MeshMeta, SystemEvent, SystemPayload, Timestamp,
    seal,
};
use archipel_protocol::ids::Text;
use archipel_protocol::names::Dialect;
use archipel_tests::services::{NatsServer, RedisServer};
use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt};
use uuid::Uuid;

use super::Compared;
use super::raw::{BATCH, Raw};

const SUBSCRIBERS: u64 = 8;
/// Batches under way at once.
const BATCHES: usize = 4;
/// How long whatever is on its way may take to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// A first part of the work, which is not counted.
const WARM_UP: usize = 8;
const DIALECT: Dialect = Dialect::Hive;

/// Counts what it hears.
struct Listener(Arc<AtomicU64>);

impl Actor for Listener {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        // As the node's own subscribers have it.
        context.set_mailbox_capacity(4096);
    }
}

impl Handler<BusEvent> for Listener {
    type Result = ();

    fn handle(&mut self, _: BusEvent, _: &mut Self::Context) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What came to pass over one broker, in a second.
struct Rates {
    /// Events that were sealed and published, each by somebody who waits for its answer.
    sent: f64,
    /// Messages that the raw client published: each for somebody who waits for its answer, then in batches made by hand,
    /// of which only the whole is answered.
    raw_sent: [f64; 2],
    /// Messages that were heard and opened.
    opened: f64,
    /// Messages that the raw client heard.
    came: f64,
}

/// Without a broker: everything to several subscribers.
pub(super) async fn in_process(
    messages: usize,
    clock: SystemClock,
) -> anyhow::Result<Vec<Compared>> {
    let bus = start(local::connect(), clock)?;
    let heard = Arc::new(AtomicU64::new(0));
    for _ in 0..SUBSCRIBERS {
        listen(&bus, &heard).await?;
    }
    publish(&bus, messages / WARM_UP, clock).await?;
    until_heard(&heard, (messages / WARM_UP) as u64 * SUBSCRIBERS, clock).await?;
    heard.store(0, Ordering::Relaxed);
    let begun = clock.monotonic();
    publish(&bus, messages, clock).await?;
    let deliveries = messages as u64 * SUBSCRIBERS;
    until_heard(&heard, deliveries, clock).await?;
    let ours = rate(deliveries, begun, clock);
    let counts = bus.send(Snapshot).await?;
    ensure!(counts.missed == 0, "subscribers missed {}", counts.missed);
    Ok(vec![Compared {
        what: "bus in one process, deliveries to 8 subscribers",
        ours,
        raw: None,
    }])
}

pub(super) async fn over_redis(
    messages: usize,
    clock: SystemClock,
) -> anyhow::Result<Vec<Compared>> {
    let server = RedisServer::start()?;
    let mut settings = load::<NodeSettings>(None, &Environment::default())
        .ok()
        .context("no settings without a file")?
        .redis;
    settings.url = Some(Secret::new(server.url()));
    let address = Address::from_settings(&settings)?.context("no address")?;
    let store = RedisStore::open(address, &settings, Arc::new(clock))?;
    let channel = DIALECT.system_events_channel();
    let raw = Raw::redis(&server.url()).await?;
    let ours = || store.bus(&[channel]);
    let rates = beside(ours, (raw, channel), messages, clock).await?;
    Ok(rates.compared([
        "bus over Redis, seal and publish",
        "bus over Redis, the same against batches made by hand",
        "bus over Redis, receive and open",
    ]))
}

pub(super) async fn over_nats(
    messages: usize,
    clock: SystemClock,
) -> anyhow::Result<Vec<Compared>> {
    let server = NatsServer::start()?;
    let nats = connect(&server).await?;
    let raw = Raw::nats(&server.url()).await?;
    let subject = format!("load.{}", DIALECT.system_events_channel());
    let ours = || over::connect(&nats, "load");
    let rates = beside(ours, (raw, &subject), messages, clock).await?;
    Ok(rates.compared([
        "bus over NATS, seal and publish",
        "bus over NATS, the same against batches made by hand",
        "bus over NATS, receive and open",
    ]))
}

/// A connection of a node to that server.
pub(super) async fn connect(server: &NatsServer) -> anyhow::Result<Nats> {
    let mut settings = load::<NodeSettings>(None, &Environment::default())
        .ok()
        .context("no settings without a file")?
        .nats;
    settings.url = Some(Secret::new(server.url()));
    let nats = Nats::connect(&settings, "load").await;
    let nats = nats.ok().flatten().context("no connection to NATS")?;
    while !nats.is_connected() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(nats)
}

/// Ours and the raw client, both sending, then both hearing.
async fn beside(
    ours: impl Fn() -> (Arc<dyn BusAdapter>, Received),
    (raw, channel): (Raw, &str),
    messages: usize,
    clock: SystemClock,
) -> anyhow::Result<Rates> {
    // Of those that send nobody hears anything.
    let bus = start((ours().0, stream::pending().boxed()), clock)?;
    publish(&bus, messages / WARM_UP, clock).await?;
    let begun = clock.monotonic();
    publish(&bus, messages, clock).await?;
    let sent = rate(messages as u64, begun, clock);
    let wires = sealed(messages, clock)?;
    let first = wires.get(..messages / WARM_UP).unwrap_or_default();
    let mut raw_sent = [0.0; 2];
    for (in_one_go, rate_of) in [false, true].into_iter().zip(&mut raw_sent) {
        publish_raw(&raw, channel, first, in_one_go).await?;
        let begun = clock.monotonic();
        publish_raw(&raw, channel, &wires, in_one_go).await?;
        *rate_of = rate(messages as u64, begun, clock);
    }

    let bus = start(ours(), clock)?;
    let heard = Arc::new(AtomicU64::new(0));
    listen(&bus, &heard).await?;
    while heard.load(Ordering::Relaxed) == 0 {
        publish(&bus, 1, clock).await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let wires = sealed(messages, clock)?;
    let (before, begun) = (heard.load(Ordering::Relaxed), clock.monotonic());
    let source = raw.source(channel, wires.clone(), Arc::clone(&heard));
    until_heard(&heard, before + messages as u64, clock).await?;
    let opened = rate(messages as u64, begun, clock);
    ensure!(
        source.join().is_ok_and(|sent| sent.is_ok()),
        "the source failed"
    );

    let heard = Arc::new(AtomicU64::new(0));
    let mut coming = raw.hear(channel).await?;
    let begun = clock.monotonic();
    let source = raw.source(channel, wires, Arc::clone(&heard));
    while heard.load(Ordering::Relaxed) < messages as u64 {
        ensure!(
            coming.next().await.is_some_and(|length| length > 0),
            "nothing comes"
        );
        heard.fetch_add(1, Ordering::Relaxed);
    }
    let came = rate(messages as u64, begun, clock);
    ensure!(
        source.join().is_ok_and(|sent| sent.is_ok()),
        "the source failed"
    );
    Ok(Rates {
        sent,
        raw_sent,
        opened,
        came,
    })
}

impl Rates {
    fn compared(&self, [each, batches, heard]: [&'static str; 3]) -> Vec<Compared> {
        let [raw_each, raw_batches] = self.raw_sent;
        [
            (each, self.sent, raw_each),
            (batches, self.sent, raw_batches),
            (heard, self.opened, self.came),
        ]
        .map(|(what, ours, raw)| Compared {
            what,
            ours,
            raw: Some(raw),
        })
        .into()
    }
}

pub(super) fn start(
    ends: (Arc<dyn BusAdapter>, Received),
    clock: SystemClock,
) -> anyhow::Result<Addr<BusActor>> {
    let rules = BusRules {
        secrets: vec![secret()?],
        dialect: DIALECT,
        freshness: Duration::from_secs(300),
    };
    Ok(BusActor::new(rules, ends, Arc::new(clock)).start())
}

fn secret() -> anyhow::Result<BusSecret> {
    Ok(BusSecret::new(&"load".repeat(8))?)
}

pub(super) async fn listen(bus: &Addr<BusActor>, heard: &Arc<AtomicU64>) -> anyhow::Result<()> {
    let listener = Listener(Arc::clone(heard)).start();
    Ok(bus.send(Subscribe(listener.recipient())).await?)
}

/// An event as the control plane tells it.
fn event(clock: SystemClock) -> anyhow::Result<Event> {
    Ok(Event::System(SystemEvent {
        payload: SystemPayload::Agent {
            change: AgentLifecycle::Paused,
            agent_id: Text::parse("summarizer")?,
            name: Text::parse("Summarizer of contracts")?,
        },
        timestamp: Timestamp::from_unix_ms(i64::try_from(clock.now_ms())?)?,
    }))
}

/// Publishes events and waits until the bus has answered all of them.
async fn publish(bus: &Addr<BusActor>, messages: usize, clock: SystemClock) -> anyhow::Result<()> {
    let part = async |messages: usize| {
        let mut left = messages;
        while left > 0 {
            let batch = left.min(BATCH);
            left -= batch;
            let mut sent = Vec::with_capacity(batch);
            for _ in 0..batch {
                sent.push(bus.send(Publish {
                    event: event(clock)?,
                    correlation_id: None,
                    event_id: None,
                }));
            }
            for told in sent {
                told.await??;
            }
        }
        anyhow::Ok(())
    };
    let parts =
        (0..BATCHES).map(|at| part(messages / BATCHES + usize::from(at < messages % BATCHES)));
    try_join_all(parts).await?;
    Ok(())
}

async fn publish_raw(
    raw: &Raw,
    channel: &str,
    wires: &[Bytes],
    in_one_go: bool,
) -> anyhow::Result<()> {
    let part = async |wires: &[Bytes]| {
        let mut raw = raw.clone();
        for batch in wires.chunks(BATCH) {
            if in_one_go {
                raw.publish(channel, batch).await?;
            } else {
                raw.publish_each(channel, batch).await?;
            }
        }
        anyhow::Ok(())
    };
    try_join_all(wires.chunks(wires.len().div_ceil(BATCHES).max(1)).map(part)).await?;
    Ok(())
}

/// Messages as they travel, each with an id of its own.
fn sealed(messages: usize, clock: SystemClock) -> anyhow::Result<Vec<Bytes>> {
    let secret = secret()?;
    let channel = DIALECT.system_events_channel();
    let mut wires = Vec::with_capacity(messages);
    for _ in 0..messages {
        let meta = MeshMeta {
            event_id: EventId::from(Uuid::new_v4()),
            correlation_id: None,
        };
        let wire = seal(&event(clock)?, channel, &meta, Some(&secret), DIALECT);
        wires.push(Bytes::from(wire));
    }
    Ok(wires)
}

async fn until_heard(heard: &AtomicU64, number: u64, clock: SystemClock) -> anyhow::Result<()> {
    let begun = clock.monotonic();
    while heard.load(Ordering::Relaxed) < number {
        ensure!(
            clock.monotonic() < begun + PATIENCE,
            "{} of {number} came",
            heard.load(Ordering::Relaxed)
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

pub(super) fn rate(number: u64, begun: Duration, clock: SystemClock) -> f64 {
    number as f64 / clock.monotonic().saturating_sub(begun).as_secs_f64()
}
