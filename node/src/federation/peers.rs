//! Who is trusted: peers and the roster that is in force.
//!
//! A roster is immutable. A change builds a new one, verifier included, and swaps it in whole, so no request ever sees
//! half a change or pays for parsing keys.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use archipel_kit::settings::Problems;
use archipel_protocol::a2a::card::TrustedKeys;
use archipel_protocol::federation::{KeyError, Verifier, keys};
use archipel_protocol::ids::Origin;

use crate::federation::settings::{Algorithm, FederationSettings, PeerSettings};

/// Another node that we trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name in our URLs.
    pub name: Arc<str>,
    /// How a caller that comes from it is called: `peer:` and the name.
    pub principal: Arc<str>,
    /// Where it is reached and under what it signs.
    pub origin: Origin,
    /// What its tokens are verified with; absent where a shared secret is used.
    pub public_key: Option<[u8; 32]>,
    /// Further keys for its cards: a JWK Set, checked with the configuration.
    pub card_keys: Option<Arc<str>>,
}

impl Peer {
    /// A peer by that name.
    pub fn new(name: &str, origin: Origin, public_key: Option<[u8; 32]>) -> Self {
        Self {
            name: name.into(),
            principal: format!("peer:{name}").into(),
            origin,
            public_key,
            card_keys: None,
        }
    }

    /// The keys with which its cards may be signed.
    pub fn trusted_keys(&self) -> TrustedKeys {
        let keys = self.card_keys.as_deref().map(TrustedKeys::from_jwks);
        let mut keys = keys.and_then(Result::ok).unwrap_or_default();
        // A key that the library refuses verifies nothing, as it should be.
        if let Some(Err(error)) = self.public_key.map(|key| keys.add_ed25519(&key)) {
            tracing::warn!(peer.name = %self.name, %error, "the key of a peer cannot be used for its cards");
        }
        keys
    }

    /// Its public key as 64 hexadecimal digits.
    pub fn public_key_hex(&self) -> Option<String> {
        self.public_key.as_ref().map(keys::to_hex)
    }
}

/// With what incoming tokens are verified, beside the peers.
#[derive(Debug, Clone)]
pub enum Trust<'a> {
    /// Each peer signs with its own key.
    PeerKeys,
    /// All peers sign with one secret, as one of these issuers.
    SharedSecret {
        /// At least 32 bytes.
        secret: &'a str,
        /// Any of them.
        issuers: Vec<&'static str>,
    },
    /// Nobody can be verified: keys or secret are missing.
    Nobody,
}

/// The peers in force.
pub struct Roster {
    /// In the order of the configuration, which is what `peerIndex` counts.
    peers: Vec<Peer>,
    by_name: BTreeMap<Arc<str>, usize>,
    by_origin: BTreeMap<Origin, usize>,
    verifier: Option<Verifier>,
}

impl Roster {
    /// Builds a roster and its verifier. Of two peers with one name or origin, only the first can be found by it: refuse
    /// duplicates before ([`configured_peers`] does).
    ///
    /// # Errors
    /// When a key or the secret is not usable.
    pub fn new(peers: Vec<Peer>, trust: Trust<'_>) -> Result<Self, KeyError> {
        let verifier = match trust {
            Trust::Nobody => None,
            Trust::SharedSecret { secret, issuers } => Some(Verifier::hs256(secret, &issuers)?),
            Trust::PeerKeys => {
                let keyed = peers
                    .iter()
                    .filter_map(|peer| Some((peer.origin.clone(), peer.public_key?)));
                Some(Verifier::ed25519(keyed)?)
            }
        };
        let (mut by_name, mut by_origin) = (BTreeMap::new(), BTreeMap::new());
        for (index, peer) in peers.iter().enumerate() {
            by_name.entry(peer.name.clone()).or_insert(index);
            by_origin.entry(peer.origin.clone()).or_insert(index);
        }
        Ok(Self {
            peers,
            by_name,
            by_origin,
            verifier,
        })
    }

    /// All peers in the order of `peerIndex`.
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// The peer of that name.
    pub fn by_name(&self, name: &str) -> Option<&Peer> {
        self.by_name
            .get(name)
            .and_then(|index| self.peers.get(*index))
    }

    /// The peer of that origin.
    pub fn by_origin(&self, origin: &Origin) -> Option<&Peer> {
        self.by_origin
            .get(origin)
            .and_then(|index| self.peers.get(*index))
    }

    /// What verifies incoming tokens; absent when nobody can be verified.
    pub fn verifier(&self) -> Option<&Verifier> {
        self.verifier.as_ref()
    }
}

impl fmt::Debug for Roster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Roster")
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}

