//! The bus of this node, and the first events on it.

use std::sync::Arc;

use actix::prelude::*;
use archipel_kit::clock::Clock;
use archipel_protocol::envelope::{
    AgentLifecycle, BusSecret, Event, SystemEvent, SystemPayload, Timestamp,
};
use archipel_protocol::ids::Text;
use archipel_protocol::names::Dialect;

use crate::bus::{BusActor, BusRules, Publish, in_process};
use crate::config::{AgentSettings, BusSettings};
use crate::replay::ClaimId;

/// Starts the bus inside the process. Secrets are long enough: the configuration was checked.
pub(super) fn start(
    settings: &BusSettings,
    dialect: Dialect,
    claims: Recipient<ClaimId>,
    clock: &Arc<dyn Clock>,
) -> Addr<BusActor> {
    let secrets = [&settings.secret, &settings.previous_secret];
    let rules = BusRules {
        secrets: secrets
            .into_iter()
            .flatten()
            .filter_map(|secret| BusSecret::new(secret.expose()).ok())
            .collect(),
        dialect,
        freshness: settings.freshness,
    };
    BusActor::new(rules, in_process::connect(), claims, Arc::clone(clock)).start()
}

/// Tells the site that these agents can be called now.
pub(super) fn announce(agents: &[AgentSettings], bus: &Addr<BusActor>, now_ms: u64) {
    for agent in agents {
        let Some(event) = started(agent, now_ms) else {
            continue;
        };
        let publish = Publish {
            event,
            correlation_id: None,
        };
        if bus.try_send(publish).is_err() {
            tracing::warn!(agent.id = agent.id, "the bus was not told of an agent");
        }
    }
}

fn started(agent: &AgentSettings, now_ms: u64) -> Option<Event> {
    let name = agent.name.as_deref().unwrap_or(&agent.id);
    Some(Event::System(SystemEvent {
        payload: SystemPayload::Agent {
            change: AgentLifecycle::Started,
            agent_id: Text::parse(agent.id.as_str()).ok()?,
            name: Text::parse(name).ok()?,
        },
        timestamp: Timestamp::from_unix_ms(i64::try_from(now_ms).ok()?).ok()?,
    }))
}
