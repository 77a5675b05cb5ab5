//! Which adapter keeps tasks, claims and the audit chain.

use std::sync::Arc;

use archipel_kit::clock::Clock;

use crate::app::StartError;
use crate::config::{Durability, KeepFor, NodeSettings, StoreKind};
use crate::replicas::Replicas;
use crate::store::embedded::{self, EmbeddedSettings, EmbeddedStore};
use crate::store::memory::MemoryStore;
use crate::store::redis::{Address, RedisStore};
use crate::store::{AuditStore, ClaimStore, Retention, TaskStore, WebhookStore};

/// The ports, and what has to be closed.
pub(super) struct Stores {
    pub(super) tasks: Arc<dyn TaskStore>,
    pub(super) webhooks: Arc<dyn WebhookStore>,
    pub(super) claims: Arc<dyn ClaimStore>,
    pub(super) audit: Arc<dyn AuditStore>,
    pub(super) retention: Retention,
    redis: Option<Arc<RedisStore>>,
    embedded: Option<Arc<EmbeddedStore>>,
}

impl Stores {
    /// Opens what the settings ask for.
    pub(super) fn open(settings: &NodeSettings, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let ms = |keep: KeepFor| u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        let keep_for_ms = ms(settings.retention.keep_for);
        let keep_waiting_for_ms = ms(settings.retention.keep_waiting_for);
        // An address that is none was refused with the rest of the configuration.
        if let Ok(Some(address)) = Address::from_settings(&settings.redis) {
            let store = Arc::new(RedisStore::open(address, &settings.redis, clock)?);
            let retention = Retention {
                keep_for_ms,
                keep_waiting_for_ms,
                keep_count: settings.retention.keep_count,
            };
            return Ok(Self {
                tasks: store.clone(),
                webhooks: store.clone(),
                claims: store.clone(),
                audit: store.clone(),
                retention,
                redis: Some(store),
                embedded: None,
            });
        }
        match settings.store {
            StoreKind::Memory => {
                let keep_count = settings.retention.keep_count_in_memory;
                let store = Arc::new(MemoryStore::new(
                    usize::try_from(keep_count).unwrap_or(usize::MAX),
                ));
                let retention = Retention {
                    keep_for_ms,
                    keep_waiting_for_ms,
                    keep_count,
                };
                Ok(Self {
                    tasks: store.clone(),
                    webhooks: store.clone(),
                    claims: store.clone(),
                    audit: store,
                    retention,
                    redis: None,
                    embedded: None,
                })
            }
            StoreKind::Embedded => {
                let store = Arc::new(EmbeddedStore::open(&EmbeddedSettings {
                    directory: settings.data_dir.clone(),
                    durability: settings.durability.into(),
                    max_bytes: settings.max_store_size.map(|size| size.bytes() as u64),
                })?);
                let retention = Retention {
                    keep_for_ms,
                    keep_waiting_for_ms,
                    keep_count: settings.retention.keep_count,
                };
                Ok(Self {
                    tasks: store.clone(),
                    webhooks: store.clone(),
                    claims: store.clone(),
                    audit: store.clone(),
                    retention,
                    redis: None,
                    embedded: Some(store),
                })
            }
        }
    }

    /// Looks whether a store elsewhere is there; the node starts without it, and is ready when it comes.
    pub(super) async fn begin(&self) {
        if let Some(redis) = &self.redis {
            redis.begin().await;
        }
    }

    /// The other replicas of this node, if it has any.
    pub(super) fn replicas(&self) -> Option<Arc<dyn Replicas>> {
        let redis = self.redis.clone()?;
        Some(redis)
    }

    /// Finishes what was taken and lets go of the files.
    pub(super) async fn close(&self) {
        if let Some(embedded) = &self.embedded {
            embedded.close().await;
        }
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
