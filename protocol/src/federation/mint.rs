//! Minting: the token that our node sends to a peer (`contract/federation.md` 1).

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use uuid::Uuid;

use crate::{
    federation::{
        Delegation, LETTER_SUBJECT, SUBJECT,
        keys::{self, KeyError, SharedSecret, SigningKey},
        token,
    },
    ids::Origin,
};

/// Why no token could be minted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// The expiry does not fit the clock.
    #[error("the token would expire beyond the clock")]
    Lifetime,
    /// The cryptographic library did not sign.
    #[error("the token could not be signed")]
    Signing,
}

/// Mints tokens with one key.
#[derive(Clone)]
pub struct Minter {
    issuer: String,
    key: Key,
}

#[derive(Clone)]
enum Key {
    Shared(SharedSecret),
    Own {
        signer: SigningKey,
        public_key: [u8; 32],
        header: Cow<'static, [u8]>,
    },
}

/// What a token says.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The peer's origin.
    pub audience: Option<&'a str>,
    /// How long it lives.
    pub ttl_seconds: u64,
    /// Must be fresh: the peer takes it once.
    pub jti: Uuid,
    /// Unix seconds.
    pub now_unix: i64,
    /// For whom the call is made and how far it may go. The issuer of the first actor must be the issuer of the token, or
    /// the peer refuses it.
    pub delegation: &'a Delegation,
    /// The digest of the letter that it goes with; none for a call over HTTP.
    pub letter: Option<&'a str>,
}

/// The claims in the order in which they are written; ours after the contract's.
#[derive(Serialize)]
struct Claims<'a, A> {
    iss: &'a str,
    sub: &'static str,
    jti: Uuid,
    iat: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<A>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hops: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    letter: Option<&'a str>,
}

impl Minter {
    /// Mints with a shared secret of at least 32 bytes, under the issuer of a dialect
    /// ([`crate::names::Dialect::hs256_issuer`]).
    ///
    /// # Errors
    /// [`KeyError::SecretTooShort`].
    pub fn hs256(secret: &str, issuer: &str) -> Result<Self, KeyError> {
        Ok(Self {
            issuer: issuer.to_owned(),
            key: Key::Shared(SharedSecret::new(secret)?),
        })
    }

    /// Mints with our own Ed25519 seed, under the origin by which the peers know us.
    ///
    /// # Errors
    /// [`KeyError::Unusable`].
    pub fn ed25519(seed: &[u8; 32], issuer: &Origin) -> Result<Self, KeyError> {
        Ok(Self {
            issuer: issuer.as_str().to_owned(),
            key: Key::Own {
                signer: SigningKey::new(seed)?,
                public_key: keys::public_key_of_seed(seed)?,
                header: Cow::Borrowed(br#"{"alg":"EdDSA","typ":"JWT"}"#),
            },
        })
    }

    /// The same minter, whose tokens say which key signed them (`kid`: its thumbprint). With a shared secret nothing
    /// changes.
    #[must_use]
    pub fn named(mut self) -> Self {
        if let Key::Own {
            public_key, header, ..
        } = &mut self.key
        {
            let kid = keys::thumbprint(public_key);
            let named = format!(r#"{{"alg":"EdDSA","typ":"JWT","kid":"{kid}"}}"#);
            *header = Cow::Owned(named.into_bytes());
        }
        self
    }

    /// A token for `audience` (the peer's origin) that lives `ttl_seconds` from `now_unix` (Unix seconds). `jti` must
    /// be fresh: the peer takes it once.
    ///
    /// # Errors
    /// [`MintError`].
    pub fn mint(
        &self,
        audience: Option<&str>,
        ttl_seconds: u64,
        jti: Uuid,
        now_unix: i64,
    ) -> Result<String, MintError> {
        self.mint_for(audience, ttl_seconds, jti, now_unix, &Delegation::NONE)
    }

    /// As [`Self::mint`], and says for whom the call is made and how far it may go ([`Terms::delegation`]).
    ///
    /// # Errors
    /// [`MintError`].
    pub fn mint_for(
        &self,
        audience: Option<&str>,
        ttl_seconds: u64,
        jti: Uuid,
        now_unix: i64,
        delegation: &Delegation,
    ) -> Result<String, MintError> {
        self.mint_on(&Terms {
            audience,
            ttl_seconds,
            jti,
            now_unix,
            delegation,
            letter: None,
        })
    }

    /// A token on these terms.
    ///
    /// # Errors
    /// [`MintError`].
    pub fn mint_on(&self, terms: &Terms<'_>) -> Result<String, MintError> {
        let expires_at = terms.now_unix.checked_add_unsigned(terms.ttl_seconds);
        let claims = Claims {
            iss: &self.issuer,
            sub: match terms.letter {
                None => SUBJECT,
                Some(_) => LETTER_SUBJECT,
            },
            jti: terms.jti,
            iat: terms.now_unix,
            exp: expires_at.ok_or(MintError::Lifetime)?,
            aud: terms.audience,
            act: terms.delegation.act(),
            hops: terms.delegation.hops,
            letter: terms.letter,
        };
        let payload = serde_json::to_vec(&claims).map_err(|_| MintError::Signing)?;
        let mut token = token::encode(self.header());
        token.push('.');
        token.push_str(&token::encode(&payload));
        let signature = self.sign(token.as_bytes())?;
        token.push('.');
        token.push_str(&signature);
        Ok(token)
    }

    /// Our public key as 64 hexadecimal digits; none with a shared secret.
    pub fn public_key_hex(&self) -> Option<String> {
        match &self.key {
            Key::Shared(_) => None,
            Key::Own { public_key, .. } => Some(keys::to_hex(public_key)),
        }
    }

    fn header(&self) -> &[u8] {
        match &self.key {
            Key::Shared(_) => br#"{"alg":"HS256","typ":"JWT"}"#,
            Key::Own { header, .. } => header,
        }
    }

    fn sign(&self, message: &[u8]) -> Result<String, MintError> {
        match &self.key {
            Key::Shared(secret) => Ok(token::encode(secret.sign(message).as_ref())),
            Key::Own { signer, .. } => signer
                .sign(message)
                .map(|signature| token::encode(&signature))
                .ok_or(MintError::Signing),
        }
    }
}

impl fmt::Debug for Minter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Minter")
            .field("issuer", &self.issuer)
            .field("public_key", &self.public_key_hex())
            .finish_non_exhaustive()
    }
}
