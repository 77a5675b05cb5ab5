//! What is shown of peers, of invitations and of ourselves: pure. Nothing secret is in it but an invitation itself.

use archipel_protocol::a2a::Version;
use archipel_protocol::federation::invitation::Invitation;
use archipel_protocol::federation::{PeerKey, keys};
use archipel_protocol::ids::Origin;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::federation::Federation;
use crate::federation::own_keys::OwnKeys;
use crate::federation::peers::{Allowed, Peer, PeerLimit, PeerRights, PeerSource};
use crate::pairing::book::{Book, Mark};

/// What is in force, and when.
pub(super) struct Ports<'a> {
    pub(super) federation: &'a Federation,
    /// Unix seconds.
    pub(super) now: i64,
}

/// Every peer, those that were revoked too, and ourselves.
pub(super) fn all(ports: &Ports<'_>, book: &Book) -> Value {
    let roster = ports.federation.roster();
    let in_force = roster
        .peers()
        .iter()
        .map(|known| peer(known, book, ports.now));
    let revoked = book.marks.iter().filter(|(_, mark)| mark.revoked);
    let revoked = revoked.map(|(origin, mark)| withdrawn(origin, mark));
    let peers: Vec<Value> = in_force.chain(revoked).collect();
    let us = ports.federation.own_keys();
    let us = us.map(|keys| own(ports.federation.own(), &keys));
    json!({"own": us, "peers": peers})
}

/// One peer; `None` where there is none of that name.
pub(super) fn one(ports: &Ports<'_>, book: &Book, name: &str) -> Option<Value> {
    let roster = ports.federation.roster();
    if let Some(known) = roster.by_name(name) {
        return Some(peer(known, book, ports.now));
    }
    let mut marks = book.marks.iter();
    let (origin, mark) = marks.find(|(_, mark)| mark.revoked && mark.name == name)?;
    Some(withdrawn(origin, mark))
}

/// Peers that must be told of a new key by their operators, because they do not follow ours.
pub(super) fn who_does_not_follow(ports: &Ports<'_>) -> Vec<String> {
    let roster = ports.federation.roster();
    let peers = roster.peers().iter();
    let told = peers.filter(|peer| peer.source != PeerSource::Paired);
    told.map(|peer| peer.name.to_string()).collect()
}

pub(super) fn own(origin: &Origin, own: &OwnKeys) -> Value {
    let mut shown = key(&own.public_key, None);
    if let Some(members) = shown.as_object_mut() {
        members.insert("origin".to_owned(), origin.as_str().into());
    }
    shown
}

pub(super) fn key(key: &[u8; 32], not_after: Option<i64>) -> Value {
    json!({
        "fingerprint": keys::fingerprint(key),
        "kid": keys::thumbprint(key),
        "publicKey": keys::to_hex(key),
        "notAfter": not_after.and_then(moment),
    })
}

/// Our invitations that somebody may still take; the one that ends first stands first.
pub(super) fn open(book: &Book, now: i64) -> Value {
    let open = book.open.values().filter(|open| open.expires_at >= now);
    let mut open: Vec<&Invitation> = open.collect();
    open.sort_by_key(|open| open.expires_at);
    let shown: Vec<Value> = open.into_iter().map(open_invitation).collect();
    json!({"invitations": shown})
}

/// A new invitation, with the line to hand over.
pub(super) fn invitation(invitation: &Invitation, line: &str) -> Value {
    let mut shown = open_invitation(invitation);
    if let Some(members) = shown.as_object_mut() {
        members.insert("invitation".to_owned(), line.into());
    }
    shown
}

fn open_invitation(invitation: &Invitation) -> Value {
    json!({
        "id": invitation.id,
        "expiresAt": moment(invitation.expires_at),
        "origin": invitation.origin.as_str(),
        "fingerprint": keys::fingerprint(&invitation.key),
        "name": invitation.name,
        "grants": invitation.grant,
        "hold": invitation.hold,
        "allowPrivate": invitation.allow_private,
        "reviewBy": invitation.review_by,
    })
}

/// What the operator is shown before they accept.
pub(super) fn offer(invitation: &Invitation, name: &str, own: &OwnKeys) -> Value {
    json!({
        "offered": true,
        "name": name,
        "origin": invitation.origin.as_str(),
        "fingerprint": keys::fingerprint(&invitation.key),
        "ownFingerprint": keys::fingerprint(&own.public_key),
        "grants": invitation.grant,
        "held": invitation.hold,
        "expiresAt": moment(invitation.expires_at),
    })
}

fn peer(peer: &Peer, book: &Book, now: i64) -> Value {
    let paired = book.peers.get(&peer.origin);
    let paired = paired.filter(|_| peer.source == PeerSource::Paired);
    let today = Timestamp::from_second(now).ok();
    let today = today.map(|now| now.to_zoned(jiff::tz::TimeZone::UTC).date());
    let is_due = peer
        .review_by
        .zip(today)
        .is_some_and(|(day, today)| day <= today);
    json!({
        "name": &*peer.name,
        "origin": peer.origin.as_str(),
        "source": source(peer.source),
        "state": if peer.suspended { "suspended" } else { "active" },
        "keys": peer.keys.iter().map(key_of).collect::<Vec<_>>(),
        "rights": rights(&peer.rights),
        "limit": peer.limit.map(limit),
        "reviewBy": peer.review_by.map(|day| day.to_string()),
        "reviewDue": is_due,
        "pairedAt": paired.and_then(|paired| moment(paired.paired_at)),
        "allowPrivate": paired.map(|paired| paired.allow_private),
    })
}

fn key_of(known: &PeerKey) -> Value {
    let mut shown = key(&known.public_key, known.not_after);
    if let Some(members) = shown.as_object_mut() {
        let not_before = known.not_before.and_then(moment);
        members.insert("notBefore".to_owned(), not_before.into());
        if let Some(kid) = &known.kid {
            members.insert("kid".to_owned(), kid.as_str().into());
        }
    }
    shown
}

fn withdrawn(origin: &Origin, mark: &Mark) -> Value {
    json!({
        "name": mark.name,
        "origin": origin.as_str(),
        "source": if mark.paired { "paired" } else { "configured" },
        "state": "revoked",
        "since": moment(mark.since),
        "keys": [],
    })
}

fn rights(rights: &PeerRights) -> Value {
    let agents = match &rights.agents {
        Allowed::All => json!(["*"]),
        Allowed::Only(agents) => json!(agents),
    };
    let methods = match &rights.methods {
        Allowed::All => json!(["*"]),
        Allowed::Only(methods) => {
            let names = methods.iter().map(|method| method.name(Version::V1));
            json!(names.collect::<Vec<_>>())
        }
    };
    json!({
        "agents": agents,
        "methods": methods,
        "maxRole": rights.max_role.word(),
        "forward": rights.forward,
    })
}

fn limit(limit: PeerLimit) -> Value {
    json!({"calls": limit.calls, "seconds": limit.per.as_secs(), "burst": limit.burst})
}

fn source(source: PeerSource) -> &'static str {
    match source {
        PeerSource::Configured => "configured",
        PeerSource::Variables => "variables",
        PeerSource::Folder => "folder",
        PeerSource::Paired => "paired",
        PeerSource::Manifest => "manifest",
    }
}

fn moment(unix: i64) -> Option<String> {
    Timestamp::from_second(unix)
        .ok()
        .map(|time| time.to_string())
}
