//! How a source file looks: its size, its opening, its place, its attributes.

use crate::Violation;
use crate::source::Source;

/// Beyond this a file is cut, whatever it holds; 400 is what to aim at.
const LARGEST_FILE: usize = 500;

/// Attributes that hide a failure, and what to do instead.
const ATTRIBUTES: &[(&[&str], &str)] = &[
    (
        &["#", "[", "allow", "("],
        "say #[expect(lint, reason = \"..\")], which complains when it is no longer needed",
    ),
    (
        &["#", "!", "[", "allow", "("],
        "say #![expect(lint, reason = \"..\")], which complains when it is no longer needed",
    ),
    (&["#", "[", "ignore"], "run the test or delete it"),
    (
        &["#", "[", "should_panic"],
        "assert on the error that the code returns",
    ),
];

/// All rules of this file.
pub(crate) fn check(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    violations.extend(size(source));
    violations.extend(opening(source));
    violations.extend(place(source));
    violations.extend(attributes(source));
    violations
}

fn size(source: &Source) -> Option<Violation> {
    let lines = source.product_lines();
    (lines > LARGEST_FILE).then(|| {
        let advice = format!("{lines} lines without tests, at most {LARGEST_FILE}: move a part into a file of its own");
        violation(source, 0, "file size", advice)
    })
}

fn opening(source: &Source) -> Option<Violation> {
    let opens = source.text.starts_with("//! ");
    (!opens).then(|| {
        violation(
            source,
            1,
            "file opening",
            "begin with //! and what this file owns".to_owned(),
        )
    })
}

fn place(source: &Source) -> Option<Violation> {
    let misplaced = source.path.ends_with("/mod.rs");
    misplaced.then(|| {
        violation(
            source,
            0,
            "module file",
            "name it foo.rs beside the folder foo/".to_owned(),
        )
    })
}

fn attributes(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (sequence, advice) in ATTRIBUTES {
        for line in source.lines_with(sequence) {
            violations.push(violation(source, line, "attribute", (*advice).to_owned()));
        }
    }
    violations
}

fn violation(source: &Source, line: usize, rule: &'static str, advice: String) -> Violation {
    Violation {
        path: source.path.clone(),
        line,
        rule,
        advice,
    }
}

mod tests {
    use super::{LARGEST_FILE, check};
    use crate::source::Source;

    fn cases(path: &str, text: &str, expected: &[(usize, &str)]) {
        let violations = check(&Source::parse(path, text));
        let found: Vec<(usize, &str)> = violations
            .iter()
            .map(|violation| (violation.line, violation.rule))
            .collect();
        assert_eq!(found, expected, "{path}: {text:.80}");
    }

    #[test]
    fn a_file_is_small_without_its_tests() {
        let lines = "fn f() {}\n".repeat(LARGEST_FILE);
        cases(
            "node/src/a.rs",
            &format!("//! A.\n{lines}"),
            &[(0, "file size")],
        );
        cases("node/src/a/tests.rs", &format!("//! A.\n{lines}"), &[]);
        cases(
            "node/src/a.rs",
            &format!("//! A.\n#[cfg(test)]\nmod tests {{\n{lines}}}\n"),
            &[],
        );
    }

    #[test]
    fn a_file_says_what_it_owns_and_stands_in_its_place() {
        cases("node/src/a.rs", "//! A.\n", &[]);
        cases("node/src/a.rs", "use x::y;\n", &[(1, "file opening")]);
        cases("node/src/a/mod.rs", "//! A.\n", &[(0, "module file")]);
    }

    #[test]
    fn attributes_do_not_hide_failures() {
        cases(
            "node/src/a.rs",
            "//! A.\n#[allow(dead_code)]\nfn a() {}\n",
            &[(2, "attribute")],
        );
        cases(
            "node/src/a.rs",
            "//! A.\n#![allow(dead_code)]\n",
            &[(2, "attribute")],
        );
        cases(
            "node/src/a.rs",
            "//! A.\n#[test]\n#[ignore = \"slow\"]\nfn a() {}\n",
            &[(3, "attribute")],
        );
        cases(
            "node/src/a.rs",
            "//! A.\n#[should_panic(expected = \"x\")]\nfn a() {}\n",
            &[(2, "attribute")],
        );
        cases(
            "node/src/a.rs",
            "//! A.\n// #[allow(dead_code)]\n#[expect(x, reason = \"y\")]\nfn a() {}\n",
            &[],
        );
    }
}
