//! A whole node in this process: its own thread with its own actix system, as `archipel serve` has it.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use archipel_kit::clock::{Clock, SystemClock};
use archipel_node::app::App;
use archipel_node::config::{ConfigSource, NodeSettings};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::client::Client;
use super::config::{NodeConfig, TOKEN};
use super::wait::DEADLINE;

/// A node that serves. Stopping or dropping it ends it gracefully, and fails the test when one of its parts had died.
pub struct TestNode {
    origin: String,
    running: Option<Running>,
    home: Option<StoppedNode>,
}

/// What a node leaves behind, to look at or to start again.
pub struct StoppedNode {
    /// Deleted when this is dropped.
    directory: TempDir,
    config: Box<NodeConfig>,
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl TestNode {
    /// Starts a node in a fresh directory.
    pub fn start(config: impl FnOnce(&mut NodeConfig)) -> Self {
        StoppedNode::fresh(config).start()
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        self.origin.trim_start_matches("http://")
    }

    /// The operator as a client.
    pub fn client(&self) -> Client {
        Client::new(&self.origin).with_bearer(TOKEN)
    }

    /// Somebody without any credential.
    pub fn stranger(&self) -> Client {
        Client::new(&self.origin)
    }

    /// What the node was told.
    pub fn config(&self) -> &NodeConfig {
        &self.home.as_ref().expect("only stopping takes it").config
    }

    /// Stops the node gracefully.
    pub async fn stop(mut self) -> StoppedNode {
        let running = self.running.take().expect("only stopping takes it");
        let home = self.home.take().expect("only stopping takes it");
        // On a thread of its own, so that clients of this test can read what the node says while it stops.
        let ended = tokio::task::spawn_blocking(move || running.end()).await;
        ended.unwrap().expect("the node ends well");
        home
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        let ended = running.end();
        if !thread::panicking() {
            ended.expect("the node ends well");
        }
    }
}

impl StoppedNode {
    /// A node that has never run.
    pub fn fresh(config: impl FnOnce(&mut NodeConfig)) -> Self {
        let directory = TempDir::with_prefix("archipel-test-").unwrap();
        let mut told = NodeConfig::new(directory.path());
        config(&mut told);
        Self {
            directory,
            config: Box::new(told),
        }
    }

    /// What the node was told, and will be told again.
    pub fn config(&mut self) -> &mut NodeConfig {
        &mut self.config
    }

    /// Where its files are.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Starts it, with everything that it kept.
    pub fn start(self) -> TestNode {
        match self.try_start() {
            Ok(node) => node,
            Err((_, error)) => panic!("the node does not start: {error}"),
        }
    }

    /// As [`Self::start`]; gives itself back with the reason when the node does not start.
    pub fn try_start(self) -> Result<TestNode, (Self, String)> {
        let (settings, source) = self.config.settings();
        let clock = clock(self.config.now_ms());
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || serve((settings, source, clock), &tell, stopped));
        match told
            .recv_timeout(DEADLINE)
            .expect("a node starts or says why not")
        {
            Ok(origin) => Ok(TestNode {
                origin,
                running: Some(Running { stop, thread }),
                home: Some(self),
            }),
            Err(error) => Err((self, error)),
        }
    }
}

impl Running {
    fn end(self) -> io::Result<()> {
        // A node that ended by itself no longer listens; how it ended is what counts.
        let _gone = self.stop.send(());
        self.thread
            .join()
            .expect("the node's thread does not panic")
    }
}

/// The machine's clock, or one that begins at another moment.
fn clock(begins_at_ms: Option<u64>) -> Arc<dyn Clock> {
    let clock = SystemClock::new();
    match begins_at_ms {
        Some(begins_at_ms) => Arc::new(LaterClock {
            clock,
            begins_at_ms,
        }),
        None => Arc::new(clock),
    }
}

/// A clock that goes like the machine's, from another moment on.
#[derive(Debug)]
struct LaterClock {
    clock: SystemClock,
    begins_at_ms: u64,
}

impl Clock for LaterClock {
    fn now_ms(&self) -> u64 {
        self.begins_at_ms + u64::try_from(self.clock.monotonic().as_millis()).unwrap()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}

fn serve(
    (settings, source, clock): (NodeSettings, ConfigSource, Arc<dyn Clock>),
    tell: &mpsc::Sender<Result<String, String>>,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    actix_rt::System::new().block_on(async move {
        let app = match App::build_with(settings, source, clock).await {
            Ok(app) => app,
            Err(error) => {
                tell.send(Err(error.to_string())).unwrap();
                return Ok(());
            }
        };
        tell.send(Ok(format!("http://{}", app.address()))).unwrap();
        let handle = app.handle();
        let running = app.run();
        tokio::pin!(running);
        tokio::select! {
            ended = &mut running => return ended,
            _ = stopped => {}
        }
        let ((), ended) = tokio::join!(handle.stop(), running);
        ended
    })
}
