//! What was given for one setting, as text (a variable, a file of its own) or as a value of the file.

use super::{
    value::Scalar,
    wording::{describe, quote},
};

#[derive(Debug, Clone, Copy)]
pub(super) enum Given<'a> {
    Text(&'a str),
    Toml(&'a toml::Value),
}

impl Given<'_> {
    /// `name` is where it was given; a variable's name may carry the unit.
    pub(super) fn read<T: Scalar>(self, name: &str) -> Option<T> {
        match self {
            Self::Text(text) => T::from_variable(text, name),
            Self::Toml(value) => T::from_toml(value),
        }
    }

    /// Places and texts of what is wrong with something that cannot be read: each wrong entry of a list, else the whole.
    pub(super) fn problems<T: Scalar>(self, at: &str) -> Vec<(String, String)> {
        let (found, entries) = match self {
            Self::Text(text) => (quote::<T>(text), T::wrong_in_text(text)),
            Self::Toml(value) => (describe(value, T::SECRET), T::wrong_in_toml(value)),
        };
        if entries.is_empty() {
            let what = format!("expected {}, found {found}", T::expected());
            return vec![(at.to_owned(), what)];
        }
        entries
            .into_iter()
            .map(|(index, what)| (format!("{at}[{index}]"), what))
            .collect()
    }

    /// What a message about bounds says was found: a count where the bounds are counts, else the value itself.
    pub(super) fn size<T: Scalar>(self, value: &T) -> String {
        match self {
            _ if !T::MEASURED_IN.is_empty() => value.measure().to_string(),
            Self::Text(text) => quote::<T>(text),
            Self::Toml(value) => describe(value, T::SECRET),
        }
    }
}
