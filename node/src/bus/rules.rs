//! What a bus message must be, and how ours are made: pure, with the time passed in.

use std::time::Duration;

use archipel_protocol::envelope::{BusSecret, Event, MeshMeta, Opened, open, seal};
use archipel_protocol::names::Dialect;
use bytes::Bytes;

use super::{BusMessage, BusRefusal};
use crate::replay::{ClaimId, ClaimScope};

/// By which rules messages are sealed and believed.
#[derive(Debug, Clone)]
pub struct BusRules {
    /// The first seals; any opens. With none, messages are neither signed nor checked.
    pub secrets: Vec<BusSecret>,
    pub dialect: Dialect,
    /// How old, or how far in the future, a message may be.
    pub freshness: Duration,
}

impl BusRules {
    pub(super) fn seal(&self, event: &Event, meta: &MeshMeta) -> BusMessage {
        let channel = self.channel_of(event);
        let wire = seal(event, channel, meta, self.secrets.first(), self.dialect);
        BusMessage {
            channel: channel.to_owned(),
            wire: Bytes::from(wire),
        }
    }

    /// A message that may be believed if its id can be claimed. The id is claimed last, so that nobody without a secret
    /// can use one up.
    pub(super) fn judge(
        &self,
        wire: &[u8],
        channel: &str,
        now_ms: u64,
    ) -> Result<(Opened, ClaimId), BusRefusal> {
        let opened = open(wire, channel, &self.secrets, self.dialect)?;
        if channel != self.channel_of(&opened.event) {
            return Err(BusRefusal::WrongChannel);
        }
        let said_ms = opened
            .timestamp_ms()
            .and_then(|said_ms| u64::try_from(said_ms).ok())
            .ok_or(BusRefusal::Stale)?;
        let freshness_ms = u64::try_from(self.freshness.as_millis()).unwrap_or(u64::MAX);
        if said_ms.abs_diff(now_ms) > freshness_ms {
            return Err(BusRefusal::Stale);
        }
        let claim = ClaimId {
            scope: ClaimScope::BusEvent,
            issuer: self.dialect.bus_producer().to_owned(),
            // Both cases of a UUID are one id.
            id: opened.event_id().to_ascii_lowercase(),
            given_at_ms: said_ms,
            // The first moment at which the message is stale.
            expires_at_ms: said_ms.saturating_add(freshness_ms).saturating_add(1),
        };
        Ok((opened, claim))
    }

    fn channel_of(&self, event: &Event) -> &'static str {
        match event {
            Event::System(_) => self.dialect.system_events_channel(),
            Event::Status(_) => self.dialect.agent_status_channel(),
        }
    }
}
