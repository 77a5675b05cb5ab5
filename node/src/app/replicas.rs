//! This node as one of several replicas: it says that it lives, hears what the others ask, and looks after the tasks of
//! those that died.

use std::sync::Arc;
use std::time::Duration;

use actix_rt::time::{sleep, timeout};
use opentelemetry::metrics::Meter;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::metrics::ReplicaMetrics;
use crate::replicas::{BEAT, ReplicaId, Replicas};
use crate::supervise::Health;
use crate::tasks::actor::ReplicaPorts;
use crate::tasks::calls::Calls;
use crate::tasks::recovery::{AT_ONCE, RecoverTask};
use crate::tasks::shard::ShardTable;

/// How long a task of a dead replica has to change hands before it is looked for again.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a replica that ends tries to say so.
const FAREWELL: Duration = Duration::from_secs(1);

/// How this node's tasks reach the other replicas; the node is not ready while they may believe that it is dead.
pub(super) fn ports(replicas: Arc<dyn Replicas>, health: &Health) -> ReplicaPorts {
    let believed = Arc::clone(&replicas);
    health.need("redis", move || believed.is_sure());
    ReplicaPorts {
        calls: Arc::new(Calls::new(Arc::clone(&replicas))),
        port: replicas,
    }
}

/// Does what the others count on, until the node stops.
pub(super) fn start(
    ports: &ReplicaPorts,
    table: &Arc<ShardTable>,
    meter: &Meter,
    stopped: &CancellationToken,
) {
    if let Some(inbox) = ports.port.inbox() {
        actix_rt::spawn(Arc::clone(&ports.calls).serve(inbox, Arc::clone(table)));
    }
    let (port, table) = (Arc::clone(&ports.port), Arc::clone(table));
    let (metrics, stopped) = (ReplicaMetrics::new(meter), stopped.clone());
    actix_rt::spawn(async move {
        stopped
            .run_until_cancelled(beat(port, table, metrics))
            .await;
    });
}

/// Tells the others that they need not wait to find out.
pub(super) async fn leave(port: &dyn Replicas) {
    if !matches!(timeout(FAREWELL, port.leave()).await, Ok(Ok(()))) {
        tracing::info!("the other replicas will find out by themselves that this one has ended");
    }
}

async fn beat(port: Arc<dyn Replicas>, table: Arc<ShardTable>, metrics: ReplicaMetrics) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut looking_after: Option<actix_rt::task::JoinHandle<()>> = None;
    loop {
        let beaten = port.beat().await;
        metrics.redis_up.set(i64::from(beaten.is_ok()), ());
        let is_free = looking_after.as_ref().is_none_or(|task| task.is_finished());
        match beaten {
            Ok(dead) if !dead.is_empty() && is_free => {
                let (port, table) = (Arc::clone(&port), Arc::clone(&table));
                let (places, metrics) = (Arc::clone(&places), metrics.clone());
                looking_after = Some(actix_rt::spawn(async move {
                    for replica in dead {
                        look_after(replica, &*port, &table, &places, &metrics).await;
                    }
                }));
            }
            _ => {}
        }
        sleep(BEAT).await;
    }
}

/// Hands the tasks of a dead replica to their hubs, a few at a time.
async fn look_after(
    dead: ReplicaId,
    port: &dyn Replicas,
    table: &ShardTable,
    places: &Arc<Semaphore>,
    metrics: &ReplicaMetrics,
) {
    loop {
        let orphans = match port.orphans(dead).await {
            Ok(orphans) if orphans.is_empty() => return,
            Ok(orphans) => orphans,
            Err(error) => {
                tracing::warn!(%error, "tasks of a replica that died cannot be looked for");
                return;
            }
        };
        tracing::warn!(
            tasks = orphans.len(),
            "a replica died; this one looks after its tasks"
        );
        for id in orphans {
            let Ok(place) = Arc::clone(places).acquire_owned().await else {
                return;
            };
            metrics.adopted.count(());
            let hub = table.owner_of(id).await;
            if hub.recover.send(RecoverTask { id, place }).await.is_err() {
                tracing::error!(task.id = %id, "the hub of a task is gone");
            }
        }
        sleep(PAUSE).await;
    }
}
