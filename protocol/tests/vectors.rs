//! The shared vectors of the wire, run against this crate.
//!
//! `tests/vectors/` holds one JSON file for each suite; `ARCHIPEL_VECTORS` names another folder of the same format. A case gives
//! an `input` and what the original made of it (`expected`); where we must differ, `divergence.ours` says how. Every
//! suite here is a function that makes our outcome in the shape of `expected`; the two are compared as JSON. The vectors are
//! written in the pilox spelling.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::{env, fs, io::Write, path::PathBuf};

use archipel_protocol::{
    canonical,
    envelope::{self, AgentStatus, BusSecret, Event, InvalidEvent, MeshMeta, SystemEvent},
    federation::{Minter, PeerKey, Policy, Verifier, keys, manifest::Manifest},
    ids::Origin,
    names::Dialect,
    wan::{BridgeError, Envelope, IngressError},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use uuid::Uuid;

const DIALECT: Dialect = Dialect::Pilox;

/// Makes our outcome of a case.
type Suite = fn(&Value, &Value) -> Value;

const SUITES: [(&str, Suite); 10] = [
    ("stable_stringify", stable_stringify),
    ("bus_seal", bus_seal),
    ("bus_verify", bus_verify),
    ("bus_events", bus_events),
    ("mesh_meta", mesh_meta),
    ("jwt_hs256", jwt_verify),
    ("jwt_ed25519", jwt_verify),
    ("jwt_mint", jwt_mint),
    ("wan_envelope", wan_envelope),
    ("manifest_verify", manifest_verify),
];

#[test]
fn every_vector_holds() {
    let folder = env::var_os("ARCHIPEL_VECTORS");
    let ours = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let files = read_folder(folder.as_ref().map_or(ours, PathBuf::from));
    let mut failures = Vec::new();
    let mut counts = Vec::new();
    for (name, document) in &files {
        let Some((_, suite)) = SUITES.iter().find(|(known, _)| known == name) else {
            tell(&format!("{name}: not a suite of this crate"));
            continue;
        };
        let cases = document["cases"].as_array().unwrap();
        assert!(!cases.is_empty(), "{name} has no cases");
        counts.push(format!("{name} {}", cases.len()));
        for case in cases {
            if let Err(difference) = judge(case, *suite) {
                failures.push(format!("{name}/{}: {difference}", text(&case["name"])));
            }
        }
    }
    tell(&format!("cases run: {}", counts.join(", ")));
    assert!(!counts.is_empty(), "no suite of this crate in the folder");
    assert!(
        folder.is_some() || counts.len() == SUITES.len(),
        "a suite is missing: {}",
        counts.join(", ")
    );
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn read_folder(folder: PathBuf) -> Vec<(String, Value)> {
    let entries = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()));
    let mut files: Vec<(String, Value)> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let document = serde_json::from_slice(&fs::read(&path).unwrap())
                .unwrap_or_else(|error| panic!("{name} is not JSON: {error}"));
            (name, document)
        })
        .collect();
    assert!(!files.is_empty(), "no vectors in {}", folder.display());
    files.sort_by(|one, other| one.0.cmp(&other.0));
    files
}

/// Past the test harness, which keeps the output of a passing test to itself.
fn tell(line: &str) {
    let mut stderr = std::io::stderr().lock();
    writeln!(stderr, "{line}").unwrap();
}

fn judge(case: &Value, suite: Suite) -> Result<(), String> {
    let expected = &case["expected"];
    let ours = suite(&case["input"], expected);
    let as_expected = same(&ours, expected);
    let refused = ours["ok"] == false || ours["ingress"]["ok"] == false;
    let reason = ours["reason"].as_str().unwrap_or_default();
    let holds = match case["divergence"]["ours"].as_str() {
        // What made the original crash, we must refuse.
        None if expected["throws"] == true => refused,
        // A message with a lone surrogate may be refused: text cannot carry one here.
        None => as_expected || (refused && has_lone_surrogate(case)),
        Some("may reject (reason malformed or bad_sig); never emit this form") => {
            as_expected || matches!(reason, "malformed" | "bad_sig")
        }
        Some("must return 401 bad_claims") => reason == "bad_claims",
        Some("must reject (401)" | "must return 401" | "return false / drop") => refused,
        Some("sign and verify agent.paused without reason") => as_expected,
        Some("accept when the hive dialect is enabled") => {
            as_expected && jwt_outcome(&case["input"], &Dialect::ALL)["ok"] == true
        }
        // What is older is refused by whoever knows a newer one (`Manifest::is_older_than`).
        Some("remember the highest issuedAt and refuse older ones (optional policy)") => {
            as_expected
        }
        Some("accept at the ingress; the bridge may follow either count") => {
            ours["ingress"]["ok"] == true
        }
        Some(other) => {
            tell(&format!("{}: unknown divergence {other:?}", case["name"]));
            as_expected || refused
        }
    };
    if holds {
        return Ok(());
    }
    Err(format!(
        "ours {ours}, expected {expected}, divergence {}",
        case["divergence"]
    ))
}

