//! The connection to Redis: made when it is needed, made anew when it broke, and never waited for longer than the patience
//! that the operator has.
//!
//! Each worker has a multiplexed connection of its own, which pipelines its commands and is driven on the worker's thread:
//! no command and no answer has to wake another. What is listened to is driven where the link was opened, because a worker
//! that stops must not take that along. `door` knows how to get in.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ::redis::aio::{AsyncPushSender, MultiplexedConnection};
use ::redis::{
    Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, Script, ScriptInvocation,
    ServerErrorKind,
};
use parking_lot::RwLock;
use tokio::runtime::{self, Handle};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::address::Address;
use crate::config::RedisSettings;
use crate::store::StoreError;
use door::{Connection, Door, too_slow};

pub use door::LinkError;

mod door;

/// Redis has forgotten the script, or never had it.
const NO_SCRIPT: ErrorKind = ErrorKind::Server(ServerErrorKind::NoScript);

/// See the module.
pub(super) struct Link {
    door: Door,
    runtime: Handle,
    /// One for each runtime that asks, which is one for each worker.
    lanes: RwLock<HashMap<runtime::Id, Arc<Lane>>>,
    /// Whether the last that was heard of Redis was an answer; for what is logged once and for who asks.
    answers: AtomicBool,
}

/// The connection of one runtime.
#[derive(Default)]
struct Lane {
    current: RwLock<Current>,
    /// Whoever has it connects; the others wait for what comes of it.
    connecting: Mutex<()>,
    attempts: AtomicU64,
}

#[derive(Default)]
struct Current {
    /// Counts connections, so that a failure of an old one does not end a new one.
    number: u64,
    connection: Option<Connection>,
}

