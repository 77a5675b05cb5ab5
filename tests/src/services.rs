//! Real servers as processes of their own, each on a free port of 127.0.0.1 and ended when its handle is dropped.

use std::{
    io::{self, BufRead as _, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

/// A Redis server that keeps nothing on disk.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    directory: TempDir,
    /// `None` while it is killed.
    child: Option<Child>,
}

impl RedisServer {
    /// Starts `redis-server` and waits until it accepts connections.
    ///
    /// # Errors
    /// When it is not installed, or does not start.
    pub fn start() -> anyhow::Result<Self> {
        const ATTEMPTS: usize = 5;
        let directory = tempfile::tempdir()?;
        for _ in 0..ATTEMPTS {
            let port = free_port()?;
            // Somebody else may take the port first; then another one is tried.
            if let Some(child) = spawn(port, &directory)? {
                return Ok(Self {
                    port,
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

    /// Starts it again where it was, empty.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        self.child = spawn(self.port, &self.directory)?;
        if self.child.is_none() {
            bail!("redis-server did not start again on port {}", self.port);
        }
        Ok(())
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

impl Drop for RedisServer {
    fn drop(&mut self) {
        // A test that ends must not fail because its server is gone already.
        let _ = self.kill();
    }
}

/// The process once it accepts connections; `None` when it ended instead.
fn spawn(port: u16, directory: &TempDir) -> anyhow::Result<Option<Child>> {
    let mut child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .arg("--dir")
        .arg(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("redis-server cannot be started: is it installed?")?;
    let log = child.stdout.take().context("redis-server has no output")?;
    let mut lines = BufReader::new(log).lines();
    for line in lines.by_ref() {
        if line?.contains("Ready to accept connections") {
            // Somebody must go on reading, or the server stops when the pipe is full.
            thread::spawn(move || lines.for_each(drop));
            return Ok(Some(child));
        }
    }
    child.wait()?;
    Ok(None)
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
