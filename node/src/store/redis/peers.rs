//! What is kept about peers: one hash, in which the revision is a field among the rows, so that one command reads both.
//! Every change is announced to the other replicas.

use std::collections::BTreeMap;

use ::redis::cmd;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::RedisStore;
use crate::store::StoreError;
use crate::store::peers::{Changed, PeerChange, PeerRow, PeerRows, PeerStore};

/// The field of the revision; no row is called so.
const REVISION: &str = "";

#[async_trait]
impl PeerStore for RedisStore {
    async fn peers(&self) -> Result<PeerRows, StoreError> {
        let mut all = cmd("HGETALL");
        all.arg(self.keys.peers());
        let mut rows: BTreeMap<String, Bytes> = self.link.query(&all).await?;
        let revision = rows.remove(REVISION);
        let rows = rows.into_iter().map(|(id, body)| PeerRow {
            id: id.into(),
            body,
        });
        Ok(PeerRows {
            revision: revision.map_or(Ok(0), |digits| number(&digits))?,
            rows: rows.collect(),
        })
    }

    async fn peers_revision(&self) -> Result<u64, StoreError> {
        let mut revision = cmd("HGET");
        revision.arg(self.keys.peers()).arg(REVISION);
        let digits: Option<Bytes> = self.link.query(&revision).await?;
        digits.map_or(Ok(0), |digits| number(&digits))
    }

    async fn change_peers(
        &self,
        revision: u64,
        changes: Vec<PeerChange>,
    ) -> Result<Changed, StoreError> {
        let mut script = self.scripts.change_peers.key(self.keys.peers());
        script.arg(revision).arg(self.keys.peers_channel());
        for change in &changes {
            match change {
                PeerChange::Keep(row) => script.arg(1).arg(&*row.id).arg(row.body.as_ref()),
                PeerChange::Forget(id) => script.arg(0).arg(&**id).arg(""),
            };
        }
        let changed: u64 = self.link.invoke(&script).await?;
        Ok(match changed {
            0 => Changed::Stale,
            revision => Changed::To(revision),
        })
    }

    fn peer_news(&self) -> Option<watch::Receiver<u64>> {
        Some(self.notices.of_peers())
    }
}

fn number(digits: &[u8]) -> Result<u64, StoreError> {
    let digits = std::str::from_utf8(digits).ok();
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| StoreError::Corrupt("the revision of the peers is no number".to_owned()))
}
