//! What the bus is told of agents (contract/bus.md 5): the steps of their lives, and after each the state they are in.

use std::sync::Arc;

use actix::Recipient;
use archipel_kit::clock::Clock;
use archipel_protocol::envelope::{
    AgentLifecycle, AgentState, AgentStatus, Event, SystemEvent, SystemPayload, Timestamp,
};
use archipel_protocol::ids::Text;

use crate::bus::Publish;
use crate::config::AgentSettings;
use crate::control::hosted::{Held, RunState};

pub(super) struct News {
    bus: Recipient<Publish>,
    clock: Arc<dyn Clock>,
}

impl News {
    pub(super) fn new(bus: Recipient<Publish>, clock: Arc<dyn Clock>) -> Self {
        Self { bus, clock }
    }

    /// An agent is as it is now, and was as it was `before`, if it was there.
    pub(super) fn moved(&self, held: &Held, before: Option<RunState>) {
        let steps = steps(before, held.state);
        for step in steps {
            self.tell(&held.settings, |payload| payload(*step));
        }
        if !steps.is_empty() {
            self.tell_status(&held.settings, status(held.state));
        }
    }

    /// An agent is there no longer.
    pub(super) fn removed(&self, held: &Held) {
        if held.state != RunState::Disabled {
            self.tell(&held.settings, |payload| payload(AgentLifecycle::Stopped));
            self.tell_status(&held.settings, AgentState::Stopped);
        }
        self.tell(&held.settings, |payload| payload(AgentLifecycle::Deleted));
    }

    fn tell(
        &self,
        agent: &AgentSettings,
        of: impl FnOnce(&dyn Fn(AgentLifecycle) -> Option<SystemPayload>) -> Option<SystemPayload>,
    ) {
        let name = agent.name.as_deref().unwrap_or(&agent.id);
        let payload = |change| {
            Some(SystemPayload::Agent {
                change,
                agent_id: Text::parse(agent.id.as_str()).ok()?,
                name: Text::parse(name).ok()?,
            })
        };
        if let (Some(payload), Some(timestamp)) = (of(&payload), self.now()) {
            self.publish(Event::System(SystemEvent { payload, timestamp }), &agent.id);
        }
    }

    fn tell_status(&self, agent: &AgentSettings, status: AgentState) {
        if let (Ok(agent_id), Some(timestamp)) = (Text::parse(agent.id.as_str()), self.now()) {
            let status = AgentStatus {
                agent_id,
                status,
                timestamp,
                instance_id: None,
            };
            self.publish(Event::Status(status), &agent.id);
        }
    }

    fn publish(&self, event: Event, agent: &str) {
        let publish = Publish {
            event,
            correlation_id: None,
            event_id: None,
        };
        if self.bus.try_send(publish).is_err() {
            tracing::warn!(agent.id = agent, "the bus was not told of an agent");
        }
    }

    fn now(&self) -> Option<Timestamp> {
        let now_ms = i64::try_from(self.clock.now_ms()).ok()?;
        Timestamp::from_unix_ms(now_ms).ok()
    }
}

/// The steps from one state to another; an agent that was not there is created first.
fn steps(before: Option<RunState>, now: RunState) -> &'static [AgentLifecycle] {
    use AgentLifecycle::{Created, Paused, Resumed, Started, Stopped};
    use RunState as State;
    match (before, now) {
        (None, State::Enabled) => &[Created, Started],
        (None, State::Paused) => &[Created, Started, Paused],
        (None, State::Disabled) => &[Created],
        (Some(State::Disabled), State::Enabled) => &[Started],
        (Some(State::Disabled), State::Paused) => &[Started, Paused],
        (Some(State::Enabled), State::Paused) => &[Paused],
        (Some(State::Paused), State::Enabled) => &[Resumed],
        (Some(State::Enabled | State::Paused), State::Disabled) => &[Stopped],
        (Some(State::Enabled), State::Enabled)
        | (Some(State::Paused), State::Paused)
        | (Some(State::Disabled), State::Disabled) => &[],
    }
}

fn status(state: RunState) -> AgentState {
    match state {
        RunState::Enabled => AgentState::Running,
        RunState::Paused => AgentState::Paused,
        RunState::Disabled => AgentState::Stopped,
    }
}