/// Whether a case is about a lone surrogate, which can only be written as an escape in its JSON text.
fn has_lone_surrogate(case: &Value) -> bool {
    let texts = ["json", "coreJson", "wire"].map(|member| case["input"][member].as_str());
    let refused = |json: &str| canonical::canonicalize(json).is_err();
    let mut texts = texts.into_iter().flatten();
    texts.any(|json| refused(json) && json.to_ascii_lowercase().contains("\\ud"))
}

/// Reads the JSON of a case as the original did, numbers beyond the doubles being null.
fn read(json: &Value) -> Option<Value> {
    let canonical = canonical::canonicalize(text(json)).ok()?;
    Some(serde_json::from_str(&canonical).unwrap())
}

/// Equal as the wire sees it: 1.0 is 1, and the order of members says nothing.
fn same(one: &Value, other: &Value) -> bool {
    canonical::to_string(one) == canonical::to_string(other)
}

fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a string: {value}"))
}

fn stable_stringify(input: &Value, _: &Value) -> Value {
    match canonical::canonicalize(text(&input["json"])) {
        Ok(canonical) => json!({"canonical": canonical}),
        Err(error) => json!({"ok": false, "error": error.to_string()}),
    }
}

fn bus_seal(input: &Value, expected: &Value) -> Value {
    let event =
        read(&input["coreJson"]).and_then(|core| parse_event(text(&input["kind"]), &core).ok());
    let meta = MeshMeta::parse(&input["meshMeta"], DIALECT).ok();
    let (Some(event), Some(meta)) = (event, meta) else {
        return json!({"ok": false});
    };
    let channel = text(&input["channel"]);
    let secret = input["secret"]
        .as_str()
        .map(|secret| BusSecret::new(secret).unwrap());
    let wire = envelope::seal(&event, channel, &meta, secret.as_ref(), DIALECT);
    let sealed: Value = serde_json::from_str(&wire).unwrap();
    let mut ours = json!({"wire": expected["wire"]});
    let expected_wire: Value = serde_json::from_str(text(&expected["wire"])).unwrap();
    if !same(&sealed, &expected_wire) {
        ours["wire"] = wire.into();
    }
    if secret.is_some() {
        let core = Value::Object(event.to_members());
        ours["hmacInput"] =
            envelope::signing_input(core, meta.to_value(DIALECT), channel, DIALECT).into();
        ours["meshSig"] = sealed["meshSig"].clone();
    }
    ours
}

fn bus_verify(input: &Value, _: &Value) -> Value {
    let secret = BusSecret::new(text(&input["secret"])).unwrap();
    let wire = text(&input["wire"]).as_bytes();
    let opened = envelope::open(wire, text(&input["channel"]), &[secret], DIALECT);
    json!({"ok": opened.is_ok()})
}

fn bus_events(input: &Value, expected: &Value) -> Value {
    let Some(value) = read(&input["json"]) else {
        return json!({"ok": false});
    };
    match parse_event(text(&input["kind"]), &value) {
        Ok(event) => json!({"ok": true, "normalised": event.to_members()}),
        Err(InvalidEvent { mut paths }) => {
            // The set of paths counts, not their order.
            let mut wanted: Vec<&str> = expected["paths"]
                .as_array()
                .map(|paths| paths.iter().map(text).collect())
                .unwrap_or_default();
            wanted.sort_unstable();
            paths.sort_unstable();
            if paths == wanted {
                return json!({"ok": false, "paths": expected["paths"]});
            }
            json!({"ok": false, "paths": paths})
        }
    }
}

fn parse_event(kind: &str, value: &Value) -> Result<Event, InvalidEvent> {
    match kind {
        "system_event" => SystemEvent::parse(value).map(Event::from),
        "agent_status" => AgentStatus::parse(value).map(Event::from),
        other => panic!("unknown kind {other}"),
    }
}

fn mesh_meta(input: &Value, _: &Value) -> Value {
    match read(&input["json"]).and_then(|value| MeshMeta::parse(&value, DIALECT).ok()) {
        Some(meta) => json!({"ok": true, "normalised": meta.to_value(DIALECT)}),
        None => json!({"ok": false}),
    }
}

fn jwt_verify(input: &Value, expected: &Value) -> Value {
    let mut ours = jwt_outcome(input, &[DIALECT]);
    // We tell the expiry in whole seconds.
    if let Some(expiry) = expected["exp"].as_f64()
        && ours["exp"].as_f64() == Some(expiry.floor())
    {
        ours["exp"] = expected["exp"].clone();
    }
    ours
}

