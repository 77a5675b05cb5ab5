//! Who counts as whom, and where.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{fs, path::Path};

use actix_http::header::{HeaderName, HeaderValue as Value};
use archipel_kit::settings::Environment;

use super::*;

const SETTINGS: &str = r#"
rate_limit_per_minute = 60
rate_limit_peer_per_minute = 30
[[tiers]]
name = "pro"
per_minute = 600
burst = 50
keys = ["pro-key"]
[[tiers]]
name = "enterprise"
per_minute = 0
key_hashes = ["HASH"]
[[routes]]
path = "/agents/slow"
per_minute = 6
total_per_minute = 100
"#;

fn settings(text: &str) -> GatewaySettings {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.toml");
    let hash = hex::encode(sha256(b"enterprise-key"));
    fs::write(&path, text.replace("HASH", &hash)).unwrap();
    GatewaySettings::load(Some(Path::new(&path)), &Environment::default()).unwrap()
}

fn checks(headers: &[(&'static str, &str)], client: &str, at_slow: bool) -> Vec<String> {
    let settings = settings(SETTINGS);
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(
            HeaderName::from_static(name),
            Value::try_from(*value).unwrap(),
        );
    }
    let asking = Asking {
        client: client.parse().unwrap(),
        headers: &map,
        certificate: None,
        route: settings.routes.first().filter(|_| at_slow),
    };
    let checks = Limits::new(&settings).unwrap().of(&asking);
    checks
        .into_iter()
        .map(|(key, rule)| {
            let key = key.to_string();
            // Which one it is does not matter here, only of which kind.
            let kind = key.split_inclusive([':', '@']).next().unwrap();
            format!("{} {}", kind.trim_end_matches(':'), rule.limit())
        })
        .collect()
}

#[test]
fn a_known_key_counts_for_itself_and_all_else_for_the_address() {
    let check = |headers: &[(&'static str, &str)], expected: &[&str]| {
        assert_eq!(checks(headers, "192.0.2.1", false), expected, "{headers:?}");
    };
    check(&[], &["address 60"]);
    check(&[("x-hive-public-a2a-key", "pro-key")], &["key 50"]);
    check(&[("x-pilox-public-a2a-key", " pro-key ")], &["key 50"]);
    check(&[("authorization", "Bearer pro-key")], &["key 50"]);
    check(&[("authorization", "Bearer made-up")], &["address 60"]);
    check(&[("authorization", "Bearer enterprise-key")], &[]);
}

#[test]
fn a_route_counts_each_client_and_all_together() {
    assert_eq!(
        checks(&[], "192.0.2.1", true),
        ["address 60", "address 6", "all@ 100"]
    );
    assert_eq!(
        checks(&[("authorization", "Bearer pro-key")], "192.0.2.1", true),
        ["key 50", "key 6", "all@ 100"]
    );
}

#[test]
fn a_peer_counts_with_the_address_it_comes_from() {
    let token = format!(
        "e30.{}.sig",
        URL_SAFE_NO_PAD.encode(r#"{"iss":"https://beta"}"#)
    );
    let headers = [("x-hive-federation-jwt", token.as_str())];
    assert_eq!(
        checks(&headers, "192.0.2.1", false),
        ["address 60", "peer 30"]
    );
    for broken in ["", "a.b", "a.!.c", "e30.e30.x"] {
        let headers = [("x-hive-federation-jwt", broken)];
        assert_eq!(checks(&headers, "192.0.2.1", false), ["address 60"]);
    }
}

#[test]
fn names_hold_no_key_and_are_those_an_operator_asks_for() {
    let name = |text: &str| Key::of_text(text).to_string();
    assert_eq!(name("192.0.2.1"), "address:192.0.2.1");
    assert_eq!(name("2001:db8::7"), "address:2001:db8::");
    assert!(name("pro-key").starts_with("key:") && !name("pro-key").contains("pro"));
}
