//! How long, how large and how many: tasks are bounded, and whoever meets a bound is told.

use archipel_tests::mesh::{
    FakeAgent, Refusal, TestNode, configured, reason_of, say, state_of, their_piece, their_status,
    their_task, until, within,
};
use serde_json::json;

use super::PLAYED;
use crate::upstream_agent;

#[tokio::test]
async fn a_turn_has_its_time() {
    let mut agent = FakeAgent::start();
    let node = TestNode::start(|config| {
        config.add(&upstream_agent("played", agent.origin()));
        config.add("limits.turn_time = \"1s\"");
    });
    let client = node.client();
    let sent = tokio::spawn(async move { client.call(PLAYED, "SendMessage", say("begin")).await });
    let stream = agent.call().await.stream();
    stream.tell(their_task("TASK_STATE_WORKING"));
    let task = within("the end of the turn", sent).await.unwrap();
    assert_eq!(state_of(&task), "TASK_STATE_FAILED");
    // The task and its connection to the agent have the same limit; either may be first to notice.
    let reasons = [
        "the agent took longer than one turn may",
        "the agent did not answer in time",
    ];
    assert!(reasons.contains(&reason_of(&task)), "{task}");
    stream.until_left().await;
}

#[tokio::test]
async fn a_task_has_its_size() {
    let mut agent = FakeAgent::start();
    let node = TestNode::start(|config| {
        config.add(&upstream_agent("played", agent.origin()));
        config.add("limits.task_size = \"64KiB\"");
    });
    let client = node.client();
    let sent = tokio::spawn(async move { client.call(PLAYED, "SendMessage", say("begin")).await });
    let stream = agent.call().await.stream();
    for _ in 0..9 {
        stream.tell(their_piece(&"x".repeat(8 * 1024)));
    }
    let task = within("the end of the task", sent).await.unwrap();
    assert_eq!(state_of(&task), "TASK_STATE_FAILED");
    assert!(
        reason_of(&task).contains("one task may hold"),
        "{}",
        reason_of(&task)
    );
    stream.until_left().await;
}

#[tokio::test]
async fn live_tasks_have_a_bound() {
    let mut agent = FakeAgent::start();
    let node = TestNode::start(|config| {
        config.add(&upstream_agent("played", agent.origin()));
        config.add("workers = 1\nlimits.live_tasks = 2");
    });
    let params = || configured(say("begin"), json!({"returnImmediately": true}));
    let mut held = Vec::new();
    for _ in 0..2 {
        node.client().call(PLAYED, "SendMessage", params()).await;
        held.push(agent.call().await);
    }
    let answer = node
        .client()
        .post_rpc(PLAYED, "SendMessage", params())
        .await;
    assert_eq!(answer.refusal(), Refusal::new(503, -32000, "UNAVAILABLE"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    held.pop()
        .unwrap()
        .stream()
        .tell(their_status("TASK_STATE_COMPLETED"));
    until("room for another task", async || {
        let answer = node
            .client()
            .post_rpc(PLAYED, "SendMessage", params())
            .await;
        (answer.status == 200).then_some(())
    })
    .await;
}
