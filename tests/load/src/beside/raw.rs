//! The clients of the brokers without us: publishing in batches, and hearing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use futures_util::stream::BoxStream;
use redis::aio::MultiplexedConnection;

/// Messages that leave at once, as many as the bus sends at once.
pub(super) const BATCH: usize = 256;
/// Messages that may be on their way to whoever hears: less than any queue on that way holds.
const AHEAD: u64 = 2048;
/// How long a source that is too far ahead waits.
const SOON: Duration = Duration::from_micros(20);

/// A connection of the raw client.
#[derive(Clone)]
pub(super) enum Raw {
    Redis(redis::Client, MultiplexedConnection),
    Nats(async_nats::Client),
}

impl Raw {
    pub(super) async fn redis(url: &str) -> anyhow::Result<Self> {
        let client = redis::Client::open(format!("{url}?protocol=resp3"))?;
        let connection = client.get_multiplexed_async_connection().await?;
        Ok(Self::Redis(client, connection))
    }

    pub(super) async fn nats(url: &str) -> anyhow::Result<Self> {
        let options = async_nats::ConnectOptions::new().subscription_capacity(8192);
        Ok(Self::Nats(options.connect(url).await?))
    }

    /// A connection of its own to the same broker.
    async fn another(&self) -> anyhow::Result<Self> {
        match self {
            Self::Redis(client, _) => {
                let connection = client.get_multiplexed_async_connection().await?;
                Ok(Self::Redis(client.clone(), connection))
            }
            Self::Nats(client) => {
                let port = client.server_info().port;
                Self::nats(&format!("nats://127.0.0.1:{port}")).await
            }
        }
    }

    /// Publishes some messages side by side, each by itself as somebody does who has only that one, and waits until the
    /// client has answered for each of them.
    pub(super) async fn publish_each(&self, channel: &str, wires: &[Bytes]) -> anyhow::Result<()> {
        match self {
            Self::Redis(_, connection) => {
                let publish = async |wire: &Bytes| {
                    let mut command = redis::cmd("PUBLISH");
                    command.arg(channel).arg(&**wire);
                    command.query_async::<()>(&mut connection.clone()).await
                };
                try_join_all(wires.iter().map(publish)).await?;
            }
            Self::Nats(client) => {
                let subject = async_nats::Subject::from(channel);
                let publish = async |wire: &Bytes| {
                    client.publish(subject.clone(), wire.clone()).await?;
                    anyhow::Ok(client.flush().await?)
                };
                try_join_all(wires.iter().map(publish)).await?;
            }
        }
        Ok(())
    }

    /// Publishes some messages in one go and waits until they have left.
    pub(super) async fn publish(&mut self, channel: &str, wires: &[Bytes]) -> anyhow::Result<()> {
        match self {
            Self::Redis(_, connection) => {
                let mut commands = redis::pipe();
                for wire in wires {
                    commands.cmd("PUBLISH").arg(channel).arg(&**wire).ignore();
                }
                Ok(commands.query_async(connection).await?)
            }
            Self::Nats(client) => {
                let subject = async_nats::Subject::from(channel);
                for wire in wires {
                    client.publish(subject.clone(), wire.clone()).await?;
                }
                Ok(client.flush().await?)
            }
        }
    }

    /// The lengths of what is published there from now on.
    pub(super) async fn hear(&self, channel: &str) -> anyhow::Result<BoxStream<'static, usize>> {
        match self {
            Self::Redis(client, _) => {
                let mut connection = client.get_async_pubsub().await?;
                connection.subscribe(channel).await?;
                let heard = connection.into_on_message();
                Ok(heard
                    .map(|message| message.get_payload_bytes().len())
                    .boxed())
            }
            Self::Nats(client) => {
                let heard = client.subscribe(channel.to_owned()).await?;
                client.flush().await?;
                Ok(heard.map(|message| message.payload.len()).boxed())
            }
        }
    }

    /// Publishes messages from a thread and over a connection of its own, never further ahead of `heard` than nothing gets
    /// lost.
    pub(super) fn source(
        &self,
        channel: &str,
        wires: Vec<Bytes>,
        heard: Arc<AtomicU64>,
    ) -> JoinHandle<anyhow::Result<()>> {
        let (raw, channel) = (self.clone(), channel.to_owned());
        let before = heard.load(Ordering::Relaxed);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("no runtime for the source")?;
            runtime.block_on(async {
                let mut own = raw.another().await?;
                let mut sent = before;
                for batch in wires.chunks(BATCH / 2) {
                    while sent.saturating_sub(heard.load(Ordering::Relaxed)) > AHEAD {
                        tokio::time::sleep(SOON).await;
                    }
                    own.publish(&channel, batch).await?;
                    sent += batch.len() as u64;
                }
                Ok(())
            })
        })
    }
}
