//! The WAN of this node.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr};
use archipel_kit::clock::Clock;
use archipel_kit::telemetry::Telemetry;
use tokio_util::sync::CancellationToken;

use super::stores::Stores;
use super::watch;
use crate::agents::breaker::BreakerRule;
use crate::agents::run::{AgentRun, TurnLimits};
use crate::bus::BusActor;
use crate::config::{LineSettings, NodeSettings};
use crate::edge::post::PostDesk;
use crate::edge::{LineView, WanGate};
use crate::egress::Egress;
use crate::federation::Federation;
use crate::limiter::Limit;
use crate::metrics::{AgentMetrics, BridgeMetrics, WanMetrics};
use crate::nats::Nats;
use crate::registry::SharedAgents;
use crate::store::wan::{WanRetention, WanSide};
use crate::supervise::Health;
use crate::wan::WanSettings;
use crate::wan::calls::Post;
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
    calls: Addr<PostDesk>,
    nats: Option<Nats>,
}

/// Whom the WAN knows.
type Known<'a> = (&'a Addr<BusActor>, &'a SharedAgents, &'a Arc<Federation>);

/// What the WAN works with; last, who sees to calls: they need the queues as the queues need them, so they are known before
/// they begin to work.
type Way<'a> = (
    &'a Arc<Egress>,
    &'a Arc<dyn Clock>,
    &'a Telemetry,
    &'a Addr<PostDesk>,
);

/// Starts what comes and what goes, and the way to the line. `drain` fires when nothing more is to be pulled.
pub(super) fn start(
    NodeSettings {
        wan: settings,
        nats,
        ..
    }: &NodeSettings,
    stores: &Stores,
    (bus, agents, federation): Known<'_>,
    (egress, clock, telemetry, calls): Way<'_>,
    drain: &CancellationToken,
) -> Started {
    let line = line(stores, &nats.line, federation);
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
    let places = places(federation, agents);
    let effects = effects((bus, calls), places.clone(), worker, clock);
    let inbox = queue(WanSide::In, effects, settings.retention());
    let seals = seals(settings, federation, clock);
    let outbox = line.as_ref().map(|line| {
        let (line, seals) = (Arc::clone(line), Arc::clone(&seals));
        let sending = Sending::new(line, seals, calls.clone().recipient(), Arc::clone(clock));
        queue(WanSide::Out, Arc::new(sending), sent(settings))
    });
    if let Some(line) = &line {
        let intake = Intake {
            line: Arc::clone(line),
            take: inbox.clone().recipient(),
            look: inbox.clone().recipient(),
            places,
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
    let post = outbox.as_ref().map(|outbox| {
        let life = settings.call_life.min(nats.line.keep_for);
        let run = waiting_calls(settings, clock, telemetry);
        let known = (Arc::clone(federation), Arc::clone(clock));
        Arc::new(post(settings, known, outbox, (life, run)))
    });
    let told = (line_view(stores, &nats.line), telemetry);
    let gate = gate(settings, desk, post, told);
    let mut queues = vec![("wan inbox", inbox)];
    queues.extend(outbox.map(|outbox| ("wan outbox", outbox)));
    Started {
        queues,
        gate,
        calls: calls.clone(),
        nats: stores.nats.clone(),
    }
}

fn effects(
    (bus, calls): (&Addr<BusActor>, &Addr<PostDesk>),
    places: Places,
    worker: Worker,
    clock: &Arc<dyn Clock>,
) -> Arc<dyn Work> {
    let told = (
        bus.clone().recipient(),
        calls.clone().recipient(),
        calls.clone().recipient(),
    );
    Arc::new(Effects::new(told, places, worker, Arc::clone(clock)))
}

fn seals(
    settings: &WanSettings,
    federation: &Arc<Federation>,
    clock: &Arc<dyn Clock>,
) -> Arc<Seals> {
    let (federation, clock) = (Arc::clone(federation), Arc::clone(clock));
    Arc::new(Seals::new(federation, clock, settings.seal))
}

fn places(federation: &Arc<Federation>, agents: &SharedAgents) -> Places {
    Places {
        own: federation.own().clone(),
        agents: Arc::clone(agents),
        federation: Arc::clone(federation),
    }
}

/// How long what was sent is remembered.
fn sent(settings: &WanSettings) -> WanRetention {
    WanRetention {
        keep_for_ms: u64::try_from(SENT_FOR.as_millis()).unwrap_or(u64::MAX),
        keep_count: settings.remember_count,
    }
}

fn post(
    settings: &WanSettings,
    (federation, clock): (Arc<Federation>, Arc<dyn Clock>),
    outbox: &Addr<WanQueue>,
    (life, run): (Duration, AgentRun),
) -> Post {
    Post {
        federation,
        clock,
        outbox: outbox.clone().recipient(),
        life,
        max_envelope: settings.max_envelope.bytes(),
        run: Arc::new(run),
    }
}

/// How many calls wait for their answers.
fn waiting_calls(
    settings: &WanSettings,
    clock: &Arc<dyn Clock>,
    telemetry: &Telemetry,
) -> AgentRun {
    let limits = TurnLimits {
        concurrent: settings.max_calls,
        waiting: 0,
    };
    // A peer that does not answer is what envelopes are for.
    let never = BreakerRule {
        failures: 0,
        pause: Duration::ZERO,
        longest: Duration::ZERO,
    };
    let metrics = AgentMetrics::new(&telemetry.meter());
    AgentRun::new(limits, never, Arc::clone(clock), metrics)
}

fn line(
    stores: &Stores,
    settings: &LineSettings,
    federation: &Federation,
) -> Option<Arc<dyn WanLine>> {
    let line = |connection| JetStreamLine::new(connection, settings, federation.own().as_str());
    let connection = stores.nats.clone();
    connection.map(|connection| Arc::new(line(connection)) as Arc<dyn WanLine>)
}

fn line_view(stores: &Stores, settings: &LineSettings) -> Option<LineView> {
    stores.nats.as_ref().map(|connection| LineView {
        subject: settings.subject.clone(),
        tls: connection.is_tls(),
    })
}

fn gate(
    settings: &WanSettings,
    desk: WanDesk,
    post: Option<Arc<Post>>,
    (line, telemetry): (Option<LineView>, &Telemetry),
) -> WanGate {
    WanGate {
        desk,
        post,
        bridge_secret: settings.bridge_secret.clone(),
        max_body: settings.max_envelope.bytes(),
        limit: (settings.publish_limit > 0).then_some(Limit::Window {
            max: settings.publish_limit,
            window: Duration::from_secs(60),
        }),
        line,
        metrics_secret: settings.bridge_metrics_secret.clone(),
        requests: BridgeMetrics::new(&telemetry.meter()),
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
        watch(health, "wan calls", &self.calls);
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
