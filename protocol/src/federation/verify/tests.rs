//! Tokens of both modes: golden ones, crossed ones, changed ones.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::{
    federation::{Actor, Minter, Terms, delegation::MAX_ACTORS, keys},
    names::Dialect,
};

const NOW: i64 = 1_767_225_600;
const SECRET: &str = "shared-hs256-secret-for-developers-0001";
const US: &str = "https://node-a.example";
const SEED: [u8; 32] = [0x11; 32];
const OTHER_SEED: [u8; 32] = [0x22; 32];

/// Made with another implementation: HMAC of Python's standard library, Ed25519 of Node.js.
const GOLDEN_HS256: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJoaXZlLW1lc2gtZmVkZXJhdGlvbiIsInN1YiI6ImZlZGVyYXRpb24tcGVlciIsImp0aSI6IjAwMDAwMDAwLTAwMDAtMDAwMC0wMDAwLTAwMDAwMDAwMDAwNyIsImlhdCI6MTc2NzIyNTYwMCwiZXhwIjoxNzY3MjI1OTAwLCJhdWQiOiJodHRwczovL25vZGUtYS5leGFtcGxlIn0.lRYBtWLKsdoC75z3O02QA86WDSd59NUvGVPpILr2wN0";
const GOLDEN_ED25519: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL3BlZXItMC5leGFtcGxlIiwic3ViIjoiZmVkZXJhdGlvbi1wZWVyIiwianRpIjoiMDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDA3IiwiaWF0IjoxNzY3MjI1NjAwLCJleHAiOjE3NjcyMjU5MDAsImF1ZCI6Imh0dHBzOi8vbm9kZS1hLmV4YW1wbGUifQ.qP0iPjvp8yVnqj58C2nuMNc0rUncJcEhekN-94-Vor8yiDdf-4bdV_NMNHtqHsCa_IrDuPLJHbg5DPW1_DFwCQ";

fn peer(index: usize) -> Origin {
    Origin::parse(&format!("https://peer-{index}.example")).unwrap()
}

fn policy() -> Policy {
    Policy {
        audience: Some(US.to_owned()),
        ..Policy::default()
    }
}

fn shared() -> Verifier {
    Verifier::hs256(SECRET, &[Dialect::Hive.hs256_issuer()]).unwrap()
}

fn key(seed: &[u8; 32]) -> PeerKey {
    PeerKey::new(keys::public_key_of_seed(seed).unwrap())
}

fn roster() -> Verifier {
    Verifier::ed25519([(peer(0), [key(&SEED)]), (peer(1), [key(&OTHER_SEED)])]).unwrap()
}

fn minters() -> [Minter; 2] {
    [
        Minter::hs256(SECRET, Dialect::Hive.hs256_issuer()).unwrap(),
        Minter::ed25519(&SEED, &peer(0)).unwrap(),
    ]
}

/// A token of any header and claims under the shared secret.
fn signed(header: &str, claims: &str) -> String {
    let message = format!(
        "{}.{}",
        token::encode(header.as_bytes()),
        token::encode(claims.as_bytes())
    );
    let mac = SharedSecret::new(SECRET).unwrap().sign(message.as_bytes());
    format!("{message}.{}", token::encode(mac.as_ref()))
}

