//! Envelopes between sites. Read `ingress` (what comes over HTTP), `bridge` (what is to go), `worker` and `subscription` (what
//! is done with it), `sites` (the whole way, from one node over the broker to another), `calls` (calls of agents by envelope)
//! and `letters` (as others may write them), then `delivery` (that way while everything is killed).

mod bridge;
mod calls;
mod delivery;
mod ingress;
mod letters;
mod sites;
mod subscription;
mod worker;
