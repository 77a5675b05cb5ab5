//! Identifiers that are made by parsing.
//!
//! [`Origin`] names a node. [`Text`] is a bounded string, counted as the contract counts.

use std::{borrow::Borrow, fmt};

use serde::{Deserialize, Serialize};
use url::Url;

/// Longest origin kept, in bytes: a verified issuer is cut to 512 by the contract (`federation.md` 1,
/// step 10), so a longer origin could never be told from its neighbour.
const MAX_ORIGIN: usize = 512;

/// A node's name: `scheme://host[:port]`, the WHATWG origin of an http or https URL.
///
/// ```
/// use archipel_protocol::ids::Origin;
/// let origin = Origin::parse("HTTPS://Peer.Example:443/some/path").unwrap();
/// assert_eq!(origin.as_str(), "https://peer.example");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(String);

/// Why a text is no [`Origin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// Not an absolute URL.
    #[error("not an absolute URL")]
    NotUrl,
    /// A scheme other than http and https.
    #[error("the scheme must be http or https")]
    Scheme,
    /// A user name or password before the host.
    #[error("credentials are not allowed in an origin")]
    Credentials,
    /// More than 512 bytes.
    #[error("longer than 512 bytes")]
    TooLong,
}

impl Origin {
    /// Reads a URL and keeps its origin: host in lower case, default port dropped, no path
    /// (`contract/federation.md` 7).
    ///
    /// # Errors
    /// [`OriginError`] names what is wrong; the text itself is never repeated.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let url = Url::parse(text).map_err(|_| OriginError::NotUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(OriginError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(OriginError::Credentials);
        }
        let origin = url.origin().ascii_serialization();
        if origin.len() > MAX_ORIGIN {
            return Err(OriginError::TooLong);
        }
        Ok(Self(origin))
    }

    /// The origin as text, without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl AsRef<str> for Origin {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Lets a roster be searched by the text of an issuer.
impl Borrow<str> for Origin {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Origin {
    type Error = OriginError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.0
    }
}

/// A string of 1 to `MAX` UTF-16 code units: the length that the peers count in (`contract/bus.md` 5).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Text<const MAX: usize>(String);

/// A string is empty or longer than its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {max} UTF-16 units long")]
pub struct TextError {
    max: usize,
}

impl<const MAX: usize> Text<MAX> {
    /// Checks the length and keeps the text as it is.
    ///
    /// # Errors
    /// [`TextError`] when the text is empty or too long.
    pub fn parse(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        if text.is_empty() || utf16_longer_than(&text, MAX) {
            return Err(TextError { max: MAX });
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<const MAX: usize> TryFrom<String> for Text<MAX> {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(text)
    }
}

impl<const MAX: usize> From<Text<MAX>> for String {
    fn from(text: Text<MAX>) -> Self {
        text.0
    }
}

/// Whether a text has more than `max` UTF-16 code units.
pub(crate) fn utf16_longer_than(text: &str, max: usize) -> bool {
    // A character takes at least as many bytes as units, so short texts need no counting.
    text.len() > max && text.encode_utf16().count() > max
}

/// Trims what ECMAScript's `trim` trims: U+FEFF is space there, U+0085 is not.
pub(crate) fn trim_ecmascript(text: &str) -> &str {
    text.trim_matches(|character: char| {
        (character.is_whitespace() && character != '\u{85}') || character == '\u{feff}'
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_origin_of_a_url() {
        let check = |text: &str, expected: Result<&str, OriginError>| {
            let origin = Origin::parse(text);
            assert_eq!(
                origin.as_ref().map(Origin::as_str),
                expected.as_ref().copied(),
                "{text:?}"
            );
        };
        check("https://peer.example", Ok("https://peer.example"));
        check("HTTPS://Peer.Example:443/a?b#c", Ok("https://peer.example"));
        check("http://peer.example:80/", Ok("http://peer.example"));
        check("https://peer.example:8443", Ok("https://peer.example:8443"));
        check(
            "https://bücher.example",
            Ok("https://xn--bcher-kva.example"),
        );
        check("http://[::1]:7400", Ok("http://[::1]:7400"));
        check("http://127.1", Ok("http://127.0.0.1"));
        check("peer.example", Err(OriginError::NotUrl));
        check("", Err(OriginError::NotUrl));
        check("https://", Err(OriginError::NotUrl));
        check("https://peer.example:99999", Err(OriginError::NotUrl));
        check("ftp://peer.example", Err(OriginError::Scheme));
        check("urn:x", Err(OriginError::Scheme));
        check("https://user@peer.example", Err(OriginError::Credentials));
        check("https://:pw@peer.example", Err(OriginError::Credentials));
        check(
            &format!("https://{}.example", "a.".repeat(300)),
            Err(OriginError::TooLong),
        );
    }

    #[test]
    fn an_origin_is_text_in_json() {
        let origin: Origin = serde_json::from_str(r#""https://Peer.example/""#).unwrap();
        assert_eq!(
            serde_json::to_string(&origin).unwrap(),
            r#""https://peer.example""#
        );
        assert!(serde_json::from_str::<Origin>(r#""peer""#).is_err());
    }

    #[test]
    fn texts_are_counted_in_utf16_units() {
        for (text, fits) in [
            ("", false),
            ("abcd", true),
            ("abcde", false),
            ("éééé", true),
            ("\u{1f600}\u{1f600}", true),
            ("\u{1f600}\u{1f600}a", false),
        ] {
            assert_eq!(Text::<4>::parse(text).is_ok(), fits, "{text:?}");
        }
    }

    #[test]
    fn trims_as_ecmascript_does() {
        assert_eq!(trim_ecmascript("\u{feff}\u{a0}\t a \u{2028}\n"), "a");
        assert_eq!(trim_ecmascript("\u{85}a"), "\u{85}a");
    }
}
