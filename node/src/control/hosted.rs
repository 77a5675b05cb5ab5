//! The agents of a node: what was said of each, what was made of that, and whether it is to be called.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::agents::passthrough::PassthroughAgent;
use crate::agents::run::AgentRun;
use crate::config::AgentSettings;
use crate::control::looks::Looked;
use crate::egress::Destination;
use crate::registry::{AgentTable, ChangeCard, HostedAgent, HostedCard};
use crate::store::agents::AgentRow;
use crate::tasks::executor::{AgentExecutor, ExecutorFailure};

/// Whether an agent is to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// It is.
    Enabled,
    /// It takes no further messages; its tasks can be read, watched and ended.
    Paused,
    /// It is missing to everybody.
    Disabled,
}

/// What the settings of an agent were made into.
pub struct MadeAgent {
    /// Does its work.
    pub executor: Arc<dyn AgentExecutor>,
    /// Whether it is to be called now.
    pub run: Option<Arc<AgentRun>>,
    /// Requests go to it as they came.
    pub passthrough: Option<Arc<PassthroughAgent>>,
    /// Its cards.
    pub card: HostedCard,
    /// Says whether it is there.
    pub probe: Option<Arc<dyn Probe>>,
}

/// Says whether an agent elsewhere is there.
pub trait Probe: Send + Sync {
    /// Asks it something that costs it little.
    fn look(self: Arc<Self>) -> LocalBoxFuture<'static, Result<(), ExecutorFailure>>;
}

/// Makes an agent of its settings; the destination is who chose where it is.
pub type MakeAgent = Box<dyn Fn(&AgentSettings, Destination) -> MadeAgent + Send>;

/// An agent as it is held.
pub struct Held {
    /// What was said of it.
    pub settings: AgentSettings,
    /// The settings as they were given, secrets included, of an agent that was added here.
    pub given: Option<Map<String, Value>>,
    /// Whether it is to be called.
    pub state: RunState,
    /// How requests see it.
    pub agent: Arc<HostedAgent>,
    /// How it was found when it was last looked after.
    pub looked: Option<Looked>,
    probe: Option<Arc<dyn Probe>>,
}

/// What is kept of an agent: only its state when the configuration says the rest.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) state: RunState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) settings: Option<Map<String, Value>>,
}

/// See the module.
pub struct Hosted {
    held: BTreeMap<Arc<str>, Held>,
    default: Option<Arc<str>>,
    make: MakeAgent,
    /// Cards that nobody was told of yet.
    cards: Vec<ChangeCard>,
}

impl Hosted {
    /// The agents of the configuration, and those that were added before.
    pub fn new(configured: &[AgentSettings], rows: &[AgentRow], make: MakeAgent) -> Self {
        let default = configured
            .iter()
            .find(|agent| agent.default)
            .or(configured.first());
        let mut hosted = Self {
            held: BTreeMap::new(),
            default: default.map(|agent| agent.id.as_str().into()),
            make,
            cards: Vec::new(),
        };
        for settings in configured {
            hosted.put(settings.clone(), None, RunState::Enabled);
        }
        hosted.take_all(rows);
        hosted
    }

    /// What has become of cards since this was last asked.
    pub fn take_cards(&mut self) -> Vec<ChangeCard> {
        std::mem::take(&mut self.cards)
    }

