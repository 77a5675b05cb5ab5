//! The keys of federation tokens: the shared secret of HS256, and Ed25519 keys as bytes and as hex.
//!
//! Secret bytes are taken in and never given back: what is kept is the state of an HMAC or a key of the cryptographic
//! library, and neither prints. `frequent` is how the keys of those who call often are asked faster.

use std::sync::Arc;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, ParsedPublicKey};
use sha2::{Digest, Sha256};

use super::token::encode;

mod frequent;

pub(super) use frequent::{FrequentKey, Room};

/// Shortest shared secret, in bytes (`contract/federation.md` 2, row 3).
const MIN_SECRET: usize = 32;

/// Why a text or a byte string is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not 64 hexadecimal digits.
    #[error("must be 64 hexadecimal digits")]
    NotHex,
    /// A shared secret of less than 32 bytes.
    #[error("a shared secret must be at least 32 bytes long")]
    SecretTooShort,
    /// The cryptographic library refuses the key.
    #[error("not a usable Ed25519 key")]
    Unusable,
}

/// The public key of a seed.
///
/// # Errors
/// [`KeyError::Unusable`] if the cryptographic library refuses the seed.
pub fn public_key_of_seed(seed: &[u8; 32]) -> Result<[u8; 32], KeyError> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Unusable)?;
    pair.public_key()
        .as_ref()
        .try_into()
        .map_err(|_| KeyError::Unusable)
}

/// Reads a key or a seed from 64 hexadecimal digits of either case.
///
/// # Errors
/// [`KeyError::NotHex`]; the text is never repeated, for it may be a seed.
pub fn from_hex(text: &str) -> Result<[u8; 32], KeyError> {
    let mut key = [0; 32];
    hex::decode_to_slice(text, &mut key).map_err(|_| KeyError::NotHex)?;
    Ok(key)
}

/// A key as 64 lower-case hexadecimal digits.
pub fn to_hex(key: &[u8; 32]) -> String {
    hex::encode(key)
}

/// The name of a public key: the thumbprint of its JWK (RFC 7638, RFC 8037 appendix A.3).
pub fn thumbprint(key: &[u8; 32]) -> String {
    let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(key));
    encode(&Sha256::digest(jwk))
}

/// A public key for people to compare: the first 128 bits of its SHA-256, in groups of four hexadecimal digits.
pub fn fingerprint(key: &[u8; 32]) -> String {
    let digest = hex::encode(Sha256::digest(key));
    let groups: Vec<&str> = (0..8)
        .filter_map(|group| digest.get(group * 4..group * 4 + 4))
        .collect();
    groups.join(" ")
}

/// A public key of a peer, and when it counts. While a peer changes its key, it has two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerKey {
    /// The 32 bytes of RFC 8032.
    pub public_key: [u8; 32],
    /// What the peer's tokens may call it (`kid`, RFC 7515 section 4.1.4).
    pub kid: Option<String>,
    /// The first second at which it counts, in Unix seconds.
    pub not_before: Option<i64>,
    /// The last second at which it counts, in Unix seconds.
    pub not_after: Option<i64>,
}

impl PeerKey {
    /// A nameless key that counts at any time.
    pub const fn new(public_key: [u8; 32]) -> Self {
        Self {
            public_key,
            kid: None,
            not_before: None,
            not_after: None,
        }
    }

    /// Whether it counts at this time (Unix seconds). Our own clock decides, without any leeway: both ends are the
    /// operator's choice.
    pub fn is_valid_at(&self, now_unix: i64) -> bool {
        self.not_before.is_none_or(|first| first <= now_unix)
            && self.not_after.is_none_or(|last| now_unix <= last)
    }
}

/// A shared secret, kept as the HMAC state after its key block, so that no call pays for the key again.
///
/// AWS-LC, because without instructions of the processor for SHA-256 its HMAC costs two thirds of sha2's.
#[derive(Clone)]
pub(super) struct SharedSecret(Arc<hmac::Key>);

impl SharedSecret {
    pub(super) fn new(secret: &str) -> Result<Self, KeyError> {
        if secret.len() < MIN_SECRET {
            return Err(KeyError::SecretTooShort);
        }
        let key = hmac::Key::new(HMAC_SHA256, secret.as_bytes());
        Ok(Self(Arc::new(key)))
    }

    pub(super) fn sign(&self, message: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0, message)
    }

    /// Compares in constant time.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        hmac::verify(&self.0, message, signature).is_ok()
    }
}

/// A peer's public key, parsed once.
///
/// AWS-LC and not josekit's OpenSSL: every federated call is verified, and here it costs less than half.
#[derive(Clone)]
pub(crate) struct PublicKey(Arc<ParsedPublicKey>);

impl PublicKey {
    pub(crate) fn new(key: &[u8; 32]) -> Result<Self, KeyError> {
        ParsedPublicKey::new(&ED25519, key)
            .map(|key| Self(Arc::new(key)))
            .map_err(|_| KeyError::Unusable)
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        // The length is checked here because a library may read more into a longer signature than it should.
        signature.len() == 64 && self.0.verify_sig(message, signature).is_ok()
    }
}

/// Our own seed, as the key of the cryptographic library.
#[derive(Clone)]
pub(crate) struct SigningKey(Arc<Ed25519KeyPair>);

impl SigningKey {
    pub(crate) fn new(seed: &[u8; 32]) -> Result<Self, KeyError> {
        Ed25519KeyPair::from_seed_unchecked(seed)
            .map(|pair| Self(Arc::new(pair)))
            .map_err(|_| KeyError::Unusable)
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.0
            .try_sign(message)
            .ok()
            .map(|signature| signature.as_ref().to_vec())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn derives_the_public_key_of_rfc_8032() {
        let seed =
            from_hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        assert_eq!(
            to_hex(&public_key_of_seed(&seed).unwrap()),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
    }

    #[test]
    fn reads_only_sixty_four_hexadecimal_digits() {
        for (text, expected) in [
            ("11".repeat(32), Ok([0x11; 32])),
            ("aB".repeat(32), Ok([0xab; 32])),
            ("11".repeat(31), Err(KeyError::NotHex)),
            ("11".repeat(33), Err(KeyError::NotHex)),
            ("zz".repeat(32), Err(KeyError::NotHex)),
            (format!(" {}", "11".repeat(32)), Err(KeyError::NotHex)),
            (String::new(), Err(KeyError::NotHex)),
        ] {
            assert_eq!(from_hex(&text), expected, "{text:?}");
        }
    }

    #[test]
    fn names_a_key_as_rfc_8037_does() {
        let key =
            from_hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").unwrap();
        assert_eq!(
            thumbprint(&key),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
        let fingerprint = fingerprint(&key);
        assert_eq!(fingerprint, "21fe 31df a154 a261 626b f854 046f d227");
    }

    #[test]
    fn a_shared_secret_has_thirty_two_bytes() {
        assert!(SharedSecret::new(&"s".repeat(32)).is_ok());
        assert_eq!(
            SharedSecret::new(&"s".repeat(31)).err(),
            Some(KeyError::SecretTooShort)
        );
    }
}
