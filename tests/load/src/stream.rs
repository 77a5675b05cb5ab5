//! How soon a client sees what an agent writes: directly, through the agent's node, through a peer of that node, and
//! through a gateway before the peer.
//!
//! The agent (`agent`) runs in this process and writes the time into each event, so both ends read one clock. Everything
//! that is measured runs as a process of its own, as it would elsewhere.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use archipel_kit::clock::{Clock, SystemClock};
use archipel_protocol::federation::keys;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{HttpClient, client, request};
use crate::process::{Server, free_address};
use crate::programs::Programs;
use crate::progress;
use crate::rows::{TOKEN, serve};

mod agent;

/// Events in one stream; the first ones of streams are shown apart.
const EVENTS: u64 = 10;

/// What was seen on one way.
#[derive(Debug)]
pub(crate) struct Delays {
    pub(crate) way: &'static str,
    /// From writing to seeing, in microseconds; of every event.
    pub(crate) every_us: Vec<u32>,
    /// The same, of the first event of each stream.
    pub(crate) first_us: Vec<u32>,
}

/// Where a client can ask for the agent.
struct Way {
    name: &'static str,
    url: String,
}

struct Node {
    address: SocketAddr,
    seed: [u8; 32],
}

/// Sends at least `events` events over each way.
pub(crate) async fn measure(
    programs: &Programs,
    events: u64,
    clock: SystemClock,
) -> anyhow::Result<Vec<Delays>> {
    let agent = agent::start(EVENTS, clock)?;
    let folder = TempDir::new()?;
    let (alpha, beta, gateway) = (Node::new()?, Node::new()?, free_address()?);
    let peers = [
        (&beta, &alpha, "beta", agents(agent)),
        (&alpha, &beta, "alpha", String::new()),
    ];
    let mut servers = Vec::new();
    for (node, peer, name, rest) in peers {
        let config = node.config(peer, &folder.path().join(name), &rest)?;
        let command = serve(&programs.node, folder.path(), name, &config)?;
        servers.push(Server::start(name, command, node.address, folder.path()).await?);
    }
    servers.push(start_gateway(programs, gateway, alpha.address, folder.path()).await?);
    let ways = [
        Way {
            name: "agent",
            url: format!("http://{agent}/"),
        },
        Way {
            name: "its node",
            url: format!("http://{}/agents/paced", beta.address),
        },
        Way {
            name: "a peer and its node",
            url: format!("http://{}/peers/beta/agents/paced", alpha.address),
        },
        Way {
            name: "gateway, a peer and its node",
            url: format!("http://{gateway}/peers/beta/agents/paced"),
        },
    ];
    let client = client();
    let mut seen = Vec::new();
    for way in ways {
        seen.push(
            listen(&client, &way, events, clock)
                .await
                .with_context(|| format!("streaming from {}", way.url))?,
        );
        for server in &mut servers {
            server.check_alive()?;
        }
    }
    Ok(seen)
}

async fn listen(
    client: &HttpClient,
    way: &Way,
    events: u64,
    clock: SystemClock,
) -> anyhow::Result<Delays> {
    let mut delays = Delays {
        way: way.name,
        every_us: Vec::new(),
        first_us: Vec::new(),
    };
    // The first stream opens connections and is not counted.
    stream(client, &way.url, clock).await?;
    for _ in 0..events.div_ceil(EVENTS) {
        let of_stream = stream(client, &way.url, clock).await?;
        delays.first_us.extend(of_stream.first());
        delays.every_us.extend(of_stream);
    }
    progress(&format!(
        "stream   {}: {} events",
        way.name,
        delays.every_us.len()
    ));
    Ok(delays)
}

/// One stream to its end: how late each event was seen.
async fn stream(client: &HttpClient, url: &str, clock: SystemClock) -> anyhow::Result<Vec<u32>> {
    let message = json!({"messageId": uuid::Uuid::new_v4(), "role": "ROLE_USER", "parts": [{"text": "begin"}]});
    let request = request(url, "SendStreamingMessage", &json!({"message": message}))?;
    let mut answer = client.request(request).await?;
    let (mut received, mut delays, mut is_complete) = (Vec::new(), Vec::new(), false);
    while let Some(frame) = answer.frame().await {
        let seen = clock.monotonic();
        received.extend_from_slice(&frame?.into_data().unwrap_or_default());
        while let Some(end) = received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = received.drain(..=end).collect();
            let Some(event) = line.strip_prefix(b"data:") else {
                continue;
            };
            let event: Value = serde_json::from_slice(event)?;
            if let Some(written) = written(&event)? {
                delays.push(u32::try_from(seen.saturating_sub(written).as_micros())?);
            }
            is_complete |= event.pointer("/result/statusUpdate/status/state")
                == Some(&"TASK_STATE_COMPLETED".into());
        }
    }
    ensure!(
        is_complete && delays.len() as u64 == EVENTS,
        "a wrong answer, status {}, {} events, complete: {is_complete}: {}",
        answer.status(),
        delays.len(),
        received.escape_ascii()
    );
    Ok(delays)
}

/// When the agent wrote the event, if it is one of those that say so.
fn written(event: &Value) -> anyhow::Result<Option<Duration>> {
    if event.get("error").is_some() {
        bail!("an error instead of an event: {event}");
    }
    let text = event
        .pointer("/result/artifactUpdate/artifact/parts/0/text")
        .and_then(Value::as_str);
    Ok(text.map(str::parse).transpose()?.map(Duration::from_nanos))
}

impl Node {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            address: free_address()?,
            seed: rand::random(),
        })
    }

    fn config(&self, peer: &Self, data: &Path, rest: &str) -> anyhow::Result<String> {
        let data = data
            .to_str()
            .context("the name of the temporary folder is no UTF-8")?;
        Ok(format!(
            "listen = \"{}\"\ndata_dir = '{data}'\ninternal_token = \"{TOKEN}\"\n\n\
             [federation]\nenabled = true\nalgorithm = \"Ed25519\"\ned25519_seed = \"{}\"\nrate_limit = 100000\n\n\
             [[peers]]\nname = \"{}\"\norigin = \"http://{}\"\ned25519_public_key = \"{}\"\n{rest}",
            self.address,
            hex::encode(self.seed),
            if rest.is_empty() { "beta" } else { "alpha" },
            peer.address,
            keys::to_hex(&keys::public_key_of_seed(&peer.seed)?),
        ))
    }
}

fn agents(agent: SocketAddr) -> String {
    format!("\n[[agents]]\nid = \"paced\"\nkind = \"a2a\"\nurl = \"http://{agent}/\"\n")
}

async fn start_gateway(
    programs: &Programs,
    address: SocketAddr,
    behind: SocketAddr,
    folder: &Path,
) -> anyhow::Result<Server> {
    let config = format!("listen = \"{address}\"\nupstream = \"http://{behind}\"\n");
    let command = serve(&programs.gateway, folder, "gateway", &config)?;
    Server::start("gateway", command, address, folder).await
}
