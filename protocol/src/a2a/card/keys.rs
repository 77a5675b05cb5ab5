//! The keys under which cards of others are believed: pinned by an operator, never found on the card itself.
//!
//! A key is good for one algorithm only, the one of its kind, so a card cannot choose how it is verified (no `none`, no
//! HMAC under a public key).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use josekit::jwk::Jwk;
use josekit::jws::{ES256, JwsVerifier, RS256};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::federation::keys::{KeyError, PublicKey};

/// Most keys of one set.
const MAX_KEYS: usize = 64;

/// Shortest RSA modulus, in bytes (RFC 7518 §3.3).
const MIN_RSA_BYTES: usize = 256;

/// Why a text is no set of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not `{"keys": [..]}`.
    #[error("must be a JWK Set: {{\"keys\": [..]}}")]
    NotASet,
    /// Nothing in it can verify a card.
    #[error("holds no Ed25519, P-256 or RSA key (2048 bits or more) for signatures")]
    NoUsableKey,
}

/// Keys under which cards are believed.
#[derive(Default)]
pub struct TrustedKeys(Vec<TrustedKey>);

/// One key.
pub(super) struct TrustedKey {
    /// Unknown for a bare key, which is tried whatever a signature calls it.
    kid: Option<String>,
    verifier: Verifier,
}

enum Verifier {
    Ed25519(PublicKey),
    Es256(Box<dyn JwsVerifier>),
    Rs256(Box<dyn JwsVerifier>),
}

#[derive(Deserialize)]
struct KeySet<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

impl TrustedKeys {
    /// Reads a JWK Set (RFC 7517). Keys of other kinds or for other uses are passed over, as its §5 wants it.
    ///
    /// # Errors
    /// When the text is no such set, or nothing in it is usable.
    pub fn from_jwks(text: &str) -> Result<Self, KeySetError> {
        let set: KeySet<'_> = serde_json::from_str(text).map_err(|_| KeySetError::NotASet)?;
        let keys: Vec<_> = set
            .keys
            .into_iter()
            .take(MAX_KEYS)
            .filter_map(|key| TrustedKey::from_jwk(key.get()))
            .collect();
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey);
        }
        Ok(Self(keys))
    }

    /// Adds a bare Ed25519 key.
    ///
    /// # Errors
    /// [`KeyError::Unusable`].
    pub fn add_ed25519(&mut self, key: &[u8; 32]) -> Result<(), KeyError> {
        self.0.push(TrustedKey {
            kid: None,
            verifier: Verifier::Ed25519(PublicKey::new(key)?),
        });
        Ok(())
    }

    /// Whether there is no key, so that no card is believed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys that a signature by `kid` may be by.
    pub(super) fn called<'a>(&'a self, kid: &'a str) -> impl Iterator<Item = &'a TrustedKey> {
        self.0
            .iter()
            .filter(move |key| key.kid.as_deref().is_none_or(|known| known == kid))
    }
}

impl TrustedKey {
    /// Whether signatures by this key name this algorithm.
    pub(super) fn speaks(&self, algorithm: &str) -> bool {
        match self.verifier {
            // RFC 9864 names the curve where RFC 8037 named the family.
            Verifier::Ed25519(_) => matches!(algorithm, "EdDSA" | "Ed25519"),
            Verifier::Es256(_) => algorithm == "ES256",
            Verifier::Rs256(_) => algorithm == "RS256",
        }
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.verifier {
            Verifier::Ed25519(key) => key.verifies(message, signature),
            Verifier::Es256(key) | Verifier::Rs256(key) => key.verify(message, signature).is_ok(),
        }
    }

    fn from_jwk(text: &str) -> Option<Self> {
        let jwk = Jwk::from_bytes(text).ok()?;
        let verifier = match jwk.key_type() {
            "OKP" => Verifier::Ed25519(ed25519(&jwk)?),
            "EC" => Verifier::Es256(Box::new(ES256.verifier_from_jwk(&jwk).ok()?)),
            "RSA" if bytes(&jwk, "n")?.len() >= MIN_RSA_BYTES => {
                Verifier::Rs256(Box::new(RS256.verifier_from_jwk(&jwk).ok()?))
            }
            _ => return None,
        };
        Some(Self {
            kid: jwk.key_id().map(str::to_owned),
            verifier,
        })
    }
}

fn ed25519(jwk: &Jwk) -> Option<PublicKey> {
    let fits = jwk.curve() == Some("Ed25519")
        && jwk.key_use().is_none_or(|usage| usage == "sig")
        && jwk.is_for_key_operation("verify")
        && jwk
            .algorithm()
            .is_none_or(|name| matches!(name, "EdDSA" | "Ed25519"));
    let key: [u8; 32] = bytes(jwk, "x")?.try_into().ok()?;
    PublicKey::new(&key).ok().filter(|_| fits)
}

fn bytes(jwk: &Jwk, name: &str) -> Option<Vec<u8>> {
    let text = jwk.parameter(name)?.as_str()?;
    let decoded = URL_SAFE_NO_PAD.decode(text).ok()?;
    let zeros = decoded.iter().take_while(|byte| **byte == 0).count();
    // Only a modulus may be written with zeros in front; a curve point has its fixed length.
    match name {
        "n" => decoded.get(zeros..).map(<[u8]>::to_vec),
        _ => Some(decoded),
    }
}
