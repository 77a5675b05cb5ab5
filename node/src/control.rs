//! The control plane: agents are added, changed, paused and removed while the node runs.
//!
//! Owns [`AgentControl`]: every agent of the node, where it came from and whether it is to be called. It publishes the
//! table in which requests find agents, looks after those elsewhere now and then, and tells the bus what happens to each.
//! Answers [`Control`], one command at a time: what is decided is kept before it counts, so a restart finds all of it.
//! Agents of the configuration can be paused and disabled here, but not changed or removed. Where several replicas share
//! a store, each reads now and then what the others have decided.
//! Read `hosted` (what is held of each agent), `plan` (what a command comes to: pure), `view` (what is shown), `news`
//! (what the bus is told), `looks` (who is there).

use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, AsyncContext, AtomicResponse, Context, Handler, Message, Recipient,
    WrapFuture,
};
use archipel_kit::clock::Clock;
use archipel_kit::settings::Problems;
use serde_json::Value;

use crate::bus::Publish;
use crate::config::UpstreamSettings;
use crate::control::hosted::Hosted;
use crate::control::looks::Looked;
use crate::control::news::News;
use crate::control::plan::Plan;
use crate::egress::Egress;
use crate::metrics::{AgentMetrics, Looked as Found};
use crate::registry::{ChangeCard, SharedAgents};
use crate::store::StoreError;
use crate::store::agents::AgentStore;

pub mod hosted;
mod looks;
mod news;
mod plan;
mod view;

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
mod tests;

/// Commands that may wait: operators are few.
const MAILBOX: usize = 64;
/// How often a store that others write too is read again.
const READ_AGAIN: Duration = Duration::from_secs(2);

/// Tells the control plane something.
#[derive(Debug, Message)]
#[rtype(result = "Result<Value, ControlError>")]
pub struct Control(pub Command);

/// What the operator wants. Answered with the agent as it is then, or with all of them; nothing for one that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// All agents.
    List,
    /// One agent.
    Show(String),
    /// A new agent: its settings, as a JSON object with the keys of the configuration.
    Add(String),
    /// Other settings: a JSON object of which null takes a key away.
    Change {
        /// Which agent.
        id: String,
        /// What changes.
        patch: String,
    },
    /// Another state.
    Move {
        /// Which agent.
        id: String,
        /// How.
        step: Step,
    },
    /// No such agent any more.
    Remove(String),
}

