//! Verifying: who sent a token, and whether it may be believed now.
//!
//! [`Verifier::verify`] is the order of `contract/federation.md` 1; the first check that fails gives the reason. Taking
//! an id once is left to the caller, who has the memory for it.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde_json::value::RawValue;

use crate::{
    federation::{
        SUBJECT,
        keys::{KeyError, PublicKey, SharedSecret},
        token::{self, Parts},
    },
    ids::{Origin, trim_ecmascript, utf16_longer_than},
};

/// Longest token, in UTF-16 units.
const MAX_TOKEN: usize = 8192;

/// Longest `jti`, in UTF-16 units.
const MAX_JTI: usize = 128;

/// Latest expiry told to the caller (2^53 - 1 seconds): a clock skew can be added to it without overflow.
const LATEST_EXPIRY: f64 = 9_007_199_254_740_991.0;

/// What a token must satisfy beyond its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Our own origin, or the configured audience.
    pub audience: Option<String>,
    /// Whether a token must name its audience.
    pub require_audience: bool,
    /// Whether a token must have an id.
    pub require_jti: bool,
    /// How far the clocks may differ, in seconds.
    pub skew_seconds: u64,
    /// Longest life (`exp - iat`) accepted, in seconds. The contract has no bound.
    pub max_lifetime_seconds: Option<u64>,
}

impl Default for Policy {
    /// The contract's defaults: audience and id required, a minute of skew, any lifetime.
    fn default() -> Self {
        Self {
            audience: None,
            require_audience: true,
            require_jti: true,
            skew_seconds: 60,
            max_lifetime_seconds: None,
        }
    }
}

/// A token that passed every check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Who minted it: an origin (Ed25519) or the dialect's constant (HS256).
    pub issuer: String,
    /// The id to claim, so that the token is taken once.
    pub jti: Option<String>,
    /// When it was minted, in Unix seconds, floored; from 0 to 2^53 - 1.
    pub issued_at: i64,
    /// Expiry in Unix seconds, floored; at most 2^53 - 1.
    pub expires_at: i64,
    /// The peer whose key verified it; none with a shared secret.
    pub peer: Option<Origin>,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Not three parts of base64url, or no JSON in them.
    #[error("not a token")]
    Malformed,
    /// `alg` is not the one of this mode.
    #[error("signed with another algorithm")]
    WrongAlgorithm,
    /// The signature is not that of the issuer.
    #[error("the signature is wrong")]
    BadSignature,
    /// A claim is missing, of the wrong kind or of the wrong value.
    #[error("a claim is wrong")]
    BadClaims,
    /// Past its expiry.
    #[error("expired")]
    Expired,
    /// Before its `nbf`.
    #[error("not yet valid")]
    NotYetValid,
    /// Meant for somebody else.
    #[error("meant for another audience")]
    WrongAudience,
}

impl VerifyError {
    /// The reason as the contract names it.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::BadSignature => "bad_sig",
            Self::BadClaims => "bad_claims",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongAudience => "bad_audience",
        }
    }
}

/// Verifies tokens against keys that were parsed once.
#[derive(Clone)]
pub struct Verifier(Keys);

#[derive(Clone)]
enum Keys {
    Shared {
        secret: SharedSecret,
        issuers: Vec<String>,
    },
    Peers(BTreeMap<Origin, PublicKey>),
}

impl Verifier {
    /// Accepts tokens under a shared secret of at least 32 bytes, from any of the issuers named
    /// ([`crate::names::Dialect::hs256_issuer`]).
    ///
    /// # Errors
    /// [`KeyError::SecretTooShort`].
    pub fn hs256(secret: &str, accepted_issuers: &[&str]) -> Result<Self, KeyError> {
        Ok(Self(Keys::Shared {
            secret: SharedSecret::new(secret)?,
            issuers: accepted_issuers
                .iter()
                .map(|&issuer| issuer.to_owned())
                .collect(),
        }))
    }

