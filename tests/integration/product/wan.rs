//! Envelopes between sites. Read `ingress` (what comes over HTTP), `worker` (what is done with it), then `sites` (the whole
//! way, from one node over the broker to another).

mod ingress;
mod sites;
mod worker;
