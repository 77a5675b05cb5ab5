//! A NATS server.

use std::{
    fs,
    io::{self, BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use super::free_port;

/// A NATS server with JetStream, which keeps its streams in a directory of its own.
#[derive(Debug)]
pub struct NatsServer {
    port: u16,
    directory: TempDir,
    /// `None` while it is killed.
    child: Option<Child>,
}

impl NatsServer {
    /// Starts `nats-server` and waits until it is ready.
    ///
    /// # Errors
    /// When it is not installed, or does not start.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(None, "")
    }

    /// The same in a JetStream domain, and with further lines of configuration.
    ///
    /// # Errors
    /// When it is not installed, or does not start.
    pub fn start_with(domain: Option<&str>, further: &str) -> anyhow::Result<Self> {
        const ATTEMPTS: usize = 5;
        for _ in 0..ATTEMPTS {
            // Somebody else may take the port first; then another one is tried.
            if let Some(server) = Self::at(free_port()?, domain, further)? {
                return Ok(server);
            }
        }
        bail!("nats-server did not start on any of {ATTEMPTS} free ports");
    }

    /// The same as [`Self::start`] on this port.
    ///
    /// # Errors
    /// When it is not installed, or does not start.
    pub fn start_at(port: u16) -> anyhow::Result<Self> {
        Self::at(port, None, "")?.context("nats-server does not start on this port")
    }

    fn at(port: u16, domain: Option<&str>, further: &str) -> anyhow::Result<Option<Self>> {
        let directory = tempfile::tempdir()?;
        let kept = directory.path().join("jetstream");
        let domain = domain.map_or_else(String::new, |domain| format!("domain: {domain}"));
        let configuration = format!(
            "listen: \"127.0.0.1:{port}\"\n\
             jetstream {{\n store_dir: {kept:?}\n {domain}\n}}\n\
             {further}\n"
        );
        fs::write(directory.path().join("nats.conf"), configuration)?;
        let child = spawn(directory.path())?;
        Ok(child.map(|child| Self {
            port,
            directory,
            child: Some(child),
        }))
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Which port it listens on.
    pub fn port(&self) -> u16 {
        self.port
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

    /// Starts it again where it was, with what it kept on disk.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        self.child = spawn(self.directory.path())?;
        if self.child.is_none() {
            bail!("nats-server did not start again on port {}", self.port);
        }
        Ok(())
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        // A test that ends must not fail because its server is gone already.
        let _ = self.kill();
    }
}

/// The process once it is ready; `None` when it ended instead.
fn spawn(directory: &Path) -> anyhow::Result<Option<Child>> {
    let mut child = Command::new("nats-server")
        .arg("--config")
        .arg(directory.join("nats.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("nats-server cannot be started: is it installed?")?;
    let log = child.stderr.take().context("nats-server has no log")?;
    let mut lines = BufReader::new(log).lines();
    for line in lines.by_ref() {
        if line?.contains("Server is ready") {
            // Somebody must go on reading, or the server stops when the pipe is full.
            thread::spawn(move || lines.for_each(drop));
            return Ok(Some(child));
        }
    }
    child.wait()?;
    Ok(None)
}
