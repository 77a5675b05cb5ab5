//! Versions of A2A (1.0 §3.6): which one somebody speaks.

use std::fmt;

/// A version that is spoken here. Patch numbers make no difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 0.3, and what is meant when nothing is said.
    V03,
    /// 1.0, the model of this crate.
    V1,
}

impl Version {
    /// Every version, the oldest first.
    pub const ALL: [Self; 2] = [Self::V03, Self::V1];

    /// Reads the value of `A2A-Version`: missing or empty means 0.3 (§3.6.2), `None` is a version that is not spoken.
    pub fn parse(named: Option<&str>) -> Option<Self> {
        let named = named.map(str::trim).unwrap_or_default();
        if named.is_empty() {
            return Some(Self::V03);
        }
        Self::ALL
            .into_iter()
            .find(|version| version.is_named_by(named))
    }

    /// As it stands in `A2A-Version`, without a patch number.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V03 => "0.3",
            Self::V1 => super::VERSION,
        }
    }

    fn is_named_by(self, named: &str) -> bool {
        let Some(rest) = named.strip_prefix(self.as_str()) else {
            return false;
        };
        rest.is_empty()
            || rest.strip_prefix('.').is_some_and(|patch| {
                (1..=4).contains(&patch.len()) && patch.bytes().all(|byte| byte.is_ascii_digit())
            })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn a_version_is_known_by_its_first_two_numbers() {
        for (named, expected) in [
            (None, Some(Version::V03)),
            (Some(""), Some(Version::V03)),
            (Some("0.3"), Some(Version::V03)),
            (Some("0.3.0"), Some(Version::V03)),
            (Some("1.0"), Some(Version::V1)),
            (Some(" 1.0.1 "), Some(Version::V1)),
            (Some("1.0."), None),
            (Some("1.1"), None),
            (Some("1"), None),
            (Some("0.30"), None),
            (Some("1.0x"), None),
            (Some("1.0.1.2"), None),
            (Some("99.0"), None),
        ] {
            assert_eq!(Version::parse(named), expected, "{named:?}");
        }
    }
}
