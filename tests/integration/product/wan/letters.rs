//! Letters as others may write them: what a token is good for, and who is a stranger.

use archipel_protocol::wan::Envelope;
use archipel_tests::mesh::{Client, Identity, TestNode, say, until};
use archipel_tests::services::{NatsServer, RedisServer};
use serde_json::{Value, json};

use super::ingress::INGRESS;
use crate::ECHO;
use crate::federation::records::{assert_recorded, audit_of};

const JWT: &str = "x-hive-federation-jwt";

fn request() -> String {
    json!({"jsonrpc": "2.0", "id": 7, "method": "SendMessage", "params": say("by letter")})
        .to_string()
}

/// Brings a letter; whether it came before.
async fn bring(client: &Client, letter: &Value) -> bool {
    let answer = client.post(INGRESS, letter.to_string()).await;
    assert_eq!(answer.status, 202, "{answer}");
    answer.json()["duplicate"] == true
}

/// How many tasks a peer has at the echo agent. A Redis that has just started takes no token of its first second.
async fn tasks_of(peer: &Identity, node: &TestNode) -> Value {
    until("a token to be taken", async || {
        let client = node.stranger().with(JWT, &peer.token_for(node.origin()));
        let listed = client.post_rpc(ECHO, "ListTasks", json!({})).await;
        let is_early = listed.status == 401 && listed.text().contains("mint another");
        (!is_early).then(|| listed.result()["totalSize"].clone())
    })
    .await
}

async fn until_seen_to(client: &Client) -> Value {
    until("no letter to wait", async || {
        let status = client.get("/api/mesh/wan").await.json();
        (status["inbox"]["waiting"] == 0).then_some(status)
    })
    .await
}

/// Letters with which something is wrong, and what.
fn bad_letters(node: &TestNode, gamma: &Identity, good: &Value) -> Vec<(Value, &'static str)> {
    let letter = |from: &Identity| from.letter(node.origin(), "echo", &request());
    let changed = |envelope: Envelope, place: &str, text: &str| {
        let mut envelope = envelope.to_value();
        *envelope.pointer_mut(place).unwrap() = text.into();
        envelope
    };
    let call = "/payload/archipelCall";
    let of_http = gamma.token_for(node.origin());
    let stranger = Identity::of_new_node();
    let other_name = "00000000-0000-4000-8000-000000000000";
    let mut replayed = good.clone();
    replayed["correlationId"] = other_name.into();
    let claims = "a claim is wrong";
    vec![
        // The same call under another name; another call, or another agent, under the same token.
        (replayed, claims),
        (
            changed(letter(gamma), &format!("{call}/body"), "{}"),
            claims,
        ),
        (
            changed(letter(gamma), "/sourceOrigin", stranger.origin()),
            claims,
        ),
        // A token that is for calls over HTTP; one for another node.
        (
            changed(letter(gamma), &format!("{call}/token"), &of_http),
            claims,
        ),
        (
            gamma
                .letter("https://other.example", "echo", &request())
                .to_value(),
            "meant for another audience",
        ),
        // Somebody whom the node does not know, by whatever name.
        (letter(&stranger).to_value(), claims),
        (
            changed(letter(gamma), &format!("{call}/token"), "a.b.c"),
            "not a token",
        ),
    ]
}

#[tokio::test]
async fn a_letter_is_good_once_and_for_nothing_else() {
    let nats = NatsServer::start().unwrap();
    let (own, gamma) = (Identity::of_new_node(), Identity::of_new_node());
    let node = TestNode::start(|config| {
        own.configure(config);
        gamma.configure_as_peer(config, "gamma");
        config.add(&format!("nats.url = \"{}\"", nats.url()));
    });
    let operator = node.client();
    let letter = |from: &Identity| from.letter(node.origin(), "echo", &request());
    let good = letter(&gamma).to_value();
    assert!(!bring(&operator, &good).await);
    assert!(bring(&operator, &good).await, "it came before");
    until_seen_to(&operator).await;
    assert_eq!(tasks_of(&gamma, &node).await, 1);

    for (bad, reason) in bad_letters(&node, &gamma, &good) {
        assert!(!bring(&operator, &bad).await, "{bad}");
        until_seen_to(&operator).await;
        let dead = dead(&operator).await;
        let is_it = |dead: &&Value| dead["correlationId"] == bad["correlationId"];
        let told = dead.iter().find(is_it).unwrap()["reason"].as_str();
        assert!(told.unwrap().ends_with(reason), "{told:?}: {bad}");
    }
    assert_eq!(tasks_of(&gamma, &node).await, 1);
    // Nor is a letter's token good over HTTP.
    let token = letter(&gamma).to_value()["payload"]["archipelCall"]["token"].clone();
    let presented = node.stranger().with(JWT, token.as_str().unwrap());
    let refused = presented.post(ECHO, request()).await;
    refused.assert_gate(401, "Unauthorized");
    let records = audit_of(node.stop().await).await;
    let refused = json!({"action": "federation.refused", "reason": "bad_claims"});
    assert_recorded(&records, &refused);
}

/// Neither the row of the inbox nor the task is there any more: what is left is the claim.
#[tokio::test]
async fn a_letter_that_everybody_forgot_has_no_second_effect() {
    const FORGET: &str = "for _, key in ipairs(redis.call('KEYS', '*')) do \
        if string.find(key, ':wan:in:') or string.find(key, ':task:') or string.find(key, ':list:') \
        then redis.call('DEL', key) end end";
    let (nats, redis) = (NatsServer::start().unwrap(), RedisServer::start().unwrap());
    let (own, gamma) = (Identity::of_new_node(), Identity::of_new_node());
    let node = TestNode::start(|config| {
        own.configure(config);
        gamma.configure_as_peer(config, "gamma");
        config.add(&format!(
            "nats.url = \"{}\"\nredis.url = \"{}\"",
            nats.url(),
            redis.url()
        ));
    });
    let operator = node.client();
    assert_eq!(tasks_of(&gamma, &node).await, 0);
    let letter = gamma.letter(node.origin(), "echo", &request()).to_value();
    assert!(!bring(&operator, &letter).await);
    until_seen_to(&operator).await;
    assert_eq!(tasks_of(&gamma, &node).await, 1);
    redis.ask(&["EVAL", FORGET, "0"]).unwrap();
    assert!(!bring(&operator, &letter).await, "nobody remembers it");
    until_seen_to(&operator).await;
    let dead = dead(&operator).await;
    assert_eq!(dead[0]["reason"], "the federation token was already used");
    assert_eq!(tasks_of(&gamma, &node).await, 0);
}

async fn dead(client: &Client) -> Vec<Value> {
    let list = client.get("/api/mesh/wan/dead").await.json();
    list["dead"].as_array().unwrap().clone()
}
