//! Keys of public callers: which there are, and who has which.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::Methods;

/// Shortest and longest key, in characters.
const LENGTHS: std::ops::RangeInclusive<usize> = 32..=512;
/// Most keys.
const MOST_KEYS: usize = 32;

/// What names a key everywhere but in the request that presents it: the hash of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId([u8; 32]);

/// Keys by their ids, each with the methods for which it is good; all that are allowed, if it names none.
///
/// Kept by hash: looking one up tells nothing of the others by how long it takes, and no key can be printed.
#[derive(Debug, Clone, Default)]
pub struct PublicKeys(BTreeMap<KeyId, Option<Methods>>);

impl KeyId {
    /// The id of a key (contract/public-tier.md 2).
    pub fn of(key: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update("a2a:public_api:v1:");
        hash.update(key);
        Self(hash.finalize().into())
    }

    /// 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

impl std::fmt::Debug for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyId({})", self.to_hex())
    }
}

impl PublicKeys {
    /// Reads `KEY` or `KEY|METHOD,METHOD`: separated by `;` where a bar is anywhere, else by `,`. What is no key is passed
    /// over, the first of two that are the same counts, and the list ends after 32 entries.
    pub fn parse(text: &str) -> Self {
        let separator = if text.contains('|') { ';' } else { ',' };
        let mut keys = BTreeMap::new();
        for entry in text.split(separator) {
            if keys.len() == MOST_KEYS {
                break;
            }
            let (key, scopes) = match entry.split_once('|') {
                Some((key, scopes)) => (key, Some(Methods::new(scopes.split(',')))),
                None => (entry, None),
            };
            // A key with a bar but without a method behind it would be good for everything by mistake.
            let is_scoped_to_nothing = scopes.as_ref().is_some_and(Methods::is_empty);
            if let Some(key) = candidate(key)
                && !is_scoped_to_nothing
            {
                keys.entry(KeyId::of(key)).or_insert(scopes);
            }
        }
        Self(keys)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The key that somebody presents, if it is one of these, and what it is good for.
    pub fn find(&self, presented: &str) -> Option<(KeyId, Option<&Methods>)> {
        let (id, scopes) = self.0.get_key_value(&KeyId::of(presented.trim()))?;
        Some((*id, scopes.as_ref()))
    }

    /// The scopes of all keys that have some.
    pub fn scopes(&self) -> impl Iterator<Item = &Methods> {
        self.0.values().flatten()
    }
}

/// What may be a key.
pub(super) fn candidate(text: &str) -> Option<&str> {
    let text = text.trim();
    LENGTHS.contains(&text.chars().count()).then_some(text)
}

/// The key that a request presents: in the header for it, else as a bearer token. A header that holds no key does not let
/// the bearer token count.
pub fn presented<'a>(header: Option<&'a str>, authorization: Option<&'a str>) -> Option<&'a str> {
    match header {
        Some(header) => candidate(header),
        None => authorization?.strip_prefix("Bearer ").and_then(candidate),
    }
}
