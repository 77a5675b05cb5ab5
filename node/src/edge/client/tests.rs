//! The contract's cases of where a caller is, and where we differ.

use archipel_kit::admission::ClientHeader;
use serde_json::Value;

use super::*;

const VECTORS: &str = include_str!("../../../tests/vectors/client_ip.json");

/// What we make of a case, in the words of the original.
fn found(input: &Value) -> (ClientSource, String) {
    let source = match input["source"].as_str().unwrap() {
        "real_ip" => ClientSource::RealIp,
        "xff_first" => ClientSource::XffFirst,
        "xff_last" => ClientSource::XffLast,
        _ => ClientSource::Auto,
    };
    let mut headers = HeaderMap::new();
    for (name, value) in input["headers"].as_object().unwrap() {
        headers.insert(
            name.parse().unwrap(),
            value.as_str().unwrap().parse().unwrap(),
        );
    }
    let rules = ClientRules::new(0, &[], ClientHeader::XForwardedFor);
    let connection = "127.0.0.9".parse().ok();
    let client = ClientAddress { source, rules }.find(connection, &headers);
    (
        source,
        client.map_or_else(|| "unknown".to_owned(), |client| client.to_string()),
    )
}

#[test]
fn the_vectors_hold() {
    let document: Value = serde_json::from_str(VECTORS).unwrap();
    for case in document["cases"].as_array().unwrap() {
        let (name, input) = (case["name"].as_str().unwrap(), &case["input"]);
        let expected = case["expected"]["ip"].as_str().unwrap();
        let (source, client) = found(input);
        // Where we differ, and why.
        let expected = match name {
            // Nobody is believed who was not named: the client is whoever is connected. A source that is none does not
            // start, so the two cases of it are those of `auto`.
            _ if source == ClientSource::Auto => "127.0.0.9",
            // What is no address is no client: it must not be counted or listed as one.
            "xff_first_garbage" => "unknown",
            // The same address, as addresses are written.
            "real_ip_v4_leading_zero" => "10.0.0.1",
            _ => expected,
        };
        assert_eq!(client, expected, "{name}");
    }
}

#[test]
fn the_last_hop_of_several_headers_counts() {
    let mut headers = HeaderMap::new();
    for line in ["203.0.113.5, 10.0.0.1", "::ffff:192.0.2.9 ,"] {
        headers.append("x-forwarded-for".parse().unwrap(), line.parse().unwrap());
    }
    let check = |source, expected: &str| {
        let rules = ClientRules::new(0, &[], ClientHeader::XForwardedFor);
        let client = ClientAddress { source, rules }.find(None, &headers);
        assert_eq!(client, expected.parse().ok());
    };
    check(ClientSource::XffFirst, "203.0.113.5");
    check(ClientSource::XffLast, "192.0.2.9");
    check(ClientSource::Auto, "nobody is connected");
}
