//! Signed cards of others that we must take, and of ours that others took: `tests/cards/`.
//!
//! `ours.json` was verified with `a2a-sdk` 1.3.0 and `@a2a-js/sdk` 1.3.0; Ed25519 signs the same text in the same way
//! always, so it stays true. `ARCHIPEL_WRITE_CARDS=1` writes it anew.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::{env, fs, path::PathBuf};

use archipel_protocol::a2a::card::{
    CardSigner, TrustedKeys,
    signature::{VerifyError, verify},
};
use archipel_protocol::federation::keys;
use serde_json::{Value, from_str, json};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cards/{name}.json"))
}

fn document(name: &str) -> Value {
    from_str(&fs::read_to_string(path(name)).unwrap()).unwrap()
}

#[test]
fn cards_that_the_official_sdks_signed_are_taken() {
    let document = document("of_sdks");
    let keys = TrustedKeys::from_jwks(&document["keys"].to_string()).unwrap();
    let cards = document["cards"].as_array().unwrap();
    assert_eq!(cards.len(), 4);
    for case in cards {
        let verified = verify(&case["card"].to_string(), &keys).unwrap();
        let covered: Value = from_str(&verified.card).unwrap();
        assert_eq!(covered, document["covered"], "{}", case["name"]);
        let mut changed = case["card"].clone();
        changed["supportedInterfaces"][0]["url"] = json!("https://elsewhere.example.com");
        let refused = verify(&changed.to_string(), &keys);
        assert_eq!(refused, Err(VerifyError::Wrong), "{}", case["name"]);
    }
}

#[test]
fn our_signatures_are_what_the_official_sdks_took() {
    let mut document = document("ours");
    let seed = keys::from_hex(document["seed"].as_str().unwrap()).unwrap();
    let signer = CardSigner::new(&seed, document["jku"].as_str()).unwrap();
    let signed: Value = from_str(&signer.sign(&document["card"].to_string()).unwrap()).unwrap();
    let jwks: Value = from_str(&signer.jwks()).unwrap();
    if env::var_os("ARCHIPEL_WRITE_CARDS").is_some() {
        document["signed"] = signed.clone();
        document["jwks"] = jwks.clone();
        let text = serde_json::to_string_pretty(&document).unwrap();
        fs::write(path("ours"), text + "\n").unwrap();
    }
    assert_eq!(signed, document["signed"]);
    assert_eq!(jwks, document["jwks"]);
    let keys = TrustedKeys::from_jwks(&jwks.to_string()).unwrap();
    let verified = verify(&signed.to_string(), &keys).unwrap();
    assert_eq!(verified.kid, signer.kid());
}
