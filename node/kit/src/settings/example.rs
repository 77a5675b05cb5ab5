//! The example file: the declaration written back as a commented TOML file.

use super::table::{Key, Shape};

/// The whole page. Keys come before tables, because a key after a table's heading would belong to that table.
pub(super) fn page(doc: &[&str], keys: &[Key]) -> String {
    let mut page = String::new();
    comment(&mut page, doc);
    table(&mut page, "", keys, false);
    page
}

/// The keys of one table; `inactive` ones are commented out, as those of a list's sample item are.
fn table(page: &mut String, path: &str, keys: &[Key], inactive: bool) {
    for key in keys {
        if let Shape::Value { sample, secret } = &key.shape {
            page.push('\n');
            comment(page, key.doc);
            comment(
                page,
                &facts(key, *secret)
                    .iter()
                    .map(String::as_str)
                    .collect::<Vec<_>>(),
            );
            // A key without default is shown commented out: its absence means something.
            let off = if inactive || key.default.is_none() {
                "#"
            } else {
                ""
            };
            let value = key
                .default
                .as_ref()
                .or(key.sample.as_ref())
                .map(ToString::to_string);
            let value = value.as_deref().unwrap_or(sample);
            page.push_str(&format!("{off}{} = {value}\n", key.name));
        }
    }
    for key in keys {
        let inner = if path.is_empty() {
            key.name.to_owned()
        } else {
            format!("{path}.{}", key.name)
        };
        let (heading, keys, inactive) = match &key.shape {
            Shape::Value { .. } => continue,
            Shape::Table(keys) if inactive => (format!("#[{inner}]\n"), keys(), true),
            Shape::Table(keys) => (format!("[{inner}]\n"), keys(), false),
            Shape::Tables(keys) => (format!("#[[{inner}]]\n"), keys(), true),
        };
        page.push('\n');
        comment(page, key.doc);
        page.push_str(&heading);
        table(page, &inner, &keys, inactive);
    }
}

/// What the declaration knows beside the documentation.
fn facts(key: &Key, secret: bool) -> Vec<String> {
    let mut facts = Vec::new();
    if let Some((low, high)) = &key.bounds {
        facts.push(format!(" From {low} to {high}."));
    }
    if !key.environment.is_empty() {
        facts.push(format!(" Environment: {}.", key.environment.join(", ")));
    }
    if secret {
        facts.push(format!(
            " Or the path of a file that holds it: {}_file.",
            key.name
        ));
    }
    facts
}

fn comment(page: &mut String, lines: &[&str]) {
    for line in lines {
        page.push('#');
        page.push_str(line.trim_end());
        page.push('\n');
    }
}
