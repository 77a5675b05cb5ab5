//! The chain: each row's hash covers the hash before it and the row's own body, so nobody can change, take out or add a
//! record without every later hash telling. (Cutting off the end is told only by comparing with a last hash noted elsewhere,
//! which is why checking reports it.)

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use serde::Deserialize;

use super::record::AuditRecord;
use crate::store::{AuditRow, AuditStore, StoreError};

/// The hash before the first record.
const GENESIS: [u8; 32] = *b"archipel audit chain, version 1\n";
/// Rows read at once while checking.
const PAGE: usize = 512;

/// The end of the chain, to which the next record is linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    seq: u64,
    hash: [u8; 32],
}

/// A chain without a flaw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    pub records: u64,
    pub last_hash: [u8; 32],
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The first record that is missing, was added, or is not what it was.
    #[error("the audit chain is broken at record {seq}")]
    BrokenAt { seq: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads the whole chain and checks every link.
pub async fn verify_chain(store: &dyn AuditStore) -> Result<Checked, ChainError> {
    let mut links = Links::default();
    loop {
        let page = store.page(links.0.seq, PAGE).await?;
        if page.is_empty() {
            return Ok(links.checked());
        }
        for row in &page {
            links.follow(row)?;
        }
    }
}

/// Checks a chain link by link, from its first record on.
#[derive(Debug)]
pub struct Links(Head);

impl Links {
    /// # Errors
    /// When `row` is not the next link.
    pub fn follow(&mut self, row: &AuditRow) -> Result<(), ChainError> {
        self.0 = self.0.follow(row)?;
        Ok(())
    }

    /// What was followed so far.
    pub fn checked(&self) -> Checked {
        Checked {
            records: self.0.seq,
            last_hash: self.0.hash,
        }
    }
}

impl Default for Links {
    fn default() -> Self {
        Self(Head::of(None))
    }
}

impl Head {
    /// The end of a chain whose last row is `row`.
    pub(super) fn of(row: Option<&AuditRow>) -> Self {
        row.map_or(
            Self {
                seq: 0,
                hash: GENESIS,
            },
            |row| Self {
                seq: row.seq,
                hash: row.hash,
            },
        )
    }

    /// The row of a record, which is the new end.
    pub(super) fn link(&mut self, at_ms: u64, record: &AuditRecord) -> AuditRow {
        let seq = self.seq + 1;
        let body = Bytes::from(record.to_canonical(seq, at_ms));
        let hash = hash(&self.hash, &body);
        *self = Self { seq, hash };
        AuditRow {
            seq,
            at_ms,
            body,
            hash,
        }
    }

    /// The end after `row`, if that is the next link.
    fn follow(self, row: &AuditRow) -> Result<Self, ChainError> {
        let seq = self.seq + 1;
        let said: Option<Said> = serde_json::from_slice(&row.body).ok();
        let sound = row.seq == seq
            && row.hash == hash(&self.hash, &row.body)
            && said.is_some_and(|said| said.seq == seq && said.at == row.at_ms);
        if sound {
            Ok(Self {
                seq,
                hash: row.hash,
            })
        } else {
            Err(ChainError::BrokenAt { seq })
        }
    }
}

/// What a body says of the columns beside it.
#[derive(Deserialize)]
struct Said {
    seq: u64,
    at: u64,
}

fn hash(previous: &[u8; 32], body: &[u8]) -> [u8; 32] {
    // With AWS-LC, whose SHA-256 takes half the time where a processor has no instructions for it.
    let mut hash = Context::new(&SHA256);
    hash.update(previous);
    hash.update(body);
    let hash = hash.finish();
    let whole = hash.as_ref().first_chunk();
    whole.copied().unwrap_or_default()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::audit::record::{AuditAction, AuditOutcome};
    use crate::store::memory::MemoryStore;

    fn rows(count: u64) -> Vec<AuditRow> {
        let mut head = Head::of(None);
        let record = AuditRecord::new(AuditAction::AuthRefused, AuditOutcome::Refused);
        (1..=count).map(|at_ms| head.link(at_ms, &record)).collect()
    }

    async fn check(rows: Vec<AuditRow>, expected: Result<u64, u64>) {
        let store = MemoryStore::new(1);
        store.append(rows).await.unwrap();
        let found = verify_chain(&store).await;
        match expected {
            Ok(records) => assert_eq!(found.unwrap().records, records),
            Err(seq) => assert_eq!(found, Err(ChainError::BrokenAt { seq })),
        }
    }

    #[tokio::test]
    async fn a_sound_chain_is_counted() {
        check(rows(0), Ok(0)).await;
        check(rows(1300), Ok(1300)).await;
    }

    #[tokio::test]
    async fn every_change_breaks_the_chain_where_it_was_made() {
        let changed = |change: fn(&mut Vec<AuditRow>)| {
            let mut rows = rows(6);
            change(&mut rows);
            rows
        };
        check(changed(|rows| drop(rows.remove(0))), Err(1)).await;
        check(changed(|rows| drop(rows.remove(3))), Err(4)).await;
        check(
            changed(|rows| {
                rows.iter_mut()
                    .skip(2)
                    .take(1)
                    .for_each(|row| row.at_ms += 1)
            }),
            Err(3),
        )
        .await;
        check(
            changed(|rows| {
                rows.iter_mut()
                    .skip(4)
                    .take(1)
                    .for_each(|row| row.hash = [0; 32])
            }),
            Err(5),
        )
        .await;
        check(
            changed(|rows| rows.iter_mut().skip(1).take(1).for_each(forge)),
            Err(2),
        )
        .await;
    }

    #[tokio::test]
    async fn a_forged_record_breaks_the_next_link() {
        let mut rows = rows(4);
        let before = rows.first().unwrap().hash;
        for row in rows.iter_mut().skip(1).take(1) {
            forge(row);
            row.hash = hash(&before, &row.body);
        }
        check(rows, Err(3)).await;
    }

    fn forge(row: &mut AuditRow) {
        let body = String::from_utf8(row.body.to_vec()).unwrap();
        row.body = Bytes::from(body.replace("refused", "accepted"));
    }
}
