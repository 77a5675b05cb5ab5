//! What a reader did not know, kept for the writer.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::object::Json;

/// Members that the reader did not know, in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extra(Vec<(String, Json)>);

impl Extra {
    pub(super) fn of(members: Vec<(String, Json)>) -> Self {
        Self(members)
    }

    /// Whether nothing was left over.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same members but for `name`.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.0.retain(|(key, _)| key != name);
        self
    }

    /// Adds members, in place of those with the same name.
    pub fn replace_by(&mut self, further: Self) {
        for (name, value) in further.0 {
            match self.0.iter_mut().find(|(known, _)| *known == name) {
                Some(known) => known.1 = value,
                None => self.0.push((name, value)),
            }
        }
    }

    /// The same members with `name` set, at the end if it is new.
    #[must_use]
    pub fn with(mut self, name: &str, value: Json) -> Self {
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
        self
    }

    /// The unknown member called `name`.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// Adds a member behind the others. The caller sees to it that there is no other of that name.
    pub fn push(&mut self, name: impl Into<String>, value: Json) {
        self.0.push((name.into(), value));
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl IntoIterator for Extra {
    type Item = (String, Json);
    type IntoIter = std::vec::IntoIter<(String, Json)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Serialize for Extra {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
