//! A whole node: built in an order in which everything that a part needs is there before it, stopped in the reverse order.
//!
//! This is the only file that names concrete adapters and addresses of actors; everything else holds ports and recipients.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use actix_web::dev::{Server, ServerHandle};
use archipel_kit::clock::{Clock, SystemClock};
use archipel_kit::settings::Problems;
use archipel_kit::telemetry::{Telemetry, TelemetryError};
use archipel_kit::tls::BadTls;
use archipel_protocol::a2a::card::CardSigner;
use archipel_protocol::ids::{Origin, OriginError};
use archipel_protocol::names::Dialect;
use tokio_util::sync::CancellationToken;

use crate::audit::Flush;
use crate::bus::BusActor;
use crate::cards::key;
use crate::config::{ConfigSource, NodeSettings};
use crate::control::AgentControl;
use crate::edge::Mesh;
use crate::edge::post::PostDesk;
use crate::egress::Egress;
use crate::events::BusFeed;
use crate::federation::Federation;
use crate::federation::outbound::Outbound;
use crate::metrics::{AgentMetrics, EdgeMetrics, TaskMetrics};
use crate::registry::{AgentRegistry, CardSettings, SharedAgents};
use crate::replay::ReplayGuard;
use crate::store::StoreError;
use crate::store::agents::AgentRow;
use crate::store::peers::PeerRows;
use crate::supervise::{Health, WATCH_EVERY};
use crate::tasks::actor::ReplicaPorts;
use crate::tasks::shard::ShardTable;
use crate::tasks::{recovery, retention};
use crate::tls::NodeTls;

mod agents;
mod audit;
mod bus;
mod gates;
mod listener;
mod outbound;
mod peers;
mod replicas;
mod roster;
mod stores;
mod wan;
mod webhooks;
mod workers;

use stores::Stores;

