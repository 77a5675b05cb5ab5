//! What a peer may do at a node that trusts it: call the agents that it may see, and nothing else.

use archipel_tests::mesh::{Client, FakeAgent, Identity, TestNode, say};

use super::{JWT, THROUGH};
use crate::ECHO;

#[tokio::test]
async fn a_peer_does_not_reach_other_peers_through_us() {
    let (alpha, gamma) = (Identity::of_new_node(), Identity::of_new_node());
    let mut peer = FakeAgent::start_without_card();
    let beta = Identity::at(peer.origin());
    let node = TestNode::start(|config| {
        alpha.configure(config);
        gamma.configure_as_peer(config, "gamma");
        beta.configure_as_peer(config, "beta");
    });
    let as_gamma = || node.stranger().with(JWT, &gamma.token_for(node.origin()));
    as_gamma().call(ECHO, "SendMessage", say("hello")).await;
    let through = as_gamma()
        .post_rpc(THROUGH, "SendMessage", say("hello"))
        .await;
    through.assert_gate(403, "Forbidden");
    let card = as_gamma()
        .get("/peers/beta/agents/echo/.well-known/agent-card.json")
        .await;
    card.assert_gate(403, "Forbidden");
    as_gamma()
        .get("/metrics")
        .await
        .assert_gate(403, "Forbidden");
    assert!(peer.is_left_alone());
}

#[tokio::test]
async fn an_agent_is_as_visible_as_its_operator_says() {
    let (own, peer) = (Identity::of_new_node(), Identity::of_new_node());
    let node = TestNode::start(|config| {
        own.configure(config);
        peer.configure_as_peer(config, "gamma");
        for visibility in ["peers", "private"] {
            config.add(&format!(
                "[[agents]]\nid = \"of-{visibility}\"\nkind = \"echo\"\nvisibility = \"{visibility}\""
            ));
        }
    });
    let as_peer = || node.stranger().with(JWT, &peer.token_for(node.origin()));
    let call = async |client: Client, agent: &str| {
        client
            .post_rpc(&format!("/agents/{agent}"), "SendMessage", say("hello"))
            .await
    };
    for agent in ["echo", "of-peers", "of-private"] {
        call(node.client(), agent).await.result();
    }
    call(as_peer(), "echo").await.result();
    call(as_peer(), "of-peers").await.result();
    let hidden = call(as_peer(), "of-private").await;
    let missing = call(as_peer(), "nobody").await;
    assert_eq!((hidden.status, hidden.text()), (404, missing.text()));

    let card = async |client: Client, agent: &str| {
        client
            .get(&format!("/agents/{agent}/.well-known/agent-card.json"))
            .await
            .status
    };
    for (agent, stranger, of_peer) in [
        ("echo", 200, 200),
        ("of-peers", 404, 200),
        ("of-private", 404, 404),
        ("nobody", 404, 404),
    ] {
        assert_eq!(card(node.stranger(), agent).await, stranger, "{agent}");
        assert_eq!(card(as_peer(), agent).await, of_peer, "{agent}");
        assert_eq!(
            card(node.client(), agent).await,
            if agent == "nobody" { 404 } else { 200 },
            "{agent}"
        );
    }
}
