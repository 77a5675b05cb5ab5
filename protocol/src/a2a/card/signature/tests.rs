//! What is believed and what is not; that every covered member counts.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const SEED: [u8; 32] = [7; 32];

fn signer() -> CardSigner {
    CardSigner::new(&SEED, None).unwrap()
}

fn trusted() -> TrustedKeys {
    TrustedKeys::from_jwks(&signer().jwks()).unwrap()
}

fn card() -> Value {
    json!({
        "name": "agent",
        "description": "does it",
        "version": "1",
        "supportedInterfaces": [{"url": "https://a.example/x", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
        "capabilities": {"streaming": true, "extensions": [{"uri": "urn:x", "params": {"n": 1, "flag": false}}]},
        "securitySchemes": {"bearer": {"httpAuthSecurityScheme": {"scheme": "Bearer"}}},
        "securityRequirements": [{"schemes": {"bearer": {}}}],
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": [{"id": "s", "name": "S", "description": "d", "tags": ["t"]}],
        "x-more": {"deep": [1, null, "x"]},
    })
}

fn signed() -> Value {
    serde_json::from_str(&signer().sign(&card().to_string()).unwrap()).unwrap()
}

/// A card with one signature of ours under this protected header.
fn under(header: &Value) -> Value {
    let protected = encode(header.to_string().as_bytes());
    let mut card = card();
    let covered = payload(card.as_object().unwrap(), Reading::Specification);
    let signature = signer()
        .key
        .sign(&signing_input(&protected, &covered))
        .unwrap();
    card["signatures"] = json!([{"protected": protected, "signature": encode(&signature)}]);
    card
}

fn check(card: &Value, expected: Result<(), VerifyError>) {
    let verified = verify(&card.to_string(), &trusted());
    assert_eq!(verified.map(drop), expected, "{card}");
}

#[test]
fn what_is_signed_is_believed_and_handed_on() {
    let verified = verify(&signed().to_string(), &trusted()).unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&verified.card).unwrap(),
        card()
    );
    assert_eq!(verified.kid, signer().kid());
}

#[test]
fn text_and_order_of_what_is_signed_do_not_count() {
    let text = serde_json::to_string_pretty(&signed()).unwrap();
    let respelt = text
        .replace("\"agent\"", "\"\\u0061gent\"")
        .replace(": 1,", ": 1.0,");
    assert_ne!(text, respelt);
    assert!(verify(&respelt, &trusted()).is_ok());
}

#[test]
fn a_bare_key_is_tried_whatever_it_is_called() {
    let mut keys = TrustedKeys::default();
    assert!(keys.is_empty());
    keys.add_ed25519(&[1; 32]).unwrap();
    keys.add_ed25519(&public_key_of_seed(&SEED).unwrap())
        .unwrap();
    assert!(verify(&signed().to_string(), &keys).is_ok());
}

#[test]
fn signatures_that_are_not_believed() {
    let kid = signer().kid().to_owned();
    check(&under(&json!({"alg": "EdDSA", "kid": kid})), Ok(()));
    check(&under(&json!({"alg": "Ed25519", "kid": kid})), Ok(()));
    for (header, problem) in [
        (json!({"alg": "none", "kid": kid}), VerifyError::Algorithm),
        (json!({"alg": "HS256", "kid": kid}), VerifyError::Algorithm),
        (json!({"alg": "ES256", "kid": kid}), VerifyError::Algorithm),
        (
            json!({"alg": "EdDSA", "kid": "another"}),
            VerifyError::UnknownKey,
        ),
        (json!({"alg": "EdDSA"}), VerifyError::Malformed),
        (json!({"kid": kid}), VerifyError::Malformed),
        (json!(["EdDSA", kid]), VerifyError::Malformed),
        (
            json!({"alg": "EdDSA", "kid": kid, "crit": ["b64"], "b64": false}),
            VerifyError::Critical,
        ),
        (
            json!({"alg": "EdDSA", "kid": kid, "crit": null}),
            VerifyError::Critical,
        ),
    ] {
        check(&under(&header), Err(problem));
    }
    let mut card = under(&json!({"alg": "EdDSA", "kid": kid}));
    card["signatures"][0]["header"] = json!({"crit": ["x"]});
    check(&card, Err(VerifyError::Critical));
    card["signatures"][0] = json!({"protected": "e30", "signature": "="});
    check(&card, Err(VerifyError::Malformed));
    for unsigned in [json!([]), json!(null), json!("x"), json!({})] {
        card["signatures"] = unsigned;
        check(&card, Err(VerifyError::Unsigned));
    }
    assert_eq!(verify("[]", &trusted()), Err(VerifyError::NotACard));
}

