//! Agents that are reached by URL, and everything they can do wrong: the task says so, and nobody waits in vain.

use archipel_tests::mesh::{
    AgentCall, FakeAgent, Refusal, TestNode, free_port, id_of, reason_of, say, say_to, state_of,
    their_piece, their_question, their_status, their_task, within,
};
use serde_json::{Value, json};

use crate::upstream_agent;

const PLAYED: &str = "/agents/played";

fn node_with(url: &str) -> TestNode {
    TestNode::start(|config| config.add(&upstream_agent("played", url)))
}

/// Sends a message, lets the agent answer it, and gives the task that comes of it.
async fn outcome(agent: &mut FakeAgent, answer: impl FnOnce(AgentCall)) -> Value {
    let node = node_with(agent.origin());
    let client = node.client();
    let sent = tokio::spawn(async move { client.call(PLAYED, "SendMessage", say("begin")).await });
    answer(agent.call().await);
    within("the outcome", sent).await.unwrap()["task"].take()
}

async fn check_failed(agent: &mut FakeAgent, answer: impl FnOnce(AgentCall), reason: &str) {
    let task = outcome(agent, answer).await;
    assert_eq!(state_of(&task), "TASK_STATE_FAILED", "{task}");
    assert!(reason_of(&task).contains(reason), "{task}");
}

#[tokio::test]
async fn an_agent_that_dies_fails_its_task_and_all_who_wait_are_told() {
    let mut agent = FakeAgent::start();
    let node = node_with(agent.origin());
    let mut opening = node
        .client()
        .stream(PLAYED, "SendStreamingMessage", say("begin"))
        .await;
    let id = id_of(&opening.event().await);
    agent
        .call()
        .await
        .stream()
        .tell(their_question("which one?"));
    opening.events().await;

    let mut watchers = Vec::new();
    for _ in 0..2 {
        let mut watcher = node
            .client()
            .stream(PLAYED, "SubscribeToTask", json!({"id": id}))
            .await;
        watcher.event().await;
        watchers.push(watcher);
    }
    let (client, params) = (node.client(), say_to(&id, "that one"));
    let sender = tokio::spawn(async move { client.call(PLAYED, "SendMessage", params).await });
    let theirs = agent.call().await.stream();
    theirs.tell(their_piece("half of it"));
    for watcher in &mut watchers {
        while watcher.event().await.get("artifactUpdate").is_none() {}
    }
    theirs.break_off();
    for watcher in &mut watchers {
        let told = watcher.events().await;
        assert_eq!(state_of(told.last().unwrap()), "TASK_STATE_FAILED");
        assert_eq!(
            reason_of(told.last().unwrap()),
            "the agent went away before it was done"
        );
    }
    let task = within("the sender's answer", sender).await.unwrap()["task"].take();
    assert_eq!(state_of(&task), "TASK_STATE_FAILED");
    // What it made before is not lost.
    assert_eq!(
        task["artifacts"][0]["parts"],
        json!([{"text": "half of it"}])
    );
    assert_eq!(
        node.client()
            .call(PLAYED, "GetTask", json!({"id": id}))
            .await,
        task
    );
}

#[tokio::test]
async fn an_agent_that_ends_its_stream_too_early_has_gone() {
    let mut agent = FakeAgent::start();
    check_failed(
        &mut agent,
        |call| call.stream().tell(their_piece("half")),
        "went away",
    )
    .await;
    check_failed(&mut agent, |call| drop(call.stream()), "went away").await;
}

#[tokio::test]
async fn an_agent_that_does_not_speak_a2a_fails_its_task() {
    let mut agent = FakeAgent::start();
    let not_a2a = "not A2A";
    check_failed(
        &mut agent,
        |call| call.answer_raw(200, "text/html", "<h1>hello</h1>"),
        not_a2a,
    )
    .await;
    check_failed(
        &mut agent,
        |call| call.answer_raw(200, "application/json", ""),
        not_a2a,
    )
    .await;
    check_failed(
        &mut agent,
        |call| call.answer(json!({"greeting": "hello"})),
        not_a2a,
    )
    .await;
    check_failed(
        &mut agent,
        |call| call.stream().write("data: hello\n\n"),
        not_a2a,
    )
    .await;
    check_failed(
        &mut agent,
        |call| call.stream().tell(json!({"statusUpdate": {}})),
        not_a2a,
    )
    .await;
    check_failed(
        &mut agent,
        |call| call.stream().write(&b"data: \xff\xfe\n\n"[..]),
        not_a2a,
    )
    .await;
    let foreign = json!({"statusUpdate": {"taskId": "another", "contextId": "talk", "status": {"state": "TASK_STATE_COMPLETED"}}});
    let changes_its_mind = |call: AgentCall| {
        let theirs = call.stream();
        theirs.tell(their_task("TASK_STATE_WORKING"));
        theirs.tell(foreign);
    };
    check_failed(&mut agent, changes_its_mind, not_a2a).await;
}

#[tokio::test]
async fn an_agent_that_refuses_fails_its_task() {
    let mut agent = FakeAgent::start();
    check_failed(
        &mut agent,
        |call| call.refuse(-32603),
        "refused the message (error -32603)",
    )
    .await;
    check_failed(
        &mut agent,
        |call| call.answer_raw(403, "text/plain", "no"),
        "refused the message (error 403)",
    )
    .await;
    check_failed(
        &mut agent,
        |call| call.answer_raw(503, "text/plain", "no"),
        "could not be reached",
    )
    .await;
}

