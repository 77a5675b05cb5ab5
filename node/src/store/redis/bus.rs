//! The bus over Redis: what is published reaches every process of the site that listens at that moment, also those of Hive
//! and Pilox, and nobody later.
//!
//! Publications leave over the link that all commands use, in order. What comes is heard over a connection of its own,
//! which is made anew for as long as somebody reads; what was published meanwhile is lost, as it is for everybody.

use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::{MultiplexedConnection, SendError};
use ::redis::{Cmd, Msg, PushInfo, PushKind, RedisResult};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::RedisStore;
use super::link::Link;
use crate::bus::leaving::{self, Queue};
use crate::bus::{BusAdapter, BusError, BusMessage, Received};

/// Messages that wait to be read.
const QUEUE: usize = 4096;
/// How often the connection is tried while nothing is said.
const PROBE: Duration = Duration::from_secs(1);
/// How long to wait before connecting again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long to wait where Redis is there and does not let us listen.
const PAUSE_REFUSED: Duration = Duration::from_secs(5);

impl RedisStore {
    /// The bus over the same Redis, which hears these channels. They are the contract's, without the prefix of the store.
    pub fn bus(&self, channels: &[&'static str]) -> (Arc<dyn BusAdapter>, Received) {
        let (door, queue) = leaving::open();
        let (coming, mut heard) = mpsc::channel(QUEUE);
        let runtime = self.link.runtime();
        runtime.spawn(send(Arc::clone(&self.link), queue));
        runtime.spawn(hear(Arc::clone(&self.link), channels.to_vec(), coming));
        let received = stream::poll_fn(move |context| heard.poll_recv(context)).boxed();
        (Arc::new(door), received)
    }
}

/// Publishes what there is, for as long as somebody may publish.
async fn send(link: Arc<Link>, mut queue: Queue) {
    let mut batch = Vec::new();
    while queue.next(&mut batch).await {
        if link.is_cluster() {
            // It has no trip for all of them: each waits for the one before it.
            for leaving in batch.drain(..) {
                let answer = link.query::<i64>(&publication(&leaving.message)).await;
                leaving.tell(told(&answer));
            }
            continue;
        }
        // One trip, which keeps their order.
        let mut commands = ::redis::pipe();
        for leaving in &batch {
            commands.add_command(publication(&leaving.message)).ignore();
        }
        let answer = link.pipeline(&commands).await;
        for leaving in batch.drain(..) {
            leaving.tell(told(&answer));
        }
    }
}

fn publication(message: &BusMessage) -> Cmd {
    let mut command = ::redis::cmd("PUBLISH");
    command.arg(&message.channel).arg(&*message.wire);
    command
}

fn told<T, E>(answer: &Result<T, E>) -> Result<(), BusError> {
    match answer {
        Ok(_) => Ok(()),
        Err(_) => Err(BusError::Unavailable),
    }
}

/// Keeps a connection up until nobody reads any more.
async fn hear(link: Arc<Link>, channels: Vec<&'static str>, coming: mpsc::Sender<BusMessage>) {
    while !coming.is_closed() {
        let broken = Arc::new(Notify::new());
        let ear = Ear {
            coming: coming.clone(),
            broken: Arc::clone(&broken),
        };
        let listening = link
            .listen(move |push| {
                ear.hear(push);
                Ok::<(), SendError>(())
            })
            .await;
        let mut pause = PAUSE;
        if let Ok(connection) = listening {
            tokio::select! {
                () = coming.closed() => return,
                ended = listen(connection, &channels, &broken) => if let Err(error) = ended {
                    tracing::warn!(%error, "the bus is not heard any more; connecting again");
                    if !error.is_io_error() {
                        pause = PAUSE_REFUSED;
                    }
                }
            }
        }
        sleep(pause).await;
    }
}

async fn listen(
    mut connection: MultiplexedConnection,
    channels: &[&'static str],
    broken: &Notify,
) -> RedisResult<()> {
    connection.subscribe(channels).await?;
    let mut probe = interval(PROBE);
    probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = broken.notified() => {
                return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into());
            }
            _ = probe.tick() => {
                ::redis::cmd("PING").query_async::<()>(&mut connection).await?;
            }
        }
    }
}

/// Called by the connection itself, so nothing queues up that nobody reads.
struct Ear {
    coming: mpsc::Sender<BusMessage>,
    broken: Arc<Notify>,
}

impl Ear {
    fn hear(&self, push: PushInfo) {
        if push.kind == PushKind::Disconnection {
            return self.broken.notify_one();
        }
        let Some(message) = Msg::from_push_info(push) else {
            return;
        };
        let message = BusMessage {
            channel: message.get_channel_name().to_owned().into(),
            wire: Bytes::copy_from_slice(message.get_payload_bytes()),
        };
        if self.coming.try_send(message).is_err() {
            tracing::warn!("a bus message was dropped: too many wait to be read");
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
