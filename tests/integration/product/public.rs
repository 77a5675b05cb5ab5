//! The public tier: strangers who may ask for some operations, seldom, each with tasks of their own.

use archipel_tests::mesh::{Answer, Client, NodeConfig, Refusal, TestNode, say, until};
use archipel_tests::services::RedisServer;
use http::Method;
use serde_json::{Value, json};

use crate::ECHO;

const KEY: &str = "public-key-AAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const OTHER_KEY: &str = "public-key-BBBBBBBBBBBBBBBBBBBBBBBBBBBB";
const KEY_HEADER: &str = "x-hive-public-a2a-key";
const DEFAULT: &str = "/api/a2a/jsonrpc/public";

/// A node with a public tier for messages and tasks.
fn node_with(more: &str) -> TestNode {
    TestNode::start(|config| configure(config, more))
}

fn configure(config: &mut NodeConfig, more: &str) {
    config.add(&format!(
        "[public]\nenabled = true\nallowed_methods = [\"message/send\", \"GetTask\"]\nrate_limit = 1000\n{more}"
    ));
    for visibility in ["peers", "private"] {
        config.add(&format!(
            "[[agents]]\nid = \"of-{visibility}\"\nkind = \"echo\"\nvisibility = \"{visibility}\""
        ));
    }
}

async fn send(client: &Client) -> Answer {
    client.post_rpc(ECHO, "SendMessage", say("hello")).await
}

/// Whether a call is held as the tier holds calls; the limit and the seconds that it tells.
fn held(answer: &Answer) -> (u64, u64) {
    assert_eq!(answer.status, 429, "{answer}");
    let body = answer.json();
    assert_eq!(
        (&body["id"], &body["error"]["code"]),
        (&Value::Null, &json!(-32005))
    );
    let data = &body["error"]["data"];
    let told = (
        data["limit"].as_u64().unwrap(),
        data["retryAfterSeconds"].as_u64().unwrap(),
    );
    let headers = ["x-ratelimit-limit", "retry-after"].map(|name| answer.header(name));
    assert_eq!(
        headers,
        [told.0.to_string(), told.1.to_string()]
            .each_ref()
            .map(|text| Some(text.as_str()))
    );
    assert_eq!(answer.header("x-ratelimit-remaining"), Some("0"));
    told
}

