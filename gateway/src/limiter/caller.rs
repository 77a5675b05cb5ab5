//! Which limits a request counts against.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use actix_http::header::{AUTHORIZATION, HeaderMap};
use archipel_kit::admission::{Rule, limiter_key};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use sha2::{Digest as _, Sha256};

use crate::config::{GatewaySettings, RouteSettings};

/// Where clients of the public tier show their key.
const KEY_HEADERS: [&str; 2] = ["x-hive-public-a2a-key", "x-pilox-public-a2a-key"];
/// Where peers show their token.
const TOKEN_HEADERS: [&str; 2] = ["x-hive-federation-jwt", "x-pilox-federation-jwt"];

/// What is counted: somebody, perhaps at one place. Keys and identities are hashed, so that neither memory nor Redis holds
/// any that could be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    who: Who,
    /// A number for the path of the route it counts at; 0 for everywhere.
    place: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    /// An IPv4 address, or the /64 of an IPv6 address.
    Address(IpAddr),
    /// A key that the gateway knows.
    ApiKey(u128),
    /// A peer.
    Peer(u128),
    /// All together.
    Everybody,
}

/// The name under which Redis knows it.
impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.who {
            Who::Address(address) => write!(formatter, "address:{address}")?,
            Who::ApiKey(hash) => write!(formatter, "key:{hash:032x}")?,
            Who::Peer(hash) => write!(formatter, "peer:{hash:032x}")?,
            Who::Everybody => formatter.write_str("all")?,
        }
        if self.place != 0 {
            write!(formatter, "@{:016x}", self.place)?;
        }
        Ok(())
    }
}

impl Key {
    /// An address everywhere.
    pub(crate) fn of_address(address: IpAddr) -> Self {
        Self {
            who: Who::Address(limiter_key(address)),
            place: 0,
        }
    }

    /// What an operator names: an address, or the key of a client.
    pub(crate) fn of_text(text: &str) -> Self {
        match text.parse::<IpAddr>() {
            Ok(address) => Self::of_address(address),
            Err(_) => Self {
                who: Who::ApiKey(short(&sha256(text.as_bytes()))),
                place: 0,
            },
        }
    }
}

/// Who asks for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) client: IpAddr,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) certificate: Option<&'a HeaderValue>,
    pub(crate) route: Option<&'a RouteSettings>,
}

/// All rules.
#[derive(Debug)]
pub(crate) struct Limits {
    address: Option<Rule>,
    peer: Option<Rule>,
    /// The rule of each key that is known; `None` for one without a limit.
    keys: HashMap<[u8; 32], Option<Rule>>,
    has_routes: bool,
}

impl Limits {
    /// `None` when nothing is limited.
    pub(crate) fn new(settings: &GatewaySettings) -> Option<Self> {
        let mut keys = HashMap::new();
        for tier in &settings.tiers {
            let rule = rule(tier.per_minute, tier.burst);
            for key in &tier.keys {
                keys.insert(sha256(key.expose().as_bytes()), rule);
            }
            for hash in &tier.key_hashes {
                // Its form was checked with the settings.
                let bytes = hex::decode(hash)
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok());
                keys.extend(bytes.map(|bytes: [u8; 32]| (bytes, rule)));
            }
        }
        let limits = Self {
            address: rule(settings.rate_limit_per_minute, settings.rate_limit_burst),
            peer: rule(settings.rate_limit_peer_per_minute, 0),
            keys,
            has_routes: settings
                .routes
                .iter()
                .any(|route| route.per_minute > 0 || route.total_per_minute > 0),
        };
        let any = limits.address.is_some()
            || limits.peer.is_some()
            || limits.has_routes
            || limits.keys.values().any(Option::is_some);
        any.then_some(limits)
    }

    /// The rules for one request, narrowest first: a single client is stopped before it uses up what is everybody's.
    pub(super) fn of(&self, asking: &Asking<'_>) -> Vec<(Key, Rule)> {
        let mut checks = Vec::with_capacity(4);
        let (who, own) = self.who(asking);
        checks.extend(own.map(|rule| (Key { who, place: 0 }, rule)));
        if let Some(rule) = self.peer
            && let Some(peer) = peer(asking)
        {
            checks.push((
                Key {
                    who: peer,
                    place: 0,
                },
                rule,
            ));
        }
        if self.has_routes
            && let Some(route) = asking.route
        {
            let place = crate::upstream::key_of(route.path.as_bytes()).max(1);
            let each = rule(route.per_minute, route.burst);
            checks.extend(each.map(|rule| (Key { who, place }, rule)));
            let everybody = Key {
                who: Who::Everybody,
                place,
            };
            let total = rule(route.total_per_minute, 0);
            checks.extend(total.map(|rule| (everybody, rule)));
        }
        checks
    }

    /// A key that is known counts for itself; everything else counts for the address, or a client that makes up keys would
    /// have no limit.
    fn who(&self, asking: &Asking<'_>) -> (Who, Option<Rule>) {
        if !self.keys.is_empty()
            && let Some(shown) = shown_key(asking.headers)
        {
            let hash = sha256(shown);
            if let Some(rule) = self.keys.get(&hash) {
                return (Who::ApiKey(short(&hash)), *rule);
            }
        }
        (Who::Address(limiter_key(asking.client)), self.address)
    }
}

fn shown_key(headers: &HeaderMap) -> Option<&[u8]> {
    let key = KEY_HEADERS.iter().find_map(|name| headers.get(*name));
    if let Some(key) = key {
        return Some(key.as_bytes().trim_ascii());
    }
    headers
        .get(AUTHORIZATION)?
        .as_bytes()
        .strip_prefix(b"Bearer ")
}

/// A peer is its certificate. Without one it is what its token claims, which nobody has checked yet: so it counts together
/// with the address, and nobody can use up what another one has.
fn peer(asking: &Asking<'_>) -> Option<Who> {
    if let Some(certificate) = asking.certificate {
        return Some(Who::Peer(short(&sha256(certificate.as_bytes()))));
    }
    let token = TOKEN_HEADERS
        .iter()
        .find_map(|name| asking.headers.get(*name))?;
    let claims = token.as_bytes().split(|byte| *byte == b'.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    let issuer = crate::peek::member(&claims, b"iss")?;
    let mut both = address_bytes(limiter_key(asking.client)).to_vec();
    both.extend_from_slice(issuer);
    Some(Who::Peer(short(&sha256(&both))))
}

fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => Ipv6Addr::octets(&v6),
    }
}

fn rule(per_minute: u32, burst: u32) -> Option<Rule> {
    let burst = if burst == 0 { per_minute } else { burst };
    (per_minute > 0).then(|| Rule::per_minute(per_minute, burst))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Half of a hash is as good as all of it to tell keys apart.
fn short(hash: &[u8; 32]) -> u128 {
    hash.first_chunk()
        .map_or(0, |half: &[u8; 16]| u128::from_be_bytes(*half))
}

#[cfg(test)]
mod tests;
