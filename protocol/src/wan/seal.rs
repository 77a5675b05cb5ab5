//! Who sent a message of the WAN, provably: a header beside its body. Ours; Hive and Pilox ignore it.
//!
//! `Archipel-Seal: v1 ORIGIN SECONDS SIGNATURE[,SIGNATURE]`: the sender's origin, when it was sealed (Unix seconds), and
//! Ed25519 signatures in base64url by the sender's federation keys over
//! `archipel-wan-seal-v1\nORIGIN\nSECONDS\nSHA-256 of the body in hex`. While a sender changes its key it signs with both.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::{
    federation::{
        KeyError, PeerKey,
        keys::{PublicKey, SigningKey},
        token,
    },
    ids::Origin,
};

/// The name of the header.
pub const SEAL_HEADER: &str = "Archipel-Seal";

const VERSION: &str = "v1";
const DOMAIN: &str = "archipel-wan-seal-v1";
/// Most signatures of one seal: a bad one costs a check for each key of its sender.
const MAX_SIGNATURES: usize = 2;

/// Seals what one node sends.
pub struct Sealer {
    origin: Origin,
    keys: Vec<SigningKey>,
}

/// Without the keys.
impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sealer").field(&self.origin).finish()
    }
}

/// A seal that was read and not yet opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Who is said to have sealed it.
    pub origin: Origin,
    /// When, in Unix seconds.
    pub at: i64,
    signatures: Vec<Vec<u8>>,
}

/// Why a seal proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It cannot be read.
    #[error("the seal cannot be read")]
    Malformed,
    /// No key of the sender made it, or it is of another body.
    #[error("the seal is not the sender's")]
    Wrong,
}

impl Sealer {
    /// Seals under an origin with one key, or with two while one takes the place of the other.
    ///
    /// # Errors
    /// [`KeyError::Unusable`].
    pub fn new<'s>(
        origin: Origin,
        seeds: impl IntoIterator<Item = &'s [u8; 32]>,
    ) -> Result<Self, KeyError> {
        let seeds = seeds.into_iter().take(MAX_SIGNATURES);
        Ok(Self {
            origin,
            keys: seeds.map(SigningKey::new).collect::<Result<_, _>>()?,
        })
    }

    /// The value of the header for a body; nothing when the cryptographic library does not sign.
    pub fn seal(&self, body: &[u8], now: i64) -> Option<String> {
        let input = input(self.origin.as_str(), now, body);
        let signatures = self.keys.iter().map(|key| key.sign(input.as_bytes()));
        let signatures: Vec<String> = signatures
            .map(|signature| Some(token::encode(&signature?)))
            .collect::<Option<_>>()?;
        let (origin, signatures) = (self.origin.as_str(), signatures.join(","));
        (!signatures.is_empty()).then(|| format!("{VERSION} {origin} {now} {signatures}"))
    }
}

impl Seal {
    /// Reads the value of the header.
    ///
    /// # Errors
    /// [`SealError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let words: Vec<&str> = text.split(' ').collect();
        let [VERSION, origin, at, signatures] = words[..] else {
            return Err(SealError::Malformed);
        };
        let signatures: Option<Vec<Vec<u8>>> = signatures.split(',').map(token::decode).collect();
        let signatures = signatures.filter(|all| all.len() <= MAX_SIGNATURES);
        Ok(Self {
            origin: Origin::parse(origin).map_err(|_| SealError::Malformed)?,
            at: at.parse().map_err(|_| SealError::Malformed)?,
            signatures: signatures.ok_or(SealError::Malformed)?,
        })
    }

    /// Checks it against a body and the keys of whoever is said to have sealed it. A key must have counted when it was
    /// sealed: what lay in a broker for a while is no worse for it.
    ///
    /// # Errors
    /// [`SealError::Wrong`].
    pub fn open<'k>(
        &self,
        body: &[u8],
        keys: impl IntoIterator<Item = &'k PeerKey>,
    ) -> Result<(), SealError> {
        let input = input(self.origin.as_str(), self.at, body);
        let mut keys = keys.into_iter().filter(|key| key.is_valid_at(self.at));
        let is_one_right = keys.any(|key| {
            let Ok(key) = PublicKey::new(&key.public_key) else {
                return false;
            };
            let mut signatures = self.signatures.iter();
            signatures.any(|signature| key.verifies(input.as_bytes(), signature))
        });
        if is_one_right {
            Ok(())
        } else {
            Err(SealError::Wrong)
        }
    }
}

