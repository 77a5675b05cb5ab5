//! A2A by envelope: calls to a node that need not be there, and what is refused on the way.

use std::process::Stdio;

use archipel_tests::mesh::{
    Client, FakeAgent, Identity, NodeConfig, NodeProcess, TestMesh, TestNode, configured,
    free_port, say, say_to, until, within,
};
use archipel_tests::services::{NatsServer, RedisServer};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::federation::records::{assert_recorded, audit_of};
use crate::{ECHO, NODE, upstream_agent};

const JWT: &str = "x-hive-federation-jwt";
const VIA: &str = "/peers/beta/agents/echo?via=wan";

fn on_line(config: &mut NodeConfig, nats: &NatsServer) {
    config.add(&format!("nats.url = \"{}\"", nats.url()));
}

/// Sends a message by envelope; its task, as it is at once.
async fn send(client: &Client, path: &str, text: &str) -> Value {
    let sent = client.call(path, "SendMessage", say(text)).await;
    let task = sent["task"].clone();
    assert_eq!(task["status"]["state"], "TASK_STATE_SUBMITTED", "{task}");
    task
}

async fn read(client: &Client, path: &str, id: &Value) -> Value {
    client.call(path, "GetTask", json!({"id": id})).await
}

/// The task once it has ended.
async fn ended(client: &Client, path: &str, id: &Value) -> Value {
    until("the answer to a call", async || {
        let task = read(client, path, id).await;
        let state = task["status"]["state"].as_str().unwrap();
        (state != "TASK_STATE_SUBMITTED").then_some(task)
    })
    .await
}

/// Why a task failed.
fn reason(task: &Value) -> &str {
    assert_eq!(task["status"]["state"], "TASK_STATE_FAILED", "{task}");
    task["status"]["message"]["parts"][0]["text"]
        .as_str()
        .unwrap()
}

/// Two nodes that trust each other, alpha and beta, each a process of its own with the echo agent and what the test adds.
async fn processes(
    nats: &NatsServer,
    beta: impl FnOnce(&mut NodeConfig),
) -> (NodeProcess, NodeProcess) {
    let (ours, theirs) = (Identity::of_new_node(), Identity::of_new_node());
    let alpha = NodeProcess::start(NODE, |config| {
        on_line(config, nats);
        ours.configure(config);
        theirs.configure_as_peer(config, "beta");
        // The test's webhooks are on this machine.
        config.add("push.allow_private = true");
    });
    let beta = NodeProcess::start(NODE, |config| {
        on_line(config, nats);
        theirs.configure(config);
        ours.configure_as_peer(config, "alpha");
        beta(config);
    });
    (alpha.await, beta.await)
}

#[tokio::test]
async fn a_call_waits_for_a_node_that_is_not_there_and_survives_the_death_of_both() {
    let nats = NatsServer::start().unwrap();
    let (mut alpha, mut beta) = processes(&nats, |_| {}).await;
    beta.kill().await;
    let task = send(&alpha.client(), VIA, "over the bridge").await;
    let id = task["id"].clone();
    alpha.kill().await;
    alpha.restart().await;
    let still = read(&alpha.client(), VIA, &id).await;
    assert_eq!(still["status"]["state"], "TASK_STATE_SUBMITTED", "{still}");
    let mut watched = alpha
        .client()
        .stream(VIA, "SubscribeToTask", json!({"id": id}))
        .await;
    beta.restart().await;
    let events = watched.events().await;
    let last = &events.last().unwrap()["statusUpdate"];
    assert_eq!(
        last["status"]["state"], "TASK_STATE_COMPLETED",
        "{events:?}"
    );
    let done = read(&alpha.client(), VIA, &id).await;
    assert_eq!(
        done["artifacts"][0]["parts"][0]["text"],
        "Echo: over the bridge"
    );
    let listed = alpha.client().call(VIA, "ListTasks", json!({})).await;
    assert_eq!(listed["tasks"][0]["id"], id, "{listed}");
    // At beta it is one task, of the caller for whom alpha called, and nobody else's.
    let own = beta.client().call(ECHO, "ListTasks", json!({})).await;
    assert_eq!(own["tasks"], json!([]), "{own}");
    let theirs = "/peers/beta/agents/echo";
    let theirs = alpha.client().call(theirs, "ListTasks", json!({})).await;
    assert_eq!(theirs["totalSize"], 1, "{theirs}");
}

