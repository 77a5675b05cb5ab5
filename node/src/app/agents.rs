//! The agents that the configuration names, and the bus that tells of them.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use archipel_kit::clock::Clock;
use archipel_protocol::a2a::AgentCard;
use archipel_protocol::object::{Extra, Fields};
use serde_json::json;
use url::Url;

use crate::agents::breaker::BreakerRule;
use crate::agents::echo::Echo;
use crate::agents::openai::{ChatAgent, ChatAgentSettings};
use crate::agents::reader::TextReader;
use crate::agents::run::{AgentRun, TurnLimits};
use crate::agents::upstream::{UpstreamAgent, UpstreamAgentSettings, UpstreamCard, UpstreamLimits};
use crate::cards::declared::Declared;
use crate::cards::shelf::CardSource;
use crate::cards::trust::CardTrust;
use crate::config::{AgentKind, AgentSettings, NodeSettings};
use crate::egress::{Destination, Egress};
use crate::metrics::AgentMetrics;
use crate::registry::{AgentTable, HostedAgent, HostedCard, SharedAgents, own_card};
use crate::tasks::executor::{AgentExecutor, Executors};

/// For how long an agent that keeps failing is left alone at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The agents as requests find them, and their cards.
pub(super) struct Hosted {
    pub(super) table: SharedAgents,
    pub(super) cards: Vec<HostedCard>,
}

/// What agents are made with.
pub(super) struct Workshop<'a> {
    pub(super) settings: &'a NodeSettings,
    pub(super) egress: &'a Arc<Egress>,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) metrics: &'a AgentMetrics,
}

/// Who works for an agent of the node, by the agent's id.
pub(super) fn executors(agents: &SharedAgents) -> Executors {
    let agents = Arc::clone(agents);
    Executors::new(move |id| {
        let agents = agents.load();
        agents.find(id).map(|agent| Arc::clone(&agent.executor))
    })
}

/// Makes the agents.
pub(super) fn host(workshop: &Workshop<'_>) -> Hosted {
    let settings = workshop.settings;
    let mut agents = Vec::new();
    let mut cards = Vec::new();
    for agent in &settings.agents {
        let id: Arc<str> = agent.id.as_str().into();
        let (executor, card) = workshop.make(agent);
        let declared = Arc::new(match &card {
            CardSource::Own(card) => Declared::of_own(card),
            CardSource::Upstream(_) | CardSource::Passthrough(_) => Declared::default(),
        });
        agents.push(Arc::new(HostedAgent {
            id: Arc::clone(&id),
            visibility: agent.visibility,
            executor,
            declared: Arc::clone(&declared),
            run: workshop.run(agent),
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

impl Workshop<'_> {
    fn make(&self, agent: &AgentSettings) -> (Arc<dyn AgentExecutor>, CardSource) {
        match (agent.kind, &agent.url) {
            (AgentKind::OpenAi, Some(url)) => (
                Arc::new(self.chat(agent, url)),
                CardSource::Own(Box::new(chat_card(agent))),
            ),
            (AgentKind::A2a, Some(url)) => {
                let executor = Arc::new(self.upstream(agent, url));
                (
                    executor.clone(),
                    CardSource::Upstream(UpstreamCard::of(executor)),
                )
            }
            (AgentKind::Text, _) => (
                Arc::new(TextReader),
                CardSource::Own(Box::new(text_card(agent))),
            ),
            // An agent elsewhere without URL does not pass the configuration check.
            (AgentKind::Echo | AgentKind::A2a | AgentKind::OpenAi, _) => {
                (Arc::new(Echo), CardSource::Own(Box::new(echo_card(agent))))
            }
        }
    }

    fn upstream(&self, agent: &AgentSettings, url: &Url) -> UpstreamAgent {
        let check = self.settings.trust.cards;
        let upstream = UpstreamAgentSettings {
            id: agent.id.as_str().into(),
            url: url.clone(),
            credential: agent.bearer.clone(),
            limits: self.limits(),
            destination: Destination::Trusted,
            // The configuration check has read the keys.
            trust: CardTrust::of_agent(check, agent.card_keys.as_deref())
                .unwrap_or_else(|_| CardTrust::new(check, Default::default())),
        };
        UpstreamAgent::new(upstream, Arc::clone(self.egress), Arc::clone(self.clock))
    }

    fn chat(&self, agent: &AgentSettings, url: &Url) -> ChatAgent {
        let chat = ChatAgentSettings {
            id: agent.id.as_str().into(),
            url: url.clone(),
            model: agent.model.clone().unwrap_or_default(),
            api_key: agent.api_key.clone(),
            system_prompt: agent.system_prompt.clone(),
            temperature: agent.temperature,
            max_tokens: agent.max_tokens,
            images: agent.images,
            history: agent.history.bytes(),
            conversation: agent.conversation,
            limits: self.limits(),
            destination: Destination::Trusted,
        };
        ChatAgent::new(chat, Arc::clone(self.egress))
    }

    /// What runs in this process needs a breaker only where its turns are limited.
    fn run(&self, agent: &AgentSettings) -> Option<Arc<AgentRun>> {
        let limits = TurnLimits {
            concurrent: agent.max_concurrent_turns,
            waiting: agent.max_waiting_turns,
        };
        if agent.url.is_none() && limits == TurnLimits::default() {
            return None;
        }
        let upstreams = &self.settings.upstreams;
        let rule = BreakerRule {
            failures: upstreams.breaker_failures,
            pause: upstreams.breaker_pause,
            longest: LONGEST_PAUSE,
        };
        let run = AgentRun::new(limits, rule, Arc::clone(self.clock), self.metrics.clone());
        Some(Arc::new(run))
    }

    fn limits(&self) -> UpstreamLimits {
        UpstreamLimits {
            turn: self.settings.limits.turn_time,
            ..UpstreamLimits::default()
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

fn chat_card(agent: &AgentSettings) -> AgentCard {
    let skill = json!({
        "id": "chat",
        "name": "Chat",
        "description": "Answers in words.",
        "tags": ["chat", "language-model"],
    });
    let mut card = own_card(
        agent,
        "Answers what it is told with a language model.",
        &["text/plain"],
        &skill,
    );
    if agent.images {
        card.default_input_modes.push("image/*".to_owned());
    }
    card
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
