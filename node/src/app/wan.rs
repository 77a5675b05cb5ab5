//! The WAN of this node.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr};
use archipel_kit::clock::Clock;
use archipel_kit::telemetry::Telemetry;
use tokio_util::sync::CancellationToken;

use super::stores::Stores;
use super::watch;
use crate::bus::BusActor;
use crate::config::NodeSettings;
use crate::edge::WanGate;
use crate::egress::Egress;
use crate::federation::Federation;
use crate::limiter::Limit;
use crate::metrics::WanMetrics;
use crate::nats::Nats;
use crate::registry::SharedAgents;
use crate::store::wan::{WanRetention, WanSide};
use crate::supervise::Health;
use crate::wan::WanSettings;
use crate::wan::desk::{Door, WanDesk};
use crate::wan::effects::Effects;
use crate::wan::intake::Intake;
use crate::wan::line::WanLine;
use crate::wan::line::jetstream::JetStreamLine;
use crate::wan::place::Places;
use crate::wan::queue::{QueuePorts, WanQueue, Work};
use crate::wan::seals::Seals;
use crate::wan::sending::Sending;
use crate::wan::worker::Worker;

/// How long what was sent is known, so that whoever did not hear that it was taken may hand it in again.
const SENT_FOR: Duration = Duration::from_secs(600);

/// What the rest of the node needs of it.
pub(super) struct Started {
    /// Each with the name of its part.
    pub(super) queues: Vec<(&'static str, Addr<WanQueue>)>,
    pub(super) gate: WanGate,
    nats: Option<Nats>,
}

/// Whom the WAN knows.
type Known<'a> = (&'a Addr<BusActor>, &'a SharedAgents, &'a Arc<Federation>);

/// Starts what comes and what goes, and the way to the line. `drain` fires when nothing more is to be pulled.
pub(super) fn start(
    NodeSettings {
        wan: settings,
        nats,
        ..
    }: &NodeSettings,
    stores: &Stores,
    (bus, agents, federation): Known<'_>,
    (egress, clock, telemetry): (&Arc<Egress>, &Arc<dyn Clock>, &Telemetry),
    drain: &CancellationToken,
) -> Started {
    let line = stores.nats.clone().map(|connection| {
        let line = JetStreamLine::new(connection, &nats.line, federation.own().as_str());
        Arc::new(line) as Arc<dyn WanLine>
    });
    let metrics = WanMetrics::new(&telemetry.meter());
    let queue = |side, work: Arc<dyn Work>, retention| {
        WanQueue::new(QueuePorts {
            side,
            store: Arc::clone(&stores.wan),
            work,
            clock: Arc::clone(clock),
            metrics: metrics.clone(),
            retention,
            max_waiting: settings.max_waiting,
        })
        .start()
    };
    let worker = Worker::new(settings, federation.dialect(), egress, clock);
    let effects = Effects::new(bus.clone().recipient(), worker, Arc::clone(clock));
    let inbox = queue(WanSide::In, Arc::new(effects), settings.retention());
    let seals = Seals::new(Arc::clone(federation), Arc::clone(clock), settings.seal);
    let seals = Arc::new(seals);
    let outbox = line.as_ref().map(|line| {
        let sending = Sending::new(Arc::clone(line), Arc::clone(&seals));
        queue(WanSide::Out, Arc::new(sending), sent(settings))
    });
    if let Some(line) = &line {
        let intake = Intake {
            line: Arc::clone(line),
            take: inbox.clone().recipient(),
            look: inbox.clone().recipient(),
            places: Places {
                own: federation.own().clone(),
                agents: Arc::clone(agents),
                federation: Arc::clone(federation),
            },
            seals,
            metrics: metrics.clone(),
        };
        let drain = drain.clone();
        actix_rt::spawn(async move { drain.run_until_cancelled(intake.run()).await });
    }
    let desk = WanDesk {
        inbox: door(&inbox),
        outbox: outbox.as_ref().map(door),
        line,
    };
    let gate = gate(settings, desk);
    let mut queues = vec![("wan inbox", inbox)];
    queues.extend(outbox.map(|outbox| ("wan outbox", outbox)));
    Started {
        queues,
        gate,
        nats: stores.nats.clone(),
    }
}

/// How long what was sent is remembered.
fn sent(settings: &WanSettings) -> WanRetention {
    WanRetention {
        keep_for_ms: u64::try_from(SENT_FOR.as_millis()).unwrap_or(u64::MAX),
        keep_count: settings.remember_count,
    }
}

fn gate(settings: &WanSettings, desk: WanDesk) -> WanGate {
    WanGate {
        desk,
        bridge_secret: settings.bridge_secret.clone(),
        max_body: settings.max_envelope.bytes(),
        limit: (settings.publish_limit > 0).then_some(Limit::Window {
            max: settings.publish_limit,
            window: Duration::from_secs(60),
        }),
    }
}

impl Started {
    /// Has the queues looked after, and people told when the broker is away.
    pub(super) fn watch(&self, health: &Health) {
        if let Some(nats) = self.nats.clone() {
            health.note("nats", move || nats.is_connected());
        }
        for (name, queue) in &self.queues {
            watch(health, name, queue);
        }
    }
}

fn door(queue: &Addr<WanQueue>) -> Door {
    Door {
        take: queue.clone().recipient(),
        look: queue.clone().recipient(),
        dead: queue.clone().recipient(),
        settle: queue.clone().recipient(),
    }
}
