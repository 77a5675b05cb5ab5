//! Who stands behind a call between nodes: the chain of actors that came with it, and the one that goes on with it.
//!
//! A peer learns of our callers only a name that is the same for one caller and different at each peer, so that two peers
//! cannot compare whom they serve. It keeps tasks by that name, so callers of one node do not see each other's.

use archipel_kit::settings::Secret;
use archipel_protocol::federation::delegation::MAX_ACTORS;
use archipel_protocol::federation::{Actor, Delegation};
use archipel_protocol::ids::Origin;
use hmac::digest::Key;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::config::NodeSettings;
use crate::federation::PeerIdentity;

/// Sets the names of callers apart from whatever else is made of the same secret.
const PURPOSE: &[u8] = b"archipel caller names v1";

/// Hexadecimal digits of a name: 128 bits cannot be guessed and do not collide.
const NAME_DIGITS: usize = 32;

/// The caller for whom a peer calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acting {
    /// How the peer calls them.
    pub id: String,
    /// They first, then those for whom they act.
    pub chain: Vec<Actor>,
}

impl Acting {
    /// What a token says; `None` when it names nobody.
    pub(super) fn of(chain: Vec<Actor>) -> Option<Self> {
        let id = chain.first()?.sub.clone();
        Some(Self { id, chain })
    }
}

/// The caller of this node for whom a peer is called.
#[derive(Debug, Clone, Copy)]
pub struct Behind<'a> {
    /// The caller's principal.
    pub principal: &'a str,
    /// The peer that they came from, if they did.
    pub came_from: Option<&'a PeerIdentity>,
}

/// Why a call does not go on to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoFurther {
    /// The peer has had it before.
    #[error("the call has come through this peer already")]
    Loop,
    /// It has gone through as many nodes as it may.
    #[error("the call has gone through as many nodes as it may")]
    TooFar,
}

/// Makes the names by which peers know our callers.
pub struct CallerNames(Hmac<Sha256>);

impl CallerNames {
    /// From the node's secrets: the one for this purpose, else the most private one that outlives restarts and that all
    /// replicas have. The shared secret comes last, because peers have it and could try out who is behind a name.
    pub fn from_settings(settings: &NodeSettings) -> Self {
        let federation = &settings.federation;
        let secret = [
            &federation.caller_secret,
            &federation.ed25519_seed,
            &settings.internal_token,
            &federation.shared_secret,
        ];
        let secret = secret.into_iter().find_map(Option::as_ref);
        Self::new(secret.map_or("", Secret::expose).as_bytes())
    }

    /// Names made with this secret.
    pub fn new(secret: &[u8]) -> Self {
        let digest = Sha256::new_with_prefix(PURPOSE)
            .chain_update(secret)
            .finalize();
        let mut key = Key::<Hmac<Sha256>>::default();
        for (to, from) in key.iter_mut().zip(digest) {
            *to = from;
        }
        Self(Hmac::new(&key))
    }

    /// What the token for a call to `peer` says of those behind it. `own` is the origin under which we sign, `hops` how many
    /// nodes a call of our own callers may go through.
    ///
    /// # Errors
    /// Why the call must not go on.
    pub fn delegation(
        &self,
        own: &Origin,
        peer: &Origin,
        behind: Behind<'_>,
        hops: u8,
    ) -> Result<Delegation, NoFurther> {
        let mut chain = vec![Actor {
            iss: own.clone(),
            sub: self.name(peer, own.as_str(), behind.principal),
        }];
        let mut left = hops;
        if let Some(identity) = behind.came_from {
            left = identity.hops;
            chain.extend(self.before(identity, peer));
        }
        if chain.iter().any(|actor| actor.iss == *peer) {
            return Err(NoFurther::Loop);
        }
        if left == 0 || chain.len() > MAX_ACTORS {
            return Err(NoFurther::TooFar);
        }
        Ok(Delegation {
            chain,
            hops: Some(left - 1),
        })
    }

    /// Those for whom a peer called us, under the names that they have at the next one. A peer that says nothing of its
    /// callers still stands in the chain, so that a loop is seen.
    fn before(&self, identity: &PeerIdentity, at: &Origin) -> Vec<Actor> {
        let renamed = |iss: &Origin, sub: &str| Actor {
            iss: iss.clone(),
            sub: self.name(at, iss.as_str(), sub),
        };
        match (&identity.acting, &identity.origin) {
            (Some(acting), _) => {
                let chain = acting.chain.iter();
                chain.map(|actor| renamed(&actor.iss, &actor.sub)).collect()
            }
            (None, Some(origin)) => vec![renamed(origin, &identity.principal)],
            (None, None) => Vec::new(),
        }
    }

    /// How somebody whom `node` calls `sub` is called at a peer.
    fn name(&self, peer: &Origin, node: &str, sub: &str) -> String {
        let mut mac = self.0.clone();
        for part in [peer.as_str(), node, sub] {
            // With its length, so that no two triples are one text.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        let mut name = hex::encode(mac.finalize().into_bytes());
        name.truncate(NAME_DIGITS);
        name
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
