//! `Date.parse` as the peers' engine has it: the interchange format of ECMA-262 (section 21.4.1.32) first, and what
//! that leaves over by the free rules that every browser inherited.
//!
//! It is here because the contract makes it the judge of a time stamp, odd as some of its verdicts are. Read
//! [`date_parse`], then `interchange`, then `Fields::free`; `tokens` cuts the text.

mod tokens;

use tokens::{Token, Tokens, Word};

/// Largest distance from 1970 of an ECMAScript time value, in milliseconds.
const MAX_TIME: i64 = 8_640_000_000_000_000;

const DAY_MS: i64 = 86_400_000;

/// A moment in milliseconds since 1970; the inner `None` is a local time, whose zone only its writer knows.
pub(super) fn date_parse(text: &str) -> Option<Option<i64>> {
    let mut tokens = Tokens::cut(text);
    let mut fields = Fields::default();
    if interchange(&mut tokens, &mut fields)? == Form::Free {
        fields.free(&mut tokens)?;
    }
    fields.moment()
}

/// Which rules a text follows.
#[derive(PartialEq)]
enum Form {
    Interchange,
    Free,
}

/// What has been read so far.
#[derive(Default)]
struct Fields {
    /// Year, month and day in the interchange format; in any order in a free form.
    day: Vec<i64>,
    named_month: Option<i64>,
    is_interchange: bool,
    /// Hour, minute, second, millisecond.
    time: Vec<i64>,
    /// Hours to add for the half of the day.
    half: Option<i64>,
    zone: Zone,
}

#[derive(Default)]
struct Zone {
    sign: Option<i64>,
    hour: Option<i64>,
    minute: Option<i64>,
}

/// Reads `YYYY[-MM[-DD]][Thh:mm[:ss[.s]][Z|+hh:mm]]`. `None` is a refusal: after a `T` there is no way back to the free
/// forms.
fn interchange(tokens: &mut Tokens<'_>, fields: &mut Fields) -> Option<Form> {
    if !interchange_date(tokens, &mut fields.day) {
        return Some(Form::Free);
    }
    if tokens.peek() == Token::End {
        fields.zone.set(0);
    } else if matches!(tokens.peek(), Token::Word(Word::Separator, _)) {
        tokens.next();
        interchange_time(tokens, &mut fields.time)?;
        interchange_zone(tokens, &mut fields.zone)?;
        if tokens.peek() != Token::End {
            return None;
        }
    } else {
        return Some(Form::Free);
    }
    fields.is_interchange = true;
    Some(Form::Interchange)
}

/// Whether the date is written to the letter; what was read of it stays read.
fn interchange_date(tokens: &mut Tokens<'_>, day: &mut Vec<i64>) -> bool {
    if let Token::Symbol(symbol @ ('+' | '-')) = tokens.peek() {
        // A sign belongs to a year of six digits; before anything else it counts for nothing.
        tokens.next();
        match tokens.digits(6) {
            Some(year) if symbol == '+' || year != 0 => {
                tokens.next();
                day.push(if symbol == '-' { -year } else { year });
            }
            _ => return false,
        }
    } else if let Some(year) = tokens.digits(4) {
        tokens.next();
        day.push(year);
    } else {
        return false;
    }
    for last in [12, 31] {
        if !tokens.skip('-') {
            break;
        }
        match tokens.digits(2) {
            Some(number) if (1..=last).contains(&number) => {
                tokens.next();
                day.push(number);
            }
            _ => return false,
        }
    }
    true
}

fn interchange_time(tokens: &mut Tokens<'_>, time: &mut Vec<i64>) -> Option<()> {
    let hour = tokens.digits(2).filter(|hour| *hour <= 24)?;
    let longest = |limit| if hour == 24 { 0 } else { limit };
    tokens.next();
    time.push(hour);
    tokens.skip(':').then_some(())?;
    time.push(tokens.digits(2).filter(|minute| *minute <= longest(59))?);
    tokens.next();
    if tokens.skip(':') {
        time.push(tokens.digits(2).filter(|second| *second <= longest(59))?);
        tokens.next();
        if tokens.skip('.') {
            let Token::Number { value, length } = tokens.next() else {
                return None;
            };
            if value > longest(i64::MAX) {
                return None;
            }
            time.push(milliseconds(value, length));
        }
    }
    Some(())
}

