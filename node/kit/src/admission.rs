//! Who is asking, and how often.
//!
//! Read `address` (which client stands behind a connection), `gcra` (the arithmetic of a rate limit, which the Redis
//! script of the gateway repeats), `limiter` (that arithmetic over many keys in bounded memory).

mod address;
mod gcra;
mod limiter;

pub use address::{client_address, limiter_key};
pub use gcra::{Decision, Rule, decide};
pub use limiter::{KeyTimes, LocalLimiter};
