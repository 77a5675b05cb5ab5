//! The connection to NATS, which the bus and the line between the sites share.
//!
//! Owns [`Nats`]: connected when NATS is there, and again whenever it was lost, for as long as the node lives. What is asked
//! while it is away fails at once: the client's own habit, to keep it and send it some day, is not what our callers were
//! told. Read `way` (how the settings become addresses and proofs of who we are).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use archipel_kit::settings::Problems;
use async_nats::connection::State;
use async_nats::{Client, ClientError, ConnectOptions, Event};

use crate::config::NatsSettings;

mod way;

#[cfg(test)]
pub(crate) mod tests;

pub use way::{WayIn, is_plain_subject};

/// The first pause before connecting again; doubled each time, up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// How often a silent server is asked whether it is there; it is given up after the second question without an answer.
const PING_EVERY: Duration = Duration::from_secs(10);
/// Messages of one subscription that may wait to be read; more are dropped, and told in the log.
const WAITING: usize = 8192;

/// A connection that comes back. Clones share it.
#[derive(Clone)]
pub struct Nats {
    client: Client,
    patience: Duration,
    jetstream_domain: Option<Arc<str>>,
    tls: bool,
}

impl Nats {
    /// Begins to connect, in the runtime that this is called in, and does not wait for it. `None`: no NATS is configured.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub async fn connect(settings: &NatsSettings, name: &str) -> Result<Option<Self>, Problems> {
        let mut problems = Problems::default();
        let way = WayIn::read(settings, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let Some(way) = way else {
            return Ok(None);
        };
        let connected = persistent(way.options, settings.patience)
            .name(name)
            .connect(way.servers)
            .await;
        let client = connected.map_err(|error| {
            problems.add("nats", error.to_string());
            problems
        })?;
        Ok(Some(Self {
            client,
            patience: settings.patience,
            jetstream_domain: settings.jetstream_domain.as_deref().map(Arc::from),
            tls: way.tls,
        }))
    }

    /// Whether it is connected now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Whether nothing is said without TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Which connection this is, counted from 1: what was on its way in another one may be lost.
    pub(crate) fn generation(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// How long an answer may take.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    pub fn jetstream_domain(&self) -> Option<&str> {
        self.jetstream_domain.as_deref()
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Nats")
            .field("connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}

fn persistent(options: ConnectOptions, patience: Duration) -> ConnectOptions {
    let trouble_told = Arc::new(AtomicBool::new(false));
    options
        .retry_on_initial_connect()
        .max_reconnects(None)
        .reconnect_delay_callback(pause)
        .connection_timeout(patience)
        .request_timeout(Some(patience))
        .ping_interval(PING_EVERY)
        .subscription_capacity(WAITING)
        .event_callback(move |event| {
            tell(&event, &trouble_told);
            std::future::ready(())
        })
}

/// The first attempt is made at once.
fn pause(attempt: usize) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(2)).unwrap_or(u32::MAX);
    match attempt {
        0 | 1 => Duration::ZERO,
        _ => FIRST_PAUSE
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(LAST_PAUSE),
    }
}

/// Every attempt to connect may fail in the same way; the log has it once for each loss.
fn tell(event: &Event, trouble_told: &AtomicBool) {
    match event {
        Event::Connected => {
            trouble_told.store(false, Ordering::Relaxed);
            tracing::info!("nats is connected");
        }
        Event::Disconnected => tracing::warn!("nats is lost; connecting again"),
        Event::ClientError(ClientError::Other(what)) => {
            if !trouble_told.swap(true, Ordering::Relaxed) {
                tracing::warn!(error = %what, "nats cannot be reached; trying again");
            }
        }
        Event::ServerError(error) => tracing::warn!(%error, "nats refuses something"),
        Event::SlowConsumer(_) => {
            tracing::warn!("messages of nats were dropped: too many wait to be read");
        }
        other => tracing::info!(event = %other, "nats says something"),
    }
}
