//! Tasks from opening to end, and what is told of them in between: what a client gets is what is kept.
//!
//! Read on in `conversations` (tasks of several turns) and `bounds` (how long, how large, how many).

use std::collections::HashSet;

use archipel_tests::mesh::{
    AgentCall, Answer, Client, FakeAgent, Refusal, TestMesh, TestNode, configured, id_of, say,
    say_to, state_of, their_piece, their_status, their_task, until,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{ECHO, upstream_agent};

mod bounds;
mod conversations;

/// Where the agent is called that a test plays.
const PLAYED: &str = "/agents/played";

fn node_with(agent: &FakeAgent) -> TestNode {
    TestNode::start(|config| config.add(&upstream_agent("played", agent.origin())))
}

/// Opens a task whose agent has its first message and has not answered yet.
async fn open_and_hold(node: &TestNode, agent: &mut FakeAgent) -> (String, AgentCall) {
    let params = configured(say("begin"), json!({"returnImmediately": true}));
    let task = node.client().call(PLAYED, "SendMessage", params).await;
    (id_of(&task), agent.call().await)
}

async fn read(node: &TestNode, path: &str, id: &str) -> Value {
    node.client().call(path, "GetTask", json!({"id": id})).await
}

#[tokio::test]
async fn a_message_gives_a_task_that_is_kept_as_it_was_told() {
    let node = TestNode::start(|_| {});
    let answer = node
        .client()
        .post_rpc(ECHO, "SendMessage", say("hello there"))
        .await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("a2a-version"), Some("1.0"));
    let task = answer.result()["task"].take();
    assert_eq!(state_of(&task), "TASK_STATE_COMPLETED");
    assert_eq!(
        task["artifacts"][0]["parts"][0]["text"],
        "Echo: hello there"
    );
    let said = &task["history"][0];
    assert_eq!(said["parts"][0]["text"], "hello there");
    assert_eq!(
        (&said["taskId"], &said["contextId"]),
        (&task["id"], &task["contextId"])
    );
    let timestamp = task["status"]["timestamp"].as_str().unwrap();
    assert!(
        timestamp.len() == 24 && timestamp.ends_with('Z'),
        "{timestamp}"
    );
    let id = id_of(&task);
    assert_eq!(read(&node, ECHO, &id).await, task);
    // On every worker, and after the node was stopped.
    for _ in 0..4 {
        assert_eq!(read(&node, ECHO, &id).await, task);
    }
    let node = node.stop().await.start();
    assert_eq!(read(&node, ECHO, &id).await, task);
}

#[tokio::test]
async fn a_task_belongs_to_one_agent() {
    let node = TestNode::start(|config| config.add("[[agents]]\nid = \"other\"\nkind = \"echo\""));
    let id = id_of(&node.client().call(ECHO, "SendMessage", say("hello")).await);
    let refusal = node
        .client()
        .refused("/agents/other", "GetTask", json!({"id": id}))
        .await;
    assert_eq!(refusal, Refusal::new(200, -32001, "TASK_NOT_FOUND"));
    // The paths that name no agent mean the default one, the first.
    for path in [
        "/api/a2a/jsonrpc",
        "/api/a2a/jsonrpc/public",
        "/api/a2a/federated/jsonrpc",
        "/agents/echo/",
    ] {
        assert_eq!(id_of(&read(&node, path, &id).await), id, "{path}");
    }
}

#[tokio::test]
async fn a_foreign_task_is_a_missing_task() {
    let mesh = TestMesh::pair();
    let (alpha, beta) = (mesh.alpha.client(), mesh.beta.client());
    let through = "/peers/beta/agents/echo";
    let of_beta = id_of(&beta.call(ECHO, "SendMessage", say("of the operator")).await);
    let of_alpha = id_of(&alpha.call(through, "SendMessage", say("of the peer")).await);
    for method in [
        "GetTask",
        "CancelTask",
        "SubscribeToTask",
        "SendMessage",
        "SendStreamingMessage",
    ] {
        check_foreign(&alpha, through, method, &of_beta).await;
        check_foreign(&beta, ECHO, method, &of_alpha).await;
    }
    // Nothing of that has changed it.
    let task = alpha
        .call(through, "GetTask", json!({"id": of_alpha}))
        .await;
    assert_eq!(state_of(&task), "TASK_STATE_COMPLETED");
    assert_eq!(task["history"].as_array().unwrap().len(), 1);
}

