//! Cutting a text into paragraphs and sentences.

/// Abbreviations whose point does not end a sentence, in lower case and without it; sorted.
const ABBREVIATIONS: &[&str] = &[
    "abb", "approx", "art", "bzw", "ca", "cap", "cf", "co", "corp", "dept", "dr", "ed", "fig",
    "figs", "hr", "hrsg", "inc", "jr", "ltd", "mlle", "mm", "mme", "mr", "mrs", "ms", "nr", "pp",
    "prof", "rev", "sec", "sr", "sra", "st", "usw", "vgl", "vol", "vs",
];

/// The parts of a text between blank lines, as far as there is anything in them.
pub(super) fn paragraphs(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut start, mut end, mut read) = (0, 0, 0);
    for line in text.split_inclusive('\n') {
        let after = read + line.len();
        if line.trim().is_empty() {
            found.extend(
                text.get(start..end)
                    .map(str::trim)
                    .filter(|part| !part.is_empty()),
            );
            (start, end) = (after, after);
        } else {
            end = after;
        }
        read = after;
    }
    found.extend(
        text.get(start..end)
            .map(str::trim)
            .filter(|part| !part.is_empty()),
    );
    found
}

/// The sentences of a text. None goes beyond its paragraph, and each has at least one letter or digit.
pub(super) fn sentences(text: &str) -> Vec<&str> {
    paragraphs(text)
        .into_iter()
        .flat_map(sentences_of)
        .collect()
}

/// The sentences of one paragraph.
pub(super) fn sentences_of(paragraph: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut characters = paragraph.char_indices().peekable();
    while let Some((at, mark)) = characters.next() {
        if !is_end_mark(mark) {
            continue;
        }
        let mut end = at + mark.len_utf8();
        while let Some((at, more)) =
            characters.next_if(|(_, next)| is_end_mark(*next) || is_closing(*next))
        {
            end = at + more.len_utf8();
        }
        let (Some(before), Some(after)) = (paragraph.get(start..at), paragraph.get(end..)) else {
            continue;
        };
        if is_end(before, mark, after) {
            found.extend(paragraph.get(start..end));
            start = end;
        }
    }
    found.extend(paragraph.get(start..));
    found.retain(|sentence| sentence.contains(char::is_alphanumeric));
    found.into_iter().map(str::trim).collect()
}

/// Whether a mark (and what closes after it) ends the sentence that `before` is so far.
fn is_end(before: &str, mark: char, after: &str) -> bool {
    if matches!(mark, '。' | '！' | '？') {
        return true;
    }
    // `example.com`, `3.14`: a sentence is followed by space. Nor does one begin with a small letter.
    let next = after.trim_start().chars().next();
    if after.starts_with(|next: char| !next.is_whitespace()) || next.is_some_and(char::is_lowercase)
    {
        return false;
    }
    mark != '.' || next.is_none() || !is_abbreviated(before)
}

/// Whether the point after `before` belongs to its last word.
fn is_abbreviated(before: &str) -> bool {
    let word = before
        .rsplit(|character: char| character.is_whitespace() || is_opening(character))
        .next();
    let Some(word) = word.filter(|word| !word.is_empty()) else {
        return false;
    };
    let letters = |part: &str| part.chars().count() == 1 && part.chars().all(char::is_alphabetic);
    // `U.S.`, `e.g.`, and initials; but "I" is a word of its own.
    let is_initials = word != "I" && word.split('.').all(letters);
    // The number of an item in a list: `1. First`.
    let is_item =
        word.bytes().all(|byte| byte.is_ascii_digit()) && before.trim_start().len() == word.len();
    is_initials || is_item || ABBREVIATIONS.binary_search(&&*word.to_lowercase()).is_ok()
}

fn is_end_mark(character: char) -> bool {
    matches!(character, '.' | '!' | '?' | '…' | '。' | '！' | '？')
}

fn is_closing(character: char) -> bool {
    matches!(
        character,
        '"' | '\'' | ')' | ']' | '}' | '»' | '”' | '’' | '」' | '』' | '）'
    )
}

fn is_opening(character: char) -> bool {
    matches!(character, '"' | '\'' | '(' | '[' | '{' | '«' | '“' | '‘')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(sentences(text), expected);
    }

    #[test]
    fn sentences_end_at_marks() {
        check(
            "One. Two!  Three? Four… Five",
            &["One.", "Two!", "Three?", "Four…", "Five"],
        );
        check(
            "What?! \"Yes.\" (No.) So.",
            &["What?!", "\"Yes.\"", "(No.)", "So."],
        );
        check(
            "\"Really?\" he said. Then left.",
            &["\"Really?\" he said.", "Then left."],
        );
        check("今日は。元気？はい！", &["今日は。", "元気？", "はい！"]);
        check(
            "Wait... what? Well... Yes.",
            &["Wait... what?", "Well...", "Yes."],
        );
        check("... !!! 🙂.", &[]);
    }

    #[test]
    fn points_inside_a_sentence_do_not_end_it() {
        check(
            "See example.com for 3.14 of it. Next.",
            &["See example.com for 3.14 of it.", "Next."],
        );
        check(
            "Dr. Smith met Mr. J. Doe. They spoke.",
            &["Dr. Smith met Mr. J. Doe.", "They spoke."],
        );
        check(
            "In the U.S. Congress, e.g. Monday. End.",
            &["In the U.S. Congress, e.g. Monday.", "End."],
        );
        check("So do I. Then we left.", &["So do I.", "Then we left."]);
        check(
            "1. First item. 2. Second item.",
            &["1. First item.", "2. Second item."],
        );
        check("We have 3. They have 4.", &["We have 3.", "They have 4."]);
        check(
            "Das sind ca. 5 km, vgl. Abb. 3. Ende.",
            &["Das sind ca. 5 km, vgl. Abb. 3.", "Ende."],
        );
    }

    #[test]
    fn paragraphs_end_sentences() {
        check(
            "A title\n\nA wrapped\nsentence. Etc.\n \nDr.\n\nX",
            &["A title", "A wrapped\nsentence.", "Etc.", "Dr.", "X"],
        );
        assert_eq!(paragraphs("\n\n a\nb \n\t\n\nc"), ["a\nb", "c"]);
    }

    #[test]
    fn abbreviations_are_sorted() {
        assert!(ABBREVIATIONS.is_sorted());
    }
}
