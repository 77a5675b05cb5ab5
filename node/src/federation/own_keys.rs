//! Our own keys, with which tokens are minted: while one takes the place of another, both.

use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use archipel_protocol::federation::succession::PublishedKey;
use archipel_protocol::federation::{KeyError, Minter, keys};
use archipel_protocol::ids::Origin;

/// The keys of this node.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnKeys {
    /// Secret.
    pub seed: [u8; 32],
    pub public_key: [u8; 32],
    /// Since when tokens are signed with it, in Unix seconds.
    pub from: i64,
    /// The statements that lead to it from older keys.
    pub successions: Vec<String>,
    /// The key before it.
    pub retiring: Option<RetiringKey>,
}

/// A key whose successor is there.
#[derive(Clone, PartialEq, Eq)]
pub struct RetiringKey {
    /// Secret.
    pub seed: [u8; 32],
    pub public_key: [u8; 32],
    /// The last second at which it counts, in Unix seconds.
    pub until: i64,
}

impl OwnKeys {
    /// A key that took nobody's place.
    pub const fn first(seed: [u8; 32], public_key: [u8; 32]) -> Self {
        Self {
            seed,
            public_key,
            from: 0,
            successions: Vec::new(),
            retiring: None,
        }
    }

    /// What others may know of them at this time (Unix seconds).
    pub fn published(&self, now: i64) -> Vec<PublishedKey> {
        let newest = PublishedKey {
            public_key: self.public_key,
            successions: self.successions.clone(),
        };
        let retiring = self.retiring.as_ref().filter(|key| key.until >= now);
        let retiring = retiring.map(|key| PublishedKey {
            public_key: key.public_key,
            successions: Vec::new(),
        });
        [newest].into_iter().chain(retiring).collect()
    }
}

/// Without the seeds.
impl fmt::Debug for OwnKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnKeys")
            .field("public_key", &hex::encode(self.public_key))
            .field("retiring", &self.retiring)
            .finish_non_exhaustive()
    }
}

/// Without the seed.
impl fmt::Debug for RetiringKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetiringKey")
            .field("public_key", &hex::encode(self.public_key))
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// What tokens are minted with.
pub(super) struct OwnMinters {
    issuer: Origin,
    in_force: ArcSwap<InForce>,
}

pub(super) struct InForce {
    keys: OwnKeys,
    newest: Minter,
    retiring: Option<Minter>,
}

impl OwnMinters {
    pub(super) fn new(seed: &[u8; 32], issuer: &Origin) -> Result<Self, KeyError> {
        let keys = OwnKeys::first(*seed, keys::public_key_of_seed(seed)?);
        let in_force = InForce::of(&keys, issuer)?;
        Ok(Self {
            issuer: issuer.clone(),
            in_force: ArcSwap::from_pointee(in_force),
        })
    }

    pub(super) fn replace(&self, keys: &OwnKeys) -> Result<(), KeyError> {
        if self.in_force.load().keys != *keys {
            self.in_force
                .store(Arc::new(InForce::of(keys, &self.issuer)?));
        }
        Ok(())
    }

    pub(super) fn keys(&self) -> OwnKeys {
        self.in_force.load().keys.clone()
    }

    pub(super) fn in_force(&self) -> Guard<Arc<InForce>> {
        self.in_force.load()
    }
}

impl InForce {
    fn of(keys: &OwnKeys, issuer: &Origin) -> Result<Self, KeyError> {
        let newest = Minter::ed25519(&keys.seed, issuer)?;
        // Peers that do not know a key by its name look for it; the first key of a node needs none.
        let newest = match keys.successions.is_empty() {
            true => newest,
            false => newest.named(),
        };
        let retiring = keys.retiring.as_ref();
        let retiring = retiring.map(|key| Minter::ed25519(&key.seed, issuer));
        Ok(Self {
            keys: keys.clone(),
            newest,
            retiring: retiring.transpose()?,
        })
    }

    /// With what a token for a peer is minted at this time (Unix seconds): with the new key as soon as all replicas publish
    /// it, for a peer that follows us to it; the others get the old one for as long as it counts.
    pub(super) fn minter(&self, follows: impl FnOnce() -> bool, now: i64) -> &Minter {
        let (Some(old), Some(retiring)) = (&self.retiring, &self.keys.retiring) else {
            return &self.newest;
        };
        let is_old = now <= retiring.until && (now < self.keys.from || !follows());
        if is_old { old } else { &self.newest }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_used_where_it_is_followed() {
        let public = |byte| keys::public_key_of_seed(&[byte; 32]).unwrap();
        let keys = OwnKeys {
            from: 10,
            successions: vec!["statement".to_owned()],
            retiring: Some(RetiringKey {
                seed: [1; 32],
                public_key: public(1),
                until: 100,
            }),
            ..OwnKeys::first([2; 32], public(2))
        };
        let issuer = Origin::parse("https://alpha.example.org").unwrap();
        let minters = OwnMinters::new(&[1; 32], &issuer).unwrap();
        let used = |follows, now| minters.in_force().minter(|| follows, now).public_key_hex();
        assert_eq!(used(false, 0), Some(hex::encode(public(1))));
        minters.replace(&keys).unwrap();
        for (follows, now, byte) in [
            (true, 9, 1),
            (true, 10, 2),
            (false, 10, 1),
            (false, 100, 1),
            (false, 101, 2),
        ] {
            let expected = Some(hex::encode(public(byte)));
            assert_eq!(used(follows, now), expected, "{follows} {now}");
        }
    }
}
