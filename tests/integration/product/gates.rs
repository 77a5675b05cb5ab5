//! The gates before agents: what proves a peer, from where, how often, and what it may then do. The order is that of the
//! contract, whose own cases are run by `vectors`.

use archipel_tests::mesh::{
    Answer, Client, FakeAgent, Identity, NodeConfig, Refusal, TestNode, say, until,
};
use archipel_tests::services::RedisServer;
use http::Method;
use serde_json::json;

use crate::{ECHO, upstream_agent};

const JWT: &str = "x-hive-federation-jwt";
const SECRET: &str = "x-hive-federation-secret";
const GROUP_SECRET: &str = "shared-hs256-secret-for-developers-0001";
const DEFAULT: &str = "/api/a2a/jsonrpc";
const ALIASES: [&str; 2] = ["/api/a2a/jsonrpc/public", "/api/a2a/federated/jsonrpc"];

async fn call(client: &Client) -> Answer {
    client.post_rpc(ECHO, "SendMessage", say("hello")).await
}

/// A node that knows one peer, `gamma`, of which `about_peer` is said beside its key; and that peer.
fn node_and_peer(more: impl FnOnce(&mut NodeConfig), about_peer: &str) -> (TestNode, Identity) {
    let (own, peer) = (Identity::of_new_node(), Identity::of_new_node());
    let node = TestNode::start(|config| {
        own.configure(config);
        let (origin, key) = (peer.origin(), peer.public_key());
        config.add(&format!(
            "[[peers]]\nname = \"gamma\"\norigin = \"{origin}\"\ned25519_public_key = \"{key}\"\n{about_peer}"
        ));
        more(config);
    });
    (node, peer)
}

fn as_peer(node: &TestNode, peer: &Identity) -> Client {
    node.stranger().with(JWT, &peer.token_for(node.origin()))
}

fn of_group(config: &mut NodeConfig) {
    config.add(&format!(
        "[federation]\nenabled = true\nshared_secret = \"{GROUP_SECRET}\"\nrate_limit = 1000"
    ));
}

#[tokio::test]
async fn the_shared_secret_is_a_credential_where_the_operator_lets_it_be_one() {
    let node = TestNode::start(of_group);
    let group = node.stranger().with(SECRET, GROUP_SECRET);
    let task = call(&group).await.result()["task"].take();
    for path in [DEFAULT, ALIASES[0], ALIASES[1], "/api/a2a/jsonrpc/"] {
        let read = group.call(path, "GetTask", json!({"id": task["id"]})).await;
        assert_eq!(read["id"], task["id"], "{path}");
    }
    let other_spelling = node
        .stranger()
        .with("x-pilox-federation-secret", &format!(" {GROUP_SECRET} "));
    let rest = other_spelling
        .rest(Method::GET, &format!("{ECHO}/tasks"), None)
        .await;
    assert_eq!(rest.json()["tasks"][0]["id"], task["id"]);
    // The group is not the operator.
    let refusal = node
        .client()
        .refused(ECHO, "GetTask", json!({"id": task["id"]}))
        .await;
    assert_eq!(refusal, Refusal::new(200, -32001, "TASK_NOT_FOUND"));
    for wrong in [
        "x",
        &GROUP_SECRET[1..],
        &GROUP_SECRET.to_uppercase(),
        &"s".repeat(9000),
    ] {
        call(&node.stranger().with(SECRET, wrong))
            .await
            .assert_gate(401, "Unauthorized");
    }

    let closed = TestNode::start(|config| {
        of_group(config);
        config.add("[federation]\ninbound_allow_legacy_secret = false");
    });
    for secret in [GROUP_SECRET, "wrong"] {
        call(&closed.stranger().with(SECRET, secret))
            .await
            .assert_gate(403, "Forbidden");
    }
}

#[tokio::test]
async fn peers_call_from_where_they_may() {
    let allowlist = "[federation]\ninbound_allowlist = [\"127.0.0.2/32\", \"2001:db8::/32\"]";
    let (node, peer) = node_and_peer(|config| config.add(allowlist), "");
    let token = peer.token_for(node.origin());
    for credential in [token.as_str(), "garbage"] {
        call(&node.stranger().with(JWT, credential))
            .await
            .assert_gate(403, "Forbidden");
    }
    // The token was not looked at, so it is still good.
    let elsewhere = node
        .stranger()
        .calling_from([127, 0, 0, 2].into())
        .with(JWT, &token);
    call(&elsewhere).await.result();
    call(&node.client()).await.result();
}

#[tokio::test]
async fn a_caller_must_count_for_enough() {
    let (node, peer) = node_and_peer(
        |config| config.add("[a2a]\nmin_role = \"operator\""),
        "rights = { max_role = \"viewer\" }",
    );
    call(&node.client()).await.result();
    call(&as_peer(&node, &peer))
        .await
        .assert_gate(403, "Forbidden");
    let (node, peer) = node_and_peer(|config| config.add("[a2a]\nmin_role = \"admin\""), "");
    for client in [node.client(), as_peer(&node, &peer)] {
        call(&client).await.assert_gate(403, "Forbidden");
    }
    let (node, peer) = node_and_peer(|_| {}, "rights = { max_role = \"viewer\" }");
    call(&as_peer(&node, &peer)).await.result();
}

