//! How Redis is entered: a server, whatever sentinels call the master, or a cluster; with TLS, as a user.

use std::io;
use std::path::Path;
use std::time::Duration;

use ::redis::aio::{AsyncPushSender, ConnectionLike, MultiplexedConnection};
use ::redis::cluster::ClusterClientBuilder;
use ::redis::cluster_async::ClusterConnection;
use ::redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ErrorKind,
    IntoConnectionInfo, Pipeline, ProtocolVersion, RedisConnectionInfo, RedisError, RedisFuture,
    RedisResult, TlsCertificates, TlsMode, Value,
};
use tokio::time::timeout;

use crate::config::RedisSettings;
use crate::store::redis::address::{Address, Host, Topology};

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

/// Everything that is needed to connect.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) address: Address,
    certificates: Option<TlsCertificates>,
    sentinel_password: Option<String>,
    pub(super) patience: Duration,
}

/// A connection to whatever holds the keys.
#[derive(Clone)]
pub(in crate::store::redis) enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Door {
    /// Reads what is needed; nothing is connected yet.
    ///
    /// # Errors
    /// When the certificates cannot be read, or are none.
    pub(super) fn new(address: Address, settings: &RedisSettings) -> Result<Self, LinkError> {
        let certificates = certificates(&address, settings)?;
        let sentinel_password = settings.sentinel_password.as_ref();
        let door = Self {
            address,
            certificates,
            sentinel_password: sentinel_password.map(|secret| secret.expose().to_owned()),
            patience: settings.patience,
        };
        // A mistake to be told now, not at the first call.
        if let Some(host) = door.any_host() {
            door.client(host).map_err(LinkError::Certificates)?;
        }
        Ok(door)
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.address.topology, Topology::Cluster(_))
    }

    pub(super) async fn enter(&self) -> RedisResult<Connection> {
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

    /// A connection that is told what is published; in a cluster, that reaches every server.
    pub(super) async fn enter_listening(
        &self,
        told: impl AsyncPushSender,
    ) -> RedisResult<MultiplexedConnection> {
        let config = self.config().set_push_sender(told);
        match &self.address.topology {
            Topology::Server(host) => self.connect(host, &config).await,
            Topology::Sentinel { sentinels, master } => {
                let host = self.master(sentinels, master).await?;
                self.connect(&host, &config).await
            }
            Topology::Cluster(hosts) => {
                let mut last = too_slow();
                for host in hosts {
                    match self.connect(host, &config).await {
                        Ok(connection) => return Ok(connection),
                        Err(error) => last = error,
                    }
                }
                Err(last)
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

pub(super) fn too_slow() -> RedisError {
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
