//! The contract's cases of whole requests (`node_http`, `gateway_inbound_auth`), sent to real nodes.
//!
//! The files are copies of the contract's, in the pilox spelling; `expected` is what the original answered. Compared are the
//! status, `error` of a gate, code, data and id of a JSON-RPC error, and the headers of a limit; texts for people are not.
//! Requests go out with a content type, without which ours takes none. Steps for other paths than those of agents and
//! of the WAN's ingress belong to other suites. Where we differ, [`OURS`] says how and why.

use archipel_tests::mesh::{Answer, Client, TestNode};
use archipel_tests::services::RedisServer;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::runtime::Handle;

const NODE_HTTP: &str = include_str!("../../../node/tests/vectors/node_http.json");
const GATEWAY: &str = include_str!("../../../node/tests/vectors/gateway_inbound_auth.json");

/// A step (counted from 1) that we answer in another way: its case, the status, the JSON-RPC code if there is one, why.
struct Ours(&'static str, usize, u16, Option<i64>, &'static str);

const OURS: &[Ours] = &[
    Ours("jti_ttl_cap", 1, 401, None, "no token may live so long"),
    Ours(
        "ed25519_peers",
        4,
        200,
        Some(-32001),
        "ids of tokens are each peer's own",
    ),
    Ours(
        "ed25519_null_payload",
        1,
        401,
        None,
        "the original breaks down",
    ),
    Ours(
        "gateway_gate_first",
        4,
        200,
        Some(-32001),
        "both spellings are understood",
    ),
    Ours("valid_legacy_secret", 2, 200, None, "0.3 has tasks/list"),
    Ours(
        "shared_breaker",
        6,
        200,
        None,
        "callers do not share a breaker",
    ),
    Ours("a2a_rate_limit", 2, 429, None, "a limit is told as a limit"),
    Ours(
        "wan_ingress_redis_down",
        1,
        503,
        None,
        "what is not kept is not accepted",
    ),
];

/// Cases about what an agent answers, which is for `bad_input` and `bindings` to say: the errors of JSON-RPC are told under
/// status 200, and agents do what those of the original do not.
const OF_AGENTS: [&str; 3] = ["jsonrpc_errors", "methods", "agent_card"];

#[tokio::test]
async fn whole_requests_are_answered_as_the_contract_has_it() {
    let document: Value = serde_json::from_str(NODE_HTTP).unwrap();
    let cases = document["cases"].as_array().unwrap();
    let running = cases
        .iter()
        .filter(|case| !OF_AGENTS.contains(&case["name"].as_str().unwrap()))
        .cloned()
        // Nodes are started and stopped by whoever holds them, so each case has a thread of its own.
        .map(|case| tokio::task::spawn_blocking(move || Handle::current().block_on(run(&case))));
    let mut judged = Outcome::default();
    for outcome in join_all(running).await {
        judged.add(outcome.unwrap());
    }
    assert!(judged.failures.is_empty(), "{}", judged.failures.join("\n"));
    assert!(judged.steps > 50, "{judged:?}");
    assert_eq!(judged.differences, OURS.len(), "{judged:?}");
}

/// What came of some cases.
#[derive(Debug, Default)]
struct Outcome {
    steps: usize,
    differences: usize,
    failures: Vec<String>,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.differences += other.differences;
        self.failures.extend(other.failures);
    }
}

/// Runs the steps of a case that are calls of agents.
async fn run(case: &Value) -> Outcome {
    let name = case["name"].as_str().unwrap();
    let is_call = |step: &Value| {
        let path = step["path"].as_str().unwrap();
        path.starts_with("/api/a2a/") && path.contains("jsonrpc") || path == "/api/mesh/wan/ingress"
    };
    let mut outcome = Outcome::default();
    let steps = case["input"]["steps"].as_array().unwrap();
    if !steps.iter().any(is_call) {
        return outcome;
    }
    let scene = Scene::of(&case["input"]);
    for (index, step) in steps.iter().enumerate().filter(|(_, step)| is_call(step)) {
        outcome.steps += 1;
        let answer = scene.send(step).await;
        let ours = OURS
            .iter()
            .find(|ours| (ours.0, ours.1) == (name, index + 1));
        let judged = match ours {
            Some(Ours(_, _, status, code, why)) => {
                outcome.differences += 1;
                judge_ours(&answer, *status, *code).map_err(|what| format!("{what}, because {why}"))
            }
            None => judge(&answer, &case["expected"]["steps"][index]),
        };
        if let Err(what) = judged {
            let step = index + 1;
            outcome
                .failures
                .push(format!("{name}, step {step}: {what}: {answer}"));
        }
    }
    outcome
}

/// A node as a case has it, and the Redis that it uses.
struct Scene {
    node: TestNode,
    _redis: Option<RedisServer>,
}