#[tokio::test]
async fn an_agent_that_is_not_there_fails_its_task() {
    let node = node_with(&format!("http://127.0.0.1:{}", free_port()));
    let task = node
        .client()
        .call(PLAYED, "SendMessage", say("begin"))
        .await;
    assert_eq!(state_of(&task), "TASK_STATE_FAILED");
    assert_eq!(reason_of(&task), "the agent could not be reached");
    let card = node
        .stranger()
        .get("/agents/played/.well-known/agent-card.json")
        .await;
    card.assert_gate(503, "Service Unavailable");
    // The node itself is as ready as before.
    assert_eq!(node.stranger().get("/readyz").await.status, 200);
}

#[tokio::test]
async fn an_agent_that_does_not_stream_is_asked_without() {
    let mut agent = FakeAgent::start_without_card();
    let node = node_with(agent.origin());
    let mut stream = node
        .client()
        .stream(PLAYED, "SendStreamingMessage", say("begin"))
        .await;
    let call = agent.call().await;
    assert_eq!(call.method(), "SendStreamingMessage");
    call.refuse(-32004);
    let call = agent.call().await;
    assert_eq!(call.method(), "SendMessage");
    let mut task = their_task("TASK_STATE_COMPLETED");
    task["task"]["artifacts"] = json!([{"artifactId": "a", "parts": [{"text": "all of it"}]}]);
    call.answer(task);
    let events = stream.events().await;
    assert!(
        events
            .iter()
            .any(|event| event.to_string().contains("all of it")),
        "{events:?}"
    );
    assert_eq!(state_of(events.last().unwrap()), "TASK_STATE_COMPLETED");
}

#[tokio::test]
async fn an_agent_may_answer_with_a_message_alone() {
    let mut agent = FakeAgent::start();
    let message = json!({"message": {"messageId": "a", "role": "ROLE_AGENT", "parts": [{"text": "hello back"}]}});
    let node = node_with(agent.origin());
    let client = node.client();
    let sent = tokio::spawn({
        let client = client.clone();
        async move { client.call(PLAYED, "SendMessage", say("begin")).await }
    });
    agent.call().await.answer(message.clone());
    assert_eq!(within("the answer", sent).await.unwrap(), message);
    let sent = tokio::spawn({
        let client = client.clone();
        async move {
            let mut stream = client
                .stream(PLAYED, "SendStreamingMessage", say("begin"))
                .await;
            stream.events().await
        }
    });
    agent.call().await.stream().tell(message.clone());
    assert_eq!(within("the stream", sent).await.unwrap(), [message]);
    let listed = client.call(PLAYED, "ListTasks", json!({})).await;
    assert_eq!(listed["totalSize"], 0, "there never was a task");
}

#[tokio::test]
async fn an_agent_may_refuse_a_message() {
    let mut agent = FakeAgent::start();
    let node = node_with(agent.origin());
    for (code, reason) in [
        (-32602, "INVALID_PARAMS"),
        (-32005, "CONTENT_TYPE_NOT_SUPPORTED"),
    ] {
        let client = node.client();
        let sent =
            tokio::spawn(async move { client.refused(PLAYED, "SendMessage", say("begin")).await });
        agent.call().await.refuse(code);
        let refusal = within("the refusal", sent).await.unwrap();
        assert_eq!(refusal, Refusal::new(200, code, reason));
    }
}

#[tokio::test]
async fn an_agent_without_a_card_is_called_at_its_url() {
    let mut agent = FakeAgent::start_without_card();
    let task = outcome(&mut agent, |call| {
        assert_eq!(call.path, "/");
        call.stream().tell(their_status("TASK_STATE_COMPLETED"));
    });
    assert_eq!(state_of(&task.await), "TASK_STATE_COMPLETED");
}

#[tokio::test]
async fn an_agent_sees_the_message_and_no_credential_of_the_caller() {
    let mut agent = FakeAgent::start();
    let node = TestNode::start(|config| {
        config.add(&upstream_agent("played", agent.origin()));
        let with_bearer = format!(
            "{}bearer = \"of-the-agent\"\n",
            upstream_agent("trusting", agent.origin())
        );
        config.add(&with_bearer);
    });
    let traced = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for (path, expected) in [
        (PLAYED, None),
        ("/agents/trusting", Some("Bearer of-the-agent")),
    ] {
        let client = node
            .client()
            .with("cookie", "session=1")
            .with("traceparent", traced);
        let mut params = say("begin");
        params["metadata"] = json!({"of": "the request"});
        let sent = tokio::spawn(async move { client.call(path, "SendMessage", params).await });
        let call = agent.call().await;
        assert_eq!(call.header("authorization"), expected);
        assert_eq!(call.header("cookie"), None);
        assert_eq!(call.header("a2a-version"), Some("1.0"));
        assert_eq!(call.header("traceparent"), Some(traced));
        assert_eq!(call.params()["metadata"], json!({"of": "the request"}));
        assert_eq!(call.params()["message"]["parts"][0]["text"], "begin");
        call.stream().tell(their_status("TASK_STATE_COMPLETED"));
        sent.await.unwrap();
    }
}
