//! How a declared table is read: each key from the environment, else from the file, else from its default.

use std::path::Path;

use super::{
    environment::Environment,
    given::Given,
    problems::Problems,
    read_bounded,
    value::{List, Scalar},
    wording::{describe, nearest},
};

/// What a file that holds one secret may have at most; the longest secrets are keys of a few KiB.
const SECRET_FILE_LIMIT: u64 = 64 * 1024;

/// One declared setting. Made by the [`settings!`](crate::settings!) macro.
#[derive(Debug, Clone)]
pub struct Key {
    /// The key in the file.
    pub name: &'static str,
    /// Its documentation, line by line, as written above the field.
    pub doc: &'static [&'static str],
    /// Environment names; the first that is set wins.
    pub environment: &'static [&'static str],
    /// What holds when nothing is given.
    pub default: Option<toml::Value>,
    /// Smallest and largest value.
    pub bounds: Option<(toml::Value, toml::Value)>,
    /// What the example file shows when there is no default.
    pub sample: Option<toml::Value>,
    /// What kind of value it holds.
    pub shape: Shape,
}

/// What a key holds.
#[derive(Debug, Clone)]
pub enum Shape {
    /// One value or a list of values; `secret` ones may come from a file.
    Value {
        /// What the example shows in the place of a value that has neither default nor sample.
        sample: &'static str,
        /// Whether `NAME_FILE` and `name_file` are honoured.
        secret: bool,
    },
    /// A table of further keys.
    Table(fn() -> Vec<Key>),
    /// Any number of tables (`[[name]]`).
    Tables(fn() -> Vec<Key>),
}

/// A declared table: what [`settings!`](crate::settings!) implements for a struct.
pub trait Settings: Sized {
    /// The documentation above the struct.
    const DOC: &'static [&'static str];

    /// The keys in the order in which they were declared.
    fn keys() -> Vec<Key>;

    /// Reads every key, recording every problem; `None` when a value without a usable default is missing or refused.
    fn read(table: &mut Table<'_>) -> Option<Self>;
}

/// A type that a field of a declared table may have: a [`Scalar`], an `Option` or a `Vec` of one, a declared table, or
/// a `Vec` of declared tables.
pub trait Setting: Sized {
    /// What one of them looks like in the file.
    fn shape() -> Shape;

    /// What a list of them looks like in the file.
    fn list_shape() -> Shape;

    /// Reads one; problems are recorded.
    fn read(source: Source<'_>) -> Option<Self>;

    /// Reads a list of them; problems are recorded.
    fn read_list(source: Source<'_>) -> Option<Vec<Self>>;
}

/// A table of the file while it is read.
#[derive(Debug)]
pub struct Table<'a> {
    values: &'a toml::Table,
    /// `None` inside a list of tables: one variable cannot speak for several items.
    environment: Option<&'a Environment>,
    problems: &'a mut Problems,
}

impl<'a> Table<'a> {
    pub(super) fn root(
        values: &'a toml::Table,
        environment: &'a Environment,
        problems: &'a mut Problems,
    ) -> Self {
        Self {
            values,
            environment: Some(environment),
            problems,
        }
    }

    /// Reads one declared key.
    pub fn setting<T: Setting>(&mut self, key: &Key) -> Option<T> {
        T::read(Source {
            key,
            siblings: self.values,
            environment: self.environment,
            problems: &mut *self.problems,
        })
    }

    /// Records each key of the file that is not declared.
    pub fn refuse_unknown(&mut self, keys: &[Key]) {
        for name in self.values.keys() {
            let known = keys
                .iter()
                .any(|key| key.name == name || secret_file_key(key).as_ref() == Some(name));
            if !known {
                let hint = nearest(name, keys.iter().map(|key| key.name))
                    .map(|near| format!(", did you mean `{near}`?"))
                    .unwrap_or_default();
                self.problems.add(name, format!("unknown key{hint}"));
            }
        }
    }

