//! JSON objects opened one level at a time, so that what we do not know is carried on exactly as it came.
//!
//! A forwarder must not alter foreign JSON: a number such as `123456789012345678901234567890` does not survive a
//! round trip through `serde_json::Value`. [`Fields`] hands out members as raw text; whatever is not taken ends up in
//! [`Extra`] and is written back as it was. Raw text is stored without insignificant white space ([`Json`]), so that it
//! always fits on one line of an event stream.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::value::RawValue;

mod extra;

pub use extra::Extra;

/// Why a document is not what it should be: the path of the member (`message.parts[0]`) and the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct Invalid {
    /// Dotted path of the member, in camelCase; empty for the document itself.
    pub path: String,
    /// What is wrong, as a clause ("is required").
    pub problem: Cow<'static, str>,
}

impl Invalid {
    /// A problem of the member `path`.
    pub fn new(path: impl Into<String>, problem: impl Into<Cow<'static, str>>) -> Self {
        Self {
            path: path.into(),
            problem: problem.into(),
        }
    }

    /// The same problem, seen from the object that holds `outer`.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        if self.path.is_empty() {
            self.path.push_str(outer);
        } else if self.path.starts_with('[') {
            self.path.insert_str(0, outer);
        } else {
            self.path.insert(0, '.');
            self.path.insert_str(0, outer);
        }
        self
    }
}

/// Any JSON value, kept as its own text without insignificant white space. Numbers keep every digit.
#[derive(Clone)]
pub struct Json(Box<RawValue>);

impl Json {
    /// Keeps a copy of `raw`.
    pub fn capture(raw: &RawValue) -> Self {
        if !raw
            .get()
            .bytes()
            .any(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t'))
        {
            return Self(raw.to_owned());
        }
        match RawValue::from_string(compact(raw.get())) {
            Ok(compacted) => Self(compacted),
            // Unreachable: white space between tokens carries no meaning. Keeping the original is right in any case.
            Err(_) => Self(raw.to_owned()),
        }
    }

    /// Keeps a copy of a JSON text.
    ///
    /// # Errors
    /// When `text` is not JSON.
    pub fn read(text: &str) -> Result<Self, Invalid> {
        let raw: &RawValue =
            serde_json::from_str(text).map_err(|_| Invalid::new("", "must be JSON"))?;
        Ok(Self::capture(raw))
    }

    /// The JSON text of a value of ours.
    ///
    /// # Errors
    /// When the value has no JSON form (a map with non-text keys).
    pub fn of(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(Self)
    }

    /// `true` or `false`.
    pub fn flag(value: bool) -> Self {
        let raw = if value {
            RawValue::TRUE
        } else {
            RawValue::FALSE
        };
        Self(raw.to_owned())
    }

    /// The JSON text.
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// The value as raw JSON, for opening it with [`Fields`].
    pub fn raw(&self) -> &RawValue {
        &self.0
    }

    /// This object with the members of another one, which take the place of those with the same name. A value that is no
    /// object is replaced as a whole.
    #[must_use]
    pub fn with_members_of(&self, other: &Self) -> Self {
        let members = |json: &Self| Fields::open(json.raw()).map(Fields::rest);
        let (Ok(mut merged), Ok(further)) = (members(self), members(other)) else {
            return other.clone();
        };
        merged.replace_by(further);
        Self::of(&merged).unwrap_or_else(|_| other.clone())
    }

    /// Whether the value is an object.
    pub fn is_object(&self) -> bool {
        self.text().starts_with('{')
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(Self::capture)
    }
}

/// An object whose members are taken out one by one.
///
/// Names are asked for in camelCase; the snake_case spelling is accepted too (A2A 1.0 §5.5, ProtoJSON), `null` counts
/// as absent, and of two members with one name the last wins.
pub struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Opens an object.
    ///
    /// # Errors
    /// When `raw` is not an object.
    pub fn open(raw: &'a RawValue) -> Result<Self, Invalid> {
        Self::read(raw.get())
    }

    /// Opens an object from its text.
    ///
    /// # Errors
    /// When `text` is not a JSON object.
    pub fn read(text: &'a str) -> Result<Self, Invalid> {
        serde_json::from_str(text).map_err(|_| Invalid::new("", "must be an object"))
    }

