//! What JSON Schema asks of a document, as far as the schemas in `tests/schemas` use it. A word that is not known here fails
//! the test, so that no schema asks for more than is looked at.

use serde_json::Value;

/// Every place where a document is not what the schema says.
pub(super) fn problems(schema: &Value, document: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    check(schema, document, "", &mut problems);
    problems
}

fn check(schema: &Value, document: &Value, at: &str, problems: &mut Vec<String>) {
    for (word, asked) in schema.as_object().unwrap() {
        let holds = match word.as_str() {
            "$schema" | "title" => true,
            "type" => is_of_type(document, asked.as_str().unwrap()),
            "const" => document == asked,
            "enum" => asked.as_array().unwrap().contains(document),
            "minimum" => document.as_f64() >= asked.as_f64(),
            "minItems" => length(document) >= asked.as_u64(),
            "maxItems" => length(document) <= asked.as_u64(),
            "anyOf" => {
                let mut ways = asked.as_array().unwrap().iter();
                ways.any(|way| self::problems(way, document).is_empty())
            }
            "items" => {
                for (index, item) in document.as_array().into_iter().flatten().enumerate() {
                    check(asked, item, &format!("{at}/{index}"), problems);
                }
                true
            }
            "required" => {
                let mut names = asked.as_array().unwrap().iter();
                names.all(|name| document.get(name.as_str().unwrap()).is_some())
            }
            "properties" => {
                for (name, schema) in asked.as_object().unwrap() {
                    if let Some(member) = document.get(name) {
                        check(schema, member, &format!("{at}/{name}"), problems);
                    }
                }
                true
            }
            "additionalProperties" => {
                assert_eq!(asked, false, "only that is known here");
                let mut members = document.as_object().into_iter().flatten();
                members.all(|(name, _)| schema["properties"].get(name).is_some())
            }
            unknown => panic!("the schema says `{unknown}`, which is not known here"),
        };
        if !holds {
            problems.push(format!("{at}: {word} {asked} does not hold of {document}"));
        }
    }
}

fn is_of_type(document: &Value, name: &str) -> bool {
    match name {
        "object" => document.is_object(),
        "array" => document.is_array(),
        "string" => document.is_string(),
        "boolean" => document.is_boolean(),
        "integer" => document.is_u64() || document.is_i64(),
        "null" => document.is_null(),
        unknown => panic!("the type `{unknown}` is not known here"),
    }
}

fn length(document: &Value) -> Option<u64> {
    document.as_array().map(|list| list.len() as u64)
}

#[test]
fn a_document_is_held_against_its_schema() {
    let schema = serde_json::json!({
        "type": "object",
        "properties": {"n": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}},
        "required": ["n"],
        "additionalProperties": false,
    });
    for (document, found) in [
        (serde_json::json!({"n": 1}), 0),
        (serde_json::json!({"n": null}), 0),
        (serde_json::json!({"n": 0}), 1),
        (serde_json::json!({"n": "x"}), 1),
        (serde_json::json!({"n": 1, "m": 1}), 1),
        (serde_json::json!({}), 1),
        (serde_json::json!([]), 2),
    ] {
        assert_eq!(problems(&schema, &document).len(), found, "{document}");
    }
}
