//! Who is not let in, and that every such answer is a refusal of a gate: nothing behind it was asked.

use archipel_tests::mesh::{Answer, Client, Identity, TOKEN, TestNode, say};

use crate::ECHO;

const JWT: &str = "x-hive-federation-jwt";
const SECRET: &str = "x-hive-federation-secret";

async fn call(client: &Client) -> Answer {
    client.post_rpc(ECHO, "SendMessage", say("hello")).await
}

/// A node that knows one peer, and that peer.
fn node_and_peer() -> (TestNode, Identity) {
    let (own, peer) = (Identity::of_new_node(), Identity::of_new_node());
    let node = TestNode::start(|config| {
        own.configure(config);
        peer.configure_as_peer(config, "gamma");
    });
    (node, peer)
}

#[tokio::test]
async fn a_stranger_is_refused() {
    let node = TestNode::start(|_| {});
    let wrong = TOKEN.replace("operator", "Operator");
    let (no_token, wrong_token) = ("Unauthorized", "Invalid API token");
    for (credential, told) in [
        ("", no_token),
        ("Bearer", no_token),
        ("Bearer ", no_token),
        (TOKEN, no_token),
        ("Basic b3BlcmF0b3I6eA==", no_token),
        (&format!("Basic {TOKEN}"), no_token),
        (&format!("Bearer {wrong}"), wrong_token),
        (&format!("Bearer {TOKEN}x"), wrong_token),
        (&format!("Bearer {}", &TOKEN[1..]), wrong_token),
    ] {
        let answer = call(&node.stranger().with("authorization", credential)).await;
        answer.assert_gate(401, told);
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Bearer"),
            "{credential}"
        );
    }
    call(&node.stranger())
        .await
        .assert_gate(401, "Unauthorized");
    // A stranger is told the same about an agent that is there and one that is not.
    let nobody = node
        .stranger()
        .post_rpc("/agents/nobody", "SendMessage", say("hello"))
        .await;
    assert_eq!(nobody.text(), call(&node.stranger()).await.text());
}

#[tokio::test]
async fn without_a_token_of_its_own_a_node_lets_nobody_in() {
    let node = TestNode::start(|config| config.remove("internal_token"));
    for (credential, told) in [
        ("", "Unauthorized"),
        ("Bearer ", "Unauthorized"),
        ("Bearer null", "Invalid API token"),
        ("Bearer undefined", "Invalid API token"),
        (&format!("Bearer {TOKEN}"), "Invalid API token"),
    ] {
        call(&node.stranger().with("authorization", credential))
            .await
            .assert_gate(401, told);
    }
}

#[tokio::test]
async fn one_federation_credential_at_a_time() {
    let (node, peer) = node_and_peer();
    let token = peer.token_for(node.origin());
    let both = node.stranger().with(JWT, &token).with(SECRET, "anything");
    call(&both).await.assert_gate(400, "Bad Request");
    let mixed = node
        .stranger()
        .with("x-pilox-federation-jwt", &token)
        .with(SECRET, "anything");
    call(&mixed).await.assert_gate(400, "Bad Request");
    call(&node.stranger().with(SECRET, "anything"))
        .await
        .assert_gate(401, "Unauthorized");
    // The token was not looked at, so it is still good; blank counts as absent.
    call(&node.stranger().with(JWT, &token).with(SECRET, " "))
        .await
        .result();
}

#[tokio::test]
async fn a_node_without_federation_takes_no_federation_credential() {
    let node = TestNode::start(|_| {});
    let peer = Identity::of_new_node();
    let client = node.client().with(JWT, &peer.token_for(node.origin()));
    call(&client).await.assert_gate(401, "Unauthorized");
    call(&client.with(SECRET, "anything"))
        .await
        .assert_gate(400, "Bad Request");
}

/// Presents a token to the node; it must be refused, also beside a good bearer token.
async fn check(node: &TestNode, token: &str, message: &str) {
    for client in [node.stranger(), node.client()] {
        let answer = call(&client.with(JWT, token)).await;
        answer.assert_gate(401, "Unauthorized");
        assert_eq!(answer.json()["message"], message, "{token}");
    }
}

const INVALID: &str = "the federation token is not valid";
const NOT_NOW: &str = "the federation token is not valid at this time";

#[tokio::test]
async fn a_token_for_somebody_else_is_refused() {
    let (node, peer) = node_and_peer();
    let own = node.origin();
    for audience in [
        "http://127.0.0.1:1",
        &format!("{own}/"),
        &own.replace("http", "https"),
        "",
        peer.origin(),
    ] {
        check(&node, &peer.token_for(audience), INVALID).await;
    }
}

#[tokio::test]
async fn a_token_of_another_time_is_refused() {
    let (node, peer) = node_and_peer();
    // It lives for a minute, and clocks may differ by a minute.
    check(&node, &peer.token_at(node.origin(), -300), NOT_NOW).await;
    check(&node, &peer.token_at(node.origin(), 300), INVALID).await;
    call(
        &node
            .stranger()
            .with(JWT, &peer.token_at(node.origin(), -80)),
    )
    .await
    .result();
    call(&node.stranger().with(JWT, &peer.token_at(node.origin(), 40)))
        .await
        .result();
}

