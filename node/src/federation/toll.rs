//! How often peers may call: as a peer's own limit says, else as its address may, and as often as any caller may.

use archipel_kit::admission::Rule;

use super::PeerIdentity;
use super::peers::PeerLimit;
use crate::limiter::Limit;

/// What calls that come from where one came from are held to, beside what is its peer's own.
#[derive(Debug)]
pub struct Toll {
    /// The name by which calls from this address are counted.
    pub address: String,
    pub by_address: Limit,
    pub by_caller: Option<Limit>,
}

impl Toll {
    /// The limits of a call by this peer, with the names under which calls are counted. At least one.
    pub fn limits(self, peer: &PeerIdentity) -> Vec<(String, Limit)> {
        let own = peer.peer.as_ref().and_then(|peer| peer.limit);
        let mut limits = vec![match own {
            Some(limit) => (format!("federation:peer:{}", peer.name), steady(limit)),
            None => (self.address, self.by_address),
        }];
        limits.extend(
            self.by_caller
                .map(|limit| of_caller(&peer.principal, limit)),
        );
        limits
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
