//! Which configurations are taken, and which tokens.

use archipel_kit::settings::{Environment, Secret, from_json, load};
use archipel_protocol::federation::{Actor, Delegation, Minter, PeerKey, VerifyError, keys};
use archipel_protocol::ids::Origin;
use archipel_protocol::names::Dialect;
use uuid::Uuid;

use super::Federation;
use crate::config::CardCheck;
use crate::federation::FederationRefusal;
use crate::federation::peers::{Cut, Peer, PeerSource};
use crate::federation::roster::{RosterParts, Withdrawal};
use crate::federation::settings::{Algorithm, FederationSettings, PeerSettings};

const OWN: &str = "https://own.example";
const SECRET: &str = "shared-hs256-secret-for-developers-0001";
const NOW_MS: u64 = 1_767_225_600_000;
const NOW: i64 = 1_767_225_600;

fn origin(text: &str) -> Origin {
    Origin::parse(text).unwrap()
}

fn from_variables(variables: &[(&str, &str)]) -> FederationSettings {
    let on = [("MESH_FEDERATION_ENABLED", "true")];
    let environment: Environment = on.iter().chain(variables).copied().collect();
    load(None, &environment).unwrap()
}

fn beta() -> PeerSettings {
    let key = keys::to_hex(&keys::public_key_of_seed(&[2; 32]).unwrap());
    let origin = "https://beta.example";
    let beta = format!(r#"{{"name":"beta","origin":"{origin}","ed25519_public_key":"{key}"}}"#);
    from_json(&beta).unwrap()
}

fn build(settings: &FederationSettings, peers: &[PeerSettings]) -> Result<Federation, Vec<String>> {
    Federation::from_settings(&origin(OWN), Dialect::Hive, settings, peers, CardCheck::Off)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn with_keys() -> Federation {
    let settings = from_variables(&[("MESH_FEDERATION_ED25519_SEED_HEX", &"11".repeat(32))]);
    build(&settings, &[beta()]).unwrap()
}

fn with_secret(variables: &[(&str, &str)]) -> Federation {
    let secret = [("MESH_FEDERATION_SHARED_SECRET", SECRET)];
    build(&from_variables(&[&secret, variables].concat()), &[]).unwrap()
}

fn from_beta(audience: &str, life: u64, now: i64) -> String {
    let minter = Minter::ed25519(&[2; 32], &origin("https://beta.example")).unwrap();
    minter
        .mint(Some(audience), life, Uuid::from_u128(7), now)
        .unwrap()
}

#[test]
fn every_problem_of_the_keys_is_told() {
    let check = |variables: &[(&str, &str)], peers: &[PeerSettings], expected: &[&str]| {
        let problems = build(&from_variables(variables), peers)
            .err()
            .unwrap_or_default();
        assert_eq!(problems, expected, "{variables:?} {peers:?}");
    };
    let ed25519 = ("MESH_FEDERATION_JWT_ALG", "Ed25519");
    let not_hex = ("MESH_FEDERATION_ED25519_SEED_HEX", "zz".repeat(32));
    let not_hex = (not_hex.0, not_hex.1.as_str());
    check(
        &[ed25519, not_hex, ("MESH_FEDERATION_JWT_AUDIENCE", "mesh")],
        &[beta()],
        &[
            "federation.audience: must be the origin by which peers know us: not an absolute URL",
            "federation.ed25519_seed: must be 64 hexadecimal digits",
        ],
    );
    check(
        &[ed25519],
        &[beta()],
        &["federation.ed25519_seed: is missing: without it no peer can be called"],
    );
    check(
        &[],
        &[beta()],
        &[
            "federation.shared_secret: is missing, and so is ed25519_seed: without one, no peer can call or be called",
        ],
    );
}

#[test]
fn with_the_variables_alone_missing_keys_are_told_and_refused() {
    let federation = build(
        &from_variables(&[("MESH_FEDERATION_PEERS", "https://beta.example")]),
        &[],
    )
    .unwrap();
    assert_eq!(
        federation.warnings().len(),
        1,
        "{:?}",
        federation.warnings()
    );
    let token = from_beta(OWN, 60, NOW);
    assert_eq!(
        federation.check(&token, NOW_MS),
        Err(FederationRefusal::NotConfigured)
    );
    assert_eq!(
        federation.mint(
            &origin("https://beta.example"),
            &Delegation::NONE,
            Uuid::nil(),
            NOW_MS
        ),
        None
    );
}

#[test]
fn the_algorithm_follows_the_keys_unless_it_is_named() {
    let check = |secret: bool, seed: bool, named: Algorithm, expected: Algorithm| {
        let mut settings = from_variables(&[]);
        settings.algorithm = named;
        settings.shared_secret = secret.then(|| Secret::new(SECRET));
        settings.ed25519_seed = seed.then(|| Secret::new("11".repeat(32)));
        assert_eq!(
            settings.algorithm_in_force(),
            expected,
            "{secret} {seed} {named:?}"
        );
    };
    check(false, false, Algorithm::Auto, Algorithm::Hs256);
    check(true, false, Algorithm::Auto, Algorithm::Hs256);
    check(true, true, Algorithm::Auto, Algorithm::Hs256);
    check(false, true, Algorithm::Auto, Algorithm::Ed25519);
    check(true, true, Algorithm::Ed25519, Algorithm::Ed25519);
    check(false, true, Algorithm::Hs256, Algorithm::Hs256);
}

#[test]
fn a_peer_with_a_key_is_itself() {
    let federation = with_keys();
    let genuine = federation.check(&from_beta(OWN, 300, NOW), NOW_MS).unwrap();
    assert_eq!(
        (&*genuine.identity.name, &*genuine.identity.principal),
        ("beta", "peer:beta")
    );
    assert_eq!(
        genuine.identity.origin,
        Some(origin("https://beta.example"))
    );
    let claim = genuine.claim.unwrap();
    assert_eq!(
        (claim.issuer.as_str(), claim.id),
        ("https://beta.example", Uuid::from_u128(7).to_string())
    );
}

#[test]
fn the_id_is_remembered_exactly_as_long_as_the_token_is_good() {
    let federation = with_keys();
    let token = from_beta(OWN, 300, NOW);
    let until_ms = federation
        .check(&token, NOW_MS)
        .unwrap()
        .claim
        .unwrap()
        .expires_at_ms;
    assert_eq!(until_ms, NOW_MS + (300 + 60 + 1) * 1000);
    assert!(federation.check(&token, until_ms - 1).is_ok());
    let expired = FederationRefusal::NotValidNow(VerifyError::Expired);
    assert_eq!(federation.check(&token, until_ms).err(), Some(expired));
}

#[test]
fn tokens_that_are_not_good() {
    let federation = with_keys();
    let check = |token: &str, expected: FederationRefusal| {
        assert_eq!(
            federation.check(token, NOW_MS).err(),
            Some(expected),
            "{token}"
        );
    };
    let invalid = FederationRefusal::Invalid;
    check("", invalid(VerifyError::Malformed));
    check(
        &from_beta("https://other.example", 60, NOW),
        invalid(VerifyError::WrongAudience),
    );
    check(
        &from_beta(OWN, 60, NOW - 1000),
        FederationRefusal::NotValidNow(VerifyError::Expired),
    );
    check(
        &from_beta(OWN, 60, NOW + 1000),
        invalid(VerifyError::BadClaims),
    );
    check(
        &from_beta(OWN, 3600 + 61, NOW),
        invalid(VerifyError::BadClaims),
    );
    let stranger = Minter::ed25519(&[3; 32], &origin("https://stranger.example")).unwrap();
    check(
        &stranger.mint(Some(OWN), 60, Uuid::nil(), NOW).unwrap(),
        invalid(VerifyError::BadClaims),
    );
    let impostor = Minter::ed25519(&[3; 32], &origin("https://beta.example")).unwrap();
    check(
        &impostor.mint(Some(OWN), 60, Uuid::nil(), NOW).unwrap(),
        invalid(VerifyError::BadSignature),
    );
    let shared = Minter::hs256(SECRET, Dialect::Hive.hs256_issuer()).unwrap();
    check(
        &shared.mint(Some(OWN), 60, Uuid::nil(), NOW).unwrap(),
        invalid(VerifyError::WrongAlgorithm),
    );
}

#[test]
fn with_a_shared_secret_all_are_one_group_and_one_issuer() {
    let federation = with_secret(&[]);
    let claims: Vec<_> = Dialect::ALL
        .iter()
        .map(|dialect| {
            let minter = Minter::hs256(SECRET, dialect.hs256_issuer()).unwrap();
            let token = minter.mint(Some(OWN), 60, Uuid::from_u128(7), NOW).unwrap();
            let genuine = federation.check(&token, NOW_MS).unwrap();
            assert_eq!(&*genuine.identity.principal, "hive-federated");
            assert_eq!(
                (genuine.identity.origin, genuine.identity.issuer),
                (None, dialect.hs256_issuer().to_owned())
            );
            genuine.claim.unwrap()
        })
        .collect();
    // The two tokens of one call carry one id: taking either takes both.
    assert_eq!(claims.first(), claims.last());
}

#[test]
fn an_operator_is_told_that_a_shared_secret_tells_no_peers_apart() {
    let told = |federation: &Federation| {
        let mut warnings = federation.warnings().iter();
        warnings.any(|warning| warning.contains("one caller"))
    };
    assert!(told(&with_secret(&[])));
    assert!(!told(&with_keys()));
}

#[test]
fn a_manifest_needs_a_place_and_a_key() {
    let check = |variables: &[(&str, &str)], expected: &[&str]| {
        let problems = build(&from_variables(variables), &[]).err();
        assert_eq!(problems.unwrap_or_default(), expected, "{variables:?}");
    };
    let url = |url| ("MESH_FEDERATION_PEERS_MANIFEST_URL", url);
    let key = "11".repeat(32);
    let key = (
        "MESH_FEDERATION_PEERS_MANIFEST_PUBLIC_KEY_HEX",
        key.as_str(),
    );
    check(&[url("https://mesh.example/peers.json"), key], &[]);
    check(
        &[key],
        &["federation.manifest_url: is needed with manifest_public_key"],
    );
    check(
        &[url("https://mesh.example/")],
        &[
            "federation.manifest_public_key: is needed with manifest_url: an unsigned list is nobody's word",
        ],
    );
    check(
        &[url("http://u:p@mesh.example/"), key],
        &[
            "federation.manifest_url: must be https, unless manifest_allow_http is set",
            "federation.manifest_url: must not hold a user name or password",
        ],
    );
    check(
        &[url("ftp://mesh.example/"), key],
        &["federation.manifest_url: must be http or https"],
    );
}

#[test]
fn the_other_dialect_can_be_refused() {
    let mut settings = from_variables(&[("MESH_FEDERATION_SHARED_SECRET", SECRET)]);
    settings.accept_both_dialects = false;
    let federation = build(&settings, &[]).unwrap();
    let minter = Minter::hs256(SECRET, Dialect::Pilox.hs256_issuer()).unwrap();
    let token = minter.mint(Some(OWN), 60, Uuid::nil(), NOW).unwrap();
    assert_eq!(
        federation.check(&token, NOW_MS).err(),
        Some(FederationRefusal::Invalid(VerifyError::BadClaims))
    );
}

#[test]
fn our_tokens_are_for_the_peer_and_of_our_dialects() {
    let beta = origin("https://beta.example");
    let own = with_keys()
        .mint(&beta, &Delegation::NONE, Uuid::from_u128(9), NOW_MS)
        .unwrap();
    assert_eq!(own.own, own.other);
    let shared = with_secret(&[])
        .mint(&beta, &Delegation::NONE, Uuid::from_u128(9), NOW_MS)
        .unwrap();
    assert_ne!(shared.own, shared.other);
    let mut at_beta = from_variables(&[("MESH_FEDERATION_SHARED_SECRET", SECRET)]);
    at_beta.accept_both_dialects = false;
    for (dialect, token) in [(Dialect::Hive, shared.own), (Dialect::Pilox, shared.other)] {
        let federation =
            Federation::from_settings(&beta, dialect, &at_beta, &[], CardCheck::Off).unwrap();
        assert!(federation.check(&token, NOW_MS).is_ok(), "{dialect:?}");
    }
}

#[test]
fn what_is_off_neither_verifies_nor_mints() {
    let mut settings = from_variables(&[("MESH_FEDERATION_SHARED_SECRET", SECRET)]);
    settings.enabled = false;
    let federation = build(&settings, &[]).unwrap();
    assert_eq!(
        federation.check("anything", NOW_MS).err(),
        Some(FederationRefusal::Disabled)
    );
    assert_eq!(
        federation.mint(
            &origin("https://beta.example"),
            &Delegation::NONE,
            Uuid::nil(),
            NOW_MS
        ),
        None
    );
}

#[test]
fn a_replaced_roster_is_in_force_at_once() {
    let federation = with_keys();
    let token = from_beta(OWN, 60, NOW);
    assert!(federation.check(&token, NOW_MS).is_ok());
    let cut = cut_of_beta(&federation);
    let key = keys::public_key_of_seed(&[3; 32]).unwrap();
    let gamma = Peer {
        keys: vec![PeerKey::new(key)],
        ..Peer::new("gamma", origin("https://gamma.example"), PeerSource::Folder)
    };
    federation
        .replace(|parts| parts.folder = vec![gamma])
        .unwrap();
    assert!(federation.check(&token, NOW_MS).is_ok());
    assert!(!cut.is_cut());
    federation
        .replace(|parts| parts.configured.clear())
        .unwrap();
    assert_eq!(
        federation.check(&token, NOW_MS).err(),
        Some(FederationRefusal::Invalid(VerifyError::BadClaims))
    );
    assert!(cut.is_cut());
    assert!(federation.roster().by_name("gamma").is_some());
}

fn cut_of_beta(federation: &Federation) -> Cut {
    let roster = federation.roster();
    roster.by_name("beta").unwrap().cut.clone()
}

#[test]
fn what_a_peer_began_ends_when_it_is_no_longer_what_it_was() {
    let check = |change: &dyn Fn(&mut Peer), cut_off: bool| {
        let federation = with_keys();
        let cut = cut_of_beta(&federation);
        let change_beta = |parts: &mut RosterParts| parts.configured.iter_mut().for_each(change);
        federation.replace(change_beta).unwrap();
        assert_eq!(cut.is_cut(), cut_off);
        assert!(!cut_of_beta(&federation).is_cut());
    };
    let further = |key: u8| PeerKey::new(keys::public_key_of_seed(&[key; 32]).unwrap());
    check(&|_| {}, false);
    check(&|beta| beta.keys.push(further(3)), false);
    check(&|beta| beta.max_concurrent = 1, false);
    check(&|beta| beta.keys = vec![further(3)], true);
    check(&|beta| beta.suspended = true, true);
    check(&|beta| beta.rights.forward = true, true);
}

#[test]
fn what_came_with_a_key_ends_with_it() {
    let check = |not_after: Option<i64>, since: i64, now: i64, cut_off: bool| {
        let federation = with_keys();
        let end = |beta: &mut Peer| {
            beta.keys
                .iter_mut()
                .for_each(|key| key.not_after = not_after)
        };
        federation
            .replace(|parts| parts.configured.iter_mut().for_each(end))
            .unwrap();
        let cut = cut_of_beta(&federation);
        federation.end_keys(since, now).unwrap();
        assert_eq!(cut.is_cut(), cut_off, "{not_after:?} {since} {now}");
        // Whoever comes again begins anew, and is not cut off for the same end.
        let cut = cut_of_beta(&federation);
        assert!(!cut.is_cut());
        federation.end_keys(now, now + 10).unwrap();
        assert!(!cut.is_cut() || not_after.is_some_and(|last| last >= now));
    };
    check(None, NOW, NOW + 10, false);
    check(Some(NOW - 1), NOW, NOW + 10, false);
    check(Some(NOW), NOW, NOW, false);
    check(Some(NOW), NOW, NOW + 1, true);
    check(Some(NOW + 9), NOW, NOW + 10, true);
    check(Some(NOW + 10), NOW, NOW + 10, false);
}

#[test]
fn a_suspended_peer_is_told_nothing_but_is_known_to_us() {
    let federation = with_keys();
    let beta = origin("https://beta.example");
    let mark = |parts: &mut RosterParts| {
        parts.withdrawn.insert(beta.clone(), Withdrawal::Suspended);
    };
    federation.replace(mark).unwrap();
    let token = from_beta(OWN, 60, NOW);
    let refused = federation.check(&token, NOW_MS).err();
    assert_eq!(refused, Some(FederationRefusal::Suspended));
    assert!(federation.roster().by_origin(&beta).unwrap().suspended);
    let revoke = |parts: &mut RosterParts| {
        parts.withdrawn.insert(beta.clone(), Withdrawal::Revoked);
    };
    federation.replace(revoke).unwrap();
    assert_eq!(
        federation.check(&token, NOW_MS).err(),
        Some(FederationRefusal::Invalid(VerifyError::BadClaims))
    );
}

#[test]
fn another_audience_is_also_our_issuer() {
    let seed = "11".repeat(32);
    let variables = [
        ("MESH_FEDERATION_ED25519_SEED_HEX", seed.as_str()),
        ("MESH_FEDERATION_JWT_AUDIENCE", " https://mesh.example/ "),
    ];
    let federation = build(&from_variables(&variables), &[beta()]).unwrap();
    assert!(
        federation
            .check(&from_beta("https://mesh.example", 60, NOW), NOW_MS)
            .is_ok()
    );
}

/// A token of beta's for a call that these made, the last one first.
fn delegated(chain: &[(&str, &str)], hops: Option<u8>) -> String {
    let actor = |&(iss, sub): &(&str, &str)| Actor {
        iss: origin(iss),
        sub: sub.to_owned(),
    };
    let chain = chain.iter().map(actor).collect();
    let minter = Minter::ed25519(&[2; 32], &origin("https://beta.example")).unwrap();
    let delegation = Delegation { chain, hops };
    minter
        .mint_for(Some(OWN), 60, Uuid::from_u128(7), NOW, &delegation)
        .unwrap()
}

#[test]
fn a_peer_is_another_caller_for_each_of_its_callers() {
    let beta = ("https://beta.example", "alice");
    let gamma = ("https://gamma.example", "bob");
    let check = |chain: &[(&str, &str)], hops, principal: &str, further: u8| {
        let genuine = with_keys().check(&delegated(chain, hops), NOW_MS).unwrap();
        let identity = genuine.identity;
        assert_eq!((&*identity.principal, identity.hops), (principal, further));
        let known = identity.acting.map_or(0, |acting| acting.chain.len());
        assert_eq!(known, chain.len());
    };
    check(&[], None, "peer:beta", 3);
    check(&[], Some(0), "peer:beta", 0);
    check(&[beta], Some(1), "peer:beta/alice", 1);
    check(&[beta, gamma], Some(255), "peer:beta/alice", 3);
}

#[test]
fn a_call_that_comes_round_is_refused() {
    let beta = ("https://beta.example", "alice");
    let token = delegated(&[beta, (OWN, "operator")], Some(2));
    let refused = with_keys().check(&token, NOW_MS).err();
    assert_eq!(refused, Some(FederationRefusal::Loop));
}
