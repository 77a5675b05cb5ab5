//! Calls to agents of a peer: as if they were local, with nothing of the caller's passed on.
//!
//! Read on in `trouble` (what a peer can do wrong), `rights` (what a peer may do here) and `records` (what is written
//! down of it all).

use std::collections::BTreeSet;

use archipel_tests::mesh::{
    FakeAgent, Identity, Refusal, TOKEN, TestMesh, TestNode, free_port, id_of, say, state_of,
    their_piece, their_status, until,
};
use serde_json::{Value, json};

use crate::{ECHO, upstream_agent};

pub(crate) mod records;
mod rights;
mod trouble;

/// Where the echo agent of peer `beta` is called.
const THROUGH: &str = "/peers/beta/agents/echo";
const PLAYED: &str = "/peers/beta/agents/played";
/// Where a federation token stands.
const JWT: &str = "x-hive-federation-jwt";

/// A node whose peer `gamma` is at this origin.
fn node_with_peer(origin: &str, more: &str) -> TestNode {
    let (own, peer) = (Identity::of_new_node(), Identity::at(origin));
    TestNode::start(|config| {
        own.configure(config);
        peer.configure_as_peer(config, "gamma");
        config.add(more);
    })
}

#[tokio::test]
async fn an_agent_of_a_peer_is_called_like_one_of_ours() {
    let mesh = TestMesh::pair();
    let client = mesh.alpha.client();
    let task = client
        .call(THROUGH, "SendMessage", say("over the bridge"))
        .await["task"]
        .take();
    assert_eq!(state_of(&task), "TASK_STATE_COMPLETED");
    assert_eq!(
        task["artifacts"][0]["parts"][0]["text"],
        "Echo: over the bridge"
    );
    let id = id_of(&task);
    assert_eq!(
        client.call(THROUGH, "GetTask", json!({"id": id})).await,
        task
    );
    let refusal = client
        .refused(THROUGH, "CancelTask", json!({"id": id}))
        .await;
    assert_eq!(refusal, Refusal::new(200, -32002, "TASK_NOT_CANCELABLE"));
    // It is beta's task; alpha keeps nothing of it.
    let refusal = client.refused(ECHO, "GetTask", json!({"id": id})).await;
    assert_eq!(refusal, Refusal::new(200, -32001, "TASK_NOT_FOUND"));
    // Both ways.
    mesh.beta
        .client()
        .call("/peers/alpha/agents/echo/", "SendMessage", say("and back"))
        .await;
}

#[tokio::test]
async fn each_event_crosses_the_bridge_before_the_next_is_made() {
    let mut agent = FakeAgent::start();
    let mesh = TestMesh::pair_with(
        |_| {},
        |beta| beta.add(&upstream_agent("played", agent.origin())),
    );
    let mut stream = mesh
        .alpha
        .client()
        .stream(PLAYED, "SendStreamingMessage", say("begin"))
        .await;
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    let id = id_of(&stream.event().await);
    let theirs = agent.call().await.stream();
    for number in 0..10 {
        let said = number.to_string();
        theirs.tell(their_piece(&said));
        while stream
            .event()
            .await
            .pointer("/artifactUpdate/artifact/parts/0/text")
            != Some(&json!(said))
        {}
    }
    // A second watcher, also over the bridge.
    let mut watcher = mesh
        .alpha
        .client()
        .stream(PLAYED, "SubscribeToTask", json!({"id": id}))
        .await;
    assert_eq!(
        watcher.event().await["task"]["artifacts"][0]["parts"]
            .as_array()
            .unwrap()
            .len(),
        10
    );
    theirs.tell(their_status("TASK_STATE_COMPLETED"));
    let last = stream.events().await;
    assert_eq!(state_of(last.last().unwrap()), "TASK_STATE_COMPLETED");
    assert_eq!(watcher.events().await, last);
}

#[tokio::test]
async fn a_watcher_over_the_bridge_that_leaves_cancels_nothing() {
    let mut agent = FakeAgent::start();
    let mesh = TestMesh::pair_with(
        |_| {},
        |beta| beta.add(&upstream_agent("played", agent.origin())),
    );
    let mut stream = mesh
        .alpha
        .client()
        .stream(PLAYED, "SendStreamingMessage", say("begin"))
        .await;
    let id = id_of(&stream.event().await);
    let theirs = agent.call().await.stream();
    drop(stream);
    // Its leaving reaches beta, which then has no open stream.
    until("beta noticing that the watcher left", async || {
        let metrics = mesh.beta.client().get("/metrics").await;
        metrics
            .text()
            .contains("archipel_streams_open 0")
            .then_some(())
    })
    .await;
    let mut watcher = mesh
        .alpha
        .client()
        .stream(PLAYED, "SubscribeToTask", json!({"id": id}))
        .await;
    assert_eq!(state_of(&watcher.event().await), "TASK_STATE_WORKING");
    theirs.tell(their_status("TASK_STATE_COMPLETED"));
    assert_eq!(
        state_of(watcher.events().await.last().unwrap()),
        "TASK_STATE_COMPLETED"
    );
}

