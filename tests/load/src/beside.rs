//! The bus and the line between sites beside the raw clients of their brokers: the same payloads over the same broker, in
//! turn, in one process.
//!
//! The node's own parts run here, on a thread with an actor system, as they do in a node: what is measured is what a node
//! adds to its client. Read `bus` (one site) with `raw` (the clients), then `wan` (between two).

use anyhow::bail;
use archipel_kit::clock::SystemClock;

use crate::rows::Row;

mod bus;
mod raw;
mod wan;

/// What one way came to, in one round.
#[derive(Debug, Clone)]
pub(crate) struct Compared {
    pub(crate) what: &'static str,
    /// In a second.
    pub(crate) ours: f64,
    /// The same of the raw client, where there is one.
    pub(crate) raw: Option<f64>,
}

/// How much is done in one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    /// Messages of the bus, on each way.
    pub(crate) messages: usize,
    /// Envelopes between sites.
    pub(crate) envelopes: usize,
}

/// One round of a row.
pub(crate) async fn measure(
    row: Row,
    work: Work,
    clock: SystemClock,
) -> anyhow::Result<Vec<Compared>> {
    let measured = tokio::task::spawn_blocking(move || {
        actix_rt::System::new().block_on(async move {
            match row {
                Row::Bus => bus::in_process(work.messages, clock).await,
                Row::BusRedis => bus::over_redis(work.messages, clock).await,
                Row::BusNats => bus::over_nats(work.messages, clock).await,
                Row::Wan => wan::measure(work.envelopes, clock).await,
                other => bail!("{} has nothing beside it", other.name()),
            }
        })
    });
    measured.await?
}
