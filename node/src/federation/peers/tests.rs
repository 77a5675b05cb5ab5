//! Peers as they are written, and what is found wrong with them.

use archipel_kit::settings::{Environment, Problems, Secret, from_json, load};
use archipel_protocol::federation::keys;
use archipel_protocol::ids::Origin;
use archipel_protocol::method::Method;
use serde_json::{Value, json};

use super::{
    CertificatePin, Peer, PeerRules, PeerSource, configured_peers, listed_origins, variable_peers,
};
use crate::config::CardCheck;
use crate::egress::Destination;
use crate::federation::settings::{FederationSettings, PeerKind, PeerSettings};
use crate::role::Role;

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
    match key {
        None => of(&json!({"name": name, "origin": origin})),
        Some(key) => of(&json!({"name": name, "origin": origin, "ed25519_public_key": key})),
    }
}

fn of(peer: &Value) -> PeerSettings {
    from_json(&peer.to_string()).unwrap()
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
    let rules = PeerRules::new(&own, settings, CardCheck::Off);
    let mut peers = configured_peers(&rules, named, &mut problems);
    peers.extend(variable_peers(
        &rules,
        settings,
        &mut problems,
        &mut warnings,
    ));
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
        "peers[1].ed25519_public_key: must be 64 hexadecimal digits",
        "peers[1].name: `a` is the name of an earlier peer",
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
}

#[test]
fn order_is_kept_and_the_nameless_are_called_as_their_hosts() {
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
    assert_eq!(names, ["beta", "127.0.0.1-7500", "1", "beta"]);
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
fn everything_about_a_peer_is_read() {
    let settings = of(&json!({
        "name": "beta", "origin": "https://beta.example", "kind": "hive", "suspended": true,
        "max_concurrent": 3, "review_by": "2027-01-31",
        "keys": [
            {"public_key": key_of(1), "kid": "old", "not_after": "1970-01-01T00:01:00Z"},
            {"public_key": key_of(2), "not_before": "1970-01-01T00:01:00+00:00"},
        ],
        "rights": {"agents": ["echo"], "methods": ["GetTask"], "max_role": "viewer", "forward": true},
        "limit": {"calls": 5, "per": "10s"},
        "tls": {"pin": "spiffe://example.org/beta", "certificate_file": "c.pem", "key_file": "k.pem"},
    }));
    let (peers, problems, _) = gather(&ed25519(), &[settings]);
    assert_eq!(problems, [""; 0]);
    let beta = peers.first().unwrap();
    assert_eq!((beta.kind, beta.suspended), (PeerKind::Hive, true));
    assert_eq!(beta.review_by.unwrap().to_string(), "2027-01-31");
    let in_force = |now| beta.public_key_hex(now);
    assert_eq!(
        (in_force(59), in_force(61)),
        (Some(key_of(1)), Some(key_of(2)))
    );
    assert_eq!(in_force(60), Some(key_of(1)), "at the edge both count");
    let rights = &beta.rights;
    assert!(rights.agents.holds("echo") && !rights.agents.holds("text"));
    assert!(rights.methods.holds(Method::GetTask) && !rights.methods.holds(Method::SendMessage));
    assert_eq!((rights.max_role, rights.forward), (Role::Viewer, true));
    let limit = beta.limit.unwrap();
    assert_eq!((limit.calls, limit.per.as_secs(), limit.burst), (5, 10, 5));
    let pin = CertificatePin::Spiffe("spiffe://example.org/beta".to_owned());
    assert_eq!(beta.tls.pin, Some(pin));
    assert!(beta.tls.identity.is_some());
}

#[test]
fn all_problems_of_one_peer_are_told() {
    let not_a_key = "zz".repeat(32);
    let key = |public_key: &str| json!({"public_key": public_key});
    let many: Vec<String> = (1..=5).map(key_of).collect();
    let settings = of(&json!({
        "name": "beta", "origin": "https://beta.example", "ed25519_public_key": not_a_key,
        "keys": many.iter().map(|public_key| key(public_key)).collect::<Vec<_>>(),
        "rights": {"methods": ["message/send"]},
        "tls": {"pin": "md5:0000", "key_file": "k.pem"},
    }));
    let reversed = of(&json!({
        "name": "gamma", "origin": "https://gamma.example",
        "keys": [{"public_key": key_of(1), "not_before": "2027-01-02T00:00:00Z", "not_after": "2027-01-01T00:00:00Z"}],
    }));
    let expected = [
        "peers[0].ed25519_public_key: must be 64 hexadecimal digits",
        "peers[0].keys: a peer has at most 4 keys",
        "peers[0].rights.methods: `message/send` is no operation of A2A 1.0",
        "peers[0].tls.pin: must be `sha256:` with 64 hexadecimal digits, or a SPIFFE id (`spiffe://..`)",
        "peers[0].tls.certificate_file: needs tls.key_file, and the other way round",
        "peers[1].keys[0].not_after: is before not_before",
    ];
    check(&ed25519(), &[settings, reversed], &expected);
}

#[test]
fn whom_a_manifest_names_is_called_at_public_addresses_only() {
    for (source, expected) in [
        (PeerSource::Configured, Destination::Trusted),
        (PeerSource::Variables, Destination::Trusted),
        (PeerSource::Folder, Destination::Trusted),
        (PeerSource::Manifest, Destination::Outside),
    ] {
        let peer = Peer::nameless(Origin::parse("https://a.example").unwrap(), source);
        assert_eq!(peer.destination(), expected, "{source:?}");
    }
}

#[test]
fn a_taken_name_is_changed_by_the_origin_alone() {
    let nameless = |text| Peer::nameless(Origin::parse(text).unwrap(), PeerSource::Manifest);
    let a = nameless("https://a.example").renamed();
    let b = nameless("http://a.example").renamed();
    assert!(a.name.starts_with("a.example-"), "{}", a.name);
    assert_ne!(a.name, b.name);
    assert_eq!(*a.principal, format!("peer:{}", a.name));
}