/// Compares what is told of a foreign task with what is told of one that nobody has.
async fn check_foreign(client: &Client, path: &str, method: &str, foreign: &str) {
    let nobodys = Uuid::now_v7().to_string();
    let params = |id: &str| {
        let mut params = say_to(id, "hello");
        params["id"] = id.into();
        params
    };
    let answer = client.post_rpc(path, method, params(foreign)).await;
    let missing = client.post_rpc(path, method, params(&nobodys)).await;
    assert_eq!(
        answer.refusal(),
        Refusal::new(200, -32001, "TASK_NOT_FOUND"),
        "{method}"
    );
    assert_eq!(
        answer.text().replace(foreign, &nobodys),
        missing.text(),
        "{method}"
    );
    let names = |answer: &Answer| answer.headers.keys().cloned().collect::<HashSet<_>>();
    assert_eq!(names(&answer), names(&missing), "{method}");
}

#[tokio::test]
async fn whoever_does_not_wait_gets_the_task_at_once() {
    let mut agent = FakeAgent::start();
    let node = node_with(&agent);
    let (id, call) = open_and_hold(&node, &mut agent).await;
    // Its agent has done nothing yet, so this can only be an answer that did not wait.
    let task = read(&node, PLAYED, &id).await;
    assert_eq!(state_of(&task), "TASK_STATE_WORKING");
    assert_eq!(task["history"][0]["parts"][0]["text"], "begin");
    let stream = call.stream();
    stream.tell(their_task("TASK_STATE_WORKING"));
    stream.tell(their_piece("done"));
    stream.tell(their_status("TASK_STATE_COMPLETED"));
    let ended = until("the task's end", async || {
        Some(read(&node, PLAYED, &id).await).filter(|task| state_of(task) == "TASK_STATE_COMPLETED")
    });
    assert_eq!(
        ended.await["artifacts"][0]["parts"],
        json!([{"text": "done"}])
    );
}

#[tokio::test]
async fn a_working_task_is_canceled_and_its_agent_told() {
    let mut agent = FakeAgent::start();
    let node = node_with(&agent);
    let (id, call) = open_and_hold(&node, &mut agent).await;
    let stream = call.stream();
    stream.tell(their_task("TASK_STATE_WORKING"));
    stream.tell(their_piece("one"));
    until("the first piece", async || {
        read(&node, PLAYED, &id).await.get("artifacts").cloned()
    })
    .await;
    let canceled = node
        .client()
        .call(PLAYED, "CancelTask", json!({"id": id}))
        .await;
    assert_eq!(state_of(&canceled), "TASK_STATE_CANCELED");
    let told = agent.call().await;
    assert_eq!(
        (told.method(), &told.params()["id"]),
        ("CancelTask", &json!("theirs"))
    );
    told.answer(json!({"id": "theirs", "status": {"state": "TASK_STATE_CANCELED"}}));
    // What it still says changes nothing.
    stream.tell(their_piece("two"));
    stream.tell(their_status("TASK_STATE_COMPLETED"));
    stream.until_left().await;
    let kept = read(&node, PLAYED, &id).await;
    assert_eq!(kept, canceled);
    let refusal = node
        .client()
        .refused(PLAYED, "CancelTask", json!({"id": id}))
        .await;
    assert_eq!(refusal, Refusal::new(200, -32002, "TASK_NOT_CANCELABLE"));
}

#[tokio::test]
async fn an_ended_task_takes_nothing_more() {
    let node = TestNode::start(|_| {});
    let task = node.client().call(ECHO, "SendMessage", say("hello")).await["task"].take();
    let id = id_of(&task);
    let refusal = node
        .client()
        .refused(ECHO, "CancelTask", json!({"id": id}))
        .await;
    assert_eq!(refusal, Refusal::new(200, -32002, "TASK_NOT_CANCELABLE"));
    for method in ["SendMessage", "SendStreamingMessage"] {
        let refusal = node
            .client()
            .refused(ECHO, method, say_to(&id, "more"))
            .await;
        assert_eq!(
            refusal,
            Refusal::new(200, -32004, "UNSUPPORTED_OPERATION"),
            "{method}"
        );
    }
    assert_eq!(read(&node, ECHO, &id).await, task);
}

