//! What each worker has of its own, and whoever sees to calls that come by envelope has as well: the way to the tasks, a
//! verifier of tokens, and everything that a request may need.

use std::sync::Arc;

use actix::{Actor, Addr};

use super::{Parts, agents, gates, watch};
use crate::edge::Edge;
use crate::edge::post::PostDesk;
use crate::federation::FederationVerifier;
use crate::federation::letters::Letters;
use crate::replay::ReplayGuard;
use crate::tasks::Tasks;
use crate::tasks::actor::{TaskLimits, TaskPorts};
use crate::tasks::hub::TaskHub;
use crate::tasks::shard::HubPorts;

impl Parts {
    /// This worker's share: its hub, its verifier, and what its requests need.
    pub(super) fn edge(&self) -> Option<Edge> {
        Some(self.edge_with(self.tasks()?, &self.verifier()))
    }

    /// Sees to calls that come by envelope.
    pub(super) fn post_desk(&self) -> PostDesk {
        let (table, store) = (Arc::clone(&self.table), Arc::clone(&self.stores.tasks));
        let verifier = self.verifier();
        let edge = self.edge_with(Tasks::from_outside(table, store), &verifier);
        let guard = self.replay_guard();
        let letters = Letters {
            verify: verifier.recipient(),
            look: guard.clone().recipient(),
            take: guard.recipient(),
        };
        let wan = &self.settings.wan;
        PostDesk::new(edge, letters, (wan.webhook_attempts, wan.webhook_retry))
    }

    fn replay_guard(&self) -> Addr<ReplayGuard> {
        let (claims, clock) = (Arc::clone(&self.stores.claims), Arc::clone(&self.clock));
        ReplayGuard::new(claims, Arc::clone(&self.counters.turnstile), clock).start()
    }

    fn verifier(&self) -> Addr<FederationVerifier> {
        // Its own, so that a claim leaves the worker for nothing but the store.
        let guard = self.replay_guard();
        let (federation, clock) = (Arc::clone(&self.federation), Arc::clone(&self.clock));
        FederationVerifier::new(federation, guard.recipient(), clock)
            .following(self.peers.pairing.clone().recipient())
            .start()
    }

    fn edge_with(&self, tasks: Tasks, verifier: &Addr<FederationVerifier>) -> Edge {
        let settings = &self.settings;
        Edge {
            limits: settings.limits.clone(),
            gates: gates::gates(settings),
            failures: Arc::clone(&self.counters.failures),
            turnstile: Arc::clone(&self.counters.turnstile),
            public: self.counters.public.clone(),
            tasks,
            webhooks: self.webhooks.operations.clone(),
            agents: Arc::clone(&self.agents),
            cards: self.registry.clone().recipient(),
            control: settings
                .control_plane
                .enabled
                .then(|| self.control.clone().recipient()),
            peers: self.peers.desk.clone(),
            verifier: verifier.clone().recipient(),
            federation: Arc::clone(&self.federation),
            outbound: Arc::clone(&self.outbound),
            mesh: Arc::clone(&self.mesh),
            bus: self.bus.clone().recipient(),
            feed: self.feed.clone().recipient(),
            wan: self.wan.gate.clone(),
            audit: self.audit.desk.clone(),
            records: self.audit.actor.clone().recipient(),
            health: Arc::clone(&self.health),
            drain: self.drain.clone(),
            metrics: self.edge_metrics.clone(),
            telemetry: Arc::clone(&self.telemetry),
            origin: Arc::clone(&self.origin),
            signer: self.signer.clone(),
            root_card: settings.a2a.root_card,
            card_check: settings.trust.cards,
        }
    }

    /// This worker's hub, and the way from it to the others.
    fn tasks(&self) -> Option<Tasks> {
        let settings = &self.settings;
        let ports = TaskPorts {
            store: Arc::clone(&self.stores.tasks),
            clock: Arc::clone(&self.clock),
            replicas: self.replicas.clone(),
            executors: agents::executors(&self.agents, self.wan.gate.post.as_ref()),
            limits: TaskLimits {
                turn: settings.limits.turn_time,
                task: settings.limits.task_time,
                size: settings.limits.task_size.bytes(),
                live_bytes: settings.limits.live_bytes.bytes(),
            },
            metrics: self.task_metrics.clone(),
            push: self.webhooks.signal.clone(),
        };
        let bound = settings.limits.live_tasks.div_ceil(settings.worker_count());
        let (shard, local) = self.table.enter(|shard| {
            let hub = TaskHub::new(shard, ports, bound).start();
            watch(&self.health, "tasks", &hub);
            HubPorts {
                open: hub.clone().recipient(),
                ask: hub.clone().recipient(),
                recover: hub.recipient(),
            }
        })?;
        let (table, store) = (Arc::clone(&self.table), Arc::clone(&self.stores.tasks));
        Some(Tasks::new(shard, local, table, store))
    }
}
