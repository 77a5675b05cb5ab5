//! Commands for tasks that another replica holds.
//!
//! Two commands need the holder: to end a task, because the holder's executor must ask the agent, and to tell what became of
//! a message elsewhere, because the holder's turn waits for it. (A message to a task that somebody works on is refused by
//! whoever gets it; everything else is read from the store.) A call is sent once and never again, so it is carried out at
//! most once; whoever gets no answer in time says so, and its client may ask again.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use archipel_protocol::a2a::Task;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use uuid::Uuid;

use crate::replicas::{ReplicaId, Replicas};
use crate::store::StoreError;
use crate::tasks::answered;
use crate::tasks::command::{Answered, AskTask, Asked, Reply, TaskCaller, TaskCommand, TaskError};
use crate::tasks::machine::json;
use crate::tasks::shard::ShardTable;

/// How long another replica may take: longer than an agent may take to stop.
const LIMIT: Duration = Duration::from_secs(20);
/// Calls that wait for an answer at once; more are refused.
const WAITING: usize = 4096;

/// The calls of one replica to the others.
pub struct Calls {
    replicas: Arc<dyn Replicas>,
    /// Bounded by `WAITING`; each is taken out by its answer or its time limit.
    waiting: Mutex<HashMap<Uuid, oneshot::Sender<Result<Bytes, TaskError>>>>,
}

/// What stands in the first line of a message; the task as JSON follows an answer that brings it.
#[derive(Debug, Serialize, Deserialize)]
enum Head {
    Cancel(Asking),
    /// The task elsewhere follows as JSON.
    Report(Asking),
    Answer {
        call: Uuid,
        outcome: Outcome,
    },
}

/// Which task, for whom, and who wants to hear of it.
#[derive(Debug, Serialize, Deserialize)]
struct Asking {
    call: Uuid,
    from: String,
    task: Uuid,
    owner: String,
    agent: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Outcome {
    Task,
    NotFound,
    NotCancelable,
    Busy,
}

impl Calls {
    /// No call yet.
    pub fn new(replicas: Arc<dyn Replicas>) -> Self {
        Self {
            replicas,
            waiting: Mutex::default(),
        }
    }

    /// Has another replica end a task; the task comes back as JSON.
    ///
    /// # Errors
    /// Why not.
    pub async fn cancel(
        &self,
        at: ReplicaId,
        task: Uuid,
        caller: TaskCaller,
    ) -> Result<Bytes, TaskError> {
        let asking = self.asking(task, &caller);
        let call = asking.call;
        self.ask(at, call, write(&Head::Cancel(asking), b"")).await
    }

    /// Tells another replica what has become of a message elsewhere; our task comes back as JSON.
    ///
    /// # Errors
    /// Why not.
    pub async fn report(
        &self,
        at: ReplicaId,
        task: Uuid,
        caller: TaskCaller,
        elsewhere: &Task,
    ) -> Result<Bytes, TaskError> {
        let asking = self.asking(task, &caller);
        let call = asking.call;
        let message = write(&Head::Report(asking), &json(elsewhere));
        self.ask(at, call, message).await
    }

    fn asking(&self, task: Uuid, caller: &TaskCaller) -> Asking {
        Asking {
            call: Uuid::new_v4(),
            from: self.replicas.own_id().to_string(),
            task,
            owner: caller.owner.to_string(),
            agent: caller.agent.to_string(),
        }
    }

    async fn ask(&self, at: ReplicaId, call: Uuid, message: Bytes) -> Result<Bytes, TaskError> {
        let (reply, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            if waiting.len() >= WAITING {
                return Err(TaskError::Busy);
            }
            waiting.insert(call, reply);
        }
        let told = self.replicas.tell(at, message).await;
        let outcome = match told {
            Ok(()) => timeout(LIMIT, answer).await,
            Err(error) => Ok(Ok(Err(TaskError::NotKept(error)))),
        };
        self.waiting.lock().remove(&call);
        // No answer: the holder may have died, or the message was lost.
        outcome
            .unwrap_or(Ok(Err(TaskError::Busy)))
            .unwrap_or(Err(TaskError::Busy))
    }

