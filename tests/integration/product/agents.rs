//! Agents of every kind, whether they are to be called, and the control plane that adds and pauses them.

use archipel_tests::mesh::{
    EventStream, FakeAgent, NodeConfig, TOKEN, TestNode, id_of, reason_of, run, say, say_to,
    state_of, their_piece, their_question, their_status, their_task, until, within,
};
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{ECHO, NODE, upstream_agent};

const PLAYED: &str = "/agents/played";

fn card_with(interface: Value) -> String {
    json!({
        "name": "played", "description": "an agent that a test plays", "version": "1",
        "capabilities": {"streaming": true},
        "supportedInterfaces": [interface],
        "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"], "skills": [],
    })
    .to_string()
}

fn rest_card() -> String {
    card_with(
        json!({"url": "http://elsewhere.invalid/v1", "protocolBinding": "HTTP+JSON", "protocolVersion": "1.0", "tenant": "t"}),
    )
}

fn old_card() -> String {
    json!({
        "name": "played", "description": "an agent that a test plays", "version": "1",
        "protocolVersion": "0.3.0", "url": "http://elsewhere.invalid/", "preferredTransport": "JSONRPC",
        "capabilities": {"streaming": true}, "skills": [],
        "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"],
    })
    .to_string()
}

/// Begins a stream; it may be there only once the agent has said something.
fn begin(node: &TestNode) -> JoinHandle<EventStream> {
    let client = node.client();
    tokio::spawn(async move {
        client
            .stream(PLAYED, "SendStreamingMessage", say("begin"))
            .await
    })
}

#[tokio::test]
async fn an_agent_over_http_and_json_asks_back_and_finishes() {
    let mut agent = FakeAgent::start_with(Some(rest_card()));
    let node = TestNode::start(|config| config.add(&upstream_agent("played", agent.origin())));
    let events = begin(&node);
    let call = agent.call().await;
    assert_eq!(call.path, "/v1/t/message:stream");
    let stream = call.stream();
    stream.write(format!("data: {}\n\n", their_task("TASK_STATE_WORKING")));
    let mut events = within("the stream", events).await.unwrap();
    let id = id_of(&events.event().await);
    stream.write(format!("data: {}\n\n", their_piece("half")));
    stream.write(format!("data: {}\n\n", their_question("which one?")));
    let told = events.events().await;
    assert_eq!(state_of(told.last().unwrap()), "TASK_STATE_INPUT_REQUIRED");

    let (client, params) = (node.client(), say_to(&id, "that one"));
    let sent = tokio::spawn(async move { client.call(PLAYED, "SendMessage", params).await });
    let call = agent.call().await;
    assert_eq!(call.path, "/v1/t/message:stream");
    assert_eq!(call.body()["message"]["taskId"], "theirs");
    let stream = call.stream();
    stream.write(format!(
        "data: {}\n\n",
        their_status("TASK_STATE_COMPLETED")
    ));
    let task = within("the outcome", sent).await.unwrap();
    assert_eq!(state_of(&task), "TASK_STATE_COMPLETED");
}

#[tokio::test]
async fn a_task_of_an_old_agent_is_canceled_over_there() {
    let mut agent = FakeAgent::start_with(Some(old_card()));
    let node = TestNode::start(|config| config.add(&upstream_agent("played", agent.origin())));
    let events = begin(&node);
    let call = agent.call().await;
    assert_eq!(call.method(), "message/stream");
    assert_eq!(call.params()["message"]["kind"], "message");
    let stream = call.stream();
    let works = json!({"kind": "task", "id": "theirs", "contextId": "talk", "status": {"state": "working"}});
    stream.tell(works);
    let mut events = within("the stream", events).await.unwrap();
    let id = id_of(&events.event().await);
    let piece = json!({"kind": "artifact-update", "taskId": "theirs", "contextId": "talk",
        "artifact": {"artifactId": "made", "parts": [{"kind": "text", "text": "half"}]}});
    stream.tell(piece);
    while events.event().await.get("artifactUpdate").is_none() {}
    let canceled = node
        .client()
        .call(PLAYED, "CancelTask", json!({"id": id}))
        .await;
    assert_eq!(state_of(&canceled), "TASK_STATE_CANCELED");
    let call = agent.call().await;
    assert_eq!(
        (call.method(), &call.params()["id"]),
        ("tasks/cancel", &json!("theirs"))
    );
    let theirs = json!({"kind": "task", "id": "theirs", "contextId": "talk", "status": {"state": "canceled"}});
    call.answer(theirs);
}