#[tokio::test]
async fn a_busy_task_takes_no_second_message() {
    let mut agent = FakeAgent::start();
    let node = node_with(&agent);
    let (id, call) = open_and_hold(&node, &mut agent).await;
    for method in ["SendMessage", "SendStreamingMessage"] {
        let refusal = node
            .client()
            .refused(PLAYED, method, say_to(&id, "more"))
            .await;
        assert_eq!(
            refusal,
            Refusal::new(200, -32004, "UNSUPPORTED_OPERATION"),
            "{method}"
        );
    }
    call.stream().tell(their_status("TASK_STATE_COMPLETED"));
    let ended = until("the task's end", async || {
        Some(read(&node, PLAYED, &id).await).filter(|task| state_of(task) == "TASK_STATE_COMPLETED")
    })
    .await;
    // What was refused has left no trace.
    assert_eq!(ended["history"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn foreign_json_survives_to_the_last_digit() {
    let mut agent = FakeAgent::start();
    let node = node_with(&agent);
    // Written by hand: no parser of this test may touch it.
    let kept = r#"{"big":123456789012345678901234567890,"exact":1.50,"small":-0.0,"deep":[{"x":null}],"é":"\u0000"}"#;
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":"é-1","method":"SendMessage","params":{{"metadata":{kept},"message":{{
            "messageId":"m","role":"ROLE_USER","parts":[{{"data":{kept},"x-part":{kept}}}],"metadata":{kept},
            "extensions":["https://example.org/x"],"x-message":{kept}}}}}}}"#
    );
    let client = node.client();
    let sent = tokio::spawn(async move { client.post(PLAYED, body).await });
    let stream = agent.call().await.stream();
    stream.write(format!(
        "data: {{\"jsonrpc\":\"2.0\",\"id\":\"1\",\"result\":{{\"artifactUpdate\":{{\"taskId\":\"theirs\",\
         \"contextId\":\"talk\",\"artifact\":{{\"artifactId\":\"a\",\"parts\":[{{\"data\":{kept}}}],\"x-made\":{kept}}}}}}}}}\n\n"
    ));
    stream.tell(their_status("TASK_STATE_COMPLETED"));
    let answer = sent.await.unwrap();
    assert_eq!(answer.json()["id"], "é-1");
    let task = answer.result()["task"].take();
    let again = node
        .client()
        .post_rpc(PLAYED, "GetTask", json!({"id": task["id"]}))
        .await;
    for (name, text) in [("answered", answer.text()), ("kept", again.text())] {
        // Message metadata, data part, extension member of the part and of the message; data part and member of the artifact.
        assert_eq!(text.matches(kept).count(), 6, "{name}: {text}");
        assert!(
            text.contains(r#""extensions":["https://example.org/x"]"#),
            "{name}: {text}"
        );
    }
}

#[tokio::test]
async fn names_may_be_written_as_in_the_proto() {
    let node = TestNode::start(|_| {});
    let params = json!({
        "message": {"message_id": "m", "role": "ROLE_USER", "context_id": "talk", "parts": [{"text": "hi", "media_type": "text/plain"}]},
        "configuration": {"history_length": 0},
    });
    let task = node.client().call(ECHO, "SendMessage", params).await["task"].take();
    assert_eq!(task["contextId"], "talk");
    assert_eq!(task.get("history"), None);
}

#[tokio::test]
async fn message_ids_need_not_be_unique() {
    let node = TestNode::start(|_| {});
    let params = say("hello");
    let first = node
        .client()
        .call(ECHO, "SendMessage", params.clone())
        .await;
    let second = node.client().call(ECHO, "SendMessage", params).await;
    assert_ne!(id_of(&first), id_of(&second));
}
