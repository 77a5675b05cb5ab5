//! Cutting a date text into numbers, words and signs.

/// The words that mean something; of a month's name the first three letters count.
const WORDS: [(&str, Word); 27] = [
    ("jan", Word::Month(1)),
    ("feb", Word::Month(2)),
    ("mar", Word::Month(3)),
    ("apr", Word::Month(4)),
    ("may", Word::Month(5)),
    ("jun", Word::Month(6)),
    ("jul", Word::Month(7)),
    ("aug", Word::Month(8)),
    ("sep", Word::Month(9)),
    ("oct", Word::Month(10)),
    ("nov", Word::Month(11)),
    ("dec", Word::Month(12)),
    ("am", Word::Half(0)),
    ("pm", Word::Half(12)),
    ("ut", Word::Zone(0)),
    ("utc", Word::Zone(0)),
    ("z", Word::Zone(0)),
    ("gmt", Word::Zone(0)),
    ("cdt", Word::Zone(-5)),
    ("cst", Word::Zone(-6)),
    ("edt", Word::Zone(-4)),
    ("est", Word::Zone(-5)),
    ("mdt", Word::Zone(-6)),
    ("mst", Word::Zone(-7)),
    ("pdt", Word::Zone(-7)),
    ("pst", Word::Zone(-8)),
    ("t", Word::Separator),
];

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token {
    /// Its first nine significant digits, and how many digits it has.
    Number {
        value: i64,
        length: usize,
    },
    /// A word and its length in characters.
    Word(Word, usize),
    /// One of `:`, `-`, `+`, `.`, `)`.
    Symbol(char),
    Space,
    Other,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Word {
    Month(i64),
    /// Half of the day, in hours to add.
    Half(i64),
    /// Hours from UTC.
    Zone(i64),
    /// `T`, between date and time.
    Separator,
    Unknown,
}

/// The tokens of a text, one ahead.
pub(super) struct Tokens<'a> {
    rest: &'a str,
    ahead: Token,
}

impl<'a> Tokens<'a> {
    pub(super) fn cut(text: &'a str) -> Self {
        let mut tokens = Self {
            rest: text,
            ahead: Token::End,
        };
        tokens.next();
        tokens
    }

    pub(super) fn peek(&self) -> Token {
        self.ahead
    }

    pub(super) fn next(&mut self) -> Token {
        let next = self.scan();
        std::mem::replace(&mut self.ahead, next)
    }

    /// Takes this symbol if it comes next.
    pub(super) fn skip(&mut self, symbol: char) -> bool {
        let comes = self.ahead == Token::Symbol(symbol);
        if comes {
            self.next();
        }
        comes
    }

    /// The number that comes next, if it is written with that many digits.
    pub(super) fn digits(&self, wanted: usize) -> Option<i64> {
        match self.ahead {
            Token::Number { value, length } if length == wanted => Some(value),
            _ => None,
        }
    }

    fn scan(&mut self) -> Token {
        let Some(first) = self.rest.chars().next() else {
            return Token::End;
        };
        match first {
            '0'..='9' => number(self.take(|c| c.is_ascii_digit())),
            '(' => {
                self.skip_parentheses();
                Token::Other
            }
            _ if is_word(first) => word(self.take(is_word)),
            _ => {
                self.rest = self.rest.strip_prefix(first).unwrap_or_default();
                match first {
                    ':' | '-' | '+' | '.' | ')' => Token::Symbol(first),
                    _ if is_space(first) => Token::Space,
                    _ => Token::Other,
                }
            }
        }
    }

    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// A comment goes to its closing parenthesis, or to the end.
    fn skip_parentheses(&mut self) {
        let mut open = 0_usize;
        let close = self.rest.find(|c| {
            match c {
                '(' => open += 1,
                ')' => open -= 1,
                _ => {}
            }
            open == 0
        });
        let end = close.map_or(self.rest.len(), |close| close + 1);
        self.rest = self.rest.split_at(end).1;
    }
}

fn number(digits: &str) -> Token {
    let significant = digits.trim_start_matches('0').bytes().take(9);
    Token::Number {
        value: significant.fold(0, |value, digit| value * 10 + i64::from(digit - b'0')),
        length: digits.len(),
    }
}

fn word(text: &str) -> Token {
    let length = text.chars().count();
    let prefix: String = text
        .chars()
        .take(3)
        .collect::<String>()
        .to_ascii_lowercase();
    let known = WORDS.into_iter().find(|(name, meaning)| {
        *name == prefix && (length <= 3 || matches!(meaning, Word::Month(_)))
    });
    Token::Word(known.map_or(Word::Unknown, |(_, meaning)| meaning), length)
}

/// Everything from `A` up, letters or not.
fn is_word(character: char) -> bool {
    character >= 'A' && !is_space(character)
}

fn is_space(character: char) -> bool {
    (character.is_whitespace() && character != '\u{85}') || character == '\u{feff}'
}
