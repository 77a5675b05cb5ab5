//! The contract's cases of whole requests to the bridge (`tests/vectors/bridge_http.json`), sent to real nodes.
//!
//! The original was asked without a broker, where it drops what it accepts; ours has one. Where nothing was asked of a caller,
//! ours is shown the operator's token: it is closed otherwise. Texts for people are not compared.

use std::collections::BTreeSet;

use archipel_tests::mesh::{Answer, Client, TestNode};
use archipel_tests::services::NatsServer;
use serde_json::{Map, Value, json};

const VECTORS: &str = include_str!("../../../vectors/bridge_http.json");

/// A step (counted from 1) that we answer in another way: its case, the status, why.
const OURS: [(&str, usize, u16, &str); 2] = [
    (
        "valid_noop_publish",
        4,
        404,
        "the paths of a node are more than those of the bridge, and it has its own words for what is not there",
    ),
    (
        "rate_limit",
        3,
        429,
        "what a client says of its address counts only behind a proxy that is trusted",
    ),
];

#[tokio::test]
async fn requests_to_the_bridge_are_answered_as_the_contract_has_it() {
    let document: Value = serde_json::from_str(VECTORS).unwrap();
    let nats = NatsServer::start().unwrap();
    let (mut steps, mut differences) = (0, 0);
    for case in document["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let variables = case["input"]["env"].as_object().unwrap();
        let node = start(&nats, variables);
        // As the original's cases begin: somebody waits until it is there.
        node.stranger().get("/v1/health").await;
        let asked = case["input"]["steps"].as_array().unwrap();
        for (index, step) in asked.iter().enumerate() {
            steps += 1;
            let answer = send(&node, variables, step).await;
            let expected = &case["expected"]["steps"][index];
            let ours = OURS
                .iter()
                .find(|ours| (ours.0, ours.1) == (name, index + 1));
            match ours {
                Some((_, _, status, _)) => {
                    differences += 1;
                    assert_eq!(
                        answer.status,
                        *status,
                        "{name}, step {}: {answer}",
                        index + 1
                    );
                }
                None => judge(&answer, expected, &format!("{name}, step {}", index + 1)),
            }
        }
    }
    assert_eq!((steps, differences), (23, OURS.len()));
}

fn start(nats: &NatsServer, variables: &Map<String, Value>) -> TestNode {
    let variables = variables.iter();
    let variables = variables.map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
    TestNode::start(|config| {
        config.add(&format!("nats.url = \"{}\"", nats.url()));
        config.set_variables(variables);
    })
}

async fn send(node: &TestNode, variables: &Map<String, Value>, step: &Value) -> Answer {
    let path = step["path"].as_str().unwrap();
    let secret = match path {
        "/v1/metrics" => "BRIDGE_METRICS_AUTH_SECRET",
        _ => "BRIDGE_INTERNAL_SECRET",
    };
    let mut client = if variables.contains_key(secret) {
        Client::new(node.origin())
    } else {
        node.client()
    };
    for (name, value) in step["headers"].as_object().into_iter().flatten() {
        client = client.with(name, value.as_str().unwrap());
    }
    match step["method"].as_str() {
        Some("POST") => {
            let body = step["body"].as_str().unwrap_or_default();
            client.post(path, body.to_owned()).await
        }
        _ => client.get(path).await,
    }
}

fn judge(answer: &Answer, expected: &Value, what: &str) {
    assert_eq!(json!(answer.status), expected["status"], "{what}: {answer}");
    for (name, value) in expected["headers"].as_object().unwrap() {
        assert_eq!(answer.header(name), value.as_str(), "{what}: {answer}");
    }
    if let Value::String(text) = &expected["body"] {
        return assert_eq!(counted(answer.text()), counted(text), "{what}");
    }
    let mut theirs = expected["body"].clone();
    if theirs["role"].is_string() {
        theirs["metricsAuthRequired"] = true.into();
        theirs["internalAuthRequired"] = true.into();
        // The node's own, for all of its paths.
        theirs["maxUrlBytes"] = 2048.into();
        theirs["nats"] = json!({
            "enabled": true, "mode": "jetstream", "subject": "hive.mesh.wan", "tls": false,
        });
    }
    let mut ours = answer.json();
    if theirs["message"] == "<text>" {
        assert!(ours["message"].is_string(), "{what}: {answer}");
        ours["message"] = theirs["message"].clone();
    }
    assert_eq!(ours, theirs, "{what}");
}

/// The lines of a text of counters, each with its labels in order.
fn counted(text: &str) -> BTreeSet<String> {
    let line = |line: &str| match line.split_once('{') {
        Some((name, rest)) => {
            let (labels, value) = rest.split_once('}').unwrap();
            let labels: BTreeSet<&str> = labels.split(',').collect();
            format!("{name}{labels:?}{value}")
        }
        None => line.to_owned(),
    };
    text.lines().map(line).collect()
}
