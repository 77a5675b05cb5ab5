//! What all workers of a gateway share.

use std::{sync::Arc, time::Duration};

use archipel_kit::{clock::Clock, telemetry::Telemetry};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{config::GatewaySettings, limiter::Limiter, metrics::GatewayMetrics, proxy::body_time};

/// Shared by all workers; changed only through its own atomics and locks.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: GatewaySettings,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: GatewayMetrics,
    pub(crate) limiter: Option<Limiter>,
    /// Lower-case words; see `block_user_agents`.
    pub(crate) blocked_agents: Vec<String>,
    pub(crate) body_time: Duration,
    /// Cancelled when the gateway begins to end: `/readyz` fails from then on.
    pub(crate) leaving: CancellationToken,
    /// Cancelled when connections are closed: event streams end.
    pub(crate) draining: CancellationToken,
    /// When the node was last looked for (monotonic), and whether it was there. One look serves a second of asking.
    pub(crate) last_look: Mutex<Option<(Duration, bool)>>,
}

impl Shared {
    pub(crate) fn new(
        settings: GatewaySettings,
        telemetry: Arc<Telemetry>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let metrics = GatewayMetrics::new(&telemetry.meter());
        let limiter = Limiter::new(&settings, Arc::clone(&clock), metrics.clone());
        Self {
            limiter,
            blocked_agents: settings
                .block_user_agents
                .iter()
                .map(|word| word.to_lowercase())
                .collect(),
            body_time: body_time(settings.request_timeout),
            leaving: CancellationToken::new(),
            draining: CancellationToken::new(),
            last_look: Mutex::new(None),
            settings,
            telemetry,
            clock,
            metrics,
        }
    }
}
