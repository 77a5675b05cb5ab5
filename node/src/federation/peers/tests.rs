//! Rosters and what is found wrong with a configuration of peers.

use archipel_kit::settings::{Environment, Problems, Secret, load};
use archipel_protocol::federation::keys;
use archipel_protocol::ids::Origin;

use super::{Peer, Roster, Trust, configured_peers, listed_origins};
use crate::federation::settings::{FederationSettings, PeerSettings};

const OWN: &str = "https://own.example";

fn settings(variables: &[(&str, &str)]) -> FederationSettings {
    let environment: Environment = variables.iter().copied().collect();
    load(None, &environment).unwrap()
}

fn ed25519() -> FederationSettings {
    let mut settings = settings(&[
        ("MESH_FEDERATION_ENABLED", "true"),
        ("MESH_FEDERATION_JWT_ALG", "Ed25519"),
    ]);
    settings.ed25519_seed = Some(Secret::new("11".repeat(32)));
    settings
}

fn peer(name: &str, origin: &str, key: Option<&str>) -> PeerSettings {
    PeerSettings {
        name: name.to_owned(),
        origin: origin.to_owned(),
        ed25519_public_key: key.map(str::to_owned),
        card_keys: None,
    }
}

fn key_of(byte: u8) -> String {
    keys::to_hex(&keys::public_key_of_seed(&[byte; 32]).unwrap())
}

fn gather(
    settings: &FederationSettings,
    named: &[PeerSettings],
) -> (Vec<Peer>, Vec<String>, Vec<String>) {
    let (mut problems, mut warnings) = (Problems::default(), Vec::new());
    let own = Origin::parse(OWN).unwrap();
    let peers = configured_peers(&own, settings, named, &mut problems, &mut warnings);
    (
        peers,
        problems.iter().map(ToString::to_string).collect(),
        warnings,
    )
}

/// The configuration has exactly these problems, in this order.
fn check(settings: &FederationSettings, named: &[PeerSettings], expected: &[&str]) {
    let (_, problems, _) = gather(settings, named);
    assert_eq!(problems, expected, "{named:?} {settings:?}");
}

#[test]
fn all_problems_of_named_peers_are_told_at_once() {
    let good = key_of(1);
    let named = [
        peer("a", "https://a.example/", Some(&good)),
        peer("a", "https://A.example:443", Some(&"zz".repeat(32))),
        peer("Bad Name", "ftp://b.example", None),
        peer("own", "https://OWN.example/", Some(&good)),
    ];
    let expected = [
        "peers[1].name: `a` is the name of an earlier peer",
        "peers[1].ed25519_public_key: must be 64 hexadecimal digits",
        "peers[1].origin: `https://a.example` is the origin of an earlier peer",
        "peers[2].name: must be lower-case letters, digits, `.`, `_` and `-`, and begin with a letter or digit",
        "peers[2].ed25519_public_key: is missing: with Ed25519 every peer has a key",
        "peers[2].origin: is no origin: the scheme must be http or https",
        "peers[3].origin: `https://own.example` is this node itself",
    ];
    check(&ed25519(), &named, &expected);
}

#[test]
fn keys_are_needed_only_where_they_are_used() {
    let named = [peer("a", "https://a.example", None)];
    check(&settings(&[]), &named, &[]);
    let secret = "0123456789abcdef0123456789abcdef";
    check(
        &settings(&[
            ("MESH_FEDERATION_ENABLED", "true"),
            ("MESH_FEDERATION_SHARED_SECRET", secret),
        ]),
        &named,
        &[],
    );
    check(
        &ed25519(),
        &named,
        &["peers[0].ed25519_public_key: is missing: with Ed25519 every peer has a key"],
    );
}

#[test]
fn listed_peers_need_a_key_each() {
    let mut listed = ed25519();
    listed.peer_origins = vec![
        "https://a.example".to_owned(),
        "https://b.example".to_owned(),
    ];
    listed.peer_ed25519_public_keys = vec!["nope".to_owned()];
    let expected = [
        "federation.peer_ed25519_public_keys: there are 1 keys for 2 peers",
        "federation.peer_ed25519_public_keys[0]: must be 64 hexadecimal digits",
    ];
    check(&listed, &[], &expected);
    listed.peer_ed25519_public_keys = vec![key_of(1), key_of(2)];
    check(&listed, &[], &[]);
    check(
        &listed,
        &[peer("b", "https://b.example", Some(&key_of(2)))],
        &["federation.peer_origins: `https://b.example` is the origin of an earlier peer"],
    );
}

#[test]
fn order_is_kept_and_the_nameless_get_names() {
    let mut listed = settings(&[]);
    listed.peer_origins = [
        "http://127.0.0.1:7500",
        "nonsense",
        "http://[::1]:80",
        "https://beta",
    ]
    .map(str::to_owned)
    .to_vec();
    let (peers, problems, warnings) =
        gather(&listed, &[peer("beta", "https://beta.example", None)]);
    assert_eq!(problems, [""; 0]);
    let names: Vec<&str> = peers.iter().map(|peer| &*peer.name).collect();
    assert_eq!(names, ["beta", "127.0.0.1-7500", "1", "beta-2"]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

#[test]
fn the_list_of_the_contract() {
    let check = |listed: &[&str], max: usize, expected: &[&str]| {
        let listed: Vec<String> = listed.iter().map(|&text| text.to_owned()).collect();
        let found = listed_origins(&listed, max);
        let found: Vec<&str> = found.iter().map(Origin::as_str).collect();
        assert_eq!(found, expected, "{listed:?} {max}");
    };
    check(
        &["https://b.example", "https://a.example"],
        512,
        &["https://b.example", "https://a.example"],
    );
    check(
        &[
            "https://a.example",
            "https://a.example/",
            "https://A.EXAMPLE:443",
        ],
        512,
        &["https://a.example"],
    );
    check(
        &["nope", "ftp://x", "https://ok.example"],
        512,
        &["https://ok.example"],
    );
    check(
        &["https://u:p@a.example", "https://b.example"],
        512,
        &["https://b.example"],
    );
    check(
        &[
            "https://a.example",
            "https://a.example",
            "https://b.example",
            "https://c.example",
        ],
        2,
        &["https://a.example", "https://b.example"],
    );
    check(
        &["https://a.example", "https://b.example"],
        0,
        &["https://a.example"],
    );
    check(
        &["http://127.0.0.1:3000", "http://[::1]:3000"],
        512,
        &["http://127.0.0.1:3000", "http://[::1]:3000"],
    );
}

#[test]
fn peers_are_found_by_name_and_origin() {
    let origin = |text: &str| Origin::parse(text).unwrap();
    let a = Peer::new("a", origin("https://a.example"), None);
    let b = Peer::new("b", origin("https://b.example"), Some([7; 32]));
    let roster = Roster::new(vec![a.clone(), b.clone()], Trust::Nobody).unwrap();
    assert_eq!(roster.peers(), [a, b.clone()]);
    assert_eq!(roster.by_name("b"), Some(&b));
    assert_eq!(roster.by_origin(&origin("https://B.example:443")), Some(&b));
    assert_eq!(
        (
            roster.by_name("c"),
            roster.by_origin(&origin("http://b.example"))
        ),
        (None, None)
    );
    assert!(roster.verifier().is_none());
    assert_eq!(
        (&*b.principal, b.public_key_hex()),
        ("peer:b", Some("07".repeat(32)))
    );
}
