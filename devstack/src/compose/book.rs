//! The secrets of the mesh: made once, read at every later start.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::mesh::secret;

/// The file that holds all of them.
pub(super) const BOOK: &str = "mesh.json";

/// Every secret of the mesh.
#[derive(Serialize, Deserialize)]
pub(super) struct Book {
    pub(super) alpha: SiteBook,
    pub(super) beta: SiteBook,
    /// By which the nodes of alpha know their gateway.
    pub(super) gateway_secret: String,
    /// By which the broker of beta is let into that of alpha.
    pub(super) leaf_password: String,
}

/// The secrets of one site.
#[derive(Serialize, Deserialize)]
pub(super) struct SiteBook {
    /// Hexadecimal digits of the Ed25519 seed.
    pub(super) seed: String,
    pub(super) internal_token: String,
    pub(super) bus_secret: String,
    pub(super) redis_password: String,
    pub(super) nats_password: String,
}

impl Book {
    /// The book of this folder, made if there is none.
    pub(super) fn of(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(BOOK);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("{} is damaged; delete it to begin anew", path.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let book = Self::new();
                book.keep(&path)?;
                Ok(book)
            }
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
        }
    }

    /// The book of a folder that was prepared.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(BOOK);
        let text = fs::read(&path).with_context(|| {
            format!(
                "{} cannot be read: start the mesh first (docker compose -f devstack/compose.yaml up --build), or name \
                 its folder with --secrets",
                path.display()
            )
        })?;
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    fn new() -> Self {
        Self {
            alpha: SiteBook::new(),
            beta: SiteBook::new(),
            gateway_secret: secret(),
            leaf_password: secret(),
        }
    }

    fn keep(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .and_then(|mut file| file.write_all(&text));
        written.with_context(|| format!("{} cannot be written", path.display()))
    }
}

impl SiteBook {
    fn new() -> Self {
        Self {
            seed: secret(),
            internal_token: secret(),
            bus_secret: secret(),
            redis_password: secret(),
            nats_password: secret(),
        }
    }

    pub(super) fn seed(&self) -> anyhow::Result<[u8; 32]> {
        let mut seed = [0; 32];
        hex::decode_to_slice(&self.seed, &mut seed).context("the seed is damaged")?;
        Ok(seed)
    }
}
