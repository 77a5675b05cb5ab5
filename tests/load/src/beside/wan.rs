//! Envelopes from one site's outbox to their effect at another, beside the raw client that publishes to the same kind of
//! stream and consumes from it, both with acknowledgements and in the same batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, MessageResult};
use anyhow::{Context as _, ensure};
use arc_swap::ArcSwap;
use archipel_kit::clock::{Clock, SystemClock};
use archipel_kit::settings::{Environment, Settings, from_json, load};
use archipel_kit::telemetry::Telemetry;
use archipel_node::bus::in_process;
use archipel_node::config::{CardCheck, NodeSettings};
use archipel_node::federation::Federation;
use archipel_node::federation::settings::PeerSettings;
use archipel_node::metrics::WanMetrics;
use archipel_node::nats::Nats;
use archipel_node::registry::AgentTable;
use archipel_node::store::embedded::{Durability, EmbeddedSettings, EmbeddedStore};
use archipel_node::store::wan::{WanRetention, WanSide};
use archipel_node::wan::calls::{Deliver, NotSent, Posted, Seen};
use archipel_node::wan::effects::Effects;
use archipel_node::wan::intake::Intake;
use archipel_node::wan::line::WanLine;
use archipel_node::wan::line::jetstream::JetStreamLine;
use archipel_node::wan::place::Places;
use archipel_node::wan::queue::{Look, Parcel, QueuePorts, Take, Taken, WanQueue, Work};
use archipel_node::wan::seals::Seals;
use archipel_node::wan::sending::Sending;
use archipel_node::wan::worker::Worker;
use archipel_protocol::federation::keys;
use archipel_protocol::ids::Origin;
use archipel_protocol::names::Dialect;
use archipel_protocol::wan::{Envelope, MeshTrace, WanMessage};
use archipel_tests::services::NatsServer;
use async_nats::jetstream::{
    self, consumer, context::PublishAckFuture, message::PublishMessage, stream,
};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{join_all, try_join};
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use super::Compared;
use super::bus::{connect, listen, rate, start};

/// Envelopes that are handed over or fetched at once, on both ways.
const BATCH: usize = 256;
/// Batches under way at once, on both ways.
const BATCHES: usize = 4;
/// What an envelope says, in letters.
const TEXT: usize = 256;
const ALPHA: &str = "https://alpha.example";
const BETA: &str = "https://beta.example";

/// One site: what a node makes of its settings, as far as envelopes go.
struct Site {
    store: Arc<EmbeddedStore>,
    seals: Arc<Seals>,
    places: Places,
    line: Arc<dyn WanLine>,
    settings: NodeSettings,
    metrics: WanMetrics,
    clock: SystemClock,
    _folder: TempDir,
}

/// What would be done with calls of agents, of which none are made here.
struct NoCalls;

impl Actor for NoCalls {
    type Context = Context<Self>;
}

impl Handler<Posted> for NoCalls {
    type Result = MessageResult<Posted>;

    fn handle(&mut self, _: Posted, _: &mut Self::Context) -> Self::Result {
        MessageResult(Seen::Done)
    }
}

impl Handler<Deliver> for NoCalls {
    type Result = MessageResult<Deliver>;

    fn handle(&mut self, _: Deliver, _: &mut Self::Context) -> Self::Result {
        MessageResult(Seen::Done)
    }
}

impl Handler<NotSent> for NoCalls {
    type Result = bool;

    fn handle(&mut self, _: NotSent, _: &mut Self::Context) -> Self::Result {
        true
    }
}

pub(super) async fn measure(envelopes: usize, clock: SystemClock) -> anyhow::Result<Vec<Compared>> {
    let server = NatsServer::start()?;
    let raw = raw(&server, envelopes, clock).await?;
    let plain = ours(false, envelopes, clock).await?;
    let sealed = ours(true, envelopes, clock).await?;
    let compared = |what, ours| Compared {
        what,
        ours,
        raw: Some(raw),
    };
    Ok(vec![
        compared("WAN, from the outbox to the effect", plain),
        compared("WAN, the same with Ed25519 seals", sealed),
    ])
}