/// Checks good claims with one of them replaced.
fn check(claim: &str, value: Value, policy: &Policy, expected: Result<(), VerifyError>) {
    let mut claims = json!({
        "iss": "hive-mesh-federation", "sub": "federation-peer", "jti": "j",
        "iat": NOW, "exp": NOW + 300, "aud": US,
    });
    let members = claims.as_object_mut().unwrap();
    if value == json!("absent") {
        members.shift_remove(claim);
    } else {
        members.insert(claim.to_owned(), value);
    }
    let token = signed(r#"{"alg":"HS256"}"#, &claims.to_string());
    assert_eq!(
        shared().verify(&token, policy, NOW).map(drop),
        expected,
        "{claims}"
    );
}

#[test]
fn mints_and_verifies_the_golden_tokens() {
    let [shared_minter, own_minter] = minters();
    for (golden, minter, verifier, from) in [
        (GOLDEN_HS256, shared_minter, shared(), None),
        (GOLDEN_ED25519, own_minter, roster(), Some(peer(0))),
    ] {
        let jti = Uuid::from_u128(7);
        assert_eq!(minter.mint(Some(US), 300, jti, NOW).as_deref(), Ok(golden));
        let verified = verifier.verify(golden, &policy(), NOW).unwrap();
        assert_eq!(verified.jti, Some(jti.to_string()));
        assert_eq!(verified.expires_at, NOW + 300);
        assert_eq!(verified.peer, from);
        let issuer = from.map_or("hive-mesh-federation".to_owned(), String::from);
        assert_eq!(verified.issuer, issuer);
    }
}

#[test]
fn every_dialect_accepts_its_own_issuer_and_those_it_is_told_to() {
    for dialect in Dialect::ALL {
        let minter = Minter::hs256(SECRET, dialect.hs256_issuer()).unwrap();
        let token = minter.mint(Some(US), 300, Uuid::nil(), NOW).unwrap();
        let verdict = |issuers: &[&str]| {
            let verifier = Verifier::hs256(SECRET, issuers).unwrap();
            verifier
                .verify(&token, &policy(), NOW)
                .map(|verified| verified.issuer)
        };
        let own = dialect.hs256_issuer();
        let other = dialect.other().hs256_issuer();
        assert_eq!(verdict(&[own]).as_deref(), Ok(own));
        assert_eq!(verdict(&[other, own]).as_deref(), Ok(own));
        assert_eq!(verdict(&[other]), Err(VerifyError::BadClaims));
        assert_eq!(verdict(&[]), Err(VerifyError::BadClaims));
    }
}

#[test]
fn the_mode_chooses_the_algorithm() {
    assert_eq!(
        shared().verify(GOLDEN_ED25519, &policy(), NOW),
        Err(VerifyError::WrongAlgorithm)
    );
    assert_eq!(
        roster().verify(GOLDEN_HS256, &policy(), NOW),
        Err(VerifyError::WrongAlgorithm)
    );
    // A public key is no secret: an HMAC under it must not pass for a peer's signature.
    let public_key = keys::to_hex(&keys::public_key_of_seed(&SEED).unwrap());
    let forged = Minter::hs256(&public_key, peer(0).as_str())
        .unwrap()
        .mint(Some(US), 300, Uuid::nil(), NOW)
        .unwrap();
    assert_eq!(
        roster().verify(&forged, &policy(), NOW),
        Err(VerifyError::WrongAlgorithm)
    );
    let claims = r#"{"iss":"hive-mesh-federation"}"#;
    for (header, expected) in [
        (r#"{"alg":"none"}"#, VerifyError::WrongAlgorithm),
        (r#"{"alg":"hs256"}"#, VerifyError::WrongAlgorithm),
        (
            r#"{"alg":"HS256","alg":"none"}"#,
            VerifyError::WrongAlgorithm,
        ),
        (r#"{"alg":null}"#, VerifyError::WrongAlgorithm),
        ("[]", VerifyError::WrongAlgorithm),
        (" null ", VerifyError::Malformed),
        ("{", VerifyError::Malformed),
        (r#"{"alg":"none","alg":"HS256"}"#, VerifyError::BadClaims),
    ] {
        assert_eq!(
            shared().verify(&signed(header, claims), &policy(), NOW),
            Err(expected),
            "{header}"
        );
    }
}

#[test]
fn the_issuer_chooses_the_key() {
    let mint = |seed, origin: &Origin| {
        let minter = Minter::ed25519(seed, origin).unwrap();
        minter.mint(Some(US), 300, Uuid::nil(), NOW).unwrap()
    };
    for (token, expected) in [
        (mint(&SEED, &peer(0)), Ok(Some(peer(0)))),
        (mint(&OTHER_SEED, &peer(1)), Ok(Some(peer(1)))),
        (mint(&SEED, &peer(1)), Err(VerifyError::BadSignature)),
        (mint(&[0x33; 32], &peer(0)), Err(VerifyError::BadSignature)),
        (mint(&SEED, &peer(2)), Err(VerifyError::BadClaims)),
    ] {
        let verdict = roster().verify(&token, &policy(), NOW);
        assert_eq!(verdict.map(|verified| verified.peer), expected);
    }
}

#[test]
fn of_two_entries_with_one_origin_the_first_counts() {
    let twice = [(peer(0), [key(&SEED)]), (peer(0), [key(&OTHER_SEED)])];
    let verifier = Verifier::ed25519(twice).unwrap();
    assert!(verifier.verify(GOLDEN_ED25519, &policy(), NOW).is_ok());
}

/// What becomes of a token of `SEED`, minted now, at a peer that has these keys.
fn check_keys(held: &[PeerKey], header: &str, expected: Result<(), VerifyError>) {
    let verifier = Verifier::ed25519([(peer(0), held.to_vec())]).unwrap();
    let claims = json!({
        "iss": peer(0).as_str(), "sub": "federation-peer", "jti": "j",
        "iat": NOW, "exp": NOW + 300, "aud": US,
    });
    let message = format!(
        "{}.{}",
        token::encode(header.as_bytes()),
        token::encode(claims.to_string().as_bytes())
    );
    let signature = keys::SigningKey::new(&SEED)
        .unwrap()
        .sign(message.as_bytes())
        .unwrap();
    let token = format!("{message}.{}", token::encode(&signature));
    let verdict = verifier.verify(&token, &policy(), NOW).map(drop);
    assert_eq!(verdict, expected, "{held:?} {header}");
}

#[test]
fn each_key_counts_in_its_time() {
    use VerifyError::{BadClaims, BadSignature};
    let between = |seed: &[u8; 32], not_before: Option<i64>, not_after: Option<i64>| PeerKey {
        not_before,
        not_after,
        ..key(seed)
    };
    let plain = r#"{"alg":"EdDSA"}"#;
    for (not_before, not_after, expected) in [
        (None, None, Ok(())),
        (Some(NOW), Some(NOW), Ok(())),
        (Some(NOW + 1), None, Err(BadClaims)),
        (None, Some(NOW - 1), Err(BadClaims)),
    ] {
        check_keys(&[between(&SEED, not_before, not_after)], plain, expected);
    }
    let other = key(&OTHER_SEED);
    check_keys(&[], plain, Err(BadClaims));
    check_keys(std::slice::from_ref(&other), plain, Err(BadSignature));
    // While a peer changes its key, both of them count.
    check_keys(&[other.clone(), key(&SEED)], plain, Ok(()));
    let gone = between(&SEED, None, Some(NOW - 1));
    check_keys(&[gone, other], plain, Err(BadSignature));
}

#[test]
fn a_key_id_says_which_key_is_tried_first_and_nothing_else() {
    let named = |seed: &[u8; 32], kid: &str| PeerKey {
        kid: Some(kid.to_owned()),
        ..key(seed)
    };
    let held = [named(&OTHER_SEED, "old"), named(&SEED, "new")];
    for kid in ["new", "old", "unknown"] {
        let header = json!({"alg": "EdDSA", "kid": kid}).to_string();
        check_keys(&held, &header, Ok(()));
    }
    check_keys(&held, r#"{"alg":"EdDSA","kid":7}"#, Ok(()));
    let wrong = VerifyError::WrongAlgorithm;
    check_keys(&held, r#"{"alg":"HS256","kid":"new"}"#, Err(wrong));
    let first = |kid| {
        let verifier = Verifier::ed25519([(peer(0), held.clone())]).unwrap();
        let Keys::Peers(peers) = &verifier.0 else {
            return None;
        };
        let first = in_turn(peers.get(&peer(0)).unwrap(), kid, NOW).next();
        first.and_then(|held| held.terms.kid.clone())
    };
    assert_eq!(first(Some("new")).as_deref(), Some("new"));
    assert_eq!(first(Some("unknown")).as_deref(), Some("old"));
    assert_eq!(first(None).as_deref(), Some("old"));
}

#[test]
fn times_are_checked_with_the_skew() {
    use VerifyError::{BadClaims, Expired, NotYetValid};
    for (claim, value, expected) in [
        ("exp", json!(NOW - 60), Ok(())),
        ("exp", json!(NOW - 61), Err(Expired)),
        ("exp", json!(1e300), Ok(())),
        ("exp", json!("9999999999"), Err(BadClaims)),
        ("exp", json!(null), Err(BadClaims)),
        ("exp", json!("absent"), Err(BadClaims)),
        ("iat", json!(NOW + 60), Ok(())),
        ("iat", json!(NOW + 61), Err(BadClaims)),
        ("iat", json!("absent"), Err(BadClaims)),
        ("nbf", json!(NOW + 60), Ok(())),
        ("nbf", json!(NOW + 61), Err(NotYetValid)),
        ("nbf", json!(null), Err(BadClaims)),
    ] {
        check(claim, value, &policy(), expected);
    }
    let bounded = Policy {
        max_lifetime_seconds: Some(600),
        ..policy()
    };
    check("exp", json!(NOW + 600), &bounded, Ok(()));
    check("exp", json!(NOW + 601), &bounded, Err(BadClaims));
}

#[test]
fn of_members_of_one_name_the_last_counts() {
    let verdict = |header: &str, more: &str| {
        let expiry = NOW + 300;
        let claims = format!(
            r#"{{"iss":"hive-mesh-federation","sub":"federation-peer","jti":"1","aud":"{US}","iat":{NOW},"exp":{expiry}{more}}}"#
        );
        let verified = shared().verify(&signed(header, &claims), &policy(), NOW);
        verified.map(|verified| verified.jti.unwrap_or_default())
    };
    use VerifyError::{BadClaims, Expired, WrongAlgorithm, WrongAudience};
    for (more, expected) in [
        (r#","jti":"2""#, Ok("2")),
        (r#","\u006ati":"2""#, Ok("2")),
        (r#","other":{"jti":"2"}"#, Ok("1")),
        (r#","jti":null"#, Err(BadClaims)),
        (r#","iss":"stranger""#, Err(BadClaims)),
        (r#","exp":1"#, Err(Expired)),
        (r#","aud":"https://elsewhere.example""#, Err(WrongAudience)),
    ] {
        let told = verdict(r#"{"alg":"HS256"}"#, more);
        assert_eq!(told, expected.map(str::to_owned), "{more}");
    }
    assert!(verdict(r#"{"alg":"none","alg":"HS256"}"#, "").is_ok());
    let last_is_none = verdict(r#"{"alg":"HS256","alg":"none"}"#, "");
    assert_eq!(last_is_none, Err(WrongAlgorithm));
}

#[test]
fn numbers_beyond_the_doubles_never_pass() {
    let token = |iat: &str, exp: &str| {
        signed(
            r#"{"alg":"HS256"}"#,
            &format!(
                r#"{{"iss":"hive-mesh-federation","sub":"federation-peer","jti":"j","aud":"{US}","iat":{iat},"exp":{exp}}}"#
            ),
        )
    };
    let verdict = |iat, exp| shared().verify(&token(iat, exp), &policy(), NOW).map(drop);
    assert_eq!(verdict("1", "1e400"), Err(VerifyError::BadClaims));
    assert_eq!(verdict("1", "-1e400"), Err(VerifyError::Expired));
    assert_eq!(verdict("-1e400", "4102444800"), Err(VerifyError::BadClaims));
    let far = shared()
        .verify(&token("1", "1e300"), &policy(), NOW)
        .unwrap();
    assert_eq!(far.expires_at, 9_007_199_254_740_991);
    let fraction = shared().verify(&token("1", "4102444800.9"), &policy(), NOW);
    assert_eq!(fraction.unwrap().expires_at, 4_102_444_800);
}

#[test]
fn the_audience_is_ours() {
    use VerifyError::{BadClaims, WrongAudience};
    let optional = Policy {
        require_audience: false,
        ..policy()
    };
    for (value, required, not_required) in [
        (json!(US), Ok(()), Ok(())),
        (json!("absent"), Err(WrongAudience), Ok(())),
        (
            json!("https://node-z.example"),
            Err(WrongAudience),
            Err(WrongAudience),
        ),
        (json!(""), Err(WrongAudience), Err(WrongAudience)),
        (json!([US]), Err(WrongAudience), Err(BadClaims)),
        (json!(null), Err(WrongAudience), Err(BadClaims)),
    ] {
        check("aud", value.clone(), &policy(), required);
        check("aud", value, &optional, not_required);
    }
    let nameless = Policy::default();
    check("aud", json!(US), &nameless, Err(WrongAudience));
    check("aud", json!(""), &nameless, Err(WrongAudience));
}

#[test]
fn the_id_is_bounded() {
    let optional = Policy {
        require_jti: false,
        ..policy()
    };
    for (value, required, not_required) in [
        (json!("absent"), Err(VerifyError::BadClaims), Ok(())),
        (json!("j".repeat(128)), Ok(()), Ok(())),
        (json!("\u{1f600}".repeat(64)), Ok(()), Ok(())),
        (
            json!("j".repeat(129)),
            Err(VerifyError::BadClaims),
            Err(VerifyError::BadClaims),
        ),
        (
            json!(""),
            Err(VerifyError::BadClaims),
            Err(VerifyError::BadClaims),
        ),
        (
            json!(null),
            Err(VerifyError::BadClaims),
            Err(VerifyError::BadClaims),
        ),
    ] {
        check("jti", value.clone(), &policy(), required);
        check("jti", value, &optional, not_required);
    }
}

#[test]
fn the_text_is_bounded_and_trimmed() {
    let padded = format!("\u{feff} {GOLDEN_HS256}\r\n");
    assert!(shared().verify(&padded, &policy(), NOW).is_ok());
    let long = "A".repeat(8193);
    assert_eq!(
        shared().verify(&long, &policy(), NOW),
        Err(VerifyError::Malformed)
    );
}

#[test]
fn bytes_that_are_not_utf8_are_replaced() {
    let claims = format!(
        r#"{{"iss":"hive-mesh-federation","sub":"federation-peer","jti":"j","aud":"{US}","iat":{NOW},"exp":{NOW},"x":"?"}}"#
    );
    let bytes: Vec<u8> = claims
        .bytes()
        .map(|byte| if byte == b'?' { 0xff } else { byte })
        .collect();
    let message = format!(
        "{}.{}",
        token::encode(br#"{"alg":"HS256"}"#),
        token::encode(&bytes)
    );
    let mac = SharedSecret::new(SECRET).unwrap().sign(message.as_bytes());
    let token = format!("{message}.{}", token::encode(mac.as_ref()));
    assert!(shared().verify(&token, &policy(), NOW).is_ok());
}

#[test]
fn nothing_secret_is_printed() {
    for minter in minters() {
        let printed = format!("{minter:?}");
        assert!(!printed.contains(SECRET), "{printed}");
        assert!(!printed.contains(&keys::to_hex(&SEED)), "{printed}");
    }
    assert!(!format!("{:?}", shared()).contains(SECRET));
    assert!(format!("{:?}", roster()).contains("https://peer-1.example"));
}

/// A token of a letter and one of a call over HTTP are never taken for each other, nor for one of another letter.
#[test]
fn a_token_is_for_a_call_or_for_one_letter() {
    for minter in minters() {
        let minted = |letter| {
            let terms = Terms {
                audience: Some(US),
                ttl_seconds: 60,
                jti: Uuid::from_u128(7),
                now_unix: NOW,
                delegation: &Delegation::NONE,
                letter,
            };
            minter.mint_on(&terms).unwrap()
        };
        for (letter, expected) in [
            (None, None),
            (None, Some("one")),
            (Some("one"), None),
            (Some("one"), Some("one")),
            (Some("one"), Some("two")),
            (Some(""), None),
        ] {
            let policy = Policy {
                letter: expected.map(str::to_owned),
                ..policy()
            };
            let verdicts = [shared(), roster()]
                .map(|verifier| verifier.verify(&minted(letter), &policy, NOW).is_ok());
            assert_eq!(
                verdicts.contains(&true),
                letter == expected,
                "{letter:?} {expected:?}"
            );
        }
    }
    let of_call = r#"{"iss":"hive-mesh-federation","sub":"federation-letter","jti":"7","iat":1767225600,"exp":1767225900,"aud":"https://node-a.example"}"#;
    let header = r#"{"alg":"HS256"}"#;
    let verdict = shared().verify(&signed(header, of_call), &policy(), NOW);
    assert_eq!(verdict, Err(VerifyError::BadClaims));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_changed_token_is_refused(at in any::<prop::sample::Index>(), other in "[ -~]") {
        for (golden, verifier) in [(GOLDEN_HS256, shared()), (GOLDEN_ED25519, roster())] {
            let index = at.index(golden.len());
            let mut changed = golden.to_owned();
            changed.replace_range(index..=index, &other);
            let verdict = verifier.verify(&changed, &policy(), NOW);
            prop_assert_eq!(verdict.is_ok(), changed == golden);
        }
    }
}

fn actor(node: usize, sub: &str) -> Actor {
    Actor {
        iss: peer(node),
        sub: sub.to_owned(),
    }
}

#[test]
fn who_acts_for_whom_arrives_as_it_was_sent() {
    let [shared_minter, own_minter] = minters();
    let chains = [
        vec![],
        vec![actor(0, "a")],
        vec![actor(0, "a"), actor(7, "b~!"), actor(0, &"c".repeat(128))],
        (0..MAX_ACTORS).map(|_| actor(0, "a")).collect(),
    ];
    for (chain, hops) in chains.into_iter().zip([None, Some(0), Some(3), Some(255)]) {
        let delegation = Delegation { chain, hops };
        for (minter, verifier) in [(&shared_minter, shared()), (&own_minter, roster())] {
            let token = minter.mint_for(Some(US), 300, Uuid::nil(), NOW, &delegation);
            let verified = verifier.verify(&token.unwrap(), &policy(), NOW);
            assert_eq!(verified.unwrap().delegation, delegation);
        }
    }
}

#[test]
fn a_peer_speaks_for_callers_of_its_own_only() {
    let [_, minter] = minters();
    let check = |chain: Vec<Actor>, expected| {
        let delegation = Delegation { chain, hops: None };
        let token = minter.mint_for(Some(US), 300, Uuid::nil(), NOW, &delegation);
        let verdict = roster().verify(&token.unwrap(), &policy(), NOW);
        assert_eq!(verdict.map(drop), expected, "{delegation:?}");
    };
    check(vec![actor(0, "a"), actor(1, "b")], Ok(()));
    check(
        vec![actor(1, "b"), actor(0, "a")],
        Err(VerifyError::BadClaims),
    );
    let too_long = (0..=MAX_ACTORS).map(|_| actor(0, "a")).collect();
    check(too_long, Err(VerifyError::BadClaims));
}

#[test]
fn claims_of_ours_have_exactly_their_shape() {
    let node = "https://node-b.example";
    let good = json!({"iss": node, "sub": "a", "act": {"iss": node, "sub": "b", "more": 1}});
    check("act", good, &policy(), Ok(()));
    for hops in [json!(0), json!(255), json!("absent")] {
        check("hops", hops, &policy(), Ok(()));
    }
    let wrong = Err(VerifyError::BadClaims);
    for hops in [
        json!(-1),
        json!(256),
        json!(1.0),
        json!("1"),
        json!(null),
        json!([1]),
    ] {
        check("hops", hops, &policy(), wrong);
    }
    for act in [
        json!(null),
        json!([]),
        json!({}),
        json!("a"),
        json!({"iss": node}),
        json!({"sub": "a"}),
        json!({"iss": node, "sub": ""}),
        json!({"iss": node, "sub": "a b"}),
        json!({"iss": node, "sub": "a\u{7f}"}),
        json!({"iss": node, "sub": "ä"}),
        json!({"iss": node, "sub": "a".repeat(129)}),
        json!({"iss": node, "sub": 1}),
        json!({"iss": "https://Node-b.example", "sub": "a"}),
        json!({"iss": "node-b", "sub": "a"}),
        json!({"iss": node, "sub": "a", "act": null}),
        json!({"iss": node, "sub": "a", "act": {"sub": "b"}}),
    ] {
        check("act", act, &policy(), wrong);
    }
}
