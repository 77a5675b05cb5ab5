//! A Rust file as the rules see it: its tokens without comments and texts, the paths it names, and which lines are tests.
//!
//! This is no compiler. It knows comments, literals, `use` trees and `#[cfg(test)]` items, which is all the rules ask.

use std::collections::BTreeSet;

use crate::lexer::{Token, tokens};

/// A source file, read once and asked by every rule.
pub(crate) struct Source {
    /// Relative to the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
    /// Every path of two segments or more, and every single name that is imported.
    pub(crate) names: Vec<Name>,
    /// Lines (from 1) of items under `#[cfg(test)]`; all lines of a file of tests beside the code.
    test_lines: BTreeSet<usize>,
}

/// A path as it stands in an import (with the groups multiplied out) or in code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) line: usize,
    pub(crate) segments: Vec<String>,
}

impl Name {
    pub(crate) fn starts_with(&self, prefix: &[&str]) -> bool {
        self.segments.len() >= prefix.len()
            && self
                .segments
                .iter()
                .zip(prefix)
                .all(|(have, want)| have == want)
    }

    /// Whether `part` stands somewhere in the path, segment by segment.
    pub(crate) fn contains(&self, part: &[&str]) -> bool {
        self.segments
            .windows(part.len())
            .any(|window| window == part)
    }
}

impl Source {
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let tokens = tokens(text);
        let test_lines = if is_test_file(path) {
            (1..=text.lines().count()).collect()
        } else {
            lines_under_cfg_test(&tokens)
        };
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            names: names(&tokens),
            tokens,
            test_lines,
        }
    }

    pub(crate) fn is_test(&self, line: usize) -> bool {
        self.test_lines.contains(&line)
    }

    /// How many lines a reader of the product has to read.
    pub(crate) fn product_lines(&self) -> usize {
        self.text.lines().count() - self.test_lines.len()
    }

    /// Lines where the given tokens stand one after the other.
    pub(crate) fn lines_with(&self, sequence: &[&str]) -> Vec<usize> {
        let windows = self.tokens.windows(sequence.len());
        windows
            .filter(|window| {
                window
                    .iter()
                    .zip(sequence)
                    .all(|(token, want)| token.text == *want)
            })
            .filter_map(|window| window.first().map(|token| token.line))
            .collect()
    }
}

/// A file of tests beside the code. Files of the test crate are read like any others and bounded like them.
fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
        || path.contains("/src/") && path.contains("/tests/")
}

fn lines_under_cfg_test(tokens: &[Token]) -> BTreeSet<usize> {
    let mut lines = BTreeSet::new();
    let mut at = 0;
    while let Some(rest) = tokens.get(at..).filter(|rest| !rest.is_empty()) {
        if !begins_with(rest, &["#", "[", "cfg", "(", "test", ")", "]"]) {
            at += 1;
            continue;
        }
        let length = item_length(rest);
        if let (Some(first), Some(last)) = (rest.first(), rest.get(length - 1)) {
            lines.extend(first.line..=last.line);
        }
        at += length;
    }
    lines
}

fn begins_with(tokens: &[Token], sequence: &[&str]) -> bool {
    tokens.len() >= sequence.len()
        && tokens
            .iter()
            .zip(sequence)
            .all(|(token, want)| token.text == *want)
}

/// Tokens up to the end of the item: its closing brace, or its semicolon outside all brackets. Its attributes are
/// brackets too, so that nothing in them ends it.
fn item_length(tokens: &[Token]) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        let ends = matches!(token.text.as_str(), "}" | ";");
        if ends && depth == 0 {
            return index + 1;
        }
    }
    tokens.len()
}

fn names(tokens: &[Token]) -> Vec<Name> {
    let mut names = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if token.text == "use" {
            at = import(tokens, at + 1, &[], &mut names);
        } else if token.is_word {
            at = path_in_code(tokens, at, &mut names);
        } else {
            at += 1;
        }
    }
    names
}

