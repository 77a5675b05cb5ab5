//! Streams: what watchers see, in which order, when a stream ends, and that no watcher is another's problem.

use archipel_tests::mesh::{
    EventStream, FakeAgent, RawConnection, Refusal, StreamItem, TestNode, configured, head_of_call,
    id_of, say, say_to, state_of, their_piece, their_question, their_status, their_task, until,
};
use serde_json::{Value, json};

use crate::{ECHO, upstream_agent};

const PLAYED: &str = "/agents/played";

fn node_with(agent: &FakeAgent, more: &str) -> TestNode {
    TestNode::start(|config| {
        config.add(&upstream_agent("played", agent.origin()));
        config.add(more);
    })
}

async fn subscribe(node: &TestNode, id: &str) -> EventStream {
    node.client()
        .stream(PLAYED, "SubscribeToTask", json!({"id": id}))
        .await
}

async fn cut_off(node: &TestNode) -> u32 {
    let metrics = node.client().get("/metrics").await;
    let line = metrics
        .text()
        .lines()
        .find_map(|line| line.strip_prefix("archipel_watchers_cut_total "));
    line.map_or(0, |count| count.parse().unwrap())
}

/// The text of an artifact's piece; empty for other events.
fn piece(event: &Value) -> &str {
    event
        .pointer("/artifactUpdate/artifact/parts/0/text")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

#[tokio::test]
async fn a_stream_begins_with_the_task_and_ends_with_its_end() {
    let node = TestNode::start(|_| {});
    let mut stream = node
        .client()
        .stream(ECHO, "SendStreamingMessage", say("hello"))
        .await;
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    assert_eq!(stream.headers["cache-control"], "no-cache");
    assert_eq!(stream.headers["a2a-version"], "1.0");
    let task = stream.event().await["task"].take();
    let id = id_of(&task);
    let events = stream.events().await;
    let last = events.last().unwrap();
    assert_eq!(state_of(last), "TASK_STATE_COMPLETED");
    for event in &events {
        let update = event
            .get("statusUpdate")
            .or(event.get("artifactUpdate"))
            .unwrap();
        assert_eq!(
            (&update["taskId"], &update["contextId"]),
            (&task["id"], &task["contextId"]),
            "{event}"
        );
        assert_eq!(event.as_object().unwrap().len(), 1, "{event}");
    }
    assert_eq!(
        events
            .iter()
            .filter(|event| piece(event) == "Echo: hello")
            .count(),
        1,
        "{events:?}"
    );
    let kept = node.client().call(ECHO, "GetTask", json!({"id": id})).await;
    assert_eq!(kept["status"], last["statusUpdate"]["status"]);
}

#[tokio::test]
async fn all_watchers_see_equal_events_in_equal_order() {
    let mut agent = FakeAgent::start();
    let node = node_with(&agent, "");
    let mut first = node
        .client()
        .stream(PLAYED, "SendStreamingMessage", say("begin"))
        .await;
    let id = id_of(&first.event().await);
    let theirs = agent.call().await.stream();
    theirs.tell(their_task("TASK_STATE_WORKING"));
    theirs.tell(their_piece("zero"));
    let mut before = Vec::new();
    while before.last().map(piece) != Some("zero") {
        before.push(first.event().await);
    }
    // Four more, some on the other worker: each begins with the task as it is, and repeats nothing of it.
    let mut others = Vec::new();
    for _ in 0..4 {
        let mut watcher = subscribe(&node, &id).await;
        let task = watcher.event().await["task"].take();
        assert_eq!(task["artifacts"][0]["parts"], json!([{"text": "zero"}]));
        assert_eq!(state_of(&task), "TASK_STATE_WORKING");
        others.push(watcher);
    }
    for number in 1..=100 {
        theirs.tell(their_piece(&number.to_string()));
    }
    theirs.tell(their_status("TASK_STATE_COMPLETED"));
    let seen = first.events().await;
    assert_eq!(seen.len(), 101);
    for (number, event) in (1..=100).zip(&seen) {
        assert_eq!(piece(event), number.to_string());
    }
    assert_eq!(state_of(seen.last().unwrap()), "TASK_STATE_COMPLETED");
    for mut watcher in others {
        assert_eq!(watcher.events().await, seen);
    }
    // What is kept is what was seen.
    let kept = node
        .client()
        .call(PLAYED, "GetTask", json!({"id": id}))
        .await;
    assert_eq!(kept["artifacts"][0]["parts"].as_array().unwrap().len(), 101);
}

#[tokio::test]
async fn each_event_is_seen_before_the_next_is_made() {
    let mut agent = FakeAgent::start();
    let node = node_with(&agent, "");
    let mut stream = node
        .client()
        .stream(PLAYED, "SendStreamingMessage", say("begin"))
        .await;
    let theirs = agent.call().await.stream();
    for number in 0..10 {
        let said = number.to_string();
        theirs.tell(their_piece(&said));
        while piece(&stream.event().await) != said {}
    }
    theirs.tell(their_status("TASK_STATE_COMPLETED"));
    assert_eq!(state_of(&stream.event().await), "TASK_STATE_COMPLETED");
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_sender_is_let_go_at_a_question_and_a_subscriber_stays() {
    let mut agent = FakeAgent::start();
    let node = node_with(&agent, "");
    let mut sender = node
        .client()
        .stream(PLAYED, "SendStreamingMessage", say("begin"))
        .await;
    let id = id_of(&sender.event().await);
    let mut watcher = subscribe(&node, &id).await;
    watcher.event().await;
    let theirs = agent.call().await.stream();
    theirs.tell(their_question("which one?"));
    let seen = sender.events().await;
    assert_eq!(state_of(seen.last().unwrap()), "TASK_STATE_INPUT_REQUIRED");

    let params = configured(say_to(&id, "that one"), json!({"returnImmediately": true}));
    let task = node.client().call(PLAYED, "SendMessage", params).await;
    assert_eq!(state_of(&task), "TASK_STATE_WORKING");
    agent
        .call()
        .await
        .stream()
        .tell(their_status("TASK_STATE_COMPLETED"));
    let seen = watcher.events().await;
    let states: Vec<_> = seen.iter().map(state_of).collect();
    let turns = [
        "TASK_STATE_INPUT_REQUIRED",
        "TASK_STATE_WORKING",
        "TASK_STATE_COMPLETED",
    ];
    assert!(states.ends_with(&turns), "{states:?}");
}

#[tokio::test]
async fn an_ended_task_has_no_stream() {
    let node = TestNode::start(|_| {});
    let id = id_of(&node.client().call(ECHO, "SendMessage", say("hello")).await);
    let refusal = node
        .client()
        .refused(ECHO, "SubscribeToTask", json!({"id": id}))
        .await;
    assert_eq!(refusal, Refusal::new(200, -32004, "UNSUPPORTED_OPERATION"));
}

#[tokio::test]
async fn a_watcher_that_leaves_cancels_nothing() {
    let mut agent = FakeAgent::start();
    let node = node_with(&agent, "");
    let mut sender = node
        .client()
        .stream(PLAYED, "SendStreamingMessage", say("begin"))
        .await;
    let id = id_of(&sender.event().await);
    let theirs = agent.call().await.stream();
    theirs.tell(their_piece("one"));
    while piece(&sender.event().await) != "one" {}
    drop(sender);
    until("the node noticing that the watcher left", async || {
        let metrics = node.client().get("/metrics").await;
        metrics
            .text()
            .contains("archipel_streams_open 0")
            .then_some(())
    })
    .await;
    theirs.tell(their_piece("two"));
    theirs.tell(their_status("TASK_STATE_COMPLETED"));
    let task = until("the task's end", async || {
        let task = node
            .client()
            .call(PLAYED, "GetTask", json!({"id": id}))
            .await;
        (state_of(&task) != "TASK_STATE_WORKING").then_some(task)
    })
    .await;
    assert_eq!(state_of(&task), "TASK_STATE_COMPLETED");
    assert_eq!(
        task["artifacts"][0]["parts"],
        json!([{"text": "one"}, {"text": "two"}])
    );
}

#[tokio::test]
async fn a_sender_that_leaves_cancels_nothing() {
    let mut agent = FakeAgent::start();
    let node = node_with(&agent, "");
    let mut connection = RawConnection::open(node.address()).await;
    let mut params = say("begin");
    params["message"]["contextId"] = "talk-of-the-leaver".into();
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params}).to_string();
    connection.write(request(PLAYED, &body).as_bytes()).await;
    let theirs = agent.call().await.stream();
    theirs.tell(their_task("TASK_STATE_WORKING"));
    drop(connection);
    theirs.tell(their_status("TASK_STATE_COMPLETED"));
    until("the task's end", async || {
        let metrics = node.client().get("/metrics").await;
        metrics
            .text()
            .contains("archipel_tasks_ended_total{state=\"completed\"} 1")
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_slow_watcher_is_cut_off_and_no_other() {
    let mut agent = FakeAgent::start();
    let node = node_with(&agent, "store = \"memory\"\nlimits.task_size = \"256MiB\"");
    let mut sender = node
        .client()
        .stream(PLAYED, "SendStreamingMessage", say("begin"))
        .await;
    let id = id_of(&sender.event().await);
    let theirs = agent.call().await.stream();
    let mut slow = RawConnection::open_narrow(node.address()).await;
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "SubscribeToTask", "params": {"id": id}})
            .to_string();
    slow.write(request(PLAYED, &body).as_bytes()).await;
    slow.read_until("\"task\":").await;

    // How much a system buffers for a connection is its own affair: as much is sent as it takes.
    let (much, mut sent) = ("x".repeat(16 * 1024), 0);
    while cut_off(&node).await == 0 {
        assert!(
            sent < 4000,
            "a watcher that does not read was not cut off after {sent} events"
        );
        for _ in 0..50 {
            sent += 1;
            let mut made = their_piece(&format!("{sent} {much}"));
            made["artifactUpdate"]["append"] = false.into();
            theirs.tell(made);
            while !piece(&sender.event().await).starts_with(&format!("{sent} ")) {}
        }
    }
    theirs.tell(their_status("TASK_STATE_COMPLETED"));
    assert_eq!(state_of(&sender.event().await), "TASK_STATE_COMPLETED");
    let told = slow.read_to_end().await.text();
    assert!(
        told.contains("\n: cut off, "),
        "{}",
        told.chars().rev().take(300).collect::<String>()
    );
    assert!(!told.contains("TASK_STATE_COMPLETED"));
    assert_eq!(cut_off(&node).await, 1);
}

#[tokio::test]
async fn a_silent_stream_shows_that_it_lives() {
    let mut agent = FakeAgent::start();
    let node = node_with(&agent, "limits.keep_alive = \"1s\"");
    let mut stream = node
        .client()
        .stream(PLAYED, "SendStreamingMessage", say("begin"))
        .await;
    let call = agent.call().await;
    let mut comments = 0;
    while comments < 2 {
        if let StreamItem::Comment(comment) = stream.next().await.unwrap() {
            assert_eq!(comment, "still here");
            comments += 1;
        }
    }
    call.stream().tell(their_status("TASK_STATE_COMPLETED"));
    assert_eq!(
        state_of(stream.events().await.last().unwrap()),
        "TASK_STATE_COMPLETED"
    );
}

#[tokio::test]
async fn a_stopping_node_ends_its_streams_and_says_so() {
    let mut agent = FakeAgent::start();
    let node = node_with(&agent, "");
    let mut sender = node
        .client()
        .stream(PLAYED, "SendStreamingMessage", say("begin"))
        .await;
    let id = id_of(&sender.event().await);
    let mut watcher = subscribe(&node, &id).await;
    let _held = agent.call().await;
    let (_stopped, of_sender, of_watcher) =
        tokio::join!(node.stop(), sender.last_comment(), watcher.last_comment());
    for comment in [of_sender, of_watcher] {
        let comment = comment.unwrap();
        assert!(comment.contains("stopping"), "{comment}");
    }
}

fn request(path: &str, body: &str) -> String {
    let head = head_of_call(path, &format!("content-length: {}", body.len()));
    head + body
}
