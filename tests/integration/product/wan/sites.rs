//! Two sites and the broker between them: every envelope that was accepted has one effect at the other site, whatever is
//! killed on the way.

use std::collections::BTreeMap;
use std::process::Stdio;

use archipel_tests::mesh::{Client, NodeConfig, NodeProcess, TestNode, until};
use archipel_tests::services::NatsServer;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::ingress::INGRESS;
use crate::NODE;

const PUBLISH: &str = "/api/mesh/wan/publish";
const SECRET: &str = "secret-of-the-bridge-0123456789abcdef";

fn site(config: &mut NodeConfig, nats: &NatsServer) {
    config.add(&format!("nats.url = \"{}\"", nats.url()));
}

fn envelope(correlation_id: &str, from: &str, to: Option<&str>) -> Value {
    let mut envelope = json!({
        "v": 1,
        "correlationId": correlation_id,
        "sourceOrigin": from,
        "payload": {"about": correlation_id},
    });
    if let Some(to) = to {
        envelope["targetOrigin"] = to.into();
    }
    envelope
}

async fn publish(client: &Client, envelope: &Value) -> Value {
    let answer = client.post(PUBLISH, envelope.to_string()).await;
    assert_eq!(answer.status, 202, "{answer}");
    answer.json()
}

async fn status(client: &Client) -> Value {
    client.get("/api/mesh/wan").await.json()
}

/// Until nothing waits on either side of a site.
async fn until_idle(client: &Client) {
    until("nothing to wait", async || {
        let status = status(client).await;
        let idle = |side: &str| status[side]["waiting"] == 0 && status[side]["inHand"] == 0;
        (idle("inbox") && idle("outbox")).then_some(())
    })
    .await;
}

/// What a node says of a counter, by all of its labels.
async fn counter(client: &Client, name: &str) -> BTreeMap<String, u64> {
    let text = client.get("/metrics").await.text().to_owned();
    let lines = text.lines().filter_map(|line| {
        let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
        Some((labels.to_owned(), value.parse().ok()?))
    });
    lines.collect()
}

async fn taken(client: &Client, outcome: &str) -> u64 {
    let all = counter(client, "archipel_wan_envelopes_total").await;
    let is_it = |labels: &&String| {
        labels.contains("side=\"in\"") && labels.contains(&format!("outcome=\"{outcome}\""))
    };
    let found = all.keys().find(is_it).and_then(|labels| all.get(labels));
    found.copied().unwrap_or(0)
}

