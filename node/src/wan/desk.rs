//! The WAN as operators and the edge meet it: what is handed in, how it stands, and what nobody sees to any more.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use actix::Recipient;
use archipel_protocol::wan::WanMessage;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::line::{DeadLetter, LineError, WanLine};
use super::queue::{ListDead, Look, Parcel, QueueView, SettleDead, Take, Taken};
use crate::store::StoreError;
use crate::store::wan::DeadRow;

/// See the module.
#[derive(Clone)]
pub struct WanDesk {
    /// What comes.
    pub inbox: Door,
    /// What is to go; absent without a line.
    pub outbox: Option<Door>,
    pub line: Option<Arc<dyn WanLine>>,
}

/// The way to one queue.
#[derive(Clone)]
pub struct Door {
    pub take: Recipient<Take>,
    pub look: Recipient<Look>,
    pub dead: Recipient<ListDead>,
    pub settle: Recipient<SettleDead>,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    #[error("this node has no line to other sites")]
    NoLine,
    #[error("as many envelopes wait as may")]
    Full,
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Line(#[from] LineError),
    #[error("the node is stopping")]
    Stopping,
}

/// What an envelope is called that nobody sees to any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeadId {
    /// It lies in the stream of dead letters: it could not be taken.
    Line(u64),
    /// It was taken, and what was to follow from it failed.
    In(u64),
    /// It could not be sent.
    Out(u64),
}

impl FromStr for DeadId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (kind, number) = text.split_once('-').ok_or(())?;
        let number = number.parse().map_err(|_| ())?;
        match kind {
            "line" => Ok(Self::Line(number)),
            "in" => Ok(Self::In(number)),
            "out" => Ok(Self::Out(number)),
            _ => Err(()),
        }
    }
}

impl fmt::Display for DeadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line-{number}"),
            Self::In(number) => write!(f, "in-{number}"),
            Self::Out(number) => write!(f, "out-{number}"),
        }
    }
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    pub id: DeadId,
    pub reason: String,
    /// When it died, of a letter; when it came, of others.
    pub at_ms: u64,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl WanDesk {
    /// An envelope came.
    pub async fn take(&self, parcel: Parcel) -> Result<Taken, DeskError> {
        self.inbox.take(parcel).await
    }

    /// An envelope is to go: it is kept, and goes as soon as it can.
    pub async fn publish(&self, parcel: Parcel) -> Result<Taken, DeskError> {
        let outbox = self.outbox.as_ref().ok_or(DeskError::NoLine)?;
        outbox.take(parcel).await
    }

    /// How the WAN stands, as it is shown.
    pub async fn status(&self, now_ms: u64) -> Result<Value, DeskError> {
        let inbox = self.inbox.look().await?;
        let outbox = match &self.outbox {
            Some(outbox) => Some(outbox.look().await?),
            None => None,
        };
        let shown = |view: QueueView| {
            let age_ms = view.standing.oldest_ms.map(|at| now_ms.saturating_sub(at));
            json!({
                "waiting": view.standing.waiting,
                "oldestSeconds": age_ms.map(|ms| ms / 1000),
                "inHand": view.in_hand,
                "dead": view.standing.dead,
                "lastError": view.away,
            })
        };
        Ok(json!({
            "line": self.line.is_some(),
            "inbox": shown(inbox),
            "outbox": outbox.map(shown),
        }))
    }

    /// Those behind `after`, in the order of [`DeadId`].
    pub async fn dead(&self, after: Option<DeadId>, limit: usize) -> Result<Vec<Dead>, DeskError> {
        let mut all = Vec::new();
        let after = after.unwrap_or(DeadId::Line(0));
        if let (Some(line), DeadId::Line(after)) = (&self.line, after) {
            let letters = line.dead(after, limit).await?;
            all.extend(letters.into_iter().map(Dead::from));
        }
        let doors = [
            (Some(&self.inbox), DeadId::In as fn(u64) -> DeadId),
            (self.outbox.as_ref(), DeadId::Out as fn(u64) -> DeadId),
        ];
        for (door, id) in doors {
            let from = match after {
                DeadId::In(number) | DeadId::Out(number) if id(number) == after => number,
                // Everything of this kind was shown.
                _ if after > id(u64::MAX) => continue,
                _ => 0,
            };
            let Some(door) = door.filter(|_| all.len() < limit) else {
                continue;
            };
            let rows = door.list(from, limit - all.len()).await?;
            all.extend(rows.into_iter().map(|row| Dead::of(row, id)));
        }
        Ok(all)
    }

    /// One of them.
    pub async fn one(&self, id: DeadId) -> Result<Option<Dead>, DeskError> {
        let (before, door, of): (u64, _, fn(u64) -> DeadId) = match id {
            DeadId::Line(number) => {
                let line = self.line.as_ref().ok_or(DeskError::NoLine)?;
                return Ok(line.dead_letter(number).await?.map(Dead::from));
            }
            DeadId::In(number) => (number, Some(&self.inbox), DeadId::In),
            DeadId::Out(number) => (number, self.outbox.as_ref(), DeadId::Out),
        };
        let door = door.ok_or(DeskError::NoLine)?;
        let rows = door.list(before.saturating_sub(1), 1).await?;
        let found = rows.into_iter().map(|row| Dead::of(row, of));
        Ok(found.into_iter().find(|dead| dead.id == id))
    }

    /// Has it tried again, or drops it; whether there was such a one.
    pub async fn settle(&self, id: DeadId, again: bool) -> Result<bool, DeskError> {
        let (number, door) = match id {
            DeadId::Line(number) => {
                let line = self.line.as_ref().ok_or(DeskError::NoLine)?;
                return Ok(if again {
                    line.again(number).await?
                } else {
                    line.drop_dead(number).await?
                });
            }
            DeadId::In(number) => (number, Some(&self.inbox)),
            DeadId::Out(number) => (number, self.outbox.as_ref()),
        };
        let door = door.ok_or(DeskError::NoLine)?;
        let settled = door.settle.send(SettleDead { number, again }).await;
        Ok(settled.map_err(|_| DeskError::Stopping)??)
    }
}

