//! The roster: which peers are in force, made from everything that tells of peers.
//!
//! A roster is immutable. A change builds a new one, verifier included, and swaps it in whole, so no request ever sees
//! half a change or pays for parsing keys.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use archipel_protocol::federation::{KeyError, PeerKey, Verifier};
use archipel_protocol::ids::Origin;

use crate::federation::peers::{Cut, MAX_KEYS, Peer, PeerRules, PeerSource};

/// With what incoming tokens are verified, beside the peers.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Each peer signs with its own keys.
    PeerKeys,
    /// All peers sign with one secret.
    SharedSecret(Verifier),
    /// Nobody can be verified: keys or secret are missing.
    Nobody,
}

/// What every source tells of peers. Each part is replaced on its own while the node runs.
#[derive(Debug, Clone, Default)]
pub struct RosterParts {
    /// `[[peers]]` of the configuration.
    pub configured: Vec<Peer>,
    /// The variables of Hive and Pilox.
    pub variables: Vec<Peer>,
    /// The files of the peers' folder.
    pub folder: Vec<Peer>,
    /// Invitations that were accepted.
    pub paired: Vec<Peer>,
    /// The signed manifest.
    pub manifest: Vec<Peer>,
    /// Keys that configured peers announced, and since which of their configured ones.
    pub followed: BTreeMap<Origin, FollowedKeys>,
    /// Who was suspended or revoked while the node runs, whoever told of them.
    pub withdrawn: BTreeMap<Origin, Withdrawal>,
}

/// Keys that follow from one that an operator wrote down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowedKeys {
    /// The one that was written down. They count as long as it stands there, because it vouches for them.
    pub root: [u8; 32],
    /// All that follow from it and itself, the newest one first.
    pub keys: Vec<PeerKey>,
}

impl FollowedKeys {
    /// Gives a peer the keys that followed from its own.
    fn give(&self, peer: &mut Peer) {
        let is_root = |key: &PeerKey| key.public_key == self.root;
        if !peer.follows_keys || !peer.keys.iter().any(is_root) {
            return;
        }
        let mut keys = self.keys.clone();
        for written in std::mem::take(&mut peer.keys) {
            let is_it = |key: &&mut PeerKey| key.public_key == written.public_key;
            match keys.iter_mut().find(is_it) {
                // It ends when the operator says so, or its owner, whoever is first.
                Some(known) => {
                    let ends = known.not_after.into_iter().chain(written.not_after);
                    let not_after = ends.min();
                    *known = PeerKey {
                        not_after,
                        ..written
                    };
                }
                None => keys.push(written),
            }
        }
        keys.truncate(MAX_KEYS);
        peer.keys = keys;
        peer.root = Some(self.root);
    }
}

/// Trust that was taken back; it wins over every source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawal {
    /// For a while: the peer is known, but may neither call nor be called.
    Suspended,
    /// For good: there is no such peer.
    Revoked,
}

impl RosterParts {
    /// The peers in force, in the order of `peerIndex` (`contract/federation.md` 7): what comes first wins. Ourselves, an
    /// origin that was there before and, where keys are needed, a peer without one are passed over; a name that is taken
    /// is changed.
    pub fn merged(&self, rules: &PeerRules) -> Vec<Peer> {
        let mut merged = Merged::default();
        let parts = [
            &self.configured,
            &self.variables,
            &self.folder,
            &self.paired,
            &self.manifest,
        ];
        for peer in parts.into_iter().flatten() {
            let is_full = merged.peers.len() >= rules.max_peers;
            if peer.source == PeerSource::Manifest && is_full {
                break;
            }
            let withdrawal = self.withdrawn.get(&peer.origin).copied();
            let is_usable = peer.origin != rules.own && !(rules.needs_keys && peer.keys.is_empty());
            if is_usable && withdrawal != Some(Withdrawal::Revoked) {
                let followed = self.followed.get(&peer.origin);
                merged.take(peer, withdrawal, followed);
            }
        }
        merged.peers
    }
}

#[derive(Default)]
struct Merged<'a> {
    peers: Vec<Peer>,
    origins: BTreeSet<&'a Origin>,
    names: BTreeSet<Arc<str>>,
}

