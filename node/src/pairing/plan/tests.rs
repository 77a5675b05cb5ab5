//! What commands come to, over tables of what is kept and in force.

use archipel_protocol::federation::invitation::Grant;
use archipel_protocol::ids::Text;
use uuid::Uuid;

use super::*;
use crate::federation::roster::Trust;
use crate::store::peers::{PeerRow, PeerRows};

const NOW: i64 = 1_800_000_000;

fn origin(name: &str) -> Origin {
    Origin::parse(&format!("https://{name}.example.org")).unwrap()
}

/// A peer that paired, with one key.
fn paired(name: &str, key: u8) -> PairedPeer {
    PairedPeer {
        name: name.to_owned(),
        origin: origin(name),
        keys: vec![PairedKey::new(&[key; 32])],
        grant: Grant::default(),
        review_by: None,
        allow_private: false,
        paired_at: NOW,
        invitation: Uuid::from_u128(1),
    }
}

fn mark(name: &str, revoked: bool, paired: bool) -> PeerChange {
    let mark = Mark {
        name: name.to_owned(),
        revoked,
        paired,
        since: NOW,
    };
    keep_mark(&origin(name), &mark)
}

/// What is kept while our invitation is open.
fn book(mut changes: Vec<PeerChange>) -> Book {
    changes.push(keep_open(&invitation()));
    let rows = changes.into_iter().filter_map(|change| match change {
        PeerChange::Keep(row) => Some(row),
        PeerChange::Forget(_) => None,
    });
    Book::read(&PeerRows {
        revision: 1,
        rows: rows.collect(),
    })
}

/// A roster of the configured peer `delta` and of those that paired, whom the book does not withdraw for good.
fn roster(book: &Book) -> Roster {
    let delta = Peer::new("delta", origin("delta"), PeerSource::Configured);
    let is_revoked = |peer: &Peer| {
        book.marks
            .get(&peer.origin)
            .is_some_and(|mark| mark.revoked)
    };
    let peers = [delta].into_iter().chain(book.paired());
    let peers = peers.filter(|peer| !is_revoked(peer)).collect();
    Roster::new(peers, &Trust::Nobody).unwrap()
}