#[tokio::test]
async fn an_agent_hears_of_a_call_once_though_its_node_is_killed() {
    let nats = NatsServer::start().unwrap();
    let mut agent = FakeAgent::start();
    let far = upstream_agent("far", agent.origin());
    let (alpha, mut beta) = processes(&nats, |config| config.add(&far)).await;
    let via = "/peers/beta/agents/far?via=wan";
    let task = send(&alpha.client(), via, "hello").await;
    let said = agent.call().await;
    assert_eq!(said.params()["message"]["parts"][0]["text"], "hello");
    let stream = said.stream();
    stream.tell(json!({"task": {
        "id": "theirs", "contextId": "c", "status": {"state": "TASK_STATE_WORKING"},
    }}));
    // So that beta has heard of the task over there.
    stream.tell(json!({"artifactUpdate": {
        "taskId": "theirs", "contextId": "c",
        "artifact": {"artifactId": "a", "parts": [{"text": "half"}]},
    }}));
    // Over HTTP the caller sees the task as beta has it: the same task, of the same caller.
    until("beta to keep what it heard", async || {
        let asked = json!({"includeArtifacts": true});
        let client = alpha.client();
        let listed = client
            .call("/peers/beta/agents/far", "ListTasks", asked)
            .await;
        let kept = listed["tasks"].as_array().unwrap();
        assert!(kept.len() <= 1, "{listed}");
        kept.first()?["artifacts"].is_array().then_some(())
    })
    .await;
    beta.kill().await;
    beta.restart().await;
    let again = agent.call().await;
    assert_ne!(again.method(), "SendMessage", "{:?}", again.body());
    assert_ne!(again.method(), "SendStreamingMessage", "{:?}", again.body());
    let stream = again.stream();
    stream.tell(json!({"task": {
        "id": "theirs", "contextId": "c", "status": {"state": "TASK_STATE_COMPLETED"},
        "artifacts": [{"artifactId": "a", "parts": [{"text": "half"}, {"text": "whole"}]}],
    }}));
    let done = ended(&alpha.client(), via, &task["id"]).await;
    assert_eq!(done["status"]["state"], "TASK_STATE_COMPLETED", "{done}");
}

#[tokio::test]
async fn what_a_caller_may_not_do_it_may_not_do_by_envelope() {
    let nats = NatsServer::start().unwrap();
    let mesh = TestMesh::pair_with(
        |config| {
            on_line(config, &nats);
            config.add("wan.max_calls = 1");
        },
        |config| {
            on_line(config, &nats);
            config.add("[[agents]]\nid = \"hidden\"\nkind = \"echo\"\nvisibility = \"private\"");
        },
    );
    let client = mesh.alpha.client();
    // The peer's own errors, told to the task.
    for agent in ["nobody", "hidden"] {
        let via = format!("/peers/beta/agents/{agent}?via=wan");
        let task = send(&client, &via, "hello").await;
        let task = ended(&client, &via, &task["id"]).await;
        assert_eq!(reason(&task), "no such agent (error -32000)");
    }
    let refused = async |path: &str, method: &str, params: Value| {
        let refusal = client.refused(path, method, params).await;
        (refusal.status, refusal.reason)
    };
    let unsupported = (200, "UNSUPPORTED_OPERATION".to_owned());
    let streams = refused(VIA, "SendStreamingMessage", say("x")).await;
    assert_eq!(streams, unsupported);
    let further = refused(VIA, "SendMessage", say_to("t", "x")).await;
    assert_eq!(further, unsupported);
    let nobody = "/peers/nobody/agents/echo?via=wan";
    let unknown = refused(nobody, "SendMessage", say("x")).await;
    assert_eq!(unknown, (404, "PEER_NOT_FOUND".to_owned()));
    let by_pigeon = client
        .post_rpc("/peers/beta/agents/echo?via=pigeon", "GetTask", json!({}))
        .await;
    by_pigeon.assert_gate(400, "Bad Request");
    speak_otherwise(&client).await;
    let beta = mesh.beta.stop().await;
    // As many wait as may.
    send(&client, VIA, "nobody is there").await;
    let full = client.post_rpc(VIA, "SendMessage", say("x")).await;
    assert_eq!(full.status, 503, "{full}");
    let records = audit_of(beta).await;
    let call = json!({"action": "mesh.federation.inbound_jsonrpc", "entrypoint": "wan", "peer": mesh.alpha.origin()});
    for (agent, status) in [("echo", 200), ("nobody", 404), ("hidden", 404)] {
        let mut expected = call.clone();
        expected["agent"] = agent.into();
        expected["status"] = status.into();
        assert_recorded(&records, &expected);
    }
    let hidden = json!({"action": "auth.refused", "reason": "hidden_agent"});
    assert_recorded(&records, &hidden);
}

