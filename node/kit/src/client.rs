//! The way out: an HTTP client that connects only to addresses it has checked, and whose answers stream.
//!
//! Read `address` (which addresses are public), `connector` (resolve once, check, connect to what was checked), `body`
//! (what is sent and what comes back), `plain` (the short way to one known server), `headers` (what may pass from one
//! side to the other).
//!
//! Make one client per worker thread: a pool that workers share costs nine times the tail latency. It never follows a
//! redirect. Dropping an answer, or the future that waits for it, closes the exchange with the server.

mod address;
mod body;
mod connector;
mod headers;
mod plain;

use std::{error::Error as StdError, sync::OnceLock, time::Duration};

use actix_web::http as served;
use http::{HeaderMap, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};

pub use address::{AddressPolicy, AddressRule, is_public};
pub use body::{AnswerBody, RequestBody};
pub use connector::{ConnectError, Lookup, LookupFuture};
pub use headers::{copy_end_to_end, copy_if, copy_listed, is_hop_by_hop};
pub use plain::{PlainClient, PlainHead};

use connector::GuardedConnector;

/// How a client connects.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Which addresses it may connect to.
    pub addresses: AddressPolicy,
    /// Who is asked for them.
    pub lookup: Lookup,
    /// Time for one connection, name lookup included, TLS excluded.
    pub connect: Duration,
    /// How long an unused connection is kept.
    pub keep_idle: Duration,
    /// How many unused connections are kept per server.
    pub max_idle_per_host: usize,
    /// Who is believed over TLS, and what is shown. `None`: the authorities of this machine, and no certificate.
    pub tls: Option<ClientConfig>,
}

impl ClientOptions {
    /// The usual limits: 5 s to connect, 64 unused connections per server, each for 60 s.
    pub fn new(addresses: AddressPolicy) -> Self {
        Self {
            addresses,
            lookup: Lookup::default(),
            connect: Duration::from_secs(5),
            keep_idle: Duration::from_secs(60),
            max_idle_per_host: 64,
            tls: None,
        }
    }
}

/// How long one exchange may take; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From sending the request, connecting included, to the head of the answer.
    pub first_byte: Option<Duration>,
    /// Between two pieces of the answer's body.
    pub idle: Option<Duration>,
    /// For everything. Leave it out where answers may be long-lived streams.
    pub total: Option<Duration>,
}

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address policy forbids an address of the host.
    #[error("{0} may not be connected to")]
    Refused(String),
    /// No connection: lookup, TCP or TLS failed.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// No connection in time.
    #[error("no connection in time")]
    ConnectTimeout,
    /// Connected, but no head of an answer in time.
    #[error("no answer in time")]
    FirstByteTimeout,
    /// The body fell silent.
    #[error("the answer fell silent")]
    IdleTimeout,
    /// The whole exchange took too long.
    #[error("the exchange took too long")]
    TotalTimeout,
    /// The body is larger than the caller was ready to read.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// Anything else: the connection broke, or what came is not HTTP.
    #[error("the exchange failed: {0}")]
    Other(String),
}

impl ClientError {
    /// Whether a time limit ended the exchange, as against the server being away or broken.
    pub const fn is_timeout(&self) -> bool {
        matches!(
            self,
            Self::ConnectTimeout | Self::FirstByteTimeout | Self::IdleTimeout | Self::TotalTimeout
        )
    }

    /// Whether certainly no byte of the request has reached the server, so that it may be sent elsewhere.
    pub const fn nothing_was_sent(&self) -> bool {
        matches!(
            self,
            Self::Refused(_) | Self::Connect(_) | Self::ConnectTimeout
        )
    }
}

/// The head of an answer, and its body as it arrives.
#[derive(Debug)]
pub struct Answer {
    /// The status as it came: also 3xx, which nobody follows.
    pub status: StatusCode,
    /// The headers as they came, hop-by-hop ones included.
    pub headers: HeaderMap,
    /// The body; dropping it closes the exchange.
    pub body: AnswerBody,
}

/// An answer in the form in which a server carries it on.
#[derive(Debug)]
pub struct CarriedAnswer {
    /// The status as it came.
    pub status: served::StatusCode,
    /// The headers as they came, without those that [`copy_end_to_end`] leaves behind.
    pub headers: Vec<(served::header::HeaderName, served::header::HeaderValue)>,
    /// The body; dropping it closes the exchange.
    pub body: AnswerBody,
}