/// How the state of an agent is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Takes no further messages.
    Pause,
    /// Takes messages again.
    Resume,
    /// Can be called again.
    Enable,
    /// Is missing to everybody.
    Disable,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is no such agent.
    #[error("no such agent")]
    NotFound,
    /// It contradicts what is there.
    #[error("{0}")]
    Conflict(&'static str),
    /// The settings are not right.
    #[error("the settings have problems")]
    Invalid(Problems),
    /// What was decided could not be kept.
    #[error("the decision cannot be kept now")]
    NotKept(#[from] StoreError),
}

/// What the control plane works with.
pub struct ControlPorts {
    /// Where requests find agents.
    pub table: SharedAgents,
    /// Is told the cards of agents.
    pub cards: Recipient<ChangeCard>,
    /// Keeps what was decided.
    pub store: Arc<dyn AgentStore>,
    /// Says where an added agent may be.
    pub egress: Arc<Egress>,
    /// Is told what happens to agents.
    pub bus: Recipient<Publish>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: AgentMetrics,
    /// When agents are looked after.
    pub upstreams: UpstreamSettings,
    /// How many agents may be added.
    pub max_agents: usize,
}

/// See the module.
pub struct AgentControl {
    hosted: Hosted,
    news: News,
    ports: ControlPorts,
    /// A round of looks is under way.
    looking: bool,
}

impl AgentControl {
    /// A control plane over these agents, whose cards are known already.
    pub fn new(hosted: Hosted, ports: ControlPorts) -> Self {
        Self {
            news: News::new(ports.bus.clone(), Arc::clone(&ports.clock)),
            hosted,
            ports,
            looking: false,
        }
    }

    fn publish(&mut self) {
        for card in self.hosted.take_cards() {
            if self.ports.cards.try_send(card).is_err() {
                tracing::error!("the registry was not told of a card");
            }
        }
        self.ports.table.store(Arc::new(self.hosted.table()));
    }

    /// Makes what is kept true.
    fn apply(&mut self, plan: Plan) -> Result<Value, ControlError> {
        let id = plan.id().to_owned();
        let before = self.hosted.state(&id);
        match plan {
            Plan::Nothing(_) => {}
            Plan::Keep { row, .. } => self.hosted.take_row(&row),
            Plan::Forget(id) => {
                if let Some(agent) = self.hosted.remove(&id) {
                    self.news.removed(&agent);
                }
            }
        }
        self.publish();
        let Some(agent) = self.hosted.find(&id) else {
            return Ok(Value::Null);
        };
        self.news.moved(agent, before);
        Ok(view::agent(agent, self.hosted.is_default(&id)))
    }

    fn read_again(&mut self, ctx: &mut Context<Self>) {
        let store = Arc::clone(&self.ports.store);
        let read = async move { store.agents().await };
        let read = read.into_actor(self).map(|rows, control, _| match rows {
            Ok(rows) => {
                if control.hosted.take_all(&rows) {
                    control.publish();
                }
            }
            Err(error) => tracing::warn!(%error, "agents could not be read again"),
        });
        ctx.spawn(read);
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.looking {
            return;
        }
        self.looking = true;
        let round = looks::round(self.hosted.probes(), Arc::clone(&self.ports.clock));
        ctx.spawn(round.into_actor(self).map(|found, control, _| {
            control.looking = false;
            for (id, looked) in found {
                control.ports.metrics.checks.count(found_of(&looked));
                control.hosted.note(&id, looked);
            }
        }));
    }
}

impl Actor for AgentControl {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        for agent in self.hosted.iter() {
            self.news.moved(agent, Some(hosted::RunState::Disabled));
        }
        let every = self.ports.upstreams.check_every;
        if !every.is_zero() {
            ctx.run_interval(every, Self::look);
        }
        if self.ports.store.is_shared() {
            ctx.run_interval(READ_AGAIN, Self::read_again);
        }
    }
}

impl Handler<Control> for AgentControl {
    /// Nobody else's command is looked at before this one is kept and counts.
    type Result = AtomicResponse<Self, Result<Value, ControlError>>;

    fn handle(&mut self, Control(command): Control, _: &mut Self::Context) -> Self::Result {
        let shown = match &command {
            Command::List => Some(Ok(view::all(&self.hosted))),
            Command::Show(id) => Some(view::one(&self.hosted, id)),
            _ => None,
        };
        let plan = shown
            .is_none()
            .then(|| plan::plan(&self.hosted, command, self.ports.max_agents));
        let (store, egress) = (
            Arc::clone(&self.ports.store),
            Arc::clone(&self.ports.egress),
        );
        let kept = async move {
            match plan {
                Some(plan) => keep(plan?, store.as_ref(), &egress).await.map(Some),
                None => Ok(None),
            }
        };
        AtomicResponse::new(Box::pin(kept.into_actor(self).map(
            |kept, control, _| match (shown, kept?) {
                (Some(shown), _) => shown,
                (None, Some(plan)) => control.apply(plan),
                (None, None) => Err(ControlError::NotFound),
            },
        )))
    }
}

/// Checks what has to be asked elsewhere, and keeps the decision.
async fn keep(plan: Plan, store: &dyn AgentStore, egress: &Egress) -> Result<Plan, ControlError> {
    match &plan {
        Plan::Nothing(_) => {}
        Plan::Keep { row, url } => {
            if let Some(url) = url
                && let Err(refusal) = egress.judge(url.as_str()).await
            {
                let what = format!(
                    "is where this node may not call ({refusal}): its host must be known and public, or on egress.host_allowlist"
                );
                let mut problems = Problems::default();
                problems.add("url", what);
                return Err(ControlError::Invalid(problems));
            }
            store.keep_agent(row.clone()).await?;
        }
        Plan::Forget(id) => store.forget_agent(id).await?,
    }
    Ok(plan)
}

fn found_of(looked: &Looked) -> Found {
    match looked.away {
        None => Found::There,
        Some(_) => Found::Away,
    }
}