async fn speak_otherwise(client: &Client) {
    // In 0.3 a task is the result itself.
    let sent = client
        .with("a2a-version", "0.3")
        .call(
            VIA,
            "message/send",
            json!({"message": {
                "kind": "message", "messageId": "m", "role": "user",
                "parts": [{"kind": "text", "text": "old words"}],
            }}),
        )
        .await;
    assert_eq!(sent["status"]["state"], "submitted", "{sent}");
    let task = ended(client, VIA, &sent["id"]).await;
    assert_eq!(task["artifacts"][0]["parts"][0]["text"], "Echo: old words");
    // Over HTTP+JSON the way stands in the query of each path.
    let post = http::Method::POST;
    let sent = client
        .rest(
            post,
            "/peers/beta/agents/echo/message:send?via=wan",
            Some(&say("by path")),
        )
        .await;
    let id = sent.json()["task"]["id"].as_str().unwrap().to_owned();
    ended(client, VIA, &id.clone().into()).await;
    let path = format!("/peers/beta/agents/echo/tasks/{id}?via=wan");
    let task = client.rest(http::Method::GET, &path, None).await.json();
    assert_eq!(task["artifacts"][0]["parts"][0]["text"], "Echo: by path");
}

#[tokio::test]
async fn whoever_has_no_right_or_no_part_in_it_is_refused() {
    let nats = NatsServer::start().unwrap();
    let gamma = Identity::of_new_node();
    let mesh = TestMesh::pair_with(
        |config| {
            on_line(config, &nats);
            gamma.configure_as_peer(config, "gamma");
            config.set_of_peer("gamma", "rights.forward = true");
        },
        |config| {
            on_line(config, &nats);
            config.set_of_peer("alpha", "rights.methods = [\"GetTask\"]");
        },
    );
    let client = mesh.alpha.client();
    let task = send(&client, VIA, "hello").await;
    let task = ended(&client, VIA, &task["id"]).await;
    let why = "the caller has no right to this operation (error -32000)";
    assert_eq!(reason(&task), why);
    // The task is its caller's.
    let token = gamma.token_for(mesh.alpha.origin());
    let other = mesh.alpha.stranger().with(JWT, &token);
    let asked = json!({"id": task["id"]});
    let refusal = other.refused(VIA, "GetTask", asked).await;
    assert_eq!(refusal.reason, "TASK_NOT_FOUND");
    let stranger = mesh.alpha.stranger();
    let refused = stranger.post_rpc(VIA, "SendMessage", say("x")).await;
    assert_eq!(refused.status, 401, "{refused}");
    let records = audit_of(mesh.beta.stop().await).await;
    let refused = json!({"action": "auth.refused", "reason": "method"});
    assert_recorded(&records, &refused);
}

#[tokio::test]
async fn an_answer_finds_its_task_whichever_replica_takes_it_and_whichever_dies() {
    let (nats, redis) = (NatsServer::start().unwrap(), RedisServer::start().unwrap());
    let (ours, theirs) = (Identity::of_new_node(), Identity::of_new_node());
    let replica = async || {
        NodeProcess::start(NODE, |config| {
            on_line(config, &nats);
            ours.configure(config);
            theirs.configure_as_peer(config, "beta");
            let (origin, port, url) = (ours.origin(), free_port(), redis.url());
            config.add(&format!(
                "public_origin = \"{origin}\"\nlisten = \"127.0.0.1:{port}\"\nredis.url = \"{url}\""
            ));
        })
        .await
    };
    let (mut one, other) = (replica().await, replica().await);
    let mut beta = NodeProcess::start(NODE, |config| {
        on_line(config, &nats);
        theirs.configure(config);
        ours.configure_as_peer(config, "alpha");
    })
    .await;
    beta.kill().await;
    let mut ids = Vec::new();
    for number in 0..6 {
        let client = if number % 2 == 0 {
            one.client()
        } else {
            other.client()
        };
        ids.push(send(&client, VIA, "hello").await["id"].clone());
    }
    beta.restart().await;
    for id in &ids {
        let task = ended(&other.client(), VIA, id).await;
        assert_eq!(task["status"]["state"], "TASK_STATE_COMPLETED", "{task}");
    }
    beta.kill().await;
    let left = send(&one.client(), VIA, "hello").await;
    one.kill().await;
    beta.restart().await;
    let task = ended(&other.client(), VIA, &left["id"]).await;
    assert_eq!(task["status"]["state"], "TASK_STATE_COMPLETED", "{task}");
}

