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
        ("GATEWAY_TLS_CERT_PATH", "/nowhere/cert.pem"),
        ("GATEWAY_TLS_KEY_PATH", "/nowhere/key.pem"),
        ("GATEWAY_ADMIN_LISTEN", "0.0.0.0:7481"),
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
tls.certificate: /nowhere/cert.pem cannot be read: No such file or directory (os error 2)
ARCHIPEL_LOG: expected a level or a list such as `info,archipel_node=debug`, found \"info,no=such=level\"
upstream: must be an http:// or https:// URL with a host
pass_headers[1]: \"Upgrade\" is never passed on
admin_listen: must be a loopback address";
    assert_eq!(problems.to_string(), expected);
}

#[test]
fn half_of_what_tls_needs_is_a_problem() {
    let check = |variables: &[(&str, &str)], expected: &str| {
        assert_eq!(read(variables).unwrap_err().to_string(), expected);
    };
    check(
        &[("GATEWAY_TLS_KEY_PATH", "/etc/tls/key.pem")],
        "tls.certificate: is needed with `key`",
    );
    check(
        &[("GATEWAY_TLS_CERT_PATH", "/etc/tls/cert.pem")],
        "tls.key: is needed with `certificate`",
    );
    check(
        &[("GATEWAY_MTLS_CA_PATH", "/etc/tls/ca.pem")],
        "tls.client_ca: needs `certificate` and `key`",
    );
    assert!(read(&[("GATEWAY_TLS_KEY_PATH", "")]).is_ok());
}

#[test]
fn tables_have_rules_of_their_own() {
    let text = r#"
trusted_hops = 1
trusted_proxies = ["10.0.0.0/8"]
proxy_header = "required"
forward_for = "chain"
[[upstreams]]
url = "http://a:1"
weight = 0
[[upstreams]]
url = "http://a:1/path"
weight = 0
[[upstreams]]
url = "a:1"
name = "third"
weight = 0
[[routes]]
path = "agents"
methods = ["GET", "PATCH"]
[[tiers]]
name = "pro"
per_minute = 5
key_hashes = ["00"]
[cors]
origins = ["https://ok.example", "https://*", "example.org"]
[health]
path = "readyz"
"#;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gateway.toml");
    fs::write(&path, text).unwrap();
    let problems = GatewaySettings::load(Some(&path), &Environment::default()).unwrap_err();
    let expected = r#"upstreams[2].url: must be an http:// or https:// URL with a host
routes[0].path: must begin with /
routes[0].methods[1]: must be GET, HEAD, POST or DELETE, found "PATCH"
tiers[0].key_hashes[0]: must be 64 hexadecimal digits
cors.origins[1]: must be an origin such as https://app.example.org or https://*.example.org, found "https://*"
cors.origins[2]: must be an origin such as https://app.example.org or https://*.example.org, found "example.org"
upstreams[1].name: "a:1" is the name of another one
upstreams: need one with a weight
health.path: must be a path that begins with / and has no query
trusted_hops: cannot stand beside `trusted_proxies`: set one of them
forward_for: cannot be `chain` with `proxy_header`: the balancer's address is not seen"#;
    assert_eq!(problems.to_string(), expected);
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
