//! Agents: one hash, by their ids. All replicas write it, so each reads it again now and then.

use std::collections::BTreeMap;

use ::redis::cmd;
use async_trait::async_trait;
use bytes::Bytes;

use super::RedisStore;
use crate::store::StoreError;
use crate::store::agents::{AgentRow, AgentStore};

#[async_trait]
impl AgentStore for RedisStore {
    async fn agents(&self) -> Result<Vec<AgentRow>, StoreError> {
        let mut all = cmd("HGETALL");
        all.arg(self.keys.agents());
        let rows: BTreeMap<String, Bytes> = self.link.query(&all).await?;
        let rows = rows.into_iter().map(|(id, body)| AgentRow {
            id: id.into(),
            body,
        });
        Ok(rows.collect())
    }

    async fn keep_agent(&self, row: AgentRow) -> Result<(), StoreError> {
        let mut keep = cmd("HSET");
        keep.arg(self.keys.agents())
            .arg(&*row.id)
            .arg(row.body.as_ref());
        self.link.query::<u8>(&keep).await?;
        Ok(())
    }

    async fn forget_agent(&self, id: &str) -> Result<(), StoreError> {
        let mut forget = cmd("HDEL");
        forget.arg(self.keys.agents()).arg(id);
        self.link.query::<u8>(&forget).await?;
        Ok(())
    }

    fn is_shared(&self) -> bool {
        true
    }
}
