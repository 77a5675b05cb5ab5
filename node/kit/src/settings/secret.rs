//! Text that must never be shown.

use std::{collections::BTreeSet, fmt};

use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

/// A secret text: printing it gives `[REDACTED]`, its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes the text as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text itself, for the one call that needs it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether `candidate` is the secret. Takes the same time for every candidate of its length; only that can be
    /// measured from outside, and a hash of both would cost more than the rest of a caller's identification.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        self.expose().as_bytes().ct_eq(candidate).into()
    }

    /// Whether it is easy to guess: under 32 characters, or at most 4 distinct ones (one repeated is one of these).
    pub fn is_weak(&self) -> bool {
        let distinct: BTreeSet<char> = self.expose().chars().collect();
        self.expose().chars().count() < 32 || distinct.len() <= 4
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[REDACTED]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[REDACTED]")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.expose().as_bytes())
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("hunter2");
        assert_eq!(
            format!("{secret} {secret:?} {:?}", Some(&secret)),
            "[REDACTED] [REDACTED] Some([REDACTED])"
        );
    }

    #[test]
    fn a_secret_matches_itself_only() {
        let secret = Secret::new("correct horse");
        assert!(secret.matches(b"correct horse"));
        assert!(!secret.matches(b"correct horse "));
        assert!(!secret.matches(b""));
    }

    #[test]
    fn weak_secrets_are_recognised() {
        let check =
            |text: &str, weak: bool| assert_eq!(Secret::new(text).is_weak(), weak, "{text}");
        check("", true);
        check("0123456789012345678901234567890", true);
        check("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", true);
        check("abcdabcdabcdabcdabcdabcdabcdabcdabcd", true);
        check("abcdeabcdeabcdeabcdeabcdeabcdeabcde", false);
        check("01234567890123456789012345678901", false);
    }
}