fn interchange_zone(tokens: &mut Tokens<'_>, zone: &mut Zone) -> Option<()> {
    match tokens.peek() {
        Token::Word(Word::Zone(_), 1) => {
            tokens.next();
            zone.set(0);
        }
        Token::Symbol(symbol @ ('+' | '-')) => {
            tokens.next();
            let (hour, minute) = if let Some(both) = tokens.digits(4) {
                (both / 100, both % 100)
            } else {
                let hour = tokens.digits(2)?;
                tokens.next();
                tokens.skip(':').then_some(())?;
                (hour, tokens.digits(2)?)
            };
            tokens.next();
            if hour > 23 || minute > 59 {
                return None;
            }
            zone.sign = Some(if symbol == '-' { -1 } else { 1 });
            zone.hour = Some(hour);
            zone.minute = Some(minute);
        }
        _ => {}
    }
    Some(())
}

impl Fields {
    /// Reads what is left by the free rules.
    fn free(&mut self, tokens: &mut Tokens<'_>) -> Option<()> {
        let mut seen_number = !self.day.is_empty();
        loop {
            match tokens.next() {
                Token::End => return Some(()),
                Token::Number { value, .. } => {
                    seen_number = true;
                    self.free_number(value, tokens)?;
                }
                Token::Word(word, _) => self.free_word(word, seen_number, tokens)?,
                Token::Symbol(sign @ ('+' | '-'))
                    if self.zone.is_utc() || !self.time.is_empty() =>
                {
                    seen_number = true;
                    self.free_zone(sign, tokens)?;
                }
                Token::Symbol('+' | '-' | ')') if seen_number => return None,
                Token::Symbol(_) | Token::Space | Token::Other => {}
            }
        }
    }

    fn free_number(&mut self, value: i64, tokens: &mut Tokens<'_>) -> Option<()> {
        if tokens.skip(':') {
            if tokens.skip(':') {
                if !self.time.is_empty() {
                    return None;
                }
                self.time.extend([value, 0]);
                return Some(());
            }
            if self.time.len() == 4 {
                return None;
            }
            self.time.push(value);
            tokens.skip('.');
        } else if tokens.skip('.') && self.expects_time(value) {
            self.time.push(value);
            let Token::Number { value, length } = tokens.next() else {
                return None;
            };
            self.end_time(milliseconds(value, length));
        } else if self.zone.expects_minute(value) {
            self.zone.minute = Some(value);
        } else if self.expects_time(value) {
            self.end_time(value);
            let ends = match tokens.peek() {
                Token::Word(Word::Zone(_), length) => length == 1,
                Token::End | Token::Space | Token::Symbol('+' | '-') => true,
                _ => false,
            };
            ends.then_some(())?;
        } else {
            if self.day.len() == 3 {
                return None;
            }
            self.day.push(value);
            tokens.skip('-');
        }
        Some(())
    }

    fn free_word(&mut self, word: Word, seen_number: bool, tokens: &mut Tokens<'_>) -> Option<()> {
        match word {
            Word::Half(hours) if !self.time.is_empty() => self.half = Some(hours),
            Word::Month(month) => {
                self.named_month = Some(month);
                tokens.skip('-');
            }
            Word::Zone(hours) if seen_number => self.zone.set(hours),
            // Other words may only stand before the first number, and not touch it.
            _ if seen_number || matches!(tokens.peek(), Token::Number { .. }) => return None,
            _ => {}
        }
        Some(())
    }

    fn free_zone(&mut self, sign: char, tokens: &mut Tokens<'_>) -> Option<()> {
        self.zone.sign = Some(if sign == '-' { -1 } else { 1 });
        let (value, digits) = match tokens.peek() {
            Token::Number { value, length } => {
                tokens.next();
                (value, length)
            }
            _ => (0, 0),
        };
        let (hour, minute) = match digits {
            _ if tokens.peek() == Token::Symbol(':') => (value, None),
            1 | 2 => (value, Some(0)),
            3 | 4 => (value / 100, Some(value % 100)),
            _ => return None,
        };
        self.zone.hour = Some(hour);
        self.zone.minute = minute;
        Some(())
    }

