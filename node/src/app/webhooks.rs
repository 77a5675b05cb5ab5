//! Webhooks: the notifier, and the two ways to it.

use std::sync::Arc;

use actix::prelude::*;
use archipel_kit::clock::Clock;
use archipel_kit::telemetry::Telemetry;

use super::stores::Stores;
use crate::egress::Egress;
use crate::metrics::PushMetrics;
use crate::push::notifier::{PushNotifier, PushPorts};
use crate::push::{PushSettings, PushSignal, Webhooks};

/// What the rest of the node needs of it.
pub(super) struct Started {
    pub(super) notifier: Addr<PushNotifier>,
    pub(super) signal: PushSignal,
    pub(super) operations: Webhooks,
}

pub(super) fn start(
    settings: &PushSettings,
    stores: &Stores,
    egress: &Arc<Egress>,
    clock: &Arc<dyn Clock>,
    telemetry: &Telemetry,
) -> Started {
    if settings.allow_private {
        tracing::warn!(
            "webhooks may be in private networks: everybody who may talk to an agent can reach them"
        );
    }
    let ports = PushPorts {
        tasks: Arc::clone(&stores.tasks),
        webhooks: Arc::clone(&stores.webhooks),
        claims: stores
            .replicas()
            .is_some()
            .then(|| Arc::clone(&stores.claims)),
        egress: Arc::clone(egress),
        clock: Arc::clone(clock),
        settings: settings.clone(),
        metrics: PushMetrics::new(&telemetry.meter()),
    };
    let watched = Arc::default();
    let notifier = PushNotifier::new(ports, Arc::clone(&watched)).start();
    let signal = PushSignal::new(watched, notifier.clone().recipient());
    let operations = Webhooks::new(
        Arc::clone(&stores.tasks),
        Arc::clone(&stores.webhooks),
        Arc::clone(egress),
        settings.destination(),
        signal.clone(),
    );
    Started {
        notifier,
        signal,
        operations,
    }
}
