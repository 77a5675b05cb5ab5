//! What the text agent finds in a text, as pure functions: statistics, key terms, an extractive summary.
//!
//! Every function reads the text a fixed number of times, so the work grows with its length and no faster. Read `words`
//! and `sentences` (how a text is cut), then `terms` (what its words say about it) and `summary`.

use serde::Serialize;

pub use summary::{Sentence, summary};
pub use terms::{KeyTerm, key_terms};

mod sentences;
mod stop_words;
mod summary;
mod terms;
mod words;

/// Words an adult reads in a minute, silently (Brysbaert 2019, non-fiction).
const WORDS_PER_MINUTE: usize = 238;

/// A text in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Statistics {
    /// Unicode scalar values, white space included.
    pub characters: usize,
    pub words: usize,
    pub sentences: usize,
    pub paragraphs: usize,
    /// In words; 0 without a sentence.
    pub average_sentence_length: f64,
    pub reading_seconds: usize,
    /// Different words per word: 1 when none is repeated, 0 without a word.
    pub lexical_variety: f64,
}

/// Counts what a text is made of.
pub fn statistics(text: &str) -> Statistics {
    let words = words::words(text).count();
    let sentences = sentences::sentences(text).len();
    Statistics {
        characters: text.chars().count(),
        words,
        sentences,
        paragraphs: sentences::paragraphs(text).len(),
        average_sentence_length: rounded(ratio(words, sentences)),
        reading_seconds: (words * 60).div_ceil(WORDS_PER_MINUTE),
        lexical_variety: rounded(ratio(terms::distinct(text), words)),
    }
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// To three decimals: more would only be noise for a reader.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, words: usize, sentences: usize, paragraphs: usize) {
        let found = statistics(text);
        assert_eq!(
            (found.words, found.sentences, found.paragraphs),
            (words, sentences, paragraphs),
            "{text:?}"
        );
        assert_eq!(found.characters, text.chars().count());
        assert!((0.0..=1.0).contains(&found.lexical_variety));
    }

    #[test]
    fn texts_are_counted() {
        check("", 0, 0, 0);
        check(" \n\t\n ", 0, 0, 0);
        check("word", 1, 1, 1);
        check("no punctuation at all", 4, 1, 1);
        check("One. Two! Three?", 3, 3, 1);
        check(
            "First paragraph.\nSame one.\n\nSecond.\r\n\r\nThird",
            6,
            4,
            3,
        );
        check("🙂🙂 🎉", 0, 0, 1);
        check("你好。再见！", 4, 2, 1);
    }

    #[test]
    fn numbers_are_derived() {
        let found = statistics("the cat saw the dog. The end.");
        assert_eq!(found.average_sentence_length, 3.5);
        assert_eq!(found.lexical_variety, 0.714);
        assert_eq!(found.reading_seconds, 2);
        assert_eq!(statistics("").average_sentence_length, 0.0);
    }

    #[test]
    fn statistics_are_written_in_camel_case() {
        let written = serde_json::to_string(&statistics("One two. Three.")).unwrap_or_default();
        let expected = r#"{"characters":15,"words":3,"sentences":2,"paragraphs":1,"averageSentenceLength":1.5,"readingSeconds":1,"lexicalVariety":1.0}"#;
        assert_eq!(written, expected);
    }

    #[test]
    fn large_and_hostile_texts_are_read_to_the_end() {
        let prose =
            "The mesh carries messages between agents, and every node keeps its own tasks. "
                .repeat(13_000);
        check(&prose, 13 * 13_000, 13_000, 1);
        assert_eq!(summary(&prose).len(), 7);
        check(&"x".repeat(1 << 20), 1, 1, 1);
        check(&"a.".repeat(1 << 16), 1 << 16, 1, 1);
        check(&". ".repeat(1 << 16), 0, 0, 1);
        check(&"'-".repeat(1 << 16), 0, 0, 1);
        check(&"a\n\n".repeat(1 << 16), 1 << 16, 1 << 16, 1 << 16);
        assert_eq!(summary(&"a\n\n".repeat(1 << 16)).len(), 7);
    }
}
