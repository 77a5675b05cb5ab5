//! What the words of a text say about it: its terms and how often each comes.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::stop_words::is_stop_word;
use super::words::words;

/// A word that a text keeps coming back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyTerm {
    /// In lower case.
    pub term: String,
    pub count: usize,
}

/// The terms of a text, numbered in the order in which they come.
#[derive(Debug, Default)]
pub(super) struct Terms {
    numbers: HashMap<String, usize>,
    /// How often each term comes, by its number.
    pub(super) counts: Vec<usize>,
}

/// The `limit` most frequent terms; of two equally frequent ones the earlier comes first.
pub fn key_terms(text: &str, limit: usize) -> Vec<KeyTerm> {
    let mut terms = Terms::default();
    for word in words(text) {
        terms.count(word);
    }
    let mut numbered: Vec<(String, usize)> = terms.numbers.into_iter().collect();
    let count = |number: usize| terms.counts.get(number).copied().unwrap_or(0);
    numbered.sort_unstable_by_key(|(_, number)| (std::cmp::Reverse(count(*number)), *number));
    numbered
        .into_iter()
        .take(limit)
        .map(|(term, number)| KeyTerm {
            term,
            count: count(number),
        })
        .collect()
}

/// How many different words a text has, whatever their case.
pub(super) fn distinct(text: &str) -> usize {
    words(text)
        .map(str::to_lowercase)
        .collect::<HashSet<_>>()
        .len()
}

impl Terms {
    /// Counts a word; the number of its term, if it is one.
    pub(super) fn count(&mut self, word: &str) -> Option<usize> {
        let term = term_of(word)?;
        let next = self.counts.len();
        let number = *self.numbers.entry(term).or_insert(next);
        match self.counts.get_mut(number) {
            Some(count) => *count += 1,
            None => self.counts.push(1),
        }
        Some(number)
    }
}

/// The term behind a word; none if the word is too short, too common or a number.
fn term_of(word: &str) -> Option<String> {
    let mut term = word.to_lowercase();
    if let Some(owner) = term.strip_suffix("'s").or_else(|| term.strip_suffix("’s")) {
        term.truncate(owner.len());
    }
    let says_something =
        term.chars().nth(2).is_some() && term.contains(char::is_alphabetic) && !is_stop_word(&term);
    says_something.then_some(term)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, usize)]) {
        let found = key_terms(text, 3);
        let found: Vec<(&str, usize)> =
            found.iter().map(|term| (&*term.term, term.count)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn frequent_terms_come_first() {
        check("", &[]);
        check("the of and to 12 345 it's", &[]);
        check(
            "alpha beta gamma delta",
            &[("alpha", 1), ("beta", 1), ("gamma", 1)],
        );
        check(
            "Node, node: the NODE's peer. A peer!",
            &[("node", 3), ("peer", 2)],
        );
        check(
            "Der Knoten und der Knoten, les nœuds et los nodos",
            &[("knoten", 2), ("nœuds", 1), ("nodos", 1)],
        );
    }
}
