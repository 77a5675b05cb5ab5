//! The operator's proxy to peers by their place in the roster, against what the original did (`tests/vectors/proxy_http.json`).

use archipel_kit::clock::{Clock as _, SystemClock};
use archipel_protocol::federation::{PeerKey, Policy, Verifier, keys};
use archipel_protocol::ids::Origin;
use archipel_tests::mesh::{AgentCall, Answer, Client, FakeAgent, NodeConfig, TestNode, free_port};
use serde_json::{Value, json};

const PROXY: &str = "/api/mesh/federation/proxy/jsonrpc";
const VECTORS: &str = include_str!("../../vectors/proxy_http.json");

/// What ours does otherwise, and why.
const DIFFERENCES: [(&str, &str); 3] = [
    (
        "peer_unreachable",
        "a peer that is away is told as 502 and recorded, not as a failure of ours",
    ),
    (
        "send_secret",
        "a token and a secret together are refused by every node: the secret stays here",
    ),
    ("upstream_429", "how long to wait goes through"),
];

/// What a variable is called in the configuration.
const KEYS: [(&str, &str); 9] = [
    ("AUTH_URL", "public_origin"),
    ("MESH_FEDERATION_ENABLED", "federation.enabled"),
    ("MESH_FEDERATION_PEERS", "federation.peer_origins"),
    ("MESH_FEDERATION_SHARED_SECRET", "federation.shared_secret"),
    ("MESH_FEDERATION_JWT_ALG", "federation.algorithm"),
    (
        "MESH_FEDERATION_PEER_ED25519_PUBLIC_KEYS",
        "federation.peer_ed25519_public_keys",
    ),
    (
        "MESH_FEDERATION_ED25519_SEED_HEX",
        "federation.ed25519_seed",
    ),
    ("MESH_FEDERATION_JWT_AUDIENCE", "federation.audience"),
    ("MESH_FEDERATION_JWT_TTL_SECONDS", "federation.token_ttl"),
];

/// The node of a case, whose peer is at this origin.
fn configure(config: &mut NodeConfig, variables: &Value, peer: &str) {
    config.add("dialect = \"pilox\"");
    for (name, value) in variables.as_object().unwrap() {
        let port = peer.rsplit(':').next().unwrap();
        let value = value.as_str().unwrap().replace("<port>", port);
        let Some((_, key)) = KEYS.iter().find(|(known, _)| known == name) else {
            // The tests have a token of their own, and the secret is never sent.
            assert!(matches!(
                name.as_str(),
                "PILOX_INTERNAL_TOKEN" | "MESH_FEDERATION_PROXY_SEND_SECRET"
            ));
            continue;
        };
        config.add(&match *key {
            "federation.enabled" => format!("{key} = {value}"),
            "federation.peer_origins" | "federation.peer_ed25519_public_keys" => {
                format!("{key} = [\"{value}\"]")
            }
            "federation.token_ttl" => format!("{key} = \"{value}s\""),
            _ => format!("{key} = \"{value}\""),
        });
    }
}

fn answer(call: AgentCall, kind: &str) {
    match kind {
        "sse" => call.answer_raw(
            200,
            "text/event-stream",
            "data: {\"a\":1}\n\ndata: {\"b\":2}\n\n",
        ),
        "429" => call.answer_raw(429, "application/json", r#"{"error":"slow"}"#),
        _ => call.answer_raw(
            200,
            "application/json",
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        ),
    }
}

#[tokio::test]
async fn what_the_original_did_is_done() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    for case in vectors["cases"].as_array().unwrap() {
        check(case).await;
    }
}

async fn check(case: &Value) {
    let name = case["name"].as_str().unwrap();
    let (input, expected) = (&case["input"], &case["expected"]);
    let mut peer = FakeAgent::start_without_card();
    let node = TestNode::start(|config| configure(config, &input["env"], peer.origin()));
    let mut client = node.client();
    for (header, value) in input["step"]["headers"].as_object().unwrap() {
        if header != "authorization" {
            client = client.with(header, value.as_str().unwrap());
        }
    }
    let body = input["step"]["body"].to_string();
    let mut sent = tokio::spawn(async move { client.post(PROXY, body).await });
    if expected["upstreamSaw"].is_object() {
        let call = tokio::select! {
            call = peer.call() => call,
            told = &mut sent => panic!("{name}: the peer was not called: {}", told.unwrap()),
        };
        check_seen(name, &call, &expected["upstreamSaw"], peer.origin());
        answer(call, input["upstream"].as_str().unwrap());
    }
    let told = sent.await.unwrap();
    assert!(peer.is_left_alone(), "{name}");
    if name == "peer_unreachable" {
        return assert_eq!(told.status, 502, "{told}");
    }
    check_told(name, &told, &expected["response"]);
}

