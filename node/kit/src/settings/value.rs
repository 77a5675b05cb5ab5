//! The types that a single setting may have, and how each is written in a file and in a variable.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use url::Url;

use super::{
    secret::Secret,
    wording::{describe, quote},
};

/// A type with a text form.
pub trait Scalar: Sized {
    /// What a message says was expected.
    const EXPECTED: &'static str;
    /// What the example file shows for a key without default, as TOML.
    const SAMPLE: &'static str;
    /// Whether values must never be shown.
    const SECRET: bool = false;
    /// The unit of a bound, with a leading space; empty where the bound speaks for itself.
    const MEASURED_IN: &'static str = "";

    /// What a message says was expected, where a constant cannot say it.
    fn expected() -> String {
        Self::EXPECTED.to_owned()
    }

    /// Reads the text form.
    fn from_text(text: &str) -> Option<Self>;

    /// Reads an environment variable; its name may carry the unit.
    fn from_variable(text: &str, _name: &str) -> Option<Self> {
        Self::from_text(text)
    }

    /// Reads a value of the file.
    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_str().and_then(Self::from_text)
    }

    /// Of a text that is no list of these: each wrong entry's index, and what is wrong with it.
    fn wrong_in_text(_text: &str) -> Vec<(usize, String)> {
        Vec::new()
    }

    /// The same for a value of the file.
    fn wrong_in_toml(_value: &toml::Value) -> Vec<(usize, String)> {
        Vec::new()
    }

    /// What is compared with the bounds.
    fn measure(&self) -> i128 {
        0
    }

    /// A bound as it was declared.
    fn bound(value: &toml::Value) -> Option<i128> {
        Self::from_toml(value).map(|value| value.measure())
    }
}

macro_rules! parsed {
    ($($type:ty: $expected:literal, $sample:literal;)+) => {$(
        impl Scalar for $type {
            const EXPECTED: &'static str = $expected;
            const SAMPLE: &'static str = $sample;

            fn from_text(text: &str) -> Option<Self> {
                text.trim().parse().ok()
            }
        }
    )+};
}

parsed! {
    SocketAddr: "an address and port such as 127.0.0.1:7400", "\"127.0.0.1:7400\"";
    IpAddr: "an IP address", "\"127.0.0.1\"";
    IpNet: "a network such as 10.0.0.0/8", "\"10.0.0.0/8\"";
    Url: "a URL such as https://example.org", "\"https://example.org\"";
}

macro_rules! integers {
    ($($type:ty: $expected:literal;)+) => {$(
        impl Scalar for $type {
            const EXPECTED: &'static str = $expected;
            const SAMPLE: &'static str = "1";

            fn from_text(text: &str) -> Option<Self> {
                text.trim().parse().ok()
            }

            fn from_toml(value: &toml::Value) -> Option<Self> {
                value.as_integer().and_then(|number| number.try_into().ok())
            }

            fn measure(&self) -> i128 {
                i128::try_from(*self).unwrap_or(i128::MAX)
            }
        }
    )+};
}

integers! {
    u8: "a whole number from 0 to 255";
    u16: "a whole number from 0 to 65535";
    u32: "a whole number from 0 to 4294967295";
    u64: "a whole number from 0 on";
    usize: "a whole number from 0 on";
    i64: "a whole number";
}

/// Bounds of it are whole numbers.
impl Scalar for f64 {
    const EXPECTED: &'static str = "a number";
    const SAMPLE: &'static str = "1.0";

    fn from_text(text: &str) -> Option<Self> {
        text.trim()
            .parse()
            .ok()
            .filter(|number: &Self| number.is_finite())
    }

    fn from_toml(value: &toml::Value) -> Option<Self> {
        match value {
            toml::Value::Float(number) => Some(*number).filter(|number| number.is_finite()),
            #[expect(
                clippy::cast_precision_loss,
                reason = "whoever writes so large a number means no exact one"
            )]
            toml::Value::Integer(number) => Some(*number as Self),
            _ => None,
        }
    }

    /// In millionths, so that what is a little beyond a bound is beyond it.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast saturates, which is far beyond any bound"
    )]
    fn measure(&self) -> i128 {
        (self * 1e6).round() as i128
    }
}

/// A word of a variable as it is compared. Those of services (`GATEWAY_..`, `BRIDGE_..`) have always been read in any case;
/// those of a node exactly.
#[doc(hidden)]
pub fn word_of_variable<'a>(text: &'a str, name: &str) -> Cow<'a, str> {
    if is_lenient(name) {
        text.trim().to_ascii_lowercase().into()
    } else {
        text.into()
    }
}

/// Whether it is a variable of Hive's services, which read switches and words leniently.
fn is_lenient(name: &str) -> bool {
    ["GATEWAY_", "BRIDGE_", "SUBSCRIBER_"]
        .iter()
        .any(|service| name.starts_with(service))
}

impl Scalar for bool {
    const EXPECTED: &'static str = "true or false";
    const SAMPLE: &'static str = "true";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    /// The deployments whose names these are write switches of their services as `1` or `yes` too.
    fn from_variable(text: &str, name: &str) -> Option<Self> {
        match &*word_of_variable(text, name) {
            "1" | "yes" | "on" if is_lenient(name) => Some(true),
            "0" | "no" | "off" if is_lenient(name) => Some(false),
            word => Self::from_text(word),
        }
    }

    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_bool()
    }
}

