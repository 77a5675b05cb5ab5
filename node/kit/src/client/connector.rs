//! Connecting: look the name up once, judge every address, connect to one that passed.
//!
//! The guard sits here and not in a resolver, because a resolver is never asked about an address that is written out
//! in the URL; and it connects to the very addresses it judged, because a second lookup may give others.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tower_service::Service;

use super::address::AddressPolicy;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL names no host.
    #[error("the URL names no host")]
    NoHost,
    /// The policy forbids every address of the host.
    #[error("no address of {0} may be connected to")]
    Refused(String),
    /// No address answered in time.
    #[error("no connection in time")]
    Timeout,
    /// The name is unknown, or nobody listens.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Makes TCP connections that the policy allows.
#[derive(Debug, Clone)]
pub(super) struct GuardedConnector {
    addresses: AddressPolicy,
    limit: Duration,
}

impl GuardedConnector {
    pub(super) fn new(addresses: AddressPolicy, limit: Duration) -> Self {
        Self { addresses, limit }
    }

    /// Connects to the server that an absolute URI names.
    pub(super) async fn connect(&self, uri: &Uri) -> Result<TokioIo<TcpStream>, ConnectError> {
        timeout(self.limit, connect(uri, &self.addresses))
            .await
            .map_err(|_| ConnectError::Timeout)?
    }

    /// Whether there is an address to connect to.
    pub(super) async fn check(&self, uri: &Uri) -> Result<(), ConnectError> {
        timeout(self.limit, addresses(uri, &self.addresses))
            .await
            .map_err(|_| ConnectError::Timeout)?
            .map(drop)
    }
}

impl Service<Uri> for GuardedConnector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect(&uri).await })
    }
}

async fn connect(uri: &Uri, policy: &AddressPolicy) -> Result<TokioIo<TcpStream>, ConnectError> {
    let allowed = addresses(uri, policy).await?;
    let stream = TcpStream::connect(allowed.as_slice()).await?;
    // Without it each small write after the first waits up to 40 ms for the peer's delayed acknowledgement.
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(stream))
}

/// The addresses of the host that may be connected to; at least one.
async fn addresses(uri: &Uri, policy: &AddressPolicy) -> Result<Vec<SocketAddr>, ConnectError> {
    let host = uri.host().ok_or(ConnectError::NoHost)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let default_port = if uri.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    let port = uri.port_u16().unwrap_or(default_port);
    let found = tokio::net::lookup_host((bare, port)).await?;
    let allowed: Vec<SocketAddr> = found
        .filter(|address| policy.allows(bare, address.ip()))
        .collect();
    if allowed.is_empty() {
        return Err(ConnectError::Refused(bare.to_owned()));
    }
    Ok(allowed)
}
