//! Signed cards: no card and no key set makes a reader fail otherwise than by refusing, and what we sign is believed.

#![no_main]

use std::sync::LazyLock;

use archipel_protocol::a2a::card::{CardSigner, TrustedKeys, signature::verify};
use libfuzzer_sys::fuzz_target;

static SIGNER: LazyLock<(CardSigner, TrustedKeys)> = LazyLock::new(|| {
    let signer = CardSigner::new(&[7; 32], None).expect("a seed of zeros and ones");
    let keys = TrustedKeys::from_jwks(&signer.jwks()).expect("our own key set");
    (signer, keys)
});

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (signer, keys) = &*SIGNER;
    assert!(verify(text, keys).is_err(), "nobody else has the key");
    let _ = TrustedKeys::from_jwks(text);
    if let Ok(signed) = signer.sign(text) {
        let believed = verify(&signed, keys).expect("what we sign is believed");
        assert_eq!(believed.kid, signer.kid());
    }
});