async fn ours(sealed: bool, envelopes: usize, clock: SystemClock) -> anyhow::Result<f64> {
    let server = NatsServer::start()?;
    let alpha = Site::new((ALPHA, BETA), sealed, connect(&server).await?, clock)?;
    let beta = Site::new((BETA, ALPHA), sealed, connect(&server).await?, clock)?;
    let calls = NoCalls.start();
    let (line, seals) = (Arc::clone(&alpha.line), Arc::clone(&alpha.seals));
    let sending = Sending::new(line, seals, calls.clone().recipient(), Arc::new(clock));
    let outbox = alpha.queue(WanSide::Out, Arc::new(sending));
    let bus = start(in_process::connect(), clock)?;
    let told = Arc::new(AtomicU64::new(0));
    listen(&bus, &told).await?;
    let told_of = (
        bus.recipient(),
        calls.clone().recipient(),
        calls.recipient(),
    );
    let places = beta.places.clone();
    let effects = Effects::new(told_of, places, Worker::Off, Arc::new(clock));
    let inbox = beta.queue(WanSide::In, Arc::new(effects));
    let intake = actix_rt::spawn(beta.intake(&inbox).run());
    let begun = clock.monotonic();
    hand_over(&outbox, envelopes).await?;
    for queue in [&outbox, &inbox] {
        until_done(queue, &told, envelopes as u64).await?;
    }
    let rate = rate(envelopes as u64, begun, clock);
    intake.abort();
    alpha.store.close().await;
    beta.store.close().await;
    Ok(rate)
}

impl Site {
    fn new(
        (own, peer): (&str, &str),
        sealed: bool,
        nats: Nats,
        clock: SystemClock,
    ) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let seed = keys::to_hex(&seed_of(own));
        let mut variables = vec![
            ("ARCHIPEL_LOG", "warn"),
            ("MESH_FEDERATION_ENABLED", "true"),
        ];
        if sealed {
            variables.push(("MESH_FEDERATION_ED25519_SEED_HEX", &seed));
        } else {
            variables.push(("MESH_FEDERATION_SHARED_SECRET", &seed));
        }
        let settings: NodeSettings = settings(&Environment::from_iter(variables))?;
        let key = keys::to_hex(&keys::public_key_of_seed(&seed_of(peer))?);
        let peer = json!({"name": "peer", "origin": peer, "ed25519_public_key": key});
        let peer: PeerSettings = from_json(&peer.to_string()).ok().context("no peer")?;
        let own = Origin::parse(own)?;
        let federation = Federation::from_settings(
            &own,
            Dialect::Hive,
            &settings.federation,
            if sealed {
                std::slice::from_ref(&peer)
            } else {
                &[]
            },
            CardCheck::Off,
        );
        let federation = Arc::new(federation.ok().context("no federation")?);
        let telemetry = Telemetry::start(&settings.telemetry, "load")?;
        let store = EmbeddedStore::open(&EmbeddedSettings {
            directory: folder.path().join("data"),
            durability: Durability::Process,
            max_bytes: None,
        })?;
        Ok(Self {
            store: Arc::new(store),
            seals: Arc::new(Seals::new(
                Arc::clone(&federation),
                Arc::new(clock),
                settings.wan.seal,
            )),
            line: Arc::new(JetStreamLine::new(nats, &settings.nats.line, own.as_str())),
            places: Places {
                own,
                agents: Arc::new(ArcSwap::from_pointee(AgentTable::new(Vec::new(), None))),
                federation,
            },
            metrics: WanMetrics::new(&telemetry.meter()),
            settings,
            clock,
            _folder: folder,
        })
    }

    fn queue(&self, side: WanSide, work: Arc<dyn Work>) -> Addr<WanQueue> {
        WanQueue::new(QueuePorts {
            side,
            store: self.store.clone(),
            work,
            clock: Arc::new(self.clock),
            metrics: self.metrics.clone(),
            retention: WanRetention {
                keep_for_ms: 600_000,
                keep_count: self.settings.wan.remember_count,
            },
            max_waiting: self.settings.wan.max_waiting,
        })
        .start()
    }

    fn intake(&self, inbox: &Addr<WanQueue>) -> Intake {
        Intake {
            line: Arc::clone(&self.line),
            take: inbox.clone().recipient(),
            look: inbox.clone().recipient(),
            places: self.places.clone(),
            seals: Arc::clone(&self.seals),
            metrics: self.metrics.clone(),
        }
    }
}

fn settings<T: Settings>(environment: &Environment) -> anyhow::Result<T> {
    load(None, environment)
        .ok()
        .context("no settings without a file")
}

/// A seed of its own for each name.
fn seed_of(name: &str) -> [u8; 32] {
    let mut seed = [0x5e; 32];
    for (place, letter) in seed.iter_mut().zip(name.bytes()) {
        *place ^= letter;
    }
    seed
}