    /// Accepts tokens of the peers of a roster, each under its own Ed25519 public key. Of two entries with the same
    /// origin the first counts.
    ///
    /// # Errors
    /// [`KeyError::Unusable`].
    pub fn ed25519(peers: impl IntoIterator<Item = (Origin, [u8; 32])>) -> Result<Self, KeyError> {
        let mut keys = BTreeMap::new();
        for (origin, key) in peers {
            let key = PublicKey::new(&key)?;
            keys.entry(origin).or_insert(key);
        }
        Ok(Self(Keys::Peers(keys)))
    }

    /// Checks a token at the time `now_unix` (Unix seconds).
    ///
    /// # Errors
    /// The first [`VerifyError`] that applies.
    pub fn verify(
        &self,
        token: &str,
        policy: &Policy,
        now_unix: i64,
    ) -> Result<Verified, VerifyError> {
        let token = trim_ecmascript(token);
        if utf16_longer_than(token, MAX_TOKEN) {
            return Err(VerifyError::Malformed);
        }
        let parts = Parts::split(token).ok_or(VerifyError::Malformed)?;
        let header = decode_json(parts.header)?;
        let algorithm = read_algorithm(&header)?;
        if token::holds_no_byte(parts.signature) {
            return Err(VerifyError::Malformed);
        }
        let payload = decode_json(parts.payload)?;
        let claims = Claims::read(&payload)?;

        let (issuer, peer) = self.authenticate(&parts, algorithm.as_deref(), &claims)?;
        claims.check_subject()?;
        let (issued, expiry) = claims.check_times(policy, now_unix)?;
        claims.check_audience(policy)?;
        let jti = claims.check_jti(policy)?;
        let expires_at = expiry.floor().min(LATEST_EXPIRY) as i64;
        Ok(Verified {
            issuer: issuer.to_owned(),
            jti: jti.map(Cow::into_owned),
            issued_at: issued.floor().clamp(0.0, LATEST_EXPIRY) as i64,
            expires_at,
            peer: peer.cloned(),
        })
    }

    /// Finds the key by mode and issuer and checks the signature. The algorithm is never chosen by the token.
    fn authenticate<'c>(
        &'c self,
        parts: &Parts<'_>,
        algorithm: Option<&str>,
        claims: &Claims<'_>,
    ) -> Result<(&'c str, Option<&'c Origin>), VerifyError> {
        let issuer = claims.issuer.and_then(token::text);
        // A second spelling of a signature is refused like a wrong one.
        let signature = token::decode(parts.signature).unwrap_or_default();
        match &self.0 {
            Keys::Shared { secret, issuers } => {
                if algorithm != Some("HS256") {
                    return Err(VerifyError::WrongAlgorithm);
                }
                if !secret.verifies(parts.signed, &signature) {
                    return Err(VerifyError::BadSignature);
                }
                let accepted = issuers
                    .iter()
                    .find(|known| issuer.as_deref() == Some(*known));
                Ok((accepted.ok_or(VerifyError::BadClaims)?, None))
            }
            Keys::Peers(peers) => {
                if !matches!(algorithm, Some("EdDSA" | "Ed25519")) {
                    return Err(VerifyError::WrongAlgorithm);
                }
                let (origin, key) = issuer
                    .and_then(|issuer| peers.get_key_value(issuer.as_ref()))
                    .ok_or(VerifyError::BadClaims)?;
                if !key.verifies(parts.signed, &signature) {
                    return Err(VerifyError::BadSignature);
                }
                Ok((origin.as_str(), Some(origin)))
            }
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Keys::Shared { issuers, .. } => write!(formatter, "Verifier::hs256({issuers:?})"),
            Keys::Peers(peers) => formatter
                .debug_tuple("Verifier::ed25519")
                .field(&peers.keys())
                .finish(),
        }
    }
}

/// The claims we look at, as raw JSON.
struct Claims<'a> {
    issuer: Option<&'a RawValue>,
    subject: Option<&'a RawValue>,
    jti: Option<&'a RawValue>,
    issued_at: Option<&'a RawValue>,
    expires_at: Option<&'a RawValue>,
    not_before: Option<&'a RawValue>,
    audience: Option<&'a RawValue>,
}

