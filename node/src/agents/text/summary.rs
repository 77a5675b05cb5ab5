//! An extractive summary: the sentences that say most of what the text says, in the order of the text.
//!
//! A sentence weighs as much as its terms, each by how often the text uses it, set against its length so that long
//! sentences do not win by size alone. Where it stands counts a little. Sentences are then picked one after another, and
//! what a picked one has said already makes the others lighter.

use serde::Serialize;

use super::sentences::{paragraphs, sentences_of};
use super::terms::Terms;
use super::words::words;
use super::{ratio, rounded};

/// One sentence in this many is kept, within these bounds.
const ONE_IN: usize = 5;
const MOST: usize = 7;

/// Sentences below this many words are headings and asides.
const SHORT: usize = 4;
/// A longer sentence is cut when it is shown: a text without punctuation is one sentence.
const MOST_CHARACTERS: usize = 600;

/// Between 0.5, which favours long sentences, and 1, which favours short ones.
const LENGTH_EXPONENT: f64 = 0.75;
const OPENS_TEXT: f64 = 1.3;
const OPENS_PARAGRAPH: f64 = 1.1;
const IS_SHORT: f64 = 0.4;

/// A sentence of a summary.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sentence {
    /// Its place among the sentences of the text, from 0.
    pub index: usize,
    /// White space made single spaces; cut at 600 characters.
    pub text: String,
    /// What it weighed when it was picked; comparable within one summary.
    pub score: f64,
}

/// A sentence that may be picked.
struct Candidate<'a> {
    text: &'a str,
    /// Numbers of its terms, each once.
    terms: Vec<usize>,
    words: usize,
    place: f64,
}

/// About a fifth of the sentences, at least one (if there is any) and at most seven.
pub fn summary(text: &str) -> Vec<Sentence> {
    let mut terms = Terms::default();
    let candidates = candidates(text, &mut terms);
    let wanted = candidates.len().div_ceil(ONE_IN).min(MOST);
    let mut picked = pick(&candidates, &terms, wanted);
    picked.sort_unstable_by_key(|(index, _)| *index);
    picked
        .into_iter()
        .filter_map(|(index, score)| {
            let text = shown(candidates.get(index)?.text);
            Some(Sentence {
                index,
                text,
                score: rounded(score),
            })
        })
        .collect()
}

fn candidates<'a>(text: &'a str, terms: &mut Terms) -> Vec<Candidate<'a>> {
    let mut found = Vec::new();
    for paragraph in paragraphs(text) {
        for (position, sentence) in sentences_of(paragraph).into_iter().enumerate() {
            let place = match position {
                _ if found.is_empty() => OPENS_TEXT,
                0 => OPENS_PARAGRAPH,
                _ => 1.0,
            };
            found.push(candidate(sentence, place, terms));
        }
    }
    found
}

fn candidate<'a>(text: &'a str, place: f64, terms: &mut Terms) -> Candidate<'a> {
    let mut numbers = Vec::new();
    let mut count = 0;
    for word in words(text) {
        count += 1;
        numbers.extend(terms.count(word));
    }
    numbers.sort_unstable();
    numbers.dedup();
    Candidate {
        text,
        terms: numbers,
        words: count,
        place,
    }
}