fn input(origin: &str, at: i64, body: &[u8]) -> String {
    let digest = hex::encode(Sha256::digest(body));
    format!("{DOMAIN}\n{origin}\n{at}\n{digest}")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::federation::keys::public_key_of_seed;

    const AT: i64 = 1_767_225_600;
    const BODY: &[u8] = b"{}";

    fn origin() -> Origin {
        Origin::parse("https://a.example").unwrap()
    }

    fn key(seed: u8) -> PeerKey {
        PeerKey::new(public_key_of_seed(&[seed; 32]).unwrap())
    }

    fn sealed(seeds: &[u8]) -> String {
        let seeds: Vec<[u8; 32]> = seeds.iter().map(|seed| [*seed; 32]).collect();
        let sealer = Sealer::new(origin(), &seeds).unwrap();
        sealer.seal(BODY, AT).unwrap()
    }

    fn check(seal: &str, body: &[u8], keys: &[PeerKey], expected: Result<(), SealError>) {
        let opened = Seal::parse(seal).and_then(|seal| seal.open(body, keys));
        assert_eq!(opened, expected, "{seal}");
    }

    #[test]
    fn a_seal_proves_who_sent_the_body() {
        let wrong = Err(SealError::Wrong);
        check(&sealed(&[1]), BODY, &[key(1)], Ok(()));
        check(&sealed(&[1]), BODY, &[key(2), key(1)], Ok(()));
        check(&sealed(&[1]), BODY, &[key(2)], wrong);
        check(&sealed(&[1]), BODY, &[], wrong);
        check(&sealed(&[1]), b"{ }", &[key(1)], wrong);
        // While a key is changed, either will do.
        check(&sealed(&[1, 2]), BODY, &[key(1)], Ok(()));
        check(&sealed(&[1, 2]), BODY, &[key(2)], Ok(()));
        let other_time = sealed(&[1]).replace("1767225600", "1767225601");
        check(&other_time, BODY, &[key(1)], wrong);
        let other_sender = sealed(&[1]).replace("a.example", "b.example");
        check(&other_sender, BODY, &[key(1)], wrong);
        let before = PeerKey {
            not_before: Some(AT + 1),
            ..key(1)
        };
        check(&sealed(&[1]), BODY, &[before], wrong);
    }

    #[test]
    fn what_is_no_seal_is_refused() {
        let good = sealed(&[1]);
        for bad in [
            "",
            "v1",
            &good.replace("v1 ", "v2 "),
            &good.replace("https://", ""),
            &good.replace("1767225600", "now"),
            &format!("{good} more"),
            &format!("{good},AA,AA"),
            &format!("{good}!"),
        ] {
            assert_eq!(Seal::parse(bad), Err(SealError::Malformed), "{bad}");
        }
    }

    #[test]
    fn a_seal_is_written_like_this() {
        let words: Vec<String> = sealed(&[7]).split(' ').map(str::to_owned).collect();
        assert_eq!(words.first().map(String::as_str), Some("v1"));
        assert_eq!(words.get(1).map(String::as_str), Some("https://a.example"));
        assert_eq!(words.get(3).map(String::len), Some(86));
    }

    #[test]
    fn keys_do_not_print() {
        let sealer = Sealer::new(origin(), &[[1; 32]]).unwrap();
        assert_eq!(
            format!("{sealer:?}"),
            "Sealer(Origin(\"https://a.example\"))"
        );
    }
}
