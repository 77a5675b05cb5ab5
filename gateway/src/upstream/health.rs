//! Asking nodes whether they can serve, whether or not requests go there.

use std::{rc::Rc, sync::Arc, time::Duration};

use archipel_kit::{client::Timeouts, clock::Clock};
use tokio::time::sleep;

use super::{Lane, Node};
use crate::{config::HealthSettings, state::Shared};

/// Watches the nodes until the process ends, by the settings in force at each moment. Must be called inside an actix
/// system; the connections it uses are its own.
pub(crate) fn watch(shared: Arc<Shared>) {
    /// How often the settings are looked at while nothing is to be watched.
    const UNWATCHED: Duration = Duration::from_secs(1);
    actix_rt::spawn(async move {
        let mut lanes: Vec<Rc<Lane>> = Vec::new();
        loop {
            let current = shared.current();
            let health = current.settings.health.clone();
            lanes = current.fleet.lanes(&lanes);
            if !health.interval.is_zero() {
                look_at_all(&lanes, &health, &shared).await;
            }
            let pause = if health.interval.is_zero() {
                UNWATCHED
            } else {
                health.interval
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = shared.reloaded.notified() => {}
            }
        }
    });
}

async fn look_at_all(lanes: &[Rc<Lane>], health: &HealthSettings, shared: &Shared) {
    let looks = lanes.iter().map(|lane| async {
        let is_good = look(lane, health).await;
        lane.node()
            .looked(is_good, shared.clock.monotonic(), health);
    });
    futures_util::future::join_all(looks).await;
}

/// Whether a node serves, as far as is known: one that did not answer the last time it was asked does not, though it is left
/// out only when that has happened several times.
pub(crate) fn is_up(node: &Node, health: &HealthSettings, now: Duration) -> bool {
    node.may_be_asked(now) && node.last_look(now, fresh(health)) != Some(false)
}

/// How long what a node said of itself counts.
fn fresh(health: &HealthSettings) -> Duration {
    (health.interval + health.timeout).max(Duration::from_secs(1))
}

/// Whether a node answers. What is known is used while it is fresh: anybody may ask for this, and the node must not be
/// asked on their account more than once a second.
pub(crate) async fn is_there(lane: &Lane, health: &HealthSettings, clock: &dyn Clock) -> bool {
    if let Some(is_good) = lane.node().last_look(clock.monotonic(), fresh(health)) {
        return is_good;
    }
    let is_good = look(lane, health).await;
    lane.node().looked(is_good, clock.monotonic(), health);
    is_good
}

/// Whether the node answers in time, and not that it cannot serve.
async fn look(lane: &Lane, health: &HealthSettings) -> bool {
    let limits = Timeouts {
        first_byte: Some(health.timeout),
        idle: Some(health.timeout),
        total: None,
    };
    // Its form was checked when the settings were read.
    match lane.ask(&health.path, limits).await {
        // Read to its end, so that the connection can be used again.
        Ok(answer) => {
            let is_good = answer.status.as_u16() < 500;
            let _ = answer.body.read_all(64 * 1024).await;
            is_good
        }
        Err(error) => {
            tracing::debug!(upstream = lane.node().name(), %error, "health check failed");
            false
        }
    }
}
