//! Webhooks: one hash for each task that has any, and for each partition the tasks that may have some to tell.

use std::sync::Arc;

use ::redis::{ScriptInvocation, cmd};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::try_join_all;
use uuid::Uuid;

use super::RedisStore;
use super::keys::{PARTITIONS, partition};
use super::tasks::uuid;
use crate::store::{MAX_WEBHOOKS, Put, StoreError, Webhook, WebhookStore};

#[async_trait]
impl WebhookStore for RedisStore {
    async fn put(&self, webhook: Webhook) -> Result<Put, StoreError> {
        let task = webhook.task;
        let mut script = self.scripts.put_webhook.key(self.keys.task(task));
        script
            .key(self.keys.webhooks(task))
            .key(self.keys.due(partition(task)))
            .arg(task.as_bytes().as_slice())
            .arg(&*webhook.id)
            .arg(webhook.delivered)
            .arg(u8::from(webhook.done))
            .arg(webhook.config.as_ref())
            .arg(MAX_WEBHOOKS);
        let answer: u8 = self.link.invoke(&script).await?;
        Ok(match answer {
            0 => Put::Kept,
            1 => Put::TooMany,
            _ => Put::NoTask,
        })
    }

    async fn get(&self, task: Uuid, id: &str) -> Result<Option<Webhook>, StoreError> {
        let mut get = cmd("HGET");
        get.arg(self.keys.webhooks(task)).arg(id);
        let text: Option<Bytes> = self.link.query(&get).await?;
        let read = |text: Bytes| read(task, id, &text).map(|(_, webhook)| webhook);
        text.map(read).transpose()
    }

    async fn of_task(&self, task: Uuid) -> Result<Vec<Webhook>, StoreError> {
        let mut all = cmd("HGETALL");
        all.arg(self.keys.webhooks(task));
        let all: Vec<(String, Bytes)> = self.link.query(&all).await?;
        let webhooks = all.iter().map(|(id, text)| read(task, id, text));
        let mut webhooks = webhooks.collect::<Result<Vec<_>, _>>()?;
        webhooks.sort_by_key(|(made, _)| *made);
        Ok(webhooks.into_iter().map(|(_, webhook)| webhook).collect())
    }

    async fn delete(&self, task: Uuid, id: &str) -> Result<bool, StoreError> {
        let mut script = self.scripts.delete_webhook.key(self.keys.webhooks(task));
        script
            .key(self.keys.due(partition(task)))
            .arg(task.as_bytes().as_slice())
            .arg(id);
        let forgotten: u8 = self.link.invoke(&script).await?;
        Ok(forgotten > 0)
    }

    async fn delivered(
        &self,
        task: Uuid,
        id: &str,
        through: u64,
        done: bool,
    ) -> Result<(), StoreError> {
        let mut script = self.scripts.delivered.key(self.keys.webhooks(task));
        script
            .key(self.keys.due(partition(task)))
            .arg(task.as_bytes().as_slice())
            .arg(id)
            .arg(through)
            .arg(u8::from(done));
        self.link.invoke::<u8>(&script).await.map(drop)
    }

    async fn undelivered(
        &self,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<Uuid>, StoreError> {
        let pages = (0..PARTITIONS).map(async |partition| {
            let script = self.undelivered_of(partition, after, limit);
            self.link.invoke::<Vec<Bytes>>(&script).await
        });
        let pages = try_join_all(pages).await?;
        let ids = pages.iter().flatten().map(|id| uuid(id));
        let mut ids = ids.collect::<Result<Vec<_>, _>>()?;
        ids.sort_unstable();
        ids.truncate(limit);
        Ok(ids)
    }
}

impl RedisStore {
    fn undelivered_of(
        &self,
        partition: u8,
        after: Option<Uuid>,
        limit: usize,
    ) -> ScriptInvocation<'_> {
        let from = match after {
            Some(id) => [b"(".as_slice(), id.as_bytes()].concat(),
            None => b"-".to_vec(),
        };
        let [tasks, webhooks] = self.keys.starts(partition);
        let mut script = self.scripts.undelivered.key(self.keys.due(partition));
        script.arg(from).arg(limit).arg(tasks).arg(webhooks);
        script
    }
}

/// A webhook as `webhooks.lua` writes it, and which one of its task it was when it was made.
fn read(task: Uuid, id: &str, text: &Bytes) -> Result<(u64, Webhook), StoreError> {
    let mut words = text.splitn(4, |byte| *byte == b' ');
    let mut number = || std::str::from_utf8(words.next()?).ok()?.parse::<u64>().ok();
    let numbers = (number(), number(), number());
    match (numbers, words.next()) {
        ((Some(made), Some(delivered), Some(done)), Some(config)) => Ok((
            made,
            Webhook {
                task,
                id: Arc::from(id),
                config: text.slice_ref(config),
                delivered,
                done: done == 1,
            },
        )),
        _ => Err(StoreError::Corrupt(format!(
            "a webhook of task {task} cannot be read"
        ))),
    }
}
