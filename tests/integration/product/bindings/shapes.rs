//! What each tongue has on the wire.

use archipel_tests::mesh::{TestNode, id_of, say};
use http::Method as Verb;
use serde_json::{Value, json};

use crate::ECHO;

/// `say` in 0.3.
fn say_03(text: &str) -> Value {
    json!({"message": {
        "kind": "message",
        "messageId": uuid::Uuid::new_v4().to_string(),
        "role": "user",
        "parts": [{"kind": "text", "text": text}],
    }})
}

#[tokio::test]
async fn results_of_0_3_are_the_objects_themselves() {
    let node = TestNode::start(|_| {});
    let client = node.client().without("a2a-version");
    let answer = client.post_rpc(ECHO, "message/send", say_03("hello")).await;
    assert_eq!(answer.header("a2a-version"), Some("0.3"));
    let task = answer.result();
    assert_eq!(task["kind"], "task");
    assert_eq!(task["status"]["state"], "completed");
    let said = &task["history"][0];
    assert_eq!(
        (&said["kind"], &said["role"]),
        (&json!("message"), &json!("user"))
    );
    assert_eq!(
        task["artifacts"][0]["parts"][0],
        json!({"kind": "text", "text": "Echo: hello"})
    );
    let mut stream = client.stream(ECHO, "message/stream", say_03("hello")).await;
    assert_eq!(stream.headers["a2a-version"], "0.3");
    let events = stream.events().await;
    assert_eq!(events[0]["kind"], "task");
    let finals: Vec<_> = events.iter().map(|event| event["final"].clone()).collect();
    assert_eq!(finals.last(), Some(&json!(true)), "{events:?}");
    assert_eq!(
        finals.iter().filter(|said| **said == json!(true)).count(),
        1,
        "{events:?}"
    );
}

#[tokio::test]
async fn errors_of_0_3_have_their_code_and_an_object() {
    let node = TestNode::start(|_| {});
    let client = node.client().without("a2a-version");
    let params = json!({"id": "nothing"});
    let answer = client.post_rpc(ECHO, "tasks/get", params).await;
    assert_eq!(answer.status, 200);
    let error = &answer.json()["error"];
    assert_eq!(error["code"], -32001);
    assert_eq!(error["data"]["reason"], "TASK_NOT_FOUND");
    let answer = client.post_rpc(ECHO, "message/send", json!({})).await;
    let error = &answer.json()["error"];
    assert_eq!(error["code"], -32602);
    assert_eq!(error["data"]["fieldViolations"][0]["field"], "message");
}

#[tokio::test]
async fn answers_of_http_json_are_the_objects_themselves() {
    let node = TestNode::start(|_| {});
    let client = node.client();
    for kind in ["application/a2a+json", "application/json"] {
        let client = client.with("content-type", kind);
        let send = format!("{ECHO}/message:send");
        let answer = client.rest(Verb::POST, &send, Some(&say("hello"))).await;
        assert_eq!(answer.status, 200, "{answer}");
        assert_eq!(answer.header("content-type"), Some("application/a2a+json"));
        assert_eq!(answer.header("a2a-version"), Some("1.0"));
        let task = answer.json();
        assert_eq!(task.as_object().unwrap().len(), 1);
        let read = format!("{ECHO}/tasks/{}", id_of(&task));
        let answer = client.without("content-type").get(&read).await;
        assert_eq!(answer.json(), task["task"]);
    }
    let path = format!("{ECHO}/message:stream");
    let mut stream = client
        .rest_stream(Verb::POST, &path, Some(&say("hello")))
        .await;
    let events = stream.events().await;
    assert!(events[0]["task"]["id"].is_string(), "{events:?}");
    assert!(
        events
            .iter()
            .all(|event| event.as_object().unwrap().len() == 1)
    );
}