impl Link {
    /// Prepares a link; nothing is connected yet. Must be called inside the runtime that is to drive the connection.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub(super) fn open(address: Address, settings: &RedisSettings) -> Result<Self, LinkError> {
        Ok(Self {
            door: Door::new(address, settings)?,
            runtime: Handle::current(),
            lanes: RwLock::default(),
            answers: AtomicBool::new(true),
        })
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.door.is_cluster()
    }

    fn answers(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    /// Runs a script in one trip (two after a restart of Redis, which forgets scripts).
    pub(super) async fn invoke<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let (way, mut connection) = self.connection().await?;
        let patience = self.door.patience;
        let asked = timeout(patience * 2, script.invoke_async(&mut connection)).await;
        self.heard(&way, asked.unwrap_or_else(|_| Err(too_slow())))
    }

    /// Runs a script that is called by `command`, which [`call_of`] began: cheaper than [`Link::invoke`] where much is told.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        command: &Cmd,
    ) -> Result<T, StoreError> {
        let (way, mut connection) = self.connection().await?;
        let asked = async {
            match command.query_async(&mut connection).await {
                Err(error) if error.kind() == NO_SCRIPT => {
                    script.load_async(&mut connection).await?;
                    command.query_async(&mut connection).await
                }
                answered => answered,
            }
        };
        let asked = timeout(self.door.patience * 2, asked).await;
        self.heard(&way, asked.unwrap_or_else(|_| Err(too_slow())))
    }

    /// Sends one command.
    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let (way, mut connection) = self.connection().await?;
        let asked = timeout(self.door.patience * 2, command.query_async(&mut connection)).await;
        self.heard(&way, asked.unwrap_or_else(|_| Err(too_slow())))
    }

    /// Sends several commands in one trip, in their order, whose answers say nothing.
    pub(super) async fn pipeline(&self, commands: &Pipeline) -> Result<(), StoreError> {
        let (way, mut connection) = self.connection().await?;
        let asked = commands.query_async(&mut connection);
        let asked = timeout(self.door.patience * 2, asked).await;
        self.heard(&way, asked.unwrap_or_else(|_| Err(too_slow())))
    }

    /// A connection of its own that is told what is published. Its driver runs where the link was opened.
    pub(super) async fn listen(
        &self,
        told: impl AsyncPushSender,
    ) -> RedisResult<MultiplexedConnection> {
        let door = self.door.clone();
        let connected = self
            .runtime
            .spawn(async move { door.enter_listening(told).await });
        connected.await.unwrap_or_else(|_| Err(too_slow()))
    }

    /// Where connections are driven.
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    async fn connection(&self) -> Result<(Way, Connection), StoreError> {
        let lane = self.lane();
        if let Some(connected) = lane.connected() {
            return Ok(connected);
        }
        let before = lane.attempts.load(Ordering::Acquire);
        let _turn = lane.connecting.lock().await;
        if let Some(connected) = lane.connected() {
            return Ok(connected);
        }
        // Somebody tried while this one waited: trying again would make the last of a queue wait for all before it.
        if lane.attempts.load(Ordering::Acquire) != before {
            return Err(StoreError::Unavailable);
        }
        let door = self.door.clone();
        // Whoever asked may give up waiting; the others of this worker still want the connection.
        let made = Handle::current().spawn(async move { door.enter().await });
        let made = made.await.unwrap_or_else(|_| Err(too_slow()));
        lane.attempts.fetch_add(1, Ordering::AcqRel);
        match made {
            Ok(connection) => Ok(lane.connect(connection)),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// That of the runtime that asks.
    fn lane(&self) -> Arc<Lane> {
        let id = Handle::current().id();
        if let Some(lane) = self.lanes.read().get(&id) {
            return Arc::clone(lane);
        }
        Arc::clone(self.lanes.write().entry(id).or_default())
    }

    fn heard<T>(&self, way: &Way, answer: RedisResult<T>) -> Result<T, StoreError> {
        match answer {
            Ok(value) => {
                // A plain read first: the usual answer must not write to a line that all workers read.
                if !self.answers() && !self.answers.swap(true, Ordering::Relaxed) {
                    tracing::info!("redis answers again");
                }
                Ok(value)
            }
            Err(error) => {
                if is_broken(&error) {
                    way.lane.leave(way.number);
                }
                Err(self.failed(&error))
            }
        }
    }

    fn failed(&self, error: &RedisError) -> StoreError {
        let told = condition(error);
        match told {
            StoreError::Unavailable => {
                if self.answers.swap(false, Ordering::Relaxed) {
                    tracing::warn!(%error, "redis does not answer");
                }
            }
            _ => tracing::warn!(%error, "redis refused"),
        }
        told
    }
}

/// A call of a script, to which its keys are to be added, and then its arguments.
pub(super) fn call_of(script: &Script, keys: usize) -> Cmd {
    let mut command = ::redis::cmd("EVALSHA");
    command.arg(script.get_hash()).arg(keys);
    command
}

/// Which connection a command takes.
struct Way {
    lane: Arc<Lane>,
    number: u64,
}

impl Lane {
    fn connected(self: &Arc<Self>) -> Option<(Way, Connection)> {
        let current = self.current.read();
        let connection = current.connection.clone()?;
        Some((self.way(current.number), connection))
    }

    fn connect(self: &Arc<Self>, connection: Connection) -> (Way, Connection) {
        let mut current = self.current.write();
        current.number += 1;
        current.connection = Some(connection.clone());
        (self.way(current.number), connection)
    }

    fn leave(&self, number: u64) {
        let mut current = self.current.write();
        if current.number == number {
            current.connection = None;
        }
    }

    fn way(self: &Arc<Self>, number: u64) -> Way {
        let lane = Arc::clone(self);
        Way { lane, number }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("address", &self.door.address)
            .finish_non_exhaustive()
    }
}

/// Whether the connection is of no more use: gone, silent, or to a server that no longer takes writes.
fn is_broken(error: &RedisError) -> bool {
    let demoted = matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
    );
    error.is_unrecoverable_error() || error.is_timeout() || error.is_io_error() || demoted
}

/// What an error means to whoever asked the store.
fn condition(error: &RedisError) -> StoreError {
    match error.code() {
        Some("OOM") => StoreError::Full,
        Some("MISCONF") => StoreError::ReadOnly,
        _ => StoreError::Unavailable,
    }
}
