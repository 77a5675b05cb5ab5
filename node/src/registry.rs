//! `AgentRegistry` owns which agents the node hosts and what their cards say.
//!
//! It answers `ReadCard`. Requests find agents in a table that it publishes: an immutable snapshot, replaced as a whole,
//! because asking an actor on another worker for every call would cost more than the call. The card of an upstream agent
//! is read from the agent and kept for a while; when the agent does not answer, the last one that was read is served.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use arc_swap::ArcSwap;
use archipel_kit::clock::Clock;
use archipel_protocol::a2a::{AgentCard, AgentInterface, Capabilities};
use archipel_protocol::object::{Extra, Json};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::agents::upstream::UpstreamCard;
use crate::config::{AgentSettings, Visibility};
use crate::tasks::executor::AgentExecutor;

/// How long a card that was read from an agent is served before it is read again.
const CARD_LIFE: Duration = Duration::from_secs(60);
/// How long an agent that did not answer is left alone: anybody may ask for a public card.
const CARD_RETRY: Duration = Duration::from_secs(2);

/// An agent of this node, as requests see it.
pub struct HostedAgent {
    /// Its name in our URLs.
    pub id: Arc<str>,
    /// Who may see it.
    pub visibility: Visibility,
    /// Does the work.
    pub executor: Arc<dyn AgentExecutor>,
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

    /// The agent that answers at the paths that name none.
    pub fn default_agent(&self) -> Option<&Arc<HostedAgent>> {
        self.default.as_ref()
    }
}

/// Where the card of an agent comes from.
pub enum CardSource {
    /// From us.
    Own(Box<AgentCard>),
    /// From the agent.
    Upstream(UpstreamCard),
}

/// Asks for the card of an agent.
#[derive(Debug, Message)]
#[rtype(result = "Result<ServedCard, CardUnavailable>")]
pub struct ReadCard {
    /// Which agent.
    pub agent: Arc<str>,
}

/// A card as it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedCard {
    /// The card as JSON.
    pub body: Bytes,
    /// Names the body: a strong entity tag, quotes included (RFC 9110 §8.8.3).
    pub etag: String,
}

/// The agent does not show its card, and never did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent does not answer with a card")]
pub struct CardUnavailable;

/// See the module.
pub struct AgentRegistry {
    cards: BTreeMap<Arc<str>, Card>,
    origin: String,
    clock: Arc<dyn Clock>,
}

struct Card {
    source: Arc<CardSource>,
    /// The last card that was read.
    served: Option<ServedCard>,
    /// Until then it is not read again: it is fresh, or reading it failed a moment ago.
    until: Duration,
    /// The read that is under way; whoever asks meanwhile waits for the same one.
    reading: Option<Reading>,
}

type Reading = Shared<LocalBoxFuture<'static, Option<Arc<AgentCard>>>>;

impl Card {
    fn of(source: CardSource) -> Self {
        Self {
            source: Arc::new(source),
            served: None,
            until: Duration::ZERO,
            reading: None,
        }
    }

    fn answer(&self) -> Result<ServedCard, CardUnavailable> {
        self.served.clone().ok_or(CardUnavailable)
    }

    fn read(&mut self) -> Reading {
        let source = Arc::clone(&self.source);
        let read = async move {
            match source.as_ref() {
                CardSource::Own(card) => Some(Arc::new(card.as_ref().clone())),
                CardSource::Upstream(upstream) => upstream.read().await.map(Arc::new),
            }
        };
        self.reading
            .get_or_insert_with(|| read.boxed_local().shared())
            .clone()
    }
}

impl AgentRegistry {
    /// A registry of these agents, reached below `origin`.
    pub fn new(cards: Vec<(Arc<str>, CardSource)>, origin: String, clock: Arc<dyn Clock>) -> Self {
        let cards = cards
            .into_iter()
            .map(|(id, source)| (id, Card::of(source)))
            .collect();
        Self {
            cards,
            origin,
            clock,
        }
    }

    fn keep(
        &mut self,
        agent: &Arc<str>,
        read: Option<Arc<AgentCard>>,
    ) -> Result<ServedCard, CardUnavailable> {
        let now = self.clock.monotonic();
        let card = self.cards.get_mut(agent).ok_or(CardUnavailable)?;
        // The first of those who waited for this read keeps what it brought.
        if card.reading.take().is_some() {
            card.until = now
                + if read.is_some() {
                    CARD_LIFE
                } else {
                    CARD_RETRY
                };
            if let Some(read) = read {
                let url = format!("{}/agents/{agent}", self.origin);
                card.served = Some(serve(AgentCard::clone(&read).served_at(url)));
            }
        }
        card.answer()
    }
}

impl Actor for AgentRegistry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1024);
    }
}

impl Handler<ReadCard> for AgentRegistry {
    type Result = ResponseActFuture<Self, Result<ServedCard, CardUnavailable>>;

    fn handle(&mut self, ask: ReadCard, _: &mut Self::Context) -> Self::Result {
        let now = self.clock.monotonic();
        let Some(card) = self.cards.get_mut(&ask.agent) else {
            return Box::pin(actix::fut::ready(Err(CardUnavailable)));
        };
        if now < card.until {
            return Box::pin(actix::fut::ready(card.answer()));
        }
        Box::pin(
            card.read()
                .into_actor(self)
                .map(move |read, registry, _| registry.keep(&ask.agent, read)),
        )
    }
}

/// A card as it is served.
pub fn serve(card: AgentCard) -> ServedCard {
    // A card is made of texts, so writing it cannot fail.
    let body = Bytes::from(serde_json::to_vec(&card).unwrap_or_default());
    let digest = hex::encode(Sha256::digest(&body));
    ServedCard {
        body,
        etag: format!("\"{}\"", digest.get(..32).unwrap_or_default()),
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
        capabilities: Capabilities {
            streaming: Some(true),
            push_notifications: Some(false),
            ..Capabilities::default()
        },
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
