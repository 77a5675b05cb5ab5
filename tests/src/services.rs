//! Real servers as processes of their own, each on a free port of 127.0.0.1 and ended when its handle is dropped.

use std::{
    io::{self, BufRead as _, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

#[path = "services/nats.rs"]
mod nats;

pub use nats::NatsServer;

/// A Redis server that keeps nothing on disk.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    arguments: Vec<String>,
    directory: TempDir,
    /// `None` while it is killed.
    child: Option<Child>,
}

/// A cluster of three masters.
#[derive(Debug)]
pub struct RedisCluster {
    servers: Vec<RedisServer>,
}

/// A master with one replica, and a sentinel that makes the replica the master when the master dies.
#[derive(Debug)]
pub struct RedisSentinel {
    master: RedisServer,
    _replica: RedisServer,
    sentinel: RedisServer,
}

impl RedisServer {
    /// Starts `redis-server` and waits until it accepts connections.
    ///
    /// # Errors
    /// When it is not installed, or does not start.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(&[])
    }

    /// The same with further arguments.
    ///
    /// # Errors
    /// When it is not installed, or does not start.
    pub fn start_with(arguments: &[&str]) -> anyhow::Result<Self> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        Self::start_in(tempfile::tempdir()?, arguments)
    }

    fn start_in(directory: TempDir, arguments: Vec<String>) -> anyhow::Result<Self> {
        const ATTEMPTS: usize = 5;
        for _ in 0..ATTEMPTS {
            let port = free_port()?;
            // Somebody else may take the port first; then another one is tried.
            if let Some(child) = spawn(port, &directory, &arguments)? {
                return Ok(Self {
                    port,
                    arguments,
                    directory,
                    child: Some(child),
                });
            }
        }
        bail!("redis-server did not start on any of {ATTEMPTS} free ports");
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Which port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Asks it something, as an operator would; the answer as text.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn ask(&self, words: &[&str]) -> anyhow::Result<String> {
        let port = self.port.to_string();
        let asked = Command::new("redis-cli")
            .args(["-p", &port])
            .args(words)
            .output()?;
        if !asked.status.success() {
            bail!("redis-cli {words:?} failed");
        }
        Ok(String::from_utf8_lossy(&asked.stdout).into_owned())
    }

    /// Kills it, as by a power cut.
    ///
    /// # Errors
    /// When the process cannot be ended.
    pub fn kill(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        child.kill()?;
        child.wait().map(drop)
    }

    /// Starts it again where it was, with what it kept on disk: nothing, unless it was told to.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        self.child = spawn(self.port, &self.directory, &self.arguments)?;
        if self.child.is_none() {
            bail!("redis-server did not start again on port {}", self.port);
        }
        Ok(())
    }

    /// The same without anything that it kept on disk.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart_empty(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        for kept in std::fs::read_dir(self.directory.path())? {
            let path = kept?.path();
            if path.is_dir() {
                std::fs::remove_dir_all(path)?;
            } else {
                std::fs::remove_file(path)?;
            }
        }
        self.restart()
    }

    /// Makes it hang: connections stay open, nothing answers.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn suspend(&self) -> anyhow::Result<()> {
        self.signal("-STOP")
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let child = self.child.as_ref().context("redis-server is not running")?;
        let status = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status()?;
        if status.success() {
            Ok(())
        } else {
            bail!("kill {signal} failed")
        }
    }
}

impl RedisCluster {
    /// Starts three servers and makes them one cluster.
    ///
    /// # Errors
    /// When they do not start, or do not find together.
    pub fn start() -> anyhow::Result<Self> {
        let start = || {
            let bus = free_port()?.to_string();
            let cluster = ["--cluster-enabled", "yes", "--cluster-port", &bus];
            RedisServer::start_with(&cluster)
        };
        let servers = vec![start()?, start()?, start()?];
        let addresses = servers
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.port));
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .args(["--cluster-replicas", "0", "--cluster-yes"])
            .stdout(Stdio::null())
            .status()?;
        if !made.success() {
            bail!("the cluster was not made");
        }
        for server in &servers {
            wait_for(server, &["cluster", "info"], "cluster_state:ok")?;
        }
        Ok(Self { servers })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        let hosts = self
            .servers
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.port));
        format!("redis+cluster://{}", hosts.collect::<Vec<_>>().join(","))
    }
}

impl RedisSentinel {
    /// Starts all three, and waits until the sentinel knows the replica.
    ///
    /// # Errors
    /// When they do not start, or do not find together.
    pub fn start() -> anyhow::Result<Self> {
        let master = RedisServer::start()?;
        let port = master.port.to_string();
        let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port])?;
        wait_for(&replica, &["info", "replication"], "master_link_status:up")?;
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("sentinel.conf");
        let told = format!(
            "sentinel monitor main 127.0.0.1 {port} 1\n\
             sentinel down-after-milliseconds main 500\n\
             sentinel failover-timeout main 3000\n"
        );
        std::fs::write(&file, told)?;
        let file = file.to_string_lossy().into_owned();
        let sentinel = RedisServer::start_in(directory, vec![SENTINEL.to_owned(), file])?;
        wait_for(&sentinel, &["sentinel", "master", "main"], "num-slaves\n1")?;
        Ok(Self {
            master,
            _replica: replica,
            sentinel,
        })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/main", self.sentinel.port)
    }

    /// Kills the master.
    ///
    /// # Errors
    /// When the process cannot be ended.
    pub fn kill_master(&mut self) -> io::Result<()> {
        self.master.kill()
    }
}

/// Asks until the answer holds a text.
fn wait_for(server: &RedisServer, words: &[&str], expected: &str) -> anyhow::Result<()> {
    const ATTEMPTS: usize = 600;
    for _ in 0..ATTEMPTS {
        if server.ask(words)?.replace('\r', "").contains(expected) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    bail!("{words:?} never had {expected:?}")
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // A test that ends must not fail because its server is gone already.
        let _ = self.kill();
    }
}

/// Stands first among the arguments of a server that is a sentinel; its configuration file is the second.
const SENTINEL: &str = "--sentinel";

/// The process once it accepts connections; `None` when it ended instead.
fn spawn(port: u16, directory: &TempDir, arguments: &[String]) -> anyhow::Result<Option<Child>> {
    let mut command = Command::new("redis-server");
    let ready = match arguments {
        [first, file] if first == SENTINEL => {
            command.arg(file).arg(SENTINEL);
            "Sentinel ID is"
        }
        _ => {
            command
                .args(["--save", "", "--appendonly", "no"])
                .args(arguments);
            "Ready to accept connections"
        }
    };
    let mut child = command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--daemonize", "no", "--dir"])
        .arg(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("redis-server cannot be started: is it installed?")?;
    let log = child.stdout.take().context("redis-server has no output")?;
    let mut lines = BufReader::new(log).lines();
    for line in lines.by_ref() {
        if line?.contains(ready) {
            // Somebody must go on reading, or the server stops when the pipe is full.
            thread::spawn(move || lines.for_each(drop));
            return Ok(Some(child));
        }
    }
    child.wait()?;
    Ok(None)
}

/// A port that nobody listens on at this moment.
///
/// # Errors
/// When there is none.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
