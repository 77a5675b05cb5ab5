//! The audit chain: one stream, whose entries have the numbers of the records.

use ::redis::cmd;
use async_trait::async_trait;
use bytes::Bytes;

use super::RedisStore;
use crate::store::{AuditRow, AuditStore, StoreError};

/// An entry: its id, then `at`, `body` and `hash`, each behind its name.
type Entry = (String, [Bytes; 6]);

#[async_trait]
impl AuditStore for RedisStore {
    async fn append(&self, rows: Vec<AuditRow>) -> Result<(), StoreError> {
        let mut script = self.scripts.append.key(self.keys.audit());
        for row in &rows {
            script
                .arg(row.seq)
                .arg(row.at_ms)
                .arg(row.body.as_ref())
                .arg(row.hash.as_slice());
        }
        let answer: u8 = self.link.invoke(&script).await?;
        if answer == 0 {
            return Ok(());
        }
        let first = rows.first().map_or(0, |row| row.seq);
        Err(StoreError::Corrupt(format!(
            "an audit record from {first} on is there already"
        )))
    }

    async fn last(&self) -> Result<Option<AuditRow>, StoreError> {
        let mut range = cmd("XREVRANGE");
        range
            .arg(self.keys.audit())
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(1);
        let entries: Vec<Entry> = self.link.query(&range).await?;
        entries.into_iter().next().map(row).transpose()
    }

    async fn page(&self, after_seq: u64, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        if limit == 0 || after_seq == u64::MAX {
            return Ok(Vec::new());
        }
        let mut range = cmd("XRANGE");
        range
            .arg(self.keys.audit())
            .arg(format!("{}-0", after_seq + 1))
            .arg("+")
            .arg("COUNT")
            .arg(limit);
        let entries: Vec<Entry> = self.link.query(&range).await?;
        entries.into_iter().map(row).collect()
    }
}

fn row((id, fields): Entry) -> Result<AuditRow, StoreError> {
    let [_, at, _, body, _, hash] = fields;
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
    let seq = id.split('-').next().and_then(|seq| number(seq.as_bytes()));
    match (seq, number(&at), hash.as_ref().try_into()) {
        (Some(seq), Some(at_ms), Ok(hash)) => Ok(AuditRow {
            seq,
            at_ms,
            body,
            hash,
        }),
        _ => Err(StoreError::Corrupt(format!(
            "entry {id} is no audit record"
        ))),
    }
}