    /// Whether the member is there and not null.
    pub fn has(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|(key, value)| same_name(key, name) && value.get() != "null")
    }

    /// Takes the member out, `None` when it is absent or null.
    pub fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        self.take_nullable(name)
            .filter(|value| value.get() != "null")
    }

    /// Takes the member out, for the few whose value may be null.
    pub fn take_nullable(&mut self, name: &str) -> Option<&'a RawValue> {
        let mut found = None;
        self.0.retain(|(key, value)| {
            let hit = same_name(key, name);
            if hit {
                found = Some(*value);
            }
            !hit
        });
        found
    }

    /// Takes the member out and reads it with `parse`, whose problem is told with the member's path.
    ///
    /// # Errors
    /// What `parse` says.
    pub fn parse<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&'a RawValue) -> Result<T, Invalid>,
    ) -> Result<Option<T>, Invalid> {
        self.take(name)
            .map(parse)
            .transpose()
            .map_err(|invalid| invalid.within(name))
    }

    /// As [`Fields::parse`], for a member that must be there.
    ///
    /// # Errors
    /// What `parse` says, or that the member is missing.
    pub fn require<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&'a RawValue) -> Result<T, Invalid>,
    ) -> Result<T, Invalid> {
        self.parse(name, parse)?
            .ok_or_else(|| Invalid::new(name, "is required"))
    }

    /// A text; empty counts as absent (ProtoJSON's default value).
    ///
    /// # Errors
    /// When the member is not a text.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Invalid> {
        Ok(self.parse(name, text)?.filter(|value| !value.is_empty()))
    }

    /// A text that must be there and not be empty.
    ///
    /// # Errors
    /// When it is missing, empty or not a text.
    pub fn require_text(&mut self, name: &str) -> Result<String, Invalid> {
        self.text(name)?
            .ok_or_else(|| Invalid::new(name, "is required and must not be empty"))
    }

    /// A truth value, absent = false.
    ///
    /// # Errors
    /// When the member is neither true nor false.
    pub fn flag(&mut self, name: &str) -> Result<bool, Invalid> {
        Ok(self.optional_flag(name)?.unwrap_or(false))
    }

    /// A truth value that may be absent.
    ///
    /// # Errors
    /// When the member is neither true nor false.
    pub fn optional_flag(&mut self, name: &str) -> Result<Option<bool>, Invalid> {
        self.parse(name, |raw| match raw.get() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Invalid::new("", "must be true or false")),
        })
    }

    /// A count: an integer from 0 to 2^31 - 1, as a number or as text (ProtoJSON).
    ///
    /// # Errors
    /// When the member is no such number.
    pub fn count(&mut self, name: &str) -> Result<Option<u32>, Invalid> {
        self.count_within(name, 0..=i32::MAX.unsigned_abs())
    }

    /// A count inside `range`.
    ///
    /// # Errors
    /// When the member is no such number.
    pub fn count_within(
        &mut self,
        name: &str,
        range: RangeInclusive<u32>,
    ) -> Result<Option<u32>, Invalid> {
        self.parse(name, |raw| {
            let digits = raw.get().trim_matches('"');
            let value: i64 = digits
                .parse()
                .map_err(|_| Invalid::new("", "must be an integer"))?;
            u32::try_from(value)
                .ok()
                .filter(|count| range.contains(count))
                .ok_or_else(|| {
                    let (least, most) = range.into_inner();
                    Invalid::new("", format!("must be between {least} and {most}"))
                })
        })
    }

    /// A JSON object that is carried as it came (`metadata`).
    ///
    /// # Errors
    /// When the member is not an object.
    pub fn object(&mut self, name: &str) -> Result<Option<Json>, Invalid> {
        self.parse(name, |raw| {
            let json = Json::capture(raw);
            if json.is_object() {
                Ok(json)
            } else {
                Err(Invalid::new("", "must be an object"))
            }
        })
    }

    /// A list, absent = empty.
    ///
    /// # Errors
    /// When the member is not a list, or what `parse` says of an item.
    pub fn list<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&'a RawValue) -> Result<T, Invalid>,
    ) -> Result<Vec<T>, Invalid> {
        self.parse(name, |raw| Self::items(raw, &parse))
            .map(Option::unwrap_or_default)
    }

    /// The items of a list.
    ///
    /// # Errors
    /// When `raw` is not a list, or what `parse` says of an item.
    pub fn items<T>(
        raw: &'a RawValue,
        parse: impl Fn(&'a RawValue) -> Result<T, Invalid>,
    ) -> Result<Vec<T>, Invalid> {
        let raws: Vec<&'a RawValue> =
            serde_json::from_str(raw.get()).map_err(|_| Invalid::new("", "must be a list"))?;
        raws.into_iter()
            .enumerate()
            .map(|(index, item)| {
                parse(item).map_err(|invalid| invalid.within(&format!("[{index}]")))
            })
            .collect()
    }

    /// What was not taken.
    pub fn rest(self) -> Extra {
        Extra::of(
            self.0
                .into_iter()
                .map(|(name, raw)| (name.into_owned(), Json::capture(raw)))
                .collect(),
        )
    }
}

/// Reads a JSON text.
///
/// # Errors
/// When `raw` is something else.
pub fn text(raw: &RawValue) -> Result<String, Invalid> {
    serde_json::from_str(raw.get()).map_err(|_| Invalid::new("", "must be a text"))
}

/// Whether `key` is `name` (camelCase) in either spelling.
pub(crate) fn same_name(key: &str, name: &str) -> bool {
    if key == name {
        return true;
    }
    // Only a name with an underscore can be the other spelling.
    if !key.contains('_') {
        return false;
    }
    let mut left = key.bytes();
    for right in name.bytes() {
        let expected = if right.is_ascii_uppercase() {
            if left.next() != Some(b'_') {
                return false;
            }
            right.to_ascii_lowercase()
        } else {
            right
        };
        if left.next() != Some(expected) {
            return false;
        }
    }
    left.next().is_none()
}

/// JSON text without the white space between its tokens.
fn compact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_text = false;
    let mut escaped = false;
    for character in text.chars() {
        if in_text {
            in_text = escaped || character != '"';
            escaped = !escaped && character == '\\';
        } else if matches!(character, ' ' | '\n' | '\r' | '\t') {
            continue;
        } else {
            in_text = character == '"';
        }
        out.push(character);
    }
    out
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                // Objects of the protocol have at most a dozen members; one allocation serves nearly all.
                let mut members = Vec::with_capacity(8);
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &RawValue>()? {
                    members.push((name, value));
                }
                Ok(Fields(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A member name, borrowed from the text unless it has escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests;
