//! Which adapter keeps tasks, claims and the audit chain.

use std::sync::Arc;

use archipel_kit::clock::Clock;

use crate::app::StartError;
use crate::bus::{BusAdapter, Received};
use crate::config::{Durability, KeepFor, NatsSettings, NodeSettings, StoreKind};
use crate::limiter::{Limiter, MemoryLimiter};
use crate::nats::Nats;
use crate::replicas::Replicas;
use crate::store::agents::{AgentRow, AgentStore, MemoryAgents};
use crate::store::embedded::{self, EmbeddedSettings, EmbeddedStore};
use crate::store::memory::{MemoryStore, MemoryWan};
use crate::store::peers::{MemoryPeers, PeerRows, PeerStore};
use crate::store::redis::{Address, RedisStore};
use crate::store::wan::WanStore;
use crate::store::{AuditStore, ClaimStore, Retention, StoreError, TaskStore, WebhookStore};

/// The ports, and what has to be closed.
pub(super) struct Stores {
    pub(super) tasks: Arc<dyn TaskStore>,
    pub(super) webhooks: Arc<dyn WebhookStore>,
    pub(super) claims: Arc<dyn ClaimStore>,
    pub(super) audit: Arc<dyn AuditStore>,
    pub(super) agents: Arc<dyn AgentStore>,
    pub(super) peers: Arc<dyn PeerStore>,
    pub(super) wan: Arc<dyn WanStore>,
    pub(super) limiter: Arc<dyn Limiter>,
    pub(super) retention: Retention,
    /// The broker, which keeps nothing of these.
    pub(super) nats: Option<Nats>,
    redis: Option<Arc<RedisStore>>,
    embedded: Option<Arc<EmbeddedStore>>,
}

/// What operators decided while the node ran, and envelopes.
struct Kept {
    agents: Arc<dyn AgentStore>,
    peers: Arc<dyn PeerStore>,
    wan: Arc<dyn WanStore>,
}

impl Kept {
    fn by<S: AgentStore + PeerStore + WanStore + 'static>(store: &Arc<S>) -> Self {
        Self {
            agents: store.clone(),
            peers: store.clone(),
            wan: store.clone(),
        }
    }
}

impl Stores {
    /// Opens what the settings ask for.
    pub(super) fn open(settings: &NodeSettings, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        // An address that is none was refused with the rest of the configuration.
        if let Ok(Some(address)) = Address::from_settings(&settings.redis) {
            let store = Arc::new(RedisStore::open(address, &settings.redis, clock)?);
            let limiter = store.clone();
            let retention = retention(settings, settings.retention.keep_count);
            return Ok(Self {
                redis: Some(store.clone()),
                ..Self::of(store.clone(), Kept::by(&store), limiter, retention)
            });
        }
        let limiter = Arc::new(MemoryLimiter::new(clock));
        match settings.store {
            StoreKind::Memory => {
                let keep_count = settings.retention.keep_count_in_memory;
                let store = MemoryStore::new(usize::try_from(keep_count).unwrap_or(usize::MAX));
                let kept = Kept {
                    agents: Arc::new(MemoryAgents::default()),
                    peers: Arc::new(MemoryPeers::default()),
                    wan: Arc::new(MemoryWan::default()),
                };
                let retention = retention(settings, keep_count);
                Ok(Self::of(Arc::new(store), kept, limiter, retention))
            }
            StoreKind::Embedded => {
                let store = Arc::new(EmbeddedStore::open(&EmbeddedSettings {
                    directory: settings.data_dir.clone(),
                    durability: settings.durability.into(),
                    max_bytes: settings.max_store_size.map(|size| size.bytes() as u64),
                })?);
                let retention = retention(settings, settings.retention.keep_count);
                Ok(Self {
                    embedded: Some(store.clone()),
                    ..Self::of(store.clone(), Kept::by(&store), limiter, retention)
                })
            }
        }
    }

    fn of<S>(store: Arc<S>, kept: Kept, limiter: Arc<dyn Limiter>, retention: Retention) -> Self
    where
        S: TaskStore + WebhookStore + ClaimStore + AuditStore + 'static,
    {
        Self {
            tasks: store.clone(),
            webhooks: store.clone(),
            claims: store.clone(),
            audit: store,
            agents: kept.agents,
            peers: kept.peers,
            wan: kept.wan,
            limiter,
            retention,
            nats: None,
            redis: None,
            embedded: None,
        }
    }

    /// The agents that were added while the node ran. A store elsewhere that does not answer is read again later.
    pub(super) async fn added_agents(&self) -> Result<Vec<AgentRow>, StoreError> {
        match self.agents.agents().await {
            Err(error) if self.agents.is_shared() => {
                tracing::warn!(%error, "agents that were added are not known yet");
                Ok(Vec::new())
            }
            read => read,
        }
    }

    /// What was decided about peers. A store elsewhere that does not answer is read again later.
    pub(super) async fn kept_peers(&self) -> Result<PeerRows, StoreError> {
        match self.peers.peers().await {
            Err(error) if self.peers.peer_news().is_some() => {
                tracing::warn!(%error, "what was decided about peers is not known yet");
                Ok(PeerRows::default())
            }
            read => read,
        }
    }

    /// Looks whether a store elsewhere is there; the node starts without it, and is ready when it comes. The broker, if
    /// there is one, is not waited for.
    pub(super) async fn begin(self, settings: &NatsSettings) -> Result<Self, StartError> {
        if let Some(redis) = &self.redis {
            redis.begin().await;
        }
        let nats = Nats::connect(settings, "archipel").await;
        Ok(Self {
            nats: nats.map_err(StartError::Settings)?,
            ..self
        })
    }

    /// The other replicas of this node, if it has any.
    pub(super) fn replicas(&self) -> Option<Arc<dyn Replicas>> {
        let redis = self.redis.clone()?;
        Some(redis)
    }

    /// The bus over Redis, if there is one.
    pub(super) fn bus(&self, channels: &[&'static str]) -> Option<(Arc<dyn BusAdapter>, Received)> {
        self.redis.as_ref().map(|redis| redis.bus(channels))
    }

    /// Finishes what was taken and lets go of the files.
    pub(super) async fn close(&self) {
        if let Some(embedded) = &self.embedded {
            embedded.close().await;
        }
    }
}

fn retention(settings: &NodeSettings, keep_count: u64) -> Retention {
    let ms = |keep: KeepFor| u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
    Retention {
        keep_for_ms: ms(settings.retention.keep_for),
        keep_waiting_for_ms: ms(settings.retention.keep_waiting_for),
        keep_count,
    }
}

impl From<Durability> for embedded::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Process => Self::Process,
            Durability::Full => Self::Full,
        }
    }
}