    fn expects_time(&self, value: i64) -> bool {
        match self.time.len() {
            1 | 2 => value <= 59,
            3 => value <= 999,
            _ => false,
        }
    }

    /// Takes the last number; one too many is dropped.
    fn end_time(&mut self, value: i64) {
        self.time.push(value);
        self.time.resize(4, 0);
    }

    fn moment(&self) -> Option<Option<i64>> {
        let (year, month, day) = self.date()?;
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        let days = days_before(year, month) + day - 1;
        let local = days.checked_mul(DAY_MS)?.checked_add(self.time_of_day()?)?;
        let moment = local - self.zone.offset().unwrap_or_default();
        (moment.abs() <= MAX_TIME).then_some(self.zone.offset().map(|_| moment))
    }

    fn date(&self) -> Option<(i64, i64, i64)> {
        let is_day = |number| (1..=31).contains(&number);
        let mut numbers = self.day.iter().copied();
        let first = numbers.next()?;
        let second = numbers.next();
        let third = numbers.next().unwrap_or(1);
        let (year, month, day) = match (self.named_month, second) {
            (None, _) if self.is_interchange || !is_day(first) => {
                (first, second.unwrap_or(1), third)
            }
            (None, _) => (third, first, second.unwrap_or(1)),
            (Some(month), _) if !is_day(first) => (first, month, second.unwrap_or(1)),
            (Some(month), _) => (second.unwrap_or(1), month, first),
        };
        let century = match year {
            _ if self.is_interchange => 0,
            0..=49 => 2000,
            50..=99 => 1900,
            _ => 0,
        };
        Some((year + century, month, day))
    }

    /// In milliseconds; midnight may be 24:00.
    fn time_of_day(&self) -> Option<i64> {
        let mut numbers = self.time.iter().copied().chain(std::iter::repeat(0));
        let [hour, minute, second, millisecond] =
            std::array::from_fn(|_| numbers.next().unwrap_or(0));
        let hour = match self.half {
            None => hour,
            Some(_) if hour > 12 => return None,
            Some(half) => hour % 12 + half,
        };
        let within = (minute * 60 + second) * 1000 + millisecond;
        let in_bounds = minute <= 59 && second <= 59 && millisecond <= 999;
        (in_bounds && (hour < 24 || (hour == 24 && within == 0)))
            .then_some(hour * 3_600_000 + within)
    }
}

impl Zone {
    fn set(&mut self, hours: i64) {
        self.sign = Some(if hours < 0 { -1 } else { 1 });
        self.hour = Some(hours.abs());
        self.minute = Some(0);
    }

    fn is_utc(&self) -> bool {
        self.hour == Some(0) && self.minute == Some(0)
    }

    fn expects_minute(&self, value: i64) -> bool {
        self.hour.is_some() && self.minute.is_none() && value <= 59
    }

    /// In milliseconds; none is local time.
    fn offset(&self) -> Option<i64> {
        let minutes = self.hour.unwrap_or(0) * 60 + self.minute.unwrap_or(0);
        self.sign.map(|sign| sign * minutes * 60_000)
    }
}

/// The first three digits of a fraction. Beyond nine digits the engine looks at the number's value, not at its place.
fn milliseconds(value: i64, length: usize) -> i64 {
    match length {
        1 => value * 100,
        2 => value * 10,
        _ => (3..length.min(9)).fold(value, |value, _| value / 10),
    }
}

/// Days from 1970 to the first of a month in the proleptic Gregorian calendar.
fn days_before(year: i64, month: i64) -> i64 {
    // Years begin in March, so that the leap day is the last; an era has 400 of them and 146097 days.
    let year = if month > 2 { year } else { year - 1 };
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    year.div_euclid(400) * 146_097 + day_of_era - 719_468
}
