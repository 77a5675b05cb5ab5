//! Defaults, the names of the gateway that this one replaces, every problem at once, and the example file.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{fs, path::Path};

use archipel_kit::settings::{Environment, example};

use super::*;

fn read(variables: &[(&str, &str)]) -> Result<GatewaySettings, Problems> {
    GatewaySettings::load(None, &variables.iter().copied().collect())
}

#[test]
fn the_environment_of_the_gateway_it_replaces_is_understood() {
    let settings = read(&[
        ("PORT", "4080"),
        ("GATEWAY_UPSTREAM_BASE", "http://127.0.0.1:3000/"),
        ("GATEWAY_JSONRPC_PATH", "/api/a2a/jsonrpc/public"),
        ("GATEWAY_MAX_BODY_BYTES", "524288"),
        ("GATEWAY_RATE_LIMIT_PER_MIN", "60"),
        (
            "GATEWAY_RATE_LIMIT_REDIS_URL",
            "redis://:hunter2@127.0.0.1:6379",
        ),
        (
            "GATEWAY_UPSTREAM_AUTH_SECRET",
            "0123456789abcdef0123456789abcdef",
        ),
        ("GATEWAY_UPSTREAM_FORWARD_FOR", "Chain"),
        ("GATEWAY_UPSTREAM_TIMEOUT_MS", "30000"),
        ("GATEWAY_BLOCK_USER_AGENTS", "bad, worse"),
        ("GATEWAY_SECURITY_HEADERS", "yes"),
        ("GATEWAY_METRICS_AUTH_SECRET", "token"),
        ("GATEWAY_MAX_URL_BYTES", "4096"),
        ("GATEWAY_REQUEST_TIMEOUT_MS", "0"),
    ])
    .unwrap();
    assert_eq!(settings.address().to_string(), "127.0.0.1:4080");
    assert_eq!(
        (settings.max_body.bytes(), settings.max_url.bytes()),
        (524_288, 4096)
    );
    assert_eq!(
        (settings.total_timeout, settings.request_timeout),
        (Duration::from_secs(30), Duration::ZERO)
    );
    assert_eq!(
        (settings.forward_for, settings.block_user_agents.len()),
        (ForwardFor::Chain, 2)
    );
    assert!(settings.security_headers);
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn every_problem_is_reported_at_once() {
    let problems = read(&[
        ("GATEWAY_LISTEN", "nowhere"),
        ("GATEWAY_UPSTREAM_BASE", "ftp://host/"),
        ("GATEWAY_MAX_BODY_BYTES", "10"),
        ("GATEWAY_UPSTREAM_FORWARD_FOR", "first"),
        ("GATEWAY_TRUSTED_PROXIES", "10.0.0.0/8, 10.0.0.0/99"),
        ("GATEWAY_UPSTREAM_AUTH_SECRET", "short"),
        ("GATEWAY_PASS_HEADERS", "X-Fine, Upgrade"),
        ("GATEWAY_SECURITY_HEADERS", "perhaps"),
        ("GATEWAY_TLS_CERT_PATH", "/etc/tls/cert.pem"),
        ("GATEWAY_MTLS_CA_PATH", "/etc/tls/ca.pem"),
        ("ARCHIPEL_LOG", "info,no=such=level"),
    ])
    .unwrap_err();
    let expected = "\
GATEWAY_LISTEN: expected an address and port such as 127.0.0.1:7400, found \"nowhere\"
GATEWAY_UPSTREAM_AUTH_SECRET: must be between 32 and 512 characters, found 5
GATEWAY_UPSTREAM_FORWARD_FOR: expected one of `off` `socket` `chain`, found \"first\"
GATEWAY_TRUSTED_PROXIES[1]: expected a network such as 10.0.0.0/8, found \"10.0.0.0/99\"
GATEWAY_MAX_BODY_BYTES: must be between \"1KiB\" and \"8MiB\", found \"10\"
GATEWAY_SECURITY_HEADERS: expected true or false, found \"perhaps\"
ARCHIPEL_LOG: expected a level or a list such as `info,archipel_node=debug`, found \"info,no=such=level\"
upstream: must be an http:// or https:// URL with a host
pass_headers[1]: \"Upgrade\" is never passed on
GATEWAY_TLS_CERT_PATH: this gateway speaks plain HTTP only: unset it, and put a proxy that ends TLS before the gateway
GATEWAY_MTLS_CA_PATH: this gateway speaks plain HTTP only: unset it, and put a proxy that ends TLS before the gateway";
    assert_eq!(problems.to_string(), expected);
}

#[test]
fn a_key_for_tls_alone_is_a_problem_too() {
    let problems = read(&[("GATEWAY_TLS_KEY_PATH", "/etc/tls/key.pem")]).unwrap_err();
    let places: Vec<&str> = problems.iter().map(|problem| problem.at.as_str()).collect();
    assert_eq!(places, ["GATEWAY_TLS_KEY_PATH"]);
    assert!(read(&[("GATEWAY_TLS_KEY_PATH", "")]).is_ok());
}

#[test]
fn rules_over_values_are_reported_together() {
    let problems = read(&[
        ("GATEWAY_UPSTREAM_BASE", "ftp://user:pass@host/?q"),
        ("GATEWAY_JSONRPC_PATH", "http://elsewhere/rpc"),
        (
            "GATEWAY_PASS_HEADERS",
            "X-Fine, X-Forwarded-For, Upgrade, not a name",
        ),
        ("GATEWAY_RATE_LIMIT_REDIS_URL", "http://secret-host"),
    ])
    .unwrap_err();
    let expected = "\
upstream: must be an http:// or https:// URL with a host
upstream: must not hold a user or password
upstream: must not hold a query or fragment
jsonrpc_path: must be a path that begins with / and has no query
pass_headers[1]: \"X-Forwarded-For\" is never passed on
pass_headers[2]: \"Upgrade\" is never passed on
pass_headers[3]: \"not a name\" is no header name
rate_limit_redis_url: is no Redis URL: InvalidClientConfig";
    assert_eq!(problems.to_string(), expected);
}

#[test]
fn the_example_file_is_up_to_date_and_holds_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway.example.toml");
    let written = fs::read_to_string(&path).unwrap();
    let generated = example::<GatewaySettings>();
    assert!(
        written == generated,
        "write it anew: archipel-gateway example-config > gateway/gateway.example.toml"
    );
    let from_file = GatewaySettings::load(Some(&path), &Environment::default()).unwrap();
    assert_eq!(from_file, read(&[]).unwrap());
}
