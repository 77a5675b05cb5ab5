//! Everything that is wrong with a configuration, collected so that it can be shown at once.

use std::{collections::BTreeSet, fmt};

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// A key path such as `agents[1].url`, a variable's name, or a file.
    pub at: String,
    /// What is wrong and what is expected, in one sentence without a full stop.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.at, self.what)
    }
}

/// The list of problems; empty means good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
    /// Where the table being checked sits, for example `agents[1].`; put before the keys that its rules name.
    prefix: String,
    /// Paths of keys whose value was refused.
    refused: BTreeSet<String>,
}

impl Problems {
    /// Records a problem with a key of the table being checked. A rule has nothing to say about a key whose value was
    /// refused: what it saw is not what the operator meant.
    pub fn add(&mut self, key: &str, what: impl Into<String>) {
        let at = self.place(key);
        if self.refused.contains(&at) {
            return;
        }
        self.list.push(Problem {
            at,
            what: what.into(),
        });
    }

    /// The path of a key of the table being checked.
    pub(super) fn place(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Records that what was given for a key was refused; `at` is where it was given: a key, a variable or a file.
    pub(super) fn refuse(&mut self, key: &str, at: &str, what: String) {
        let place = self.place(key);
        self.refused.insert(place);
        self.list.push(Problem {
            at: at.to_owned(),
            what,
        });
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The problems in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// Runs `work` with the keys it names understood as lying inside `place`.
    pub(super) fn within<R>(&mut self, place: &str, work: impl FnOnce(&mut Self) -> R) -> R {
        let outer = self.prefix.len();
        self.prefix.push_str(place);
        self.prefix.push('.');
        let result = work(self);
        self.prefix.truncate(outer);
        result
    }
}

/// One problem per line.
impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            problem.fmt(formatter)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
