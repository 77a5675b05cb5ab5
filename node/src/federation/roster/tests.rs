//! Which peers are in force, of all that are told.

use archipel_protocol::federation::PeerKey;
use archipel_protocol::ids::Origin;

use super::{FollowedKeys, Roster, RosterParts, Trust, Withdrawal};
use crate::config::CardCheck;
use crate::federation::peers::{Peer, PeerRules, PeerSource};

fn origin(text: &str) -> Origin {
    Origin::parse(text).unwrap()
}

fn rules() -> PeerRules {
    PeerRules {
        own: origin("https://own.example"),
        needs_keys: true,
        cards: CardCheck::Off,
        max_peers: 5,
    }
}

fn keyed(peer: Peer) -> Peer {
    Peer {
        keys: vec![PeerKey::new([7; 32])],
        ..peer
    }
}

fn named(name: &str, source: PeerSource) -> Peer {
    keyed(Peer::new(
        name,
        origin(&format!("https://{name}.example")),
        source,
    ))
}

fn nameless(text: &str, source: PeerSource) -> Peer {
    keyed(Peer::nameless(origin(text), source))
}

/// The merged roster has these origins, in this order.
fn check(parts: &RosterParts, expected: &[&str]) -> Vec<Peer> {
    let merged = parts.merged(&rules());
    let origins: Vec<&str> = merged.iter().map(|peer| peer.origin.as_str()).collect();
    assert_eq!(origins, expected);
    merged
}

#[test]
fn what_comes_first_wins() {
    let mut parts = RosterParts {
        configured: vec![named("a", PeerSource::Configured)],
        variables: vec![nameless("https://b.example", PeerSource::Variables)],
        folder: vec![named("c", PeerSource::Folder)],
        paired: vec![
            named("d", PeerSource::Paired),
            named("a", PeerSource::Paired),
        ],
        manifest: vec![
            nameless("https://a.example", PeerSource::Manifest),
            nameless("https://own.example", PeerSource::Manifest),
            Peer::nameless(origin("https://keyless.example"), PeerSource::Manifest),
            nameless("https://e.example", PeerSource::Manifest),
            nameless("https://beyond.example", PeerSource::Manifest),
        ],
        ..RosterParts::default()
    };
    let [a, b, c, d, e] = ["a", "b", "c", "d", "e"].map(|name| format!("https://{name}.example"));
    let merged = check(&parts, &[&a, &b, &c, &d, &e]);
    assert_eq!(merged.first().unwrap().source, PeerSource::Configured);
    let revoked = Withdrawal::Revoked;
    parts.withdrawn.insert(origin(&b), revoked);
    parts.withdrawn.insert(origin(&c), Withdrawal::Suspended);
    let merged = check(&parts, &[&a, &c, &d, &e, "https://beyond.example"]);
    let suspended: Vec<bool> = merged.iter().map(|peer| peer.suspended).collect();
    assert_eq!(suspended, [false, true, false, false, false]);
}

#[test]
fn a_name_is_given_once() {
    let parts = RosterParts {
        configured: vec![Peer::new(
            "x.example",
            origin("https://a.example"),
            PeerSource::Configured,
        )]
        .into_iter()
        .map(keyed)
        .collect(),
        manifest: vec![
            nameless("https://x.example", PeerSource::Manifest),
            nameless("http://x.example", PeerSource::Manifest),
        ],
        ..RosterParts::default()
    };
    let expected = ["https://a.example", "https://x.example", "http://x.example"];
    let merged = check(&parts, &expected);
    let roster = Roster::new(merged.clone(), &Trust::Nobody).unwrap();
    for peer in &merged {
        let found = roster.by_name(&peer.name).unwrap();
        assert_eq!(found.origin, peer.origin);
        assert_eq!(roster.by_origin(&peer.origin).unwrap().name, peer.name);
    }
    assert!(roster.by_name("nobody").is_none());
    assert!(roster.verifier().is_none());
}

#[test]
fn keys_that_follow_count_as_long_as_their_root_is_written_down() {
    let key = |byte: u8, not_after: Option<i64>| PeerKey {
        not_after,
        ..PeerKey::new([byte; 32])
    };
    let check = |follows_keys, written: &[PeerKey], expected: &[PeerKey]| {
        let mut peer = named("a", PeerSource::Configured);
        peer.follows_keys = follows_keys;
        peer.keys = written.to_vec();
        let followed = FollowedKeys {
            root: [1; 32],
            keys: vec![key(3, None), key(2, Some(20)), key(1, Some(10))],
        };
        let parts = RosterParts {
            followed: [(peer.origin.clone(), followed)].into(),
            configured: vec![peer],
            ..RosterParts::default()
        };
        let merged = self::check(&parts, &["https://a.example"]);
        assert_eq!(merged.first().unwrap().keys, expected);
    };
    let all = [key(3, None), key(2, Some(20)), key(1, Some(10))];
    check(true, &[key(1, None)], &all);
    check(false, &[key(1, None)], &[key(1, None)]);
    check(true, &[key(9, None)], &[key(9, None)]);
    // Whoever says first when a key ends is heard.
    let sooner = [key(3, None), key(2, Some(20)), key(1, Some(5))];
    check(true, &[key(1, Some(5))], &sooner);
    check(true, &[key(1, Some(15))], &all);
    // At most so many, the newest ones.
    let many = [key(7, None), key(8, None), key(1, None)];
    let kept = [
        key(3, None),
        key(2, Some(20)),
        key(1, Some(10)),
        key(7, None),
    ];
    check(true, &many, &kept);
}