/// The least time that the audit gets to store what it holds when the node stops.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What the configuration asks for does not fit together.
    #[error("the configuration has problems:\n{0}")]
    Settings(Problems),
    /// Logs, traces or metrics.
    #[error("telemetry cannot be started")]
    Telemetry(#[from] TelemetryError),
    /// The address is taken, or is not ours.
    #[error("cannot listen on {0} (choose another address with `listen` or ARCHIPEL_LISTEN)")]
    Listen(SocketAddr, #[source] io::Error),
    /// The listener's certificate or key.
    #[error("tls: {0}")]
    Tls(#[from] BadTls),
    /// The data directory.
    #[error(transparent)]
    Open(#[from] crate::store::embedded::OpenError),
    /// The certificates for Redis.
    #[error(transparent)]
    Redis(#[from] crate::store::redis::LinkError),
    /// The store opened but does not work.
    #[error("the store cannot be used")]
    Store(#[from] StoreError),
    /// There is nothing to sign cards with.
    #[error(transparent)]
    CardKey(#[from] key::CardKeyError),
    /// The public origin is no origin.
    #[error("public_origin is no origin")]
    Origin(#[from] OriginError),
    /// Signal handlers or sockets.
    #[error("the server cannot be started")]
    Server(#[source] io::Error),
}

/// A node that is built and listens.
pub struct App {
    server: Server,
    address: SocketAddr,
    origin: Origin,
    parts: Arc<Parts>,
}

/// Everything that workers share.
struct Parts {
    settings: NodeSettings,
    tls: Option<Arc<NodeTls>>,
    telemetry: Arc<Telemetry>,
    clock: Arc<dyn Clock>,
    stores: Stores,
    table: Arc<ShardTable>,
    agents: SharedAgents,
    registry: Addr<AgentRegistry>,
    control: Addr<AgentControl>,
    peers: peers::Started,
    federation: Arc<Federation>,
    outbound: Arc<Outbound>,
    counters: gates::Counters,
    egress: Arc<Egress>,
    mesh: Arc<Mesh>,
    webhooks: webhooks::Started,
    bus: Addr<BusActor>,
    feed: Addr<BusFeed>,
    wan: wan::Started,
    audit: audit::Started,
    health: Arc<Health>,
    drain: CancellationToken,
    replicas: Option<ReplicaPorts>,
    task_metrics: TaskMetrics,
    edge_metrics: EdgeMetrics,
    origin: Arc<str>,
    signer: CardSigner,
}

/// Ends a running node from elsewhere.
#[derive(Clone)]
pub struct AppHandle {
    server: ServerHandle,
    parts: Arc<Parts>,
}

impl App {
    /// Builds a node: socket, stores, actors, then the workers. Must run inside an actix `System`. `source` is where the
    /// settings came from: what may change while the node runs is read there again.
    ///
    /// # Errors
    /// Why the node cannot start.
    pub async fn build(settings: NodeSettings, source: ConfigSource) -> Result<Self, StartError> {
        Self::build_with(settings, source, Arc::new(SystemClock::new())).await
    }

    /// As [`Self::build`], by another clock than the machine's.
    ///
    /// # Errors
    /// Why the node cannot start.
    pub async fn build_with(
        settings: NodeSettings,
        source: ConfigSource,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let telemetry = Arc::new(Telemetry::start(&settings.telemetry, "archipel")?);
        // The socket first: a node whose address is taken must not touch the data directory of the one that has it.
        let listener = listen(settings.listen)?;
        let address = listener
            .local_addr()
            .map_err(|error| StartError::Listen(settings.listen, error))?;
        let origin = own_origin(&settings, address)?;
        let stores = Stores::open(&settings, Arc::clone(&clock))?;
        let stores = stores.begin(&settings.nats).await?;
        let kept = (stores.added_agents().await?, stores.kept_peers().await?);
        let calls = Context::new();
        let kept = (&kept, &calls.address());
        let parts = Arc::new(Parts::start(
            settings, telemetry, clock, stores, &origin, kept,
        )?);
        calls.run(parts.post_desk());
        roster::start(&parts, source)?;
        parts.start_retention();
        listener::watch(&parts);
        let server = listener::serve(&parts, listener).map_err(StartError::Server)?;
        parts.start_recovery();
        Ok(Self {
            server,
            address,
            origin,
            parts,
        })
    }

    /// Where the node listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How the node calls itself.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Ends the node when it is told to.
    pub fn handle(&self) -> AppHandle {
        AppHandle {
            server: self.server.handle(),
            parts: Arc::clone(&self.parts),
        }
    }

    /// Serves until the node is stopped; then everything that was acknowledged is kept, and the stores are closed.
    ///
    /// # Errors
    /// When the server fails, or a part died that the node cannot do without.
    pub async fn run(self) -> io::Result<()> {
        let watched = watch_parts(self.handle());
        let served = self.server.await;
        watched.abort();
        let dead = self.parts.health.dead();
        self.parts.flush_audit().await;
        if let Some(replicas) = &self.parts.replicas {
            replicas::leave(replicas.port.as_ref()).await;
        }
        self.parts.stores.close().await;
        tracing::info!("node has stopped");
        // Last, because no line leaves after it.
        self.parts.telemetry.shutdown();
        if !dead.is_empty() {
            return Err(io::Error::other(format!(
                "a part of the node died: {}",
                dead.join(", ")
            )));
        }
        served
    }
}

impl AppHandle {
    /// Stops the node: not ready from now on, streams end with a comment, requests may finish within the drain time.
    pub async fn stop(&self) {
        self.parts.health.stop();
        self.parts.drain.cancel();
        self.server.stop(true).await;
    }
}

impl Parts {
    /// Stores the audit records that wait, for as long as requests may take to end: a store that is away must not keep the
    /// node from stopping.
    async fn flush_audit(&self) {
        let patience = self.settings.limits.drain_time.max(FLUSH_PATIENCE);
        if self
            .audit
            .actor
            .send(Flush)
            .timeout(patience)
            .await
            .is_err()
        {
            tracing::error!("the last audit records could not be stored");
        }
    }

    fn start(
        settings: NodeSettings,
        telemetry: Arc<Telemetry>,
        clock: Arc<dyn Clock>,
        stores: Stores,
        origin: &Origin,
        ((added, decided), calls): (&(Vec<AgentRow>, PeerRows), &Addr<PostDesk>),
    ) -> Result<Self, StartError> {
        let dialect = Dialect::from(settings.dialect);
        let federation = peers::federation(&settings, origin)?;
        let signer = key::signer(&settings, origin)?;
        let egress = Arc::new(Egress::new(&settings.egress));
        let counters = gates::counters(&settings, &stores, &clock, &telemetry)?;
        let (claims, turnstile) = (Arc::clone(&stores.claims), Arc::clone(&counters.turnstile));
        let replay = ReplayGuard::new(claims, turnstile, Arc::clone(&clock)).start();
        let audit = audit::start(&stores, &clock);
        let bus = bus::start(&settings.bus, (dialect, origin), &stores, &clock);
        let guards = (&replay, &audit);
        let peers = peers::start(&stores, decided, &federation, guards, &egress, &clock);
        let cards = cards(origin, &signer);
        let world = agents::World {
            settings: &settings,
            egress: &egress,
            clock: &clock,
            metrics: AgentMetrics::new(&telemetry.meter()),
            store: &stores.agents,
            bus: bus.clone().recipient(),
        };
        let agents = agents::start(world, cards, added);
        let webhooks = webhooks::start(&settings.push, &stores, &egress, &clock, &telemetry);
        let health = Arc::new(Health::default());
        let feed = bus::feed(&bus, &health);
        let drain = CancellationToken::new();
        let known = (&bus, &agents.table, &federation);
        let way = (&egress, &clock, telemetry.as_ref(), calls);
        let wan = wan::start(&settings, &stores, known, way, &drain);
        watch_owners(&health, guards, &agents, &webhooks, &peers, &wan);
        Ok(Self {
            replicas: stores
                .replicas()
                .map(|others| replicas::ports(others, &health)),
            table: ShardTable::new(settings.worker_count()),
            task_metrics: TaskMetrics::new(&telemetry.meter()),
            edge_metrics: EdgeMetrics::new(&telemetry.meter()),
            agents: agents.table,
            mesh: outbound::mesh(&settings, &federation, &counters, origin),
            outbound: outbound::start(&settings, &federation, &egress, &clock, &telemetry),
            counters,
            egress,
            drain,
            origin: origin.as_str().into(),
            signer,
            tls: NodeTls::load(&settings.tls)?.map(Arc::new),
            settings,
            telemetry,
            clock,
            stores,
            registry: agents.registry,
            control: agents.control,
            peers,
            federation,
            webhooks,
            bus,
            feed,
            wan,
            audit,
            health,
        })
    }

    /// Takes up the turns that the last run of the node left, while it serves.
    fn start_recovery(&self) {
        if let Some(replicas) = &self.replicas {
            // What this node left when it last ended was left by a replica that is dead now.
            let meter = self.telemetry.meter();
            return replicas::start(replicas, &self.table, &meter, &self.drain);
        }
        let (store, table) = (Arc::clone(&self.stores.tasks), Arc::clone(&self.table));
        let stopped = self.drain.clone();
        actix_rt::spawn(async move {
            let found = stopped.run_until_cancelled(recovery::run(store.as_ref(), &table));
            if let Some(tasks @ 1..) = found.await {
                tracing::warn!(
                    tasks,
                    "agents were at work when the node last stopped; what can go on does, the rest has failed"
                );
            }
        });
    }

    /// Forgets and ends old tasks, bite by bite, for as long as the node runs.
    fn start_retention(&self) {
        let (store, clock) = (Arc::clone(&self.stores.tasks), Arc::clone(&self.clock));
        let (bounds, every) = (self.stores.retention, self.settings.retention.sweep_every);
        let table = Arc::clone(&self.table);
        let stopped = self.drain.clone();
        actix_rt::spawn(async move {
            while stopped
                .run_until_cancelled(actix_rt::time::sleep(every))
                .await
                .is_some()
            {
                retention::sweep(store.as_ref(), &table, bounds, clock.as_ref()).await;
            }
        });
    }
}

fn cards(origin: &Origin, signer: &CardSigner) -> CardSettings {
    CardSettings {
        origin: origin.to_string(),
        signer: signer.clone(),
        push_notifications: true,
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let refused = |error| StartError::Listen(address, error);
    let listener = TcpListener::bind(address).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    Ok(listener)
}

fn own_origin(settings: &NodeSettings, address: SocketAddr) -> Result<Origin, OriginError> {
    match &settings.public_origin {
        Some(origin) => Origin::parse(origin.as_str()),
        None if settings.tls.is_on() => Origin::parse(&format!("https://{address}")),
        None => Origin::parse(&format!("http://{address}")),
    }
}

fn watch_owners(
    health: &Health,
    (replay, audit): (&Addr<ReplayGuard>, &audit::Started),
    agents: &agents::Agents,
    webhooks: &webhooks::Started,
    peers: &peers::Started,
    wan: &wan::Started,
) {
    wan.watch(health);
    watch(health, "replay", replay);
    watch(health, "audit", &audit.actor);
    watch(health, "registry", &agents.registry);
    watch(health, "control", &agents.control);
    watch(health, "push", &webhooks.notifier);
    watch(health, "pairing", &peers.pairing);
}

fn watch<A>(health: &Health, name: &'static str, actor: &Addr<A>)
where
    A: Actor<Context = Context<A>>,
{
    let actor = actor.clone();
    health.watch(name, move || actor.connected());
}

/// Stops the node when a part of it has died.
fn watch_parts(handle: AppHandle) -> actix_rt::task::JoinHandle<()> {
    actix_rt::spawn(async move {
        loop {
            actix_rt::time::sleep(WATCH_EVERY).await;
            let dead = handle.parts.health.dead();
            if !dead.is_empty() {
                tracing::error!(
                    parts = dead.join(", "),
                    "a part of the node died; the node stops"
                );
                return handle.stop().await;
            }
        }
    })
}
