//! The public edge of a mesh: limits, and a streaming proxy in front of nodes. It knows no A2A beyond its paths, the ids
//! that lead to a node, and the shape of an error.
//!
//! Read `server` (what a connection passes, in order), `proxy` (what a request passes, in order) with `guard`, `body` and
//! `peek`, `route` (which places exist), `limiter` (how often), `upstream` and `exchange` (there and back), `refusal` (what is
//! answered instead), `cors`, `own` (what it says about itself), `admin`, `access`, `state` and `reload` (which
//! configuration is in force), `tls`, `config`.

mod access;
mod admin;
mod body;
pub mod cli;
pub mod config;
mod cors;
mod exchange;
mod guard;
mod limiter;
mod metrics;
mod own;
mod peek;
mod proxy;
mod refusal;
mod reload;
mod route;
mod server;
mod state;
mod tls;
mod upstream;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use actix_server::{Server, ServerHandle};
use archipel_kit::{clock::Clock, telemetry::Telemetry, tls::BadTls};

use crate::state::Shared;

pub use crate::{
    config::{ForwardFor, GatewaySettings, WithoutRedis},
    state::ConfigSource,
    upstream::BadUpstream,
};

/// Why a gateway does not start, or a configuration cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// See [`BadUpstream`].
    #[error(transparent)]
    Upstream(#[from] BadUpstream),
    /// See [`BadTls`].
    #[error("tls: {0}")]
    Tls(#[from] BadTls),
    /// The Redis URL cannot be used.
    #[error("rate limit: {0}")]
    Redis(String),
}

/// A gateway that listens.
pub struct Gateway {
    server: Server,
    address: SocketAddr,
    admin: Option<(Server, SocketAddr)>,
    stop: StopHandle,
}

impl Gateway {
    /// Binds the listeners, makes everything that requests need, and begins to watch nodes and configuration. Must be
    /// called inside an actix system.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn bind(
        settings: GatewaySettings,
        source: ConfigSource,
        telemetry: Arc<Telemetry>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let listen = settings.address();
        let admin_listen = settings.admin_listen;
        let drain_delay = settings.drain_delay;
        let shared = Shared::start(settings, source, telemetry, clock)?;
        let (address, listener) =
            server::bind(listen).map_err(|error| StartError::Listen(listen, error))?;
        let server =
            server::serve(&shared, listener).map_err(|error| StartError::Listen(listen, error))?;
        let stop = StopHandle {
            server: server.handle(),
            drain_delay,
            shared: Arc::clone(&shared),
        };
        let admin = admin_listen.map(|address| {
            admin::serve(address, &shared, stop.clone())
                .map_err(|error| StartError::Listen(address, error))
        });
        let admin = admin.transpose()?;
        upstream::watch(Arc::clone(&shared));
        reload::watch(shared);
        Ok(Self {
            server,
            address,
            admin,
            stop,
        })
    }

    /// The address it listens on; the real one where the settings say port 0.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Where the operator asks and steers, if anywhere.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(_, address)| *address)
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
        let admin = self.admin.map(|(admin, _)| {
            let handle = admin.handle();
            actix_rt::spawn(admin);
            handle
        });
        let served = self.server.await;
        if let Some(admin) = admin {
            admin.stop(false).await;
        }
        served
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