#[tokio::test]
async fn a_token_of_an_unknown_issuer_is_refused() {
    let (node, peer) = node_and_peer();
    check(
        &node,
        &Identity::of_new_node().token_for(node.origin()),
        INVALID,
    )
    .await;
    // Somebody who uses the peer's name but has not its key.
    check(
        &node,
        &Identity::at(peer.origin()).token_for(node.origin()),
        INVALID,
    )
    .await;
}

#[tokio::test]
async fn a_token_with_another_algorithm_is_refused() {
    let (node, peer) = node_and_peer();
    let own = node.origin();
    check(&node, &peer.confused_token(own), INVALID).await;
    let good = peer.token_for(own);
    let (_, rest) = good.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    // {"alg":"none","typ":"JWT"}, {"alg":"NONE"}, {"alg":"HS256","typ":"JWT"}, {"typ":"JWT"}
    for header in [
        "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0",
        "eyJhbGciOiJOT05FIn0",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
        "eyJ0eXAiOiJKV1QifQ",
    ] {
        check(&node, &format!("{header}.{payload}."), INVALID).await;
        check(&node, &format!("{header}.{payload}.{signature}"), INVALID).await;
        check(&node, &format!("{header}.{payload}.AA"), INVALID).await;
    }
    call(&node.stranger().with(JWT, &good)).await.result();
}

#[tokio::test]
async fn a_token_that_was_altered_is_refused() {
    let (node, peer) = node_and_peer();
    let good = peer.token_for(node.origin());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { 'B' } else { 'A' };
    for token in [
        "x".to_owned(),
        "a.b.c".to_owned(),
        "..".to_owned(),
        format!("{good}.more"),
        signed.to_owned(),
        format!("{signed}."),
        format!("{signed}.{flipped}{}", &signature[1..]),
        format!("{signed}.{signature}="),
        format!("{signed}.{}", "A".repeat(86)),
        "e".repeat(9000),
    ] {
        check(&node, &token, INVALID).await;
    }
    call(&node.stranger().with(JWT, &good)).await.result();
}

#[tokio::test]
async fn a_token_is_taken_once() {
    let (node, peer) = node_and_peer();
    let token = peer.token_for(node.origin());
    call(&node.stranger().with(JWT, &token)).await.result();
    check(&node, &token, "the federation token was already used").await;
    // The same token in the other spelling is the same token.
    let other = call(&node.stranger().with("x-pilox-federation-jwt", &token)).await;
    other.assert_gate(401, "Unauthorized");
    // However many arrive at once, whichever worker they reach.
    let token = peer.token_for(node.origin());
    let client = node.stranger().with(JWT, &token);
    let answers = futures_util::future::join_all((0..16).map(|_| call(&client))).await;
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 200).count(),
        1
    );
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 401).count(),
        15
    );
}

#[tokio::test]
async fn the_gateways_secret_is_right_whenever_it_is_there() {
    const KEY: &str = "secret-of-the-gateway-0123456789-abcdef";
    let header = "x-hive-gateway-auth";
    let node = TestNode::start(|config| config.add(&format!("gateway_secret = \"{KEY}\"")));
    call(&node.client()).await.result();
    call(&node.client().with(header, KEY)).await.result();
    call(&node.client().with(header, &format!("bearer {KEY}")))
        .await
        .result();
    call(&node.client().with(header, "wrong"))
        .await
        .assert_gate(403, "Forbidden");
    let node = TestNode::start(|config| {
        config.add(&format!(
            "gateway_secret = \"{KEY}\"\ngateway_enforced = true"
        ));
    });
    call(&node.client()).await.assert_gate(403, "Forbidden");
    call(&node.client().with(header, " "))
        .await
        .assert_gate(403, "Forbidden");
    call(&node.client().with(header, "wrong"))
        .await
        .assert_gate(403, "Forbidden");
    call(&node.client().with("x-pilox-gateway-auth", KEY))
        .await
        .result();
    // The gateway is no caller: somebody must still be identified behind it.
    call(&node.stranger().with(header, KEY))
        .await
        .assert_gate(401, "Unauthorized");
}

#[tokio::test]
async fn a_closed_node_serves_nobody() {
    let node = TestNode::start(|config| config.add("a2a_enabled = false"));
    call(&node.client())
        .await
        .assert_gate(503, "Service Unavailable");
    let card = node.stranger().get("/.well-known/agent-card.json").await;
    card.assert_gate(503, "Service Unavailable");
    assert_eq!(node.stranger().get("/livez").await.status, 200);
}

#[tokio::test]
async fn the_shared_secret_of_old_lets_nobody_in() {
    let secret = "a-shared-secret-of-some-length-0123";
    let without = TestNode::start(|_| {});
    let answer = call(&without.stranger().with(SECRET, secret)).await;
    answer.assert_gate(401, "Unauthorized");
    let (with, _peer) = node_and_peer();
    let answer = call(&with.stranger().with(SECRET, secret)).await;
    answer.assert_gate(401, "Unauthorized");
}
