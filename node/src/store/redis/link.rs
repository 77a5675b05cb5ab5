//! The connection to Redis: made when it is needed, made anew when it broke, and never waited for longer than the patience
//! that the operator has.
//!
//! One multiplexed connection carries the commands of all workers, which pipelines them by itself. Its driver runs where
//! the link was opened, not on whichever worker came first: a worker that stops must not take it along.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ::redis::aio::{AsyncPushSender, ConnectionLike, MultiplexedConnection};
use ::redis::cluster::ClusterClientBuilder;
use ::redis::cluster_async::ClusterConnection;
use ::redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ErrorKind, FromRedisValue,
    IntoConnectionInfo, Pipeline, ProtocolVersion, RedisConnectionInfo, RedisError, RedisFuture,
    RedisResult, ScriptInvocation, ServerErrorKind, TlsCertificates, TlsMode, Value,
};
use parking_lot::RwLock;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::address::{Address, Host, Topology};
use crate::config::RedisSettings;
use crate::store::StoreError;

/// Why Redis cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("cannot read {0}")]
    File(std::path::PathBuf, #[source] io::Error),
    #[error("redis.certificate_file and redis.key_file need each other")]
    HalfCertificate,
    #[error("the certificates for Redis cannot be used")]
    Certificates(#[source] RedisError),
}

/// See the module.
pub(super) struct Link {
    door: Door,
    runtime: Handle,
    current: RwLock<Current>,
    /// Whoever has it connects; the others wait for what comes of it.
    connecting: Mutex<()>,
    attempts: AtomicU64,
    /// Whether the last that was heard of Redis was an answer; for what is logged once and for who asks.
    answers: AtomicBool,
}

/// Everything that is needed to connect.
#[derive(Clone)]
struct Door {
    address: Address,
    certificates: Option<TlsCertificates>,
    sentinel_password: Option<String>,
    patience: Duration,
}

#[derive(Default)]
struct Current {
    /// Counts connections, so that a failure of an old one does not end a new one.
    number: u64,
    connection: Option<Connection>,
}

/// A connection to whatever holds the keys.
#[derive(Clone)]
pub(super) enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    /// Prepares a link; nothing is connected yet. Must be called inside the runtime that is to drive the connection.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub(super) fn open(address: Address, settings: &RedisSettings) -> Result<Self, LinkError> {
        let certificates = certificates(&address, settings)?;
        let link = Self {
            door: Door {
                address,
                certificates,
                sentinel_password: settings
                    .sentinel_password
                    .as_ref()
                    .map(|secret| secret.expose().to_owned()),
                patience: settings.patience,
            },
            runtime: Handle::current(),
            current: RwLock::default(),
            connecting: Mutex::default(),
            attempts: AtomicU64::new(0),
            answers: AtomicBool::new(true),
        };
        // Certificates that are none are a mistake to be told now, not at the first call.
        if let Some(host) = link.door.any_host() {
            link.door.client(host).map_err(LinkError::Certificates)?;
        }
        Ok(link)
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.door.address.topology, Topology::Cluster(_))
    }

    fn answers(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    /// Runs a script in one trip (two after a restart of Redis, which forgets scripts).
    pub(super) async fn invoke<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let (number, mut connection) = self.connection().await?;
        let patience = self.door.patience;
        let asked = timeout(patience * 2, script.invoke_async(&mut connection)).await;
        self.heard(number, asked.unwrap_or_else(|_| Err(too_slow())))
    }

    /// Sends one command.
    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let (number, mut connection) = self.connection().await?;
        let asked = timeout(self.door.patience * 2, command.query_async(&mut connection)).await;
        self.heard(number, asked.unwrap_or_else(|_| Err(too_slow())))
    }

    /// Sends several commands in one trip, in their order, whose answers say nothing.
    pub(super) async fn pipeline(&self, commands: &Pipeline) -> Result<(), StoreError> {
        let (number, mut connection) = self.connection().await?;
        let asked = commands.query_async(&mut connection);
        let asked = timeout(self.door.patience * 2, asked).await;
        self.heard(number, asked.unwrap_or_else(|_| Err(too_slow())))
    }

    /// A connection of its own that is told what is published. Its driver runs where the link was opened.
    pub(super) async fn listen(
        &self,
        told: impl AsyncPushSender,
    ) -> RedisResult<MultiplexedConnection> {
        let door = self.door.clone();
        let connected = self.runtime.spawn(async move {
            let config = door.config().set_push_sender(told);
            // In a cluster, what is published anywhere reaches every server.
            match &door.address.topology {
                Topology::Server(host) => door.connect(host, &config).await,
                Topology::Sentinel { sentinels, master } => {
                    let host = door.master(sentinels, master).await?;
                    door.connect(&host, &config).await
                }
                Topology::Cluster(hosts) => {
                    let mut last = too_slow();
                    for host in hosts {
                        match door.connect(host, &config).await {
                            Ok(connection) => return Ok(connection),
                            Err(error) => last = error,
                        }
                    }
                    Err(last)
                }
            }
        });
        connected.await.unwrap_or_else(|_| Err(too_slow()))
    }

    /// Where connections are driven.
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    async fn connection(&self) -> Result<(u64, Connection), StoreError> {
        if let Some(connected) = self.connected() {
            return Ok(connected);
        }
        let before = self.attempts.load(Ordering::Acquire);
        let _turn = self.connecting.lock().await;
        if let Some(connected) = self.connected() {
            return Ok(connected);
        }
        // Somebody tried while this one waited: trying again would make the last of a queue wait for all before it.
        if self.attempts.load(Ordering::Acquire) != before {
            return Err(StoreError::Unavailable);
        }
        let door = self.door.clone();
        let made = self.runtime.spawn(async move { door.enter().await });
        let made = made.await.unwrap_or_else(|_| Err(too_slow()));
        self.attempts.fetch_add(1, Ordering::AcqRel);
        match made {
            Ok(connection) => {
                let mut current = self.current.write();
                current.number += 1;
                current.connection = Some(connection.clone());
                Ok((current.number, connection))
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn connected(&self) -> Option<(u64, Connection)> {
        let current = self.current.read();
        let connection = current.connection.clone()?;
        Some((current.number, connection))
    }

    fn heard<T>(&self, number: u64, answer: RedisResult<T>) -> Result<T, StoreError> {
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
                    let mut current = self.current.write();
                    if current.number == number {
                        current.connection = None;
                    }
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

impl Door {
    async fn enter(&self) -> RedisResult<Connection> {
        let config = self.config();
        match &self.address.topology {
            Topology::Server(host) => self.connect(host, &config).await.map(Connection::Server),
            Topology::Sentinel { sentinels, master } => {
                let host = self.master(sentinels, master).await?;
                let connection = self.connect(&host, &config).await?;
                Ok(Connection::Server(connection))
            }
            Topology::Cluster(hosts) => {
                let client = self.cluster(hosts)?;
                let connected = timeout(self.patience * 2, client.get_async_connection()).await;
                connected
                    .unwrap_or_else(|_| Err(too_slow()))
                    .map(Connection::Cluster)
            }
        }
    }

    async fn connect(
        &self,
        host: &Host,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        let client = self.client(host)?;
        client
            .get_multiplexed_async_connection_with_config(config)
            .await
    }

    /// The master, as the first sentinel that answers knows it.
    async fn master(&self, sentinels: &[Host], name: &str) -> RedisResult<Host> {
        let mut last = too_slow();
        for sentinel in sentinels {
            match self.ask_sentinel(sentinel, name).await {
                Ok(Some((name, port))) => return Ok(Host { name, port }),
                Ok(None) => {
                    last = (ErrorKind::MasterNameNotFoundBySentinel, "no such master").into()
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask_sentinel(
        &self,
        sentinel: &Host,
        name: &str,
    ) -> RedisResult<Option<(String, u16)>> {
        let mut about_us = RedisConnectionInfo::default();
        if let Some(password) = &self.sentinel_password {
            about_us = about_us.set_password(password);
        }
        let client = self.client_as(sentinel, about_us)?;
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&self.config())
            .await?;
        ::redis::cmd("SENTINEL")
            .arg("get-master-addr-by-name")
            .arg(name)
            .query_async(&mut connection)
            .await
    }

    fn client(&self, host: &Host) -> RedisResult<Client> {
        self.client_as(host, self.about_us())
    }

    fn client_as(&self, host: &Host, about_us: RedisConnectionInfo) -> RedisResult<Client> {
        let address = if self.address.tls {
            ConnectionAddr::TcpTls {
                host: host.name.clone(),
                port: host.port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host.name.clone(), host.port)
        };
        let info = address.into_connection_info()?.set_redis_settings(about_us);
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
    }

    fn cluster(&self, hosts: &[Host]) -> RedisResult<::redis::cluster::ClusterClient> {
        let scheme = if self.address.tls { "rediss" } else { "redis" };
        let urls = hosts.iter().map(|host| {
            let name = if host.name.contains(':') {
                format!("[{}]", host.name)
            } else {
                host.name.clone()
            };
            format!("{scheme}://{name}:{}", host.port)
        });
        let mut builder = ClusterClientBuilder::new(urls)
            .use_protocol(ProtocolVersion::RESP3)
            .connection_timeout(self.patience)
            .response_timeout(self.patience)
            // One more try, for a slot that has just moved.
            .retries(1)
            .max_retry_wait(50);
        if let Some(user) = &self.address.user {
            builder = builder.username(user);
        }
        if let Some(password) = &self.address.password {
            builder = builder.password(password);
        }
        if self.address.tls {
            builder = builder.tls(TlsMode::Secure);
        }
        if let Some(certificates) = &self.certificates {
            builder = builder.certs(certificates.clone());
        }
        builder.build()
    }

    fn about_us(&self) -> RedisConnectionInfo {
        let mut about_us = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(self.address.database.into());
        if let Some(user) = &self.address.user {
            about_us = about_us.set_username(user);
        }
        if let Some(password) = &self.address.password {
            about_us = about_us.set_password(password);
        }
        about_us
    }

    fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.patience))
            .set_response_timeout(Some(self.patience))
    }

    fn any_host(&self) -> Option<&Host> {
        match &self.address.topology {
            Topology::Server(host) => Some(host),
            Topology::Sentinel {
                sentinels: hosts, ..
            }
            | Topology::Cluster(hosts) => hosts.first(),
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection) => connection.req_packed_commands(cmd, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
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

fn too_slow() -> RedisError {
    io::Error::from(io::ErrorKind::TimedOut).into()
}

fn certificates(
    address: &Address,
    settings: &RedisSettings,
) -> Result<Option<TlsCertificates>, LinkError> {
    if !address.tls {
        return Ok(None);
    }
    let client_tls = match (&settings.certificate_file, &settings.key_file) {
        (Some(certificate), Some(key)) => Some(ClientTlsConfig {
            client_cert: read(certificate)?,
            client_key: read(key)?,
        }),
        (None, None) => None,
        _ => return Err(LinkError::HalfCertificate),
    };
    let root_cert = settings.ca_file.as_deref().map(read).transpose()?;
    Ok(Some(TlsCertificates {
        client_tls,
        root_cert,
    }))
}

fn read(path: &Path) -> Result<Vec<u8>, LinkError> {
    std::fs::read(path).map_err(|error| LinkError::File(path.to_owned(), error))
}