#[test]
fn a_header_that_says_two_things_is_none() {
    let header = format!(r#"{{"alg":"EdDSA","kid":"x","kid":"{}"}}"#, signer().kid());
    let mut card = card();
    card["signatures"] = json!([{"protected": encode(header.as_bytes()), "signature": "AAAA"}]);
    check(&card, Err(VerifyError::Malformed));
}

#[test]
fn one_good_signature_is_enough_and_of_the_others_the_furthest_is_told() {
    let other = CardSigner::new(&[8; 32], None).unwrap();
    let foreign = other.sign(&card().to_string()).unwrap();
    let mut card: Value = serde_json::from_str(&foreign).unwrap();
    check(&card, Err(VerifyError::UnknownKey));
    let good = signed()["signatures"][0].clone();
    card["signatures"].as_array_mut().unwrap().push(good);
    check(&card, Ok(()));
    card["name"] = json!("another");
    check(&card, Err(VerifyError::Wrong));
}

#[test]
fn signing_replaces_what_was_signed_before() {
    let again = signer().sign(&signed().to_string()).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), signed());
    assert_eq!(signed()["signatures"].as_array().unwrap().len(), 2);
    let plain = signer().sign(r#"{"name":"a","skills":[{"id":"s"}]}"#);
    let plain: Value = serde_json::from_str(&plain.unwrap()).unwrap();
    assert_eq!(plain["signatures"].as_array().unwrap().len(), 1, "{plain}");
}

#[test]
fn what_could_be_a_token_in_our_name_is_not_signed() {
    for claim in CLAIMS {
        let mut card = card();
        card[claim] = json!("x");
        let refused = signer().sign(&card.to_string());
        assert_eq!(refused, Err(SignError::Claim(claim)));
    }
    assert_eq!(signer().sign("[]"), Err(SignError::NotACard));
}

#[test]
fn the_thumbprint_of_rfc_8037() {
    let seed = crate::federation::keys::from_hex(
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    );
    let signer = CardSigner::new(&seed.unwrap(), None).unwrap();
    assert_eq!(signer.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#[test]
fn sets_that_hold_no_key_are_refused() {
    use crate::a2a::card::KeySetError::{NoUsableKey, NotASet};
    let short = encode(&[0xff; 128]);
    for (set, problem) in [
        ("[]".to_owned(), NotASet),
        ("{}".to_owned(), NotASet),
        (r#"{"keys":[]}"#.to_owned(), NoUsableKey),
        (
            r#"{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"FUTURE"},7]}"#.to_owned(),
            NoUsableKey,
        ),
        (
            r#"{"keys":[{"kty":"OKP","crv":"X25519","x":"AAAA"}]}"#.to_owned(),
            NoUsableKey,
        ),
        (
            format!(r#"{{"keys":[{{"kty":"RSA","n":"{short}","e":"AQAB"}}]}}"#),
            NoUsableKey,
        ),
        (signer().jwks().replace("\"sig\"", "\"enc\""), NoUsableKey),
    ] {
        assert_eq!(TrustedKeys::from_jwks(&set).err(), Some(problem), "{set}");
    }
}

/// Every place of a value, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let mut below = |name: &str, value: &Value| places(value, &format!("{at}/{name}"), found);
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| below(name, value)),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, value)| below(&index.to_string(), value));
        }
        _ => {}
    }
    if !at.is_empty() {
        found.push(at.to_owned());
    }
}

proptest! {
    #[test]
    fn any_change_of_a_signed_member_breaks_it(
        place in any::<prop::sample::Index>(),
        value in prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z]{1,9}".prop_map(Value::from),
            Just(json!({"x": 1})),
            Just(json!([1])),
        ],
    ) {
        let mut found = Vec::new();
        places(&card(), "", &mut found);
        let mut changed = signed();
        let at = changed.pointer_mut(place.get(found.as_slice()) as &str).unwrap();
        prop_assume!(*at != value);
        *at = value;
        // What only one of our two signatures covers may be changed at the price of not being believed; nothing else.
        match verify(&changed.to_string(), &trusted()) {
            Err(problem) => prop_assert_eq!(problem, VerifyError::Wrong),
            Ok(verified) => {
                let original = payload(card().as_object().unwrap(), Reading::SchemaOnly);
                prop_assert_eq!(verified.card, original);
            }
        }
    }
}
