//! What the fuzz targets share: JSON compared by meaning, and inputs that are left alone.

use std::collections::BTreeMap;

use archipel_protocol::object::{Fields, text};
use serde::Serialize;
use serde_json::value::RawValue;

/// JSON but for the order of members, the way texts are escaped, and metadata that holds nothing. Numbers count as they
/// are written.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A number, true, false or null.
    Written(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Meaning>),
    /// Of two members with one name the last counts.
    Object(BTreeMap<String, Meaning>),
}

impl Meaning {
    /// The meaning of what we write.
    pub fn of(value: &impl Serialize) -> Self {
        Self::read(&written(value))
    }

    /// The meaning of JSON.
    pub fn read(json: &RawValue) -> Self {
        if let Ok(text) = text(json) {
            return Self::Text(text);
        }
        if let Ok(items) = Fields::items(json, |item| Ok(Self::read(item))) {
            return Self::List(items);
        }
        let Ok(object) = Fields::open(json) else {
            return Self::Written(json.get().to_owned());
        };
        let members = object
            .rest()
            .into_iter()
            .filter(|(name, value)| name != "metadata" || value.text() != "{}");
        Self::Object(
            members
                .map(|(name, value)| (name, Self::read(value.raw())))
                .collect(),
        )
    }

    /// Whether some object has a member of one of these names.
    pub fn names(&self, names: &[&str]) -> bool {
        match self {
            Self::Written(_) | Self::Text(_) => false,
            Self::List(items) => items.iter().any(|item| item.names(names)),
            Self::Object(members) => members
                .iter()
                .any(|(name, value)| names.contains(&name.as_str()) || value.names(names)),
        }
    }
}

/// What we write, which is always JSON.
pub fn written(value: &impl Serialize) -> Box<RawValue> {
    let text = serde_json::to_string(value).expect("a value of the protocol has a JSON form");
    RawValue::from_string(text).expect("what is written is JSON")
}

/// The input as JSON of a depth that would be let in.
pub fn json(input: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice(input).ok()
}