fn parcel() -> Parcel {
    let payload = json!({"text": "x".repeat(TEXT)});
    let body = json!({
        "v": 1, "correlationId": Uuid::new_v4().to_string(), "sourceOrigin": ALPHA, "targetOrigin": BETA, "payload": payload,
    });
    let envelope = Envelope::decode_ingress(body.to_string().as_bytes());
    Parcel {
        message: WanMessage {
            // It is one by construction; what is handed over is counted.
            envelope: envelope.unwrap_or_else(|error| unreachable!("{error}")),
            trace: MeshTrace::default(),
        },
        message_id: None,
        body: None,
    }
}

async fn hand_over(outbox: &Addr<WanQueue>, envelopes: usize) -> anyhow::Result<()> {
    let part = async |envelopes: usize| {
        let mut left = envelopes;
        while left > 0 {
            let parcels: Vec<Parcel> = (0..left.min(BATCH)).map(|_| parcel()).collect();
            left -= parcels.len();
            let taken = outbox.send(Take(parcels)).await??;
            ensure!(
                taken.iter().all(|taken| *taken == Taken::First),
                "the outbox refuses some"
            );
        }
        anyhow::Ok(())
    };
    let share = |at| envelopes / BATCHES + usize::from(at < envelopes % BATCHES);
    for done in join_all((0..BATCHES).map(|at| part(share(at)))).await {
        done?;
    }
    Ok(())
}

/// Waits until every envelope was told of and nothing waits in the queue.
async fn until_done(
    queue: &Addr<WanQueue>,
    told: &AtomicU64,
    envelopes: u64,
) -> anyhow::Result<()> {
    const LOOKS: usize = 60_000;
    for _ in 0..LOOKS {
        let is_told = told.load(Ordering::Relaxed) >= envelopes;
        if is_told && queue.send(Look).await??.standing.waiting == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    anyhow::bail!(
        "{} of {envelopes} envelopes came",
        told.load(Ordering::Relaxed)
    )
}

/// The raw client: as many messages of that length, with ids by which the stream knows them again, published and consumed
/// at once.
async fn raw(server: &NatsServer, messages: usize, clock: SystemClock) -> anyhow::Result<f64> {
    let publisher = jetstream::new(async_nats::connect(server.url()).await?);
    let stream = publisher
        .create_stream(stream::Config {
            name: "RAW".to_owned(),
            subjects: vec!["raw.wan".to_owned()],
            storage: stream::StorageType::File,
            ..stream::Config::default()
        })
        .await?;
    let consumer = jetstream::new(async_nats::connect(server.url()).await?);
    let config = consumer::pull::Config {
        durable_name: Some("raw".to_owned()),
        max_ack_pending: 4096,
        ..consumer::pull::Config::default()
    };
    stream.create_consumer(config).await?;
    let consumer = consumer
        .get_stream("RAW")
        .await?
        .get_consumer("raw")
        .await
        .map_err(anyhow::Error::from_boxed)?;
    let body = Bytes::from(parcel().message.encode());
    let begun = clock.monotonic();
    try_join(
        publish_raw(&publisher, &body, messages),
        consume_raw(&consumer, messages),
    )
    .await?;
    Ok(rate(messages as u64, begun, clock))
}

async fn publish_raw(
    context: &jetstream::Context,
    body: &Bytes,
    messages: usize,
) -> anyhow::Result<()> {
    let part = async |messages: usize| {
        let mut left = messages;
        while left > 0 {
            let batch = left.min(BATCH);
            left -= batch;
            let mut sent: Vec<PublishAckFuture> = Vec::with_capacity(batch);
            for _ in 0..batch {
                let message = PublishMessage::build()
                    .payload(body.clone())
                    .message_id(Uuid::new_v4().to_string());
                sent.push(context.send_publish("raw.wan", message).await?);
            }
            for acknowledged in sent {
                acknowledged.await?;
            }
        }
        anyhow::Ok(())
    };
    let share = |at| messages / BATCHES + usize::from(at < messages % BATCHES);
    for done in join_all((0..BATCHES).map(|at| part(share(at)))).await {
        done?;
    }
    Ok(())
}

async fn consume_raw(consumer: &consumer::PullConsumer, messages: usize) -> anyhow::Result<()> {
    let mut done = 0;
    while done < messages {
        let mut batch = consumer
            .batch()
            .max_messages(BATCH)
            .expires(Duration::from_millis(200))
            .messages()
            .await?;
        while let Some(message) = batch.next().await {
            let message = message.map_err(anyhow::Error::from_boxed)?;
            message.ack().await.map_err(anyhow::Error::from_boxed)?;
            done += 1;
        }
    }
    Ok(())
}
