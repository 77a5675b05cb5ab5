//! `AgentRegistry` owns which agents the node hosts and what their cards say.
//!
//! It answers `ReadCard`. Requests find agents in a table that it publishes: an immutable snapshot, replaced as a whole,
//! because asking an actor on another worker for every call would cost more than the call. What is known of each agent's
//! cards stands on its shelf (`cards::shelf`).

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::prelude::*;
use arc_swap::ArcSwap;
use archipel_kit::clock::Clock;
use archipel_protocol::a2a::card::CardSigner;
use archipel_protocol::a2a::{AgentCard, AgentInterface, Capabilities};
use archipel_protocol::object::{Extra, Json};
use serde_json::Value;

use crate::agents::passthrough::PassthroughAgent;
use crate::agents::run::{Admission, AgentRun, NotNow};
use crate::cards::declared::Declared;
use crate::cards::shelf::{CardSort, CardSource, Found, Making, NoCard, Place, Shelf};
use crate::cards::{CardForm, ServedCard};
use crate::config::{AgentSettings, Visibility};
use crate::tasks::executor::AgentExecutor;

/// An agent of this node, as requests see it.
#[derive(Clone)]
pub struct HostedAgent {
    /// Its name in our URLs.
    pub id: Arc<str>,
    /// Who may see it.
    pub visibility: Visibility,
    /// Whether envelopes that are addressed to it are messages to it.
    pub receives_envelopes: bool,
    /// Does the work.
    pub executor: Arc<dyn AgentExecutor>,
    /// What its card says about calls.
    pub declared: Arc<Declared>,
    /// Whether it is to be called now; nobody asks that of agents that run in this process.
    pub run: Option<Arc<AgentRun>>,
    /// It keeps its own tasks: requests go to it as they came.
    pub passthrough: Option<Arc<PassthroughAgent>>,
    /// The operator paused it.
    pub paused: bool,
}

impl HostedAgent {
    /// Who works on a message that comes now.
    ///
    /// # Errors
    /// Why nobody does.
    pub fn begin_turn(&self) -> Result<Arc<dyn AgentExecutor>, NotNow> {
        self.check_paused()?;
        match &self.run {
            Some(run) => run.begin(&self.executor),
            None => Ok(Arc::clone(&self.executor)),
        }
    }

    /// Lets a request in that goes to the agent as it came.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self) -> Result<Option<Admission>, NotNow> {
        self.check_paused()?;
        self.run.as_ref().map(AgentRun::admit).transpose()
    }

    fn check_paused(&self) -> Result<(), NotNow> {
        match (self.paused, &self.run) {
            (false, _) => Ok(()),
            (true, None) => Err(NotNow::Paused),
            (true, Some(run)) => Err(run.refuse(NotNow::Paused)),
        }
    }
}

/// The agents of a node.
pub struct AgentTable {
    agents: BTreeMap<Arc<str>, Arc<HostedAgent>>,
    default: Option<Arc<HostedAgent>>,
}

impl AgentTable {
    /// A table; `default` answers at the paths that name no agent.
    pub fn new(agents: Vec<Arc<HostedAgent>>, default: Option<&str>) -> Self {
        let agents: BTreeMap<_, _> = agents
            .into_iter()
            .map(|agent| (agent.id.clone(), agent))
            .collect();
        let default = default.and_then(|id| agents.get(id)).cloned();
        Self { agents, default }
    }

