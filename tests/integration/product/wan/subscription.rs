//! An agent that is told of envelopes: each that is addressed to it is a message to it, until it has done its work.

use archipel_tests::mesh::{AgentCall, FakeAgent, TestNode, until};
use serde_json::{Value, json};

use super::ingress::{INGRESS, envelope};
use crate::upstream_agent;

async fn bring(node: &TestNode, correlation_id: &str, handle: &str) {
    let mut envelope = envelope(correlation_id);
    envelope["targetHandle"] = handle.into();
    let answer = node.client().post(INGRESS, envelope.to_string()).await;
    assert_eq!(answer.status, 202, "{answer}");
}

/// The agent tells how its task stands.
fn end(call: AgentCall, state: &str) {
    call.stream().tell(json!({"task": {
        "id": "theirs", "contextId": "c", "status": {"state": state},
    }}));
}

async fn dead(node: &TestNode) -> Vec<Value> {
    let list = node.client().get("/api/mesh/wan/dead").await.json();
    list["dead"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_envelope_is_a_message_until_the_agent_has_done_its_work() {
    let mut agent = FakeAgent::start();
    let mut worker = FakeAgent::start();
    let node = TestNode::start(|config| {
        let told = upstream_agent("inbox", agent.origin());
        config.add(&format!("{told}receives_envelopes = true"));
        config.add(&format!(
            "[wan]\nworker = \"webhook\"\nwebhook_url = \"{}/hook\"\nwebhook_bearer = \"bearer\"\n\
             webhook_retry = \"100ms\"\nwebhook_attempts = 2",
            worker.origin()
        ));
    });
    bring(&node, "corr-0001", "inbox").await;
    let first = agent.call().await;
    let message = first.params()["message"].clone();
    assert_eq!(message["parts"][0]["data"], json!({"n": 1}), "{message}");
    let whence = json!({
        "correlationId": "corr-0001",
        "sourceOrigin": "https://edge.example",
        "targetHandle": "inbox",
    });
    assert_eq!(message["metadata"], whence, "{message}");
    end(first, "TASK_STATE_FAILED");
    let second = agent.call().await;
    let again = &second.params()["message"];
    assert_eq!(
        again["messageId"], message["messageId"],
        "it tells what came twice"
    );
    end(second, "TASK_STATE_COMPLETED");
    // Each attempt is a task that the operator can look at.
    until("nothing to wait", async || {
        let status = node.client().get("/api/mesh/wan").await.json();
        (status["inbox"]["waiting"] == 0).then_some(())
    })
    .await;
    let tasks = node
        .client()
        .call("/agents/inbox", "ListTasks", json!({}))
        .await;
    assert_eq!(tasks["totalSize"], 2, "{tasks}");
    assert_eq!(dead(&node).await, Vec::<Value>::new());

    // What fails for good is kept; what is for nobody who is told is the worker's.
    bring(&node, "corr-0002", "inbox").await;
    for _ in 0..2 {
        end(agent.call().await, "TASK_STATE_FAILED");
    }
    let given_up = until("a dead envelope", async || dead(&node).await.pop()).await;
    assert_eq!(given_up["reason"], "the agent failed 2 times", "{given_up}");
    assert!(worker.is_left_alone());
    bring(&node, "corr-0003", "echo").await;
    worker.call().await.answer_raw(204, "text/plain", "");
    assert!(agent.is_left_alone());
}
