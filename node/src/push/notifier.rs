//! `PushNotifier` owns the lanes: which webhooks are being told of something right now.
//!
//! Answers [`Wake`] (there is something to tell) and [`Snapshot`]. Refuses nothing, but takes no more lanes than it may
//! have; what it has no room for it finds in the store later. A restart loses only who was waiting, which is in the store.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use archipel_kit::clock::Clock;
use uuid::Uuid;

use super::PushSettings;
use super::lane::{Lane, LaneEnd, LanePorts};
use super::lease::Lease;
use super::signal::{Wake, Watched};
use super::slots::Slots;
use crate::egress::Egress;
use crate::metrics::PushMetrics;
use crate::store::{ClaimStore, TaskStore, Webhook, WebhookStore};

/// Messages that may wait for the actor; what does not fit is found in the store.
const MAILBOX: usize = 4096;
/// Webhooks that are told, or tried again, at once.
const MAX_LANES: usize = 4096;
/// How often the store is asked what was not told.
const SWEEP: Duration = Duration::from_secs(5);
/// Tasks that are asked for at once.
const PAGE: usize = 256;

/// Asks for the state, for tests.
#[derive(Debug, Message)]
#[rtype(result = "PushSnapshot")]
pub struct Snapshot;

/// What the notifier is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, MessageResponse)]
pub struct PushSnapshot {
    /// Webhooks that are told of something, or wait to be.
    pub lanes: usize,
}

/// What the notifier works with.
#[derive(Debug, Clone)]
pub struct PushPorts {
    /// Where events are.
    pub tasks: Arc<dyn TaskStore>,
    /// Where webhooks are.
    pub webhooks: Arc<dyn WebhookStore>,
    /// Where several replicas are one node: which of them tells what.
    pub claims: Option<Arc<dyn ClaimStore>>,
    /// The way out.
    pub egress: Arc<Egress>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Bounds.
    pub settings: PushSettings,
    /// What is counted.
    pub metrics: PushMetrics,
}

/// See the module.
pub struct PushNotifier {
    ports: LanePorts,
    watched: Arc<Watched>,
    /// Tasks with lanes; at most as many as there are lanes.
    at_work: HashMap<Uuid, AtWork>,
    /// At most [`MAX_LANES`].
    lanes: usize,
    /// Tasks whose webhooks are being read; bounded by the mailbox and a page.
    looking: HashSet<Uuid>,
    /// Where the next page of what was not told begins.
    swept: Option<Uuid>,
    sweeping: bool,
}

/// The lanes of one task.
#[derive(Default)]
struct AtWork {
    /// How many webhooks of the task are to be told of anything, lane or not.
    live: usize,
    /// Each with the flag by which it learns that there is more.
    lanes: HashMap<Arc<str>, Rc<Cell<bool>>>,
}

impl PushNotifier {
    /// A notifier that knows of no task yet.
    pub fn new(ports: PushPorts, watched: Arc<Watched>) -> Self {
        let settings = &ports.settings;
        Self {
            ports: LanePorts {
                slots: Slots::new(settings.at_once, settings.at_once_per_host),
                destination: settings.destination(),
                tasks: ports.tasks,
                webhooks: ports.webhooks,
                claims: ports.claims,
                egress: ports.egress,
                clock: ports.clock,
                settings: ports.settings,
                metrics: ports.metrics,
            },
            watched,
            at_work: HashMap::new(),
            lanes: 0,
            looking: HashSet::new(),
            swept: None,
            sweeping: false,
        }
    }

    /// Reads which webhooks the task has.
    fn look(&mut self, task: Uuid, ctx: &mut Context<Self>) {
        self.looking.insert(task);
        let webhooks = Arc::clone(&self.ports.webhooks);
        let found = async move { webhooks.of_task(task).await }.into_actor(self);
        ctx.spawn(found.map(move |found, actor, ctx| {
            actor.looking.remove(&task);
            // A store that cannot be read says what was not told as soon as it can.
            if let Ok(webhooks) = found {
                actor.found(task, webhooks, ctx);
            }
        }));
    }

    fn found(&mut self, task: Uuid, webhooks: Vec<Webhook>, ctx: &mut Context<Self>) {
        let live: Vec<Webhook> = webhooks
            .into_iter()
            .filter(|webhook| !webhook.done)
            .collect();
        if live.is_empty() {
            return self.watched.remove(task);
        }
        self.watched.add(task);
        self.at_work.entry(task).or_default().live = live.len();
        for webhook in live {
            self.start(task, webhook.id, ctx);
        }
        self.forget_idle(task);
    }

