//! The agents of a node: how each is made of its settings, and who looks after them.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Recipient};
use arc_swap::ArcSwap;
use archipel_kit::clock::Clock;
use archipel_protocol::a2a::AgentCard;
use archipel_protocol::object::{Extra, Fields};
use serde_json::json;
use url::Url;

use crate::agents::breaker::BreakerRule;
use crate::agents::echo::Echo;
use crate::agents::openai::{ChatAgent, ChatAgentSettings};
use crate::agents::passthrough::PassthroughAgent;
use crate::agents::reader::TextReader;
use crate::agents::run::{AgentRun, TurnLimits};
use crate::agents::upstream::{UpstreamAgent, UpstreamAgentSettings, UpstreamCard, UpstreamLimits};
use crate::bus::Publish;
use crate::cards::declared::Declared;
use crate::cards::shelf::CardSource;
use crate::cards::trust::CardTrust;
use crate::config::{
    AgentKind, AgentMode, AgentSettings, CardCheck, NodeSettings, UpstreamSettings,
};
use crate::control::hosted::{Hosted, MadeAgent, Probe};
use crate::control::{AgentControl, ControlPorts};
use crate::egress::{Destination, Egress};
use crate::metrics::AgentMetrics;
use crate::registry::{AgentRegistry, CardSettings, HostedCard, SharedAgents, own_card};
use crate::store::agents::{AgentRow, AgentStore};
use crate::tasks::executor::{AgentExecutor, Executors};
use crate::wan::calls::Post;
use crate::wan::calls::agent::PostedAgent;

/// For how long an agent that keeps failing is left alone at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What agents live in.
pub(super) struct World<'a> {
    pub(super) settings: &'a NodeSettings,
    pub(super) egress: &'a Arc<Egress>,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) metrics: AgentMetrics,
    pub(super) store: &'a Arc<dyn AgentStore>,
    pub(super) bus: Recipient<Publish>,
}

/// Who works for an agent of the node, by the agent's id; or for an agent of a peer that is called by envelope.
pub(super) fn executors(agents: &SharedAgents, post: Option<&Arc<Post>>) -> Executors {
    let (agents, post) = (Arc::clone(agents), post.cloned());
    Executors::new(move |id| {
        if id.contains('/') {
            let post = Arc::clone(post.as_ref()?);
            return Some(Arc::new(PostedAgent::of_left_turns(post)));
        }
        let agents = agents.load();
        agents.find(id).map(|agent| Arc::clone(&agent.executor))
    })
}

/// Who looks after agents, and where requests find them.
pub(super) struct Agents {
    pub(super) table: SharedAgents,
    pub(super) registry: Addr<AgentRegistry>,
    pub(super) control: Addr<AgentControl>,
}

/// Makes the agents of the configuration and those that were added before.
pub(super) fn start(world: World<'_>, cards: CardSettings, added: &[AgentRow]) -> Agents {
    let settings = world.settings;
    let workshop = Workshop::new(&world);
    let make = Box::new(move |agent: &_, destination| workshop.make(agent, destination));
    let mut hosted = Hosted::new(&settings.agents, added, make);
    let table = SharedAgents::new(ArcSwap::from_pointee(hosted.table()));
    let registry = AgentRegistry::new(hosted.take_cards(), cards, Arc::clone(world.clock)).start();
    let ports = ControlPorts {
        table: Arc::clone(&table),
        cards: registry.clone().recipient(),
        store: Arc::clone(world.store),
        egress: Arc::clone(world.egress),
        bus: world.bus,
        clock: Arc::clone(world.clock),
        metrics: world.metrics,
        upstreams: settings.upstreams.clone(),
        max_agents: settings.control_plane.max_agents,
    };
    Agents {
        table,
        registry,
        control: AgentControl::new(hosted, ports).start(),
    }
}

/// What agents are made with.
struct Workshop {
    turn: Duration,
    upstreams: UpstreamSettings,
    trust: CardCheck,
    egress: Arc<Egress>,
    clock: Arc<dyn Clock>,
    metrics: AgentMetrics,
}

/// The configuration check has seen that it is an object.
fn extra_of(agent: &AgentSettings) -> Option<Extra> {
    let members = Fields::read(agent.extended_card.as_deref()?);
    members.ok().map(Fields::rest)
}