/// The peers of a configuration: `[[peers]]` first, then those of the contract's variables. Every problem is added to
/// `problems`; what is merely passed over is told in `warnings`.
pub fn configured_peers(
    own: &Origin,
    settings: &FederationSettings,
    named: &[PeerSettings],
    problems: &mut Problems,
    warnings: &mut Vec<String>,
) -> Vec<Peer> {
    let mut gathered = Gathered {
        own,
        needs_keys: needs_keys(settings),
        peers: Vec::new(),
    };
    for (index, peer) in named.iter().enumerate() {
        gathered.take_named(&format!("peers[{index}]"), peer, problems);
    }
    let listed = listed_origins(&settings.peer_origins, settings.max_peers);
    if listed.len() < settings.peer_origins.len() {
        warnings.push(format!(
            "of {} entries in federation.peer_origins {} are taken: the others are no http or https origins, repeated, or \
             beyond max_peers",
            settings.peer_origins.len(),
            listed.len()
        ));
    }
    gathered.take_listed(listed, &settings.peer_ed25519_public_keys, problems);
    gathered.peers
}

/// The origins of `MESH_FEDERATION_PEERS` (`contract/federation.md` 7): what is no origin is passed over, repeated ones
/// count once, then the list is cut.
pub fn listed_origins(listed: &[String], max: usize) -> Vec<Origin> {
    let mut origins: Vec<Origin> = Vec::new();
    for text in listed {
        if let Ok(origin) = Origin::parse(text.trim())
            && origins.len() < max.max(1)
            && !origins.contains(&origin)
        {
            origins.push(origin);
        }
    }
    origins
}

fn needs_keys(settings: &FederationSettings) -> bool {
    settings.enabled && settings.algorithm_in_force() == Algorithm::Ed25519
}

/// The peers found so far, and what they are checked against.
struct Gathered<'a> {
    own: &'a Origin,
    needs_keys: bool,
    peers: Vec<Peer>,
}

impl Gathered<'_> {
    fn take_named(&mut self, at: &str, peer: &PeerSettings, problems: &mut Problems) {
        if !is_name(&peer.name) {
            let what = "must be lower-case letters, digits, `.`, `_` and `-`, and begin with a letter or digit";
            problems.add(&format!("{at}.name"), what);
        } else if self.peers.iter().any(|known| *known.name == *peer.name) {
            problems.add(
                &format!("{at}.name"),
                format!("`{}` is the name of an earlier peer", peer.name),
            );
        }
        let key_at = format!("{at}.ed25519_public_key");
        let public_key = match &peer.ed25519_public_key {
            Some(text) => self.key(&key_at, text, problems),
            None => {
                if self.needs_keys {
                    problems.add(&key_at, "is missing: with Ed25519 every peer has a key");
                }
                None
            }
        };
        match Origin::parse(&peer.origin) {
            Ok(origin) => {
                self.check_origin(&format!("{at}.origin"), &origin, problems);
                self.peers.push(Peer {
                    card_keys: peer.card_keys.as_deref().map(Arc::from),
                    ..Peer::new(&peer.name, origin, public_key)
                });
            }
            Err(error) => problems.add(&format!("{at}.origin"), format!("is no origin: {error}")),
        }
    }

    fn take_listed(&mut self, origins: Vec<Origin>, texts: &[String], problems: &mut Problems) {
        let keys_at = "federation.peer_ed25519_public_keys";
        if self.needs_keys && origins.len() != texts.len() {
            let what = format!("there are {} keys for {} peers", texts.len(), origins.len());
            problems.add(keys_at, what);
        }
        for (index, origin) in origins.into_iter().enumerate() {
            self.check_origin("federation.peer_origins", &origin, problems);
            let key_at = format!("{keys_at}[{index}]");
            let public_key = texts
                .get(index)
                .and_then(|text| self.key(&key_at, text, problems));
            let name = self.free_name(&origin);
            self.peers.push(Peer::new(&name, origin, public_key));
        }
    }

    /// Our own origin among the peers would let us call ourselves for ever, and one origin twice has two keys.
    fn check_origin(&self, at: &str, origin: &Origin, problems: &mut Problems) {
        if origin == self.own {
            problems.add(at, format!("`{origin}` is this node itself"));
        } else if self.peers.iter().any(|known| known.origin == *origin) {
            problems.add(at, format!("`{origin}` is the origin of an earlier peer"));
        }
    }

    fn key(&self, at: &str, text: &str, problems: &mut Problems) -> Option<[u8; 32]> {
        match keys::from_hex(text) {
            Ok(key) => Some(key),
            Err(error) => {
                problems.add(at, error.to_string());
                None
            }
        }
    }

    /// A name for a peer that was given none: its host, with the port where it has one; numbered if that is taken.
    fn free_name(&self, origin: &Origin) -> String {
        let host = origin.as_str().split("://").nth(1).unwrap_or_default();
        let plain: String = host
            .chars()
            .map(|letter| if is_name_letter(letter) { letter } else { '-' })
            .collect();
        let base = plain.trim_matches('-').to_owned();
        let taken = |name: &str| self.peers.iter().any(|peer| *peer.name == *name);
        if !taken(&base) {
            return base;
        }
        (2_u32..)
            .map(|number| format!("{base}-{number}"))
            .find(|name| !taken(name))
            .unwrap_or(base)
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(is_name_letter)
}

fn is_name_letter(letter: char) -> bool {
    letter.is_ascii_lowercase() || letter.is_ascii_digit() || matches!(letter, '.' | '_' | '-')
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
