//! The contract's cases of methods, keys and identities, and which settings do not fit together.

use archipel_kit::settings::{Environment, load};
use serde_json::{Value, json};

use super::*;
use crate::config::NodeSettings;

const VECTORS: &str = include_str!("../../tests/vectors/functions.json");

/// What we make of a case; nothing of those that are about something else.
fn made(input: &Value) -> Option<Value> {
    let text = |name: &str| input[name].as_str().unwrap_or_default();
    Some(match text("fn") {
        "allowed_methods" => json!({"methods": Methods::new(text("raw").split(',')).names()}),
        "method_of_body" => {
            let method = input["body"]["method"].as_str().and_then(method_name);
            json!({"method": method.unwrap_or_default()})
        }
        "match_key" => {
            let keys = PublicKeys::parse(text("configured"));
            let found = keys.find(text("presented"));
            let found = found.map(
                |(id, scopes)| json!({"hash": id.to_hex(), "scopes": scopes.map(Methods::names)}),
            );
            json!({"match": found})
        }
        "extract_key" => {
            let header = |name: &str| input["headers"][name].as_str();
            json!({"candidate": presented(header("x-pilox-public-a2a-key"), header("authorization"))})
        }
        "identity_hash" => {
            let longest = usize::try_from(input["maxLen"].as_u64().unwrap()).unwrap();
            let id = identity_id(text("value"), longest);
            json!({"identity": id.map(|hash| json!({"hash": hash}))})
        }
        _ => return None,
    })
}

#[test]
fn the_vectors_hold() {
    let document: Value = serde_json::from_str(VECTORS).unwrap();
    let mut run = 0;
    for case in document["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        if case["input"]["fn"] == "api_keys" {
            check_keys(name, &case["input"], &case["expected"]["entries"]);
        } else if let Some(made) = made(&case["input"]) {
            assert_eq!(made, case["expected"], "{name}");
        } else {
            continue;
        }
        run += 1;
    }
    assert_eq!(run, 29);
}

/// Keys are kept by hash, so they are compared by being found.
fn check_keys(name: &str, input: &Value, entries: &Value) {
    let keys = PublicKeys::parse(input["raw"].as_str().unwrap());
    let entries = entries.as_array().unwrap();
    assert_eq!(keys.len(), entries.len(), "{name}");
    for entry in entries {
        let (_, scopes) = keys.find(entry["token"].as_str().unwrap()).unwrap();
        assert_eq!(json!(scopes.map(Methods::names)), entry["scopes"], "{name}");
    }
}

#[test]
fn an_operation_has_a_name_in_every_version() {
    let methods = Methods::new(["message/send", "GetTask", "of/ours"]);
    let check = |name: &str, expected: bool| {
        assert_eq!(methods.contain(&Asked::new(name)), expected, "{name}");
    };
    check("message/send", true);
    check("SendMessage", true);
    check("tasks/get", true);
    check("of/ours", true);
    check("message/stream", false);
    check("of/other", false);
    check("", false);
}

#[test]
fn keys_are_not_printed() {
    let key = "k".repeat(32);
    assert!(!format!("{:?}", PublicKeys::parse(&key)).contains(&key));
}

/// The keys of the configuration of which a node with these variables complains.
fn problems(variables: &[(&str, &str)]) -> Vec<String> {
    let environment: Environment = variables
        .iter()
        .map(|(name, value)| (format!("A2A_PUBLIC_JSONRPC_{name}"), (*value).to_owned()))
        .collect();
    let loaded = load::<NodeSettings>(None, &environment);
    let problems = loaded.err().unwrap_or_default();
    problems.iter().map(|problem| problem.at.clone()).collect()
}

#[test]
fn what_does_not_fit_together_does_not_start() {
    let key = "k".repeat(32);
    let scoped = format!("{key}|tasks/cancel");
    let (on, get) = (("ENABLED", "true"), ("ALLOWED_METHODS", "tasks/get"));
    let check = |variables: &[(&str, &str)], expected: &[&str]| {
        assert_eq!(problems(variables), expected, "{variables:?}");
    };
    check(&[on, get], &[]);
    check(&[on], &["public.enabled"]);
    check(&[on, ("ALLOWED_METHODS", "a b,*")], &["public.enabled"]);
    check(&[("API_KEYS", &key)], &["public.api_keys"]);
    check(&[on, get, ("API_KEYS", &key)], &[]);
    check(&[on, get, ("API_KEYS", &scoped)], &["public.api_keys"]);
    check(
        &[on, get, ("REQUIRE_API_KEY", "true")],
        &["public.require_api_key"],
    );
    check(
        &[on, get, ("REPUTATION_BLOCK_ENABLED", "true")],
        &["public.reputation_block"],
    );
    check(
        &[on, get, ("IDENTITY_HEADER", "bad header")],
        &["public.identity_header"],
    );
    check(
        &[("IDENTITY_HEADER", "x-identity")],
        &["public.identity_header"],
    );
    check(&[on, get, ("IDENTITY_HEADER", "x-identity")], &[]);
}