    /// Where rules over several keys record what they find.
    pub fn problems(&mut self) -> &mut Problems {
        self.problems
    }
}

/// Where one setting is read from.
#[derive(Debug)]
pub struct Source<'a> {
    key: &'a Key,
    siblings: &'a toml::Table,
    environment: Option<&'a Environment>,
    problems: &'a mut Problems,
}

/// A value was given but refused; the problem is recorded. What could be read, though it is out of bounds, still stands
/// for itself where rules over several keys are checked.
struct Refused<T>(Option<T>);

type Taken<T> = Result<Option<T>, Refused<T>>;

impl Source<'_> {
    /// Reads a table that is declared under this key; an absent one is read as an empty one, for its defaults.
    pub fn table<T: Settings>(self) -> Option<T> {
        let empty = toml::Table::new();
        let values = match self.siblings.get(self.key.name) {
            None => &empty,
            Some(toml::Value::Table(values)) => values,
            Some(other) => {
                self.problems.add(
                    self.key.name,
                    format!("expected a table, found {}", describe(other, false)),
                );
                &empty
            }
        };
        let environment = self.environment;
        self.problems.within(self.key.name, |problems| {
            T::read(&mut Table {
                values,
                environment,
                problems,
            })
        })
    }

    /// Reads the tables that are declared under this key; an absent list is an empty one. Those from the first unreadable
    /// one on are left out, so that rules over the others still run and count as the file does.
    pub fn tables<T: Settings>(self) -> Option<Vec<T>> {
        let items = match self.siblings.get(self.key.name) {
            None => return Some(Vec::new()),
            Some(toml::Value::Array(items)) => items,
            Some(other) => {
                self.problems.add(
                    self.key.name,
                    format!("expected tables, found {}", describe(other, false)),
                );
                return Some(Vec::new());
            }
        };
        let mut read = Vec::with_capacity(items.len());
        // Every one is read, for its problems.
        for (index, item) in items.iter().enumerate() {
            let place = format!("{}[{index}]", self.key.name);
            let Some(values) = item.as_table() else {
                self.problems.add(
                    &place,
                    format!("expected a table, found {}", describe(item, false)),
                );
                continue;
            };
            let one = self.problems.within(&place, |problems| {
                T::read(&mut Table {
                    values,
                    environment: None,
                    problems,
                })
            });
            read.extend(one.filter(|_| read.len() == index));
        }
        Some(read)
    }

    fn scalar<T: Scalar>(mut self) -> Option<T> {
        match self.given::<T>() {
            Ok(Some(value)) => Some(value),
            Err(Refused(read)) => read.or_else(|| self.default()),
            Ok(None) => self.default().or_else(|| {
                let or = self
                    .key
                    .environment
                    .first()
                    .map(|name| format!(" (or {name})"))
                    .unwrap_or_default();
                self.problems.add(
                    self.key.name,
                    format!("is missing{or}: expected {}", T::expected()),
                );
                None
            }),
        }
    }

    fn optional<T: Scalar>(mut self) -> Option<Option<T>> {
        match self.given::<T>() {
            Ok(None) => Some(self.default()),
            Ok(given) => Some(given),
            Err(Refused(read)) => Some(read),
        }
    }

    fn default<T: Scalar>(&self) -> Option<T> {
        self.key.default.as_ref().and_then(T::from_toml)
    }

    fn given<T: Scalar>(&mut self) -> Taken<T> {
        if let Some(environment) = self.environment {
            for name in self.key.environment {
                let file_name = format!("{name}_FILE");
                let path = environment.get(&file_name).filter(|_| T::SECRET);
                match (environment.get(name), path) {
                    (Some(text), None) => {
                        return self.accept(name, Given::Text(text));
                    }
                    (None, Some(path)) => return self.secret_file(&file_name, path),
                    (Some(_), Some(_)) => {
                        return self.refuse(
                            name,
                            format!("is set, and so is {file_name}: set one of them"),
                        );
                    }
                    (None, None) => {}
                }
            }
        }
        self.in_file()
    }

    fn in_file<T: Scalar>(&mut self) -> Taken<T> {
        let place = self.problems.place(self.key.name);
        let file_key = secret_file_key(self.key).unwrap_or_default();
        match (
            self.siblings.get(self.key.name),
            self.siblings.get(&file_key),
        ) {
            (Some(value), None) => self.accept(&place, Given::Toml(value)),
            (None, Some(toml::Value::String(path))) => {
                self.secret_file(&self.problems.place(&file_key), path)
            }
            (None, Some(other)) => {
                let found = describe(other, false);
                self.refuse(
                    &self.problems.place(&file_key),
                    format!("expected the path of a file, found {found}"),
                )
            }
            (Some(_), Some(_)) => self.refuse(
                &place,
                format!("is set, and so is `{file_key}`: set one of them"),
            ),
            (None, None) => Ok(None),
        }
    }

    fn secret_file<T: Scalar>(&mut self, at: &str, path: &str) -> Taken<T> {
        match read_bounded(Path::new(path), SECRET_FILE_LIMIT) {
            // Editors and `echo` end a file with a line break that is no part of the secret.
            Ok(text) => self.accept(at, Given::Text(text.trim_end_matches(['\n', '\r']))),
            Err(error) => self.refuse(at, format!("{path} cannot be read: {error}")),
        }
    }

    /// Checks type and bounds of what was given at `at`.
    fn accept<T: Scalar>(&mut self, at: &str, given: Given<'_>) -> Taken<T> {
        let Some(value) = given.read::<T>(at) else {
            for (place, what) in given.problems::<T>(at) {
                self.problems.refuse(self.key.name, &place, what);
            }
            return Err(Refused(None));
        };
        let Some((low, high)) = &self.key.bounds else {
            return Ok(Some(value));
        };
        let size = value.measure();
        let above = T::bound(low).is_none_or(|low| size >= low);
        let below = T::bound(high).is_none_or(|high| size <= high);
        if above && below {
            return Ok(Some(value));
        }
        let (unit, found) = (T::MEASURED_IN, given.size::<T>(&value));
        let what = if low == high {
            format!("must be {low}{unit}, found {found}")
        } else {
            format!("must be between {low} and {high}{unit}, found {found}")
        };
        self.problems.refuse(self.key.name, at, what);
        Err(Refused(Some(value)))
    }

    fn refuse<T>(&mut self, at: &str, what: String) -> Taken<T> {
        self.problems.refuse(self.key.name, at, what);
        Err(Refused(None))
    }
}

