//! What a node wrote down, as its operator reads and checks it.

use archipel_tests::mesh::{NodeProcess, Output, run, say, until};
use archipel_tests::services::RedisServer;
use serde_json::Value;

use crate::{ECHO, NODE};

/// `archipel audit ..` as somebody runs it beside the node's configuration.
async fn audit(node: &NodeProcess, arguments: &[&str]) -> Output {
    let config = node.config().write();
    let config = config.to_str().unwrap();
    let all = [&["audit", "--config", config], arguments].concat();
    run(NODE, node.directory(), &all, &[]).await
}

/// The chain's end, as a check prints it.
async fn checked(node: &NodeProcess, arguments: &[&str]) -> String {
    let told = audit(node, &[&["check"], arguments].concat()).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    let end = told.out.trim().strip_prefix("unbroken  ").unwrap();
    end.to_owned()
}

/// What the newest records say, once there are so many.
async fn records(node: &NodeProcess, count: usize) -> Vec<Value> {
    until("the records to be kept", async || {
        let told = audit(node, &["list", "--json"]).await;
        assert_eq!(told.code, Some(0), "{told:?}");
        let records = told.out.lines().map(serde_json::from_str);
        let records: Vec<Value> = records.map(Result::unwrap).collect();
        (records.len() >= count).then_some(records)
    })
    .await
}

async fn refuse_a_stranger(node: &NodeProcess) {
    let stranger = node.client().with_bearer("not the operator's token");
    let refused = stranger.post_rpc(ECHO, "SendMessage", say("hello")).await;
    assert_eq!(refused.status, 401, "{refused}");
}

#[tokio::test]
async fn whoever_was_refused_is_shown_and_the_chain_is_whole() {
    let node = NodeProcess::start(NODE, |_| {}).await;
    let nothing = checked(&node, &[]).await;
    assert!(nothing.starts_with("0:"), "{nothing}");
    for _ in 0..3 {
        refuse_a_stranger(&node).await;
    }
    let all = records(&node, 3).await;
    for (record, seq) in all.iter().zip(1..) {
        assert_eq!(record["seq"], seq, "{record}");
        assert_eq!(record["action"], "auth.refused", "{record}");
        assert_eq!(record["outcome"], "refused", "{record}");
        assert_eq!(record["client"], "127.0.0.1", "{record}");
    }
    let end = checked(&node, &[]).await;
    assert!(end.starts_with("3:"), "{end}");
    let shown = audit(&node, &["list", "--after", "2", "--limit", "1"]).await;
    assert_eq!(shown.out.lines().count(), 1, "{shown:?}");
    assert!(shown.out.starts_with("3  20"), "{shown:?}");
    assert!(shown.out.contains("  refused  auth.refused  "), "{shown:?}");
    // What was noted is there later, too.
    refuse_a_stranger(&node).await;
    records(&node, 4).await;
    let later = checked(&node, &["--noted", &end]).await;
    assert!(later.starts_with("4:"), "{later}");
    let other = format!("3:{}", "0".repeat(64));
    let told = audit(&node, &["check", "--noted", &other]).await;
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(
        told.err.contains("record 3 is not what was noted"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_record_that_was_taken_out_is_missed() {
    let redis = RedisServer::start().unwrap();
    let url = format!("redis.url = \"{}\"", redis.url());
    let node = NodeProcess::start(NODE, |config| config.add(&url)).await;
    for _ in 0..4 {
        refuse_a_stranger(&node).await;
    }
    records(&node, 4).await;
    let end = checked(&node, &[]).await;
    let keys = redis.ask(&["--raw", "keys", "*audit*"]).unwrap();
    let key = keys.trim();
    // The last one: only who noted it can tell.
    redis.ask(&["xdel", key, "4-0"]).unwrap();
    let shorter = checked(&node, &[]).await;
    assert!(shorter.starts_with("3:"), "{shorter}");
    let told = audit(&node, &["check", "--noted", &end]).await;
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.err.contains("cut off"), "{told:?}");
    redis.ask(&["xdel", key, "2-0"]).unwrap();
    let told = audit(&node, &["check"]).await;
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.err.contains("broken at record 2"), "{told:?}");
}

#[tokio::test]
async fn nobody_else_reads_what_was_written_down() {
    let node = NodeProcess::start(NODE, |_| {}).await;
    let stranger = node.client().with_bearer("not the operator's token");
    let refused = stranger.get("/api/audit").await;
    refused.assert_gate(401, "Invalid API token");
    for query in ["after=-1", "limit=x", "before=3", "after=1&after=2"] {
        let refused = node.client().get(&format!("/api/audit?{query}")).await;
        assert_eq!(refused.status, 400, "{query}: {refused}");
    }
    let told = audit(&node, &["list", "--token", "wrong"]).await;
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.err.contains("give a token with --token"), "{told:?}");
}