    /// As requests see the agents.
    pub fn table(&self) -> AgentTable {
        let agents = self
            .held
            .values()
            .filter(|held| held.state != RunState::Disabled)
            .map(|held| Arc::clone(&held.agent))
            .collect();
        AgentTable::new(agents, self.default.as_deref())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Held> {
        self.held.values()
    }

    pub(super) fn find(&self, id: &str) -> Option<&Held> {
        self.held.get(id)
    }

    pub(super) fn state(&self, id: &str) -> Option<RunState> {
        self.find(id).map(|held| held.state)
    }

    pub(super) fn is_default(&self, id: &str) -> bool {
        self.default.as_deref() == Some(id)
    }

    /// How many were added here.
    pub(super) fn added(&self) -> usize {
        self.held
            .values()
            .filter(|held| held.given.is_some())
            .count()
    }

    pub(super) fn probes(&self) -> Vec<(Arc<str>, Arc<dyn Probe>)> {
        let enabled = self
            .held
            .iter()
            .filter(|(_, held)| held.state != RunState::Disabled);
        enabled
            .filter_map(|(id, held)| Some((Arc::clone(id), Arc::clone(held.probe.as_ref()?))))
            .collect()
    }

    pub(super) fn note(&mut self, id: &str, looked: Looked) {
        if let Some(held) = self.held.get_mut(id) {
            if let Some(run) = &held.agent.run {
                run.note_away(looked.away.is_some());
            }
            held.looked = Some(looked);
        }
    }

    /// Takes all that is kept: agents that are not in it are those of the configuration. Whether anything changed.
    pub(super) fn take_all(&mut self, rows: &[AgentRow]) -> bool {
        let gone: Vec<Arc<str>> = self
            .held
            .iter()
            .filter(|(id, held)| held.given.is_some() && rows.iter().all(|row| row.id != **id))
            .map(|(id, _)| Arc::clone(id))
            .collect();
        let mut changed = !gone.is_empty();
        for id in gone {
            self.remove(&id);
        }
        for row in rows {
            changed |= self.differs(row);
            self.take_row(row);
        }
        changed
    }

    /// Takes what is kept of one agent.
    pub(super) fn take_row(&mut self, row: &AgentRow) {
        let Ok(kept) = serde_json::from_slice::<Kept>(&row.body) else {
            return tracing::error!(agent.id = %row.id, "what is kept of an agent cannot be read");
        };
        let Some(given) = kept.settings else {
            // Of an agent that the configuration no longer has, nothing is left.
            return self.set_state(&row.id, kept.state);
        };
        let held = self.held.get(&row.id);
        if held.is_some_and(|held| held.given.is_none()) {
            return tracing::warn!(agent.id = %row.id, "an agent that was added is in the configuration now, which counts");
        }
        if held.is_some_and(|held| held.given.as_ref() == Some(&given)) {
            return self.set_state(&row.id, kept.state);
        }
        match super::plan::read(&given) {
            Ok(settings) => self.put(settings, Some(given), kept.state),
            Err(problems) => {
                tracing::error!(agent.id = %row.id, %problems, "an agent that was added cannot be made");
            }
        }
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Held> {
        let (id, held) = self.held.remove_entry(id)?;
        self.cards.push(ChangeCard::Drop(id));
        Some(held)
    }

    fn differs(&self, row: &AgentRow) -> bool {
        let kept = serde_json::from_slice::<Kept>(&row.body).ok();
        match (kept, self.held.get(&row.id)) {
            (Some(kept), Some(held)) => {
                held.state != kept.state || kept.settings.is_some() && held.given != kept.settings
            }
            (Some(kept), None) => kept.settings.is_some(),
            (None, _) => false,
        }
    }

    fn put(&mut self, settings: AgentSettings, given: Option<Map<String, Value>>, state: RunState) {
        let destination = match given {
            None => Destination::Trusted,
            Some(_) => Destination::Outside,
        };
        let made = (self.make)(&settings, destination);
        let id: Arc<str> = settings.id.as_str().into();
        let declared = Arc::clone(&made.card.declared);
        self.cards.push(ChangeCard::Put(made.card));
        let agent = HostedAgent {
            id: Arc::clone(&id),
            visibility: settings.visibility,
            receives_envelopes: settings.receives_envelopes,
            executor: made.executor,
            declared,
            run: made.run,
            passthrough: made.passthrough,
            paused: state == RunState::Paused,
        };
        let held = Held {
            settings,
            given,
            state,
            agent: Arc::new(agent),
            looked: None,
            probe: made.probe,
        };
        self.held.insert(id, held);
    }

    /// Turns that run go on: they hold what they work with.
    fn set_state(&mut self, id: &str, state: RunState) {
        let Some(held) = self.held.get_mut(id) else {
            return;
        };
        held.state = state;
        held.agent = Arc::new(HostedAgent {
            paused: state == RunState::Paused,
            ..held.agent.as_ref().clone()
        });
    }
}
