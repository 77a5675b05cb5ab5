//! Settings: one declaration gives the typed struct, its defaults, its bounds, its environment names and the commented
//! example file; loading reports every problem at once.
//!
//! Read `macros` (what a declaration looks like), `value` (which types a setting may have), `table` (how a declaration
//! is read), `given`, `wording`, `environment`, `problems`, `secret`, and `example` (the other direction).
//!
//! A value is taken from the first of: the environment (first name that is set wins), the file, the default. An
//! environment variable that is empty counts as unset. A secret may also come from a file: variable `NAME_FILE`, or key
//! `name_file`, holds its path.

mod environment;
mod example;
mod given;
mod macros;
mod problems;
mod secret;
mod table;
mod value;
mod wording;

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

pub use environment::Environment;
pub use problems::{Problem, Problems};
pub use secret::Secret;
pub use table::{Key, Setting, Settings, Shape, Source, Table};
#[doc(hidden)]
pub use value::word_of_variable;
pub use value::{ByteSize, Scalar};

/// What the [`settings!`](crate::settings!) macro needs in the crate that uses it.
#[doc(hidden)]
pub use toml::Value as TomlValue;

/// What a file of settings may have at most: a path that was mistaken for one (a device, a log) must not fill the memory.
const FILE_LIMIT: u64 = 16 * 1024 * 1024;

/// Reads settings from a file, if one is given, and from the environment.
///
/// # Errors
/// All problems, never only the first: syntax, unknown keys, wrong types, bounds, environment values, missing
/// values, unreadable secret files and broken cross rules.
pub fn load<T: Settings>(file: Option<&Path>, environment: &Environment) -> Result<T, Problems> {
    let mut problems = Problems::default();
    let table = file
        .map(|path| read_file(path, &mut problems))
        .unwrap_or_default();
    let settings = T::read(&mut Table::root(&table, environment, &mut problems));
    match settings {
        Some(settings) if problems.is_empty() => Ok(settings),
        _ => Err(problems),
    }
}

/// Reads settings from a JSON object of somebody who may not name files of this machine, so secrets stand in it as they
/// are.
///
/// # Errors
/// All problems, as [`load`] has them.
pub fn from_json<T: Settings>(json: &str) -> Result<T, Problems> {
    let mut problems = Problems::default();
    let mut table = serde_json::from_str::<toml::Table>(json).unwrap_or_else(|error| {
        // Only the place: the parser's own text quotes what was written, which may hold a secret.
        let what = format!(
            "must be an object of texts, numbers, flags and lists (line {}, column {})",
            error.line(),
            error.column()
        );
        problems.add("body", what);
        toml::Table::new()
    });
    for key in T::keys() {
        if let Some(name) = table::secret_file_key(&key).filter(|name| table.remove(name).is_some())
        {
            problems.add(&name, "is only for the configuration file");
        }
    }
    if !problems.is_empty() && table.is_empty() {
        return Err(problems);
    }
    let settings = T::read(&mut Table::root(
        &table,
        &Environment::default(),
        &mut problems,
    ));
    match settings {
        Some(settings) if problems.is_empty() => Ok(settings),
        _ => Err(problems),
    }
}

/// The commented example file: every key with its documentation, its environment names, its bounds and its default.
pub fn example<T: Settings>() -> String {
    example::page(T::DOC, &T::keys())
}

/// An unreadable file still lets the environment be checked: an empty table stands in for it.
fn read_file(path: &Path, problems: &mut Problems) -> toml::Table {
    let text = match read_bounded(path, FILE_LIMIT) {
        Ok(text) => text,
        Err(error) => {
            problems.add(
                &path.display().to_string(),
                format!("cannot be read: {error}"),
            );
            return toml::Table::new();
        }
    };
    text.parse::<toml::Table>().unwrap_or_else(|error| {
        // Only the message and the line: the parser's own text quotes the line, which may hold a secret.
        let before = error
            .span()
            .and_then(|span| text.get(..span.start))
            .unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        problems.add(
            &format!("{} line {line}", path.display()),
            error.message().to_owned(),
        );
        toml::Table::new()
    })
}

/// A text file of at most `limit` bytes; devices and pipes are read no further either.
fn read_bounded(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(limit + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        let what = format!("it has more than {} KiB", limit / 1024);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
