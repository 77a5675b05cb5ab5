//! A table says what AWS-LC says: for good signatures, for wrong ones, and for those that somebody bent.

use proptest::prelude::*;

use super::*;
use crate::federation::keys::{self, SigningKey};

/// The order of the group, little-endian (RFC 8032 section 5.1).
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

struct Pair {
    signer: SigningKey,
    slow: PublicKey,
    table: Table,
}

fn pair(seed: [u8; 32]) -> Pair {
    let key = keys::public_key_of_seed(&seed).unwrap();
    Pair {
        signer: SigningKey::new(&seed).unwrap(),
        slow: PublicKey::new(&key).unwrap(),
        table: Table::of(&key).unwrap(),
    }
}

/// Both ways of verifying must say the same, whatever they are shown.
fn check(pair: &Pair, message: &[u8], signature: &[u8], good: bool) {
    let told = (
        pair.slow.verifies(message, signature),
        pair.table.verifies(message, signature),
    );
    assert_eq!(told, (good, good), "{}", hex::encode(signature));
}

#[test]
fn the_vectors_of_rfc_8032() {
    for (key, message, signature) in [
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ] {
        let table = Table::of(&keys::from_hex(key).unwrap()).unwrap();
        let (message, signature) = (
            hex::decode(message).unwrap(),
            hex::decode(signature).unwrap(),
        );
        assert!(table.verifies(&message, &signature));
        assert!(!table.verifies(b"another", &signature));
    }
}

#[test]
fn second_spellings_are_wrong() {
    let pair = pair([7; 32]);
    let signature = pair.signer.sign(b"message").unwrap();
    check(&pair, b"message", &signature, true);
    // The same number, once more round the group.
    let mut carry = 0;
    let mut again = signature.clone();
    for (byte, order) in again[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    check(&pair, b"message", &again, false);
    check(&pair, b"message", &[], false);
    check(&pair, b"message", &signature[..63], false);
    check(
        &pair,
        b"message",
        &[signature.as_slice(), &[0]].concat(),
        false,
    );
    check(&pair, b"message", &[0; 64], false);
    check(&pair, b"message", &[0xff; 64], false);
    // The neutral element, in its one spelling and in two that are none.
    for r in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        let forged = [hex::decode(r).unwrap(), vec![0; 32]].concat();
        check(&pair, b"message", &forged, false);
    }
}

#[test]
fn keys_of_small_order_get_no_table() {
    // The eight points of small order, and the ways to write them that are none (RFC 7748 section 5 reads them all).
    for key in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        assert!(Table::of(&keys::from_hex(key).unwrap()).is_none(), "{key}");
    }
    // A point of the right order with one of order eight added: no key that is made by the rules.
    let honest = CompressedEdwardsY(keys::public_key_of_seed(&[7; 32]).unwrap());
    let small = curve25519_dalek::constants::EIGHT_TORSION[1];
    let mixed = (honest.decompress().unwrap() + small).compress();
    assert!(Table::of(mixed.as_bytes()).is_none());
}

#[test]
fn a_key_gets_its_table_by_good_signatures_while_there_is_room() {
    let seed = [9; 32];
    let key = keys::public_key_of_seed(&seed).unwrap();
    let signature = SigningKey::new(&seed).unwrap().sign(b"message").unwrap();
    let room = Room(Arc::new(AtomicU32::new(1)));
    let has_table = |key: &FrequentKey| matches!(key.table.get(), Some(Some(_)));
    let often = |key: &FrequentKey, message: &[u8]| {
        for _ in 0..2 * OFTEN {
            assert_eq!(key.verifies(message, &signature), message == b"message");
        }
    };
    let first = FrequentKey::new(&key, &room).unwrap();
    often(&first, b"another");
    assert!(!has_table(&first));
    often(&first, b"message");
    assert!(has_table(&first));
    assert!(!first.verifies(b"another", &signature));
    let second = FrequentKey::new(&key, &room).unwrap();
    often(&second, b"message");
    assert!(!has_table(&second));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn both_ways_agree(
        seed: [u8; 32],
        message in proptest::collection::vec(any::<u8>(), 0..300),
        at in 0_usize..64,
        flip in 1_u8..,
    ) {
        let pair = pair(seed);
        let signature = pair.signer.sign(&message).unwrap();
        check(&pair, &message, &signature, true);
        let mut wrong = signature.clone();
        wrong[at] ^= flip;
        check(&pair, &message, &wrong, false);
        let mut longer = message.clone();
        longer.push(flip);
        check(&pair, &longer, &signature, false);
    }
}
