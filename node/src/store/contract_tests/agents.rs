//! What every store of agents must do.

use super::{embedded_in, fresh_store};
use crate::store::agents::{AgentRow, AgentStore, MemoryAgents};

fn row(id: &str, body: &'static str) -> AgentRow {
    AgentRow {
        id: id.into(),
        body: body.into(),
    }
}

/// For an empty store.
pub(in crate::store) async fn rows_are_kept_replaced_and_forgotten(store: &dyn AgentStore) {
    assert_eq!(store.agents().await.unwrap(), []);
    for (id, body) in [("b", "1"), ("a", "2"), ("b", "3")] {
        store.keep_agent(row(id, body)).await.unwrap();
    }
    let all = [row("a", "2"), row("b", "3")];
    assert_eq!(store.agents().await.unwrap(), all);
    store.forget_agent("a").await.unwrap();
    store.forget_agent("a").await.unwrap();
    assert_eq!(store.agents().await.unwrap(), [row("b", "3")]);
}

#[tokio::test]
async fn in_memory() {
    rows_are_kept_replaced_and_forgotten(&MemoryAgents::default()).await;
}

#[tokio::test]
async fn redis() {
    rows_are_kept_replaced_and_forgotten(&*fresh_store()).await;
}

#[tokio::test]
async fn embedded() {
    let directory = tempfile::tempdir().unwrap();
    let store = embedded_in(directory.path());
    rows_are_kept_replaced_and_forgotten(&store).await;
    store.close().await;
    let opened_again = embedded_in(directory.path());
    assert_eq!(opened_again.agents().await.unwrap(), [row("b", "3")]);
}
