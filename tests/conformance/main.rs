//! Nodes between clients and agents that were built with the official SDKs: `a2a-sdk` (Python) and `@a2a-js/sdk`.
//!
//! Every client does everything it can (`client.py`, `client.mjs`) with every agent, directly and through a peer, in every
//! version and binding that the SDKs speak. The SDKs are pinned with hashes and installed once, below the target folder
//! (`sdk`).
#![cfg(test)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use archipel_tests::mesh::TestMesh;

use sdk::{Agent, Sdk};

mod sdk;

/// How agents stand behind a node.
const WAYS: [(&str, &str); 3] = [("JSONRPC", "1.0"), ("JSONRPC", "0.3"), ("HTTP+JSON", "1.0")];

#[tokio::test]
async fn clients_and_agents_of_the_official_sdks_meet_through_nodes() {
    let (python, javascript) = tokio::join!(Sdk::python(), Sdk::javascript());
    let mut agents: Vec<Agent> = Vec::new();
    for sdk in [&python, &javascript] {
        for (binding, version) in WAYS {
            agents.push(sdk.agent(binding, version).await);
        }
    }
    let mesh = TestMesh::pair_with(
        |_| {},
        |beta| {
            // The clients receive what their webhooks are told on this machine.
            beta.add("push.allow_private = true");
            for (index, agent) in agents.iter().enumerate() {
                beta.add(&format!(
                    "[[agents]]\nid = \"sdk-{index}\"\nkind = \"a2a\"\nurl = \"{}\"\n",
                    agent.url
                ));
            }
        },
    );
    let urls: Vec<String> = (0..agents.len())
        .flat_map(|index| {
            [
                format!("{}/agents/sdk-{index}", mesh.beta.origin()),
                format!("{}/peers/beta/agents/sdk-{index}", mesh.alpha.origin()),
            ]
        })
        .collect();
    let (first, second) = tokio::join!(python.client(&urls), javascript.client(&urls));
    let failed: Vec<String> = [first, second]
        .into_iter()
        .filter_map(Result::err)
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
