//! Envelopes between sites. Read `ingress` (what comes over HTTP), then `worker` (what is done with it).

mod ingress;
mod worker;
