//! Nothing acknowledged is lost: nodes as real processes, ended without warning, and stores that take no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use archipel_node::store::TaskStore;
use archipel_node::store::embedded::{Durability, EmbeddedSettings, EmbeddedStore};
use archipel_tests::mesh::{
    Client, FakeAgent, Identity, NodeProcess, Refusal, StoppedNode, TestNode, configured,
    free_port, id_of, reason_of, run, say, say_to, state_of, their_piece, their_question,
    their_status, their_task, until,
};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{ECHO, NODE, upstream_agent};

const PLAYED: &str = "/agents/played";
const JWT: &str = "x-hive-federation-jwt";

async fn read(client: &Client, path: &str, id: &str) -> Value {
    client.call(path, "GetTask", json!({"id": id})).await
}

/// Opens tasks until the node goes away; every task that was acknowledged.
async fn write_until_the_end(
    client: Client,
    writer: usize,
    acknowledged: Arc<AtomicUsize>,
) -> Vec<(String, String)> {
    let mut tasks = Vec::new();
    for number in 0.. {
        let text = format!("message {number} of writer {writer}");
        let Some(answer) = client.try_post_rpc(ECHO, "SendMessage", say(&text)).await else {
            break;
        };
        tasks.push((id_of(&answer.result()), text));
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    tasks
}

#[tokio::test]
async fn every_task_that_was_acknowledged_survives_the_death_of_the_node() {
    let mut node = NodeProcess::start(NODE, |_| {}).await;
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..64)
        .map(|writer| {
            tokio::spawn(write_until_the_end(
                node.client(),
                writer,
                Arc::clone(&acknowledged),
            ))
        })
        .collect();
    until("some hundred tasks", async || {
        (acknowledged.load(Ordering::Relaxed) >= 500).then_some(())
    })
    .await;
    node.kill().await;
    // All of them have noticed before it comes back, or some would go on.
    let written = join_all(writers).await;
    node.restart().await;
    let client = node.client();
    let mut found = 0;
    for (id, text) in written.into_iter().flat_map(Result::unwrap) {
        let task = read(&client, ECHO, &id).await;
        assert_eq!(state_of(&task), "TASK_STATE_COMPLETED");
        assert_eq!(
            task["artifacts"][0]["parts"][0]["text"],
            format!("Echo: {text}")
        );
        found += 1;
    }
    assert!(found >= 500);
}

/// A stream of a task at whose agent the node is killed: what its watcher has seen, and the task.
struct Interrupted {
    node: NodeProcess,
    id: String,
    /// The artifact's parts that were seen.
    seen: Vec<Value>,
    /// The last event that was seen.
    last: u64,
}

/// The agent tells 200 pieces; the node dies when half of them were seen.
async fn interrupted(agent: &mut FakeAgent) -> Interrupted {
    let mut node = NodeProcess::start(NODE, |config| {
        config.add(&upstream_agent("played", agent.origin()))
    })
    .await;
    let mut stream = node
        .client()
        .stream(PLAYED, "SendStreamingMessage", say("begin"))
        .await;
    let id = id_of(&stream.event().await);
    let theirs = agent.call().await.stream();
    for number in 0..200 {
        theirs.tell(their_piece(&number.to_string()));
    }
    let mut seen = Vec::new();
    while seen.len() < 100 {
        let event = stream.event().await;
        seen.extend(parts_in(&event["artifactUpdate"]));
    }
    let last = stream.last_id.unwrap();
    node.kill().await;
    Interrupted {
        node,
        id,
        seen,
        last,
    }
}

fn parts_in(update: &Value) -> Vec<Value> {
    let parts = update["artifact"]["parts"].as_array();
    parts.cloned().unwrap_or_default()
}

fn numbers(count: usize) -> Vec<Value> {
    (0..count)
        .map(|number| json!({"text": number.to_string()}))
        .collect()
}

/// The agent's task with this many parts made.
fn their_work(state: &str, parts: usize) -> Value {
    let mut task = their_task(state);
    task["task"]["artifacts"] = json!([{"artifactId": "made", "parts": numbers(parts)}]);
    task
}

#[tokio::test]
async fn a_task_whose_agent_goes_on_does_so_and_nothing_is_told_twice() {
    let mut agent = FakeAgent::start();
    let mut left = interrupted(&mut agent).await;
    left.node.restart().await;
    // Nobody has asked for the task: the node itself takes it up.
    let call = agent.call().await;
    assert_eq!(call.method(), "SubscribeToTask");
    assert_eq!(call.params()["id"], "theirs");
    let client = left.node.client();
    let returned = client.with("last-event-id", &left.last.to_string());
    let mut watcher = returned
        .stream(PLAYED, "SubscribeToTask", json!({"id": left.id}))
        .await;
    let theirs = call.stream();
    theirs.tell(their_work("TASK_STATE_WORKING", 201));
    theirs.tell(their_piece("201"));
    theirs.tell(their_status("TASK_STATE_COMPLETED"));
    let rest = watcher.events().await;
    assert_eq!(state_of(rest.last().unwrap()), "TASK_STATE_COMPLETED");
    let told = rest
        .iter()
        .flat_map(|event| parts_in(&event["artifactUpdate"]));
    let told: Vec<Value> = left.seen.iter().cloned().chain(told).collect();
    assert_eq!(told, numbers(202), "each part once, none lost");
    let task = read(&client, PLAYED, &left.id).await;
    assert_eq!(task["artifacts"].as_array().unwrap().len(), 1);
    assert_eq!(task["artifacts"][0]["parts"], json!(numbers(202)));
}