#[tokio::test]
async fn errors_of_http_json_have_the_form_of_aip_193() {
    let node = TestNode::start(|_| {});
    let client = node.client();
    let answer = client.get(&format!("{ECHO}/tasks/nothing")).await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.header("content-type"), Some("application/a2a+json"));
    assert_eq!(
        answer.json(),
        json!({"error": {
            "code": 404,
            "status": "NOT_FOUND",
            "message": "no such task",
            "details": [{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "TASK_NOT_FOUND",
                "domain": "a2a-protocol.org",
                "metadata": {"taskId": "nothing"},
            }],
        }})
    );
}

/// A request over HTTP+JSON, and the status and the kind of its refusal.
async fn check_refused(node: &TestNode, verb: Verb, below: &str, status: u16, kind: &str) {
    let path = format!("{ECHO}/{below}");
    let answer = node.client().rest(verb.clone(), &path, None).await;
    let error = &answer.json()["error"];
    let told = (
        answer.status,
        error["code"].as_u64(),
        error["status"].as_str(),
    );
    assert_eq!(
        told,
        (status, Some(status.into()), Some(kind)),
        "{verb} {below}: {answer}"
    );
}

#[tokio::test]
async fn paths_verbs_and_queries_of_http_json_are_strict() {
    let node = TestNode::start(|_| {});
    for (verb, below, status, kind) in [
        (Verb::GET, "nothing", 404, "NOT_FOUND"),
        (Verb::GET, "tasks/1/2", 404, "NOT_FOUND"),
        (Verb::POST, "tasks/1:delete", 404, "NOT_FOUND"),
        (Verb::GET, "message:send", 405, "UNIMPLEMENTED"),
        (Verb::DELETE, "tasks/1", 405, "UNIMPLEMENTED"),
        (Verb::POST, "message:send", 400, "INVALID_ARGUMENT"),
        (
            Verb::GET,
            "tasks/1?historyLength=-1",
            400,
            "INVALID_ARGUMENT",
        ),
        (
            Verb::GET,
            "tasks/1?history_length=x",
            400,
            "INVALID_ARGUMENT",
        ),
        (
            Verb::GET,
            "tasks/1?historyLength=1&historyLength=2",
            400,
            "INVALID_ARGUMENT",
        ),
        (Verb::GET, "tasks/1?historyLength=1", 404, "NOT_FOUND"),
    ] {
        check_refused(&node, verb, below, status, kind).await;
    }
    let send = format!("{ECHO}/message:send");
    let text = node.client().with("content-type", "text/plain");
    let answer = text.rest(Verb::POST, &send, Some(&say("hello"))).await;
    assert_eq!(answer.status, 415, "{answer}");
    assert_eq!(
        answer.json()["error"]["details"][0]["reason"],
        "CONTENT_TYPE_NOT_SUPPORTED"
    );
    for version in ["", "0.3", "99.0"] {
        let client = node.client().with("a2a-version", version);
        let answer = client.get(&format!("{ECHO}/tasks/1")).await;
        assert_eq!(answer.status, 400, "{answer}");
        let info = &answer.json()["error"]["details"][0];
        assert_eq!(info["reason"], "VERSION_NOT_SUPPORTED", "{version}");
    }
    let answer = node.stranger().get(&format!("{ECHO}/tasks/1")).await;
    assert_eq!(
        answer.json()["error"]["status"],
        "UNAUTHENTICATED",
        "{answer}"
    );
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn a_tenant_has_tasks_of_its_own() {
    let node = TestNode::start(|_| {});
    let client = node.client();
    let send = format!("{ECHO}/acme/message:send");
    let task = client
        .rest(Verb::POST, &send, Some(&say("hello")))
        .await
        .json();
    let id = id_of(&task);
    for (path, status) in [
        (format!("{ECHO}/acme/tasks/{id}"), 200),
        (format!("{ECHO}/tasks/{id}?tenant=acme"), 200),
        (format!("{ECHO}/tasks/{id}"), 404),
        (format!("{ECHO}/other/tasks/{id}"), 404),
    ] {
        assert_eq!(client.get(&path).await.status, status, "{path}");
    }
    let params = json!({"id": id, "tenant": "acme"});
    assert_eq!(client.call(ECHO, "GetTask", params).await, task["task"]);
}
