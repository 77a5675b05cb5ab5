//! A gateway as a process of its own: its memory and its descriptors are nobody else's.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use archipel_tests::mesh::until;
use serde_json::Value;

/// A running gateway. Dropping it kills it.
pub(crate) struct GatewayProcess {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl GatewayProcess {
    /// Starts one on a free port, in front of a node that is not asked how it is.
    pub(crate) fn start(node: SocketAddr, variables: &[(&str, &str)]) -> Self {
        Self::start_from(None, node, variables)
    }

    /// The same with a file.
    pub(crate) fn start_from(
        file: Option<&Path>,
        node: SocketAddr,
        variables: &[(&str, &str)],
    ) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gateway-under-test"))
            .arg("serve")
            .args(file.iter().flat_map(|file| [Path::new("--config"), *file]))
            .env_clear()
            .env("GATEWAY_LISTEN", "127.0.0.1:0")
            .env("GATEWAY_UPSTREAM_BASE", format!("http://{node}"))
            .env("GATEWAY_HEALTH_INTERVAL_MS", "0")
            .env("ARCHIPEL_LOG_FORMAT", "json")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = log.find_map(|line| {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            line.get("address")?.as_str()?.parse().ok()
        });
        // Nobody reads the rest, and it must not wait for that.
        thread::spawn(move || log.for_each(drop));
        Self {
            address: address.unwrap(),
            child,
        }
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .unwrap()
            .count()
    }

    /// Waits until there are no more than so many.
    pub(crate) async fn until_descriptors(&self, most: usize) {
        until("the end of connections", async || {
            (self.descriptors() <= most).then_some(())
        })
        .await;
    }

    /// Resident memory in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.unwrap().trim().trim_end_matches(" kB");
        number.parse().unwrap()
    }

    /// Asks it to look at its configuration again.
    pub(crate) fn hang_up(&self) {
        self.signal("-HUP");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Asks it to end, and waits until it has ended well.
    pub(crate) async fn end(mut self) {
        self.signal("-TERM");
        let status = until("the end of a gateway", async || {
            self.child.try_wait().unwrap()
        });
        assert!(status.await.success());
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