async fn until_taken(client: &Client, count: u64) {
    until("the envelopes to be taken", async || {
        (taken(client, "first").await == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_envelope_goes_to_the_site_that_it_is_for() {
    let nats = NatsServer::start().unwrap();
    let alpha = TestNode::start(|config| site(config, &nats));
    let beta = TestNode::start(|config| site(config, &nats));
    let mut watched = beta
        .client()
        .rest_stream(
            http::Method::GET,
            "/api/events?type=mesh.wan.envelope",
            None,
        )
        .await;
    let (from, to) = (alpha.origin(), beta.origin());
    let sent = envelope("corr-0001", from, Some(to));
    let told = publish(&alpha.client(), &sent).await;
    assert_eq!(
        told,
        json!({"accepted": true, "correlationId": "corr-0001"})
    );
    let event = watched.event().await;
    assert_eq!(event["payload"], sent, "{event}");
    // Handed in again it is known; brought by another door too.
    let again = publish(&alpha.client(), &sent).await;
    assert_eq!(again["duplicate"], true);
    let brought = beta.client().post(INGRESS, sent.to_string()).await;
    assert_eq!(brought.json()["duplicate"], true, "{brought}");
    // One for nobody in particular is taken by both, one for alpha by alpha alone.
    publish(&beta.client(), &envelope("corr-0002", to, None)).await;
    publish(&beta.client(), &envelope("corr-0003", to, Some(from))).await;
    until_taken(&alpha.client(), 2).await;
    until_taken(&beta.client(), 2).await;
    assert_eq!(watched.event().await["correlationId"], "corr-0002");
    until_idle(&alpha.client()).await;
    until_idle(&beta.client()).await;
    assert_eq!(taken(&beta.client(), "first").await, 2);
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_when_broker_and_nodes_are_killed() {
    let mut nats = NatsServer::start().unwrap();
    let mut alpha = NodeProcess::start(NODE, |config| site(config, &nats)).await;
    let mut beta = NodeProcess::start(NODE, |config| site(config, &nats)).await;
    let (from, to) = (alpha.origin().to_owned(), beta.origin().to_owned());
    let send = async |client: &Client, numbers: std::ops::Range<u32>| {
        for number in numbers {
            let id = format!("corr-{number:04}");
            publish(client, &envelope(&id, &from, Some(&to))).await;
        }
    };
    send(&alpha.client(), 0..20).await;
    until_taken(&beta.client(), 20).await;
    // Without the broker they are kept, also by a node that is killed then.
    nats.kill().unwrap();
    send(&alpha.client(), 20..40).await;
    let waiting = status(&alpha.client()).await;
    assert_eq!(waiting["outbox"]["waiting"], 20, "{waiting}");
    alpha.kill().await;
    beta.kill().await;
    nats.restart().unwrap();
    alpha.restart().await;
    send(&alpha.client(), 40..60).await;
    until_idle(&alpha.client()).await;
    beta.restart().await;
    // A new process counts from nothing.
    until_taken(&beta.client(), 40).await;
    for number in 0..60 {
        let body = envelope(&format!("corr-{number:04}"), &from, Some(&to)).to_string();
        let known = beta.client().post(INGRESS, body).await;
        assert_eq!(known.json()["duplicate"], true, "{number}: {known}");
    }
}

#[tokio::test]
async fn poison_lies_among_the_dead_with_its_reason_and_bytes() {
    let nats = NatsServer::start().unwrap();
    let node = NodeProcess::start(NODE, |config| site(config, &nats)).await;
    // So that stream and consumer are there.
    let own = envelope("corr-0001", node.origin(), Some(node.origin()));
    publish(&node.client(), &own).await;
    until_taken(&node.client(), 1).await;
    for poison in ["{oops", r#"{"v":2,"correlationId":"corr-0002"}"#] {
        say_to_broker(&nats, poison).await;
    }
    let dead = until("the poison among the dead", async || {
        let list = dlq(&node, &["list"]).await;
        let dead = list["dead"].as_array().unwrap().clone();
        (dead.len() == 2).then_some(dead)
    })
    .await;
    assert_eq!(dead[0]["reason"], "not JSON", "{dead:?}");
    let id = dead[0]["id"].as_str().unwrap();
    let shown = dlq(&node, &["show", id]).await;
    assert_eq!(shown["body"], "{oops", "{shown}");
    // Tried again it dies again, under another number; then nobody needs it.
    assert_eq!(dlq(&node, &["retry", id]).await["retried"], true);
    let again = until("it to be dead again", async || {
        let list = dlq(&node, &["list"]).await;
        let dead = list["dead"].as_array().unwrap();
        let other = dead.iter().find(|dead| dead["reason"] == "not JSON")?;
        Some(other["id"].as_str().unwrap().to_owned())
    })
    .await;
    assert_ne!(again, id);
    assert_eq!(dlq(&node, &["drop", &again]).await["dropped"], true);
    assert_eq!(
        dlq(&node, &["list"]).await["dead"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // What came behind the poison was not held up.
    publish(
        &node.client(),
        &envelope("corr-0003", node.origin(), Some(node.origin())),
    )
    .await;
    until_taken(&node.client(), 2).await;
}

/// Publishes something as any program may that speaks to the broker.
async fn say_to_broker(nats: &NatsServer, text: &str) {
    let mut broker = TcpStream::connect(("127.0.0.1", nats.port()))
        .await
        .unwrap();
    let length = text.len();
    let said = format!(
        "CONNECT {{\"verbose\":false}}\r\nPUB hive.mesh.wan {length}\r\n{text}\r\nPING\r\n"
    );
    broker.write_all(said.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(broker).lines();
    while lines.next_line().await.unwrap().unwrap() != "PONG" {}
}

/// `archipel wan dlq .. --json` as somebody runs it beside the node's configuration.
async fn dlq(node: &NodeProcess, arguments: &[&str]) -> Value {
    let output = Command::new(NODE)
        .args(["wan", "dlq", "--json", "--config"])
        .arg(node.config().write())
        .args(arguments)
        .env_clear()
        .stderr(Stdio::inherit())
        .output()
        .await
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn whoever_speaks_to_the_bridge_speaks_to_us() {
    let nats = NatsServer::start().unwrap();
    let node = TestNode::start(|config| {
        site(config, &nats);
        config.add(&format!(
            "[wan]\nbridge_secret = \"{SECRET}\"\npublish_limit = 3\nmax_envelope = \"1KiB\""
        ));
    });
    let body = envelope("corr-0001", "https://a.example", None).to_string();
    let bridge = node
        .stranger()
        .with("authorization", &format!("Bearer {SECRET}"));
    let check = async |client: &Client, body: &str, status: u16, told: Value| {
        let answer = client.post("/v1/publish", body.to_owned()).await;
        assert_eq!((answer.status, answer.json()), (status, told), "{body}");
    };
    let unauthorized = json!({"error": "unauthorized"});
    check(&node.stranger(), &body, 401, unauthorized.clone()).await;
    // The bridge is that strict.
    let lower = node
        .stranger()
        .with("authorization", &format!("bearer {SECRET}"));
    check(&lower, &body, 401, unauthorized).await;
    let large = envelope(
        &"c".repeat(200),
        &format!("https://{}", "a".repeat(900)),
        None,
    );
    let too_large = json!({"error": "payload_too_large"});
    check(&bridge, &large.to_string(), 413, too_large).await;
    check(&bridge, "{", 400, json!({"error": "invalid_json"})).await;
    let accepted = json!({"accepted": true, "correlationId": "corr-0001"});
    check(&bridge, &body, 202, accepted).await;
    check(&bridge, &body, 429, json!({"error": "rate_limited"})).await;
    // The secret opens nothing else.
    bridge
        .get("/api/mesh/wan")
        .await
        .assert_gate(401, "Invalid API token");
    let health = node.stranger().get("/v1/health").await.json();
    assert_eq!(health["role"], "hive-mesh-transport-bridge", "{health}");
}

#[tokio::test]
async fn without_a_line_nothing_is_taken_to_be_sent() {
    let node = TestNode::start(|_| {});
    let body = envelope("corr-0001", node.origin(), None).to_string();
    let refused = node.client().post(PUBLISH, body).await;
    assert_eq!(refused.status, 503, "{refused}");
    let told = json!({"error": "nats_unavailable", "correlationId": "corr-0001"});
    assert_eq!(refused.json(), told);
}
