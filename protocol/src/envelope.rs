//! Bus events: what replicas and workers of one site tell each other, sealed with an HMAC.
//!
//! Read [`event`] for what may be said, [`meta`] for what goes with it, [`time`] for its time stamps, [`mod@seal`] for how it is
//! sealed and opened (`contract/bus.md` 3-5).

pub mod event;
pub mod meta;
pub mod seal;
pub mod time;

pub use event::{
    AgentLifecycle, AgentState, AgentStatus, Event, InvalidEvent, RecordedSource, SystemEvent,
    SystemPayload,
};
pub use meta::{EventId, MeshMeta, MetaError};
pub use seal::{BusSecret, BusSecretError, OpenError, Opened, open, seal, signing_input};
pub use time::{Timestamp, TimestampError};