/// Checks that a call is held, and for how long.
fn assert_held(answer: &Answer, limit: u64, seconds: std::ops::RangeInclusive<u64>) {
    assert_eq!(answer.status, 429, "{answer}");
    let retry_after = answer.json()["retryAfterSeconds"].as_u64().unwrap();
    assert!(seconds.contains(&retry_after), "{answer}");
    assert_eq!(answer.json()["error"], "Too many requests");
    for (name, expected) in [
        ("retry-after", retry_after),
        ("x-ratelimit-limit", limit),
        ("x-ratelimit-remaining", 0),
    ] {
        assert_eq!(answer.header(name), Some(expected.to_string().as_str()));
    }
}

async fn peers_are_held(first: &TestNode, second: &TestNode, peer: &Identity) {
    for node in [first, second] {
        call(&as_peer(node, peer)).await.result();
    }
    for node in [first, second, first] {
        assert_held(&call(&as_peer(node, peer)).await, 2, 50..=60);
    }
    // Over HTTP+JSON it is the same limit, told as HTTP+JSON tells it.
    let rest = as_peer(first, peer)
        .rest(Method::GET, &format!("{ECHO}/tasks"), None)
        .await;
    assert_eq!(rest.status, 429);
    assert_eq!(rest.json()["error"]["status"], "RESOURCE_EXHAUSTED");
    // Another address has its own, and so has everybody who is not a peer.
    let elsewhere = as_peer(first, peer).calling_from([127, 0, 0, 2].into());
    call(&elsewhere).await.result();
    for _ in 0..5 {
        call(&first.client()).await.result();
    }
}

#[tokio::test]
async fn peers_call_as_often_as_their_address_may() {
    let (node, peer) = node_and_peer(|config| config.add("[federation]\nrate_limit = 2"), "");
    peers_are_held(&node, &node, &peer).await;
}

#[tokio::test]
async fn replicas_count_together() {
    let mut redis = RedisServer::start().unwrap();
    let (own, peer) = (Identity::of_new_node(), Identity::of_new_node());
    let replica = || {
        TestNode::start(|config| {
            own.configure(config);
            peer.configure_as_peer(config, "gamma");
            let (url, origin) = (redis.url(), own.origin());
            config.add(&format!(
                "listen = \"127.0.0.1:0\"\npublic_origin = \"{origin}\"\n[federation]\nrate_limit = 2\n\
                 [redis]\nurl = \"{url}\""
            ));
        })
    };
    let (first, second) = (replica(), replica());
    // Tokens are for the node, whichever replica takes them.
    let as_peer = |node: &TestNode| node.stranger().with(JWT, &peer.token_for(own.origin()));
    // Tokens of the second in which Redis began to remember them are not taken.
    until("a token that is taken", async || {
        let answer = call(&as_peer(&first)).await;
        (answer.status == 200).then_some(())
    })
    .await;
    call(&as_peer(&second)).await.result();
    for node in [&first, &second] {
        assert_held(&call(&as_peer(node)).await, 2, 50..=60);
    }
    // Without Redis nobody knows how often anybody called, but nobody knows either whether a token was used before.
    redis.kill().unwrap();
    call(&as_peer(&first))
        .await
        .assert_gate(503, "Service Unavailable");
    redis.restart().unwrap();
}

#[tokio::test]
async fn while_calls_cannot_be_counted_no_peer_calls() {
    let node = TestNode::start(|config| {
        of_group(config);
        config.add("[redis]\nurl = \"redis://127.0.0.1:1\"");
    });
    let group = node.stranger().with(SECRET, GROUP_SECRET);
    for _ in 0..3 {
        assert_held(&call(&group).await, 1000, 30..=30);
    }
    let metrics = node.client().get("/metrics").await;
    let undecided = "archipel_limited_calls_total{outcome=\"undecided\"";
    assert!(metrics.text().contains(undecided), "{metrics}");
}

#[tokio::test]
async fn a_peer_may_have_a_limit_of_its_own() {
    let limit = "limit = { calls = 60, per = \"1m\", burst = 1 }";
    let (node, peer) = node_and_peer(|_| {}, limit);
    call(&as_peer(&node, &peer)).await.result();
    assert_held(&call(&as_peer(&node, &peer)).await, 1, 1..=1);
    // It is the peer's, wherever it calls from.
    let elsewhere = as_peer(&node, &peer).calling_from([127, 0, 0, 2].into());
    assert_held(&call(&elsewhere).await, 1, 1..=1);
}

