//! What is measured: each row's server and where it is asked; `commands` says how it is started, `federated` how nodes are
//! that peers call.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use clap::ValueEnum;
use tempfile::TempDir;

use crate::process::{Server, free_address};
use crate::programs::Programs;

mod commands;
mod federated;

pub(crate) use commands::{gateway, serve};
pub(crate) use federated::{Credential, Signer, until_taken};

use commands::{at, nginx, node, redis_server};

/// What the benchmark can measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Row {
    /// The node's echo agent, tasks stored durably.
    NodeDurable,
    /// The node's echo agent, tasks in memory.
    NodeMemory,
    /// The same agent on the official Rust SDK, tasks in memory.
    Sdk,
    /// The trivial upstream by itself.
    Upstream,
    /// The gateway before that upstream, with a limit of its own that nobody reaches.
    Gateway,
    /// The same with a limit that is shared through Redis.
    GatewayShared,
    /// The same when every call is denied.
    GatewayDenied,
    /// nginx before that upstream, with a limit that nobody reaches (`limit_req`).
    Nginx,
    /// The upstream, the gateway and nginx at a rate that is far from what they can do.
    UpstreamPaced,
    GatewayPaced,
    NginxPaced,
    /// The node's echo agent as streams, tasks stored durably.
    DurableStreams,
    /// The node's echo agent as streams, tasks in memory.
    MemoryStreams,
    /// The same as streams on the official Rust SDK.
    SdkStreams,
    /// The node's echo agent called by a peer, everything in Redis.
    Federated,
    /// The same called by the operator.
    FederatedBearer,
    /// A node that is shown tokens of one letter.
    TinyTokens,
    /// Tokens that are no more than long.
    HugeTokens,
    /// Tokens that are good but for their signature.
    ForgedTokens,
    /// Verification of tokens by itself.
    Verify,
    /// The node's memory and answers over many tasks.
    Growth,
    /// How soon an agent's event reaches a client.
    Stream,
    /// Pages of few and of many tasks.
    Lists,
    /// Memory of watchers that are told nothing.
    Watchers,
    /// Memory of tasks that wait for their clients.
    Waiting,
    /// How soon the gateway serves, and its memory when nobody calls, and with idle streams.
    GatewayRest,
    /// Events to eight subscribers in one process.
    Bus,
    /// The bus over Redis, beside the raw client.
    BusRedis,
    /// The bus over NATS, beside the raw client.
    BusNats,
    /// Envelopes between sites, beside the raw client of JetStream.
    Wan,
}

/// The processes of one row; ended, and their files removed, when dropped.
pub(crate) struct Servers {
    /// Whose costs are counted.
    pub(crate) measured: Server,
    /// What it needs to do its work.
    helpers: Vec<Server>,
    pub(crate) target: Target,
    _folder: TempDir,
}

/// Where and how a server is asked.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) path: &'static str,
    pub(crate) credential: Credential,
    pub(crate) asks: Asks,
}

/// What the clients want of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// A completed task, whatever is in it.
    Anything,
    /// A completed task that holds what was said.
    Echo,
    /// The same as a stream.
    Stream,
    /// The same as `Echo`, in conversations of many tasks.
    Conversation,
    /// They say nothing, so that the agent has to ask back.
    Nothing,
    /// They want to be told that they ask too often.
    Denial,
    /// To be refused for who they are, or for how often they were.
    Refusal,
}

