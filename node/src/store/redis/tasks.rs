//! Tasks and their logs: a hash and a stream for each task, and indexes for each partition.

use std::sync::Arc;

use ::redis::{Cmd, FromRedisValue, ScriptInvocation, cmd};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::try_join_all;
use uuid::Uuid;

use super::RedisStore;
use super::keys::{PARTITIONS, partition, places};
use super::lists;
use crate::store::memory::without_snapshot;
use crate::store::{
    EventRow, MAX_WEBHOOKS, Retention, Snapshot, StoreError, StoredTask, TaskChange, TaskPage,
    TaskQuery, TaskStore, Unanswered,
};

/// An entry of a stream: its id, and its fields.
pub(super) type Entry = (String, Vec<Bytes>);

/// A task as `load.lua` gives it.
pub(super) type Loaded = (TaskFields, Vec<Entry>);
pub(super) type TaskFields = (
    String,
    String,
    String,
    u8,
    u64,
    u64,
    Bytes,
    Option<Bytes>,
    Option<String>,
    Option<String>,
);

/// When a task was last changed, and which it is.
type Aged = (u64, Uuid);

#[async_trait]
impl TaskStore for RedisStore {
    async fn commit(&self, change: TaskChange) -> Result<(), StoreError> {
        let answer: u8 = self.link.invoke(&self.commit_of(&change)).await?;
        match answer {
            0 => Ok(()),
            1 => Err(without_snapshot(change.id)),
            2 => Err(StoreError::Corrupt(format!(
                "task {} is held by another replica",
                change.id
            ))),
            _ => Err(StoreError::Corrupt(format!(
                "an event of task {} is there already",
                change.id
            ))),
        }
    }

    async fn load(&self, id: Uuid) -> Result<Option<StoredTask>, StoreError> {
        self.load_part(id, true).await
    }

    async fn list(&self, query: TaskQuery) -> Result<TaskPage, StoreError> {
        lists::page(self, query).await
    }

    async fn events(
        &self,
        id: Uuid,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        if limit == 0 || after_seq == u64::MAX {
            return Ok(Vec::new());
        }
        let mut range = cmd("XRANGE");
        range
            .arg(self.keys.events(id))
            .arg(format!("{}-0", after_seq + 1))
            .arg("+")
            .arg("COUNT")
            .arg(limit);
        let entries: Vec<Entry> = self.link.query(&range).await?;
        entries.into_iter().map(event).collect()
    }

    async fn unfinished(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<Uuid>, StoreError> {
        let from = match after {
            Some(id) => [b"(".as_slice(), id.as_bytes()].concat(),
            None => b"-".to_vec(),
        };
        let pages: Vec<Vec<Bytes>> = self
            .everywhere(|partition| {
                let mut range = cmd("ZRANGE");
                range
                    .arg(self.keys.unfinished(partition))
                    .arg(from.as_slice())
                    .arg("+")
                    .arg("BYLEX")
                    .arg("LIMIT")
                    .arg(0)
                    .arg(limit);
                range
            })
            .await?;
        let ids: Result<Vec<Uuid>, StoreError> =
            pages.iter().flatten().map(|id| uuid(id)).collect();
        let mut ids = ids?;
        ids.sort_unstable();
        ids.truncate(limit);
        Ok(ids)
    }

    async fn purge(
        &self,
        retention: Retention,
        now_ms: u64,
        limit: usize,
    ) -> Result<u64, StoreError> {
        let set = |partition| self.keys.finished(partition);
        let (count, for_ms) = (retention.keep_count, retention.keep_for_ms);
        let over = self.beyond(set, count, for_ms, now_ms, limit).await?;
        let bites = (0..PARTITIONS).filter_map(|number| {
            let here = over.iter().filter(|(_, id)| partition(*id) == number);
            self.purge_of(number, here)
        });
        let forgotten: Vec<u64> =
            try_join_all(bites.map(async |bite| self.link.invoke(&bite).await)).await?;
        Ok(forgotten.iter().sum())
    }

    async fn unanswered(
        &self,
        retention: Retention,
        now_ms: u64,
        limit: usize,
    ) -> Result<Vec<Unanswered>, StoreError> {
        let set = |partition| self.keys.waiting(partition);
        let (count, for_ms) = (retention.keep_count, retention.keep_waiting_for_ms);
        let over = self.beyond(set, count, for_ms, now_ms, limit).await?;
        let found = over.into_iter().map(async |(updated_ms, id)| {
            let loaded = self.load_part(id, false).await?;
            Ok::<_, StoreError>(loaded.map(|task| Unanswered {
                id,
                owner: task.owner,
                agent: task.agent,
                updated_ms,
            }))
        });
        Ok(try_join_all(found).await?.into_iter().flatten().collect())
    }

    async fn count(&self) -> Result<u64, StoreError> {
        let finished = self.everywhere(|partition| card(self.keys.finished(partition)));
        let unfinished = self.everywhere(|partition| card(self.keys.unfinished(partition)));
        let (finished, unfinished): (Vec<u64>, Vec<u64>) =
            futures_util::try_join!(finished, unfinished)?;
        Ok(finished.iter().chain(&unfinished).sum())
    }
}

impl RedisStore {
    /// Asks every partition the same; the answers in their order. All questions are on their way at once.
    pub(super) async fn everywhere<T: FromRedisValue>(
        &self,
        question: impl Fn(u8) -> Cmd,
    ) -> Result<Vec<T>, StoreError> {
        let asked = (0..PARTITIONS).map(|partition| {
            let question = question(partition);
            async move { self.link.query(&question).await }
        });
        try_join_all(asked).await
    }

