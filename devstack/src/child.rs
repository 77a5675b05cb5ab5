//! One process of the mesh: started, watched, its last lines kept, and gone when the runner is.

use std::collections::VecDeque;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child as Process, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Lines of a process that are kept to explain its death.
const KEPT_LINES: usize = 12;
/// Within this a process that was asked to end has ended; a node drains its streams meanwhile.
const STOP_LIMIT: Duration = Duration::from_secs(8);
/// Variables that a process needs; any other could change its configuration behind the runner's back.
const PASSED_ON: &[&str] = &[
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    "RUST_BACKTRACE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// A running process. Dropping it, in a panic too, kills it.
pub(crate) struct Child {
    pub(crate) name: &'static str,
    process: Process,
    lines: Lines,
    /// Until its end was awaited.
    reader: Option<JoinHandle<()>>,
}

/// The last lines that were written; bounded by [`KEPT_LINES`].
type Lines = Arc<Mutex<VecDeque<String>>>;

impl Child {
    /// Starts `program serve --config FILE`.
    pub(crate) fn start(name: &'static str, program: &Path, config: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg(config);
        Self::spawn(name, command)
            .with_context(|| format!("{} cannot be started", program.display()))
    }

    fn spawn(name: &'static str, mut command: Command) -> anyhow::Result<Self> {
        command.env_clear();
        command.envs(
            PASSED_ON
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        );
        // In a group of its own Ctrl-C does not reach it: the runner ends its processes in their order.
        command.process_group(0).kill_on_drop(true);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = command.spawn()?;
        let stderr = process.stderr.take().context("it has no standard error")?;
        let lines = Lines::default();
        let reader = Some(tokio::spawn(keep_lines(stderr, Arc::clone(&lines))));
        Ok(Self {
            name,
            process,
            lines,
            reader,
        })
    }

    /// Why it is not running any more, with its last lines; None while it runs.
    pub(crate) async fn obituary(&mut self) -> Option<String> {
        let status = match self.process.try_wait() {
            Ok(None) => return None,
            Ok(Some(status)) => status.to_string(),
            Err(error) => error.to_string(),
        };
        Some(self.explain(&status).await)
    }

    /// Returns when it has died.
    pub(crate) async fn death(&mut self) -> String {
        let status = self
            .process
            .wait()
            .await
            .map_or_else(|error| error.to_string(), |status| status.to_string());
        self.explain(&status).await
    }

    /// Asks it to end, waits, and insists.
    pub(crate) async fn stop(&mut self) {
        if let Some(id) = self.process.id() {
            ask_to_end(id).await;
        }
        if !matches!(
            timeout(STOP_LIMIT, self.process.wait()).await,
            Ok(Ok(ExitStatus { .. }))
        ) {
            let _ = self.process.kill().await;
        }
    }

    async fn explain(&mut self, status: &str) -> String {
        // The pipe is at its end once the process is gone, unless somebody inherited it.
        if let Some(reader) = self.reader.take() {
            let _ = timeout(Duration::from_secs(1), reader).await;
        }
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        format!(
            "{} ended ({status}); its last lines:\n    {}",
            self.name,
            lines.join("\n    ")
        )
    }
}

async fn keep_lines(stream: impl AsyncRead + Unpin, lines: Lines) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while stream
        .read_until(b'\n', &mut line)
        .await
        .is_ok_and(|read| read > 0)
    {
        let mut kept = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
}

/// SIGTERM. The standard library sends only SIGKILL, which leaves no time to drain.
async fn ask_to_end(id: u32) {
    let script = format!("kill -TERM {id}");
    let _ = Command::new("/bin/sh")
        .arg("-c")
        .arg(script)
        .stderr(Stdio::null())
        .status()
        .await;
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::fs;

    use tempfile::TempDir;
    use tokio::process::Command;

    use super::Child;

    fn shell(script: &str) -> Child {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script);
        Child::spawn("node", command).unwrap()
    }

    #[tokio::test]
    async fn a_death_is_explained_by_the_last_lines() {
        let mut child = shell("for i in $(seq 20); do echo \"line $i\" >&2; done; exit 3");
        let death = child.death().await;
        assert!(death.starts_with("node ended (exit status: 3)"), "{death}");
        assert!(
            death.ends_with("line 20") && death.contains("line 9\n"),
            "{death}"
        );
        assert!(!death.contains("line 8\n"), "{death}");
        assert_eq!(child.obituary().await, Some(death));
    }

    #[tokio::test]
    async fn a_process_is_asked_to_end_and_its_environment_is_empty() {
        let folder = TempDir::new().unwrap();
        let mark = folder.path().join("mark");
        let mark_text = mark.display();
        let mut child = shell(&format!(
            "trap 'echo asked >> {mark_text}; exit 0' TERM; env > {mark_text}; echo begun >> {mark_text}; \
             while :; do :; done"
        ));
        while !fs::read_to_string(&mark).is_ok_and(|text| text.ends_with("begun\n")) {
            tokio::task::yield_now().await;
        }
        assert_eq!(child.obituary().await, None);
        child.stop().await;
        let text = fs::read_to_string(&mark).unwrap();
        assert!(
            text.ends_with("begun\nasked\n") && text.contains("PATH=") && !text.contains("CARGO"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = Child::start("node", "/nonexistent/archipel".as_ref(), "x.toml".as_ref())
            .err()
            .unwrap();
        assert_eq!(error.to_string(), "/nonexistent/archipel cannot be started");
    }
}
