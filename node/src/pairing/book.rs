//! What is kept about peers, row by row, as it is written and as it is meant: pure.
//!
//! A row that cannot be read is told in the log and passed over; whom it was about is no peer then.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use archipel_protocol::federation::invitation::{Grant, Invitation};
use archipel_protocol::federation::{PeerKey, keys};
use archipel_protocol::ids::Origin;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::federation::peers::{Peer, PeerSource};
use crate::federation::roster::{FollowedKeys, Withdrawal};
use crate::pairing::grant;
use crate::pairing::ring::KeyRing;
use crate::store::peers::{PeerChange, PeerRow, PeerRows};

const PEER: &str = "peer:";
const MARK: &str = "mark:";
const RING: &str = "ring";
const OPEN: &str = "open:";
const KEYS: &str = "keys:";

/// Everything that is kept about peers.
#[derive(Debug, Clone, Default)]
pub(super) struct Book {
    pub(super) peers: BTreeMap<Origin, PairedPeer>,
    pub(super) marks: BTreeMap<Origin, Mark>,
    pub(super) ring: Option<KeyRing>,
    /// Our invitations that nobody has taken. Without its signature an invitation lets nobody in.
    pub(super) open: BTreeMap<Uuid, Invitation>,
    /// Keys that followed from one that an operator wrote down.
    pub(super) followed: BTreeMap<Origin, Followed>,
}

/// See [`FollowedKeys`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Followed {
    /// 64 hexadecimal digits.
    pub(super) root: String,
    /// The newest one first.
    pub(super) keys: Vec<PairedKey>,
}

/// A node that paired with us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PairedPeer {
    pub(super) name: String,
    pub(super) origin: Origin,
    /// The newest one first.
    pub(super) keys: Vec<PairedKey>,
    pub(super) grant: Grant,
    pub(super) review_by: Option<String>,
    /// Whether it may be in a private network.
    pub(super) allow_private: bool,
    /// Unix seconds.
    pub(super) paired_at: i64,
    pub(super) invitation: Uuid,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PairedKey {
    /// 64 hexadecimal digits.
    pub(super) public_key: String,
    /// The last second at which it counts, in Unix seconds.
    pub(super) not_after: Option<i64>,
}

/// A peer from which trust was taken back, whoever told us of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mark {
    pub(super) name: String,
    pub(super) revoked: bool,
    /// Whether it had paired; then nothing is left of it but this.
    pub(super) paired: bool,
    /// Unix seconds.
    pub(super) since: i64,
}

impl Book {
    pub(super) fn read(rows: &PeerRows) -> Self {
        let mut book = Self::default();
        for row in &rows.rows {
            if book.take(row).is_none() {
                tracing::error!(row = &*row.id, "a row about peers cannot be read");
            }
        }
        book
    }

    fn take(&mut self, row: &PeerRow) -> Option<()> {
        if let Some(origin) = row.id.strip_prefix(PEER) {
            let peer: PairedPeer = read(row)?;
            let origin = Origin::from_str(origin).ok()?;
            self.peers.insert(origin, peer);
        } else if let Some(origin) = row.id.strip_prefix(MARK) {
            let origin = Origin::from_str(origin).ok()?;
            self.marks.insert(origin, read(row)?);
        } else if let Some(id) = row.id.strip_prefix(OPEN) {
            let id = Uuid::from_str(id).ok()?;
            self.open.insert(id, read(row)?);
        } else if let Some(origin) = row.id.strip_prefix(KEYS) {
            let origin = Origin::from_str(origin).ok()?;
            self.followed.insert(origin, read(row)?);
        } else if &*row.id == RING {
            self.ring = Some(read(row)?);
        }
        Some(())
    }

    /// Those that paired, as the roster wants them.
    pub(super) fn paired(&self) -> Vec<Peer> {
        self.peers.values().filter_map(PairedPeer::peer).collect()
    }

