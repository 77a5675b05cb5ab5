//! What the documents claim: files that the README names, metrics that the documents name.

use std::collections::BTreeSet;

use crate::Violation;
use crate::tree::{self, File};

/// Folders that a path in the README may begin with.
const TOP: &[&str] = &[
    "protocol/",
    "node/",
    "gateway/",
    "devstack/",
    "tests/",
    ".ci/",
];
/// What our metric names begin with; the rest of a contract's name follows the dialect.
const METRIC_PREFIXES: &[&str] = &["archipel_", "hive_", "pilox_"];
/// What a crate of ours is called in code.
const CRATES: &[&str] = &[
    "archipel_protocol",
    "archipel_kit",
    "archipel_node",
    "archipel_gateway",
    "archipel_tests",
];
/// Prometheus adds these to the name of a histogram.
const HISTOGRAM_PARTS: &[&str] = &["_bucket", "_sum", "_count"];

/// All rules of this file.
pub(crate) fn check(files: &[File]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let exists = |path: &str| tree::root().join(path).exists();
    match files.iter().find(|file| file.path == "README.md") {
        Some(readme) => violations.extend(map(&readme.path, &readme.text, &exists)),
        None => violations.push(violation(
            "README.md",
            0,
            "map",
            "write it: what this is, how to start, the code map".to_owned(),
        )),
    }
    let code: Vec<&File> = files.iter().filter(|file| is_product(&file.path)).collect();
    let known = |suffix: &str| code.iter().any(|file| file.text.contains(suffix));
    for file in files.iter().filter(|file| is_document(&file.path)) {
        violations.extend(metrics(&file.path, &file.text, &known));
    }
    violations
}

fn is_product(path: &str) -> bool {
    path.ends_with(".rs")
        && ["node/", "gateway/"]
            .iter()
            .any(|top| path.starts_with(top))
}

fn is_document(path: &str) -> bool {
    [".md", ".yml", ".yaml"]
        .iter()
        .any(|end| path.ends_with(end))
}

/// Every path that the text names exists.
fn map(path: &str, text: &str, exists: &dyn Fn(&str) -> bool) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let words = line.split(|c: char| c.is_whitespace() || "`()[]|,;\"".contains(c));
        for word in words.map(|word| word.trim_start_matches("./").trim_end_matches(['.', ':'])) {
            // A pattern or a placeholder names no one file; a path that starts elsewhere (a URL) is not ours.
            let is_path =
                TOP.iter().any(|top| word.starts_with(top)) && !word.contains(['*', '{', '<', '…']);
            if is_path && !exists(word) {
                violations.push(violation(
                    path,
                    index + 1,
                    "map",
                    format!("`{word}` does not exist: change text and tree together"),
                ));
            }
        }
    }
    violations
}

/// Every metric that the text names is declared somewhere in the code.
fn metrics(path: &str, text: &str, known: &dyn Fn(&str) -> bool) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let words: BTreeSet<&str> = line
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .collect();
        for word in words {
            if metric_stems(word).is_some_and(|stems| !stems.iter().any(|stem| known(stem))) {
                let advice = format!("no code declares `{word}`: correct the name or the code");
                violations.push(violation(path, index + 1, "metric name", advice));
            }
        }
    }
    violations
}

/// What the code may call the metric: the name without what the dialect and Prometheus add. None if it is no metric.
fn metric_stems(word: &str) -> Option<Vec<&str>> {
    if CRATES.contains(&word) {
        return None;
    }
    let rest = METRIC_PREFIXES
        .iter()
        .find_map(|prefix| word.strip_prefix(prefix))
        .filter(|rest| !rest.is_empty())?;
    let mut stems = vec![rest];
    stems.extend(
        HISTOGRAM_PARTS
            .iter()
            .filter_map(|part| rest.strip_suffix(part)),
    );
    Some(stems)
}

fn violation(path: &str, line: usize, rule: &'static str, advice: String) -> Violation {
    Violation {
        path: path.to_owned(),
        line,
        rule,
        advice,
    }
}

mod tests {
    use super::{map, metrics};

    #[test]
    fn the_map_names_files_that_exist() {
        let exists = |path: &str| ["node/src/edge.rs", "gateway/"].contains(&path);
        let check = |text: &str| map("README.md", text, &exists).len();
        assert_eq!(
            check(
                "| `node/src/edge.rs` | what a request passes |\n`gateway/`, (./node/src/edge.rs)."
            ),
            0
        );
        assert_eq!(check("`node/src/gone.rs` and `devstack/gone`"), 2);
        assert_eq!(
            check("http://127.0.0.1:7400/node/x, tests/*/x.rs, /tests/y"),
            0
        );
    }

    #[test]
    fn documents_name_metrics_that_exist() {
        let known = |stem: &str| ["tasks_started_total", "turn_seconds"].contains(&stem);
        let check = |text: &str| metrics("README.md", text, &known).len();
        assert_eq!(
            check("`archipel_tasks_started_total` and hive_turn_seconds_bucket of archipel_kit"),
            0
        );
        assert_eq!(check("rate(archipel_tasks_lost_total[5m])"), 1);
    }
}