fn model(url: &str) -> String {
    format!(
        "[[agents]]\nid = \"played\"\nkind = \"openai\"\nurl = \"{url}/v1\"\nmodel = \"small\"\napi_key = \"key-of-the-node\"\n"
    )
}

#[tokio::test]
async fn a_model_answers_in_pieces() {
    let mut endpoint = FakeAgent::start_without_card();
    let node = TestNode::start(|config| config.add(&model(endpoint.origin())));
    let events = begin(&node);
    let call = endpoint.call().await;
    assert_eq!(call.path, "/v1/chat/completions");
    assert_eq!(call.header("authorization"), Some("Bearer key-of-the-node"));
    let said = json!([{"role": "user", "content": "begin"}]);
    assert_eq!(call.body()["messages"], said);
    let stream = call.stream();
    let piece = |text: &str| {
        let chunk = json!({"choices": [{"delta": {"content": text}, "finish_reason": null}]});
        stream.write(format!("data: {chunk}\n\n"));
    };
    piece("Good ");
    let mut events = within("the stream", events).await.unwrap();
    let first = loop {
        let event = events.event().await;
        if event.get("artifactUpdate").is_some() {
            break event;
        }
    };
    assert_eq!(
        first["artifactUpdate"]["artifact"]["parts"],
        json!([{"text": "Good "}])
    );
    piece("day");
    stream.write("data: [DONE]\n\n");
    let told = events.events().await;
    assert_eq!(state_of(told.last().unwrap()), "TASK_STATE_COMPLETED");
    let pieces: Vec<&Value> = told
        .iter()
        .filter_map(|event| event.get("artifactUpdate"))
        .collect();
    assert_eq!(pieces.last().unwrap()["lastChunk"], true);

    let (client, params) = (node.client(), say("again"));
    let sent = tokio::spawn(async move { client.call(PLAYED, "SendMessage", params).await });
    endpoint
        .call()
        .await
        .answer_raw(401, "application/json", "{}");
    let task = within("the outcome", sent).await.unwrap()["task"].take();
    assert_eq!(state_of(&task), "TASK_STATE_FAILED");
    assert_eq!(
        reason_of(&task),
        "the model's endpoint refused the node's credential"
    );
}

