//! The tokens of a Rust file: words and punctuation, with their lines. Comments and the contents of texts are left out.

/// A word (identifier, keyword, number) or one mark; `::` is one mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) line: usize,
    pub(crate) text: String,
    pub(crate) is_word: bool,
}

/// Cuts a file into tokens. A text that is not Rust gives some tokens too and never fails.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut cursor = Cursor {
        rest: text,
        line: 1,
    };
    let mut tokens = Vec::new();
    while let Some(token) = cursor.next_token() {
        tokens.push(token);
    }
    tokens
}

struct Cursor<'a> {
    rest: &'a str,
    line: usize,
}

impl Cursor<'_> {
    fn next_token(&mut self) -> Option<Token> {
        loop {
            let first = self.rest.chars().next()?;
            if first.is_whitespace() {
                self.skip(first.len_utf8());
            } else if let Some(length) = comment(self.rest).or_else(|| literal(self.rest)) {
                self.skip(length);
            } else {
                return Some(self.take(first));
            }
        }
    }

    fn take(&mut self, first: char) -> Token {
        let is_word = is_word_character(first);
        let length = if is_word {
            self.rest
                .find(|c| !is_word_character(c))
                .unwrap_or(self.rest.len())
        } else if self.rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (text, _) = self.rest.split_at(length);
        let token = Token {
            line: self.line,
            text: text.to_owned(),
            is_word,
        };
        self.skip(length);
        token
    }

    fn skip(&mut self, length: usize) {
        let (skipped, rest) = self.rest.split_at(length);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }
}

fn is_word_character(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length of the comment that the text begins with.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    Some(text.len())
}

/// Length of the text, byte or character literal that the text begins with.
fn literal(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""]
        .iter()
        .find(|prefix| opens_literal(text, prefix))?;
    let body = text.get(prefix.len()..)?;
    let length = if prefix.ends_with('r') {
        raw_text(body)
    } else {
        quoted(body)
    }?;
    Some(prefix.len() + length)
}

fn opens_literal(text: &str, prefix: &str) -> bool {
    let Some(body) = text.strip_prefix(prefix) else {
        return false;
    };
    match (prefix.ends_with('r'), prefix) {
        (true, _) => raw_text(body).is_some(),
        (false, "c") => body.starts_with('"'),
        (false, _) => body.starts_with('"') || body.starts_with('\''),
    }
}

/// `##"…"##`, from the first mark on.
fn raw_text(body: &str) -> Option<usize> {
    let hashes = body.find(|c| c != '#')?;
    let inside = body.get(hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(hashes + 1 + inside.find(&end).map_or(inside.len(), |at| at + end.len()))
}

/// A quoted text or character; a lifetime is neither.
fn quoted(body: &str) -> Option<usize> {
    let quote = body.chars().next()?;
    let mut characters = body.char_indices().skip(1).peekable();
    if quote == '\'' && is_lifetime(body) {
        return None;
    }
    while let Some((at, c)) = characters.next() {
        if c == '\\' {
            characters.next();
        } else if c == quote {
            return Some(at + 1);
        }
    }
    Some(body.len())
}

fn is_lifetime(body: &str) -> bool {
    let mut characters = body.chars().skip(1);
    let (first, second) = (characters.next(), characters.next());
    first.is_some_and(is_word_character) && second != Some('\'')
}

mod tests {
    use super::tokens;

    fn check(text: &str, expected: &[(usize, &str)]) {
        let found: Vec<(usize, String)> = tokens(text)
            .into_iter()
            .map(|token| (token.line, token.text))
            .collect();
        let expected: Vec<(usize, String)> = expected
            .iter()
            .map(|(line, text)| (*line, (*text).to_owned()))
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn words_and_marks_with_their_lines() {
        check(
            "a::b\n#[c]",
            &[
                (1, "a"),
                (1, "::"),
                (1, "b"),
                (2, "#"),
                (2, "["),
                (2, "c"),
                (2, "]"),
            ],
        );
    }

    #[test]
    fn comments_and_texts_are_left_out() {
        check("a // b\n/* c\n/* d */ */ e", &[(1, "a"), (3, "e")]);
        check("a \"b \\\" c\" d", &[(1, "a"), (1, "d")]);
        check("r##\"b \"# c\n\"## d br\"x\" c\"y\" b\"z\"", &[(2, "d")]);
        check("'x' '\\'' b'y' '\\u{1}' z", &[(1, "z")]);
    }

    #[test]
    fn lifetimes_raw_names_and_unfinished_texts() {
        check("&'a T", &[(1, "&"), (1, "'"), (1, "a"), (1, "T")]);
        check(
            "r#use rest b c",
            &[
                (1, "r"),
                (1, "#"),
                (1, "use"),
                (1, "rest"),
                (1, "b"),
                (1, "c"),
            ],
        );
        check("a \"never closed", &[(1, "a")]);
    }
}
