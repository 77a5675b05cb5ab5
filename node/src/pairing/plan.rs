//! What a command about peers comes to: pure. Each function looks at what is kept and what is in force, and says which rows
//! change.

use archipel_protocol::federation::invitation::{Acceptance, Invitation};
use archipel_protocol::ids::Origin;
use uuid::Uuid;

use crate::federation::peers::{Peer, PeerSource, is_name};
use crate::federation::roster::Roster;
use crate::pairing::PairingError;
use crate::pairing::book::{
    Book, Mark, PairedKey, PairedPeer, forget_mark, forget_open, forget_peer, keep_mark, keep_open,
    keep_peer,
};
use crate::pairing::grant;
use crate::store::peers::PeerChange;

/// How long it is remembered that a peer that paired was revoked, in seconds: longer than any invitation lives.
const REVOKED_FOR: i64 = 31 * 24 * 3600;

/// Most invitations that are open at once: an operator sees them all.
const MAX_OPEN: usize = 256;

/// What a decision is made over.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) book: &'a Book,
    pub(super) roster: &'a Roster,
    pub(super) max_peers: usize,
    /// Unix seconds.
    pub(super) now: i64,
}

/// Somebody of that name, in force or not.
struct Named {
    origin: Origin,
    source: Option<PeerSource>,
}

impl View<'_> {
    fn named(&self, name: &str) -> Result<Named, PairingError> {
        if let Some(peer) = self.roster.by_name(name) {
            return Ok(Named {
                origin: peer.origin.clone(),
                source: Some(peer.source),
            });
        }
        let marked = self.book.marks.iter().find(|(_, mark)| mark.name == name);
        let (origin, _) = marked.ok_or(PairingError::NotFound)?;
        Ok(Named {
            origin: origin.clone(),
            source: None,
        })
    }

    /// Whether a name is somebody else's than this origin's.
    fn is_taken(&self, name: &str, origin: &Origin) -> bool {
        let in_force = self.roster.by_name(name);
        let paired = self.book.peers.values().find(|peer| peer.name == name);
        in_force.is_some_and(|peer| peer.origin != *origin)
            || paired.is_some_and(|peer| peer.origin != *origin)
    }
}

/// The peer may neither call nor be called.
pub(super) fn suspend(view: View<'_>, name: &str) -> Result<Vec<PeerChange>, PairingError> {
    let Named { origin, source } = view.named(name)?;
    if view
        .book
        .marks
        .get(&origin)
        .is_some_and(|mark| mark.revoked)
    {
        return Err(PairingError::Conflict(format!(
            "`{name}` is revoked already"
        )));
    }
    let mark = Mark {
        name: name.to_owned(),
        revoked: false,
        paired: source == Some(PeerSource::Paired),
        since: view.now,
    };
    Ok(vec![keep_mark(&origin, &mark)])
}

/// The peer may call and be called again.
pub(super) fn resume(view: View<'_>, name: &str) -> Result<Vec<PeerChange>, PairingError> {
    let Named { origin, .. } = view.named(name)?;
    match view.book.marks.get(&origin) {
        Some(mark) if mark.revoked && mark.paired => Err(PairingError::Conflict(format!(
            "`{name}` was revoked, and nothing is left of it: pair again with a new invitation"
        ))),
        Some(_) => Ok(vec![forget_mark(&origin)]),
        None => match view.roster.by_name(name) {
            Some(peer) if peer.suspended => Err(PairingError::Conflict(format!(
                "`{name}` is suspended where it is configured: change it there"
            ))),
            _ => Ok(Vec::new()),
        },
    }
}

/// The peer is none any more. What paired is forgotten; who stands in a configuration or manifest is passed over.
pub(super) fn revoke(view: View<'_>, name: &str) -> Result<Vec<PeerChange>, PairingError> {
    let Named { origin, source } = view.named(name)?;
    let known = view.book.marks.get(&origin);
    if known.is_some_and(|mark| mark.revoked) {
        return Ok(Vec::new());
    }
    let paired =
        view.book.peers.contains_key(&origin) && matches!(source, None | Some(PeerSource::Paired));
    let mark = Mark {
        name: name.to_owned(),
        revoked: true,
        paired,
        since: view.now,
    };
    let mut changes = swept(view);
    changes.push(forget_peer(&origin));
    changes.push(keep_mark(&origin, &mark));
    Ok(changes)
}

/// Marks of peers that paired and whose invitations have all expired.
fn swept(view: View<'_>) -> Vec<PeerChange> {
    let is_over = |mark: &Mark| {
        mark.revoked && mark.paired && mark.since.saturating_add(REVOKED_FOR) < view.now
    };
    let marks = view.book.marks.iter().filter(|(_, mark)| is_over(mark));
    marks.map(|(origin, _)| forget_mark(origin)).collect()
}

/// An invitation is open until somebody takes it, it is withdrawn, or its time is over.
pub(super) fn open(
    view: View<'_>,
    invitation: &Invitation,
) -> Result<Vec<PeerChange>, PairingError> {
    let is_over = |open: &&Invitation| open.expires_at < view.now;
    let over = view.book.open.values().filter(is_over);
    let mut changes: Vec<PeerChange> = over.map(|open| forget_open(open.id)).collect();
    if view.book.open.len() - changes.len() >= MAX_OPEN {
        return Err(PairingError::Conflict(format!(
            "{MAX_OPEN} invitations are open already: withdraw some (`archipel peers invitations list`)"
        )));
    }
    changes.push(keep_open(invitation));
    Ok(changes)
}

