//! The chain as it is shown: a page at a time, with the hashes by which whoever reads it can check it.

use std::sync::Arc;

use actix::{Handler, Message, ResponseFuture};
use bytes::Bytes;

use super::{Audit, AuditError};
use crate::store::{AuditRow, AuditStore, StoreError};

/// Asks for records that are kept.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Vec<KeptRecord>, AuditError>")]
pub struct ReadRecords {
    /// Those behind the record with this number; the newest without it.
    pub after: Option<u64>,
    pub limit: usize,
}

/// A record in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRecord {
    pub seq: u64,
    /// Canonical JSON.
    pub body: Bytes,
    /// Over the hash before it and the body.
    pub hash: [u8; 32],
}

impl Handler<ReadRecords> for Audit {
    type Result = ResponseFuture<Result<Vec<KeptRecord>, AuditError>>;

    fn handle(&mut self, asked: ReadRecords, _: &mut Self::Context) -> Self::Result {
        let store = Arc::clone(&self.store);
        Box::pin(async move {
            let rows = read(store.as_ref(), asked).await.map_err(|error| {
                tracing::warn!(%error, "the audit chain cannot be read");
                AuditError::NotRead
            })?;
            Ok(rows.into_iter().map(KeptRecord::from).collect())
        })
    }
}

async fn read(store: &dyn AuditStore, asked: ReadRecords) -> Result<Vec<AuditRow>, StoreError> {
    let after = match asked.after {
        Some(after) => after,
        None => {
            let last = store.last().await?.map_or(0, |row| row.seq);
            last.saturating_sub(asked.limit as u64)
        }
    };
    store.page(after, asked.limit).await
}

impl From<AuditRow> for KeptRecord {
    fn from(row: AuditRow) -> Self {
        Self {
            seq: row.seq,
            body: row.body,
            hash: row.hash,
        }
    }
}