    /// A task, with the rest of its snapshot or without.
    pub(super) async fn load_part(
        &self,
        id: Uuid,
        whole: bool,
    ) -> Result<Option<StoredTask>, StoreError> {
        let mut script = self.scripts.load.key(self.keys.task(id));
        script
            .key(self.keys.events(id))
            .arg(if whole { "rest" } else { "" });
        let loaded: Option<Loaded> = self.link.invoke(&script).await?;
        loaded.map(stored_task).transpose()
    }

    fn commit_of(&self, change: &TaskChange) -> ScriptInvocation<'_> {
        let id = change.id;
        let at = partition(id);
        let replica = self.own_id.to_string();
        let (before, fence, goes_on) = hold_of(change);
        let mut script = self.scripts.commit.prepare_invoke();
        script
            .key(self.keys.task(id))
            .key(self.keys.events(id))
            .key(self.keys.unfinished(at))
            .key(self.keys.finished(at))
            .key(self.keys.held(at, &replica))
            .key(self.keys.list(at, &change.owner, &change.agent))
            .key(self.keys.webhooks(id))
            .key(self.keys.due(at))
            .key(self.keys.waiting(at))
            .arg(id.as_bytes().as_slice())
            .arg(before)
            .arg(fence)
            .arg(replica)
            .arg(u8::from(goes_on))
            .arg(&*change.owner)
            .arg(&*change.agent)
            .arg(&*change.context_id)
            .arg(change.state)
            .arg(u8::from(change.terminal))
            .arg(change.updated_ms)
            .arg(places(
                id,
                change.updated_ms,
                change.state,
                &change.context_id,
            ))
            .arg(self.keys.channel(id))
            .arg(change.events.len())
            .arg(u8::from(change.webhook.is_some()))
            .arg(MAX_WEBHOOKS);
        for event in &change.events {
            script.arg(event.seq).arg(event.body.as_ref());
        }
        if let Some(webhook) = &change.webhook {
            script
                .arg(&*webhook.id)
                .arg(webhook.delivered)
                .arg(u8::from(webhook.done))
                .arg(webhook.config.as_ref());
        }
        if let Some(snapshot) = &change.snapshot {
            script
                .arg(snapshot.seq)
                .arg(snapshot.head.as_ref())
                .arg(snapshot.rest.as_ref());
        }
        script
    }