#[tokio::test]
async fn a_card_of_a_peers_agent_names_our_url() {
    let mesh = TestMesh::pair();
    let path = "/peers/beta/agents/echo/.well-known/agent-card.json";
    let answer = mesh.alpha.client().get(path).await;
    let card = answer.json();
    assert_eq!(card["name"], "echo");
    let urls: Vec<_> = card["supportedInterfaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["url"])
        .collect();
    assert!(!urls.is_empty());
    for url in urls {
        assert_eq!(url, &format!("{}{THROUGH}", mesh.alpha.origin()));
    }
    assert!(!answer.text().contains(mesh.beta.origin()), "{answer}");
    // It costs a call in our name, so not everybody may read it.
    mesh.alpha
        .stranger()
        .get(path)
        .await
        .assert_gate(401, "Unauthorized");
    let missing = mesh
        .alpha
        .client()
        .get("/peers/beta/agents/nobody/.well-known/agent-card.json")
        .await;
    assert_eq!(
        missing.refusal(),
        Refusal::under(404, -32000, "AGENT_NOT_FOUND", Value::Null)
    );
    let nowhere = mesh
        .alpha
        .client()
        .get("/peers/nobody/agents/echo/.well-known/agent-card.json")
        .await;
    assert_eq!(
        nowhere.refusal(),
        Refusal::under(404, -32000, "PEER_NOT_FOUND", Value::Null)
    );
}

#[tokio::test]
async fn nothing_of_the_callers_own_goes_to_a_peer() {
    let mut peer = FakeAgent::start_without_card();
    let node = node_with_peer(peer.origin(), "");
    let client = node
        .client()
        .with("cookie", "session=1")
        .with("x-api-key", "secret")
        .with("x-forwarded-for", "203.0.113.7")
        .with("x-request-id", "r-1")
        .with("a2a-extensions", "https://example.org/x");
    // Numbers and spaces as they are: what is passed on is what came.
    let body = r#"{"jsonrpc":"2.0", "id":"ü", "method":"SendMessage", "params":{"big":123456789012345678901234567890}}"#;
    let sent = tokio::spawn(async move { client.post("/peers/gamma/agents/echo", body).await });
    let call = peer.call().await;
    let names = call.header_names();
    for name in [
        "authorization",
        "cookie",
        "x-api-key",
        "x-forwarded-for",
        "forwarded",
    ] {
        assert!(!names.contains(&name), "{names:?}");
    }
    assert!(!format!("{call:?}").contains(TOKEN));
    assert_eq!(call.path, "/agents/echo");
    assert_eq!(call.header("x-request-id"), Some("r-1"));
    assert_eq!(call.header("a2a-extensions"), Some("https://example.org/x"));
    assert_eq!(call.header("a2a-version"), Some("1.0"));
    assert_eq!(call.header("user-agent"), Some("Hive-Mesh-Federation/2.5"));
    assert!(
        call.header(JWT)
            .is_some_and(|token| token.split('.').count() == 3)
    );
    call.answer_raw(
        200,
        "application/json",
        r#"{"jsonrpc":"2.0","id":"ü","result":{"task":1.50}}"#,
    );
    let answer = sent.await.unwrap();
    assert_eq!(
        answer.text(),
        r#"{"jsonrpc":"2.0","id":"ü","result":{"task":1.50}}"#
    );
}

#[tokio::test]
async fn each_call_has_a_token_of_its_own() {
    let mut peer = FakeAgent::start_without_card();
    let node = node_with_peer(peer.origin(), "");
    let mut tokens = BTreeSet::new();
    for _ in 0..4 {
        let client = node.client();
        let sent = tokio::spawn(async move {
            client
                .call("/peers/gamma/agents/echo", "SendMessage", say("hello"))
                .await
        });
        let call = peer.call().await;
        assert!(tokens.insert(call.header(JWT).unwrap().to_owned()));
        call.answer(json!({}));
        sent.await.unwrap();
    }
}

#[tokio::test]
async fn the_shared_secret_of_hive_lets_nodes_be_one_group() {
    const SHARED: &str = "secret-of-the-mesh-0123456789-abcdef";
    let ports = [free_port(), free_port()];
    let start = |own: usize, peer: usize, dialect: &str| {
        TestNode::start(|config| {
            config.add(&format!(
                r#"
                listen = "127.0.0.1:{}"
                dialect = "{dialect}"
                [federation]
                enabled = true
                algorithm = "HS256"
                shared_secret = "{SHARED}"
                [[peers]]
                name = "other"
                origin = "http://127.0.0.1:{}"
                "#,
                ports[own], ports[peer]
            ));
        })
    };
    // Of two dialects: each sends its token under both names.
    let (alpha, _beta) = (start(0, 1, "hive"), start(1, 0, "pilox"));
    let path = "/peers/other/agents/echo";
    let task = alpha.client().call(path, "SendMessage", say("hello")).await;
    assert_eq!(state_of(&task), "TASK_STATE_COMPLETED");
}
