//! What a node tells of itself as one of a mesh: in the shapes of the contract, in both spellings, to whom it may be told.
//!
//! `tests/schemas` has the shapes, `tests/vectors/mesh_views.json` what the original told; read `schema` for how the first
//! are used.

use std::collections::BTreeSet;

use archipel_tests::mesh::{
    Answer, FakeAgent, Identity, NodeConfig, TestMesh, TestNode, free_port,
};
use serde_json::{Value, json};

mod schema;

const DESCRIPTORS: [&str; 2] = [
    "/.well-known/hive-mesh.json",
    "/.well-known/pilox-mesh.json",
];
const DESCRIPTOR: &str = include_str!("../../schemas/mesh_descriptor.json");
const STATUS: &str = include_str!("../../schemas/federation_status.json");
const DIRECTORY: &str = include_str!("../../schemas/federation_directory.json");
const PEERS: &str = include_str!("../../schemas/mesh_peers.json");
const A2A_STATUS: &str = include_str!("../../schemas/a2a_status.json");
const TOLD_BY_THE_ORIGINAL: &str = include_str!("../../vectors/mesh_views.json");

/// Each view with its schema.
const VIEWS: [(&str, &str); 8] = [
    (DESCRIPTORS[0], DESCRIPTOR),
    (DESCRIPTORS[1], DESCRIPTOR),
    ("/api/mesh/federation/status", STATUS),
    ("/api/mesh/federation/status?debug_manifest=1", STATUS),
    ("/api/mesh/federation/status?probe=1", STATUS),
    ("/api/mesh/federation/directory", DIRECTORY),
    ("/api/mesh/peers?probe=1", PEERS),
    ("/api/a2a/status", A2A_STATUS),
];

async fn seen(node: &TestNode, path: &str) -> Value {
    let answer = node.client().get(path).await;
    assert_eq!(answer.status, 200, "{path}: {answer}");
    answer.json()
}

/// A node in the mode of Hive with these peers.
fn in_a_group(config: &mut NodeConfig, dialect: &str, peers: &[&str]) {
    config.add(&format!(
        r#"
        dialect = "{dialect}"
        public_origin = "https://node-a.example"
        [federation]
        enabled = true
        shared_secret = "shared-hs256-secret-for-developers-0001"
        peer_origins = {peers:?}
        bootstrap_urls = ["https://c.example/.well-known/pilox-mesh.json", "nonsense"]
        dht_hints = ["/dnsaddr/x", ""]
        "#
    ));
}

#[tokio::test]
async fn every_view_has_the_shape_of_the_contract() {
    let dead = format!("http://127.0.0.1:{}", free_port());
    let nodes = [
        TestNode::start(|_| {}),
        TestNode::start(|config| in_a_group(config, "hive", &[&dead])),
        TestNode::start(|config| in_a_group(config, "pilox", &[&dead])),
        TestMesh::pair().alpha,
    ];
    for node in &nodes {
        for (path, schema) in VIEWS {
            let view = seen(node, path).await;
            let schema: Value = serde_json::from_str(schema).unwrap();
            let problems = schema::problems(&schema, &view);
            assert!(problems.is_empty(), "{path}: {problems:#?}");
        }
    }
}

/// Where what ours tells is not what the original did.
const DIFFERENCES: [&str; 1] = [
    // This node has a file, the original had Redis.
    "/api/a2a/status persistence taskStore",
];

#[tokio::test]
async fn what_the_original_told_is_told() {
    let peers = ["https://peer-0.example", "https://peer-1.example:8443"];
    let node = TestNode::start(|config| {
        in_a_group(config, "pilox", &peers);
        config.add("public = { enabled = true, allowed_methods = [\"tasks/get\"] }");
        config.add("a2a.rate_limit = 100");
        config.add("federation.rate_limit = 100");
    });
    let vectors: Value = serde_json::from_str(TOLD_BY_THE_ORIGINAL).unwrap();
    let case = &vectors["cases"][0];
    let steps = case["input"]["steps"].as_array().unwrap();
    let expected = case["expected"]["steps"].as_array().unwrap();
    let mut differences = BTreeSet::new();
    for (step, expected) in steps.iter().zip(expected) {
        let path = step["path"].as_str().unwrap();
        let client = match step.pointer("/headers/authorization") {
            Some(_) => node.client(),
            None => node.stranger(),
        };
        let answer = client.get(path).await;
        check_head(&answer, expected);
        compare(path, &expected["body"], &answer.json(), &mut differences);
    }
    let found: Vec<&str> = differences.iter().map(String::as_str).collect();
    assert_eq!(found, DIFFERENCES);
}

fn check_head(answer: &Answer, expected: &Value) {
    assert_eq!(answer.status, expected["status"], "{answer}");
    for (name, value) in expected["headers"].as_object().unwrap() {
        assert_eq!(answer.header(name), value.as_str(), "{name}: {answer}");
    }
}

