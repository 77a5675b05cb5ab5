//! An official SDK on this machine: installed once, then asked to play agents and clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use archipel_tests::mesh::TOKEN;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// A download through a slow line, or a whole run of a client, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(600);

/// An SDK and the scripts for it.
pub(crate) struct Sdk {
    /// What runs a script.
    interpreter: PathBuf,
    folder: PathBuf,
    /// `py` or `mjs`.
    extension: &'static str,
}

/// An agent that is running. Dropping it ends it.
pub(crate) struct Agent {
    pub(crate) url: String,
    _process: Child,
}

impl Sdk {
    /// `a2a-sdk`, in an environment of its own.
    pub(crate) async fn python() -> Self {
        let folder = copied("python");
        let interpreter = folder.join("venv/bin/python");
        if is_new(&folder, "requirements.txt") {
            let make = ["-m", "venv", "--clear", "venv"];
            done(
                "python3 (package python3-venv)",
                Command::new("python3").args(make),
                &folder,
            )
            .await;
            let install = [
                "-m",
                "pip",
                "install",
                "--quiet",
                "--require-hashes",
                "-r",
                "requirements.txt",
            ];
            done("pip", Command::new(&interpreter).args(install), &folder).await;
            installed(&folder, "requirements.txt");
        }
        Self {
            interpreter,
            folder,
            extension: "py",
        }
    }

    /// `@a2a-js/sdk`.
    pub(crate) async fn javascript() -> Self {
        let folder = copied("javascript");
        if is_new(&folder, "package-lock.json") {
            let install = [
                "ci",
                "--silent",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
            ];
            done("npm", Command::new("npm").args(install), &folder).await;
            installed(&folder, "package-lock.json");
        }
        Self {
            interpreter: "node".into(),
            folder,
            extension: "mjs",
        }
    }

    /// Starts an agent that is reached in one way.
    pub(crate) async fn agent(&self, binding: &str, version: &str) -> Agent {
        let mut process = self
            .script("agent")
            .args([binding, version])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the interpreter is there, or installing would have failed");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = timeout(PATIENCE, lines.next_line()).await;
        let port = port.expect("an agent starts in time").unwrap();
        let port = port.expect("an agent tells its port");
        Agent {
            url: format!("http://127.0.0.1:{port}"),
            _process: process,
        }
    }

    /// Lets a client do everything with the agents at these URLs.
    ///
    /// # Errors
    /// What it said, if something was not as it must be.
    pub(crate) async fn client(&self, urls: &[String]) -> Result<(), String> {
        let output = output("a client", self.script("client").arg(TOKEN).args(urls)).await;
        if output.status.success() {
            return Ok(());
        }
        Err(said(&output))
    }

    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.interpreter);
        command
            .arg(self.folder.join(format!("{name}.{}", self.extension)))
            .current_dir(&self.folder)
            .kill_on_drop(true);
        command
    }
}

/// The files for an SDK, in a folder where it can be installed.
fn copied(name: &str) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("conformance")
        .join(name);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("conformance")
        .join(name);
    fs::create_dir_all(&folder).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    folder
}

/// Whether what is pinned was not installed yet.
fn is_new(folder: &Path, pins: &str) -> bool {
    let wanted = fs::read(folder.join(pins)).unwrap();
    fs::read(folder.join("installed")).ok() != Some(wanted)
}

fn installed(folder: &Path, pins: &str) {
    fs::copy(folder.join(pins), folder.join("installed")).unwrap();
}

async fn done(what: &str, command: &mut Command, folder: &Path) {
    let output = output(what, command.current_dir(folder)).await;
    assert!(output.status.success(), "{what} failed:\n{}", said(&output));
}

async fn output(what: &str, command: &mut Command) -> Output {
    let output = timeout(PATIENCE, command.kill_on_drop(true).output()).await;
    let output = output.unwrap_or_else(|_| panic!("{what} took longer than {PATIENCE:?}"));
    output.unwrap_or_else(|error| panic!("{what} cannot be run: {error}"))
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}
