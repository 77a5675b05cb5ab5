//! Following the keys of peers that paired, or whose entry says so: a token names a key that we do not know, so the peer is
//! asked for its keys.
//!
//! A new key is believed only with the statement of one that we have, read from the peer's own origin.

use archipel_protocol::federation::succession::{PublishedKey, Succession, successions};
use archipel_protocol::federation::{PeerKey, keys};
use archipel_protocol::ids::Origin;

use crate::audit::{AuditAction, AuditOutcome, AuditRecord};
use crate::federation::peers::{MAX_KEYS, Peer, PeerSource};
use crate::pairing::PairingError;
use crate::pairing::book::{Book, Followed, PairedKey, PairedPeer, keep_followed, keep_peer};
use crate::pairing::desk::Desk;
use crate::store::peers::PeerChange;

impl Desk {
    /// Whether new keys of a peer were found, and are in force.
    pub(super) async fn follow(&self, origin: &Origin) -> bool {
        match self.try_follow(origin).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(peer.origin = %origin, %error, "the keys of a peer cannot be followed");
                false
            }
        }
    }

    async fn try_follow(&self, origin: &Origin) -> Result<bool, PairingError> {
        let known = self.known_keys(origin)?;
        let published = self.published_to_follow(origin).await?;
        self.decide(|view| {
            // It may have been revoked while we asked.
            let peer = view.roster.by_origin(origin);
            let peer = peer.filter(|peer| peer.follows_keys);
            let peer = peer.ok_or(PairingError::NotFound)?;
            Ok(next(view.book, peer, &published, view.now))
        })
        .await?;
        let is_new = self.known_keys(origin)? != known;
        if is_new {
            tracing::info!(peer.origin = %origin, "a peer has changed its key");
            self.record_new_key(origin);
        }
        Ok(is_new)
    }

    /// The keys in force.
    fn known_keys(&self, origin: &Origin) -> Result<Vec<PeerKey>, PairingError> {
        let roster = self.ports.federation.roster();
        let peer = roster.by_origin(origin).ok_or(PairingError::NotFound)?;
        Ok(peer.keys.clone())
    }

    /// The keys that a peer publishes, asked for as it is called.
    async fn published_to_follow(
        &self,
        origin: &Origin,
    ) -> Result<Vec<PublishedKey>, PairingError> {
        let roster = self.ports.federation.roster();
        let peer = roster.by_origin(origin).ok_or(PairingError::NotFound)?;
        let way = (peer.destination(), peer.tls_files());
        self.published_by(way, origin).await
    }

    fn record_new_key(&self, origin: &Origin) {
        let record = AuditRecord {
            peer: Some(origin.as_str().into()),
            reason: Some("new_key"),
            ..AuditRecord::new(AuditAction::PeerChanged, AuditOutcome::Accepted)
        };
        self.ports.audit.leave(record);
    }
}

/// What is kept once the keys of a peer that follow were found: with the peer, where it paired, else beside the configuration.
fn next(book: &Book, peer: &Peer, published: &[PublishedKey], now: i64) -> Vec<PeerChange> {
    let origin = &peer.origin;
    if peer.source == PeerSource::Paired {
        let Some(paired) = book.peers.get(origin) else {
            return Vec::new();
        };
        let followed = followed(origin, &paired.keys, published, now);
        let paired = followed.map(|(keys, _)| PairedPeer {
            keys,
            ..paired.clone()
        });
        return paired.iter().map(keep_peer).collect();
    }
    let known: Vec<PairedKey> = peer.keys.iter().map(kept).collect();
    let followed = followed(origin, &known, published, now);
    let kept = followed.map(|(keys, first)| Followed {
        // Of what followed before, the root stays; else every key that is known was written down.
        root: keys::to_hex(&peer.root.unwrap_or(first)),
        keys,
    });
    kept.iter()
        .map(|kept| keep_followed(origin, kept))
        .collect()
}

fn kept(key: &PeerKey) -> PairedKey {
    PairedKey {
        not_after: key.not_after,
        ..PairedKey::new(&key.public_key)
    }
}

/// The keys of a peer with those that follow from them, and the one from which they follow; `None` where there is nothing new.
fn followed(
    origin: &Origin,
    known: &[PairedKey],
    published: &[PublishedKey],
    now: i64,
) -> Option<(Vec<PairedKey>, [u8; 32])> {
    let trusted: Vec<[u8; 32]> = known
        .iter()
        .filter(|key| key.not_after.is_none_or(|last| now <= last))
        .filter_map(|key| keys::from_hex(&key.public_key).ok())
        .collect();
    let found = successions(origin, &trusted, published, now);
    let first = found.first()?.previous;
    let mut next = known.to_vec();
    for statement in &found {
        take(&mut next, statement, published);
    }
    (next != known).then_some((next, first))
}

