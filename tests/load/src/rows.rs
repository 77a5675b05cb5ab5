//! What is measured: each row's server, how it is started and where it is asked.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::Context;
use clap::ValueEnum;
use tempfile::TempDir;

use crate::process::{Server, free_address};
use crate::programs::Programs;

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
    /// The gateway before that upstream.
    Gateway,
    /// nginx before that upstream.
    Nginx,
    /// The node's echo agent as streams, tasks stored durably.
    DurableStreams,
    /// The node's echo agent as streams, tasks in memory.
    MemoryStreams,
    /// The same as streams on the official Rust SDK.
    SdkStreams,
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
    /// Sent as bearer token.
    pub(crate) token: Option<&'static str>,
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
}

/// Of nodes that live for seconds on loopback.
pub(crate) const TOKEN: &str = "benchmark-0123456789abcdef-token";

impl Row {
    /// The rows of the load table, in the order in which they are measured and shown.
    pub(crate) const LOADED: [Self; 9] = [
        Self::NodeDurable,
        Self::NodeMemory,
        Self::Sdk,
        Self::DurableStreams,
        Self::MemoryStreams,
        Self::SdkStreams,
        Self::Upstream,
        Self::Gateway,
        Self::Nginx,
    ];

    /// Its short name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NodeDurable => "node-durable",
            Self::NodeMemory => "node-memory",
            Self::Sdk => "sdk",
            Self::Upstream => "upstream",
            Self::Gateway => "gateway",
            Self::Nginx => "nginx",
            Self::DurableStreams => "durable-streams",
            Self::MemoryStreams => "memory-streams",
            Self::SdkStreams => "sdk-streams",
            Self::Growth => "growth",
            Self::Stream => "stream",
            Self::Lists => "lists",
            Self::Watchers => "watchers",
            Self::Waiting => "waiting",
        }
    }

    /// What the table calls it.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::NodeDurable => "node, echo, tasks stored durably",
            Self::NodeMemory => "node, echo, tasks in memory",
            Self::Sdk => "official Rust SDK (a2a-server-lf), echo, tasks in memory",
            Self::Upstream => "trivial upstream, direct",
            Self::Gateway => "gateway, before that upstream",
            Self::Nginx => "nginx, before that upstream",
            Self::DurableStreams => "node, echo as streams, tasks stored durably",
            Self::MemoryStreams => "node, echo as streams, tasks in memory",
            Self::SdkStreams => "official Rust SDK, echo as streams",
            Self::Growth => "node, echo, tasks in memory, after many tasks",
            Self::Stream => "from the agent's event to the client",
            Self::Lists => "node, a page of 50 tasks, stored durably",
            Self::Watchers => "node, idle watchers",
            Self::Waiting => "node, tasks that wait for their clients, stored durably",
        }
    }

    /// The row that this one is compared with.
    pub(crate) const fn peer(self) -> Option<Self> {
        match self {
            Self::NodeDurable | Self::NodeMemory => Some(Self::Sdk),
            Self::DurableStreams | Self::MemoryStreams => Some(Self::SdkStreams),
            Self::Gateway => Some(Self::Nginx),
            _ => None,
        }
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
                    token: None,
                    asks: self.asks(),
                },
            ),
            Self::Upstream => (at(&programs.upstream, address), fixed(address)),
            Self::Gateway | Self::Nginx => {
                let behind = free_address()?;
                let upstream = at(&programs.upstream, behind);
                helpers.push(Server::start("upstream", upstream, behind, folder.path()).await?);
                let command = match self {
                    Self::Nginx => nginx(programs, address, behind, folder.path())?,
                    _ => gateway(programs, address, behind, folder.path())?,
                };
                (command, fixed(address))
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
    fn asks(self) -> Asks {
        match self {
            Self::DurableStreams | Self::MemoryStreams | Self::SdkStreams => Asks::Stream,
            Self::Lists => Asks::Conversation,
            Self::Watchers | Self::Waiting => Asks::Nothing,
            _ => Asks::Echo,
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
            token: Some(TOKEN),
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

/// `program serve --config FILE`, with this configuration in the file.
pub(crate) fn serve(
    program: &Path,
    folder: &Path,
    name: &str,
    config: &str,
) -> anyhow::Result<Command> {
    let file = folder.join(format!("{name}.toml"));
    fs::write(&file, config)?;
    let mut command = Command::new(program);
    command.arg("serve").arg("--config").arg(file);
    Ok(command)
}

fn node(
    programs: &Programs,
    address: SocketAddr,
    store: &str,
    folder: &Path,
) -> anyhow::Result<Command> {
    let data = utf8(folder.join("data"))?;
    let config = format!(
        "listen = \"{address}\"\ndata_dir = '{data}'\nstore = \"{store}\"\ninternal_token = \"{TOKEN}\"\n\n\
         [retention]\nkeep_count = 10000000\n\n\
         [[agents]]\nid = \"echo\"\nkind = \"echo\"\n\n[[agents]]\nid = \"text\"\nkind = \"text\"\n"
    );
    serve(&programs.node, folder, "node", &config)
}

fn gateway(
    programs: &Programs,
    address: SocketAddr,
    behind: SocketAddr,
    folder: &Path,
) -> anyhow::Result<Command> {
    let config = format!("listen = \"{address}\"\nupstream = \"http://{behind}\"\n");
    serve(&programs.gateway, folder, "gateway", &config)
}

/// As many workers as the gateway has, kept connections on both sides, no access log, the client's address passed on.
fn nginx(
    programs: &Programs,
    address: SocketAddr,
    behind: SocketAddr,
    folder: &Path,
) -> anyhow::Result<Command> {
    let workers = thread::available_parallelism()?;
    let config = format!(
        "daemon off; worker_processes {workers}; pid nginx.pid; error_log stderr error;\n\
         events {{ worker_connections 8192; multi_accept on; }}\n\
         http {{\n\
           access_log off; keepalive_requests 100000000; tcp_nodelay on;\n\
           client_body_temp_path body; proxy_temp_path proxy;\n\
           fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
           upstream behind {{ server {behind}; keepalive 128; keepalive_requests 100000000; }}\n\
           server {{\n\
             listen {address} backlog=4096;\n\
             location / {{\n\
               proxy_pass http://behind; proxy_http_version 1.1;\n\
               proxy_set_header Connection \"\"; proxy_set_header X-Forwarded-For $remote_addr;\n\
             }}\n\
           }}\n\
         }}\n"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config)?;
    let mut command = Command::new(
        programs
            .nginx
            .as_deref()
            .context("nginx is not installed")?,
    );
    command.arg("-p").arg(folder).arg("-c").arg(file);
    Ok(command)
}

fn at(program: &Path, address: SocketAddr) -> Command {
    let mut command = Command::new(program);
    command.arg(address.to_string());
    command
}

/// The path is the gateway's; the upstream answers at any.
fn fixed(address: SocketAddr) -> Target {
    Target {
        address,
        path: "/v1/a2a/jsonrpc",
        token: None,
        asks: Asks::Anything,
    }
}

fn utf8(path: PathBuf) -> anyhow::Result<String> {
    path.into_os_string()
        .into_string()
        .ok()
        .context("the name of the temporary folder is no UTF-8")
}
