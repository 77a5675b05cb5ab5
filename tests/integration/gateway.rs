//! The gateway on real sockets, in front of a node that the test plays.
//!
//! Read `world` (the nodes and the gateway), then `passing`, `streaming`, `refusing`, `guarding`, `framing` (messages that
//! servers may read differently), `limiting`, `sharing` (one limit through a real Redis), `balancing` (several nodes),
//! `encrypting` (TLS on both sides), `reloading`, `steering` (the operator's listener), `failing` (nodes and clients at
//! their worst), `crowding` (very many of them; `process` is a gateway by itself), `tracing` (spans), `fronting` (a web
//! server before the gateway), `replaying` (what the gateway that ours replaces did) and `ending`.

#[path = "gateway/balancing.rs"]
mod balancing;
#[path = "gateway/crowding.rs"]
mod crowding;
#[path = "gateway/encrypting.rs"]
mod encrypting;
#[path = "gateway/ending.rs"]
mod ending;
#[path = "gateway/failing.rs"]
mod failing;
#[path = "gateway/framing.rs"]
mod framing;
#[path = "gateway/fronting.rs"]
mod fronting;
#[path = "gateway/guarding.rs"]
mod guarding;
#[path = "gateway/limiting.rs"]
mod limiting;
#[path = "gateway/passing.rs"]
mod passing;
#[path = "gateway/process.rs"]
mod process;
#[path = "gateway/refusing.rs"]
mod refusing;
#[path = "gateway/reloading.rs"]
mod reloading;
#[path = "gateway/replaying.rs"]
mod replaying;
#[path = "gateway/sharing.rs"]
mod sharing;
#[path = "gateway/steering.rs"]
mod steering;
#[path = "gateway/streaming.rs"]
mod streaming;
#[path = "gateway/tracing.rs"]
mod tracing;
#[path = "gateway/world.rs"]
mod world;
