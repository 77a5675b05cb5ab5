//! Signatures of cards (A2A 1.0 §8.4): JWS with detached content (RFC 7515 appendix F) over the canonical card.
//!
//! Read `payload` for the text under a signature, `shape` for the schema that it follows, `keys` for who is believed.

use std::fmt;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::a2a::card::keys::TrustedKeys;
use crate::a2a::card::payload::{READINGS, Reading, payload};
use crate::federation::keys::{KeyError, SigningKey, public_key_of_seed};
use crate::federation::token::{decode, encode};
use crate::object::{Fields, Json};

/// Most signatures of one card that are looked at.
const MAX_SIGNATURES: usize = 16;

/// Longest protected header, in characters.
const MAX_HEADER: usize = 4096;

/// The claims of a token (RFC 7519 §4.1). A signed card is, put together differently, a signed token of its content: a
/// foreign card with these members at its top would be a token in our name, so it is never signed.
const CLAIMS: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

/// Why a card is not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// Not a JSON object.
    #[error("the card is no JSON object")]
    NotACard,
    /// It could be used as a token.
    #[error("the card has a member that is a claim of tokens: {0}")]
    Claim(&'static str),
    /// The cryptographic library did not sign.
    #[error("the card could not be signed")]
    Signing,
}

/// Why a card is not believed. Of several signatures, the problem of the one that came furthest is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum VerifyError {
    /// Not a JSON object.
    #[error("the card is no JSON object")]
    NotACard,
    /// It has no signature.
    #[error("the card is not signed")]
    Unsigned,
    /// A signature is no JWS: not base64url, no `alg` or no `kid`.
    #[error("the card's signature is malformed")]
    Malformed,
    /// The signature has to be understood in a way that we do not know (`crit`).
    #[error("the card's signature has critical parameters that are not understood")]
    Critical,
    /// None of the keys that are trusted.
    #[error("the card is signed by no key that is trusted")]
    UnknownKey,
    /// The key is trusted, but not with this algorithm.
    #[error("the card's signature has another algorithm than its key")]
    Algorithm,
    /// The card was changed, or the signature is another's.
    #[error("the card's signature is wrong")]
    Wrong,
}

/// A card that somebody trusted has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What was signed, as JSON: go on with this, because the card as it came may say more.
    pub card: String,
    /// The key as the signature calls it.
    pub kid: String,
}

/// Signs cards with an Ed25519 key.
#[derive(Clone)]
pub struct CardSigner {
    key: SigningKey,
    public_key: [u8; 32],
    kid: String,
    /// Base64url.
    protected: String,
}

/// The public key as JWK (RFC 8037 §2), its members in the order in which its thumbprint wants them (RFC 7638).
#[derive(Serialize)]
struct Thumbprint<'a> {
    crv: &'static str,
    kty: &'static str,
    x: &'a str,
}

#[derive(Serialize)]
struct PublicJwk<'a> {
    kid: &'a str,
    alg: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    #[serde(flatten)]
    key: Thumbprint<'a>,
}

#[derive(Serialize)]
struct ProtectedHeader<'a> {
    alg: &'static str,
    typ: &'static str,
    kid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    jku: Option<&'a str>,
}

#[derive(Serialize)]
struct Signature<'a> {
    protected: &'a str,
    signature: String,
}

#[derive(Deserialize)]
struct ReceivedHeader {
    alg: String,
    kid: String,
    /// Whether it is there at all.
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

impl CardSigner {
    /// Signs with this seed; `jku` is where the key can be read.
    ///
    /// # Errors
    /// [`KeyError::Unusable`].
    pub fn new(seed: &[u8; 32], jku: Option<&str>) -> Result<Self, KeyError> {
        let public_key = public_key_of_seed(seed)?;
        let unusable = |_| KeyError::Unusable;
        let thumbprint =
            serde_json::to_vec(&Thumbprint::of(&encode(&public_key))).map_err(unusable)?;
        let kid = encode(&Sha256::digest(thumbprint));
        let header = ProtectedHeader {
            alg: "EdDSA",
            typ: "JOSE",
            kid: &kid,
            jku,
        };
        Ok(Self {
            key: SigningKey::new(seed)?,
            public_key,
            protected: encode(&serde_json::to_vec(&header).map_err(unusable)?),
            kid,
        })
    }

    /// The name of the key: its thumbprint (RFC 7638).
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public key.
    pub fn public_key(&self) -> &[u8; 32] {
        &self.public_key
    }

