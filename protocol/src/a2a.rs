//! The A2A 1.0 data model (specification §4), one file per object family.
//!
//! Read `message` (what is said), `task` (what is kept and how it changes), `params`, `list` and `push` (what is asked),
//! `card` (what an agent says of itself). Reading is strict about what the specification requires and keeps everything
//! it does not know; writing follows §5.5: camelCase, no nulls, unset members absent. There is one model inside; `v03`
//! reads and writes it in the shapes of version 0.3, and `version` says which of the two somebody speaks.

pub mod card;
pub mod list;
pub mod message;
pub mod params;
pub mod push;
pub mod task;
pub mod timestamp;
pub mod v03;
pub mod version;

#[cfg(test)]
mod tests;

pub use card::{AgentCard, AgentInterface, Capabilities};
pub use list::{ListTasksParams, TaskList};
pub use message::{Content, Message, Part, Role};
pub use params::{
    CancelTaskParams, ExtendedCardParams, GetTaskParams, SendMessageParams, SubscribeParams,
};
pub use push::{
    Authentication, ListPushConfigsParams, PushConfig, PushConfigList, PushConfigParams,
};
pub use task::{Artifact, ArtifactUpdate, StatusUpdate, StreamEvent, Task, TaskState, TaskStatus};
pub use timestamp::Timestamp;
pub use version::Version;

/// The version of the specification that this model follows, as sent in `A2A-Version`.
pub const VERSION: &str = "1.0";

/// Longest id (task, context, message, artifact) that is accepted, in bytes.
pub const MAX_ID_BYTES: usize = 256;