fn take(next: &mut Vec<PairedKey>, statement: &Succession, published: &[PublishedKey]) {
    for key in next.iter_mut().filter(|key| key.is(&statement.previous)) {
        // The first word about its end counts: whoever stole the key cannot lengthen its life.
        key.not_after.get_or_insert(statement.previous_until);
    }
    let is_published = |key: &PublishedKey| key.public_key == statement.next;
    let is_known = next.iter().any(|key| key.is(&statement.next));
    if published.iter().any(is_published) && !is_known {
        next.insert(0, PairedKey::new(&statement.next));
        next.truncate(MAX_KEYS);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use archipel_protocol::federation::invitation::Grant;
    use archipel_protocol::federation::statement::StatementSigner;
    use uuid::Uuid;

    use super::*;
    use crate::store::peers::PeerRows;

    const NOW: i64 = 1_800_000_000;

    fn origin() -> Origin {
        Origin::parse("https://beta.example.org").unwrap()
    }

    fn signer(byte: u8) -> StatementSigner {
        StatementSigner::new(&[byte; 32]).unwrap()
    }

    fn peer(known: &[(u8, Option<i64>)]) -> PairedPeer {
        let key = |(byte, not_after): &(u8, Option<i64>)| PairedKey {
            not_after: *not_after,
            ..PairedKey::new(signer(*byte).public_key())
        };
        PairedPeer {
            name: "beta".to_owned(),
            origin: origin(),
            keys: known.iter().map(key).collect(),
            grant: Grant::default(),
            review_by: None,
            allow_private: false,
            paired_at: NOW,
            invitation: Uuid::nil(),
        }
    }

    /// Key `next`, named by each of those before it in turn.
    fn chain(all: &[u8]) -> Vec<PublishedKey> {
        let statement = |pair: &[u8]| {
            let [previous, next] = pair else { return None };
            let statement = Succession {
                origin: origin(),
                issued_at: NOW,
                previous: *signer(*previous).public_key(),
                next: *signer(*next).public_key(),
                previous_until: NOW + 100,
            };
            statement.to_text(&signer(*previous))
        };
        let last = *all.last().unwrap();
        vec![PublishedKey {
            public_key: *signer(last).public_key(),
            successions: all.windows(2).filter_map(statement).collect(),
        }]
    }

    fn check(
        known: &[(u8, Option<i64>)],
        published: &[u8],
        expected: Option<&[(u8, Option<i64>)]>,
    ) {
        let found = followed(&origin(), &peer(known).keys, &chain(published), NOW);
        let found = found.map(|(keys, _)| keys);
        assert_eq!(
            found,
            expected.map(|expected| peer(expected).keys),
            "{known:?} {published:?}"
        );
    }

    /// The row that is kept of a configured peer with these keys, if there is one: its root, and its keys.
    fn kept_of(
        known: &[u8],
        root: Option<u8>,
        published: &[u8],
    ) -> Option<(String, Vec<PairedKey>)> {
        let public = |byte: &u8| *signer(*byte).public_key();
        let peer = Peer {
            keys: known
                .iter()
                .map(|byte| PeerKey::new(public(byte)))
                .collect(),
            root: root.map(|byte| public(&byte)),
            ..Peer::new("beta", origin(), PeerSource::Configured)
        };
        let changes = next(&Book::default(), &peer, &chain(published), NOW);
        let rows = changes.into_iter().filter_map(|change| match change {
            PeerChange::Keep(row) => Some(row),
            PeerChange::Forget(_) => None,
        });
        let rows = PeerRows {
            revision: 1,
            rows: rows.collect(),
        };
        let kept = Book::read(&rows).followed.remove(&origin());
        kept.map(|kept| (kept.root, kept.keys))
    }

    #[test]
    fn what_follows_from_a_configured_key_is_kept_with_its_root() {
        let hex = |byte: u8| keys::to_hex(signer(byte).public_key());
        let ends = Some(NOW + 100);
        let (root, keys) = kept_of(&[9, 1], None, &[1, 2]).unwrap();
        assert_eq!(root, hex(1));
        assert_eq!(keys, peer(&[(2, None), (9, None), (1, ends)]).keys);
        // One step further, the root is still what was written down.
        let (root, keys) = kept_of(&[2, 1], Some(1), &[2, 3]).unwrap();
        assert_eq!(root, hex(1));
        assert_eq!(keys, peer(&[(3, None), (2, ends), (1, None)]).keys);
        assert_eq!(kept_of(&[9], None, &[1, 2]), None);
    }

    #[test]
    fn a_new_key_is_taken_and_the_old_one_ends() {
        let old = (1, Some(NOW + 100));
        check(&[(1, None)], &[1, 2], Some(&[(2, None), old]));
        // Of two changes that were missed, the key between them is published no more.
        check(&[(1, None)], &[1, 2, 3], Some(&[(3, None), old]));
        check(&[(2, None), old], &[1, 2], None);
        check(&[(1, None)], &[1], None);
        check(&[(9, None)], &[1, 2], None);
        // What is over names nobody.
        check(&[(1, Some(NOW - 1))], &[1, 2], None);
        // Only so many are remembered.
        let full = [(1, None), (4, None), (5, None), (6, None)];
        let rest = [(2, None), old, (4, None), (5, None)];
        check(&full, &[1, 2], Some(&rest));
    }
}