#[tokio::test]
async fn a_flood_of_bad_credentials_holds_its_address_and_nobody_else() {
    let (node, peer) = node_and_peer(|config| config.add("[limits]\nfailures = 20"), "");
    let here = |client: Client| client.calling_from([127, 0, 0, 2].into());
    let mut told = std::collections::BTreeMap::new();
    for number in 0..300 {
        let bad = match number % 3 {
            0 => node.stranger().with(JWT, &format!("{number}.bad.token")),
            1 => node.stranger().with_bearer(&format!("wrong-{number}")),
            _ => node.stranger().with(JWT, &"e".repeat(9000)),
        };
        let answer = call(&here(bad)).await;
        *told.entry(answer.status).or_insert(0) += 1;
        if number == 150 {
            // In the midst of it, others are served.
            call(&as_peer(&node, &peer)).await.result();
            call(&node.client()).await.result();
        }
    }
    assert_eq!(told.keys().copied().collect::<Vec<_>>(), [401, 429]);
    assert!((20..200).contains(&told[&401]), "{told:?}");
    // At that address nothing is looked at now, not even what is right; who presents nothing is told as ever.
    let held = call(&here(as_peer(&node, &peer))).await;
    assert_held(&held, 20, 1..=3);
    call(&here(node.stranger()))
        .await
        .assert_gate(401, "Unauthorized");
    call(&node.stranger().with(JWT, "bad"))
        .await
        .assert_gate(401, "Unauthorized");
}

#[tokio::test]
async fn a_credential_is_there_once_and_of_a_sensible_size() {
    let (node, peer) = node_and_peer(|_| {}, "");
    let token = peer.token_for(node.origin());
    let twice = [
        node.stranger().with(JWT, &token).and(JWT, &token),
        node.stranger().with(SECRET, "x").and(SECRET, "y"),
        node.client().and("authorization", "Bearer other"),
    ];
    for client in twice {
        call(&client).await.assert_gate(400, "Bad Request");
    }
    // Trimmed, one character more than 8192 is no token; neither is one character.
    for size in [1, 8192, 8193, 60_000] {
        call(&node.stranger().with(JWT, &"e".repeat(size)))
            .await
            .assert_gate(401, "Unauthorized");
    }
    // In both spellings, ours counts.
    let both = node
        .stranger()
        .with("x-pilox-federation-jwt", "garbage")
        .with(JWT, &token);
    call(&both).await.result();
}

#[tokio::test]
async fn a_peer_calls_the_agents_that_are_for_it() {
    let more = |config: &mut NodeConfig| config.add("[[agents]]\nid = \"other\"\nkind = \"echo\"");
    let (node, peer) = node_and_peer(more, "rights = { agents = [\"other\"] }");
    let at = async |agent: &str| {
        let path = format!("/agents/{agent}");
        as_peer(&node, &peer)
            .post_rpc(&path, "SendMessage", say("hello"))
            .await
    };
    at("other").await.result();
    let (hidden, missing) = (at("echo").await, at("nobody").await);
    assert_eq!((hidden.status, hidden.text()), (404, missing.text()));
    // The default agent is the one that is hidden.
    for path in [DEFAULT, ALIASES[1]] {
        let answer = as_peer(&node, &peer)
            .post_rpc(path, "SendMessage", say("hello"))
            .await;
        assert_eq!(answer.status, 404);
    }
    let catalog = as_peer(&node, &peer)
        .get("/.well-known/ai-catalog.json")
        .await;
    let entries = catalog.json()["entries"].as_array().unwrap().clone();
    assert_eq!(entries.len(), 1, "{entries:?}");
}

#[tokio::test]
async fn a_peer_asks_for_the_operations_that_are_for_it() {
    let mut agent = FakeAgent::start();
    let elsewhere = format!(
        "{}mode = \"passthrough\"\n",
        upstream_agent("elsewhere", agent.origin())
    );
    let rights = "rights = { methods = [\"SendMessage\"] }";
    let (node, peer) = node_and_peer(|config| config.add(&elsewhere), rights);
    let client = || as_peer(&node, &peer);
    let task = client().call(ECHO, "SendMessage", say("hello")).await["task"].take();
    let refused = Refusal::new(200, -32000, "METHOD_NOT_ALLOWED");
    let id = json!({"id": task["id"]});
    for method in ["GetTask", "NoSuchMethod", "message/send/"] {
        assert_eq!(
            client().refused(ECHO, method, id.clone()).await,
            refused,
            "{method}"
        );
    }
    // In another version it is the same operation, and in another binding.
    let old = client()
        .with("a2a-version", "0.3")
        .post_rpc(ECHO, "tasks/get", id)
        .await;
    assert_eq!(old.json()["error"]["code"], -32000);
    let rest = client()
        .rest(Method::GET, &format!("{ECHO}/tasks"), None)
        .await;
    assert_eq!(
        (rest.status, &rest.json()["error"]["status"]),
        (403, &json!("PERMISSION_DENIED"))
    );
    // An agent elsewhere does not even hear of it.
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"GetTask","params":{}}"#,
        "{",
        "[]",
    ] {
        let answer = client().post("/agents/elsewhere", body).await;
        assert_eq!(answer.refusal().reason, "METHOD_NOT_ALLOWED", "{body}");
    }
    assert!(agent.is_left_alone());
}
