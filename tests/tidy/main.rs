//! What the repository promises about itself, checked over its own files: sizes, imports, documents.
//!
//! Read `tree` (what is looked at), then the rules: `imports` (who may name what), `form` (how a file looks), `words`
//! (what no text says), `documents` (what the texts and example files claim). `source` and `lexer` are what they look
//! through. A rule is a pure function from a file to its violations; this file runs them all and prints one list.

mod documents;
mod form;
mod imports;
mod lexer;
mod source;
mod tree;
mod words;

use std::fmt;

use crate::source::Source;

/// Something that must be changed, and how.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) path: String,
    /// From 1; 0 speaks of the whole file.
    pub(crate) line: usize,
    pub(crate) rule: &'static str,
    pub(crate) advice: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}:{}: {}: {}",
            self.path, self.line, self.rule, self.advice
        )
    }
}

#[test]
fn the_tree_is_tidy() {
    let files = tree::files();
    assert!(
        files.len() > 20,
        "the walk found {} files only: it looked in the wrong place",
        files.len()
    );
    let mut violations = Vec::new();
    for file in &files {
        violations.extend(words::check(&file.path, &file.text));
        if file.path.ends_with(".rs") {
            let source = Source::parse(&file.path, &file.text);
            violations.extend(form::check(&source));
            violations.extend(imports::check(&source));
        }
    }
    violations.extend(documents::check(&files));
    let list: Vec<String> = violations.iter().map(Violation::to_string).collect();
    assert!(
        list.is_empty(),
        "{} violations:\n{}\n",
        list.len(),
        list.join("\n")
    );
}