/// An invitation is not taken any more.
pub(super) fn withdraw(view: View<'_>, id: Uuid) -> Result<Vec<PeerChange>, PairingError> {
    match view.book.open.contains_key(&id) {
        true => Ok(vec![forget_open(id)]),
        false => Err(PairingError::NotFound),
    }
}

/// Whether whoever answers an invitation may become a peer, before it is taken: what fails here costs no invitation.
///
/// # Errors
/// Why not.
pub(super) fn check_guest(
    view: View<'_>,
    invitation: &Invitation,
    acceptance: &Acceptance,
) -> Result<(), PairingError> {
    if !view.book.open.contains_key(&invitation.id) {
        return Err(PairingError::Refused(
            "the invitation was taken already, or withdrawn: ask for a new one",
        ));
    }
    let origin = &acceptance.origin;
    let mark = view.book.marks.get(origin);
    if mark.is_some_and(|mark| mark.revoked && mark.since >= invitation.issued_at) {
        return Err(PairingError::Refused(
            "trust in this node was taken back after the invitation was made: ask for a new one",
        ));
    }
    if let Some(peer) = view.book.peers.get(origin) {
        if peer.has_key(&acceptance.key) {
            return Ok(());
        }
        return Err(known_otherwise(&peer.name));
    }
    if let Some(peer) = view.roster.by_origin(origin) {
        return Err(known_otherwise(&peer.name));
    }
    check_room(view)
}

/// Whether a peer answered this invitation before, with this key: it may hear the confirmation again.
pub(super) fn is_same_guest(book: &Book, invitation: &Invitation, acceptance: &Acceptance) -> bool {
    let peer = book.peers.get(&acceptance.origin);
    peer.is_some_and(|peer| peer.invitation == invitation.id && peer.has_key(&acceptance.key))
}

/// Whoever answered our invitation becomes a peer.
pub(super) fn take_guest(
    view: View<'_>,
    invitation: &Invitation,
    acceptance: &Acceptance,
) -> Result<Vec<PeerChange>, PairingError> {
    check_guest(view, invitation, acceptance)?;
    let origin = acceptance.origin.clone();
    let nameless = Peer::nameless(origin.clone(), PeerSource::Paired);
    let wanted = invitation.name.as_ref().map(|name| name.as_str());
    let wanted = wanted.unwrap_or(&nameless.name).to_owned();
    let name = if view.is_taken(&wanted, &origin) {
        let renamed = Peer::new(&wanted, origin.clone(), PeerSource::Paired).renamed();
        renamed.name.to_string()
    } else {
        wanted
    };
    let peer = PairedPeer {
        name: name.clone(),
        origin: origin.clone(),
        keys: vec![PairedKey::new(&acceptance.key)],
        grant: invitation.grant.clone(),
        review_by: invitation.review_by.as_ref().map(ToString::to_string),
        allow_private: invitation.allow_private,
        paired_at: view.now,
        invitation: invitation.id,
    };
    let held = Mark {
        name,
        revoked: false,
        paired: true,
        since: view.now,
    };
    let mark = match invitation.hold {
        true => keep_mark(&origin, &held),
        false => forget_mark(&origin),
    };
    Ok(vec![forget_open(invitation.id), keep_peer(&peer), mark])
}

/// Words that stand in the place of a name below `/api/peers`.
const TAKEN_WORDS: [&str; 3] = ["accept", "invitations", "rotate-key"];

/// Whether a peer that pairs may be called so.
///
/// # Errors
/// When not.
pub(super) fn check_name(name: &str) -> Result<(), PairingError> {
    if is_name(name) && !TAKEN_WORDS.contains(&name) {
        return Ok(());
    }
    Err(PairingError::Invalid(format!(
        "`{name}` is no name for a peer: lower-case letters, digits, `.`, `_` and `-` (choose one with --name)"
    )))
}

/// Whether the inviter may become a peer under this name.
///
/// # Errors
/// Why not.
pub(super) fn check_host(
    view: View<'_>,
    invitation: &Invitation,
    name: &str,
) -> Result<(), PairingError> {
    check_name(name)?;
    if view.is_taken(name, &invitation.origin) {
        return Err(PairingError::Conflict(format!(
            "`{name}` is the name of another peer: choose one with --name"
        )));
    }
    let paired = view.book.peers.get(&invitation.origin);
    match (paired, view.roster.by_origin(&invitation.origin)) {
        (Some(peer), _) if peer.has_key(&invitation.key) => Ok(()),
        (Some(peer), _) => Err(known_otherwise(&peer.name)),
        (None, Some(peer)) => Err(known_otherwise(&peer.name)),
        (None, None) => check_room(view),
    }
}

/// The inviter becomes a peer.
pub(super) fn take_host(view: View<'_>, peer: &PairedPeer) -> Vec<PeerChange> {
    let mut changes = swept(view);
    changes.push(keep_peer(peer));
    // The operator has just decided to trust it.
    changes.push(forget_mark(&peer.origin));
    changes
}

/// Whether what an operator grants can be understood.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_terms(
    terms: &archipel_protocol::federation::invitation::Grant,
    review_by: Option<&str>,
) -> Result<(), PairingError> {
    grant::terms(terms, review_by)
        .map(drop)
        .map_err(PairingError::Invalid)
}

fn check_room(view: View<'_>) -> Result<(), PairingError> {
    if view.book.peers.len() < view.max_peers {
        return Ok(());
    }
    Err(PairingError::Conflict(format!(
        "there are {} peers that paired already: federation.max_peers allows no more",
        view.book.peers.len()
    )))
}

fn known_otherwise(name: &str) -> PairingError {
    PairingError::Conflict(format!(
        "this node is known as peer `{name}` already: it must be revoked, or taken out of the configuration, before it can \
         pair anew"
    ))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