/// Notes every member of `expected` that is not told, or told otherwise.
fn compare(at: &str, expected: &Value, told: &Value, differences: &mut BTreeSet<String>) {
    match (expected, told) {
        (Value::Object(expected), Value::Object(told)) => {
            for (name, value) in expected {
                let found = told.get(name).unwrap_or(&Value::Null);
                compare(&format!("{at} {name}"), value, found, differences);
            }
        }
        // Texts for people.
        (Value::String(text), Value::String(_)) if text == "<text>" => {}
        _ if expected == told => {}
        _ => {
            differences.insert(at.to_owned());
        }
    }
}

#[tokio::test]
async fn who_is_there_is_looked_up() {
    let card = json!({"name": "there"}).to_string();
    let there = FakeAgent::start_with(Some(card));
    let gone = format!("http://127.0.0.1:{}", free_port());
    let node = TestNode::start(|config| in_a_group(config, "hive", &[there.origin(), &gone]));
    let status = seen(&node, "/api/mesh/federation/status?probe=1").await;
    let [first, second] = &status["probe"].as_array().unwrap()[..] else {
        panic!("{status}");
    };
    assert_eq!(
        (&first["origin"], &first["ok"]),
        (&json!(there.origin()), &json!(true))
    );
    assert_eq!(
        (&first["statusCode"], &first["hostname"]),
        (&json!(200), &json!("127.0.0.1"))
    );
    assert_eq!(
        (&second["origin"], &second["ok"]),
        (&json!(gone), &json!(false))
    );
    assert_eq!(second["error"], "connect_error");

    let none = seen(&node, "/api/mesh/peers").await;
    assert_eq!(none["total"], 0, "nobody was looked after");
    for _ in 0..5 {
        seen(&node, "/api/mesh/peers?probe=1").await;
    }
    let peers = seen(&node, "/api/mesh/peers").await;
    let counts = (&peers["total"], &peers["healthy"], &peers["unhealthy"]);
    assert_eq!(counts, (&json!(2), &json!(1), &json!(1)), "{peers}");
    assert_eq!(peers["evictable"], json!([gone]));
    let directory = seen(&node, "/api/mesh/federation/directory").await;
    let urls: Vec<&Value> = (0..2)
        .map(|index| &directory["peers"][index]["agentCardUrl"])
        .collect();
    let card = |origin: &str| json!(format!("{origin}/.well-known/agent-card.json"));
    assert_eq!(urls, [&card(there.origin()), &card(&gone)]);
}

#[tokio::test]
async fn views_are_for_the_operator_and_the_descriptor_for_everybody() {
    let TestMesh { alpha, beta: _beta } = TestMesh::pair();
    let stranger = alpha.stranger();
    for path in DESCRIPTORS {
        let answer = stranger.get(path).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        let descriptor = answer.json();
        let schema = path
            .trim_start_matches("/.well-known/")
            .replace("-mesh.json", "-mesh-descriptor-v1");
        assert_eq!(descriptor["schema"], schema);
        assert_eq!(
            descriptor["federation"]["wanMesh"]["publicDescriptorPath"],
            path
        );
        assert_eq!(descriptor["federation"]["jwtAlg"], "Ed25519");
        let agents = format!("{}/agents/", alpha.origin());
        assert_eq!(descriptor["archipel"]["agentsUrl"], agents);
    }
    for path in [
        "/api/mesh/federation/status",
        "/api/mesh/federation/directory",
        "/api/mesh/peers?probe=1",
        "/api/a2a/status",
        "/api/system/health",
    ] {
        stranger.get(path).await.assert_gate(401, "Unauthorized");
    }
    for path in ["/api/health", "/api/site_status", "/site_status"] {
        assert_eq!(stranger.get(path).await.json(), json!({"ok": true}));
    }
    let health = seen(&alpha, "/api/system/health").await;
    assert_eq!(
        (&health["status"], &health["gpu"]),
        (&json!("healthy"), &json!(null))
    );
    let services = health["services"].as_object().unwrap();
    assert!(services.contains_key("audit"), "{health}");
    for (name, service) in services {
        assert_eq!(
            service,
            &json!({"status": "healthy", "latency": 0}),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_peer_sees_no_views() {
    let gamma = Identity::at("https://gamma.example");
    let node = TestNode::start(|config| {
        Identity::of_new_node().configure(config);
        gamma.configure_as_peer(config, "gamma");
    });
    let token = gamma.token_for(node.origin());
    let client = node.stranger().with("x-hive-federation-jwt", &token);
    let refused = client.get("/api/mesh/federation/directory").await;
    refused.assert_gate(403, "Forbidden");
}
