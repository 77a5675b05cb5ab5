//! What no text of the repository says: notes to oneself, and places of one machine.

use crate::Violation;

/// This folder names the words that it looks for.
const EXCEPT: &str = "tests/tidy/";

/// Marks of unfinished work, as whole words.
const UNFINISHED: &[&str] = &["TODO", "FIXME", "XXX"];
/// Folders that belong to one person on one machine.
const MACHINE: &[&str] = &["/home/", "/Users/", "/root/"];

/// All rules of this file.
pub(crate) fn check(path: &str, text: &str) -> Vec<Violation> {
    if path.starts_with(EXCEPT) {
        return Vec::new();
    }
    let lines = text.lines().enumerate();
    lines
        .filter_map(|(index, line)| fault(line).map(|(rule, advice)| (index + 1, rule, advice)))
        .map(|(line, rule, advice)| Violation {
            path: path.to_owned(),
            line,
            rule,
            advice: advice.to_owned(),
        })
        .collect()
}

fn fault(line: &str) -> Option<(&'static str, &'static str)> {
    if UNFINISHED.iter().any(|word| has_word(line, word)) {
        return Some(("unfinished", "do it now, or delete the note"));
    }
    if MACHINE.iter().any(|folder| line.contains(folder)) {
        return Some(("machine", "write what holds on every machine"));
    }
    None
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|character: char| !character.is_alphanumeric() && character != '_')
        .any(|found| found == word)
}

#[cfg(test)]
mod tests {
    use super::check;

    fn cases(line: &str, expected: Option<&str>) {
        let violations = check("README.md", line);
        assert_eq!(
            violations.first().map(|violation| violation.rule),
            expected,
            "{line}"
        );
    }

    #[test]
    fn work_is_finished() {
        cases("// TODO: later", Some("unfinished"));
        cases("let x = 1; // FIXME", Some("unfinished"));
        cases("the word TODOS is another", None);
    }

    #[test]
    fn texts_hold_everywhere() {
        cases("see /home/me/notes", Some("machine"));
        cases("from a framework/adapter", None);
    }
}