/// The indexes of `wanted` candidates and what each weighed, in the order of picking.
fn pick(candidates: &[Candidate<'_>], terms: &Terms, wanted: usize) -> Vec<(usize, f64)> {
    let weights: Vec<f64> = candidates
        .iter()
        .map(|candidate| weight(candidate, terms))
        .collect();
    let mut said = vec![false; terms.counts.len()];
    let mut free = vec![true; candidates.len()];
    let mut picked = Vec::with_capacity(wanted);
    while picked.len() < wanted {
        let weighed = candidates
            .iter()
            .zip(&weights)
            .zip(&free)
            .enumerate()
            .filter(|(_, (_, free))| **free);
        let weighed = weighed
            .map(|(index, ((candidate, weight), _))| (index, weight * news(candidate, &said)));
        // The earlier of two equal ones.
        let Some((index, score)) =
            weighed.reduce(|best, next| if next.1 > best.1 { next } else { best })
        else {
            break;
        };
        picked.push((index, score));
        free.get_mut(index)
            .into_iter()
            .for_each(|free| *free = false);
        for number in candidates
            .get(index)
            .map_or(&[][..], |candidate| &candidate.terms)
        {
            said.get_mut(*number)
                .into_iter()
                .for_each(|said| *said = true);
        }
    }
    picked
}

fn weight(candidate: &Candidate<'_>, terms: &Terms) -> f64 {
    let counts = candidate
        .terms
        .iter()
        .filter_map(|number| terms.counts.get(*number));
    // The logarithm keeps one word that is everywhere from deciding alone.
    let sum: f64 = counts.map(|count| (1.0 + *count as f64).ln()).sum();
    let length = (candidate.words.max(SHORT) as f64).powf(LENGTH_EXPONENT);
    let shortness = if candidate.words < SHORT {
        IS_SHORT
    } else {
        1.0
    };
    sum / length * candidate.place * shortness
}

/// How much of a sentence was not said yet, from nearly nothing to 1.
fn news(candidate: &Candidate<'_>, said: &[bool]) -> f64 {
    let repeated = candidate
        .terms
        .iter()
        .filter(|number| said.get(**number) == Some(&true))
        .count();
    1.0 - 0.9 * ratio(repeated, candidate.terms.len())
}

fn shown(sentence: &str) -> String {
    let mut shown = String::new();
    let mut length = 0;
    for word in sentence.split_whitespace() {
        let space = usize::from(!shown.is_empty());
        let left = MOST_CHARACTERS.saturating_sub(length + space + 1);
        if word.chars().nth(left).is_some() {
            // A single word may be longer than all that is shown.
            if shown.is_empty() {
                shown.extend(word.chars().take(left));
            }
            shown.push('…');
            break;
        }
        if space > 0 {
            shown.push(' ');
        }
        shown.push_str(word);
        length += space + word.chars().count();
    }
    shown
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    const STORY: &str = "A mesh joins nodes that trust each other. Each node of the mesh keeps its own agents. It rained. \
        Somebody had lunch at noon yesterday. A mesh joins nodes that trust one another. \
        Trust between nodes of the mesh rests on keys, and keys are exchanged once. The weather stayed grey all week. \
        Nobody minded. Agents of one node call agents of another node through the mesh. Dinner was served late.";

    fn picked(text: &str) -> Vec<usize> {
        summary(text)
            .iter()
            .map(|sentence| sentence.index)
            .collect()
    }

    #[test]
    fn the_length_follows_the_text() {
        let check = |sentences: usize, expected: usize| {
            let text: String = (0..sentences)
                .map(|number| format!("Sentence number{number} speaks of it. "))
                .collect();
            assert_eq!(summary(&text).len(), expected);
        };
        check(0, 0);
        check(1, 1);
        check(5, 1);
        check(6, 2);
        check(20, 4);
        check(500, 7);
    }

    #[test]
    fn what_the_text_is_about_is_kept_in_order_and_not_twice() {
        let picked = picked(STORY);
        assert_eq!(picked.len(), 2);
        assert!(picked.is_sorted());
        let about = [0, 1, 4, 5, 8];
        assert!(
            picked.iter().all(|index| about.contains(index)),
            "{picked:?}"
        );
        assert!(!(picked.contains(&0) && picked.contains(&4)), "{picked:?}");
    }

    #[test]
    fn odd_texts_have_a_summary() {
        assert_eq!(picked("one"), [0]);
        assert_eq!(picked("the of and"), [0]);
        assert_eq!(picked("🙂"), Vec::<usize>::new());
        assert_eq!(
            summary(" wrapped\n line ").first().unwrap().text,
            "wrapped line"
        );
    }

    #[test]
    fn long_sentences_are_cut_where_they_are_shown() {
        let check = |text: &str, expected: usize| {
            let shown = shown(text);
            assert_eq!(
                (shown.chars().count(), shown.ends_with('…')),
                (expected, expected < text.chars().count())
            );
        };
        check(&"x".repeat(599), 599);
        check(&"ü".repeat(5000), 600);
        check("word", 4);
        let words = shown(&"word ".repeat(1000));
        assert_eq!(
            (words.chars().count(), words.ends_with("word…")),
            (600, true)
        );
    }
}
