//! Statements: what one node signs for another beside its tokens.
//!
//! A statement is a compact JWS (RFC 7515) by an Ed25519 key, with a `typ` that says what it is. A statement is taken only
//! as what its `typ` says, and none has the `sub` of a token; so no statement passes as a token, no token as a statement,
//! and none of them as another.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::keys::{KeyError, PublicKey, SigningKey, public_key_of_seed};
use super::token::{Parts, decode, encode};

/// Longest statement, in bytes.
pub const MAX_STATEMENT: usize = 16 * 1024;

/// What a node signs.
pub trait Statement: Serialize + DeserializeOwned {
    /// The media type of the whole, without `application/` (RFC 7515 section 4.1.9).
    const TYPE: &'static str;

    /// The key that must have signed it, as far as the statement says so itself.
    fn signed_by(&self) -> [u8; 32];
}

/// Why a text is not taken as a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Not three parts of base64url, too long, or without the members that it must have.
    #[error("it is damaged: not all of it is there, or something else is in it")]
    Malformed,
    /// Something else that is signed.
    #[error("it is something else")]
    WrongType,
    /// The key is none.
    #[error("its key is not usable")]
    BadKey,
    /// It was changed, or somebody else signed it.
    #[error("its signature is wrong")]
    BadSignature,
}

/// Signs statements with a node's own key.
#[derive(Clone)]
pub struct StatementSigner {
    key: SigningKey,
    public_key: [u8; 32],
}

#[derive(Serialize)]
struct Header {
    alg: &'static str,
    typ: &'static str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceivedHeader {
    alg: String,
    typ: String,
}

impl StatementSigner {
    /// Signs with this seed.
    ///
    /// # Errors
    /// [`KeyError::Unusable`].
    pub fn new(seed: &[u8; 32]) -> Result<Self, KeyError> {
        Ok(Self {
            key: SigningKey::new(seed)?,
            public_key: public_key_of_seed(seed)?,
        })
    }

    /// The key by which others know whose statements they are.
    pub fn public_key(&self) -> &[u8; 32] {
        &self.public_key
    }

    /// The text of a statement; `None` when the cryptographic library does not sign.
    pub fn sign<S: Statement>(&self, statement: &S) -> Option<String> {
        let header = Header {
            alg: "EdDSA",
            typ: S::TYPE,
        };
        let mut text = encode(&serde_json::to_vec(&header).ok()?);
        text.push('.');
        text.push_str(&encode(&serde_json::to_vec(statement).ok()?));
        let signature = self.key.sign(text.as_bytes())?;
        text.push('.');
        text.push_str(&encode(&signature));
        Some(text)
    }
}

impl fmt::Debug for StatementSigner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("StatementSigner")
            .field("public_key", &hex::encode(self.public_key))
            .finish_non_exhaustive()
    }
}

/// Reads a statement and checks that the key which it names has signed it. Whether that key is one to be believed is the
/// caller's question.
///
/// # Errors
/// [`StatementError`].
pub fn open<S: Statement>(text: &str) -> Result<S, StatementError> {
    if text.len() > MAX_STATEMENT {
        return Err(StatementError::Malformed);
    }
    let parts = Parts::split(text).ok_or(StatementError::Malformed)?;
    let header: ReceivedHeader = read(parts.header)?;
    if header.typ != S::TYPE || header.alg != "EdDSA" {
        return Err(StatementError::WrongType);
    }
    let statement: S = read(parts.payload)?;
    let key = PublicKey::new(&statement.signed_by()).map_err(|_| StatementError::BadKey)?;
    let signature = decode(parts.signature).ok_or(StatementError::Malformed)?;
    if !key.verifies(parts.signed, &signature) {
        return Err(StatementError::BadSignature);
    }
    Ok(statement)
}

fn read<T: DeserializeOwned>(part: &str) -> Result<T, StatementError> {
    let bytes = decode(part).ok_or(StatementError::Malformed)?;
    // serde would take a list for the members in their order.
    if bytes.first() != Some(&b'{') {
        return Err(StatementError::Malformed);
    }
    serde_json::from_slice(&bytes).map_err(|_| StatementError::Malformed)
}

/// A public key in JSON: 64 lower-case hexadecimal digits.
pub(super) mod key_hex {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::federation::keys;

    pub(crate) fn serialize<S: Serializer>(key: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&keys::to_hex(key))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        keys::from_hex(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}