fn over<R>(book: &Book, decide: impl FnOnce(View<'_>) -> R) -> R {
    let roster = roster(book);
    decide(View {
        book,
        roster: &roster,
        max_peers: 2,
        now: NOW,
    })
}

fn invitation() -> Invitation {
    Invitation {
        origin: origin("alpha"),
        id: Uuid::from_u128(7),
        issued_at: NOW,
        expires_at: NOW + 60,
        key: [1; 32],
        name: Some(Text::parse("beta").unwrap()),
        grant: Grant::default(),
        hold: false,
        allow_private: false,
        review_by: None,
    }
}

fn acceptance(name: &str, key: u8) -> Acceptance {
    Acceptance {
        origin: origin(name),
        inviter: origin("alpha"),
        invitation: Uuid::from_u128(7),
        issued_at: NOW,
        key: [key; 32],
    }
}

/// The ids of the rows that change; those that are forgotten with a minus.
fn told(changes: &[PeerChange]) -> Vec<String> {
    let id = |change: &PeerChange| match change {
        PeerChange::Keep(PeerRow { id, .. }) => id.replace("https://", ""),
        PeerChange::Forget(id) => format!("-{}", id.replace("https://", "")),
    };
    changes.iter().map(id).collect()
}

#[test]
fn trust_is_taken_back_from_whoever_is_a_peer() {
    let empty = book(Vec::new());
    let with_beta = book(vec![keep_peer(&paired("beta", 2))]);
    let suspended = book(vec![
        keep_peer(&paired("beta", 2)),
        mark("beta", false, true),
    ]);
    let revoked = book(vec![mark("beta", true, true), mark("delta", true, false)]);
    type Decide = fn(View<'_>, &str) -> Result<Vec<PeerChange>, PairingError>;
    let check = |book: &Book, decide: Decide, name: &str, expected: &[&str]| {
        let changes = over(book, |view| decide(view, name)).unwrap();
        assert_eq!(told(&changes), expected, "{name}");
    };
    check(&with_beta, suspend, "beta", &["mark:beta.example.org"]);
    check(&empty, suspend, "delta", &["mark:delta.example.org"]);
    check(&suspended, resume, "beta", &["-mark:beta.example.org"]);
    check(&with_beta, resume, "beta", &[]);
    check(
        &suspended,
        revoke,
        "beta",
        &["-peer:beta.example.org", "mark:beta.example.org"],
    );
    // What stands in the configuration can be let in again; of what paired nothing is left.
    check(&revoked, resume, "delta", &["-mark:delta.example.org"]);
    check(&revoked, revoke, "beta", &[]);
    let refused = |book: &Book, decide: Decide, name: &str| {
        over(book, |view| decide(view, name)).unwrap_err()
    };
    assert!(matches!(
        refused(&revoked, resume, "beta"),
        PairingError::Conflict(_)
    ));
    assert!(matches!(
        refused(&revoked, suspend, "beta"),
        PairingError::Conflict(_)
    ));
    for decide in [suspend as Decide, resume, revoke] {
        assert_eq!(refused(&empty, decide, "nobody"), PairingError::NotFound);
    }
}

#[test]
fn marks_of_what_paired_are_forgotten_when_no_invitation_is_left() {
    let old = Mark {
        name: "gone".to_owned(),
        revoked: true,
        paired: true,
        since: NOW - REVOKED_FOR - 1,
    };
    let book = book(vec![
        keep_mark(&origin("gone"), &old),
        mark("beta", true, true),
        keep_peer(&paired("gamma", 3)),
    ]);
    let changes = over(&book, |view| revoke(view, "gamma")).unwrap();
    assert_eq!(
        told(&changes),
        [
            "-mark:gone.example.org",
            "-peer:gamma.example.org",
            "mark:gamma.example.org"
        ]
    );
}

#[test]
fn whoever_answers_an_invitation_is_somebody_new_or_the_same() {
    let check =
        |book: &Book, invitation: &Invitation, answer: &Acceptance, expected: Option<&str>| {
            let found = over(book, |view| check_guest(view, invitation, answer));
            let found = found.err().map(|error| error.to_string());
            match (&found, expected) {
                (Some(found), Some(expected)) => assert!(found.contains(expected), "{found}"),
                (found, expected) => assert_eq!(found.as_deref(), expected),
            }
        };
    let empty = book(Vec::new());
    let with_beta = book(vec![keep_peer(&paired("beta", 2))]);
    let revoked = book(vec![mark("beta", true, true)]);
    let newer = Invitation {
        issued_at: NOW + 1,
        ..invitation()
    };
    check(&empty, &invitation(), &acceptance("beta", 2), None);
    check(&with_beta, &invitation(), &acceptance("beta", 2), None);
    // Nobody takes the place of a peer with another key.
    let known = Some("known as peer");
    check(&with_beta, &invitation(), &acceptance("beta", 9), known);
    check(&empty, &invitation(), &acceptance("delta", 2), known);
    let back = Some("taken back");
    check(&revoked, &invitation(), &acceptance("beta", 2), back);
    check(&revoked, &newer, &acceptance("beta", 2), None);
    let other = Invitation {
        id: Uuid::from_u128(8),
        ..invitation()
    };
    let closed = Some("taken already, or withdrawn");
    check(&empty, &other, &acceptance("beta", 2), closed);
    let full = book(vec![
        keep_peer(&paired("beta", 2)),
        keep_peer(&paired("gamma", 3)),
    ]);
    let many = Some("max_peers");
    check(&full, &invitation(), &acceptance("epsilon", 4), many);
    check(&full, &invitation(), &acceptance("beta", 2), None);
}

#[test]
fn a_guest_is_called_as_the_invitation_says_unless_somebody_else_is() {
    let taken = |book: &Book, invitation: &Invitation| {
        let answer = acceptance("epsilon", 4);
        let changes = over(book, |view| take_guest(view, invitation, &answer)).unwrap();
        let kept = self::book(changes);
        let peer = kept.peers.values().next().unwrap();
        (peer.name.clone(), kept.marks.len())
    };
    let empty = book(Vec::new());
    assert_eq!(taken(&empty, &invitation()), ("beta".to_owned(), 0));
    let with_beta = book(vec![keep_peer(&paired("beta", 2))]);
    let (name, _) = taken(&with_beta, &invitation());
    assert!(name.starts_with("beta-"), "{name}");
    let nameless = Invitation {
        name: None,
        hold: true,
        ..invitation()
    };
    let expected = ("epsilon.example.org".to_owned(), 1);
    assert_eq!(taken(&empty, &nameless), expected);
}

#[test]
fn the_same_guest_may_hear_the_confirmation_again() {
    let again = Invitation {
        id: Uuid::from_u128(1),
        ..invitation()
    };
    let book = book(vec![keep_peer(&paired("beta", 2))]);
    for (invitation, key, expected) in [
        (&again, 2, true),
        (&again, 9, false),
        (&invitation(), 2, false),
    ] {
        let answer = acceptance("beta", key);
        assert_eq!(is_same_guest(&book, invitation, &answer), expected);
    }
}

#[test]
fn an_inviter_gets_a_name_that_is_free() {
    let check = |name: &str, expected: Option<&str>| {
        let book = book(vec![keep_peer(&paired("beta", 2))]);
        let found = over(&book, |view| check_host(view, &invitation(), name));
        let found = found.err().map(|error| error.to_string());
        let is_expected = match (&found, expected) {
            (Some(found), Some(expected)) => found.contains(expected),
            (found, expected) => found.is_none() && expected.is_none(),
        };
        assert!(is_expected, "{name}: {found:?}");
    };
    check("alpha", None);
    check("beta", Some("--name"));
    check("delta", Some("--name"));
    check("Alpha", Some("no name"));
    check("accept", Some("no name"));
}

#[test]
fn an_invitation_is_open_until_it_is_taken_withdrawn_or_over() {
    let over_since = |seconds: i64, id: u128| Invitation {
        id: Uuid::from_u128(id),
        expires_at: NOW - seconds,
        ..invitation()
    };
    let (last, gone) = (over_since(0, 3), over_since(1, 4));
    let book = book(vec![keep_open(&last), keep_open(&gone)]);
    let new = over_since(-60, 5);
    let id = |id: u128| format!("open:{}", Uuid::from_u128(id));
    let changes = over(&book, |view| open(view, &new)).unwrap();
    assert_eq!(told(&changes), [format!("-{}", id(4)), id(5)]);
    let changes = over(&book, |view| withdraw(view, last.id)).unwrap();
    assert_eq!(told(&changes), [format!("-{}", id(3))]);
    let refused = over(&book, |view| withdraw(view, new.id));
    assert_eq!(refused.unwrap_err(), PairingError::NotFound);
    let taken = over(&book, |view| {
        take_guest(view, &invitation(), &acceptance("epsilon", 4))
    });
    let taken = told(&taken.unwrap());
    assert_eq!(taken.first(), Some(&format!("-{}", id(7))));
}

#[test]
fn only_so_many_invitations_are_open() {
    let one = |number: usize| Invitation {
        id: Uuid::from_u128(number as u128),
        ..invitation()
    };
    let full = book(
        (1000..1000 + MAX_OPEN - 1)
            .map(|number| keep_open(&one(number)))
            .collect(),
    );
    let refused = over(&full, |view| open(view, &one(1))).unwrap_err();
    assert!(matches!(refused, PairingError::Conflict(_)), "{refused}");
}
