//! Connecting: look the name up once, judge every address, connect to one that passed.
//!
//! The guard sits here and not in a resolver, because a resolver is never asked about an address that is written out
//! in the URL; and it connects to the very addresses it judged, because a second lookup may give others. A host that has
//! one forbidden address is refused as a whole: whoever mixes them means no good (`contract/a2a-surface.md` 7).

use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tower_service::Service;

use super::address::AddressPolicy;

/// The addresses of a host, as they will be known.
pub type LookupFuture = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Finds the addresses of a host name and a port.
#[derive(Clone)]
pub struct Lookup(Arc<dyn Fn(String, u16) -> LookupFuture + Send + Sync>);

impl Lookup {
    /// Asks somebody else than this machine's resolver.
    pub fn new(ask: impl Fn(String, u16) -> LookupFuture + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// The addresses of a host as it stands in a URL, which may be an address itself; then nobody is asked.
    ///
    /// # Errors
    /// When the name cannot be resolved.
    pub async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let bare = without_brackets(host);
        match bare.parse::<IpAddr>() {
            Ok(address) => Ok(vec![SocketAddr::new(address, port)]),
            Err(_) => (self.0)(bare.to_owned(), port).await,
        }
    }
}

impl Default for Lookup {
    /// This machine's resolver.
    fn default() -> Self {
        Self::new(|host, port| {
            Box::pin(async move {
                let found = tokio::net::lookup_host((host.as_str(), port)).await?;
                Ok(found.collect())
            })
        })
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Lookup")
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL names no host.
    #[error("the URL names no host")]
    NoHost,
    /// The policy forbids an address of the host.
    #[error("{0} may not be connected to")]
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
    lookup: Lookup,
    limit: Duration,
}

impl GuardedConnector {
    pub(super) fn new(addresses: AddressPolicy, lookup: Lookup, limit: Duration) -> Self {
        Self {
            addresses,
            lookup,
            limit,
        }
    }

    /// Connects to the server that an absolute URI names.
    pub(super) async fn connect(&self, uri: &Uri) -> Result<TokioIo<TcpStream>, ConnectError> {
        timeout(self.limit, self.connect_in_time(uri))
            .await
            .map_err(|_| ConnectError::Timeout)?
    }

    async fn connect_in_time(&self, uri: &Uri) -> Result<TokioIo<TcpStream>, ConnectError> {
        let allowed = self.allowed_addresses(uri).await?;
        let stream = TcpStream::connect(allowed.as_slice()).await?;
        // Without it each small write after the first waits up to 40 ms for the peer's delayed acknowledgement.
        stream.set_nodelay(true)?;
        Ok(TokioIo::new(stream))
    }

    async fn allowed_addresses(&self, uri: &Uri) -> Result<Vec<SocketAddr>, ConnectError> {
        let host = uri.host().ok_or(ConnectError::NoHost)?;
        let default_port = if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        let port = uri.port_u16().unwrap_or(default_port);
        let found = self.lookup.addresses(host, port).await?;
        let bare = without_brackets(host);
        let allows = |address: &SocketAddr| self.addresses.allows(bare, address.ip());
        if found.is_empty() || !found.iter().all(allows) {
            return Err(ConnectError::Refused(bare.to_owned()));
        }
        Ok(found)
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

/// As an address stands in a URL, in brackets when it is one of IPv6.
fn without_brackets(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}
