//! The WAN: envelopes between sites, each with one effect, over brokers and links that come and go.
//!
//! Read `line` (the port to the broker between the sites).

pub mod line;
