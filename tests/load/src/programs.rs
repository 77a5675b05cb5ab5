//! The programs that are measured: ours and their peers, built in the benchmark's own profile.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::progress;

/// Below our own target folder: a workspace of their own has versions and features of its own.
const PEERS_TARGET: &str = "load-peers";

/// Where the programs are.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) node: PathBuf,
    pub(crate) gateway: PathBuf,
    pub(crate) sdk_echo: PathBuf,
    pub(crate) upstream: PathBuf,
    /// Absent when it is not installed.
    pub(crate) nginx: Option<PathBuf>,
}

impl Programs {
    /// Finds the programs, after building what is not up to date unless they are to be taken as they are; cargo shows its
    /// progress.
    pub(crate) fn provide(build: bool) -> anyhow::Result<Self> {
        let own = env::current_exe().context("the benchmark does not know where it is")?;
        let folder = own.parent().context("the benchmark is in no folder")?;
        let profile = folder
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let target = folder
            .parent()
            .context("the benchmark is in no target folder")?;
        if profile == "debug" {
            bail!(
                "a debug build says nothing about speed: cargo run --release -p archipel-tests --bin load"
            );
        }
        if build {
            build_all(profile, target)?;
        }
        let peers = target.join(PEERS_TARGET).join(profile);
        Ok(Self {
            node: folder.join("archipel"),
            gateway: folder.join("archipel-gateway"),
            sdk_echo: peers.join("sdk-echo"),
            upstream: peers.join("upstream"),
            nginx: installed("nginx"),
        })
    }
}

fn build_all(profile: &str, target: &Path) -> anyhow::Result<()> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    progress("building the node and the gateway, then their peers");
    // The benchmark is among them: the selection decides the features, and with the same ones nothing is compiled twice.
    let ours = [
        "-p",
        "archipel-tests",
        "-p",
        "archipel-node",
        "-p",
        "archipel-gateway",
        "--bins",
    ];
    cargo_build(tests.parent().unwrap_or(tests), profile, target, &ours)?;
    cargo_build(
        &tests.join("load/peers"),
        profile,
        &target.join(PEERS_TARGET),
        &["--bins"],
    )
}

fn cargo_build(
    workspace: &Path,
    profile: &str,
    target: &Path,
    selection: &[&str],
) -> anyhow::Result<()> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(workspace)
        .args(["build", "--locked", "--profile", profile, "--target-dir"])
        .arg(target);
    command
        .args(selection)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    // What `cargo run` tells about this package would confuse the build scripts of others.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
    let status = command.status().context("cargo cannot be started")?;
    if !status.success() {
        bail!(
            "cargo could not build {} ({status}); its messages stand above",
            workspace.display()
        );
    }
    Ok(())
}

/// Finds a program of the system. Debian keeps servers in a folder that is not in everybody's path.
fn installed(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}