fn jwt_outcome(input: &Value, dialects: &[Dialect]) -> Value {
    let options = &input["options"];
    let policy = Policy {
        audience: options["expectedAudience"].as_str().map(str::to_owned),
        require_audience: options["requireAudience"].as_bool().unwrap(),
        require_jti: options["requireJti"].as_bool().unwrap(),
        skew_seconds: options["clockSkewLeewaySeconds"].as_u64().unwrap(),
        max_lifetime_seconds: None,
        letter: None,
    };
    let verifier = match text(&input["mode"]) {
        "HS256" => {
            let issuers: Vec<&str> = dialects
                .iter()
                .map(|dialect| dialect.hs256_issuer())
                .collect();
            Verifier::hs256(text(&input["secret"]), &issuers).unwrap()
        }
        "Ed25519" => Verifier::ed25519(roster(&input["peers"])).unwrap(),
        other => panic!("unknown mode {other}"),
    };
    let now = input["now"].as_i64().unwrap();
    match verifier.verify(text(&input["token"]), &policy, now) {
        Ok(verified) => json!({
            "ok": true,
            "jti": verified.jti,
            "exp": verified.expires_at,
            "iss": verified.issuer,
        }),
        Err(error) => json!({"ok": false, "reason": error.token()}),
    }
}

/// A peer without a usable key is no peer.
fn roster(peers: &Value) -> Vec<(Origin, [PeerKey; 1])> {
    let peer = |peer: &Value| {
        let key = keys::from_hex(peer["publicKeyHex"].as_str()?).ok()?;
        let origin = Origin::parse(text(&peer["origin"])).unwrap();
        Some((origin, [PeerKey::new(key)]))
    };
    peers.as_array().unwrap().iter().filter_map(peer).collect()
}

fn manifest_verify(input: &Value, _: &Value) -> Value {
    match Manifest::open(text(&input["body"]), text(&input["publicKeyHex"])) {
        Ok(manifest) => {
            let peers = manifest
                .peers
                .iter()
                .map(|peer| match &peer.public_key_hex {
                    None => json!({"origin": peer.origin}),
                    Some(key) => json!({"origin": peer.origin, "ed25519PublicKeyHex": key}),
                });
            json!({"ok": true, "peers": peers.collect::<Vec<_>>()})
        }
        Err(error) => json!({"ok": false, "reason": error.token()}),
    }
}

fn jwt_mint(input: &Value, expected: &Value) -> Value {
    let now = input["now"].as_i64().unwrap();
    let audience = input["audience"].as_str();
    let (minter, verifier) = match text(&input["alg"]) {
        "HS256" => {
            let secret = text(&input["secret"]);
            let issuer = DIALECT.hs256_issuer();
            (
                Minter::hs256(secret, issuer).unwrap(),
                Verifier::hs256(secret, &[issuer]).unwrap(),
            )
        }
        _ => {
            let seed = keys::from_hex(text(&input["seedHex"])).unwrap();
            let issuer = Origin::parse(text(&input["issuer"])).unwrap();
            let key = keys::public_key_of_seed(&seed).unwrap();
            (
                Minter::ed25519(&seed, &issuer).unwrap(),
                Verifier::ed25519([(issuer, [PeerKey::new(key)])]).unwrap(),
            )
        }
    };
    let ttl = input["ttlSeconds"].as_u64().unwrap();
    let token = minter.mint(audience, ttl, Uuid::from_u128(7), now).unwrap();
    let policy = Policy {
        audience: audience.map(str::to_owned),
        require_audience: audience.is_some(),
        ..Policy::default()
    };
    for token in [&token, text(&expected["exampleToken"])] {
        if let Err(error) = verifier.verify(token, &policy, now) {
            return json!({"ok": false, "token": token, "reason": error.token()});
        }
    }
    let part = |index| {
        URL_SAFE_NO_PAD
            .decode(token.split('.').nth(index).unwrap())
            .unwrap()
    };
    let mut payload: Map<String, Value> = serde_json::from_slice(&part(1)).unwrap();
    let names: Vec<String> = payload.keys().cloned().collect();
    let jti = payload.shift_remove("jti").unwrap();
    assert_eq!(jti, Uuid::from_u128(7).to_string());
    json!({
        "header": String::from_utf8(part(0)).unwrap(),
        "payloadKeys": names,
        "payloadWithoutJti": payload,
        "exampleToken": expected["exampleToken"],
    })
}

fn wan_envelope(input: &Value, _: &Value) -> Value {
    let body = text(&input["json"]).as_bytes();
    let ingress = match Envelope::decode_ingress(body) {
        Ok(envelope) => json!({"ok": true, "normalised": envelope.to_value()}),
        Err(IngressError::Invalid(issues)) => {
            let paths: Vec<String> = issues.into_iter().map(|issue| issue.path).collect();
            json!({"ok": false, "issuePaths": paths})
        }
        Err(IngressError::NotJson) => json!({"ok": false}),
    };
    let bridge = match Envelope::decode_bridge(body) {
        Ok(_) => json!({"ok": true}),
        Err(BridgeError::Invalid {
            instance_path,
            keyword,
            message,
        }) => json!({
            "ok": false,
            "instancePath": instance_path,
            "keyword": keyword,
            "message": message,
        }),
        Err(BridgeError::NotJson) => json!({"ok": false}),
    };
    json!({"ingress": ingress, "bridge": bridge})
}