impl<'a> Claims<'a> {
    fn read(payload: &'a str) -> Result<Self, VerifyError> {
        let names = ["iss", "sub", "jti", "iat", "exp", "nbf", "aud"];
        let [
            issuer,
            subject,
            jti,
            issued_at,
            expires_at,
            not_before,
            audience,
        ] = token::members(payload, &names).ok_or(VerifyError::Malformed)?;
        Ok(Self {
            issuer,
            subject,
            jti,
            issued_at,
            expires_at,
            not_before,
            audience,
        })
    }

    fn check_subject(&self) -> Result<(), VerifyError> {
        match self.subject.and_then(token::text) {
            Some(subject) if subject == SUBJECT => Ok(()),
            _ => Err(VerifyError::BadClaims),
        }
    }

    /// Checks `exp`, `iat` and `nbf` and gives back `iat` and `exp`. Times are doubles, as they are for the peers.
    fn check_times(&self, policy: &Policy, now_unix: i64) -> Result<(f64, f64), VerifyError> {
        let number = |claim: Option<&RawValue>| claim.and_then(token::number);
        let now = now_unix as f64;
        let skew = policy.skew_seconds as f64;
        let expiry = number(self.expires_at).ok_or(VerifyError::BadClaims)?;
        let issued = number(self.issued_at).ok_or(VerifyError::BadClaims)?;
        if now > expiry + skew {
            return Err(VerifyError::Expired);
        }
        if issued > now + skew {
            return Err(VerifyError::BadClaims);
        }
        // A number beyond the doubles would be a token that never expires.
        if !expiry.is_finite() || !issued.is_finite() {
            return Err(VerifyError::BadClaims);
        }
        if let Some(longest) = policy.max_lifetime_seconds
            && expiry - issued > longest as f64
        {
            return Err(VerifyError::BadClaims);
        }
        if self.not_before.is_some() {
            let not_before = number(self.not_before).ok_or(VerifyError::BadClaims)?;
            if now + skew < not_before {
                return Err(VerifyError::NotYetValid);
            }
        }
        Ok((issued, expiry))
    }

    fn check_audience(&self, policy: &Policy) -> Result<(), VerifyError> {
        let configured = policy.audience.as_deref().unwrap_or_default();
        let expected = if policy.require_audience {
            trim_ecmascript(configured)
        } else if self.audience.is_none() {
            return Ok(());
        } else {
            // As configured: the peers trim only an audience that they require.
            configured
        };
        match self.audience.and_then(token::text) {
            Some(audience) if !expected.is_empty() && audience == expected => Ok(()),
            None if !policy.require_audience => Err(VerifyError::BadClaims),
            _ => Err(VerifyError::WrongAudience),
        }
    }

    fn check_jti(&self, policy: &Policy) -> Result<Option<Cow<'a, str>>, VerifyError> {
        let Some(raw) = self.jti else {
            return if policy.require_jti {
                Err(VerifyError::BadClaims)
            } else {
                Ok(None)
            };
        };
        token::text(raw)
            .filter(|jti| !jti.is_empty() && !utf16_longer_than(jti, MAX_JTI))
            .map(Some)
            .ok_or(VerifyError::BadClaims)
    }
}

/// The text of a base64url part. Bytes that are not UTF-8 are replaced, as the peers replace them.
fn decode_json(part: &str) -> Result<String, VerifyError> {
    let bytes = token::decode(part).ok_or(VerifyError::Malformed)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// `alg` of a header; `typ`, `kid` and `crit` are not looked at.
fn read_algorithm(header: &str) -> Result<Option<Cow<'_, str>>, VerifyError> {
    let [algorithm] = token::members(header, &["alg"]).ok_or(VerifyError::Malformed)?;
    if header.trim() == "null" {
        return Err(VerifyError::Malformed);
    }
    Ok(algorithm.and_then(token::text))
}

#[cfg(test)]
mod tests;
