//! Who is asking, and how often.
//!
//! Read `address` (which client stands behind a connection), `proxy_header` (where balancers tell it), `gcra` (the
//! arithmetic of a rate limit, which the Redis script of the gateway repeats), `limiter` (that arithmetic over many keys in
//! bounded memory).

mod address;
mod gcra;
mod limiter;
mod proxy_header;

pub use address::{ClientHeader, ClientRules, Trust, limiter_key};
pub use gcra::{Decision, Rule, decide};
pub use limiter::{KeyTimes, LocalLimiter};
pub use proxy_header::{ProxyHeader, read_proxy_header};
