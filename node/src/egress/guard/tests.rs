//! The contract's cases, and what goes beyond them.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use archipel_kit::client::{Lookup, is_public};
use serde::Deserialize;
use serde_json::Value;

use super::{Guard, is_on};

const ADDRESSES: &str = include_str!("../../../tests/vectors/ssrf_ip.json");
const URLS: &str = include_str!("../../../tests/vectors/ssrf_url.json");

#[derive(Deserialize)]
struct Vectors<I> {
    cases: Vec<Case<I>>,
}

#[derive(Deserialize)]
struct Case<I> {
    name: String,
    input: I,
    expected: Value,
    /// Where the original lets something through that must not pass.
    divergence: Option<Value>,
}

#[derive(Deserialize)]
struct Address {
    ip: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    url: String,
    /// A list, or a text of it.
    host_allowlist: Value,
    dns: HashMap<String, Vec<IpAddr>>,
}

#[test]
fn the_vectors_of_addresses_hold() {
    let vectors: Vectors<Address> = serde_json::from_str(ADDRESSES).unwrap();
    for case in vectors.cases {
        let public = case.input.ip.parse().is_ok_and(is_public);
        let expected = case.divergence.is_none() && case.expected["publicUnicast"] == true;
        assert_eq!(public, expected, "{}", case.name);
    }
}

#[tokio::test]
async fn the_vectors_of_urls_hold() {
    let vectors: Vectors<Asked> = serde_json::from_str(URLS).unwrap();
    for case in vectors.cases {
        let Asked {
            url,
            host_allowlist,
            dns,
        } = case.input;
        let judged = guard(&allowlist(&host_allowlist), dns).judge(&url).await;
        let told = match judged {
            Ok(uri) => Ok(uri.to_string()),
            Err(refusal) => Err(refusal.to_string()),
        };
        let expected = if case.divergence.is_some() {
            Err("dns_private:100.64.0.9".to_owned())
        } else if url.contains('[') {
            // An address in brackets is one: the original asks DNS for it, in vain.
            Err("literal_private_ip".to_owned())
        } else if case.expected["ok"] == true {
            Ok(case.expected["url"].as_str().unwrap().to_owned())
        } else {
            let reason = case.expected["reason"].as_str().unwrap();
            Err(reason.replace('*', "unknown"))
        };
        assert_eq!(told, expected, "{}", case.name);
    }
}

fn allowlist(value: &Value) -> Vec<String> {
    let listed = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let listed = listed.iter().map(|host| host.as_str().unwrap().to_owned());
    listed.collect()
}

fn guard(allowlist: &[String], dns: HashMap<String, Vec<IpAddr>>) -> Guard {
    let lookup = Lookup::new(move |host, port| {
        let found = dns.get(&host).ok_or(io::Error::other("unknown"));
        let found = found.map(|found| {
            let found = found.iter().map(|&address| SocketAddr::new(address, port));
            found.collect()
        });
        Box::pin(async move { found })
    });
    Guard::new(allowlist, lookup)
}

#[tokio::test]
async fn an_address_is_an_address_however_it_is_written() {
    let check = async |url: &str, expected: Result<&str, &str>| {
        let judged = guard(&[], HashMap::new()).judge(url).await;
        let told = judged.map(|uri| uri.to_string());
        assert_eq!(
            told.as_deref().map_err(ToString::to_string),
            expected.map_err(str::to_owned),
            "{url}"
        );
    };
    for url in [
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://127.1/",
        "http://017700000001/",
        "http://①②⑦.0.0.1/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[2002:a9fe:a9fe::]/",
        "http://[fe80::1]/",
        "http://0/",
        "http://192.88.99.1/",
    ] {
        check(url, Err("literal_private_ip")).await;
    }
    check("http://0x5db8d822/", Ok("http://93.184.216.34/")).await;
    check(
        "https://[2606:4700::1111]:8443/a?b",
        Ok("https://[2606:4700::1111]:8443/a?b"),
    )
    .await;
    check("http:///path", Err("dns_error:unknown")).await;
    check("http://", Err("invalid_url")).await;
    check("file:///etc/passwd", Err("only_http_https")).await;
    check("http://user@93.184.216.34/", Err("credentials_in_url")).await;
}

#[test]
fn a_list_names_hosts_and_what_is_below_them() {
    let check = |host: &str, entry: &str, expected: bool| {
        assert_eq!(is_on(host, &[entry.to_owned()]), expected, "{host} {entry}");
    };
    check("registry.corp", "registry.corp", true);
    check("a.registry.corp", "registry.corp", true);
    check("REGISTRY.Corp", "registry.corp", true);
    check("registry.corp.", "registry.corp", false);
    check("evilregistry.corp", "registry.corp", false);
    check("registry.corp.evil", "registry.corp", false);
    check("127.0.0.1", "127.0.0.1", true);
    check("127.0.0.1", "0.0.1", false);
    check("::1", "::1", true);
    check("[::1]", "::1", true);
}

#[test]
fn without_a_list_public_addresses_may_be_called_with_one_the_hosts_on_it() {
    let check = |allowlist: &[&str], host: &str, address: &str, expected: bool| {
        let allowlist: Vec<String> = allowlist.iter().map(|&entry| entry.to_owned()).collect();
        let policy = Guard::new(&allowlist, Lookup::default()).address_policy();
        let allowed = policy.allows(host, address.parse().unwrap());
        assert_eq!(allowed, expected, "{allowlist:?} {host} {address}");
    };
    check(&[], "hook.example", "93.184.216.34", true);
    check(&[], "hook.example", "10.0.0.1", false);
    check(&[], "hook.example", "::ffff:127.0.0.1", false);
    check(&["Hook.Example "], "hook.example", "10.0.0.1", true);
    check(&["hook.example"], "other.example", "93.184.216.34", false);
}