impl<T: Scalar> Setting for T {
    fn shape() -> Shape {
        Shape::Value {
            sample: T::SAMPLE,
            secret: T::SECRET,
        }
    }

    fn list_shape() -> Shape {
        List::<T>::shape()
    }

    fn read(source: Source<'_>) -> Option<Self> {
        source.scalar()
    }

    fn read_list(source: Source<'_>) -> Option<Vec<Self>> {
        source.scalar::<List<T>>().map(|list| list.0)
    }
}

impl<T: Scalar> Setting for Option<T> {
    fn shape() -> Shape {
        T::shape()
    }

    fn list_shape() -> Shape {
        T::list_shape()
    }

    fn read(source: Source<'_>) -> Option<Self> {
        source.optional()
    }

    fn read_list(source: Source<'_>) -> Option<Vec<Self>> {
        source
            .scalar::<List<T>>()
            .map(|list| list.0.into_iter().map(Some).collect())
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn shape() -> Shape {
        T::list_shape()
    }

    fn list_shape() -> Shape {
        T::list_shape()
    }

    fn read(source: Source<'_>) -> Option<Self> {
        T::read_list(source)
    }

    fn read_list(source: Source<'_>) -> Option<Vec<Self>> {
        T::read_list(source).map(|list| vec![list])
    }
}

pub(super) fn secret_file_key(key: &Key) -> Option<String> {
    matches!(key.shape, Shape::Value { secret: true, .. }).then(|| format!("{}_file", key.name))
}
