//! The signed manifest: a list of peers that somebody keeps for a whole mesh (`contract/federation.md` 7).
//!
//! Signed is the canonical JSON of the payload after members that nobody knows were dropped, so a signer must not add any.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    canonical,
    federation::keys::{self, KeyError, PublicKey, SigningKey},
};

/// A manifest whose signature is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// When it was signed, in the signer's words; anything may stand there.
    pub issued_at: Option<String>,
    /// In the order in which they count.
    pub peers: Vec<ManifestPeer>,
}

/// One peer as the manifest has it: nothing about it has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestPeer {
    /// Not empty, but maybe no origin.
    pub origin: String,
    /// Maybe no key.
    pub public_key_hex: Option<String>,
}

/// Why a document is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// What should verify it is no key.
    #[error("the key of the manifest is no key")]
    PublicKey,
    /// No JSON, or not of the shape of a manifest.
    #[error("the document is no manifest")]
    Shape,
    /// Somebody else signed it, or it was changed.
    #[error("the signature of the manifest is wrong")]
    Signature,
}

impl ManifestError {
    /// The reason as the contract names it.
    pub const fn token(self) -> &'static str {
        match self {
            Self::PublicKey => "invalid_manifest_signing_public_key",
            Self::Shape => "invalid_manifest_json",
            Self::Signature => "bad_signature",
        }
    }
}

impl Manifest {
    /// Reads a document and verifies it with a public key of 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn open(document: &str, public_key_hex: &str) -> Result<Self, ManifestError> {
        let key = keys::from_hex(public_key_hex.trim())
            .and_then(|key| PublicKey::new(&key))
            .map_err(|_| ManifestError::PublicKey)?;
        let document = canonical::parse(document).map_err(|_| ManifestError::Shape)?;
        let manifest = Self::read(&document).ok_or(ManifestError::Shape)?;
        let signature = document.get("sigHex").and_then(Value::as_str);
        let signature = signature.filter(|text| text.len() == 128);
        let signature = signature.and_then(|text| hex::decode(text).ok());
        let signature = signature.ok_or(ManifestError::Shape)?;
        if key.verifies(manifest.signed_text().as_bytes(), &signature) {
            Ok(manifest)
        } else {
            Err(ManifestError::Signature)
        }
    }

    /// The document, signed with a seed.
    ///
    /// # Errors
    /// [`KeyError::Unusable`].
    pub fn sign(&self, seed: &[u8; 32]) -> Result<String, KeyError> {
        let signature = SigningKey::new(seed)?.sign(self.signed_text().as_bytes());
        let signature = hex::encode(signature.ok_or(KeyError::Unusable)?);
        let document = json!({"payload": self.payload(), "sigHex": signature});
        Ok(document.to_string())
    }

    /// Whether it may not follow `kept`: whoever can serve an old manifest could bring back a peer that was removed. Once
    /// a manifest with a time was seen, one without is old as well.
    pub fn is_older_than(&self, kept: &Self) -> bool {
        match (self.issued(), kept.issued()) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(own), Some(kept)) => own < kept,
        }
    }

    fn issued(&self) -> Option<Timestamp> {
        self.issued_at.as_deref()?.trim().parse().ok()
    }

    fn read(document: &Value) -> Option<Self> {
        let payload = document.get("payload")?;
        let is_first_version = payload.get("v")?.as_f64() == Some(1.0);
        let peers = payload.get("peers")?.as_array()?;
        is_first_version.then_some(())?;
        Some(Self {
            issued_at: optional_text(payload, "issuedAt")?,
            peers: peers
                .iter()
                .map(ManifestPeer::read)
                .collect::<Option<_>>()?,
        })
    }

    fn payload(&self) -> Value {
        let mut payload = Map::new();
        payload.insert("v".to_owned(), json!(1));
        if let Some(issued_at) = &self.issued_at {
            payload.insert("issuedAt".to_owned(), json!(issued_at));
        }
        let peers = self.peers.iter().map(ManifestPeer::to_json);
        payload.insert("peers".to_owned(), peers.collect());
        payload.into()
    }

    fn signed_text(&self) -> String {
        canonical::to_string(&self.payload())
    }
}

impl ManifestPeer {
    fn read(peer: &Value) -> Option<Self> {
        let origin = peer.get("origin")?.as_str()?;
        (!origin.is_empty()).then_some(())?;
        Some(Self {
            origin: origin.to_owned(),
            public_key_hex: optional_text(peer, "ed25519PublicKeyHex")?,
        })
    }

    fn to_json(&self) -> Value {
        let mut peer = Map::new();
        peer.insert("origin".to_owned(), json!(self.origin));
        if let Some(key) = &self.public_key_hex {
            peer.insert("ed25519PublicKeyHex".to_owned(), json!(key));
        }
        peer.into()
    }
}

/// `None` when it is there and no text; a null is there.
fn optional_text(object: &Value, name: &str) -> Option<Option<String>> {
    match object.get(name) {
        None => Some(None),
        Some(Value::String(text)) => Some(Some(text.clone())),
        Some(_) => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn manifest(issued_at: Option<&str>) -> Manifest {
        Manifest {
            issued_at: issued_at.map(str::to_owned),
            peers: vec![ManifestPeer {
                origin: "https://a.example".to_owned(),
                public_key_hex: None,
            }],
        }
    }

    #[test]
    fn what_is_signed_is_opened_by_that_key_alone() {
        let seed = [7; 32];
        let key = |seed| keys::to_hex(&keys::public_key_of_seed(seed).unwrap());
        for issued_at in [None, Some("2026-01-01T00:00:00Z"), Some("whenever")] {
            let document = manifest(issued_at).sign(&seed).unwrap();
            let opened = Manifest::open(&document, &key(&seed));
            assert_eq!(opened, Ok(manifest(issued_at)));
            let other = Manifest::open(&document, &key(&[8; 32]));
            assert_eq!(other, Err(ManifestError::Signature));
        }
    }

    #[test]
    fn an_older_manifest_is_known_by_its_time() {
        let check = |new: Option<&str>, kept: Option<&str>, is_older: bool| {
            let verdict = manifest(new).is_older_than(&manifest(kept));
            assert_eq!(verdict, is_older, "{new:?} after {kept:?}");
        };
        let (first, second) = (Some("2026-01-01T00:00:00Z"), Some("2026-01-01T00:00:01Z"));
        check(second, first, false);
        check(first, first, false);
        check(first, second, true);
        check(Some("2026-01-01T01:00:00+01:00"), first, false);
        check(None, first, true);
        check(Some("whenever"), first, true);
        check(first, None, false);
        check(None, Some("whenever"), false);
    }
}
