//! Which manifests are taken, and what is told of those that are not.

use archipel_kit::settings::{Environment, load};
use archipel_protocol::names::Dialect;
use serde_json::{Value, json};

use super::*;
use crate::config::CardCheck;
use crate::federation::Federation;
use crate::federation::peers::listed_origins;
use crate::federation::settings::{Algorithm, FederationSettings};

const RESOLVE: &str = include_str!("../../../tests/vectors/manifest_resolve.json");
const PEER_URLS: &str = include_str!("../../../tests/vectors/peer_urls.json");

fn cases(suite: &str) -> Vec<Value> {
    let suite: Value = serde_json::from_str(suite).unwrap();
    suite["cases"].as_array().unwrap().clone()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn the_roster_is_that_of_the_vectors() {
    for case in cases(RESOLVE) {
        let ours = resolved(&case["input"]);
        assert_eq!(ours, case["expected"], "{}", case["name"]);
    }
}

fn resolved(input: &Value) -> Value {
    let variables = input["env"].as_object().unwrap().iter();
    let variables = variables.map(|(name, value)| (name.as_str(), text(value)));
    let on = [("MESH_FEDERATION_ENABLED", "true")];
    let mut given: Vec<(&str, &str)> = variables.collect();
    if !given.iter().any(|(name, _)| *name == on[0].0) {
        given.extend(on);
    }
    let environment: Environment = given.into_iter().collect();
    let settings: FederationSettings = load(None, &environment).unwrap();
    let own = Origin::parse("https://own.example").unwrap();
    let federation =
        Federation::from_settings(&own, Dialect::Pilox, &settings, &[], CardCheck::Off).unwrap();
    let mut status = ManifestStatus::default();
    if let Some(manifest) = input["manifest"].as_object() {
        status.tried_ms = Some(1);
        let answered = manifest
            .get("status")
            .map_or(200, |status| status.as_u64().unwrap());
        let body = match manifest.get("bodyRepeat") {
            Some(repeat) => {
                let count = usize::try_from(repeat["count"].as_u64().unwrap()).unwrap();
                text(&repeat["text"]).repeat(count)
            }
            None => text(&manifest["body"]).to_owned(),
        };
        let key = text(&input["manifestPublicKeyHex"]);
        match judge(u16::try_from(answered).unwrap(), body.as_bytes(), key, None) {
            Ok(manifest) => {
                let peers = peers_of(&manifest);
                federation.replace(|parts| parts.manifest = peers).unwrap();
            }
            Err(fault) => status.fault = Some(fault),
        }
    }
    as_the_vectors_show(&federation, &status)
}

fn as_the_vectors_show(federation: &Federation, status: &ManifestStatus) -> Value {
    let roster = federation.roster();
    let peers = match federation.is_enabled() {
        true => roster.peers(),
        false => &[],
    };
    let of = |source: PeerSource| peers.iter().filter(|peer| peer.source == source).count();
    let origins: Vec<&str> = peers.iter().map(|peer| peer.origin.as_str()).collect();
    let keys: Vec<String> = match federation.algorithm() {
        Algorithm::Ed25519 => peers
            .iter()
            .filter_map(|peer| peer.public_key_hex(0))
            .collect(),
        _ => Vec::new(),
    };
    let fault = status.fault.as_ref();
    json!({
        "resolved": {
            "origins": origins,
            "ed25519PublicKeysHex": keys,
            "staticPeerCount": of(PeerSource::Variables),
            "manifestPeerCount": of(PeerSource::Manifest),
            "manifestError": fault.map(|fault| fault.token()),
        },
        "publicFields": {
            "manifestLastSyncOk": status.last_sync_ok(),
            "manifestIssueCategory": fault.map(|fault| fault.issue().word()),
        },
        "operatorDebug": fault.map(|fault| fault.operator_token()),
    })
}

#[test]
fn origins_are_those_of_the_vectors() {
    for case in cases(PEER_URLS) {
        let (input, expected) = (&case["input"], &case["expected"]);
        let raw = text(&input["raw"]);
        match text(&input["fn"]) {
            "peer_urls" => {
                let listed: Vec<String> = raw.split(',').map(str::to_owned).collect();
                let max = usize::try_from(input["max"].as_u64().unwrap()).unwrap();
                let found = listed_origins(&listed, max);
                let found: Vec<&str> = found.iter().map(Origin::as_str).collect();
                assert_eq!(json!(found), expected["origins"], "{}", case["name"]);
            }
            "manifest_origin" => {
                let peer = peer_of(&ManifestPeer {
                    origin: raw.to_owned(),
                    public_key_hex: None,
                });
                let found = peer.map(|peer| peer.origin.to_string());
                assert_eq!(json!(found), expected["origin"], "{}", case["name"]);
            }
            // What descriptors list is no peer.
            _ => {}
        }
    }
}

#[test]
fn a_fault_is_told_by_its_token() {
    let check = |token: &str, operator: &str, issue: ManifestIssue| {
        let fault = ManifestFault::Other(token.to_owned());
        assert_eq!(
            (fault.operator_token().as_str(), fault.issue()),
            (operator, issue)
        );
    };
    check("http_404", "http_404", ManifestIssue::Fetch);
    check("http_4040", "http_4040", ManifestIssue::Fetch);
    check("fetch_timeout", "fetch_timeout", ManifestIssue::Fetch);
    check("verify_error", "verify_error", ManifestIssue::Verify);
    check(
        "manifest_url_not_http",
        "manifest_url_not_http",
        ManifestIssue::Protocol,
    );
    let unknown = ManifestIssue::Unknown;
    check(
        "manifest_public_key_missing",
        "manifest_public_key_missing",
        unknown,
    );
    check("ENOTFOUND x", "unknown", unknown);
    check("_a", "unknown", unknown);
    check(&"x".repeat(81), "unknown", unknown);
}