    /// The JWK Set with our public key.
    pub fn jwks(&self) -> String {
        let x = encode(&self.public_key);
        let key = PublicJwk {
            kid: &self.kid,
            alg: "EdDSA",
            usage: "sig",
            key: Thumbprint::of(&x),
        };
        // Texts only, so writing it cannot fail.
        let key = serde_json::to_string(&key).unwrap_or_default();
        format!(r#"{{"keys":[{key}]}}"#)
    }

    /// The card with our signatures on it in place of any it had: one over what the specification covers, and one more
    /// where the official SDKs cover something else.
    ///
    /// # Errors
    /// When the text is no card, or none that may be signed.
    pub fn sign(&self, card: &str) -> Result<String, SignError> {
        let members = read(card).ok_or(SignError::NotACard)?;
        if let Some(claim) = CLAIMS
            .into_iter()
            .find(|&claim| members.contains_key(claim))
        {
            return Err(SignError::Claim(claim));
        }
        let mut payloads: Vec<_> = [Reading::Specification, Reading::SchemaOnly]
            .map(|reading| payload(&members, reading))
            .into();
        payloads.dedup();
        let signatures: Vec<_> = payloads
            .iter()
            .map(|payload| self.signature(payload))
            .collect::<Result<_, _>>()?;
        let mut fields = Fields::read(card).map_err(|_| SignError::NotACard)?;
        fields.take("signatures");
        let signatures = Json::of(&signatures).map_err(|_| SignError::Signing)?;
        let signed = fields.rest().with("signatures", signatures);
        serde_json::to_string(&signed).map_err(|_| SignError::Signing)
    }

    fn signature(&self, payload: &str) -> Result<Signature<'_>, SignError> {
        let message = signing_input(&self.protected, payload);
        let signature = self.key.sign(&message).ok_or(SignError::Signing)?;
        Ok(Signature {
            protected: &self.protected,
            signature: encode(&signature),
        })
    }
}

impl fmt::Debug for CardSigner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CardSigner")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl<'a> Thumbprint<'a> {
    fn of(x: &'a str) -> Self {
        Self {
            crv: "Ed25519",
            kty: "OKP",
            x,
        }
    }
}

/// Checks that a card is signed by one of these keys, under any reading of what a signature covers.
///
/// # Errors
/// Why the card is not believed.
pub fn verify(card: &str, keys: &TrustedKeys) -> Result<Verified, VerifyError> {
    let members = read(card).ok_or(VerifyError::NotACard)?;
    let signatures = members.get("signatures").and_then(Value::as_array);
    let mut problem = VerifyError::Unsigned;
    for signature in signatures.into_iter().flatten().take(MAX_SIGNATURES) {
        match verify_one(signature, &members, keys) {
            Ok(verified) => return Ok(verified),
            Err(found) => problem = problem.max(found),
        }
    }
    Err(problem)
}

fn verify_one(
    signature: &Value,
    members: &Map<String, Value>,
    keys: &TrustedKeys,
) -> Result<Verified, VerifyError> {
    let text = |name: &str| signature.get(name).and_then(Value::as_str);
    let protected = text("protected").ok_or(VerifyError::Malformed)?;
    let header = read_header(protected).ok_or(VerifyError::Malformed)?;
    let bytes = text("signature")
        .and_then(decode)
        .ok_or(VerifyError::Malformed)?;
    // We understand no extension of JWS, and `crit` outside the protected header is an error of its own.
    if header.crit || signature.pointer("/header/crit").is_some() {
        return Err(VerifyError::Critical);
    }
    let mut problem = VerifyError::UnknownKey;
    for key in keys.called(&header.kid) {
        if !key.speaks(&header.alg) {
            problem = problem.max(VerifyError::Algorithm);
            continue;
        }
        let covered = READINGS
            .into_iter()
            .map(|reading| payload(members, reading))
            .find(|covered| key.verifies(&signing_input(protected, covered), &bytes));
        match covered {
            Some(card) => {
                return Ok(Verified {
                    card,
                    kid: header.kid.clone(),
                });
            }
            None => problem = VerifyError::Wrong,
        }
    }
    Err(problem)
}

fn read(card: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(card).ok()
}

fn read_header(protected: &str) -> Option<ReceivedHeader> {
    let bytes = Some(protected)
        .filter(|text| text.len() <= MAX_HEADER)
        .and_then(decode)?;
    // serde would take a list for the members in their order. A name given twice is an error already.
    let is_object = bytes.first() == Some(&b'{');
    serde_json::from_slice(&bytes).ok().filter(|_| is_object)
}

fn present<'de, D: Deserializer<'de>>(member: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(member).map(|_| true)
}

/// RFC 7515 §5.1, step 8.
fn signing_input(protected: &str, payload: &str) -> Vec<u8> {
    [protected, ".", &encode(payload.as_bytes())]
        .concat()
        .into_bytes()
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
mod tests;
