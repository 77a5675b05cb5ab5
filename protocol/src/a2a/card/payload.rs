//! The text under a card's signature (A2A 1.0 §8.4.1).
//!
//! The field reads that section in three ways, and a card is only as good as the verifiers that take it. So we sign
//! what the specification says and, where that differs, also what the official Python and JavaScript SDKs make of it;
//! and we take a signature over any of the three. In each, what is not in the payload counts as not said: whoever
//! verified a card goes on with the payload, not with the card.

use serde_json::{Map, Value};

use crate::a2a::card::shape::{CARD, Kind, Member, Presence, Shape};
use crate::canonical;

/// What a signature covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// §8.4.1 to the letter: members with default values left out, required and explicitly set ones kept, what the
    /// schema does not know kept as it is.
    Specification,
    /// Every member as it stands (the Go SDK).
    AsServed,
    /// Only members of the schema, and of these only what is not empty (the Python and JavaScript SDKs).
    SchemaOnly,
}

/// Every reading, the one that says most first.
pub(super) const READINGS: [Reading; 3] = [
    Reading::Specification,
    Reading::AsServed,
    Reading::SchemaOnly,
];

/// The canonical text that a signature of this card covers.
pub(super) fn payload(card: &Map<String, Value>, reading: Reading) -> String {
    let members = card
        .iter()
        .filter(|(name, _)| name.as_str() != "signatures");
    let covered = match reading {
        Reading::AsServed => members
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        Reading::Specification | Reading::SchemaOnly => object(members, CARD, reading),
    };
    let covered = Value::Object(covered);
    canonical::to_string(&match reading {
        Reading::SchemaOnly => without_empty(covered).unwrap_or_default(),
        _ => covered,
    })
}

fn object<'a>(
    members: impl IntoIterator<Item = (&'a String, &'a Value)>,
    shape: Shape,
    reading: Reading,
) -> Map<String, Value> {
    let mut covered = Map::new();
    for (name, value) in members {
        let value = match shape.iter().find(|member| member.name == name) {
            None if reading == Reading::SchemaOnly => continue,
            None => value.clone(),
            Some(member) if is_left_out(member, value) => continue,
            Some(member) => inside(value, member.kind, reading),
        };
        covered.insert(name.clone(), value);
    }
    covered
}

/// A value whose kind is not that of the schema is covered as it is.
fn inside(value: &Value, kind: Kind, reading: Reading) -> Value {
    match (kind, value) {
        (Kind::Object(shape), Value::Object(members)) => {
            Value::Object(object(members, shape, reading))
        }
        (Kind::List(shape), Value::Array(items)) => items
            .iter()
            .map(|item| inside(item, Kind::Object(shape), reading))
            .collect(),
        (Kind::Map(shape), Value::Object(entries)) => Value::Object(
            entries
                .iter()
                .map(|(key, value)| (key.clone(), inside(value, Kind::Object(shape), reading)))
                .collect(),
        ),
        _ => value.clone(),
    }
}

/// Null is how JSON spells an absent member.
fn is_left_out(member: &Member, value: &Value) -> bool {
    value.is_null() || member.presence == Presence::Implicit && is_default(value)
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => !flag,
        other => is_empty(other),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What is left of a value without empty texts, lists and objects at any depth.
fn without_empty(value: Value) -> Option<Value> {
    let left = match value {
        Value::Array(items) => items.into_iter().filter_map(without_empty).collect(),
        Value::Object(members) => members
            .into_iter()
            .filter_map(|(name, value)| Some((name, without_empty(value)?)))
            .collect(),
        other => other,
    };
    (!is_empty(&left)).then_some(left)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use serde_json::{from_str, json};

    use super::*;

    fn check(card: Value, specification: &str, schema_only: &str) {
        let card: Map<_, _> = from_str(&card.to_string()).unwrap();
        assert_eq!(payload(&card, Reading::Specification), specification);
        assert_eq!(payload(&card, Reading::SchemaOnly), schema_only);
    }

    #[test]
    fn the_example_of_the_specification() {
        check(
            json!({
                "name": "Example Agent",
                "description": "",
                "capabilities": {"streaming": false, "pushNotifications": false, "extensions": []},
                "skills": [],
                "signatures": [{"protected": "x", "signature": "y"}],
            }),
            r#"{"capabilities":{"pushNotifications":false,"streaming":false},"description":"","name":"Example Agent","skills":[]}"#,
            r#"{"capabilities":{"pushNotifications":false,"streaming":false},"name":"Example Agent"}"#,
        );
    }

    #[test]
    fn a_requirement_without_scopes_is_said_or_not() {
        check(
            json!({"name": "a", "securityRequirements": [{"schemes": {"bearer": {"list": []}}}]}),
            r#"{"name":"a","securityRequirements":[{"schemes":{"bearer":{}}}]}"#,
            r#"{"name":"a"}"#,
        );
    }

    #[test]
    fn what_the_schema_does_not_know() {
        check(
            json!({"name": "a", "url": "http://a", "x-empty": [], "provider": {"url": "u", "organization": "o", "x": 1}}),
            r#"{"name":"a","provider":{"organization":"o","url":"u","x":1},"url":"http://a","x-empty":[]}"#,
            r#"{"name":"a","provider":{"organization":"o","url":"u"}}"#,
        );
    }

    #[test]
    fn a_default_counts_where_it_was_set_on_purpose() {
        check(
            json!({
                "documentationUrl": "",
                "iconUrl": null,
                "capabilities": {"extensions": [{"uri": "u", "required": false, "params": {"flag": false, "none": null}}]},
                "supportedInterfaces": [{"url": "u", "protocolBinding": "JSONRPC", "tenant": "", "protocolVersion": "1.0"}],
            }),
            concat!(
                r#"{"capabilities":{"extensions":[{"params":{"flag":false,"none":null},"uri":"u"}]},"documentationUrl":"","#,
                r#""supportedInterfaces":[{"protocolBinding":"JSONRPC","protocolVersion":"1.0","url":"u"}]}"#,
            ),
            concat!(
                r#"{"capabilities":{"extensions":[{"params":{"flag":false},"uri":"u"}]},"#,
                r#""supportedInterfaces":[{"protocolBinding":"JSONRPC","protocolVersion":"1.0","url":"u"}]}"#,
            ),
        );
    }

    #[test]
    fn a_card_as_served_loses_its_signatures_only() {
        let card: Map<_, _> =
            from_str(r#"{"skills":[],"signatures":[1],"iconUrl":null,"a":1.0}"#).unwrap();
        assert_eq!(
            payload(&card, Reading::AsServed),
            r#"{"a":1,"iconUrl":null,"skills":[]}"#
        );
    }
}
