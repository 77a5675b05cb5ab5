//! Nodes between clients and agents that were built with the official SDKs: `a2a-sdk` (Python) and `@a2a-js/sdk`.
//!
//! Every client does everything it can (`client.py`, `client.mjs`) with every agent, directly, through a peer and through a
//! gateway, in every version and binding that the SDKs speak. The SDKs are pinned with hashes and installed once, below the
//! target folder (`sdk`).
#![cfg(test)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

use std::sync::Arc;

use archipel_gateway::{ConfigSource, Gateway, GatewaySettings, StopHandle};
use archipel_kit::clock::SystemClock;
use archipel_kit::settings::load;
use archipel_kit::telemetry::{Telemetry, TelemetrySettings};
use archipel_tests::mesh::{NodeConfig, TestMesh, TestNode, free_port};

use sdk::{Agent, Sdk};

mod sdk;

/// How agents stand behind a node.
const WAYS: [(&str, &str); 3] = [("JSONRPC", "1.0"), ("JSONRPC", "0.3"), ("HTTP+JSON", "1.0")];

#[actix_rt::test]
async fn clients_and_agents_of_the_official_sdks_meet_through_nodes() {
    let (python, javascript) = tokio::join!(Sdk::python(), Sdk::javascript());
    let mut agents: Vec<Agent> = Vec::new();
    for sdk in [&python, &javascript] {
        for (binding, version) in WAYS {
            agents.push(sdk.agent(binding, version).await);
        }
    }
    let mesh = TestMesh::pair_with(|_| {}, |beta| host(beta, &agents));
    let address = format!("127.0.0.1:{}", free_port());
    let behind = TestNode::start(|config| {
        host(config, &agents);
        config.add(&format!("public_origin = \"http://{address}\""));
    });
    let gateway = gateway(&address, behind.origin());
    let urls: Vec<String> = (0..agents.len())
        .flat_map(|index| {
            [
                format!("{}/agents/sdk-{index}", mesh.beta.origin()),
                format!("{}/peers/beta/agents/sdk-{index}", mesh.alpha.origin()),
                format!("http://{address}/agents/sdk-{index}"),
            ]
        })
        .collect();
    let (first, second) = tokio::join!(python.client(&urls), javascript.client(&urls));
    gateway.stop().await;
    let failed: Vec<String> = [first, second]
        .into_iter()
        .filter_map(Result::err)
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Puts the agents behind a node.
fn host(config: &mut NodeConfig, agents: &[Agent]) {
    // The clients receive what their webhooks are told on this machine.
    config.add("push.allow_private = true");
    for (index, agent) in agents.iter().enumerate() {
        let url = &agent.url;
        config.add(&format!(
            "[[agents]]\nid = \"sdk-{index}\"\nkind = \"a2a\"\nurl = \"{url}\"\n"
        ));
    }
}

/// Starts a gateway in front of a node.
fn gateway(address: &str, node: &str) -> StopHandle {
    let variables = [
        ("GATEWAY_LISTEN", address),
        ("GATEWAY_UPSTREAM_BASE", node),
        ("GATEWAY_WORKERS", "1"),
    ];
    let source = ConfigSource {
        file: None,
        environment: variables.into_iter().collect(),
    };
    let settings = GatewaySettings::load(None, &source.environment).unwrap();
    let quiet: TelemetrySettings =
        load(None, &[("ARCHIPEL_LOG", "off")].into_iter().collect()).unwrap();
    let telemetry = Arc::new(Telemetry::start(&quiet, "gateway-test").unwrap());
    let clock = Arc::new(SystemClock::new());
    let gateway = Gateway::bind(settings, source, telemetry, clock).unwrap();
    let stop = gateway.stop_handle();
    actix_rt::spawn(gateway.run());
    stop
}
