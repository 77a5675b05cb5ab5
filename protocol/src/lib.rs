//! The wire of an Archipel mesh, pure: no IO, no clock, no randomness; time and ids are passed in.
//!
//! Read `a2a` (the model), `jsonrpc` and `method` (how it is asked for), `error` (the one table of refusals), then
//! `federation` (who may speak for whom), `envelope` (events inside a site) and `wan` (envelopes between sites).
//! `object` and `canonical` say how JSON is read without losing anything and written in exactly one way; `ids` and
//! `names` are the words that all of them share.

pub mod a2a;
pub mod canonical;
pub mod envelope;
pub mod error;
pub mod federation;
pub mod ids;
pub mod jsonrpc;
pub mod method;
pub mod names;
pub mod object;
pub mod wan;