/// What a gateway's configuration says of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit<'a> {
    /// More than anybody asks.
    Local,
    /// The same, shared through this Redis.
    Shared(&'a str),
    /// One call in a minute.
    Reached(&'a str),
}

/// Of nodes that live for seconds on loopback.
pub(crate) const TOKEN: &str = "benchmark-0123456789abcdef-token";

impl Row {
    /// The rows of the load table, in the order in which they are measured and shown.
    pub(crate) const LOADED: [Self; 19] = [
        Self::NodeDurable,
        Self::NodeMemory,
        Self::Sdk,
        Self::DurableStreams,
        Self::MemoryStreams,
        Self::SdkStreams,
        Self::Upstream,
        Self::Gateway,
        Self::GatewayShared,
        Self::GatewayDenied,
        Self::Nginx,
        Self::UpstreamPaced,
        Self::GatewayPaced,
        Self::NginxPaced,
        Self::FederatedBearer,
        Self::Federated,
        Self::TinyTokens,
        Self::HugeTokens,
        Self::ForgedTokens,
    ];

    /// Those whose parts run in this process, beside the raw clients of their brokers.
    pub(crate) const BESIDE: [Self; 4] = [Self::Bus, Self::BusRedis, Self::BusNats, Self::Wan];

    /// Its short name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NodeDurable => "node-durable",
            Self::NodeMemory => "node-memory",
            Self::Sdk => "sdk",
            Self::Upstream => "upstream",
            Self::Gateway => "gateway",
            Self::GatewayShared => "gateway-shared",
            Self::GatewayDenied => "gateway-denied",
            Self::Nginx => "nginx",
            Self::UpstreamPaced => "upstream-paced",
            Self::GatewayPaced => "gateway-paced",
            Self::NginxPaced => "nginx-paced",
            Self::DurableStreams => "durable-streams",
            Self::MemoryStreams => "memory-streams",
            Self::SdkStreams => "sdk-streams",
            Self::Federated => "federated",
            Self::FederatedBearer => "bearer",
            Self::TinyTokens => "tiny-tokens",
            Self::HugeTokens => "huge-tokens",
            Self::ForgedTokens => "forged-tokens",
            Self::Verify => "verify",
            Self::Growth => "growth",
            Self::Stream => "stream",
            Self::Lists => "lists",
            Self::Watchers => "watchers",
            Self::Waiting => "waiting",
            Self::GatewayRest => "gateway-rest",
            Self::Bus => "bus",
            Self::BusRedis => "bus-redis",
            Self::BusNats => "bus-nats",
            Self::Wan => "wan",
        }
    }

    /// What the table calls it.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::NodeDurable => "node, echo, tasks stored durably",
            Self::NodeMemory => "node, echo, tasks in memory",
            Self::Sdk => "official Rust SDK (a2a-server-lf), echo, tasks in memory",
            Self::Upstream => "trivial upstream, direct",
            Self::Gateway => "gateway, before that upstream, limit of its own",
            Self::GatewayShared => "gateway, before that upstream, limit shared through Redis",
            Self::GatewayDenied => "gateway, every call denied by the shared limit",
            Self::Nginx => "nginx, before that upstream, `limit_req`",
            Self::UpstreamPaced => "trivial upstream, direct, 2,000 requests/s",
            Self::GatewayPaced => "gateway, before that upstream, 2,000 requests/s",
            Self::NginxPaced => "nginx, before that upstream, 2,000 requests/s",
            Self::DurableStreams => "node, echo as streams, tasks stored durably",
            Self::MemoryStreams => "node, echo as streams, tasks in memory",
            Self::SdkStreams => "official Rust SDK, echo as streams",
            Self::Federated => "node, echo, called by a peer (EdDSA), all in Redis",
            Self::FederatedBearer => "node, echo, called by the operator, all in Redis",
            Self::TinyTokens => "node, refused tokens of one letter",
            Self::HugeTokens => "node, refused tokens of 12,000 letters",
            Self::ForgedTokens => "node, refused tokens with a wrong signature",
            Self::Verify => "verification of federation tokens",
            Self::Growth => "node, echo, tasks in memory, after many tasks",
            Self::Stream => "from the agent's event to the client",
            Self::Lists => "node, a page of 50 tasks, stored durably",
            Self::Watchers => "node, idle watchers",
            Self::Waiting => "node, tasks that wait for their clients, stored durably",
            Self::GatewayRest => "gateway, at rest",
            Self::Bus | Self::BusRedis | Self::BusNats => "bus",
            Self::Wan => "WAN",
        }
    }

    /// The row that this one is compared with.
    pub(crate) const fn peer(self) -> Option<Self> {
        match self {
            Self::NodeDurable | Self::NodeMemory => Some(Self::Sdk),
            Self::DurableStreams | Self::MemoryStreams => Some(Self::SdkStreams),
            Self::Gateway | Self::GatewayDenied => Some(Self::Nginx),
            Self::GatewayShared => Some(Self::Gateway),
            Self::GatewayPaced => Some(Self::NginxPaced),
            Self::Federated => Some(Self::FederatedBearer),
            _ => None,
        }
    }

    /// Requests in a second, where it is not as many as possible.
    pub(crate) const fn pace(self) -> Option<u32> {
        match self {
            Self::UpstreamPaced | Self::GatewayPaced | Self::NginxPaced => Some(2_000),
            _ => None,
        }
    }

    /// Whether it needs nginx.
    pub(crate) const fn is_nginx(self) -> bool {
        matches!(self, Self::Nginx | Self::NginxPaced)
    }

    /// Starts what the row needs.
    pub(crate) async fn start(self, programs: &Programs) -> anyhow::Result<Servers> {
        let folder = TempDir::new()?;
        let address = free_address()?;
        let mut helpers = Vec::new();
        let (command, target) = match self {
            Self::NodeDurable | Self::DurableStreams | Self::Lists | Self::Waiting => (
                node(programs, address, "embedded", folder.path())?,
                self.of_node(address),
            ),
            Self::NodeMemory
            | Self::MemoryStreams
            | Self::Growth
            | Self::Stream
            | Self::Watchers => (
                node(programs, address, "memory", folder.path())?,
                self.of_node(address),
            ),
            Self::Sdk | Self::SdkStreams => (
                at(&programs.sdk_echo, address),
                Target {
                    address,
                    path: "/",
                    credential: Credential::None,
                    asks: self.asks(),
                },
            ),
            Self::Upstream | Self::UpstreamPaced => {
                (at(&programs.upstream, address), self.of_edge(address))
            }
            Self::Federated
            | Self::FederatedBearer
            | Self::TinyTokens
            | Self::HugeTokens
            | Self::ForgedTokens => {
                let started = federated::start(self, programs, address, folder.path()).await?;
                helpers.extend(started.2);
                (started.0, started.1)
            }
            _ => {
                let started = self
                    .before_upstream(programs, address, folder.path())
                    .await?;
                helpers.extend(started.2);
                (started.0, started.1)
            }
        };
        let measured = Server::start(self.name(), command, address, folder.path()).await?;
        Ok(Servers {
            measured,
            helpers,
            target,
            _folder: folder,
        })
    }
}