/// How the work of an agent is done.
struct Work {
    executor: Arc<dyn AgentExecutor>,
    card: CardSource,
    probe: Option<Arc<dyn Probe>>,
}

impl Workshop {
    fn new(world: &World<'_>) -> Self {
        Self {
            turn: world.settings.limits.turn_time,
            upstreams: world.settings.upstreams.clone(),
            trust: world.settings.trust.cards,
            egress: Arc::clone(world.egress),
            clock: Arc::clone(world.clock),
            metrics: world.metrics.clone(),
        }
    }

    /// Makes an agent; `destination` is who chose where it is.
    fn make(&self, agent: &AgentSettings, destination: Destination) -> MadeAgent {
        let Work {
            executor,
            card,
            probe,
        } = self.work(agent, destination);
        let declared = Arc::new(match &card {
            CardSource::Own(card) => Declared::of_own(card),
            CardSource::Upstream(_) | CardSource::Passthrough(_) => Declared::default(),
        });
        MadeAgent {
            executor,
            run: self.run(agent),
            passthrough: self.passthrough(agent, destination),
            card: HostedCard {
                agent: agent.id.as_str().into(),
                source: card,
                extra: extra_of(agent),
                declared,
            },
            probe,
        }
    }

    fn work(&self, agent: &AgentSettings, destination: Destination) -> Work {
        let own = |executor, card| Work {
            executor,
            card: CardSource::Own(Box::new(card)),
            probe: None,
        };
        match (agent.kind, &agent.url) {
            (AgentKind::OpenAi, Some(url)) => {
                let executor = Arc::new(self.chat(agent, url, destination));
                Work {
                    probe: Some(executor.clone()),
                    ..own(executor, chat_card(agent))
                }
            }
            (AgentKind::A2a, Some(url)) => {
                let executor = Arc::new(self.upstream(agent, url, destination));
                let card = UpstreamCard::of(executor.clone());
                Work {
                    probe: Some(executor.clone()),
                    executor,
                    card: match agent.mode {
                        AgentMode::Managed => CardSource::Upstream(card),
                        AgentMode::Passthrough => CardSource::Passthrough(card),
                    },
                }
            }
            (AgentKind::Text, _) => own(Arc::new(TextReader), text_card(agent)),
            // An agent elsewhere without URL does not pass the configuration check.
            (AgentKind::Echo | AgentKind::A2a | AgentKind::OpenAi, _) => {
                own(Arc::new(Echo), echo_card(agent))
            }
        }
    }

    fn upstream(
        &self,
        agent: &AgentSettings,
        url: &Url,
        destination: Destination,
    ) -> UpstreamAgent {
        let upstream = UpstreamAgentSettings {
            id: agent.id.as_str().into(),
            url: url.clone(),
            credential: agent.bearer.clone(),
            limits: self.limits(),
            destination,
            // The configuration check has read the keys.
            trust: CardTrust::of_agent(self.trust, agent.card_keys.as_deref())
                .unwrap_or_else(|_| CardTrust::new(self.trust, Default::default())),
        };
        UpstreamAgent::new(upstream, Arc::clone(&self.egress), Arc::clone(&self.clock))
    }

    fn passthrough(
        &self,
        agent: &AgentSettings,
        destination: Destination,
    ) -> Option<Arc<PassthroughAgent>> {
        let url = agent.url.clone()?;
        let passed_through = || {
            PassthroughAgent::new(
                agent.id.as_str().into(),
                url,
                agent.bearer.as_ref(),
                self.limits(),
                (destination, Arc::clone(&self.egress)),
            )
        };
        (agent.mode == AgentMode::Passthrough).then(|| Arc::new(passed_through()))
    }

    fn chat(&self, agent: &AgentSettings, url: &Url, destination: Destination) -> ChatAgent {
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
            destination,
        };
        ChatAgent::new(chat, Arc::clone(&self.egress))
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
        let rule = BreakerRule {
            failures: self.upstreams.breaker_failures,
            pause: self.upstreams.breaker_pause,
            longest: LONGEST_PAUSE,
        };
        let metrics = self.metrics.clone();
        let run = AgentRun::new(limits, rule, Arc::clone(&self.clock), metrics);
        Some(Arc::new(run))
    }

    fn limits(&self) -> UpstreamLimits {
        UpstreamLimits {
            turn: self.turn,
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
