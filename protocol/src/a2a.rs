//! The A2A 1.0 data model (specification §4), one file per object family.
//!
//! Read `message` (what is said), `task` (what is kept and how it changes), `params` (what is asked), `card` (what an
//! agent says of itself). Reading is strict about what the specification requires and keeps everything it does not
//! know; writing follows §5.5: camelCase, no nulls, unset members absent.

pub mod card;
pub mod message;
pub mod params;
pub mod task;
pub mod timestamp;

#[cfg(test)]
mod tests;

pub use card::{AgentCard, AgentInterface, Capabilities};
pub use message::{Content, Message, Part, Role};
pub use params::{CancelTaskParams, GetTaskParams, SendMessageParams, SubscribeParams};
pub use task::{Artifact, ArtifactUpdate, StatusUpdate, StreamEvent, Task, TaskState, TaskStatus};
pub use timestamp::Timestamp;

/// The version of the specification that this model follows, as sent in `A2A-Version`.
pub const VERSION: &str = "1.0";

/// Longest id (task, context, message, artifact) that is accepted, in bytes.
pub const MAX_ID_BYTES: usize = 256;
