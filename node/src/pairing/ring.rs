//! Our own keys: the configured one, and those that followed it.
//!
//! The ring begins with the key of the configuration. When the operator configures another one, that is a beginning of its
//! own, and what was kept counts no longer.

use std::fmt;

use archipel_protocol::federation::keys;
use archipel_protocol::federation::statement::StatementSigner;
use archipel_protocol::federation::succession::Succession;
use archipel_protocol::ids::Origin;
use serde::{Deserialize, Serialize};

use crate::federation::own_keys::{OwnKeys, RetiringKey};

/// Most keys that are remembered: whoever has not looked for so many changes must pair again.
const MAX_KEYS: usize = 8;

/// How long after it was made a new key is used first, in seconds: by then every replica publishes it.
const FIRST_USE_AFTER: i64 = 3;

/// See the module. Holds secret seeds and is kept as it is, like tasks.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyRing {
    /// The public key of the configuration, as 64 hexadecimal digits.
    root: String,
    /// Those after it, the newest one last.
    keys: Vec<RingKey>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RingKey {
    /// 64 hexadecimal digits; secret.
    seed: String,
    /// Unix seconds.
    made_at: i64,
    /// The last second at which the key before it counts, in Unix seconds.
    previous_until: i64,
    /// The statement of the key before it.
    succession: String,
}

/// Without the seeds.
impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("root", &self.root)
            .field("keys", &self.keys.len())
            .finish()
    }
}

/// Why there is no new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum RotateError {
    /// The key before the present one still counts.
    #[error(
        "the last change of the key is not over yet: its old key counts until {0} (Unix seconds)"
    )]
    NotOver(i64),
    /// The cryptographic library refuses.
    #[error("a new key cannot be made")]
    Key,
}

impl KeyRing {
    /// The keys in force for a node whose configured seed is `root`.
    pub(super) fn in_force(ring: Option<&Self>, root: &[u8; 32]) -> Option<OwnKeys> {
        let public = keys::public_key_of_seed(root).ok()?;
        let ring = ring.filter(|ring| ring.root == keys::to_hex(&public));
        let Some((newest, older)) = ring.and_then(|ring| ring.keys.split_last()) else {
            return Some(OwnKeys::first(*root, public));
        };
        let seed = keys::from_hex(&newest.seed).ok()?;
        let before = match older.last() {
            Some(key) => keys::from_hex(&key.seed).ok()?,
            None => *root,
        };
        let statements = ring.into_iter().flat_map(|ring| &ring.keys);
        Some(OwnKeys {
            seed,
            public_key: keys::public_key_of_seed(&seed).ok()?,
            from: newest.made_at.saturating_add(FIRST_USE_AFTER),
            successions: statements.map(|key| key.succession.clone()).collect(),
            retiring: Some(RetiringKey {
                seed: before,
                public_key: keys::public_key_of_seed(&before).ok()?,
                until: newest.previous_until,
            }),
        })
    }

