//! An Archipel node: an A2A server that federates.
//!
//! Read in the order of a request: `edge` (what it passes), `tasks` (who owns what it starts), `agents` (who does the
//! work), `control` (which agents there are), `store` (what is kept), `push` (who is told of it), `bus` and `events` (what the
//! site is told, and who watches), `wan` (envelopes between sites). `federation` and `egress` are the way out to peers;
//! `app` wires everything.

pub mod agents;
pub mod app;
pub mod audit;
pub mod bus;
pub mod cards;
pub mod cli;
pub mod config;
pub mod control;
pub mod edge;
pub mod egress;
pub mod error;
pub mod events;
pub mod federation;
pub mod limiter;
pub mod metrics;
pub mod nats;
pub mod pairing;
pub mod public;
pub mod push;
pub mod registry;
pub mod replay;
pub mod replicas;
pub mod role;
pub mod store;
pub mod supervise;
pub mod tasks;
pub mod tls;
pub mod wan;