/// Reads one branch of a `use` tree that begins at `at`; returns where it stopped.
fn import(tokens: &[Token], mut at: usize, prefix: &[String], names: &mut Vec<Name>) -> usize {
    let mut segments = prefix.to_vec();
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "::" => at += 1,
            "{" => return import_group(tokens, at + 1, &segments, names),
            "as" => at += 2,
            _ if token.is_word || token.text == "*" => {
                segments.push(token.text.clone());
                at += 1;
                if tokens.get(at).is_none_or(|next| next.text != "::") {
                    names.push(Name {
                        line: token.line,
                        segments: segments.clone(),
                    });
                }
            }
            _ => break,
        }
    }
    at
}

fn import_group(
    tokens: &[Token],
    mut at: usize,
    prefix: &[String],
    names: &mut Vec<Name>,
) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "}" => return at + 1,
            "," => at += 1,
            _ => {
                let next = import(tokens, at, prefix, names);
                // What is no import (a macro's own use of the word) must not keep us here.
                at = next.max(at + 1);
            }
        }
    }
    at
}

/// Reads a path that stands in code; returns where it ended.
fn path_in_code(tokens: &[Token], mut at: usize, names: &mut Vec<Name>) -> usize {
    let mut segments = Vec::new();
    let mut line = 0;
    while let Some(token) = tokens.get(at).filter(|token| token.is_word) {
        if segments.is_empty() {
            line = token.line;
        }
        segments.push(token.text.clone());
        at += 1;
        if tokens.get(at).is_some_and(|next| next.text == "::")
            && tokens.get(at + 1).is_some_and(|next| next.is_word)
        {
            at += 1;
        } else {
            break;
        }
    }
    if segments.len() > 1 {
        names.push(Name { line, segments });
    }
    at
}

mod tests {
    use super::{Name, Source};

    fn check(text: &str, expected: &[&str]) {
        let source = Source::parse("node/src/x.rs", text);
        let names: Vec<String> = source
            .names
            .iter()
            .map(|name| name.segments.join("::"))
            .collect();
        assert_eq!(names, expected, "{text}");
    }

    #[test]
    fn imports_are_multiplied_out() {
        check("use std::env;", &["std::env"]);
        check(
            "pub(crate) use a::{b, c::{self, D as E}, f::*};",
            &["a::b", "a::c::self", "a::c::D", "a::f::*"],
        );
        check("use ::tokio;\nuse x::y;", &["tokio", "x::y"]);
    }

    #[test]
    fn paths_in_code_are_found_and_texts_are_not() {
        check(
            "fn f() { std::env::var(\"a::b\") } // c::d",
            &["std::env::var"],
        );
        check(
            "type T = Vec<actix::Addr<crate::A>>;",
            &["actix::Addr", "crate::A"],
        );
        check(
            "let x = a.b; /* c::d /* e::f */ */ #[tokio::test]",
            &["tokio::test"],
        );
        check(
            "let c = 'a'; fn f<'a>(x: &'a m::T) {} let d = b'\\''; r#\"x::y\"#; n::z()",
            &["m::T", "n::z"],
        );
    }

    #[test]
    fn names_compare_by_segment() {
        let name = Name {
            line: 1,
            segments: vec!["crate".into(), "store".into(), "memory".into()],
        };
        assert!(name.starts_with(&["crate", "store"]) && !name.starts_with(&["store"]));
        assert!(name.contains(&["store", "memory"]) && !name.contains(&["store", "embedded"]));
    }

    #[test]
    fn items_under_cfg_test_are_no_product() {
        let text = "fn a() {}\n#[cfg(test)]\n#[expect(x, reason = \"}\")]\nmod tests {\n  fn b() {}\n}\nfn c() {}\n";
        let source = Source::parse("node/src/x.rs", text);
        assert_eq!(source.product_lines(), 2);
        assert!(source.is_test(5) && !source.is_test(7));
        assert_eq!(
            Source::parse("node/src/x.rs", "#[cfg(test)]\nmod tests;\nfn c() {}\n").product_lines(),
            1
        );
        assert_eq!(
            Source::parse("node/src/x/tests.rs", text).product_lines(),
            0
        );
    }
}