#[tokio::test]
async fn an_agent_that_keeps_failing_is_left_alone_and_tried_again() {
    let mut agent = FakeAgent::start();
    let node = TestNode::start(|config| {
        config.add(&upstream_agent("played", agent.origin()));
        config.add("[upstreams]\nbreaker_failures = 2\nbreaker_pause = \"1s\"\n");
    });
    for _ in 0..2 {
        let (client, params) = (node.client(), say("begin"));
        let sent = tokio::spawn(async move { client.call(PLAYED, "SendMessage", params).await });
        agent.call().await.answer_raw(500, "text/plain", "broken");
        let task = within("the outcome", sent).await.unwrap();
        assert_eq!(state_of(&task), "TASK_STATE_FAILED");
    }
    let refused = node
        .client()
        .post_rpc(PLAYED, "SendMessage", say("begin"))
        .await;
    assert_eq!(refused.status, 503, "{refused}");
    assert!(
        matches!(refused.header("retry-after"), Some("1" | "2")),
        "{refused}"
    );
    assert!(refused.text().contains("left alone"), "{refused}");
    assert!(agent.is_left_alone());
    // Once the pause is over, one message is let through, and its answer makes all well.
    let tried = until("the agent is tried again", async || {
        let (client, params) = (node.client(), say("begin"));
        let mut sent =
            tokio::spawn(async move { client.post_rpc(PLAYED, "SendMessage", params).await });
        tokio::select! {
            call = agent.call() => {
                call.stream().tell(their_task("TASK_STATE_COMPLETED"));
                Some(sent.await.unwrap())
            }
            refused = &mut sent => {
                assert_eq!(refused.unwrap().status, 503);
                None
            }
        }
    });
    assert_eq!(tried.await.status, 200);
    let metrics = node.client().get("/metrics").await;
    assert!(
        metrics
            .text()
            .contains("archipel_agent_breaker_trips_total 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn an_agent_has_no_more_turns_than_it_may() {
    let mut agent = FakeAgent::start();
    let node = TestNode::start(|config| {
        let limits = "max_concurrent_turns = 1\nmax_waiting_turns = 1\n";
        config.add(&(upstream_agent("played", agent.origin()) + limits));
    });
    let first = begin(&node);
    let theirs = agent.call().await.stream();
    let second = begin(&node);
    until("a second turn waits", async || {
        let metrics = node.client().get("/metrics").await;
        let waits = metrics.text().contains("archipel_agent_turns_open 2");
        waits.then_some(())
    })
    .await;
    let refused = node
        .client()
        .post_rpc(PLAYED, "SendMessage", say("third"))
        .await;
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (503, Some("1"))
    );
    assert!(agent.is_left_alone());
    theirs.tell(their_task("TASK_STATE_COMPLETED"));
    within("the first stream", first).await.unwrap();
    let theirs = agent.call().await.stream();
    theirs.tell(their_task("TASK_STATE_COMPLETED"));
    let mut second = within("the second stream", second).await.unwrap();
    let told = second.events().await;
    assert_eq!(state_of(told.last().unwrap()), "TASK_STATE_COMPLETED");
}

fn passthrough(url: &str) -> String {
    upstream_agent("played", url) + "mode = \"passthrough\"\nbearer = \"of-the-node\"\n"
}

#[tokio::test]
async fn a_request_passes_through_as_it_came() {
    let mut agent = FakeAgent::start();
    let node = TestNode::start(|config| config.add(&passthrough(agent.origin())));
    // Nothing of it is looked at: no version, a method of its own.
    let body = r#"{"jsonrpc":"2.0","id":7,"method":"TheirOwn","params":{"n":1.50}}"#;
    let client = node
        .client()
        .without("a2a-version")
        .with("x-archipel-caller", "me");
    let sent = tokio::spawn(async move { client.post(PLAYED, body).await });
    let call = agent.call().await;
    assert_eq!((call.path.as_str(), call.method()), ("/", "TheirOwn"));
    assert_eq!(call.header("authorization"), Some("Bearer of-the-node"));
    let caller = call.header("x-archipel-caller").unwrap().to_owned();
    assert_eq!(caller.len(), 32);
    call.answer_raw(418, "application/json", r#"{"theirs":1.50}"#);
    let answer = within("the answer", sent).await.unwrap();
    assert_eq!((answer.status, answer.text()), (418, r#"{"theirs":1.50}"#));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));

    // Any binding, any method, streams.
    let client = node.client();
    let read =
        tokio::spawn(async move { client.get("/agents/played/tasks/x?historyLength=2").await });
    let call = agent.call().await;
    assert_eq!(call.path, "/tasks/x");
    assert_eq!(call.header("x-archipel-caller"), Some(caller.as_str()));
    let stream = call.stream();
    stream.write("id: 9\ndata: one\n\n");
    drop(stream);
    assert_eq!(
        within("the stream", read).await.unwrap().text(),
        "id: 9\ndata: one\n\n"
    );

    // The gates stand before it.
    assert_eq!(node.stranger().post(PLAYED, body).await.status, 401);
    let up = node.client().get("/agents/played/%2e%2e/admin").await;
    assert_eq!(up.status, 404);
    assert!(agent.is_left_alone());
}

fn controlled(config: &mut NodeConfig) {
    config.add("[control_plane]\nenabled = true\n[egress]\nhost_allowlist = [\"127.0.0.1\"]\n");
}

/// Adds an agent whose bearer token must never be shown again.
async fn add_played(node: &TestNode, agent: &FakeAgent) {
    let settings =
        json!({"id": "played", "kind": "a2a", "url": agent.origin(), "bearer": "hidden-token"});
    let added = node
        .client()
        .post("/api/agents", settings.to_string())
        .await;
    assert_eq!(
        (added.status, added.header("location")),
        (201, Some("/api/agents/played"))
    );
    assert!(!added.text().contains("hidden-token"));
}

#[tokio::test]
async fn an_agent_is_added_called_paused_and_still_there_after_a_restart() {
    let mut agent = FakeAgent::start();
    let node = TestNode::start(controlled);
    add_played(&node, &agent).await;

    let events = begin(&node);
    let theirs = agent.call().await;
    assert_eq!(theirs.header("authorization"), Some("Bearer hidden-token"));
    let theirs = theirs.stream();
    let paused = node.client().post("/api/agents/played/pause", "").await;
    assert_eq!(
        (paused.status, &paused.json()["state"]),
        (200, &json!("paused"))
    );
    let refused = node
        .client()
        .post_rpc(PLAYED, "SendMessage", say("more"))
        .await;
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (503, Some("30"))
    );
    // What it works on goes on.
    theirs.tell(their_task("TASK_STATE_COMPLETED"));
    let mut events = within("the stream", events).await.unwrap();
    let id = id_of(&events.event().await);
    events.events().await;

    let node = node.stop().await.start();
    let shown = node.client().get("/api/agents/played").await.json();
    assert_eq!(
        (&shown["state"], &shown["source"]),
        (&json!("paused"), &json!("added"))
    );
    let task = node
        .client()
        .call(PLAYED, "GetTask", json!({"id": id}))
        .await;
    assert_eq!(state_of(&task), "TASK_STATE_COMPLETED");
    node.client().post("/api/agents/played/resume", "").await;
    let (client, params) = (node.client(), say("again"));
    let sent = tokio::spawn(async move { client.call(PLAYED, "SendMessage", params).await });
    let call = agent.call().await;
    assert_eq!(call.header("authorization"), Some("Bearer hidden-token"));
    call.stream().tell(their_task("TASK_STATE_COMPLETED"));
    within("the outcome", sent).await.unwrap();
    let removed = node
        .client()
        .rest(Method::DELETE, "/api/agents/played", None)
        .await;
    assert_eq!(removed.status, 204);
    assert_eq!(node.client().get("/api/agents/played").await.status, 404);
    let gone = node
        .client()
        .refused(PLAYED, "SendMessage", say("more"))
        .await;
    assert_eq!(
        (gone.status, gone.reason.as_str()),
        (404, "AGENT_NOT_FOUND")
    );
}

#[tokio::test]
async fn the_control_plane_is_the_operators_and_says_everything_at_once() {
    let closed = TestNode::start(|_| {});
    assert_eq!(closed.client().get("/api/agents").await.status, 404);
    let node = TestNode::start(controlled);
    node.stranger()
        .get("/api/agents")
        .await
        .assert_gate(401, "Unauthorized");
    let wrong = json!({"id": "Far", "kind": "openai", "url": "http://10.0.0.1/", "bearer_file": "/etc/hostname"});
    let refused = node.client().post("/api/agents", wrong.to_string()).await;
    assert_eq!(refused.status, 400, "{refused}");
    let problems = refused.json()["problems"].as_array().unwrap().clone();
    let places: Vec<_> = problems
        .iter()
        .map(|problem| problem["at"].as_str().unwrap())
        .collect();
    assert_eq!(places, ["bearer_file", "id", "model"]);
    let private = json!({"id": "far", "kind": "a2a", "url": "http://10.0.0.1/"});
    let refused = node.client().post("/api/agents", private.to_string()).await;
    assert_eq!(
        (refused.status, &refused.json()["problems"][0]["at"]),
        (400, &json!("url"))
    );
    let configured = node
        .client()
        .rest(Method::DELETE, "/api/agents/echo", None)
        .await;
    configured.assert_gate(409, "Conflict");
    // A disabled agent is missing.
    assert_eq!(
        node.client()
            .post("/api/agents/echo/disable", "")
            .await
            .status,
        200
    );
    let gone = node
        .client()
        .refused(ECHO, "SendMessage", say("more"))
        .await;
    assert_eq!(gone.reason, "AGENT_NOT_FOUND");
    assert_eq!(
        node.client()
            .post("/api/agents/echo/enable", "")
            .await
            .status,
        200
    );
    node.client().call(ECHO, "SendMessage", say("more")).await;
    assert_eq!(
        node.client()
            .post("/api/agents/echo/dance", "")
            .await
            .status,
        404
    );
    assert_eq!(
        node.client().post("/api/agents/echo", "{}").await.status,
        405
    );
}

#[tokio::test]
async fn agents_are_managed_from_the_command_line() {
    let node = TestNode::start(controlled);
    let agents = async |arguments: &[&str]| {
        let common = ["agents", "--node", node.origin(), "--token", TOKEN];
        let arguments = [&common[..], arguments].concat();
        run(NODE, node.config().data_dir().as_path(), &arguments, &[]).await
    };
    let added = agents(&["add", r#"{"id":"second","kind":"echo"}"#]).await;
    assert_eq!(added.code, Some(0), "{added:?}");
    let listed = agents(&["list"]).await;
    assert!(
        listed.out.contains("echo") && listed.out.contains("second"),
        "{listed:?}"
    );
    let paused = agents(&["pause", "second", "--json"]).await;
    let shown: Value = serde_json::from_str(&paused.out).unwrap();
    assert_eq!(shown["state"], "paused");
    let refused = agents(&["add", r#"{"id":"Third","kind":"a2a"}"#]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.err.contains("id: ") && refused.err.contains("url: "),
        "{refused:?}"
    );
    let removed = agents(&["remove", "second"]).await;
    assert_eq!(removed.code, Some(0), "{removed:?}");
}
