//! The programs of the mesh: built beside the runner, in its own profile, or taken from a folder.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::process::Command;

use crate::arguments::Arguments;

/// Where the programs are.
#[derive(Debug)]
pub(crate) struct Binaries {
    pub(crate) node: PathBuf,
    pub(crate) gateway: PathBuf,
}

/// Finds the programs, after building what is not up to date.
pub(crate) async fn provide(arguments: &Arguments) -> anyhow::Result<(String, Binaries)> {
    if let Some(folder) = &arguments.bin_dir {
        return found(folder, "as given with --bin-dir");
    }
    let runner = env::current_exe().context("the runner does not know where it is")?;
    let folder = runner.parent().context("the runner is in no folder")?;
    if arguments.no_build {
        return found(folder, "as they are");
    }
    let manifest = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    match workspace([manifest.as_deref(), Some(folder)]) {
        Some(root) => {
            build(&root, folder).await?;
            found(folder, "up to date")
        }
        None => found(folder, "as they are: no sources here to build from"),
    }
}

fn found(folder: &Path, how: &str) -> anyhow::Result<(String, Binaries)> {
    let binaries = Binaries {
        node: folder.join("archipel"),
        gateway: folder.join("archipel-gateway"),
    };
    for path in [&binaries.node, &binaries.gateway] {
        if !path.is_file() {
            bail!(
                "{} is missing: run without --no-build and --bin-dir, or build it with \
                 `cargo build --release -p archipel-node -p archipel-gateway --bins`",
                path.display()
            );
        }
    }
    Ok((format!("{}, {how}", folder.display()), binaries))
}

/// The folder of the workspace that holds one of the starting points.
fn workspace<'a>(starts: impl IntoIterator<Item = Option<&'a Path>>) -> Option<PathBuf> {
    let folders = starts.into_iter().flatten().flat_map(Path::ancestors);
    let is_root = |folder: &&Path| {
        folder.join("Cargo.lock").is_file() && folder.join("devstack/Cargo.toml").is_file()
    };
    folders.into_iter().find(is_root).map(Path::to_path_buf)
}

/// Lets cargo build into the runner's own folder, its progress shown on standard error.
async fn build(root: &Path, folder: &Path) -> anyhow::Result<()> {
    let (Some(profile), Some(target)) = (
        folder.file_name().and_then(|name| name.to_str()),
        folder.parent(),
    ) else {
        bail!(
            "{} is no folder that cargo builds into: use --bin-dir",
            folder.display()
        );
    };
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command
        .current_dir(root)
        .args(["build", "--locked", "--bins"]);
    // The runner is among them: the selection decides the features, and with the same ones nothing is compiled twice.
    command.args([
        "-p",
        "devstack",
        "-p",
        "archipel-node",
        "-p",
        "archipel-gateway",
    ]);
    command
        .arg("--profile")
        .arg(if profile == "debug" { "dev" } else { profile })
        .arg("--target-dir")
        .arg(target);
    for (name, _) in env::vars_os().filter(|(name, _)| is_of_our_package(name)) {
        command.env_remove(name);
    }
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await;
    let status = status.context("cargo cannot be started: install Rust, or use --bin-dir")?;
    if !status.success() {
        bail!(
            "cargo could not build the node and the gateway ({status}); its messages stand above"
        );
    }
    Ok(())
}

/// What `cargo run` tells the runner about its package would confuse the build scripts of others.
fn is_of_our_package(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::{found, workspace};

    #[test]
    fn a_missing_binary_is_named() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("archipel"), "").unwrap();
        let error = found(folder.path(), "as they are")
            .err()
            .unwrap()
            .to_string();
        let gateway = folder.path().join("archipel-gateway");
        assert!(
            error.starts_with(&format!("{} is missing", gateway.display())),
            "{error}"
        );
        fs::write(&gateway, "").unwrap();
        assert!(found(folder.path(), "as they are").is_ok());
    }

    #[test]
    fn the_workspace_is_found_from_below() {
        let root = TempDir::new().unwrap();
        let below = root.path().join("target/debug");
        fs::create_dir_all(&below).unwrap();
        assert_eq!(workspace([None, Some(below.as_path())]), None);
        fs::create_dir_all(root.path().join("devstack")).unwrap();
        fs::write(root.path().join("devstack/Cargo.toml"), "").unwrap();
        fs::write(root.path().join("Cargo.lock"), "").unwrap();
        assert_eq!(
            workspace([None, Some(below.as_path())]).as_deref(),
            Some(root.path())
        );
    }
}