impl<'a> Merged<'a> {
    fn take(
        &mut self,
        peer: &'a Peer,
        withdrawal: Option<Withdrawal>,
        followed: Option<&FollowedKeys>,
    ) {
        if !self.origins.insert(&peer.origin) {
            return;
        }
        let mut peer = peer.clone();
        if let Some(followed) = followed {
            followed.give(&mut peer);
        }
        peer.suspended |= withdrawal == Some(Withdrawal::Suspended);
        if self.names.contains(&peer.name) {
            peer = peer.renamed();
        }
        self.names.insert(Arc::clone(&peer.name));
        self.peers.push(peer);
    }
}

/// The peers in force.
pub struct Roster {
    /// In the order of `peerIndex`.
    peers: Vec<Arc<Peer>>,
    by_name: BTreeMap<Arc<str>, Arc<Peer>>,
    by_origin: BTreeMap<Origin, Arc<Peer>>,
    verifier: Option<Verifier>,
}

impl Roster {
    /// Builds a roster and its verifier. Of two peers with one name or origin, only the first can be found by it.
    ///
    /// # Errors
    /// When a key is not usable.
    pub fn new(peers: Vec<Peer>, trust: &Trust) -> Result<Self, KeyError> {
        Self::build(peers, trust, |_| None)
    }

    /// The same after `before`: a peer keeps the signal that it had there if it is what it was, and `goes_on` has nothing
    /// against it.
    ///
    /// # Errors
    /// When a key is not usable.
    pub(super) fn after(
        peers: Vec<Peer>,
        trust: &Trust,
        before: &Self,
        goes_on: impl Fn(&Peer) -> bool,
    ) -> Result<Self, KeyError> {
        Self::build(peers, trust, |peer| {
            let was = before.by_origin(&peer.origin)?;
            (was.goes_on_as(peer) && goes_on(was)).then(|| was.cut.clone())
        })
    }

    fn build(
        peers: Vec<Peer>,
        trust: &Trust,
        cut_before: impl Fn(&Peer) -> Option<Cut>,
    ) -> Result<Self, KeyError> {
        let verifier = match trust {
            Trust::Nobody => None,
            Trust::SharedSecret(verifier) => Some(verifier.clone()),
            Trust::PeerKeys => {
                let keyed = peers
                    .iter()
                    .map(|peer| (peer.origin.clone(), peer.keys.clone()));
                Some(Verifier::ed25519(keyed)?)
            }
        };
        let (mut by_name, mut by_origin) = (BTreeMap::new(), BTreeMap::new());
        let mut shared = Vec::with_capacity(peers.len());
        for mut peer in peers {
            // Never that of the part it came from: it may have fired for an earlier roster.
            peer.cut = cut_before(&peer).unwrap_or_default();
            let peer = Arc::new(peer);
            by_name
                .entry(Arc::clone(&peer.name))
                .or_insert_with(|| Arc::clone(&peer));
            by_origin
                .entry(peer.origin.clone())
                .or_insert_with(|| Arc::clone(&peer));
            shared.push(peer);
        }
        Ok(Self {
            peers: shared,
            by_name,
            by_origin,
            verifier,
        })
    }

    /// All peers in the order of `peerIndex`.
    pub fn peers(&self) -> &[Arc<Peer>] {
        &self.peers
    }

    /// The peer of that name.
    pub fn by_name(&self, name: &str) -> Option<&Arc<Peer>> {
        self.by_name.get(name)
    }

    /// The peer of that origin.
    pub fn by_origin(&self, origin: &Origin) -> Option<&Arc<Peer>> {
        self.by_origin.get(origin)
    }

    /// What verifies incoming tokens; absent when nobody can be verified.
    pub fn verifier(&self) -> Option<&Verifier> {
        self.verifier.as_ref()
    }

    /// Tells whatever was begun with a peer that this is not what `after` has.
    pub(super) fn cut_what_ended(&self, after: &Self, goes_on: impl Fn(&Peer) -> bool) {
        for was in &self.peers {
            let is = after.by_origin(&was.origin);
            if !is.is_some_and(|is| was.goes_on_as(is) && goes_on(was)) {
                was.cut.fire();
            }
        }
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
