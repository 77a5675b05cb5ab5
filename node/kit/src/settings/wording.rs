//! How problems speak of what was found: short, and never of a secret.

use super::value::Scalar;

/// A found value for a message: cut when long, and only its type when it may be secret.
pub(super) fn describe(value: &toml::Value, secret: bool) -> String {
    match value {
        toml::Value::Table(_) => "a table".to_owned(),
        toml::Value::Array(_) => "a list".to_owned(),
        _ if secret => format!("a value of type {}", value.type_str()),
        toml::Value::String(text) => shorten(text),
        other => other.to_string(),
    }
}

pub(super) fn quote<T: Scalar>(text: &str) -> String {
    if T::SECRET {
        "a secret that is not shown".to_owned()
    } else {
        shorten(text)
    }
}

fn shorten(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// The declared name that is most like `name`, if any is like it at all.
pub(super) fn nearest(
    name: &str,
    declared: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    declared
        .map(|near| (distance(name, near), near))
        .min()
        .filter(|(distance, near)| *distance <= 1 + near.len() / 4)
        .map(|(_, near)| near)
}

/// How many letters must be changed, added or removed (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (index, l) in left.chars().enumerate() {
        let mut diagonal = index;
        let mut previous = index + 1;
        for (cell, r) in row.iter_mut().skip(1).zip(right.chars()) {
            let above = *cell;
            previous = (diagonal + usize::from(l != r))
                .min(above + 1)
                .min(previous + 1);
            diagonal = above;
            *cell = previous;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_alike_are_suggested() {
        let check = |name: &str, suggested: Option<&'static str>| {
            let declared = ["listen", "upstream", "max_body"];
            assert_eq!(nearest(name, declared.into_iter()), suggested, "{name}");
        };
        check("listn", Some("listen"));
        check("upstraem", Some("upstream"));
        check("max-body", Some("max_body"));
        check("workers", None);
        check("", None);
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(shorten("short"), "\"short\"");
        assert_eq!(shorten(&"é".repeat(61)), format!("\"{}\"…", "é".repeat(60)));
    }
}
