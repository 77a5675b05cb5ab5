//! A record in the two parts in which it is kept, and back.

use std::borrow::Cow;

use archipel_protocol::a2a::{StreamEvent, Task};
use archipel_protocol::object::{Invalid, Json};
use bytes::Bytes;

use crate::store::{Snapshot, StoredTask};
use crate::tasks::machine::{Record, write_json};

/// A whole task as JSON.
#[derive(Debug, Clone, Default)]
pub struct Written {
    item: Bytes,
    /// Where the item goes on with the task's artifacts, if it has any, and ends otherwise but for its braces.
    head: usize,
}

impl Written {
    /// The task as the item of a stream.
    pub fn item(&self) -> Bytes {
        self.item.clone()
    }

    /// The task by itself; a part of the item, so that any number of watchers and readers share the same bytes.
    pub fn json(&self) -> Bytes {
        let end = self.item.len().saturating_sub(1);
        self.item.slice(ITEM.len().min(end)..end)
    }
}

/// What stands before a task that is the item of a stream.
const ITEM: &[u8] = b"{\"task\":";
const ARTIFACTS: &[u8] = b",\"artifacts\":";

impl Record {
    /// Writes the whole task.
    pub fn write(&mut self) -> Written {
        let artifacts = std::mem::take(&mut self.task.artifacts);
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(ITEM);
        write_json(&mut out, &self.task);
        // The brace, which goes behind the artifacts.
        out.pop();
        let head = out.len();
        if !artifacts.is_empty() {
            out.extend_from_slice(ARTIFACTS);
            write_json(&mut out, &artifacts);
        }
        out.extend_from_slice(b"}}");
        self.task.artifacts = artifacts;
        Written {
            item: out.into(),
            head,
        }
    }

    /// How the record is kept. Its head is the task's members but for its artifacts, without braces; the rest is the
    /// artifacts, and behind a line end what the executor remembers. Neither has a line end of its own, since JSON is kept
    /// without white space.
    pub fn keep(&self, written: &Written) -> Snapshot {
        let item = &written.item;
        let artifacts = item.slice(written.head..item.len() - 2);
        let rest = match &self.memory {
            None => artifacts,
            Some(memory) => [&artifacts, &b"\n"[..], memory.text().as_bytes()]
                .concat()
                .into(),
        };
        Snapshot {
            seq: self.seq,
            head: item.slice(ITEM.len() + 1..written.head),
            rest,
        }
    }

    /// The record written and split to be kept.
    pub fn snapshot(&mut self) -> Snapshot {
        let written = self.write();
        self.keep(&written)
    }

    /// The record as it was kept.
    ///
    /// # Errors
    /// When what was kept is not what [`Record::keep`] writes.
    pub fn restore(stored: &StoredTask) -> Result<Self, Invalid> {
        let (task, memory) = kept_text(&stored.snapshot)?;
        let mut record = Self {
            task: Task::read(&task)?,
            memory: memory.map(Json::read).transpose()?,
            seq: stored.snapshot.seq,
            unlogged: false,
            size: task.len(),
        };
        for row in &stored.events {
            record.fold(StreamEvent::read(utf8(&row.body)?)?);
            record.size += row.body.len();
            record.seq = row.seq;
        }
        Ok(record)
    }
}

/// Writes a kept task as a list shows it. On an error, a part of it may have been written.
///
/// # Errors
/// When what was kept is not what [`Record::keep`] writes.
pub fn write_listed(
    out: &mut Vec<u8>,
    stored: &StoredTask,
    history: Option<u32>,
    artifacts: bool,
) -> Result<(), Invalid> {
    let Snapshot { head, rest, .. } = &stored.snapshot;
    let as_kept = stored.events.is_empty() && history.is_none() && !head.starts_with(b"{");
    if as_kept {
        out.push(b'{');
        out.extend_from_slice(head);
        if artifacts {
            let memory = rest.iter().position(|byte| *byte == b'\n');
            out.extend_from_slice(&rest.slice(..memory.unwrap_or(rest.len())));
        }
        out.push(b'}');
        return Ok(());
    }
    let mut task = Record::restore(stored)?.task;
    if !artifacts {
        task.artifacts.clear();
    }
    write_json(out, &task.with_history_limit(history));
    Ok(())
}

/// A kept task as JSON, and what the executor remembers. Before lists were served the head held all of it.
fn kept_text(snapshot: &Snapshot) -> Result<(Cow<'_, str>, Option<&str>), Invalid> {
    let head = utf8(&snapshot.head)?;
    if head.starts_with('{') {
        return Ok(match head.split_once('\n') {
            None => (head.into(), None),
            Some((task, memory)) => (task.into(), Some(memory)),
        });
    }
    let rest = utf8(&snapshot.rest)?;
    let (artifacts, memory) = match rest.split_once('\n') {
        None => (rest, None),
        Some((artifacts, memory)) => (artifacts, Some(memory)),
    };
    Ok((["{", head, artifacts, "}"].concat().into(), memory))
}

fn utf8(body: &[u8]) -> Result<&str, Invalid> {
    std::str::from_utf8(body).map_err(|_| Invalid::new("", "is not UTF-8"))
}