    fn start(&mut self, task: Uuid, webhook: Arc<str>, ctx: &mut Context<Self>) {
        let has_room = self.lanes < MAX_LANES;
        let at_work = self.at_work.entry(task).or_default();
        if let Some(more) = at_work.lanes.get(&webhook) {
            return more.set(true);
        }
        if !has_room {
            return;
        }
        let more = Rc::new(Cell::new(false));
        let lane = Lane {
            ports: self.ports.clone(),
            task,
            webhook: Arc::clone(&webhook),
            more: Rc::clone(&more),
            lease: Lease::default(),
        };
        at_work.lanes.insert(Arc::clone(&webhook), more);
        self.lanes += 1;
        self.ports.metrics.lanes.add(1, ());
        let run = lane.run().into_actor(self);
        ctx.spawn(run.map(move |end, actor, ctx| actor.rested(task, &webhook, end, ctx)));
    }

    fn rested(&mut self, task: Uuid, webhook: &str, end: LaneEnd, ctx: &mut Context<Self>) {
        self.lanes -= 1;
        self.ports.metrics.lanes.add(-1, ());
        if let Some(at_work) = self.at_work.get_mut(&task) {
            at_work.lanes.remove(webhook);
        }
        self.forget_idle(task);
        if end == LaneEnd::Over {
            // Whether others of the task are to be told more: if not, its events need not be announced any more.
            self.look_for_others(task, ctx);
        }
    }

    fn look_for_others(&mut self, task: Uuid, ctx: &mut Context<Self>) {
        let webhooks = Arc::clone(&self.ports.webhooks);
        let found = async move { webhooks.of_task(task).await }.into_actor(self);
        ctx.spawn(found.map(move |found, actor, _| {
            let Ok(webhooks) = found else { return };
            let live = webhooks.iter().filter(|webhook| !webhook.done).count();
            if let Some(at_work) = actor.at_work.get_mut(&task) {
                at_work.live = live;
            }
            if live == 0 {
                actor.watched.remove(task);
            }
        }));
    }

    fn forget_idle(&mut self, task: Uuid) {
        if self
            .at_work
            .get(&task)
            .is_some_and(|at_work| at_work.lanes.is_empty())
        {
            self.at_work.remove(&task);
        }
    }

    /// Asks the store for the next page of tasks with events that were not told, and for another as long as there is room.
    fn sweep(&mut self, ctx: &mut Context<Self>) {
        if self.sweeping || self.lanes + self.looking.len() >= MAX_LANES {
            return;
        }
        self.sweeping = true;
        let (webhooks, after) = (Arc::clone(&self.ports.webhooks), self.swept);
        let page = async move { webhooks.undelivered(after, PAGE).await }.into_actor(self);
        ctx.spawn(page.map(|page, actor, ctx| {
            actor.sweeping = false;
            let tasks = match page {
                Ok(tasks) => tasks,
                Err(error) => {
                    return tracing::warn!(%error, "webhooks with something to be told of cannot be read");
                }
            };
            let is_full = tasks.len() >= PAGE;
            actor.swept = tasks.last().copied().filter(|_| is_full);
            for task in tasks {
                if !actor.looking.contains(&task) {
                    actor.look(task, ctx);
                }
            }
            if is_full {
                actor.sweep(ctx);
            }
        }));
    }
}

impl Actor for PushNotifier {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.sweep(ctx);
        ctx.run_interval(SWEEP, |actor, ctx| actor.sweep(ctx));
    }
}

impl Handler<Wake> for PushNotifier {
    type Result = ();

    fn handle(&mut self, wake: Wake, ctx: &mut Self::Context) {
        if wake.changed {
            return self.look(wake.task, ctx);
        }
        match self.at_work.get(&wake.task) {
            Some(at_work) if at_work.lanes.len() >= at_work.live => {
                for more in at_work.lanes.values() {
                    more.set(true);
                }
            }
            // What is being read starts lanes, and they find these events, too.
            _ if self.looking.contains(&wake.task) => {}
            _ => self.look(wake.task, ctx),
        }
    }
}

impl Handler<Snapshot> for PushNotifier {
    type Result = PushSnapshot;

    fn handle(&mut self, _: Snapshot, _: &mut Self::Context) -> Self::Result {
        PushSnapshot { lanes: self.lanes }
    }
}
