//! The product as a client, a peer and an operator meet it: real sockets, real processes, agents that the tests play.
//!
//! Read `bad_input` first: it is what the edge refuses, in the order in which it looks. Then what it is all for: `tasks`,
//! `streams`, `bindings`, `webhooks`, `upstream`, `agents`, `federation`, `outbound`, `proxy`, `views`, `roster`, `pairing`,
//! `tls`, `cards`; and what operators rely on: `durability`, `replicas`, `replays`, `startup`, `operator`, `audit`, `bus`,
//! `nats`, `wan`, `tracing`. Who is let in: `clients` (from where), `gates`, `public`, and the contract's own cases in `vectors`.
#![cfg(test)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod agents;
mod audit;
mod bad_input;
mod bindings;
mod bus;
mod cards;
mod clients;
mod durability;
mod federation;
mod gates;
mod nats;
mod operator;
mod outbound;
mod pairing;
mod proxy;
mod public;
mod replays;
mod replicas;
mod roster;
mod startup;
mod streams;
mod tasks;
mod tls;
mod tracing;
mod upstream;
mod vectors;
mod views;
mod wan;
mod webhooks;

/// The node as a program.
const NODE: &str = env!("CARGO_BIN_EXE_node-under-test");

/// Where the echo agent of every node is called.
const ECHO: &str = "/agents/echo";

/// Tells a node of an agent that is reached by URL.
fn upstream_agent(id: &str, url: &str) -> String {
    format!("[[agents]]\nid = \"{id}\"\nkind = \"a2a\"\nurl = \"{url}\"\n")
}
