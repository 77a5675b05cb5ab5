//! Following the keys of peers that paired: a token names a key that we do not know, so the peer is asked for its keys.
//!
//! A new key is believed only with the statement of one that we have, read from the peer's own origin.

use archipel_protocol::federation::keys;
use archipel_protocol::federation::succession::{PublishedKey, Succession, successions};
use archipel_protocol::ids::Origin;

use crate::audit::{AuditAction, AuditOutcome, AuditRecord, Record};
use crate::egress::Destination;
use crate::federation::peers::MAX_KEYS;
use crate::pairing::PairingError;
use crate::pairing::book::{PairedKey, PairedPeer, keep_peer};
use crate::pairing::desk::Desk;

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
        let book = self.read().await?;
        let peer = book.peers.get(origin).ok_or(PairingError::NotFound)?;
        let destination = match peer.allow_private {
            true => Destination::Trusted,
            false => Destination::Outside,
        };
        let published = self.published_by(destination, origin).await?;
        self.decide(|view| {
            // It may have been revoked while we asked.
            let peer = view.book.peers.get(origin).ok_or(PairingError::NotFound)?;
            let next = followed(peer, &published, view.now);
            Ok(next.iter().map(keep_peer).collect())
        })
        .await?;
        let known = book.peers.get(origin).map(|peer| &peer.keys);
        let found = self.read().await?;
        let is_new = found.peers.get(origin).map(|peer| &peer.keys) != known;
        if is_new {
            tracing::info!(peer.origin = %origin, "a peer has changed its key");
            self.record_new_key(origin);
        }
        Ok(is_new)
    }

    fn record_new_key(&self, origin: &Origin) {
        let record = AuditRecord {
            peer: Some(origin.as_str().into()),
            reason: Some("new_key"),
            ..AuditRecord::new(AuditAction::PeerChanged, AuditOutcome::Accepted)
        };
        if self.ports.audit.try_send(Record(record)).is_err() {
            tracing::warn!("an audit record was dropped: the audit is behind");
        }
    }
}

/// The peer with the keys that follow from those it had; `None` where there is nothing new.
fn followed(peer: &PairedPeer, published: &[PublishedKey], now: i64) -> Option<PairedPeer> {
    let known: Vec<[u8; 32]> = peer
        .keys
        .iter()
        .filter(|key| key.not_after.is_none_or(|last| now <= last))
        .filter_map(|key| keys::from_hex(&key.public_key).ok())
        .collect();
    let found = successions(&peer.origin, &known, published, now);
    let mut next = peer.clone();
    for statement in &found {
        take(&mut next, statement, published);
    }
    (next != *peer).then_some(next)
}

fn take(peer: &mut PairedPeer, statement: &Succession, published: &[PublishedKey]) {
    let previous = keys::to_hex(&statement.previous);
    for key in &mut peer.keys {
        if key.public_key == previous {
            // The first word about its end counts: whoever stole the key cannot lengthen its life.
            key.not_after.get_or_insert(statement.previous_until);
        }
    }
    let is_published = |key: &PublishedKey| key.public_key == statement.next;
    if published.iter().any(is_published) && !peer.has_key(&statement.next) {
        peer.keys.insert(0, PairedKey::new(&statement.next));
        peer.keys.truncate(MAX_KEYS);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use archipel_protocol::federation::invitation::Grant;
    use archipel_protocol::federation::statement::StatementSigner;
    use uuid::Uuid;

    use super::*;

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
        let found = followed(&peer(known), &chain(published), NOW);
        assert_eq!(found, expected.map(peer), "{known:?} {published:?}");
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
