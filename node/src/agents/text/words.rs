//! Cutting a text into words.

use std::iter::from_fn;

/// The words of a text: runs of letters and digits. An apostrophe or hyphen between two of them belongs to the word
/// (`don't`, `peer-to-peer`), and so does a point or comma between two digits (`3.14`). Scripts that write no spaces
/// count by the character, as word processors do.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    from_fn(move || {
        let start = rest.find(char::is_alphanumeric)?;
        let begun = rest.get(start..)?;
        let (word, after) = begun.split_at_checked(length(begun))?;
        rest = after;
        Some(word)
    })
}

/// The length in bytes of the word that `text` begins with.
fn length(text: &str) -> usize {
    let mut characters = text.char_indices().peekable();
    let mut end = 0;
    let mut previous = ' ';
    while let Some((at, character)) = characters.next() {
        let next = characters.peek().map_or(' ', |(_, next)| *next);
        if stands_alone(character) {
            return if at == 0 { character.len_utf8() } else { end };
        }
        if character.is_alphanumeric() || is_combining(character) {
            end = at + character.len_utf8();
        } else if !joins(previous, character, next) {
            break;
        }
        previous = character;
    }
    end
}

fn joins(previous: char, character: char, next: char) -> bool {
    match character {
        '\'' | '’' | '-' | '\u{2010}' | '\u{2011}' => next.is_alphanumeric(),
        '.' | ',' => previous.is_numeric() && next.is_numeric(),
        _ => false,
    }
}

/// Accents written as characters of their own.
fn is_combining(character: char) -> bool {
    matches!(character, '\u{300}'..='\u{36f}')
}

/// Kana and ideographs.
fn stands_alone(character: char) -> bool {
    character.is_alphabetic()
        && matches!(character, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(words(text).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn words_are_cut() {
        check("", &[]);
        check("  -- ... '' 🙂", &[]);
        check("Hello, world!", &["Hello", "world"]);
        check(
            "don't 'quote' it’s peer-to-peer -x y-",
            &["don't", "quote", "it’s", "peer-to-peer", "x", "y"],
        );
        check(
            "3.14 1,000.5 v1.2 end.Next a,b",
            &["3.14", "1,000.5", "v1.2", "end", "Next", "a", "b"],
        );
        check(
            "Straße naïve cafe\u{301} Ωμέγα",
            &["Straße", "naïve", "cafe\u{301}", "Ωμέγα"],
        );
        check(
            "東京は晴れ ok漢字x",
            &["東", "京", "は", "晴", "れ", "ok", "漢", "字", "x"],
        );
        check("a--b a'-b", &["a", "b", "a", "b"]);
    }
}