fn check_seen(name: &str, call: &AgentCall, expected: &Value, peer: &str) {
    assert_eq!(call.path, expected["url"], "{name}");
    for (header, value) in expected["headers"].as_object().unwrap() {
        let is_kept_here = DIFFERENCES[1].0 == name && header.ends_with("-secret");
        let value = value.as_str().filter(|_| !is_kept_here);
        assert_eq!(call.header(header), value, "{name}: {header}");
    }
    assert_eq!(call.header("authorization"), None);
    let body: Value = serde_json::from_str(expected["body"].as_str().unwrap()).unwrap_or_default();
    assert_eq!(call.body(), &body, "{name}");
    let claims = &expected["jwtClaims"];
    let issuer = claims["iss"].as_str().unwrap();
    let verifier = match expected["jwtHeader"]["alg"].as_str() {
        Some("HS256") => Verifier::hs256("shared-hs256-secret-for-developers-0001", &[issuer]),
        _ => {
            let key = PeerKey::new(keys::public_key_of_seed(&[0x11; 32]).unwrap());
            Verifier::ed25519([(Origin::parse(issuer).unwrap(), [key])])
        }
    };
    let policy = Policy {
        audience: Some(peer.to_owned()),
        skew_seconds: 5,
        ..Policy::default()
    };
    let now = i64::try_from(SystemClock::new().now_ms() / 1000).unwrap();
    let token = call.header("x-pilox-federation-jwt").unwrap();
    let verified = verifier.unwrap().verify(token, &policy, now);
    let verified = verified.unwrap_or_else(|error| panic!("{name}: {error}"));
    let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert_eq!(verified.expires_at - verified.issued_at, life, "{name}");
    // Beyond the contract: for whom.
    assert_eq!(verified.delegation.chain.len(), 1, "{name}");
}

fn check_told(name: &str, told: &Answer, expected: &Value) {
    assert_eq!(told.status, expected["status"], "{name}: {told}");
    for (header, value) in expected["headers"].as_object().unwrap() {
        assert_eq!(told.header(header), value.as_str(), "{name}: {header}");
    }
    match &expected["body"] {
        Value::String(text) => assert_eq!(told.text(), text, "{name}"),
        body if body.get("message").is_some() => {
            told.assert_gate(told.status, body["error"].as_str().unwrap());
        }
        body => assert_eq!(&told.json(), body, "{name}"),
    }
}

/// A node that calls the peer at this origin.
fn node(peer: &str, more: &str) -> TestNode {
    TestNode::start(|config| {
        config.add(&format!(
            r#"
            [federation]
            enabled = true
            shared_secret = "shared-hs256-secret-for-developers-0001"
            peer_origins = ["{peer}"]
            "#
        ));
        config.add(more);
    })
}

#[tokio::test]
async fn who_may_use_it_is_asked_before_what_is_asked() {
    const TOKEN: &str = "x-hive-federation-proxy-operator-token";
    let second = "second-key-of-the-operator-0123456789";
    let mut peer = FakeAgent::start_without_card();
    let node = node(
        peer.origin(),
        &format!("federation.proxy_operator_token = \"{second}\""),
    );
    let asked = json!({"peerIndex": 0, "rpc": {}}).to_string();
    let refused = |client: Client, status, error: &'static str| {
        let asked = asked.clone();
        async move { client.post(PROXY, asked).await.assert_gate(status, error) }
    };
    refused(node.stranger(), 401, "Unauthorized").await;
    refused(node.client(), 403, "Forbidden").await;
    refused(node.client().with(TOKEN, "wrong"), 403, "Forbidden").await;
    let client = node.client().with(TOKEN, second);
    for body in ["", "[]", "{}", r#"{"peerIndex":1}"#, r#"{"peerIndex":"x"}"#] {
        client
            .post(PROXY, body)
            .await
            .assert_gate(400, "Bad Request");
    }
    let large = vec![b' '; 2 * 1024 * 1024];
    let answer = client.post(PROXY, large).await;
    answer.assert_gate(413, "Payload Too Large");
    assert!(peer.is_left_alone());
    let sent = tokio::spawn(async move { client.post(PROXY, asked).await });
    answer_with_wait(peer.call().await);
    assert_eq!(sent.await.unwrap().status, 200);
}

fn answer_with_wait(call: AgentCall) {
    // The operator's second key is the operator's.
    assert!(!format!("{:?}", call.header_names()).contains("proxy-operator"));
    call.answer(json!({}));
}

#[tokio::test]
async fn a_peer_that_fails_is_told() {
    let away = node(&format!("http://127.0.0.1:{}", free_port()), "");
    let asked = json!({"peerIndex": 0, "rpc": {}}).to_string();
    assert_eq!(away.client().post(PROXY, asked.clone()).await.status, 502);
    let mut peer = FakeAgent::start_without_card();
    let slow = node(peer.origin(), "federation.call_timeout = \"5s\"");
    let client = slow.client();
    let sent = tokio::spawn(async move { client.post(PROXY, asked).await });
    let held = peer.call().await;
    assert_eq!(sent.await.unwrap().status, 504);
    drop(held);
}
