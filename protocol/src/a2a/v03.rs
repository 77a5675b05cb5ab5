//! A2A 0.3 beside 1.0: the model of 1.0 written in the shapes of 0.3, and read from them.
//!
//! Read `foreign` first (how nothing is lost), then `part`, `message`, `status`, `artifact`, `task`, `event` (what is
//! said and kept), `push` and `params` (what is asked), `card` and `security`. The shapes are those of
//! `specification/json/a2a.json` at version 0.3.0; where that leaves something open, the official SDKs decide, because
//! their clients are who reads it.
//!
//! The writers borrow: `task(&task)` is something that can be serialized. Differences that have no place on the other
//! side come back unharmed: data that is no object travels the way the SDKs wrap it (`part`), and members that would
//! mean something else in the other version travel inside one member that does not (`foreign`).

pub mod artifact;
pub mod card;
pub mod event;
mod foreign;
pub mod message;
pub mod params;
pub mod part;
pub mod push;
mod security;
pub mod status;
pub mod task;

#[cfg(test)]
mod tests;

pub use card::{card, read_card};
pub use event::{event, read_event};
pub use message::{message, read_message};
pub use params::send_params;
pub use push::{push_config, push_config_list};
pub use task::{read_task, task, task_list};

/// What a 0.3 card says it speaks.
pub const PROTOCOL_VERSION: &str = "0.3.0";