impl Row {
    /// A gateway or nginx, before an upstream and perhaps with a Redis.
    async fn before_upstream(
        self,
        programs: &Programs,
        address: SocketAddr,
        folder: &Path,
    ) -> anyhow::Result<(Command, Target, Vec<Server>)> {
        let behind = free_address()?;
        let upstream = at(&programs.upstream, behind);
        let mut helpers = vec![Server::start("upstream", upstream, behind, folder).await?];
        let shared = [Self::GatewayShared, Self::GatewayDenied].contains(&self);
        let redis = if shared { free_address()? } else { behind };
        if shared {
            helpers.push(redis_server(redis, folder).await?);
        }
        let url = format!("redis://{redis}");
        let limit = match self {
            Self::GatewayShared => Limit::Shared(&url),
            Self::GatewayDenied => Limit::Reached(&url),
            _ => Limit::Local,
        };
        let command = if self.is_nginx() {
            nginx(programs, address, behind, folder)?
        } else {
            gateway(programs, address, behind, limit, folder)?
        };
        Ok((command, self.of_edge(address), helpers))
    }

    fn asks(self) -> Asks {
        match self {
            Self::DurableStreams | Self::MemoryStreams | Self::SdkStreams => Asks::Stream,
            Self::Lists => Asks::Conversation,
            Self::Watchers | Self::Waiting => Asks::Nothing,
            Self::GatewayDenied => Asks::Denial,
            Self::TinyTokens | Self::HugeTokens | Self::ForgedTokens => Asks::Refusal,
            _ => Asks::Echo,
        }
    }

    /// The path is the gateway's; the upstream answers at any.
    fn of_edge(self, address: SocketAddr) -> Target {
        let asks = match self.asks() {
            Asks::Denial => Asks::Denial,
            _ => Asks::Anything,
        };
        Target {
            address,
            path: "/v1/a2a/jsonrpc",
            credential: Credential::None,
            asks,
        }
    }

    fn of_node(self, address: SocketAddr) -> Target {
        let path = match self.asks() {
            Asks::Nothing => "/agents/text",
            _ => "/agents/echo",
        };
        Target {
            address,
            path,
            credential: Credential::Bearer(TOKEN),
            asks: self.asks(),
        }
    }
}

impl Servers {
    /// All processes of the row.
    pub(crate) fn all(&self) -> Vec<&Server> {
        std::iter::once(&self.measured)
            .chain(&self.helpers)
            .collect()
    }
}