impl Scene {
    fn of(input: &Value) -> Self {
        let seeds = input["redisSeed"].as_object();
        let redis = seeds.map(|seeds| {
            let redis = RedisServer::start().unwrap();
            for (key, value) in seeds {
                redis.ask(&["SET", key, value.as_str().unwrap()]).unwrap();
            }
            redis
        });
        let url = match (&redis, input["redis"].as_str()) {
            (Some(redis), _) => Some(redis.url()),
            (None, Some("unreachable")) => Some("redis://127.0.0.1:1".to_owned()),
            _ => None,
        };
        let variables = input["env"].as_object().unwrap();
        let variables = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
        let now_ms = input["now"].as_u64().unwrap() * 1000;
        let node = TestNode::start(|config| {
            config.remove("internal_token");
            config.add("store = \"memory\"\ndialect = \"pilox\"");
            if let Some(url) = &url {
                config.add(&format!("[redis]\nurl = \"{url}\"\nprefix = \"pilox\""));
            }
            config.set_variables(variables);
            config.begin_at(now_ms);
        });
        Self {
            node,
            _redis: redis,
        }
    }

    async fn send(&self, step: &Value) -> Answer {
        let mut client = Client::new(self.node.origin()).without("a2a-version");
        for (name, value) in step["headers"].as_object().into_iter().flatten() {
            if name != "content-length" {
                client = client.with(name, value.as_str().unwrap());
            }
        }
        let body = match step["bodyText"].as_str() {
            Some(text) => text.to_owned(),
            None => step["body"].to_string(),
        };
        client.post(step["path"].as_str().unwrap(), body).await
    }
}

fn judge(answer: &Answer, expected: &Value) -> Result<(), String> {
    let (ours, theirs) = (answer.json(), &expected["body"]);
    let same = |what: &str, ours: &Value, theirs: &Value| {
        if ours == theirs {
            Ok(())
        } else {
            Err(format!("{what} is {ours}, not {theirs}"))
        }
    };
    same("the status", &json!(answer.status), &expected["status"])?;
    match &theirs["error"] {
        Value::Object(error) => {
            same("the id", &ours["id"], &theirs["id"])?;
            same("the code", &ours["error"]["code"], &error["code"])?;
            if let Some(data) = error.get("data") {
                judge_wait(
                    &ours["error"]["data"]["retryAfterSeconds"],
                    &data["retryAfterSeconds"],
                )?;
                same("the limit", &ours["error"]["data"]["limit"], &data["limit"])?;
            }
        }
        Value::Null if theirs.get("accepted").is_some() => same("the body", &ours, theirs)?,
        Value::Null if ours.get("result").is_none() => return Err("there is no result".to_owned()),
        Value::Null => {}
        error => {
            same("the error", &ours["error"], error)?;
            let paths = |body: &Value| -> Vec<Value> {
                let issues = body["issues"].as_array().into_iter().flatten();
                issues.map(|issue| issue["path"].clone()).collect()
            };
            same("the issues", &json!(paths(&ours)), &json!(paths(theirs)))?;
            let told = |body: &Value| body.get("message").is_some();
            if told(&ours) != told(theirs) {
                return Err("there is a message, or none".to_owned());
            }
            if let Some(wait) = theirs.get("retryAfterSeconds") {
                judge_wait(&ours["retryAfterSeconds"], wait)?;
            }
        }
    }
    for name in ["x-ratelimit-limit", "x-ratelimit-remaining"] {
        let ours = json!(answer.header(name));
        same(name, &ours, &expected["headers"][name])?;
    }
    if let Some(wait) = expected["headers"]["retry-after"].as_str()
        && expected["status"] == 429
    {
        let ours = answer
            .header("retry-after")
            .and_then(|wait| wait.parse().ok());
        judge_wait(
            &json!(ours.unwrap_or(0_u64)),
            &json!(wait.parse::<u64>().unwrap()),
        )?;
    }
    Ok(())
}

/// Ours runs on a clock that goes on while the steps do.
fn judge_wait(ours: &Value, theirs: &Value) -> Result<(), String> {
    let (ours, theirs) = (ours.as_u64().unwrap_or(0), theirs.as_u64().unwrap());
    if (theirs - theirs.min(5)..=theirs).contains(&ours) {
        Ok(())
    } else {
        Err(format!("it says to wait {ours} s, not {theirs}"))
    }
}

fn judge_ours(answer: &Answer, status: u16, code: Option<i64>) -> Result<(), String> {
    let told = answer.json()["error"]["code"].as_i64();
    if (answer.status, told) == (status, code) {
        Ok(())
    } else {
        Err(format!("it is to be {status} with {code:?}"))
    }
}

#[tokio::test]
async fn the_gateways_secret_is_looked_at_as_the_contract_has_it() {
    let document: Value = serde_json::from_str(GATEWAY).unwrap();
    for case in document["cases"].as_array().unwrap() {
        let input = &case["input"];
        let node = TestNode::start(|config| {
            config.add("dialect = \"pilox\"");
            let secret = input["secret"].as_str().unwrap();
            if secret.is_empty() {
                // A secret that is required and not there does not start with us.
                return;
            }
            let enforced = input["enforce"].as_bool().unwrap();
            config.add(&format!(
                "gateway_secret = \"{secret}\"\ngateway_enforced = {enforced}"
            ));
        });
        let client = match input["header"].as_str() {
            Some(header) => node.client().with("x-pilox-gateway-auth", header),
            None => node.client(),
        };
        let answer = client
            .post_rpc("/api/a2a/jsonrpc", "ListTasks", json!({}))
            .await;
        if case["expected"]["pass"] == true {
            answer.result();
        } else {
            answer.assert_gate(403, "Forbidden");
        }
    }
}
