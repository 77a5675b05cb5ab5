//! Bad input, each with its precise answer: HTTP status, JSON-RPC code, reason, and the id as it was sent.
//!
//! In the order of the edge: `transport` (what the head and the arrival of a body say), `identity` (who calls), `flood`
//! (bad tokens without end),
//! `envelope` (JSON-RPC), `operation` (methods, versions, parameters, names of things).

mod envelope;
mod flood;
mod identity;
mod operation;
mod transport;
