//! The text of a token taken apart: three parts, base64url, and the members of its JSON that we look at.
//!
//! Claims are kept as raw text until a check asks for them: a verifier must know an absent member from a null one, and
//! must not build a tree out of bytes that nobody has signed yet.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The parts of a compact JWS (RFC 7515 section 7.1).
pub(super) struct Parts<'a> {
    pub(super) header: &'a str,
    pub(super) payload: &'a str,
    pub(super) signature: &'a str,
    /// `header.payload`, the text under the signature.
    pub(super) signed: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Exactly three parts, none of them empty.
    pub(super) fn split(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let whole = !header.is_empty() && !payload.is_empty() && !signature.is_empty();
        (whole && !payload.contains('.')).then_some(Self {
            header,
            payload,
            signature,
            signed: signed.as_bytes(),
        })
    }
}

/// Decodes base64url strictly: no padding, no other alphabet, no stray bits, so that a token has one spelling only.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Room for the longest signature as the decoder reckons: whole groups of four digits.
pub(super) const SIGNATURE_ROOM: usize = 66;

/// Decodes a signature as strictly, into room of the caller's. What is no signature, or too long for one, is empty: a
/// second spelling of a signature is as wrong as another signature.
pub(super) fn decode_signature<'r>(text: &str, room: &'r mut [u8; SIGNATURE_ROOM]) -> &'r [u8] {
    let length = URL_SAFE_NO_PAD.decode_slice(text, room).unwrap_or(0);
    room.get(..length).unwrap_or_default()
}

/// The base64url text of what is minted.
pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Whether a signature part holds not even one byte, however generously it is decoded: fewer than two digits of either
/// base64 alphabet. The peers call such a token malformed, and any other wrong signature a wrong signature.
pub(super) fn holds_no_byte(signature: &str) -> bool {
    let digits = signature
        .bytes()
        .take_while(|byte| *byte != b'=')
        .filter(|byte| byte.is_ascii_alphanumeric() || b"-_+/".contains(byte));
    digits.take(2).count() < 2
}

/// The raw text of the named members of a JSON text; the last of equal names counts. `None` when it is not JSON;
/// all absent when it is JSON but not an object.
pub(super) fn members<'a, const N: usize>(
    json: &'a str,
    names: &[&str; N],
) -> Option<[Option<&'a RawValue>; N]> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let found = if json.trim_start().starts_with('{') {
        reader.deserialize_map(Members { names }).ok()?
    } else {
        serde::Deserialize::deserialize(&mut reader)
            .map(|IgnoredAny| [None; N])
            .ok()?
    };
    reader.end().ok()?;
    Some(found)
}

/// A raw JSON string as text; `None` for anything else.
pub(super) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let quoted = raw.get();
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(quoted).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

/// A raw JSON number as a double, which may be infinite; `None` for anything else.
pub(super) fn number(raw: &RawValue) -> Option<f64> {
    let digits = raw.get();
    digits
        .starts_with(|first: char| first == '-' || first.is_ascii_digit())
        .then(|| digits.parse().ok())
        .flatten()
}

struct Members<'n, const N: usize> {
    names: &'n [&'n str; N],
}

impl<'a, const N: usize> Visitor<'a> for Members<'_, N> {
    type Value = [Option<&'a RawValue>; N];

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(place) = map.next_key_seed(Place(self.names))? {
            let value = map.next_value::<&'a RawValue>()?;
            if let Some(slot) = place.and_then(|place| found.get_mut(place)) {
                *slot = Some(value);
            }
        }
        Ok(found)
    }
}

/// Finds the place of a name where it stands, so that no name is copied: a token has as many as it likes.
struct Place<'n>(&'n [&'n str]);

impl<'a> DeserializeSeed<'a> for Place<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Place<'_> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|wanted| *wanted == name))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn splits_into_exactly_three_parts() {
        for (token, whole) in [
            ("a.b.c", true),
            ("a.b", false),
            ("a.b.c.d", false),
            (".b.c", false),
            ("a..c", false),
            ("a.b.", false),
            ("..", false),
            ("", false),
        ] {
            assert_eq!(Parts::split(token).is_some(), whole, "{token:?}");
        }
        assert_eq!(Parts::split("a.b.c").unwrap().signed, b"a.b");
    }

    #[test]
    fn decodes_one_spelling_only() {
        for (text, decoded) in [
            ("YWI", Some(b"ab".to_vec())),
            ("YWI=", None),
            ("YWJ", None),
            ("YW I", None),
            ("-_8", Some(vec![0xfb, 0xff])),
            ("+/8", None),
            ("A", None),
        ] {
            assert_eq!(decode(text), decoded, "{text:?}");
        }
    }

    #[test]
    fn tells_an_empty_signature_from_a_wrong_one() {
        for (text, empty) in [
            ("***", true),
            ("A", true),
            ("A*", true),
            ("=AAAA", true),
            ("AA", false),
            ("A*A", false),
        ] {
            assert_eq!(holds_no_byte(text), empty, "{text:?}");
        }
    }

    #[test]
    fn finds_members_by_their_last_value() {
        let raw = |json| {
            members(json, &["a", "b"])
                .map(|found| found.map(|value| value.map(|raw| raw.get().to_owned())))
        };
        let some = |text: &str| Some(text.to_owned());
        for (json, expected) in [
            (r#"{"a":1,"b":null}"#, Some([some("1"), some("null")])),
            (r#"{"a":1,"a":2}"#, Some([some("2"), None])),
            (
                r#"{"\u0061":1e400,"x":[1e999]}"#,
                Some([some("1e400"), None]),
            ),
            ("5e999", Some([None, None])),
            (" null ", Some([None, None])),
            (r#"{"a":}"#, None),
            (r#"{"a":1} x"#, None),
            ("\u{feff}{}", None),
            ("", None),
        ] {
            assert_eq!(raw(json), expected, "{json:?}");
        }
    }

    #[test]
    fn reads_strings_and_numbers_of_raw_json() {
        let raw = |json: &str| RawValue::from_string(json.to_owned()).unwrap();
        assert_eq!(text(&raw(r#""a\u0062""#)).as_deref(), Some("ab"));
        assert_eq!(text(&raw(r#""plain""#)).as_deref(), Some("plain"));
        assert_eq!(text(&raw(r#""\ud800""#)), None);
        assert_eq!(text(&raw("7")), None);
        assert_eq!(number(&raw("-1.5e1")), Some(-15.0));
        assert_eq!(number(&raw("1e400")), Some(f64::INFINITY));
        assert_eq!(number(&raw("\"7\"")), None);
        assert_eq!(number(&raw("null")), None);
    }
}