#[tokio::test]
async fn a_task_that_ended_meanwhile_ends_the_same_way() {
    let mut agent = FakeAgent::start();
    let mut left = interrupted(&mut agent).await;
    left.node.restart().await;
    // An agent does not let a task be watched that has ended (A2A 1.0 §3.1.6).
    agent.call().await.refuse(-32004);
    let call = agent.call().await;
    assert_eq!(call.method(), "GetTask");
    let mut task = their_work("TASK_STATE_COMPLETED", 200);
    call.answer(task["task"].take());
    let client = left.node.client();
    let task = until("the task's end", async || {
        let task = read(&client, PLAYED, &left.id).await;
        (state_of(&task) != "TASK_STATE_WORKING").then_some(task)
    })
    .await;
    assert_eq!(state_of(&task), "TASK_STATE_COMPLETED");
    assert_eq!(task["artifacts"][0]["parts"], json!(numbers(200)));
}

#[tokio::test]
async fn a_task_that_its_agent_forgot_fails_and_keeps_what_was_seen() {
    let mut agent = FakeAgent::start();
    let mut left = interrupted(&mut agent).await;
    left.node.restart().await;
    agent.call().await.refuse(-32001);
    agent.call().await.refuse(-32001);
    let client = left.node.client();
    let task = until("the task's end", async || {
        let task = read(&client, PLAYED, &left.id).await;
        (state_of(&task) != "TASK_STATE_WORKING").then_some(task)
    })
    .await;
    assert_eq!(state_of(&task), "TASK_STATE_FAILED");
    assert!(reason_of(&task).contains("went away"), "{task}");
    let parts = task["artifacts"][0]["parts"].as_array().unwrap();
    assert!(parts.len() >= left.seen.len());
    assert_eq!(*parts, numbers(parts.len()));
}

#[tokio::test]
async fn a_task_whose_agent_cannot_go_on_fails_with_a_reason() {
    let mut agent = FakeAgent::start();
    let mut node = NodeProcess::start(NODE, |config| {
        config.add(&upstream_agent("played", agent.origin()))
    })
    .await;
    let params = configured(say("begin"), json!({"returnImmediately": true}));
    let task = node.client().call(PLAYED, "SendMessage", params).await;
    // It has not said what it calls the task.
    let _held = agent.call().await;
    node.kill().await;
    node.restart().await;
    let failed = read(&node.client(), PLAYED, &id_of(&task)).await;
    assert_eq!(state_of(&failed), "TASK_STATE_FAILED");
    assert!(reason_of(&failed).contains("was interrupted"), "{failed}");
}

#[tokio::test]
async fn a_further_message_that_was_acknowledged_survives_too() {
    let mut agent = FakeAgent::start();
    let mut node = NodeProcess::start(NODE, |config| {
        config.add(&upstream_agent("played", agent.origin()))
    })
    .await;
    let client = node.client();
    let first = tokio::spawn(async move { client.call(PLAYED, "SendMessage", say("begin")).await });
    agent
        .call()
        .await
        .stream()
        .tell(their_question("which one?"));
    let id = id_of(&first.await.unwrap());
    let params = configured(say_to(&id, "that one"), json!({"returnImmediately": true}));
    let acknowledged = node.client().call(PLAYED, "SendMessage", params).await;
    assert_eq!(acknowledged["task"]["history"].as_array().unwrap().len(), 3);
    let _held = agent.call().await;
    node.kill().await;
    node.restart().await;
    // It never got the message, and still asks.
    agent
        .call()
        .await
        .stream()
        .tell(their_question("which one?"));
    let client = node.client();
    let task = until("the question", async || {
        let task = read(&client, PLAYED, &id).await;
        (state_of(&task) != "TASK_STATE_WORKING").then_some(task)
    })
    .await;
    assert_eq!(state_of(&task), "TASK_STATE_INPUT_REQUIRED");
    assert_eq!(task["history"], acknowledged["task"]["history"]);
}

#[tokio::test]
async fn a_task_that_waits_for_its_client_goes_on_waiting() {
    let mut agent = FakeAgent::start();
    let mut node = NodeProcess::start(NODE, |config| {
        config.add(&upstream_agent("played", agent.origin()))
    })
    .await;
    let client = node.client();
    let first = tokio::spawn(async move { client.call(PLAYED, "SendMessage", say("begin")).await });
    agent
        .call()
        .await
        .stream()
        .tell(their_question("which one?"));
    let asked = first.await.unwrap()["task"].take();
    node.kill().await;
    node.restart().await;
    assert_eq!(read(&node.client(), PLAYED, &id_of(&asked)).await, asked);
}