    /// The agent called `id`.
    pub fn find(&self, id: &str) -> Option<&Arc<HostedAgent>> {
        self.agents.get(id)
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<HostedAgent>> {
        self.agents.values()
    }

    /// The agent that answers at the paths that name none.
    pub fn default_agent(&self) -> Option<&Arc<HostedAgent>> {
        self.default.as_ref()
    }
}

/// An agent's cards, and where they come from.
pub struct HostedCard {
    /// Its name in our URLs.
    pub agent: Arc<str>,
    pub source: CardSource,
    /// What its extended card says beyond its card.
    pub extra: Option<Extra>,
    /// Told of each card that is read.
    pub declared: Arc<Declared>,
}

/// Tells of an agent's cards: those of one that is new or another now, or that there are none any more.
#[derive(Message)]
#[rtype(result = "()")]
pub enum ChangeCard {
    /// These count from now on.
    Put(HostedCard),
    /// The agent is gone.
    Drop(Arc<str>),
}

/// Asks for a card of an agent.
#[derive(Debug, Message)]
#[rtype(result = "Result<ServedCard, NoCard>")]
pub struct ReadCard {
    /// Which agent.
    pub agent: Arc<str>,
    pub sort: CardSort,
    pub form: CardForm,
}

/// What all cards of a node have in common.
pub struct CardSettings {
    /// How others reach this node.
    pub origin: String,
    pub signer: CardSigner,
    /// Whether webhooks are called.
    pub push_notifications: bool,
}

/// See the module.
pub struct AgentRegistry {
    shelves: BTreeMap<Arc<str>, (Shelf, Arc<Declared>)>,
    settings: CardSettings,
    clock: Arc<dyn Clock>,
}

impl AgentRegistry {
    /// A registry of these agents.
    pub fn new(cards: Vec<ChangeCard>, settings: CardSettings, clock: Arc<dyn Clock>) -> Self {
        let mut registry = Self {
            shelves: BTreeMap::new(),
            settings,
            clock,
        };
        for card in cards {
            registry.change(card);
        }
        registry
    }

    fn change(&mut self, change: ChangeCard) {
        match change {
            ChangeCard::Put(card) => {
                let shelf = Shelf::new(card.source, card.extra);
                self.shelves.insert(card.agent, (shelf, card.declared));
            }
            ChangeCard::Drop(agent) => {
                self.shelves.remove(&agent);
            }
        }
    }

    fn keep(
        &mut self,
        ask: &ReadCard,
        place: Place,
        found: Result<Found, NoCard>,
    ) -> Result<ServedCard, NoCard> {
        let (shelf, declared) = self.shelves.get_mut(&ask.agent).ok_or(NoCard::Away)?;
        if let Ok(Found::Card(card, _)) = &found {
            declared.learn(card);
        }
        let making = Making {
            url: &format!("{}/agents/{}", self.settings.origin, ask.agent),
            signer: &self.settings.signer,
            push_notifications: self.settings.push_notifications,
            now_ms: self.clock.now_ms(),
        };
        shelf.keep(place, ask.form, found, &making, self.clock.monotonic())
    }
}

impl Actor for AgentRegistry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1024);
    }
}

impl Handler<ChangeCard> for AgentRegistry {
    type Result = ();

    fn handle(&mut self, change: ChangeCard, _: &mut Self::Context) {
        self.change(change);
    }
}

impl Handler<ReadCard> for AgentRegistry {
    type Result = ResponseActFuture<Self, Result<ServedCard, NoCard>>;

    fn handle(&mut self, ask: ReadCard, _: &mut Self::Context) -> Self::Result {
        let Some((shelf, _)) = self.shelves.get_mut(&ask.agent) else {
            return Box::pin(actix::fut::ready(Err(NoCard::Away)));
        };
        let place = shelf.place(ask.sort, ask.form);
        if let Some(answer) = shelf.fresh(place, ask.form, self.clock.monotonic()) {
            return Box::pin(actix::fut::ready(answer));
        }
        Box::pin(
            shelf
                .read(place)
                .into_actor(self)
                .map(move |found, registry, _| registry.keep(&ask, place, found)),
        )
    }
}

/// The card of an agent of ours.
pub fn own_card(
    settings: &AgentSettings,
    description: &str,
    output: &[&str],
    skill: &Value,
) -> AgentCard {
    AgentCard {
        name: settings.name.clone().unwrap_or_else(|| settings.id.clone()),
        description: settings
            .description
            .clone()
            .unwrap_or_else(|| description.to_owned()),
        supported_interfaces: Vec::<AgentInterface>::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        capabilities: Capabilities::default(),
        default_input_modes: vec!["text/plain".to_owned()],
        default_output_modes: output.iter().map(|&mode| mode.to_owned()).collect(),
        skills: Json::of(skill).into_iter().collect(),
        extra: Extra::default(),
    }
}

/// The table as it is shared with all workers.
pub type SharedAgents = Arc<ArcSwap<AgentTable>>;

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
mod tests;
