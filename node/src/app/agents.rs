//! The agents that the configuration names, and the bus that tells of them.

use std::sync::Arc;

use arc_swap::ArcSwap;
use archipel_kit::clock::Clock;
use archipel_protocol::a2a::AgentCard;
use archipel_protocol::object::{Extra, Fields};
use serde_json::json;

use crate::agents::echo::Echo;
use crate::agents::reader::TextReader;
use crate::agents::upstream::{UpstreamAgent, UpstreamAgentSettings, UpstreamCard, UpstreamLimits};
use crate::cards::declared::Declared;
use crate::cards::shelf::CardSource;
use crate::cards::trust::CardTrust;
use crate::config::{AgentKind, AgentSettings, NodeSettings};
use crate::egress::{Destination, Egress};
use crate::registry::{AgentTable, HostedAgent, HostedCard, SharedAgents, own_card};
use crate::tasks::executor::AgentExecutor;

/// The agents as requests find them, and their cards.
pub(super) struct Hosted {
    pub(super) table: SharedAgents,
    pub(super) cards: Vec<HostedCard>,
}

/// Makes the agents.
pub(super) fn host(
    settings: &NodeSettings,
    egress: &Arc<Egress>,
    clock: &Arc<dyn Clock>,
) -> Hosted {
    let mut agents = Vec::new();
    let mut cards = Vec::new();
    for agent in &settings.agents {
        let id: Arc<str> = agent.id.as_str().into();
        let (executor, card) = make(agent, settings, egress, clock);
        let declared = Arc::new(match &card {
            CardSource::Own(card) => Declared::of_own(card),
            CardSource::Upstream(_) | CardSource::Passthrough(_) => Declared::default(),
        });
        agents.push(Arc::new(HostedAgent {
            id: Arc::clone(&id),
            visibility: agent.visibility,
            executor,
            declared: Arc::clone(&declared),
        }));
        cards.push(HostedCard {
            agent: id,
            source: card,
            extra: extra_of(agent),
            declared,
        });
    }
    let default = settings
        .agents
        .iter()
        .find(|agent| agent.default)
        .or(settings.agents.first());
    let table = AgentTable::new(agents, default.map(|agent| agent.id.as_str()));
    Hosted {
        table: Arc::new(ArcSwap::from_pointee(table)),
        cards,
    }
}

/// The configuration check has seen that it is an object.
fn extra_of(agent: &AgentSettings) -> Option<Extra> {
    let members = Fields::read(agent.extended_card.as_deref()?);
    members.ok().map(Fields::rest)
}

fn make(
    agent: &AgentSettings,
    settings: &NodeSettings,
    egress: &Arc<Egress>,
    clock: &Arc<dyn Clock>,
) -> (Arc<dyn AgentExecutor>, CardSource) {
    match (agent.kind, &agent.url) {
        (AgentKind::A2a, Some(url)) => {
            let upstream = UpstreamAgentSettings {
                id: agent.id.as_str().into(),
                url: url.clone(),
                credential: agent.bearer.clone(),
                limits: UpstreamLimits {
                    turn: settings.limits.turn_time,
                    ..UpstreamLimits::default()
                },
                destination: Destination::Trusted,
                // The configuration check has read the keys.
                trust: CardTrust::of_agent(settings.trust.cards, agent.card_keys.as_deref())
                    .unwrap_or_else(|_| CardTrust::new(settings.trust.cards, Default::default())),
            };
            let executor = Arc::new(UpstreamAgent::new(
                upstream,
                Arc::clone(egress),
                Arc::clone(clock),
            ));
            (
                executor.clone(),
                CardSource::Upstream(UpstreamCard::of(executor)),
            )
        }
        (AgentKind::Text, _) => (
            Arc::new(TextReader),
            CardSource::Own(Box::new(text_card(agent))),
        ),
        // An `a2a` agent without URL does not pass the configuration check.
        (AgentKind::Echo | AgentKind::A2a, _) => {
            (Arc::new(Echo), CardSource::Own(Box::new(echo_card(agent))))
        }
    }
}

fn echo_card(agent: &AgentSettings) -> AgentCard {
    let skill = json!({
        "id": "echo",
        "name": "Echo",
        "description": "Says back the text it was sent.",
        "tags": ["echo", "test"],
        "examples": ["hello"],
    });
    own_card(
        agent,
        "Says back what it was told.",
        &["text/plain"],
        &skill,
    )
}

fn text_card(agent: &AgentSettings) -> AgentCard {
    let skill = json!({
        "id": "read-text",
        "name": "Read a text",
        "description": "Statistics, key terms and an extractive summary of a text, streamed one artifact after another.",
        "tags": ["text", "statistics", "summary"],
        "examples": ["Paste an article of some paragraphs."],
    });
    let output = ["text/plain", "application/json"];
    own_card(
        agent,
        "Reads a text: statistics, key terms, summary. Needs no model.",
        &output,
        &skill,
    )
}
