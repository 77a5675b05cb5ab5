//! The WAN: envelopes between sites, each with one effect, over brokers and links that come and go.
//!
//! An envelope that is to go is kept, then handed to the line until the line has it; one that came is kept, and only then
//! settled where it came from; what follows from it is done until it is done. Either is a queue with a memory.
//! Read `line` (the port to the broker between the sites), `settings`, `names` (what an envelope is called), `place` (whom
//! it is for), then `queue` (the owner of either side) with `effects` (what follows from what came, the `worker` included) and `sending` (what is
//! done with what goes), `intake` (what comes from the line), `seals` (who
//! sent it), `calls` (calls of agents by envelope) and `desk` (what operators and the edge ask).

pub mod calls;
pub mod desk;
pub mod effects;
pub mod intake;
pub mod line;
mod names;
pub mod place;
pub mod queue;
pub mod seals;
pub mod sending;
pub mod settings;
pub mod worker;

pub use settings::WanSettings;
