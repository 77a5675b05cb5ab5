//! The bus as people watch it, and as the processes of a site hear each other over Redis or NATS.

use std::process::Stdio;

use archipel_kit::clock::{Clock, SystemClock};
use archipel_protocol::envelope::{
    AgentLifecycle, BusSecret, Event, MeshMeta, SystemEvent, SystemPayload, Timestamp, seal,
};
use archipel_protocol::ids::Text;
use archipel_protocol::names::Dialect;
use archipel_tests::mesh::{NodeProcess, TestNode, until};
use archipel_tests::services::{NatsServer, RedisServer};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use uuid::Uuid;

use crate::NODE;

pub(crate) const SECRET: &str = "secret-of-the-bus-0123456789-abcdef";
pub(crate) const CHANNEL: &str = "hive:system:events";

/// A message of so many seconds ago, sealed for a channel with a secret.
pub(crate) fn message(seconds_ago: i64, channel: &str, secret: Option<&str>) -> String {
    written(seconds_ago, channel, secret, "echo").1
}

/// A message about an agent, and its id.
fn written(seconds_ago: i64, channel: &str, secret: Option<&str>, agent: &str) -> (String, String) {
    let now_ms = i64::try_from(SystemClock::new().now_ms()).unwrap();
    let event = Event::System(SystemEvent {
        payload: SystemPayload::Agent {
            change: AgentLifecycle::Started,
            agent_id: Text::parse(agent).unwrap(),
            name: Text::parse("Echo").unwrap(),
        },
        timestamp: Timestamp::from_unix_ms(now_ms - seconds_ago * 1000).unwrap(),
    });
    let id = Uuid::new_v4();
    let meta = MeshMeta {
        event_id: id.into(),
        correlation_id: None,
    };
    let secret = secret.map(|secret| BusSecret::new(secret).unwrap());
    let wire = seal(&event, channel, &meta, secret.as_ref(), Dialect::Hive);
    (id.to_string(), wire)
}

/// `archipel bus tail --json` as somebody runs it beside the node's configuration.
struct Tail {
    _program: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Tail {
    fn start(node: &NodeProcess, arguments: &[&str]) -> Self {
        let config = node.config().write();
        let mut program = Command::new(NODE)
            .args(["bus", "tail", "--json", "--config"])
            .arg(config)
            .args(arguments)
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(program.stdout.take().unwrap()).lines();
        Self {
            _program: program,
            lines,
        }
    }

    async fn next(&mut self) -> Value {
        let line = tokio::time::timeout(std::time::Duration::from_secs(60), self.lines.next_line());
        let line = line.await.unwrap().unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

/// Publishes events about agents by way of a node.
async fn publish(node: &NodeProcess, agent: &str) -> String {
    let (id, wire) = written(0, CHANNEL, Some(SECRET), agent);
    let path = format!("/api/mesh/bus/{CHANNEL}");
    let answer = node.client().post(&path, wire).await;
    assert_eq!(answer.status, 202, "{answer}");
    id
}

/// Publishes until the watcher has shown one: what came before it watched it is not told.
async fn until_shown(node: &NodeProcess, tail: &mut Tail) -> Value {
    until("a watcher that is told", async || {
        publish(node, "echo").await;
        let soon = std::time::Duration::from_millis(200);
        tokio::time::timeout(soon, tail.next()).await.ok()
    })
    .await
}

#[tokio::test]
async fn what_happens_on_one_replica_is_shown_by_another() {
    let redis = RedisServer::start().unwrap();
    hear_each_other(&format!("redis.url = \"{}\"", redis.url())).await;
}

#[tokio::test]
async fn processes_hear_each_other_over_nats() {
    let nats = NatsServer::start().unwrap();
    let url = nats.url();
    hear_each_other(&format!(
        "nats.url = \"{url}\"\nbus.nats_subject = \"site\""
    ))
    .await;
}

async fn hear_each_other(over: &str) {
    let start = async || {
        NodeProcess::start(NODE, |config| {
            config.add(&format!("{over}\nbus.secret = \"{SECRET}\""));
        })
        .await
    };
    let (one, other) = (start().await, start().await);
    let mut tail = Tail::start(&other, &[]);
    let shown = until_shown(&one, &mut tail).await;
    assert_eq!(shown["type"], "agent.started", "{shown}");
    assert_eq!(shown["payload"]["agentId"], "echo", "{shown}");
    assert_eq!(shown["signed"], true, "{shown}");
    // Not a second time, whichever replica it is brought to.
    let (_, wire) = written(0, CHANNEL, Some(SECRET), "echo");
    let path = format!("/api/mesh/bus/{CHANNEL}");
    assert_eq!(one.client().post(&path, wire.clone()).await.status, 202);
    until("the other replica to have heard it", async || {
        let answer = other.client().post(&path, wire.clone()).await;
        (answer.status == 403).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_node_does_without_nats_and_says_so() {
    let mut nats = NatsServer::start().unwrap();
    let url = nats.url();
    let node = NodeProcess::start(NODE, |config| {
        config.add(&format!("nats.url = \"{url}\"\nbus.secret = \"{SECRET}\""));
    })
    .await;
    let client = node.client();
    let away = async |expected: Value| {
        until("nats to be seen as it is", async || {
            let ready = client.get("/readyz").await;
            assert_eq!(ready.status, 200, "{ready}");
            (ready.json()["away"] == expected).then_some(())
        })
        .await;
    };
    away(json!([])).await;
    nats.kill().unwrap();
    away(json!(["nats"])).await;
    let health = client.get("/api/system/health").await;
    assert_eq!(
        (health.status, &health.json()["status"]),
        (200, &json!("degraded"))
    );
    let (_, wire) = written(0, CHANNEL, Some(SECRET), "echo");
    let told = client.post(&format!("/api/mesh/bus/{CHANNEL}"), wire).await;
    assert_eq!(told.status, 503, "{told}");
    nats.restart().unwrap();
    away(json!([])).await;
    until("the bus to carry again", async || {
        let (_, wire) = written(0, CHANNEL, Some(SECRET), "echo");
        let told = client.post(&format!("/api/mesh/bus/{CHANNEL}"), wire).await;
        (told.status == 202).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_watcher_chooses_and_comes_back() {
    let node = NodeProcess::start(NODE, |config| {
        config.add(&format!("bus.secret = \"{SECRET}\""));
    })
    .await;
    let mut tail = Tail::start(&node, &[]);
    let seen = until_shown(&node, &mut tail).await;
    let first = publish(&node, "echo").await;
    let second = publish(&node, "text").await;
    // What came behind the last event that was seen; those that it was woken with may be among it.
    let seen = seen["eventId"].as_str().unwrap().to_owned();
    let mut again = Tail::start(&node, &["--after", &seen]);
    let mut shown = Vec::new();
    while shown.last() != Some(&second) {
        shown.push(again.next().await["eventId"].as_str().unwrap().to_owned());
    }
    assert!(shown.ends_with(&[first, second.clone()]), "{shown:?}");
    assert!(!shown.contains(&seen), "{shown:?}");
    let chosen = ["--after", &seen, "--type", "agent.*", "--agent", "text"];
    assert_eq!(Tail::start(&node, &chosen).next().await["eventId"], second);
}

#[tokio::test]
async fn the_bus_is_watched_by_operators_only() {
    let node = TestNode::start(|_| {});
    let refused = node.stranger().get("/api/events").await;
    refused.assert_gate(401, "Unauthorized");
    let refused = node.client().get("/api/events?kind=agent").await;
    refused.assert_gate(400, "Bad Request");
}
