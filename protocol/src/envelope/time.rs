//! Time stamps of bus events: written in one form, read in the forms that the peers read (`contract/bus.md` 5).
//!
//! The peers judge with ECMAScript's `Date.parse`; so does `date_parse`.

mod date_parse;

use std::fmt;

/// A time stamp, kept as it was written because it is signed as it was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    text: String,
    unix_ms: Option<i64>,
}

/// A text is no time stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time stamp")]
pub struct TimestampError;

impl Timestamp {
    /// Reads a time stamp.
    ///
    /// # Errors
    /// [`TimestampError`].
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let unix_ms = match as_we_write_it(text) {
            Some(unix_ms) => Some(unix_ms),
            None => date_parse::date_parse(text).ok_or(TimestampError)?,
        };
        Ok(Self {
            text: text.to_owned(),
            unix_ms,
        })
    }

    /// The time stamp of a moment: `YYYY-MM-DDTHH:MM:SS.mmmZ`.
    ///
    /// # Errors
    /// [`TimestampError`] outside of the years 0 to 9999.
    pub fn from_unix_ms(unix_ms: i64) -> Result<Self, TimestampError> {
        let moment = jiff::Timestamp::from_millisecond(unix_ms).map_err(|_| TimestampError)?;
        let text = format!("{moment:.3}");
        if text.starts_with('-') {
            return Err(TimestampError);
        }
        Ok(Self {
            text,
            unix_ms: Some(unix_ms),
        })
    }

    /// The time stamp as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The moment in milliseconds since 1970; none when it was written without a time zone, for only its writer knows
    /// which one is meant.
    pub fn unix_ms(&self) -> Option<i64> {
        self.unix_ms
    }
}

/// The moment of `YYYY-MM-DDTHH:MM:SS.mmmZ`, which nearly all are written as. `None`: the peers' rules decide.
fn as_we_write_it(text: &str) -> Option<i64> {
    let is_place = |(place, byte): (&u8, u8)| match place {
        b'0' => byte.is_ascii_digit(),
        place => *place == byte,
    };
    let form = b"0000-00-00T00:00:00.000Z";
    let is_in_form = text.len() == form.len() && form.iter().zip(text.bytes()).all(is_place);
    // A leap second is one that the peers do not know.
    if !is_in_form || text.get(17..19) == Some("60") {
        return None;
    }
    let moment: jiff::Timestamp = text.parse().ok()?;
    Some(moment.as_millisecond())
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<Option<i64>>) {
        let moment = Timestamp::parse(text).ok().map(|stamp| stamp.unix_ms());
        assert_eq!(moment, expected, "{text:?}");
    }

    #[test]
    fn reads_the_interchange_format() {
        let new_year = Some(Some(1_767_225_600_000));
        check("2026-01-01T00:00:00.000Z", new_year);
        check("2026-01-01T00:00:00Z", new_year);
        check("2026-01-01t00:00z", new_year);
        check("2026-01-01", new_year);
        check("2026-01", new_year);
        check("2026", new_year);
        check("+002026-01-01T00:00:00Z", new_year);
        check("2025-12-31T24:00:00Z", new_year);
        check("2026-01-01T02:00:00+02:00", new_year);
        check("2025-12-31T18:30:00-0530", new_year);
        check("2026-01-01T00:00:00.123456Z", Some(Some(1_767_225_600_123)));
        check("2026-01-01T00:00:00.1Z", Some(Some(1_767_225_600_100)));
        check("2026-02-30T00:00:00Z", Some(Some(1_772_409_600_000)));
        check("1970-01-01T00:00:00Z", Some(Some(0)));
        check("0000-01-01T00:00:00Z", Some(Some(-62_167_219_200_000)));
        check("-000001-03-01", Some(Some(-62_193_657_600_000)));
        check("+275760-09-13T00:00:00Z", Some(Some(8_640_000_000_000_000)));
    }

    #[test]
    fn our_own_form_is_read_as_the_peers_read_it() {
        for text in [
            "2026-01-01T00:00:00.000Z",
            "2024-02-29T23:59:59.999Z",
            "2023-02-29T00:00:00.000Z",
            "2026-06-30T23:59:60.000Z",
            "2026-01-01T24:00:00.000Z",
            "0000-01-01T00:00:00.000Z",
            "0001-12-31T12:34:56.789Z",
            "1969-12-31T23:59:59.999Z",
            "9999-12-31T23:59:59.999Z",
            "2026-13-01T00:00:00.000Z",
            "2026-00-00T00:00:00.000Z",
        ] {
            let read = date_parse::date_parse(text);
            check(text, read);
            if let Some(unix_ms) = as_we_write_it(text) {
                assert_eq!(read, Some(Some(unix_ms)), "{text}");
            }
        }
        assert!(as_we_write_it("2026-01-01T00:00:00.000Z").is_some());
    }

    #[test]
    fn leaves_local_time_undecided() {
        check("2026-01-01T00:00:00", Some(None));
        check("2026-01-01T00:00", Some(None));
    }

    /// The verdicts of Node.js 20.
    #[test]
    fn reads_free_forms_as_the_peers_do() {
        let new_year = Some(Some(1_767_225_600_000));
        check("Thu, 01 Jan 2026 00:00:00 GMT", new_year);
        check("Mon, 01 Jan 2026 02:00:00 +0200", new_year);
        check(
            "Thu Jan 01 2026 09:00:00 GMT+0900 (Japan (Standard) Time)",
            new_year,
        );
        check("2026-01-01 00:00:00Z", new_year);
        check("1/1/26 12:00 am UTC", new_year);
        check("31 Dec 2025 16:00 PST", new_year);
        check("2025-12-31 7:00:00.5 pm EST", Some(Some(1_767_225_600_500)));
        check("2026-01-01 00:00:00", Some(None));
        check("2026-1-1", Some(None));
        check("January 1, 2026", Some(None));
        check(" 2026-01-01", Some(None));
        check("1", Some(None));
        for refused in [
            "1767225600",
            "2026-01-01 24:01",
            "1 Jan 2026 noon",
            "x1 2026",
            "1 2 3 4",
            "2026-01-01 00:00 UTC+12345",
            "2026)",
            "13:00 pm 1 Jan 2026",
            "Foo 1 2026",
        ] {
            check(refused, None);
        }
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "yesterday",
            "2026-13-01T00:00:00Z",
            "2026-00-01",
            "2026-01-32",
            "2026-01-01T25:00:00Z",
            "2026-01-01T24:00:01Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00ZZ",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T",
            "2026-01-01T00Z",
            "-000000-01-01T00:00:00Z",
            "+275760-09-13T00:00:00.001Z",
            "\u{661}026-01-01",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for (unix_ms, text) in [
            (1_767_225_600_000, "2026-01-01T00:00:00.000Z"),
            (1_767_225_600_007, "2026-01-01T00:00:00.007Z"),
            (0, "1970-01-01T00:00:00.000Z"),
        ] {
            let stamp = Timestamp::from_unix_ms(unix_ms).unwrap();
            assert_eq!(stamp.as_str(), text);
            assert_eq!(Timestamp::parse(text), Ok(stamp));
        }
        assert_eq!(Timestamp::from_unix_ms(i64::MAX), Err(TimestampError));
    }
}