impl From<Answer> for CarriedAnswer {
    fn from(answer: Answer) -> Self {
        // Both sides allow the same numbers.
        let status = served::StatusCode::from_u16(answer.status.as_u16());
        Self {
            status: status.unwrap_or(served::StatusCode::BAD_GATEWAY),
            headers: headers::end_to_end(&answer.headers).collect(),
            body: answer.body,
        }
    }
}

impl Answer {
    /// Reads the whole body.
    ///
    /// # Errors
    /// [`ClientError::TooLarge`] when it is larger than `limit` bytes (known from its declared length where there is
    /// one), else what broke it.
    pub async fn read_all(self, limit: usize) -> Result<bytes::Bytes, ClientError> {
        self.body.read_all(limit).await
    }
}

/// An HTTP client with its own pool of connections. Clones share the pool.
#[derive(Debug, Clone)]
pub struct HttpClient {
    inner: legacy::Client<HttpsConnector<GuardedConnector>, RequestBody>,
}

impl HttpClient {
    /// A client with an empty pool.
    pub fn new(options: ClientOptions) -> Self {
        let connector = GuardedConnector::new(options.addresses, options.lookup, options.connect);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(options.tls.unwrap_or_else(tls_config))
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(connector);
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(options.keep_idle)
            .pool_max_idle_per_host(options.max_idle_per_host)
            .build(https);
        Self { inner }
    }

    /// Sends a request, whose URI must be absolute, and waits for the head of its answer.
    ///
    /// # Errors
    /// Why there is none; see [`ClientError`].
    pub async fn send(
        &self,
        request: Request<RequestBody>,
        limits: Timeouts,
    ) -> Result<Answer, ClientError> {
        let exchange = self.inner.request(request);
        let deadline = limits
            .total
            .map(|total| tokio::time::Instant::now() + total);
        let response = match earliest(limits) {
            Some((limit, error)) => tokio::time::timeout(limit, exchange)
                .await
                .map_err(|_| error)?,
            None => exchange.await,
        };
        let (head, body) = response.map_err(|error| classify(&error))?.into_parts();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: AnswerBody::general(body, limits.idle, deadline),
        })
    }
}

impl From<&ConnectError> for ClientError {
    fn from(error: &ConnectError) -> Self {
        match error {
            ConnectError::Refused(host) => Self::Refused(host.clone()),
            ConnectError::Timeout => Self::ConnectTimeout,
            other => Self::Connect(other.to_string()),
        }
    }
}

/// The limit that bounds the wait for a head, and what its passing means.
fn earliest(limits: Timeouts) -> Option<(Duration, ClientError)> {
    match (limits.first_byte, limits.total) {
        (Some(first), Some(total)) if total < first => Some((total, ClientError::TotalTimeout)),
        (Some(first), _) => Some((first, ClientError::FirstByteTimeout)),
        (None, total) => total.map(|total| (total, ClientError::TotalTimeout)),
    }
}

/// Our connector's own error, wherever the layers above it have wrapped it; else what the layers say.
fn classify(error: &legacy::Error) -> ClientError {
    let mut source: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = source {
        match cause.downcast_ref::<ConnectError>() {
            Some(error) => return error.into(),
            None => source = cause.source(),
        }
    }
    if error.is_connect() {
        ClientError::Connect(chain(error))
    } else {
        ClientError::Other(chain(error))
    }
}

/// An error with its causes, for a log line: `sending the request: connection reset by peer`.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The certificates of the authorities that this machine trusts; none where it has none.
pub fn machine_authorities() -> Vec<rustls::pki_types::CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

/// Reading the machine's certificates takes milliseconds, so it happens once per process. A machine without any still
/// speaks plain HTTP; TLS then fails at the handshake, with a cause that says so.
fn tls_config() -> ClientConfig {
    static CONFIG: OnceLock<ClientConfig> = OnceLock::new();
    CONFIG
        .get_or_init(|| {
            // An earlier caller may have installed the same one: the error says only that.
            let _ = aws_lc_rs::default_provider().install_default();
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(machine_authorities());
            ClientConfig::builder()
                .with_root_certificates(roots)
                .with_no_client_auth()
        })
        .clone()
}

#[cfg(test)]
mod tests;