#[tokio::test]
async fn a_token_that_was_used_stays_used() {
    let (own, peer) = (Identity::of_new_node(), Identity::of_new_node());
    let mut node = NodeProcess::start(NODE, |config| {
        own.configure(config);
        peer.configure_as_peer(config, "gamma");
    })
    .await;
    let token = peer.token_for(node.origin());
    let present = async |node: &NodeProcess, token: &str| {
        Client::new(node.origin())
            .with(JWT, token)
            .post_rpc(ECHO, "SendMessage", say("hello"))
            .await
    };
    present(&node, &token).await.result();
    node.kill().await;
    node.restart().await;
    let again = present(&node, &token).await;
    again.assert_gate(401, "Unauthorized");
    assert_eq!(
        again.json()["message"],
        "the federation token was already used"
    );
    present(&node, &peer.token_for(node.origin()))
        .await
        .result();
}

/// How many tasks a node that has stopped keeps.
async fn kept_by(node: &mut StoppedNode) -> u64 {
    let settings = EmbeddedSettings {
        directory: node.config().data_dir(),
        durability: Durability::Process,
        max_bytes: None,
    };
    let store = EmbeddedStore::open(&settings).unwrap();
    let count = store.count().await.unwrap();
    store.close().await;
    count
}

#[tokio::test]
async fn a_full_store_takes_nothing_and_says_so() {
    let node = TestNode::start(|config| config.add("max_store_size = \"1MiB\""));
    let client = node.client();
    let mut tasks = Vec::new();
    // From large to small, until not even a small one fits.
    for size in [100_000, 10_000, 1000, 10] {
        let refused = loop {
            assert!(tasks.len() < 10_000, "a store of 1 MiB is never full");
            let answer = client
                .post_rpc(ECHO, "SendMessage", say(&"x".repeat(size)))
                .await;
            if answer.status != 200 {
                break answer;
            }
            tasks.push(answer.result()["task"].take());
        };
        assert_eq!(refused.refusal(), Refusal::new(503, -32000, "UNAVAILABLE"));
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
    // A stream is refused before it begins.
    let refused = client
        .post_rpc(ECHO, "SendStreamingMessage", say(&"x".repeat(100_000)))
        .await;
    assert_eq!(refused.refusal(), Refusal::new(503, -32000, "UNAVAILABLE"));
    // What was acknowledged is there, and nothing else.
    assert!(tasks.len() > 2);
    for task in &tasks {
        assert_eq!(read(&client, ECHO, &id_of(task)).await, *task);
    }
    let mut stopped = node.stop().await;
    assert_eq!(kept_by(&mut stopped).await, tasks.len() as u64);
    stopped.config().remove("max_store_size");
    let node = stopped.start();
    node.client()
        .call(ECHO, "SendMessage", say("there is room again"))
        .await;
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_used_is_named() {
    // Nobody, root included, can make a directory there.
    let node = StoppedNode::fresh(|config| config.add("data_dir = \"/proc/archipel\""));
    let Err((_, error)) = node.try_start() else {
        panic!("it started")
    };
    assert!(error.contains("/proc/archipel"), "{error}");
    let node = StoppedNode::fresh(|_| {});
    let file = node.directory().join("data");
    std::fs::write(&file, "a file").unwrap();
    let Err((_, error)) = node.try_start() else {
        panic!("it started")
    };
    assert!(error.contains(file.to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn a_data_directory_belongs_to_one_process() {
    let node = NodeProcess::start(NODE, |_| {}).await;
    let listen = format!("127.0.0.1:{}", free_port());
    let config = node.config().write();
    let arguments = ["serve", "--config", config.to_str().unwrap()];
    let second = run(
        NODE,
        node.directory(),
        &arguments,
        &[("ARCHIPEL_LISTEN", &listen)],
    )
    .await;
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(
        second.err.contains("in use by another process"),
        "{second:?}"
    );
    let data = node.config().data_dir();
    assert_eq!(
        second.err.matches(data.to_str().unwrap()).count(),
        1,
        "said once: {second:?}"
    );
    node.client()
        .call(ECHO, "SendMessage", say("the first goes on"))
        .await;
}

#[tokio::test]
async fn in_memory_nothing_is_kept_and_nothing_is_written() {
    let node = TestNode::start(|config| config.add("store = \"memory\""));
    let id = id_of(&node.client().call(ECHO, "SendMessage", say("hello")).await);
    assert_eq!(
        state_of(&read(&node.client(), ECHO, &id).await),
        "TASK_STATE_COMPLETED"
    );
    assert!(!node.config().data_dir().exists());
    let node = node.stop().await.start();
    let refusal = node
        .client()
        .refused(ECHO, "GetTask", json!({"id": id}))
        .await;
    assert_eq!(refusal, Refusal::new(200, -32001, "TASK_NOT_FOUND"));
}
