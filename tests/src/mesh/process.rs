//! A node as a process of its own: to be killed, signalled, and asked for its exit code.

use std::path::Path;
use std::process::{ExitStatus, Stdio};

use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use super::client::Client;
use super::config::{NodeConfig, TOKEN, free_port};
use super::wait::{until, within};

/// A running node. Dropping it kills it.
pub struct NodeProcess {
    program: &'static str,
    child: Child,
    origin: String,
    /// Deleted when this is dropped.
    directory: TempDir,
    config: NodeConfig,
}

/// What a program said, and how it ended.
#[derive(Debug)]
pub struct Output {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl NodeProcess {
    /// Starts a node in a fresh directory, on a port of its own, and waits until it is ready.
    pub async fn start(program: &'static str, config: impl FnOnce(&mut NodeConfig)) -> Self {
        let directory = TempDir::with_prefix("archipel-test-").unwrap();
        let mut told = NodeConfig::new(directory.path());
        told.add(&format!("listen = \"127.0.0.1:{}\"", free_port()));
        config(&mut told);
        let mut node = Self {
            program,
            child: spawn(program, &told),
            origin: format!("http://{}", told.listen()),
            directory,
            config: told,
        };
        node.until_ready().await;
        node
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The operator as a client.
    pub fn client(&self) -> Client {
        Client::new(&self.origin).with_bearer(TOKEN)
    }

    /// What the node was told.
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Ends it without any warning, as a crash does.
    pub async fn kill(&mut self) {
        self.child.start_kill().unwrap();
        let status = self.ended().await;
        assert_eq!(status.code(), None, "it was killed: {status}");
    }

    /// Starts it again, with everything that it kept.
    pub async fn restart(&mut self) {
        self.child = spawn(self.program, &self.config);
        self.until_ready().await;
    }

    /// Asks it to end.
    pub async fn terminate(&self) {
        self.signal("-TERM").await;
    }

    /// Asks it to look at its files again.
    pub async fn hang_up(&self) {
        self.signal("-HUP").await;
    }

    async fn signal(&self, signal: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let status = Command::new("kill").args([signal, &id]).status().await;
        assert!(status.unwrap().success(), "the signal was sent");
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        within("the end of a node", self.child.wait())
            .await
            .unwrap()
    }

    async fn until_ready(&mut self) {
        let client = Client::new(&self.origin);
        let address = self.origin.trim_start_matches("http://").to_owned();
        until("a node that listens", async || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the node ended before it was ready: {status}");
            }
            tokio::net::TcpStream::connect(&address).await.ok()
        })
        .await;
        // What it needs may be slow to come back, too.
        until("a node that is ready", async || {
            let ready = client.get("/readyz").await;
            (ready.status == 200).then_some(())
        })
        .await;
    }
}

/// Runs a program to its end, in a directory, with these variables as its whole environment.
pub async fn run(
    program: &str,
    directory: &Path,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    let (mut said, mut told) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reading = async {
        let read = tokio::join!(
            said.read_to_string(&mut out),
            told.read_to_string(&mut err),
            child.wait()
        );
        read.2.unwrap()
    };
    let status = within("the end of a program", reading).await;
    Output {
        code: status.code(),
        out,
        err,
    }
}

fn spawn(program: &str, config: &NodeConfig) -> Child {
    Command::new(program)
        .arg("serve")
        .arg("--config")
        .arg(config.write())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}
