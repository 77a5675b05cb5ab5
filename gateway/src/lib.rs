//! The public edge of a mesh: limits, and a streaming proxy in front of a node. It knows no A2A beyond its paths and
//! the shape of an error.
//!
//! Read `proxy` (what a request passes, in order), `route` (which places exist), `limiter` (how often), `upstream` and
//! `exchange` (there and back), `refusal` (what is answered instead), `own` (what it says about itself), `config`.

pub mod cli;
mod config;
mod exchange;
mod limiter;
mod metrics;
mod own;
mod proxy;
mod refusal;
mod route;
mod state;
mod upstream;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use actix_web::{
    App, HttpServer,
    dev::{Server, ServerHandle},
    web,
};
use archipel_kit::{clock::Clock, telemetry::Telemetry};

use crate::{limiter::SharedLimit, proxy::Worker, state::Shared, upstream::Upstream};

pub use crate::{
    config::{ForwardFor, GatewaySettings, WithoutRedis},
    upstream::BadUpstream,
};

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// See [`BadUpstream`].
    #[error(transparent)]
    Upstream(#[from] BadUpstream),
    /// The Redis URL cannot be used.
    #[error("rate limit: {0}")]
    Redis(String),
}

/// A gateway that listens.
pub struct Gateway {
    server: Server,
    address: SocketAddr,
    stop: StopHandle,
}

impl Gateway {
    /// Binds the listener and makes everything that requests need. Must be called inside an actix system.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn bind(
        settings: GatewaySettings,
        telemetry: Arc<Telemetry>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let listen = settings.address();
        let shared = Arc::new(Shared::new(settings, telemetry, clock));
        // What a worker makes for itself is tried here once, so that a worker cannot fail at it.
        make_worker(&shared)?;
        let settings = shared.settings.clone();
        let for_workers = Arc::clone(&shared);
        let server = HttpServer::new(move || {
            // A worker's clients and connections belong to its thread, so they are made on it.
            let app = App::new().default_service(web::to(proxy::serve));
            match make_worker(&for_workers) {
                Ok(worker) => app.app_data(web::Data::new(worker)),
                Err(_) => app,
            }
        })
        .workers(worker_count(settings.workers))
        .max_connections(settings.max_connections)
        .client_request_timeout(settings.request_timeout)
        // A client that closed its side has left: its exchange with the node must end.
        .h1_allow_half_closed(false)
        .tcp_nodelay(true)
        .shutdown_timeout(settings.drain_timeout.as_secs())
        .disable_signals()
        .bind(listen)
        .map_err(|error| StartError::Listen(listen, error))?;
        let address = server.addrs().first().copied().unwrap_or(listen);
        let server = server.run();
        let stop = StopHandle {
            server: server.handle(),
            drain_delay: settings.drain_delay,
            shared,
        };
        Ok(Self {
            server,
            address,
            stop,
        })
    }

    /// The address it listens on; the real one where the settings say port 0.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// What ends it.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Serves until it is stopped.
    ///
    /// # Errors
    /// When the server itself breaks.
    pub async fn run(self) -> io::Result<()> {
        self.server.await
    }
}

/// Ends a gateway from outside.
#[derive(Clone)]
pub struct StopHandle {
    server: ServerHandle,
    drain_delay: Duration,
    shared: Arc<Shared>,
}

impl StopHandle {
    /// Ends it in order: fail `/readyz`, wait for balancers to notice, refuse new connections and end event streams,
    /// let requests finish until the deadline, cut the rest.
    pub async fn stop(&self) {
        self.shared.leaving.cancel();
        tokio::time::sleep(self.drain_delay).await;
        self.shared.draining.cancel();
        self.server.stop(true).await;
    }
}

fn make_worker(shared: &Arc<Shared>) -> Result<Worker, StartError> {
    let settings = &shared.settings;
    let limit = match (&shared.limiter, &settings.rate_limit_redis_url) {
        (Some(limiter), Some(url)) => Some(
            SharedLimit::connect(url, &settings.rate_limit_redis_prefix, limiter.rule())
                .map_err(|error| StartError::Redis(error.to_string()))?,
        ),
        _ => None,
    };
    Ok(Worker {
        shared: Arc::clone(shared),
        upstream: Upstream::new(settings)?,
        limit,
    })
}

fn worker_count(setting: usize) -> usize {
    if setting > 0 {
        setting
    } else {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}