    /// Carries out what others ask for and hands on what they answer, until the node ends.
    pub async fn serve(self: Arc<Self>, mut inbox: mpsc::Receiver<Bytes>, table: Arc<ShardTable>) {
        while let Some(message) = inbox.recv().await {
            match read(&message) {
                Some((Head::Answer { call, outcome }, body)) => self.answer(call, outcome, body),
                Some((Head::Cancel(asking), _)) => {
                    self.begin(asking, &table, |reply| Some(TaskCommand::Cancel { reply }));
                }
                Some((Head::Report(asking), body)) => self.begin(asking, &table, |reply| {
                    let task = Task::read(std::str::from_utf8(&body).ok()?).ok()?;
                    let task = Box::new(task);
                    Some(TaskCommand::Report { task, reply })
                }),
                None => tracing::warn!("a message from another replica cannot be read"),
            }
        }
    }

    fn answer(&self, call: Uuid, outcome: Outcome, body: Bytes) {
        let Some(waiter) = self.waiting.lock().remove(&call) else {
            return;
        };
        let answer = match outcome {
            Outcome::Task => Ok(body),
            Outcome::NotFound => Err(TaskError::NotFound),
            Outcome::NotCancelable => Err(TaskError::NotCancelable),
            Outcome::Busy => Err(TaskError::Busy),
        };
        // Whoever has left misses nothing.
        let _gone = waiter.send(answer);
    }

    fn begin(
        self: &Arc<Self>,
        asking: Asking,
        table: &Arc<ShardTable>,
        command: impl FnOnce(Reply<Bytes>) -> Option<TaskCommand>,
    ) {
        let (reply, answer) = Reply::pair();
        let (Some(from), Some(command)) = (ReplicaId::parse(&asking.from), command(reply)) else {
            return tracing::warn!("a message from another replica cannot be read");
        };
        let asked = Asked {
            caller: TaskCaller {
                owner: asking.owner.into(),
                agent: asking.agent.into(),
            },
            command,
        };
        let (calls, table) = (Arc::clone(self), Arc::clone(table));
        let (call, task) = (asking.call, asking.task);
        actix_rt::spawn(async move {
            let answer = carry_out(task, asked, answer, &table).await;
            calls.tell_outcome(from, call, task, answer).await;
        });
    }

    async fn tell_outcome(
        &self,
        from: ReplicaId,
        call: Uuid,
        task: Uuid,
        answer: Result<Bytes, TaskError>,
    ) {
        let (outcome, body) = match answer {
            Ok(body) => (Outcome::Task, body),
            Err(TaskError::NotFound) => (Outcome::NotFound, Bytes::new()),
            Err(TaskError::NotCancelable) => (Outcome::NotCancelable, Bytes::new()),
            Err(_) => (Outcome::Busy, Bytes::new()),
        };
        let message = write(&Head::Answer { call, outcome }, &body);
        if let Err(StoreError::Unavailable) = self.replicas.tell(from, message).await {
            tracing::warn!(task.id = %task, "another replica was not told what became of its call");
        }
    }
}

async fn carry_out(
    task: Uuid,
    asked: Asked,
    answer: Answered<Bytes>,
    table: &ShardTable,
) -> Result<Bytes, TaskError> {
    let hub = table.owner_of(task).await;
    if let Err(error) = hub.ask.try_send(AskTask { id: task, asked }) {
        error.into_inner().asked.command.refuse(TaskError::Busy);
    }
    answered(answer).await
}

fn write(head: &Head, body: &[u8]) -> Bytes {
    // Neither half can fail to be written: names and numbers only.
    let mut message = serde_json::to_vec(head).unwrap_or_default();
    message.push(b'\n');
    message.extend_from_slice(body);
    message.into()
}

fn read(message: &Bytes) -> Option<(Head, Bytes)> {
    let end = message.iter().position(|byte| *byte == b'\n')?;
    let head = serde_json::from_slice(message.get(..end)?).ok()?;
    Some((head, message.slice(end + 1..)))
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls")
            .field("waiting", &self.waiting.lock().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let call = Uuid::new_v4();
        let body = b"{\"id\":\"1\",\n\"x\":2}";
        let answer = Head::Answer {
            call,
            outcome: Outcome::Task,
        };
        let (head, read_body) = read(&write(&answer, body)).unwrap();
        assert_eq!(read_body, body.as_slice());
        assert_eq!(format!("{head:?}"), format!("{answer:?}"));
        for broken in ["", "\n", "{}\n", "no line"] {
            assert!(read(&Bytes::from(broken)).is_none(), "{broken}");
        }
    }
}
