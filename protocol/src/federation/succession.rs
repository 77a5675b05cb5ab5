//! How a node changes its key: the old key signs a statement that names the new one, and the node publishes both as a JWK
//! Set (RFC 7517, RFC 8037).
//!
//! Whoever knew the old key believes the new one only with that statement, read from the node's own origin: a stolen name is
//! not enough to replace a key, and a stolen key is not, either. The old one counts for a while longer, so that nobody has
//! to be told at the same moment.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys::{self, PublicKey};
use super::statement::{self, Statement, StatementSigner, key_hex};
use super::token::{decode, encode};
use crate::ids::Origin;

/// Most keys of one set that are looked at.
const MAX_KEYS: usize = 32;

/// How far the clocks of two nodes may differ, in seconds.
const SKEW_SECONDS: i64 = 60;

/// Most statements of one key that are looked at.
const MAX_STATEMENTS: usize = 16;

/// Member of a JWK that holds the statements which lead to it from older keys.
const SUCCESSIONS: &str = "archipel_successions";

/// The old key of a node names the new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Succession {
    /// Whose keys they are.
    #[serde(rename = "iss")]
    pub origin: Origin,
    /// Unix seconds.
    #[serde(rename = "iat")]
    pub issued_at: i64,
    /// The old key, which signs this.
    #[serde(with = "key_hex")]
    pub previous: [u8; 32],
    /// The new key.
    #[serde(with = "key_hex")]
    pub next: [u8; 32],
    /// The last second at which the old key counts, in Unix seconds.
    pub previous_until: i64,
}

impl Statement for Succession {
    const TYPE: &'static str = "archipel-succession+jwt";

    fn signed_by(&self) -> [u8; 32] {
        self.previous
    }
}

impl Succession {
    /// The text of the statement; `None` when it cannot be signed.
    pub fn to_text(&self, previous: &StatementSigner) -> Option<String> {
        previous.sign(self)
    }
}

/// A key as its owner publishes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedKey {
    pub public_key: [u8; 32],
    /// The statements that lead to it from older keys, which need not be published any more; none for a first key.
    pub successions: Vec<String>,
}

#[derive(Serialize)]
struct Jwk<'a> {
    kid: String,
    alg: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    crv: &'static str,
    kty: &'static str,
    x: String,
    #[serde(
        rename = "archipel_successions",
        skip_serializing_if = "<[_]>::is_empty"
    )]
    successions: &'a [String],
}

/// The JWK Set with these keys, each by its thumbprint; of two that are equal, the first.
pub fn jwks(published: &[PublishedKey]) -> String {
    let mut written: Vec<Jwk<'_>> = Vec::with_capacity(published.len());
    for key in published {
        let jwk = Jwk {
            kid: keys::thumbprint(&key.public_key),
            alg: "EdDSA",
            usage: "sig",
            crv: "Ed25519",
            kty: "OKP",
            x: encode(&key.public_key),
            successions: &key.successions,
        };
        if !written.iter().any(|known| known.x == jwk.x) {
            written.push(jwk);
        }
    }
    // Texts only, so writing it cannot fail.
    let written = serde_json::to_string(&written).unwrap_or_default();
    format!(r#"{{"keys":{written}}}"#)
}

/// The Ed25519 keys of a JWK Set; others are passed over (RFC 7517 section 5). `None` when it is no such set.
pub fn read_jwks(text: &[u8]) -> Option<Vec<PublishedKey>> {
    let set: Value = serde_json::from_slice(text).ok()?;
    let keys = set.get("keys")?.as_array()?;
    Some(keys.iter().take(MAX_KEYS).filter_map(read_jwk).collect())
}

fn read_jwk(jwk: &Value) -> Option<PublishedKey> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let is_ed25519 = text("kty") == Some("OKP") && text("crv") == Some("Ed25519");
    let is_for_signatures = text("use").is_none_or(|usage| usage == "sig");
    Some(PublishedKey {
        public_key: decode(text("x")?)?.try_into().ok()?,
        successions: texts(jwk.get(SUCCESSIONS)),
    })
    .filter(|_| is_ed25519 && is_for_signatures)
}

