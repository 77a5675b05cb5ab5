//! How often peers may call: as a peer's own limit says, else as its address may, and as often as any caller may.

use std::net::IpAddr;

use archipel_kit::admission::{Rule, limiter_key};

use super::PeerIdentity;
use super::peers::PeerLimit;
use crate::limiter::Limit;

/// What calls that come from where one came from are held to, beside what is its peer's own.
#[derive(Debug)]
pub struct Toll {
    /// Where the call comes from, if that is known.
    pub address: Option<IpAddr>,
    pub by_address: Limit,
    pub by_caller: Option<Limit>,
}

impl Toll {
    /// The limits of a call by this peer, with the names under which calls are counted. At least one.
    pub fn limits(self, peer: &PeerIdentity) -> Vec<(String, Limit)> {
        let own = peer.peer.as_ref().and_then(|peer| peer.limit);
        let mut limits = vec![match own {
            Some(limit) => (format!("federation:peer:{}", peer.name), steady(limit)),
            None => (from_address(self.address), self.by_address),
        }];
        limits.extend(
            self.by_caller
                .map(|limit| of_caller(&peer.principal, limit)),
        );
        limits
    }
}

/// The name by which calls from an address are counted.
fn from_address(address: Option<IpAddr>) -> String {
    match address.map(limiter_key) {
        Some(address) => format!("federation:in:{address}"),
        None => "federation:in:unknown".to_owned(),
    }
}

/// The limit that every caller has.
pub fn of_caller(principal: &str, limit: Limit) -> (String, Limit) {
    (format!("a2a:caller:{principal}"), limit)
}

fn steady(limit: PeerLimit) -> Limit {
    let per_us = u64::try_from(limit.per.as_micros()).unwrap_or(u64::MAX);
    let emission_us = (per_us / u64::from(limit.calls.max(1))).max(1);
    Limit::Steady(Rule {
        emission_us,
        burst_us: emission_us.saturating_mul(u64::from(limit.burst.max(1))),
    })
}
