//! What a bus message must be, and how ours are made: pure, with the time passed in.

use std::time::Duration;

use archipel_protocol::envelope::{BusSecret, Event, MeshMeta, OpenError, Opened, open, seal};
use archipel_protocol::names::Dialect;
use bytes::Bytes;
use uuid::Uuid;

use super::{BusMessage, BusRefusal};

/// By which rules messages are sealed and believed.
#[derive(Debug, Clone)]
pub struct BusRules {
    /// The first seals; any opens. With none, messages are neither signed nor checked.
    pub secrets: Vec<BusSecret>,
    pub dialect: Dialect,
    /// How old, or how far in the future, a message may be.
    pub freshness: Duration,
}

/// A message that is genuine.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) opened: Opened,
    pub(super) id: Uuid,
    pub(super) said_ms: u64,
}

impl Judged {
    /// Of what is genuine: what is wrong with it can only be its time.
    pub(super) fn of(opened: Opened) -> Result<Self, BusRefusal> {
        let said_ms = opened
            .timestamp_ms()
            .and_then(|said_ms| u64::try_from(said_ms).ok())
            .ok_or(BusRefusal::Stale)?;
        // Both cases of a UUID are one id.
        let id = Uuid::try_parse(opened.event_id()).map_err(|_| OpenError::Malformed)?;
        Ok(Self {
            opened,
            id,
            said_ms,
        })
    }
}

impl BusRules {
    pub(super) fn seal(&self, event: &Event, meta: &MeshMeta) -> BusMessage {
        let channel = self.channel_of(event);
        let wire = seal(event, channel, meta, self.secrets.first(), self.dialect);
        BusMessage {
            channel: channel.into(),
            wire: Bytes::from(wire),
        }
    }

    /// A message that may be believed if it is fresh and did not come before: its id, and when it was said.
    pub(super) fn judge(&self, wire: &[u8], channel: &str) -> Result<Judged, BusRefusal> {
        let opened = open(wire, channel, &self.secrets, self.dialect)?;
        if channel != self.channel_of(&opened.event) {
            return Err(BusRefusal::WrongChannel);
        }
        Judged::of(opened)
    }

    /// The channels on which the site is told what happens.
    pub fn channels(&self) -> [&'static str; 2] {
        [
            self.dialect.system_events_channel(),
            self.dialect.agent_status_channel(),
        ]
    }

    fn channel_of(&self, event: &Event) -> &'static str {
        match event {
            Event::System(_) => self.dialect.system_events_channel(),
            Event::Status(_) => self.dialect.agent_status_channel(),
        }
    }
}
