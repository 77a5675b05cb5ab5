//! What is written down of calls from and to peers, read from the store of nodes that have stopped.

use archipel_node::audit::verify_chain;
use archipel_node::store::AuditStore;
use archipel_node::store::embedded::{Durability, EmbeddedSettings, EmbeddedStore};
use archipel_tests::mesh::{Identity, StoppedNode, TOKEN, TestMesh, say};
use serde_json::{Value, json};

use super::{JWT, THROUGH};
use crate::ECHO;

/// What a node that has stopped wrote into its audit chain, which must be whole.
pub(crate) async fn audit_of(mut node: StoppedNode) -> Vec<Value> {
    let settings = EmbeddedSettings {
        directory: node.config().data_dir(),
        durability: Durability::Process,
        max_bytes: None,
    };
    let store = EmbeddedStore::open(&settings).unwrap();
    let checked = verify_chain(&store).await.unwrap();
    let rows = store.page(0, 1000).await.unwrap();
    assert_eq!(checked.records, rows.len() as u64);
    rows.iter()
        .map(|row| serde_json::from_slice(&row.body).unwrap())
        .collect()
}

/// Whether one of the records has all these members.
pub(crate) fn assert_recorded(records: &[Value], expected: &Value) {
    let members = expected.as_object().unwrap();
    let found = records
        .iter()
        .any(|record| members.iter().all(|(name, value)| record[name] == *value));
    assert!(found, "no {expected} in {records:#?}");
}

#[tokio::test]
async fn who_was_let_in_and_who_was_not_is_recorded() {
    let gamma = Identity::of_new_node();
    let TestMesh { alpha, beta } =
        TestMesh::pair_with(|_| {}, |beta| gamma.configure_as_peer(beta, "gamma"));
    let through_alpha = alpha.client().with("x-request-id", "request-7");
    through_alpha
        .call(THROUGH, "SendMessage", say("a secret text"))
        .await;
    let token = gamma.token_for(beta.origin());
    let expired = gamma.token_at(beta.origin(), -300);
    let stranger = beta.stranger();
    for client in [
        stranger.with(JWT, &token),
        stranger.with(JWT, &token),
        stranger.with(JWT, &expired),
        stranger.with_bearer("wrong"),
    ] {
        client.post_rpc(ECHO, "SendMessage", say("hello")).await;
    }
    let alpha_origin = alpha.origin().to_owned();
    let records = audit_of(beta.stop().await).await;
    for expected in [
        json!({
            "action": "mesh.federation.inbound_jsonrpc", "outcome": "accepted", "peer": alpha_origin,
            "client": "127.0.0.1", "requestId": "request-7", "agent": "echo", "method": "SendMessage", "auth": "jwt",
            "algorithm": "Ed25519", "entrypoint": "agent", "status": 200,
        }),
        json!({"action": "mesh.federation.inbound_jsonrpc", "caller": "peer:gamma"}),
        json!({"action": "federation.refused", "outcome": "refused", "reason": "replayed"}),
        json!({"action": "federation.refused", "reason": "expired"}),
        json!({"action": "auth.refused", "reason": "wrong_token"}),
    ] {
        assert_recorded(&records, &expected);
    }
    // For whom alpha called is told, but not by name.
    let callers = records
        .iter()
        .filter_map(|record| record["caller"].as_str());
    assert!(
        callers
            .clone()
            .any(|caller| caller.starts_with("peer:alpha/"))
    );
    assert!(
        callers
            .clone()
            .all(|caller| !caller.contains("hive-internal"))
    );
    assert_silent(&records, &[TOKEN, &token, &expired, "a secret text"]);

    // Beta is gone, so this call fails.
    through_alpha
        .refused(THROUGH, "SendMessage", say("to nobody"))
        .await;
    let records = audit_of(alpha.stop().await).await;
    for outcome in ["accepted", "failed"] {
        let expected = json!({
            "action": "outbound.call", "outcome": outcome, "caller": "hive-internal", "peer": "beta", "agent": "echo",
            "method": "SendMessage",
        });
        assert_recorded(&records, &expected);
    }
    assert_silent(&records, &[TOKEN, "a secret text"]);
}

/// Whether none of the records says any of this.
fn assert_silent(records: &[Value], secrets: &[&str]) {
    for record in records {
        let text = record.to_string();
        assert!(
            !secrets.iter().any(|secret| text.contains(secret)),
            "{text}"
        );
    }
}
