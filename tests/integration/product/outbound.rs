//! Calls to peers: for whom they are made and how far they go, when they are not made at all, and peers that are Hive nodes.
//!
//! Read on in `hive`.

use archipel_protocol::federation::{Actor, Delegation};
use archipel_protocol::ids::Origin;
use archipel_tests::mesh::{
    Client, FakeAgent, Identity, Refusal, TestMesh, TestNode, id_of, say, state_of,
};
use archipel_tests::services::RedisServer;
use serde_json::json;

mod hive;

/// Where the echo agent of peer `beta` is called.
const THROUGH: &str = "/peers/beta/agents/echo";
/// Where the agent of peer `gamma` is called.
const GAMMA: &str = "/peers/gamma/agents/echo";
const JWT: &str = "x-hive-federation-jwt";

/// Two nodes, and a third that is a peer of the first.
struct Three {
    mesh: TestMesh,
    gamma: Identity,
}

impl Three {
    fn start(rights: &str) -> Self {
        let gamma = Identity::at("https://gamma.example");
        let mesh = TestMesh::pair_with(
            |alpha| {
                gamma.configure_as_peer(alpha, "gamma");
                alpha.set_of_peer("gamma", rights);
            },
            |_| {},
        );
        Self { mesh, gamma }
    }

    /// Gamma, as it calls alpha for somebody; each call needs a token of its own.
    fn gamma_for(&self, chain: &[(&str, &str)], hops: Option<u8>) -> Client {
        let actor = |&(iss, sub): &(&str, &str)| Actor {
            iss: Origin::parse(iss).unwrap(),
            sub: sub.to_owned(),
        };
        let chain = chain.iter().map(actor).collect();
        let delegation = Delegation { chain, hops };
        let alpha = &self.mesh.alpha;
        let token = self.gamma.delegated_token(alpha.origin(), &delegation);
        alpha.stranger().with(JWT, &token)
    }

    fn gammas(&self, caller: &str) -> Client {
        self.gamma_for(&[(self.gamma.origin(), caller)], None)
    }
}

#[tokio::test]
async fn callers_of_one_node_do_not_see_each_others_tasks_at_a_peer() {
    let three = Three::start("rights.forward = true");
    let operator = three.mesh.alpha.client();
    let said = operator.call(THROUGH, "SendMessage", say("mine")).await;
    let of_operator = id_of(&said);
    let carol = three.gammas("carol");
    let said = carol.call(THROUGH, "SendMessage", say("hers"));
    let of_carol = id_of(&said.await);

    let get = |id: &str| json!({"id": id});
    let missing = Refusal::new(200, -32001, "TASK_NOT_FOUND");
    let seen = operator.call(THROUGH, "GetTask", get(&of_operator)).await;
    assert_eq!(state_of(&seen), "TASK_STATE_COMPLETED");
    let carol = three.gammas("carol");
    let seen = carol.call(THROUGH, "GetTask", get(&of_carol));
    assert_eq!(id_of(&seen.await), of_carol);
    for (stranger, id) in [
        (operator.clone(), &of_carol),
        (three.gammas("carol"), &of_operator),
        (three.gammas("dave"), &of_carol),
        // Gamma itself is yet another caller.
        (three.gamma_for(&[], None), &of_carol),
    ] {
        assert_eq!(stranger.refused(THROUGH, "GetTask", get(id)).await, missing);
    }
    let listed = three
        .gammas("carol")
        .call(THROUGH, "ListTasks", json!({}))
        .await;
    assert_eq!(listed["totalSize"], 1, "{listed}");
    // Whoever calls beta itself as alpha does, but for nobody, sees neither.
    let beta = three.mesh.beta.client();
    let own = beta
        .refused("/agents/echo", "GetTask", get(&of_operator))
        .await;
    assert_eq!(own, missing);
}