#[tokio::test]
async fn the_command_waits_for_the_answer() {
    let nats = NatsServer::start().unwrap();
    let (alpha, mut beta) = processes(&nats, |_| {}).await;
    let config = alpha.config().write();
    let call = |more: &[&str]| {
        let mut command = Command::new(NODE);
        command
            .args(["call", "--via", "wan", "beta/echo", "by hand", "--config"])
            .arg(&config)
            .args(more)
            .env_clear();
        command
    };
    beta.kill().await;
    let sent = call(&["--no-wait"]).output().await.unwrap();
    assert!(sent.status.success(), "{sent:?}");
    let id = String::from_utf8(sent.stdout).unwrap().trim().to_owned();
    let task = read(&alpha.client(), VIA, &id.into()).await;
    assert_eq!(task["status"]["state"], "TASK_STATE_SUBMITTED", "{task}");
    let mut waiting = call(&[]);
    let waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut waiting = waiting.spawn().unwrap();
    let mut lines = BufReader::new(waiting.stderr.take().unwrap()).lines();
    let first = within("the first line", lines.next_line()).await.unwrap();
    let first = first.unwrap();
    assert!(first.ends_with(": submitted"), "{first}");
    beta.restart().await;
    let output = within("the end of the command", waiting.wait_with_output()).await;
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.contains("Echo: by hand"), "{out}");
}

#[tokio::test]
async fn a_call_that_never_goes_fails_and_webhooks_are_told() {
    let mut hook = FakeAgent::start();
    let nats = NatsServer::start_with(None, "max_payload: 4096").unwrap();
    let (alpha, _beta) = processes(&nats, |_| {}).await;
    let client = alpha.client();
    let config = json!({"taskPushNotificationConfig": {"url": format!("{}/hook", hook.origin())}});
    for (text, end) in [
        ("short".to_owned(), "TASK_STATE_COMPLETED"),
        ("long ".repeat(2000), "TASK_STATE_FAILED"),
    ] {
        let sent = client
            .call(VIA, "SendMessage", configured(say(&text), config.clone()))
            .await;
        let id = sent["task"]["id"].clone();
        let told = until("the end to be told", async || {
            let call = hook.call().await;
            let event = call.body().clone();
            call.answer_raw(204, "text/plain", "");
            (event["statusUpdate"]["status"]["state"] == end).then_some(event)
        });
        let event = told.await;
        assert_eq!(event["statusUpdate"]["taskId"], id, "{event}");
    }
    let listed = client.call(VIA, "ListTasks", json!({})).await;
    let why = reason(&listed["tasks"][0]);
    assert!(why.starts_with("the call could not be sent: "), "{why}");
}

#[tokio::test]
async fn without_a_line_the_caller_is_told_what_to_do() {
    let mesh = TestMesh::pair();
    let client = mesh.alpha.client();
    let refused = client.post_rpc(VIA, "SendMessage", say("x")).await;
    refused.assert_gate(503, "Service Unavailable");
    assert!(refused.text().contains("nats.url"), "{refused}");
}

#[tokio::test]
async fn a_call_that_waits_can_be_taken_back() {
    let nats = NatsServer::start().unwrap();
    let gone = Identity::of_new_node();
    let own = Identity::of_new_node();
    let node = TestNode::start(|config| {
        on_line(config, &nats);
        own.configure(config);
        gone.configure_as_peer(config, "beta");
    });
    let client = node.client();
    let sent = send(&client, VIA, "is anybody there?").await;
    let canceled = client
        .call(VIA, "CancelTask", json!({"id": sent["id"]}))
        .await;
    assert_eq!(canceled["status"]["state"], "TASK_STATE_CANCELED");
}