    /// The ring with one key more. The old one counts for `overlap` seconds from now on.
    pub(super) fn rotated(
        ring: Option<&Self>,
        (root, next): (&[u8; 32], &[u8; 32]),
        origin: &Origin,
        (now, overlap): (i64, i64),
    ) -> Result<Self, RotateError> {
        let own = Self::in_force(ring, root).ok_or(RotateError::Key)?;
        if let Some(retiring) = own.retiring.filter(|retiring| retiring.until >= now) {
            return Err(RotateError::NotOver(retiring.until));
        }
        let unusable = |_| RotateError::Key;
        let signer = StatementSigner::new(&own.seed).map_err(unusable)?;
        let succession = Succession {
            origin: origin.clone(),
            issued_at: now,
            previous: own.public_key,
            next: keys::public_key_of_seed(next).map_err(unusable)?,
            previous_until: now.saturating_add(overlap),
        };
        let key = RingKey {
            seed: keys::to_hex(next),
            made_at: now,
            previous_until: succession.previous_until,
            succession: succession.to_text(&signer).ok_or(RotateError::Key)?,
        };
        let root = keys::to_hex(&keys::public_key_of_seed(root).map_err(unusable)?);
        let mut ring = ring.filter(|ring| ring.root == root).cloned();
        let ring = ring.get_or_insert_with(|| Self {
            root,
            keys: Vec::new(),
        });
        if ring.keys.len() >= MAX_KEYS {
            ring.keys.remove(0);
        }
        ring.keys.push(key);
        Ok(ring.clone())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use archipel_protocol::federation::succession::successions;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn origin() -> Origin {
        Origin::parse("https://alpha.example.org").unwrap()
    }

    fn public(byte: u8) -> [u8; 32] {
        keys::public_key_of_seed(&[byte; 32]).unwrap()
    }

    fn rotated(ring: Option<&KeyRing>, next: u8, now: i64) -> Result<KeyRing, RotateError> {
        KeyRing::rotated(ring, (&[1; 32], &[next; 32]), &origin(), (now, 100))
    }

    #[test]
    fn a_key_follows_the_one_before_it() {
        let own = KeyRing::in_force(None, &[1; 32]).unwrap();
        assert_eq!((own.public_key, own.retiring.is_none()), (public(1), true));
        let ring = rotated(None, 2, NOW).unwrap();
        let own = KeyRing::in_force(Some(&ring), &[1; 32]).unwrap();
        let retiring = own.retiring.clone().unwrap();
        assert_eq!((own.public_key, own.from), (public(2), NOW + 3));
        assert_eq!(
            (retiring.public_key, retiring.until),
            (public(1), NOW + 100)
        );
        // Not while the old one counts; then the chain goes on, and whoever missed a link still finds its end.
        assert_eq!(
            rotated(Some(&ring), 3, NOW + 100),
            Err(RotateError::NotOver(NOW + 100))
        );
        let ring = rotated(Some(&ring), 3, NOW + 101).unwrap();
        let own = KeyRing::in_force(Some(&ring), &[1; 32]).unwrap();
        let published = own.published(NOW + 101);
        let found = successions(&origin(), &[public(1)], &published, NOW + 101);
        let found: Vec<_> = found.iter().map(|statement| statement.next).collect();
        assert_eq!(found, [public(2), public(3)]);
        let shown: Vec<_> = published.iter().map(|key| key.public_key).collect();
        assert_eq!(shown, [public(3), public(2)]);
    }

    #[test]
    fn a_key_that_is_over_is_not_published() {
        let ring = rotated(None, 2, NOW).unwrap();
        let own = KeyRing::in_force(Some(&ring), &[1; 32]).unwrap();
        for (now, expected) in [(NOW, 2), (NOW + 100, 2), (NOW + 101, 1)] {
            assert_eq!(own.published(now).len(), expected, "{now}");
        }
    }

    #[test]
    fn another_configured_key_begins_anew() {
        let ring = rotated(None, 2, NOW).unwrap();
        let own = KeyRing::in_force(Some(&ring), &[9; 32]).unwrap();
        assert_eq!((own.public_key, own.retiring.is_none()), (public(9), true));
        let anew = KeyRing::rotated(Some(&ring), (&[9; 32], &[2; 32]), &origin(), (NOW, 1));
        assert_eq!(anew.unwrap().keys.len(), 1);
    }

    #[test]
    fn only_so_many_keys_are_remembered_and_none_is_printed() {
        let mut ring = None;
        for number in 0..20_u8 {
            let now = NOW + 1000 * i64::from(number);
            ring = Some(rotated(ring.as_ref(), number + 2, now).unwrap());
        }
        let ring = ring.unwrap();
        assert_eq!(ring.keys.len(), MAX_KEYS);
        let printed = format!("{ring:?}");
        assert!(!printed.contains(&"15".repeat(32)), "{printed}");
    }
}