    /// The keys of configured peers that follow, as the roster wants them.
    pub(super) fn followed(&self) -> BTreeMap<Origin, FollowedKeys> {
        let read = |(origin, followed): (&Origin, &Followed)| {
            let keys = FollowedKeys {
                root: keys::from_hex(&followed.root).ok()?,
                keys: followed.keys.iter().filter_map(PairedKey::key).collect(),
            };
            Some((origin.clone(), keys))
        };
        self.followed.iter().filter_map(read).collect()
    }

    pub(super) fn withdrawn(&self) -> BTreeMap<Origin, Withdrawal> {
        let withdrawal = |mark: &Mark| match mark.revoked {
            true => Withdrawal::Revoked,
            false => Withdrawal::Suspended,
        };
        let marks = self.marks.iter();
        marks
            .map(|(origin, mark)| (origin.clone(), withdrawal(mark)))
            .collect()
    }
}

impl PairedPeer {
    /// `None` when the row says what is not understood: nobody is let in by half of what was granted.
    fn peer(&self) -> Option<Peer> {
        let terms = grant::terms(&self.grant, self.review_by.as_deref());
        let terms = match terms {
            Ok(terms) => terms,
            Err(problem) => {
                tracing::error!(peer.origin = %self.origin, problem, "a peer that paired cannot be let in");
                return None;
            }
        };
        Some(Peer {
            keys: self.keys.iter().filter_map(PairedKey::key).collect(),
            rights: terms.rights,
            limit: terms.limit,
            review_by: terms.review_by,
            may_be_private: self.allow_private,
            ..Peer::new(&self.name, self.origin.clone(), PeerSource::Paired)
        })
    }

    pub(super) fn has_key(&self, key: &[u8; 32]) -> bool {
        self.keys.iter().any(|known| known.is(key))
    }
}

impl PairedKey {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self {
            public_key: keys::to_hex(key),
            not_after: None,
        }
    }

    pub(super) fn is(&self, key: &[u8; 32]) -> bool {
        self.public_key == keys::to_hex(key)
    }

    fn key(&self) -> Option<PeerKey> {
        let public_key = keys::from_hex(&self.public_key).ok()?;
        Some(PeerKey {
            kid: Some(keys::thumbprint(&public_key)),
            not_after: self.not_after,
            ..PeerKey::new(public_key)
        })
    }
}

pub(super) fn keep_peer(peer: &PairedPeer) -> PeerChange {
    keep(&format!("{PEER}{}", peer.origin), peer)
}

pub(super) fn forget_peer(origin: &Origin) -> PeerChange {
    PeerChange::Forget(format!("{PEER}{origin}").into())
}

pub(super) fn keep_mark(origin: &Origin, mark: &Mark) -> PeerChange {
    keep(&format!("{MARK}{origin}"), mark)
}

pub(super) fn forget_mark(origin: &Origin) -> PeerChange {
    PeerChange::Forget(format!("{MARK}{origin}").into())
}

pub(super) fn keep_followed(origin: &Origin, followed: &Followed) -> PeerChange {
    keep(&format!("{KEYS}{origin}"), followed)
}

pub(super) fn keep_open(invitation: &Invitation) -> PeerChange {
    keep(&format!("{OPEN}{}", invitation.id), invitation)
}

pub(super) fn forget_open(id: Uuid) -> PeerChange {
    PeerChange::Forget(format!("{OPEN}{id}").into())
}

pub(super) fn keep_ring(ring: &KeyRing) -> PeerChange {
    keep(RING, ring)
}

fn keep(id: &str, body: &impl Serialize) -> PeerChange {
    PeerChange::Keep(PeerRow {
        id: Arc::from(id),
        // Texts and numbers only, so writing them cannot fail.
        body: serde_json::to_vec(body).unwrap_or_default().into(),
    })
}

fn read<T: DeserializeOwned>(row: &PeerRow) -> Option<T> {
    serde_json::from_slice(&row.body).ok()
}
