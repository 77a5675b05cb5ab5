//! Verifying: who sent a token, and whether it may be believed now.
//!
//! [`Verifier::verify`] is the order of `contract/federation.md` 1; the first check that fails gives the reason. Taking
//! an id once is left to the caller, who has the memory for it.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use serde_json::value::RawValue;

use crate::{
    federation::{
        Delegation, LETTER_SUBJECT, SUBJECT,
        keys::{FrequentKey, KeyError, PeerKey, Room, SharedSecret},
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
    /// The digest of the letter that the token came with; none for a call over HTTP. A token is good for one of the two.
    pub letter: Option<String>,
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
            letter: None,
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
    /// For whom the peer calls, and how far the call may go.
    pub delegation: Delegation,
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

/// What a token says of itself, which nobody has checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Who says to have minted it.
    pub issuer: String,
    /// How the issuer calls the key.
    pub key_id: String,
}

/// Reads who claims to have signed a token with which key, so that a key can be looked for; `None` where it does not say.
pub fn claimed(token: &str) -> Option<Claimed> {
    let token = trim_ecmascript(token);
    if utf16_longer_than(token, MAX_TOKEN) {
        return None;
    }
    let parts = Parts::split(token)?;
    let header = decode_json(parts.header).ok()?;
    let key_id = Header::read(&header).ok()?.key_id?.into_owned();
    let payload = decode_json(parts.payload).ok()?;
    let issuer = Claims::read(&payload).ok()?.issuer.and_then(token::text)?;
    Some(Claimed {
        issuer: issuer.into_owned(),
        key_id,
    })
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
    Peers(Arc<BTreeMap<Origin, Vec<HeldKey>>>),
}

/// A key of a peer, parsed.
struct HeldKey {
    terms: PeerKey,
    key: FrequentKey,
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

    /// Accepts tokens of the peers of a roster, each under its own Ed25519 public keys. Of two entries with the same
    /// origin the first counts. A token costs one check of a signature for each key of its issuer at most, so give a
    /// peer few.
    ///
    /// # Errors
    /// [`KeyError::Unusable`].
    pub fn ed25519<K: IntoIterator<Item = PeerKey>>(
        peers: impl IntoIterator<Item = (Origin, K)>,
    ) -> Result<Self, KeyError> {
        let mut roster = BTreeMap::new();
        let room = Room::default();
        for (origin, keys) in peers {
            let held = keys.into_iter().map(|terms| {
                let key = FrequentKey::new(&terms.public_key, &room)?;
                Ok(HeldKey { terms, key })
            });
            let held: Vec<HeldKey> = held.collect::<Result<_, KeyError>>()?;
            roster.entry(origin).or_insert(held);
        }
        Ok(Self(Keys::Peers(Arc::new(roster))))
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
        let header = Header::read(&header)?;
        if token::holds_no_byte(parts.signature) {
            return Err(VerifyError::Malformed);
        }
        let payload = decode_json(parts.payload)?;
        let claims = Claims::read(&payload)?;

        let (issuer, peer) = self.authenticate(&parts, &header, &claims, now_unix)?;
        claims.check_use(policy)?;
        let (issued, expiry) = claims.check_times(policy, now_unix)?;
        claims.check_audience(policy)?;
        let jti = claims.check_jti(policy)?;
        let delegation = claims.check_delegation(peer)?;
        let expires_at = expiry.floor().min(LATEST_EXPIRY) as i64;
        Ok(Verified {
            issuer: issuer.to_owned(),
            jti: jti.map(Cow::into_owned),
            issued_at: issued.floor().clamp(0.0, LATEST_EXPIRY) as i64,
            expires_at,
            peer: peer.cloned(),
            delegation,
        })
    }

    /// Finds the key by mode and issuer and checks the signature. The algorithm is never chosen by the token.
    fn authenticate<'c>(
        &'c self,
        parts: &Parts<'_>,
        header: &Header<'_>,
        claims: &Claims<'_>,
        now_unix: i64,
    ) -> Result<(&'c str, Option<&'c Origin>), VerifyError> {
        let issuer = claims.issuer.and_then(token::text);
        let mut room = [0; token::SIGNATURE_ROOM];
        let signature = token::decode_signature(parts.signature, &mut room);
        match &self.0 {
            Keys::Shared { secret, issuers } => {
                if header.algorithm.as_deref() != Some("HS256") {
                    return Err(VerifyError::WrongAlgorithm);
                }
                if !secret.verifies(parts.signed, signature) {
                    return Err(VerifyError::BadSignature);
                }
                let accepted = issuers
                    .iter()
                    .find(|known| issuer.as_deref() == Some(*known));
                Ok((accepted.ok_or(VerifyError::BadClaims)?, None))
            }
            Keys::Peers(peers) => {
                if !matches!(header.algorithm.as_deref(), Some("EdDSA" | "Ed25519")) {
                    return Err(VerifyError::WrongAlgorithm);
                }
                let (origin, keys) = issuer
                    .and_then(|issuer| peers.get_key_value(issuer.as_ref()))
                    .ok_or(VerifyError::BadClaims)?;
                if !keys.iter().any(|held| held.terms.is_valid_at(now_unix)) {
                    return Err(VerifyError::BadClaims);
                }
                let mut candidates = in_turn(keys, header.key_id.as_deref(), now_unix);
                if !candidates.any(|held| held.key.verifies(parts.signed, signature)) {
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
    act: Option<&'a RawValue>,
    hops: Option<&'a RawValue>,
    letter: Option<&'a RawValue>,
}

impl<'a> Claims<'a> {
    fn read(payload: &'a str) -> Result<Self, VerifyError> {
        let names = [
            "iss", "sub", "jti", "iat", "exp", "nbf", "aud", "act", "hops", "letter",
        ];
        let [
            issuer,
            subject,
            jti,
            issued_at,
            expires_at,
            not_before,
            audience,
            act,
            hops,
            letter,
        ] = token::members(payload, &names).ok_or(VerifyError::Malformed)?;
        Ok(Self {
            issuer,
            subject,
            jti,
            issued_at,
            expires_at,
            not_before,
            audience,
            act,
            hops,
            letter,
        })
    }

    /// What the token is for: a call over HTTP, or this one letter.
    fn check_use(&self, policy: &Policy) -> Result<(), VerifyError> {
        let subject = match policy.letter {
            None => SUBJECT,
            Some(_) => LETTER_SUBJECT,
        };
        let is_bound = match &policy.letter {
            None => self.letter.is_none(),
            Some(digest) => self.letter.and_then(token::text).as_deref() == Some(digest),
        };
        match self.subject.and_then(token::text) {
            Some(claimed) if claimed == subject && is_bound => Ok(()),
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

    /// A peer speaks for callers of its own only.
    fn check_delegation(&self, peer: Option<&Origin>) -> Result<Delegation, VerifyError> {
        let delegation =
            Delegation::read(self.act, self.hops).map_err(|_| VerifyError::BadClaims)?;
        match (peer, delegation.chain.first()) {
            (Some(peer), Some(actor)) if actor.iss != *peer => Err(VerifyError::BadClaims),
            _ => Ok(delegation),
        }
    }
}

/// The text of a base64url part. Bytes that are not UTF-8 are replaced, as the peers replace them.
fn decode_json(part: &str) -> Result<String, VerifyError> {
    let bytes = token::decode(part).ok_or(VerifyError::Malformed)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// The keys that are valid now: those that the token names before the others. A name only saves work: a peer may have
/// named its key differently from us.
fn in_turn<'k>(
    keys: &'k [HeldKey],
    key_id: Option<&str>,
    now_unix: i64,
) -> impl Iterator<Item = &'k HeldKey> {
    let named = move |held: &&HeldKey| key_id.is_some() && held.terms.kid.as_deref() == key_id;
    let valid = move |held: &&HeldKey| held.terms.is_valid_at(now_unix);
    let first = keys.iter().filter(named);
    let then = keys.iter().filter(move |held| !named(held));
    first.chain(then).filter(valid)
}

/// What a header says; `typ` and `crit` are not looked at.
struct Header<'a> {
    algorithm: Option<Cow<'a, str>>,
    key_id: Option<Cow<'a, str>>,
}

impl<'a> Header<'a> {
    fn read(header: &'a str) -> Result<Self, VerifyError> {
        let [algorithm, key_id] =
            token::members(header, &["alg", "kid"]).ok_or(VerifyError::Malformed)?;
        if header.trim() == "null" {
            return Err(VerifyError::Malformed);
        }
        Ok(Self {
            algorithm: algorithm.and_then(token::text),
            key_id: key_id.and_then(token::text),
        })
    }
}

#[cfg(test)]
mod tests;