fn texts(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    let texts = list.take(MAX_STATEMENTS).filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// The statements that lead from keys of `origin` that are known to the newer ones among `published`, in their order.
/// Statements of other origins and of the future lead nowhere. Not every key that they reach is still published.
pub fn successions(
    origin: &Origin,
    known: &[[u8; 32]],
    published: &[PublishedKey],
    now_unix: i64,
) -> Vec<Succession> {
    let mut trusted = known.to_vec();
    let mut found: Vec<Succession> = Vec::new();
    let mut left: Vec<Succession> = published
        .iter()
        .flat_map(|key| &key.successions)
        .filter_map(|text| statement::open::<Succession>(text).ok())
        .filter(|statement| {
            statement.origin == *origin
                && statement.issued_at <= now_unix.saturating_add(SKEW_SECONDS)
                && PublicKey::new(&statement.next).is_ok()
        })
        .collect();
    // Each round takes every statement of a key that is trusted by now; a chain of n keys needs at most n rounds.
    loop {
        let (reached, rest): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|statement| trusted.contains(&statement.previous));
        if reached.is_empty() {
            return found;
        }
        for statement in reached {
            if !trusted.contains(&statement.next) {
                trusted.push(statement.next);
                found.push(statement);
            }
        }
        left = rest;
    }
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn signer(byte: u8) -> StatementSigner {
        StatementSigner::new(&[byte; 32]).unwrap()
    }

    fn key(byte: u8) -> [u8; 32] {
        *signer(byte).public_key()
    }

    fn origin() -> Origin {
        Origin::parse("https://alpha.example.org").unwrap()
    }

    /// Key `next` with a statement of key `previous`, signed by key `by`.
    fn successor(previous: u8, next: u8, by: u8) -> PublishedKey {
        let statement = Succession {
            origin: origin(),
            issued_at: NOW,
            previous: key(previous),
            next: key(next),
            previous_until: NOW + 100,
        };
        PublishedKey {
            public_key: key(next),
            successions: statement.to_text(&signer(by)).into_iter().collect(),
        }
    }

    fn first(byte: u8) -> PublishedKey {
        PublishedKey {
            public_key: key(byte),
            successions: Vec::new(),
        }
    }

    #[test]
    fn a_set_comes_back_as_it_was_published() {
        let published = [first(1), successor(1, 2, 1)];
        let text = jwks(&[first(1), first(1), successor(1, 2, 1)]);
        assert_eq!(read_jwks(text.as_bytes()).unwrap(), published);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["keys"][0]["kid"], keys::thumbprint(&key(1)));
        for (text, expected) in [
            ("", None),
            ("[]", None),
            (r#"{"keys":[]}"#, Some(0)),
            (
                r#"{"keys":[{"kty":"RSA"},{"kty":"OKP","crv":"X25519","x":"AA"},7]}"#,
                Some(0),
            ),
        ] {
            let found = read_jwks(text.as_bytes()).map(|keys| keys.len());
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn keys_are_followed_from_those_that_are_known() {
        let check = |known: &[u8], published: &[PublishedKey], expected: &[u8]| {
            let known: Vec<_> = known.iter().map(|byte| key(*byte)).collect();
            let found = successions(&origin(), &known, published, NOW);
            let found: Vec<_> = found.iter().map(|statement| statement.next).collect();
            let expected: Vec<_> = expected.iter().map(|byte| key(*byte)).collect();
            assert_eq!(found, expected);
        };
        check(&[1], &[first(1), successor(1, 2, 1)], &[2]);
        check(&[1], &[successor(2, 3, 2), successor(1, 2, 1)], &[2, 3]);
        check(&[1, 2], &[successor(1, 2, 1)], &[]);
        check(&[9], &[successor(1, 2, 1)], &[]);
        // Nobody but the old key can name the new one, and a bare key is believed by nobody.
        check(&[1], &[successor(1, 2, 2)], &[]);
        check(&[1], &[first(2)], &[]);
        // A circle ends.
        check(&[1], &[successor(1, 2, 1), successor(2, 1, 2)], &[2]);
    }

    #[test]
    fn a_statement_counts_for_its_own_key_and_origin_only() {
        let elsewhere = Origin::parse("https://beta.example.org").unwrap();
        let published = [successor(1, 2, 1)];
        assert_eq!(successions(&elsewhere, &[key(1)], &published, NOW), []);
        assert_eq!(successions(&origin(), &[key(1)], &published, NOW - 61), []);
        let retired = PublishedKey {
            public_key: key(3),
            successions: [successor(1, 2, 1), successor(2, 3, 2)]
                .map(|key| key.successions)
                .concat(),
        };
        let found = successions(&origin(), &[key(1)], &[retired], NOW);
        assert_eq!(found.len(), 2, "a key that is gone still names the next");
    }
}