impl Door {
    async fn take(&self, parcel: Parcel) -> Result<Taken, DeskError> {
        let taken = self.take.send(Take(vec![parcel])).await;
        let taken = taken.map_err(|_| DeskError::Stopping)??;
        match taken.first() {
            Some(Taken::Full) | None => Err(DeskError::Full),
            Some(taken) => Ok(*taken),
        }
    }

    async fn look(&self) -> Result<QueueView, DeskError> {
        let view = self.look.send(Look).await;
        Ok(view.map_err(|_| DeskError::Stopping)??)
    }

    async fn list(&self, after: u64, limit: usize) -> Result<Vec<DeadRow>, DeskError> {
        let rows = self.dead.send(ListDead { after, limit }).await;
        Ok(rows.map_err(|_| DeskError::Stopping)??)
    }
}

impl From<DeadLetter> for Dead {
    fn from(letter: DeadLetter) -> Self {
        Self {
            id: DeadId::Line(letter.sequence),
            reason: letter.reason,
            at_ms: letter.died_ms,
            headers: letter.headers,
            body: letter.body,
        }
    }
}

impl Dead {
    fn of(dead: DeadRow, id: impl FnOnce(u64) -> DeadId) -> Self {
        Self {
            id: id(dead.row.number),
            reason: dead.reason,
            at_ms: dead.row.put_ms,
            headers: Vec::new(),
            body: dead.row.body,
        }
    }

    /// As it is shown in a list.
    pub fn summary(&self) -> Map<String, Value> {
        let envelope = WanMessage::decode_outgoing(&self.body).map(|message| message.envelope);
        let envelope = envelope.ok();
        let members = [
            ("id", Some(self.id.to_string().into())),
            ("reason", Some(self.reason.as_str().into())),
            ("atMs", Some(self.at_ms.into())),
            ("bytes", Some(self.body.len().into())),
            (
                "correlationId",
                envelope.as_ref().map(|e| e.correlation_id.as_str().into()),
            ),
            (
                "sourceOrigin",
                envelope.as_ref().map(|e| e.source_origin.as_str().into()),
            ),
            (
                "targetHandle",
                envelope.and_then(|e| e.target_handle).map(Value::from),
            ),
        ];
        let present = members.into_iter();
        let present = present.filter_map(|(name, value)| Some((name.to_owned(), value?)));
        present.collect()
    }

    /// As it is shown alone: with the bytes as they came.
    pub fn whole(&self) -> Value {
        let mut members = self.summary();
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| json!([name, value]));
        members.insert("headers".to_owned(), headers.collect());
        match std::str::from_utf8(&self.body) {
            Ok(text) => members.insert("body".to_owned(), text.into()),
            Err(_) => members.insert("bodyHex".to_owned(), hex::encode(&self.body).into()),
        };
        Value::Object(members)
    }
}