#[tokio::test]
async fn strangers_ask_for_what_is_allowed_and_nothing_else() {
    let node = node_with("");
    let stranger = node.stranger();
    let task = send(&stranger).await.result()["task"].take();
    let id = json!({"id": task["id"]});
    assert_eq!(
        stranger.call(DEFAULT, "GetTask", id.clone()).await["id"],
        task["id"]
    );
    let old = stranger
        .with("a2a-version", "0.3")
        .post_rpc(DEFAULT, "tasks/get", id.clone())
        .await;
    assert_eq!(old.json()["result"]["id"], task["id"]);
    let path = format!("{ECHO}/tasks/{}", task["id"].as_str().unwrap());
    let rest = stranger.rest(Method::GET, &path, None).await;
    assert_eq!(rest.json()["id"], task["id"]);

    // What is not allowed is refused as if there were no tier.
    let closed = TestNode::start(|_| {});
    let as_ever = send(&closed.stranger()).await;
    for method in ["CancelTask", "ListTasks", "NoSuchMethod"] {
        let refused = stranger.post_rpc(ECHO, method, id.clone()).await;
        assert_eq!(
            (refused.status, refused.text()),
            (401, as_ever.text()),
            "{method}"
        );
        assert_eq!(refused.text(), r#"{"error":"Unauthorized"}"#);
    }
    for (verb, path) in [
        (Method::GET, format!("{ECHO}/tasks")),
        (Method::POST, format!("{path}:cancel")),
        (Method::GET, format!("{ECHO}/nothing")),
    ] {
        assert_eq!(stranger.rest(verb, &path, None).await.status, 401, "{path}");
    }
    // A credential that is wrong is not taken for none.
    send(&stranger.with_bearer("wrong"))
        .await
        .assert_gate(401, "Invalid API token");
    send(&stranger.with("x-hive-federation-jwt", "wrong"))
        .await
        .assert_gate(401, "Unauthorized");
    // Agents that are not public are missing, and other things of the node are not the public's.
    for agent in ["of-peers", "of-private", "nobody"] {
        let path = format!("/agents/{agent}");
        let hidden = stranger.post_rpc(&path, "SendMessage", say("hello")).await;
        assert_eq!(hidden.status, 404, "{agent}");
    }
    for path in ["/metrics", "/peers/beta/agents/echo"] {
        let refused = stranger.post_rpc(path, "SendMessage", say("hello")).await;
        assert!([401, 405].contains(&refused.status), "{path}");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_told_so() {
    let node =
        node_with("api_keys = \"public-key-AAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\nrequire_api_key = true");
    for (body, status, code) in [
        ("{bad", 400, -32700),
        ("", 400, -32700),
        ("[]", 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, 400, -32600),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"bad method"}"#,
            400,
            -32600,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, 400, -32600),
    ] {
        let answer = node.stranger().post(ECHO, body).await;
        let json = answer.json();
        let told = (answer.status, json["error"]["code"].as_i64(), &json["id"]);
        assert_eq!(told, (status, Some(code), &Value::Null), "{body}");
    }
    send(&node.stranger())
        .await
        .assert_gate(401, "Unauthorized");
    send(&node.stranger().with(KEY_HEADER, KEY)).await.result();
}

#[tokio::test]
async fn everybody_has_tasks_of_their_own() {
    let keys = format!(
        "api_keys = \"{KEY}|SendMessage,GetTask;{OTHER_KEY}|tasks/get\"\nidentity_header = \"X-Who\""
    );
    let node = node_with(&keys);
    let stranger = node.stranger();
    let callers = [
        stranger.clone(),
        stranger.calling_from([127, 0, 0, 2].into()),
        stranger.with("x-who", "alice"),
        stranger.with("x-who", "bob"),
        stranger.with(KEY_HEADER, KEY),
        node.client(),
    ];
    for (number, caller) in callers.iter().enumerate() {
        let task = send(caller).await.result()["task"].take();
        for (other_number, other) in callers.iter().enumerate() {
            let read = other
                .post_rpc(ECHO, "GetTask", json!({"id": task["id"]}))
                .await;
            if number == other_number {
                assert_eq!(read.result()["id"], task["id"]);
            } else {
                assert_eq!(read.refusal(), Refusal::new(200, -32001, "TASK_NOT_FOUND"));
            }
        }
    }
    // The same key in its other spelling, and as a bearer token, is the same caller.
    let task = send(&callers[4]).await.result()["task"].take();
    for same in [
        stranger.with("x-pilox-public-a2a-key", KEY),
        stranger.with_bearer(KEY),
    ] {
        assert_eq!(
            same.call(ECHO, "GetTask", json!({"id": task["id"]})).await["id"],
            task["id"]
        );
    }
    // A key is good for what it says.
    let narrow = stranger.with(KEY_HEADER, OTHER_KEY);
    send(&narrow).await.assert_gate(401, "Unauthorized");
    let read = narrow
        .refused(ECHO, "GetTask", json!({"id": "nothing"}))
        .await;
    assert_eq!(read.reason, "TASK_NOT_FOUND");
    let wrong = stranger.with(KEY_HEADER, &KEY.to_lowercase());
    send(&wrong).await.assert_gate(401, "Unauthorized");
}

async fn calls_are_counted(first: &TestNode, second: &TestNode) {
    let alice = |node: &TestNode| node.stranger().with("x-who", "alice");
    send(&alice(first)).await.result();
    assert_eq!(held(&send(&alice(second)).await).0, 1);
    let with_key = |node: &TestNode| node.stranger().with(KEY_HEADER, KEY);
    for node in [first, second] {
        send(&with_key(node)).await.result();
    }
    assert_eq!(held(&send(&with_key(first)).await).0, 2);
    // The address has one more, whoever it says it is.
    send(&second.stranger().with("x-who", "bob")).await.result();
    for client in [first.stranger().with("x-who", "carol"), second.stranger()] {
        let (limit, seconds) = held(&send(&client).await);
        assert_eq!(limit, 4);
        assert!((50..=60).contains(&seconds));
    }
    // What is told to somebody who sends nonsense, too.
    assert_eq!(held(&first.stranger().post(ECHO, "{bad").await).0, 4);
    send(&first.stranger().calling_from([127, 0, 0, 2].into()))
        .await
        .result();
    send(&first.client()).await.result();
}

const BUCKETS: &str = "identity_header = \"X-Who\"\nidentity_rate_limit = 1\napi_key_rate_limit = 2\n\
                       api_keys = \"public-key-AAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\n";

#[tokio::test]
async fn an_address_a_key_and_an_identity_have_limits() {
    let node = TestNode::start(|config| {
        configure(config, BUCKETS);
        config.add("[public]\nrate_limit = 4");
    });
    calls_are_counted(&node, &node).await;
}

#[tokio::test]
async fn replicas_count_strangers_together() {
    let redis = RedisServer::start().unwrap();
    let replica = || {
        TestNode::start(|config| {
            configure(config, BUCKETS);
            config.add(&format!(
                "[public]\nrate_limit = 4\n[redis]\nurl = \"{}\"",
                redis.url()
            ));
        })
    };
    let (first, second) = (replica(), replica());
    calls_are_counted(&first, &second).await;
    let keys = redis
        .ask(&["KEYS", "archipel:rl:public_a2a:ip:127.0.0.1"])
        .unwrap();
    assert!(!keys.trim().is_empty());
}

#[tokio::test]
async fn whoever_keeps_coming_too_often_is_blocked() {
    let rules = "identity_header = \"X-Who\"\nidentity_rate_limit = 1\nreputation = true\nreputation_block = true\n\
                 reputation_block_threshold = 3\nreputation_block_retry_after = \"2m\"\nidentity_rate_limit_window = \"1s\"";
    let node = node_with(rules);
    let alice = node.stranger().with("x-who", "alice");
    send(&alice).await.result();
    // Coming too often speaks against her; then she is blocked, even when her second is over.
    let mut refused = 0;
    let blocked = until("alice being blocked", async || {
        let answer = send(&alice).await;
        if answer.status == 200 {
            return None;
        }
        let told = held(&answer);
        refused += 1;
        (told.0 == 3).then_some(told)
    })
    .await;
    assert_eq!(blocked, (3, 120));
    assert!(refused > 3, "{refused}");
    send(&node.stranger().with("x-who", "bob")).await.result();
}

#[tokio::test]
async fn wrong_keys_are_failures_of_their_address() {
    let node = TestNode::start(|config| {
        configure(config, &format!("api_keys = \"{KEY}\""));
        config.add("[limits]\nfailures = 5");
    });
    let here = node.stranger().calling_from([127, 0, 0, 2].into());
    for number in 0..5 {
        let wrong = format!("{OTHER_KEY}{number}");
        send(&here.with_bearer(&wrong))
            .await
            .assert_gate(401, "Invalid API token");
    }
    let answer = send(&here.with_bearer(KEY)).await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (429, &json!("Too many requests"))
    );
    send(&node.stranger().with_bearer(KEY)).await.result();
}
