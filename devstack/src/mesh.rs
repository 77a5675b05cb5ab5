//! The mesh itself: who has which address and which keys, the files that say so, and the processes.
//!
//! Processes are started beta first, so that each finds what it calls, and stopped the other way round.

mod configuration;
mod site;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::future::{pending, select_all};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::arguments::Arguments;
use crate::binaries::Binaries;
use crate::child::Child;
use crate::http::{Credential, Http};
pub(crate) use crate::mesh::site::{Node, Site, secret};

/// A node starts in well under a second; this is for a machine that does something else at the same time.
const START_LIMIT: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(10);

/// The processes that run, and the folder where they keep what they know.
pub(crate) struct Mesh {
    // Dropped in this order: the processes are gone before their files are.
    children: Vec<Child>,
    folder: PathBuf,
    _temporary: Option<TempDir>,
    http: Http,
}

impl Mesh {
    /// A mesh without processes, in the given folder or in one that goes when the mesh goes.
    pub(crate) fn new(folder: Option<&Path>) -> anyhow::Result<Self> {
        let (folder, temporary) = if let Some(folder) = folder {
            private_folder(folder)?;
            (fs::canonicalize(folder)?, None)
        } else {
            let temporary = tempfile::Builder::new()
                .prefix("archipel-")
                .tempdir()
                .context("no temporary folder")?;
            (temporary.path().to_path_buf(), Some(temporary))
        };
        Ok(Self {
            children: Vec::new(),
            folder,
            _temporary: temporary,
            http: Http::new(),
        })
    }

    /// Gives everybody an address and keys, and writes it all down.
    pub(crate) fn pair(&mut self, arguments: &Arguments) -> anyhow::Result<(String, Site)> {
        let site = Site::new(arguments, &self.folder)?;
        for (node, peer) in [(&site.alpha, &site.beta), (&site.beta, &site.alpha)] {
            private_folder(&self.data_of(node.name))?;
            let text = configuration::node(&site, node, peer, &self.data_of(node.name))?;
            self.write(&format!("{}.toml", node.name), &text)?;
        }
        self.write("gateway.toml", &configuration::gateway(&site))?;
        self.write("client.headers", &configuration::client_headers(&site))?;
        let detail = format!(
            "Ed25519 keys: alpha {}…, beta {}…",
            short(&site.alpha.public_key_hex),
            short(&site.beta.public_key_hex)
        );
        Ok((detail, site))
    }

    pub(crate) async fn start_beta(
        &mut self,
        binaries: &Binaries,
        site: &Site,
    ) -> anyhow::Result<(String, ())> {
        self.start("beta", &binaries.node, site.beta.origin.as_str())
            .await
    }

    pub(crate) async fn start_alpha(
        &mut self,
        binaries: &Binaries,
        site: &Site,
    ) -> anyhow::Result<(String, ())> {
        self.start("alpha", &binaries.node, site.alpha.origin.as_str())
            .await
    }

    pub(crate) async fn start_gateway(
        &mut self,
        binaries: &Binaries,
        site: &Site,
    ) -> anyhow::Result<(String, ())> {
        self.start("gateway", &binaries.gateway, site.gateway.as_str())
            .await
    }

    /// Fails with the obituary of a process that has died.
    pub(crate) async fn all_running(&mut self) -> anyhow::Result<(String, ())> {
        for child in &mut self.children {
            if let Some(obituary) = child.obituary().await {
                bail!(obituary);
            }
        }
        Ok((format!("{} still running", self.children.len()), ()))
    }

    /// Returns when a process dies, with its obituary.
    pub(crate) async fn death(&mut self) -> String {
        if self.children.is_empty() {
            return pending().await;
        }
        select_all(
            self.children
                .iter_mut()
                .map(|child| Box::pin(child.death())),
        )
        .await
        .0
    }

    /// Stops every process, the last one first.
    pub(crate) async fn stop(&mut self) {
        while let Some(mut child) = self.children.pop() {
            child.stop().await;
        }
    }

    async fn start(
        &mut self,
        name: &'static str,
        program: &Path,
        origin: &str,
    ) -> anyhow::Result<(String, ())> {
        let config = self.folder.join(format!("{name}.toml"));
        let mut child = Child::start(name, program, &config)?;
        let ready = timeout(START_LIMIT, until_ready(&self.http, &mut child, origin)).await;
        // Kept whether it is ready or not, so that it is stopped like the others.
        self.children.push(child);
        ready
            .with_context(|| format!("{name} is not ready after {} s", START_LIMIT.as_secs()))??;
        Ok((origin.to_owned(), ()))
    }

    fn data_of(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file that only its owner may read: all of them hold secrets.
    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.folder.join(name);
        // A file of an earlier run would keep its own mode.
        let _ = fs::remove_file(&path);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.with_context(|| format!("{} cannot be written", path.display()))
    }
}

async fn until_ready(http: &Http, child: &mut Child, origin: &str) -> anyhow::Result<()> {
    let url = format!("{origin}/readyz");
    loop {
        if let Some(obituary) = child.obituary().await {
            bail!(obituary);
        }
        match http.get(&url, Credential::None).await {
            Ok(answer) if answer.status.is_success() => return Ok(()),
            _ => sleep(READY_POLL).await,
        }
    }
}

fn private_folder(path: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("{} cannot be made", path.display()))
}

fn short(key: &str) -> &str {
    key.get(..8).unwrap_or(key)
}

#[cfg(test)]
mod tests;
