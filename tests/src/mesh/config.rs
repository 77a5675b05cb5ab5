//! What a node under test is told: TOML in the words of an operator, put together from pieces.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use archipel_kit::settings::Environment;
use archipel_node::config::{ConfigSource, NodeSettings};
use toml::{Table, Value};

/// The operator's token of every node under test.
pub const TOKEN: &str = "operator-token-of-the-tests-0123456789";

/// Says what the nodes of a test log, for example `debug`; otherwise they are silent.
const LOG_VARIABLE: &str = "ARCHIPEL_TEST_LOG";

/// The configuration of one node: two workers, an echo agent, and whatever a test adds.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    table: Table,
    environment: Environment,
    now_ms: Option<u64>,
    directory: PathBuf,
}

impl NodeConfig {
    /// A configuration whose files are in `directory`.
    pub(super) fn new(directory: &Path) -> Self {
        let log = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| "off".to_owned());
        let data = directory.join("data");
        let mut config = Self {
            table: Table::new(),
            environment: Environment::default(),
            now_ms: None,
            directory: directory.to_owned(),
        };
        config.add(&format!(
            r#"
            listen = "127.0.0.1:0"
            data_dir = {data:?}
            workers = 2
            internal_token = "{TOKEN}"
            telemetry.log = "{log}"
            limits.drain_time = "2s"
            # Many tests present what is wrong, all from one address; that this is noticed is for `gates` to show.
            limits.failures = 0
            [[agents]]
            id = "echo"
            kind = "echo"
            "#
        ));
        config
    }

    /// Adds settings, as they would stand in a file: tables are merged, lists grow, anything else is replaced.
    pub fn add(&mut self, text: &str) {
        let added: Table = text.parse().expect("the test wrote well-formed TOML");
        merge(&mut self.table, added);
    }

    /// Sets variables of the environment, as a node in this process reads them.
    pub fn set_variables<'v>(&mut self, variables: impl IntoIterator<Item = (&'v str, &'v str)>) {
        self.environment = variables.into_iter().collect();
    }

    /// Has a node in this process begin at this moment, in milliseconds since 1970.
    pub fn begin_at(&mut self, now_ms: u64) {
        self.now_ms = Some(now_ms);
    }

    /// When the node begins, if not now.
    pub(super) fn now_ms(&self) -> Option<u64> {
        self.now_ms
    }

    /// Adds settings to a peer that is there.
    pub fn set_of_peer(&mut self, name: &str, text: &str) {
        let added: Table = text.parse().expect("the test wrote well-formed TOML");
        let peers = self.table["peers"].as_array_mut();
        let mut peers = peers.expect("peers are a list").iter_mut();
        let peer = peers.find(|peer| peer["name"].as_str() == Some(name));
        let peer = peer.and_then(Value::as_table_mut);
        merge(peer.expect("there is such a peer"), added);
    }

    /// Takes a setting away.
    pub fn remove(&mut self, key: &str) {
        self.table.remove(key);
    }

    /// Where the node listens.
    pub fn listen(&self) -> &str {
        self.table["listen"].as_str().expect("an address is a text")
    }

    /// Where the node keeps its data.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Writes the file that a node reads.
    pub fn write(&self) -> PathBuf {
        let path = self.directory.join("archipel.toml");
        std::fs::write(&path, self.table.to_string()).expect("the test's directory can be written");
        path
    }

    /// The settings, read exactly as a node reads them, without anything of this process's environment, and where they
    /// are read again.
    pub(super) fn settings(&self) -> (NodeSettings, ConfigSource) {
        let source = ConfigSource {
            file: Some(self.write()),
            environment: self.environment.clone(),
        };
        match source.load() {
            Ok(settings) => (settings, source),
            Err(problems) => panic!("the test's configuration has problems:\n{problems}"),
        }
    }
}

/// A port that nobody listens on, for what must know its address before it starts. The system hands these ports to
/// nobody else (they are below its range for outgoing connections), and no two tests of a process get the same one.
pub fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = own
            .wrapping_mul(131)
            .wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + step % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

fn merge(table: &mut Table, added: Table) {
    for (key, value) in added {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(known)), Value::Table(more)) => merge(known, more),
            (Some(Value::Array(known)), Value::Array(more)) if is_list_of_tables(&more) => {
                known.extend(more);
            }
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

fn is_list_of_tables(list: &[Value]) -> bool {
    !list.is_empty() && list.iter().all(Value::is_table)
}