impl Scalar for String {
    const EXPECTED: &'static str = "text";
    const SAMPLE: &'static str = "\"\"";
    const MEASURED_IN: &'static str = " characters";

    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn measure(&self) -> i128 {
        self.chars().count() as i128
    }

    fn bound(value: &toml::Value) -> Option<i128> {
        value.as_integer().map(i128::from)
    }
}

impl Scalar for Secret {
    const EXPECTED: &'static str = "a secret text";
    const SAMPLE: &'static str = "\"\"";
    const SECRET: bool = true;
    const MEASURED_IN: &'static str = " characters";

    fn from_text(text: &str) -> Option<Self> {
        Some(Self::new(text))
    }

    fn measure(&self) -> i128 {
        self.expose().chars().count() as i128
    }

    fn bound(value: &toml::Value) -> Option<i128> {
        value.as_integer().map(i128::from)
    }
}

impl Scalar for PathBuf {
    const EXPECTED: &'static str = "a path";
    const SAMPLE: &'static str = "\"/path/to/file\"";

    fn from_text(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self::from(text))
    }
}

impl Scalar for Duration {
    const EXPECTED: &'static str = "a time such as \"250ms\", \"30s\", \"5m\", \"12h\" or \"7d\"";
    const SAMPLE: &'static str = "\"30s\"";

    fn from_text(text: &str) -> Option<Self> {
        let (number, unit) = split_unit(text)?;
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        number.checked_mul(milliseconds).map(Self::from_millis)
    }

    /// `.._MS` and `.._SECONDS` hold whole numbers of that unit, as in the deployments whose names these are.
    fn from_variable(text: &str, name: &str) -> Option<Self> {
        let number = text.trim().parse::<u64>().ok();
        match number {
            Some(number) if name.ends_with("_MS") => Some(Self::from_millis(number)),
            Some(number) if name.ends_with("_SECONDS") => Some(Self::from_secs(number)),
            _ => Self::from_text(text),
        }
    }

    fn measure(&self) -> i128 {
        i128::try_from(self.as_nanos()).unwrap_or(i128::MAX)
    }
}

/// A number of bytes, written as `"64KiB"`, `"1MiB"`, `"2GiB"`, `"500B"` or a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

impl ByteSize {
    /// A size of so many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes; what does not fit this machine's memory is cut to what does.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            size if size >= 1 << 20 && size % (1 << 20) == 0 => {
                write!(formatter, "{}MiB", size >> 20)
            }
            size if size >= 1 << 10 && size % (1 << 10) == 0 => {
                write!(formatter, "{}KiB", size >> 10)
            }
            size => write!(formatter, "{size}B"),
        }
    }
}

impl Scalar for ByteSize {
    const EXPECTED: &'static str = "a size such as \"64KiB\", \"1MiB\" or a number of bytes";
    const SAMPLE: &'static str = "\"1MiB\"";

    fn from_text(text: &str) -> Option<Self> {
        let (number, unit) = split_unit(text)?;
        let factor: u64 = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.checked_mul(factor).map(Self)
    }

    fn from_toml(value: &toml::Value) -> Option<Self> {
        match value {
            toml::Value::Integer(bytes) => u64::try_from(*bytes).ok().map(Self),
            other => other.as_str().and_then(Self::from_text),
        }
    }

    fn measure(&self) -> i128 {
        i128::from(self.0)
    }
}

/// A list of values: an array in the file, separated by commas in a variable (trimmed, empty entries dropped).
pub(super) struct List<T>(pub(super) Vec<T>);

impl<T: Scalar> Scalar for List<T> {
    const EXPECTED: &'static str = "a list";
    const SAMPLE: &'static str = "[]";
    const SECRET: bool = T::SECRET;
    const MEASURED_IN: &'static str = " entries";

    fn expected() -> String {
        format!("a list, each entry {}", T::EXPECTED)
    }

    fn from_text(text: &str) -> Option<Self> {
        entries(text)
            .map(T::from_text)
            .collect::<Option<_>>()
            .map(Self)
    }

    fn from_toml(value: &toml::Value) -> Option<Self> {
        value
            .as_array()?
            .iter()
            .map(T::from_toml)
            .collect::<Option<_>>()
            .map(Self)
    }

    fn wrong_in_text(text: &str) -> Vec<(usize, String)> {
        let wrong = entries(text)
            .enumerate()
            .filter(|(_, entry)| T::from_text(entry).is_none());
        wrong
            .map(|(index, entry)| (index, wrong_entry::<T>(&quote::<T>(entry))))
            .collect()
    }

    fn wrong_in_toml(value: &toml::Value) -> Vec<(usize, String)> {
        let wrong = value
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
            .filter(|(_, entry)| T::from_toml(entry).is_none());
        wrong
            .map(|(index, entry)| (index, wrong_entry::<T>(&describe(entry, T::SECRET))))
            .collect()
    }

    fn measure(&self) -> i128 {
        self.0.len() as i128
    }

    fn bound(value: &toml::Value) -> Option<i128> {
        value.as_integer().map(i128::from)
    }
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
}

fn wrong_entry<T: Scalar>(found: &str) -> String {
    format!("expected {}, found {found}", T::expected())
}

/// Splits `"250ms"` into 250 and `ms`; white space between and around them is allowed.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim_start()))
}