    /// The oldest tasks of sets that are ordered by their last change, as far as they are beyond a number or an age.
    async fn beyond(
        &self,
        set: impl Fn(u8) -> String + Copy,
        keep_count: u64,
        keep_for_ms: u64,
        now_ms: u64,
        limit: usize,
    ) -> Result<Vec<Aged>, StoreError> {
        let counts: Vec<u64> = self.everywhere(|partition| card(set(partition))).await?;
        let too_many = counts.iter().sum::<u64>().saturating_sub(keep_count);
        let over_ms = now_ms.checked_sub(keep_for_ms);
        // By age alone, only what is over is asked for, and mostly that is nothing.
        let last_ms = match (too_many, over_ms) {
            (0, None) => return Ok(Vec::new()),
            (0, over_ms) => over_ms,
            _ => None,
        };
        let oldest = self.oldest(set, last_ms, limit).await?.into_iter();
        let over = (0..).zip(oldest).take_while(|(number, (updated_ms, _))| {
            *number < too_many || over_ms.is_some_and(|over_ms| *updated_ms <= over_ms)
        });
        Ok(over.map(|(_, task)| task).collect())
    }

    /// Of the tasks that were last changed at `last_ms` or before.
    async fn oldest(
        &self,
        set: impl Fn(u8) -> String,
        last_ms: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Aged>, StoreError> {
        let last = last_ms.map_or("+inf".to_owned(), |last_ms| last_ms.to_string());
        let pages: Vec<Vec<(Bytes, f64)>> = self
            .everywhere(|partition| {
                let mut range = cmd("ZRANGE");
                range
                    .arg(set(partition))
                    .arg("-inf")
                    .arg(&last)
                    .arg("BYSCORE")
                    .arg("LIMIT")
                    .arg(0)
                    .arg(limit)
                    .arg("WITHSCORES");
                range
            })
            .await?;
        let tasks: Result<Vec<Aged>, StoreError> = pages
            .iter()
            .flatten()
            .map(|(id, updated_ms)| Ok((milliseconds(*updated_ms), uuid(id)?)))
            .collect();
        let mut tasks = tasks?;
        tasks.sort_unstable();
        tasks.truncate(limit);
        Ok(tasks)
    }

    /// `None` when nothing is to be forgotten there.
    fn purge_of<'a>(
        &self,
        partition: u8,
        tasks: impl Iterator<Item = &'a Aged>,
    ) -> Option<ScriptInvocation<'_>> {
        let mut tasks = tasks.peekable();
        tasks.peek()?;
        let mut script = self.scripts.purge.key(self.keys.finished(partition));
        script.key(self.keys.due(partition));
        for (updated_ms, id) in tasks {
            script
                .key(self.keys.task(*id))
                .key(self.keys.events(*id))
                .key(self.keys.webhooks(*id))
                .arg(id.as_bytes().as_slice())
                .arg(*updated_ms);
        }
        Some(script)
    }
}

/// The fence that is expected, the fence of the hold, and whether it goes on.
fn hold_of(change: &TaskChange) -> (String, String, bool) {
    let Some(hold) = &change.hold else {
        return (String::new(), String::new(), false);
    };
    let before = hold.before.map(|fence| fence.to_string());
    (
        before.unwrap_or_default(),
        hold.fence.to_string(),
        hold.goes_on,
    )
}

fn card(key: String) -> Cmd {
    let mut card = cmd("ZCARD");
    card.arg(key);
    card
}

pub(super) fn stored_task((fields, entries): Loaded) -> Result<StoredTask, StoreError> {
    let (owner, agent, context_id, state, updated_ms, seq, head, rest, _fence, _holder) = fields;
    let events = entries.into_iter().map(event);
    Ok(StoredTask {
        owner: Arc::from(owner),
        agent: Arc::from(agent),
        context_id: Arc::from(context_id),
        state,
        updated_ms,
        snapshot: Snapshot {
            seq,
            head,
            rest: rest.unwrap_or_default(),
        },
        events: events.collect::<Result<_, _>>()?,
    })
}

fn event((id, fields): Entry) -> Result<EventRow, StoreError> {
    let seq = id.split('-').next().and_then(|seq| seq.parse().ok());
    let body = fields.into_iter().nth(1);
    match (seq, body) {
        (Some(seq), Some(body)) => Ok(EventRow { seq, body }),
        _ => Err(StoreError::Corrupt(format!("entry {id} is no event"))),
    }
}

pub(super) fn uuid(bytes: &[u8]) -> Result<Uuid, StoreError> {
    Uuid::from_slice(bytes).map_err(|_| StoreError::Corrupt("an index holds no id".to_owned()))
}

/// A score back as the whole number it was made of; exact below 2^53 ms, which is far off.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "scores are written from whole numbers"
)]
fn milliseconds(score: f64) -> u64 {
    score as u64
}
