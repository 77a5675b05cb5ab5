//! What node and gateway share and what knows nothing of A2A.
//!
//! Read in this order: `clock` (the only source of time), `settings` (one declaration gives file, environment, bounds
//! and the example file), `telemetry` (logs, traces, metrics), `http` and `admission` (what every listener needs before
//! it trusts a request), `tls`, `client` (the guarded way out), `descriptors` (how many connections it may
//! have), `shutdown` (how a process learns that it must end), `reload` (that something may have changed).

pub mod admission;
pub mod client;
pub mod clock;
pub mod descriptors;
pub mod http;
pub mod reload;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
