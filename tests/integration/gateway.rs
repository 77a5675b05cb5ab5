//! The gateway on real sockets, in front of a node that the test plays.
//!
//! Read `world` (the node and the gateway), then `passing`, `streaming`, `refusing`, `limiting`, `sharing` (one limit
//! through a real Redis) and `ending`.

#[path = "gateway/ending.rs"]
mod ending;
#[path = "gateway/limiting.rs"]
mod limiting;
#[path = "gateway/passing.rs"]
mod passing;
#[path = "gateway/refusing.rs"]
mod refusing;
#[path = "gateway/sharing.rs"]
mod sharing;
#[path = "gateway/streaming.rs"]
mod streaming;
#[path = "gateway/world.rs"]
mod world;