#[tokio::test]
async fn a_call_of_a_peer_goes_on_only_where_it_may() {
    let three = Three::start("");
    let refused = three
        .gammas("carol")
        .post_rpc(THROUGH, "SendMessage", say("x"))
        .await;
    refused.assert_gate(403, "Forbidden");

    let three = Three::start("rights.forward = true");
    let (gamma, alpha) = (three.gamma.origin(), three.mesh.alpha.origin());
    let beta = three.mesh.beta.origin();
    let loops = |id| Refusal::under(508, -32000, "LOOP_DETECTED", id);
    for (chain, hops) in [
        // It has been at beta already.
        (vec![(gamma, "a"), (beta, "b")], None),
        // It must not go on.
        (vec![(gamma, "a")], Some(0)),
    ] {
        let client = three.gamma_for(&chain, hops);
        let refusal = client.refused(THROUGH, "SendMessage", say("x")).await;
        assert_eq!(refusal, loops(json!(1)), "{chain:?}");
    }
    // It has been here already, so it is not looked at.
    let client = three.gamma_for(&[(gamma, "a"), (alpha, "b")], None);
    let refusal = client
        .refused("/agents/echo", "SendMessage", say("x"))
        .await;
    assert_eq!(refusal, loops(json!(null)));
    // The last hop is a hop.
    let client = three.gamma_for(&[(gamma, "a")], Some(1));
    client.call(THROUGH, "SendMessage", say("x")).await;
}

#[tokio::test]
async fn a_peer_has_so_many_calls_at_once_and_no_more() {
    let mut peer = FakeAgent::start_without_card();
    let node = node_with_peer(&peer, "max_concurrent = 1", "");
    let client = node.client();
    let held = tokio::spawn(async move { client.post_rpc(GAMMA, "SendMessage", say("1")).await });
    let call = peer.call().await;
    let stream = call.stream();
    // Its head is there, its end is not.
    let refused = node.client().post_rpc(GAMMA, "SendMessage", say("2")).await;
    assert_eq!(refused.refusal(), Refusal::new(503, -32000, "UNAVAILABLE"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(peer.is_left_alone());
    drop(stream);
    assert_eq!(held.await.unwrap().status, 200);
    let client = node.client();
    let next = tokio::spawn(async move { client.post_rpc(GAMMA, "SendMessage", say("3")).await });
    peer.call().await.answer(json!({}));
    assert_eq!(next.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_peer_that_keeps_failing_is_left_alone() {
    let mut peer = FakeAgent::start_without_card();
    let node = node_with_peer(&peer, "", "federation.breaker_failures = 2");
    for status in [500, 400, 500, 502] {
        let client = node.client();
        let sent =
            tokio::spawn(async move { client.post_rpc(GAMMA, "SendMessage", say("x")).await });
        // That the call was not right says nothing against the peer.
        let body = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"no"}}"#;
        peer.call()
            .await
            .answer_raw(status, "application/json", body);
        let expected = if status == 400 { 400 } else { 502 };
        assert_eq!(sent.await.unwrap().status, expected);
    }
    let refused = node.client().post_rpc(GAMMA, "SendMessage", say("x")).await;
    assert_eq!(refused.refusal(), Refusal::new(503, -32000, "UNAVAILABLE"));
    let pause: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=11).contains(&pause), "{pause}");
    assert!(peer.is_left_alone());
    let metrics = node.client().get("/metrics").await;
    for line in [
        "archipel_peer_left_alone{peer=\"gamma\"} 1",
        "archipel_peer_calls_open{peer=\"gamma\"} 0",
        "archipel_peer_call_seconds_count{peer=\"gamma\"} 4",
    ] {
        assert!(metrics.text().contains(line), "{line} in\n{metrics}");
    }
}

#[tokio::test]
async fn a_peer_that_lost_its_memory_of_tokens_gets_another() {
    let redis = RedisServer::start().unwrap();
    let url = redis.url();
    let mesh = TestMesh::pair_with(|_| {}, |beta| beta.add(&format!("redis.url = \"{url}\"")));
    let client = mesh.alpha.client();
    client.call(THROUGH, "SendMessage", say("before")).await;
    redis.ask(&["flushall"]).unwrap();
    // The token is older than the memory that begins with it.
    client.call(THROUGH, "SendMessage", say("after")).await;
    let metrics = client.get("/metrics").await;
    let repeated = "archipel_peer_repeats_total{reason=\"mint_again\"}";
    assert!(metrics.text().contains(repeated), "{metrics}");
}

/// A node whose peer `gamma` is played by the test.
fn node_with_peer(peer: &FakeAgent, of_peer: &str, more: &str) -> TestNode {
    let (own, peer) = (Identity::of_new_node(), Identity::at(peer.origin()));
    TestNode::start(|config| {
        own.configure(config);
        peer.configure_as_peer(config, "gamma");
        config.set_of_peer("gamma", of_peer);
        config.add(more);
    })
}
