//! Points in time (A2A 1.0 §5.6): UTC, written `YYYY-MM-DDTHH:mm:ss.sssZ`.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::object::{Invalid, text};

/// A point in time with millisecond precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// From Unix milliseconds; what lies outside of years -9999 to 9999 becomes the nearest end.
    pub fn from_unix_ms(ms: u64) -> Self {
        let clamped = i64::try_from(ms).unwrap_or(i64::MAX);
        Self(jiff::Timestamp::from_millisecond(clamped).unwrap_or(jiff::Timestamp::MAX))
    }

    /// Unix milliseconds, 0 for what lies before 1970.
    pub fn unix_ms(self) -> u64 {
        u64::try_from(self.0.as_millisecond()).unwrap_or(0)
    }

    /// Reads any RFC 3339 time with an offset.
    ///
    /// # Errors
    /// When `raw` is no such text.
    pub fn parse(raw: &RawValue) -> Result<Self, Invalid> {
        text(raw)?.parse().map(Self).map_err(|_| {
            Invalid::new(
                "",
                "must be an RFC 3339 time such as 2026-01-31T12:00:00.000Z",
            )
        })
    }

    /// Reads a time without an offset as UTC; `None` when it is none.
    pub(super) fn parse_utc(text: &str) -> Option<Self> {
        let local: jiff::civil::DateTime = text.parse().ok()?;
        let time = jiff::tz::TimeZone::UTC.to_timestamp(local).ok()?;
        Some(Self(time))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
