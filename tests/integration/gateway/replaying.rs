//! What the gateway that ours replaces did, and what it made of clients' addresses: vectors that were made by running it
//! (Pilox, its WAN gateway), replayed against ours. Where ours differs, a table names the case and why.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use actix_web::test;
use archipel_gateway::GatewaySettings;
use archipel_kit::{
    admission::{ClientHeader, ClientRules},
    client::{Answer, RequestBody},
    settings::Environment,
};
use archipel_tests::services::RedisServer;
use serde_json::{Map, Value};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::world::TestGateway;

/// What ours does otherwise: the case, the step, what differs there, and why.
const DIFFERENT: [(&str, usize, &str, &str); 18] = [
    ("valid_proxy_plain", 1, "x-request-id", "7: it is passed on"),
    (
        "valid_proxy_plain",
        1,
        "authorization",
        "7: clients' credentials are passed on",
    ),
    ("valid_proxy_plain", 1, "x-pilox-public-a2a-key", "7"),
    ("valid_proxy_plain", 1, "x-pilox-federation-jwt", "7"),
    ("valid_proxy_plain", 1, "accept", "7: streams need it"),
    ("valid_proxy_plain", 1, "user-agent", "7"),
    (
        "valid_gateway_secret_and_trace",
        0,
        "x-pilox-gateway-auth",
        "2: nodes read either name",
    ),
    ("user_agent_block", 1, "user-agent", "7"),
    (
        "rate_limit_memory",
        3,
        "status",
        "3: nobody chooses the address that is counted",
    ),
    ("rate_limit_memory", 3, "answer", "3"),
    ("rate_limit_memory", 3, "upstream", "3"),
    ("rate_limit_redis", 2, "status", "3"),
    ("rate_limit_redis", 2, "answer", "3"),
    ("rate_limit_redis", 2, "upstream", "3"),
    (
        "body_limit_clamped_low",
        0,
        "settings",
        "a value that is out of bounds is refused, not bent",
    ),
    (
        "upstream_errors",
        3,
        "status",
        "10: a redirect is the client's, with no secret sent anywhere",
    ),
    ("upstream_errors", 3, "answer", "10"),
    (
        "security_headers",
        1,
        "answer",
        "14: health tells the truth, here that requests have 30 s",
    ),
];

/// Refusals that say it with another word.
const RENAMED: [(&str, &str); 1] = [("origin_unavailable", "upstream_unavailable")];

/// What the original's own client adds.
const NOT_COMPARED: [&str; 2] = ["accept", "user-agent"];

/// What reached the upstream.
struct Seen {
    method: String,
    path: String,
    headers: Map<String, Value>,
    body: String,
}

/// The upstream of the vectors: it answers as each step says.
async fn upstream() -> (
    SocketAddr,
    mpsc::UnboundedSender<String>,
    mpsc::UnboundedReceiver<Seen>,
) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (say, mut told) = mpsc::unbounded_channel::<String>();
    let (see, seen) = mpsc::unbounded_channel();
    actix_rt::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            see.send(receive(&mut stream).await).unwrap();
            let how = told.recv().await.unwrap();
            let answer = match how.as_str() {
                "500" => answer("500 No", "application/json", "", r#"{"error":"x"}"#),
                "429" => answer(
                    "429 No",
                    "application/json",
                    "retry-after: 7\r\n",
                    r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32005,"message":"Too many requests."}}"#,
                ),
                "redirect" => answer(
                    "307 No",
                    "text/plain",
                    "location: http://127.0.0.1:1/\r\n",
                    "",
                ),
                "slow" => {
                    // Until the gateway has had enough.
                    let _left = stream.read(&mut [0]).await;
                    continue;
                }
                _ => answer(
                    "200 OK",
                    "application/json; charset=utf-8",
                    "",
                    r#"{"jsonrpc":"2.0","id":1,"result":"ok"}"#,
                ),
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, say, seen)
}

fn answer(status: &str, media_type: &str, more: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: {media_type}\r\n{more}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn receive(stream: &mut TcpStream) -> Seen {
    let mut received = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
        let text = String::from_utf8_lossy(&received).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let mut lines = head.lines();
        let mut first = lines.next().unwrap().split(' ');
        let headers: Map<String, Value> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        let length = headers
            .get("content-length")
            .map_or("0", |value| value.as_str().unwrap());
        if body.len() >= length.parse::<usize>().unwrap() {
            return Seen {
                method: first.next().unwrap().to_owned(),
                path: first.next().unwrap().to_owned(),
                headers,
                body: body.to_owned(),
            };
        }
    }
}

fn vectors(text: &str) -> Vec<Value> {
    let suite: Value = serde_json::from_str(text).unwrap();
    let cases = suite.get("cases").unwrap().as_array().unwrap();
    assert_eq!(suite.get("count").unwrap(), cases.len());
    cases.clone()
}

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer)?.as_str()
}

/// The variables of a case. What was not set there had other defaults than ours.
fn variables(case: &Value, redis: &RedisServer) -> Vec<(String, String)> {
    let mut variables = vec![
        (
            "GATEWAY_JSONRPC_PATH".to_owned(),
            "/api/a2a/jsonrpc/public".to_owned(),
        ),
        ("GATEWAY_UPSTREAM_FORWARD_FOR".to_owned(), "off".to_owned()),
        ("GATEWAY_RETRIES".to_owned(), "0".to_owned()),
    ];
    for (name, value) in case.pointer("/input/env").unwrap().as_object().unwrap() {
        let value = match value.as_str().unwrap() {
            "redis://127.0.0.1:6399" => redis.url(),
            value => value.to_owned(),
        };
        variables.retain(|(known, _)| known != name);
        variables.push((name.clone(), value));
    }
    variables
}

/// The word of a refusal in either shape.
fn word(body: &Value) -> Option<String> {
    let ours = text(body, "/error/data/0/reason").map(str::to_lowercase);
    ours.or_else(|| {
        let word = text(body, "/error")?;
        let renamed = RENAMED.iter().find(|(theirs, _)| *theirs == word);
        Some(renamed.map_or(word, |(_, ours)| ours).to_owned())
    })
}

/// What differs in one step.
async fn replay(
    gateway: &TestGateway,
    step: &Value,
    expected: &Value,
    seen: &mut mpsc::UnboundedReceiver<Seen>,
) -> BTreeSet<String> {
    let method = text(step, "/method").unwrap_or("GET");
    let path = text(step, "/path").unwrap();
    let none = Map::new();
    let headers = step
        .get("headers")
        .map_or(&none, |headers| headers.as_object().unwrap());
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    let body = text(step, "/body").unwrap_or_default().to_owned();
    let answer = gateway
        .send(method, path, &headers, RequestBody::from(body))
        .await
        .unwrap();
    let mut different = Different::default();
    different.check_answer(answer, expected, path).await;
    let seen = seen.try_recv().ok();
    different.check_seen(
        seen.as_ref(),
        expected.get("upstreamSaw").unwrap(),
        &headers,
    );
    different.0
}

/// What was found to differ.
#[derive(Default)]
struct Different(BTreeSet<String>);

impl Different {
    fn check(&mut self, what: &str, is_same: bool) {
        if !is_same {
            self.0.insert(what.to_owned());
        }
    }

    async fn check_answer(&mut self, answer: Answer, expected: &Value, path: &str) {
        let status = answer.status.as_u16();
        self.check(
            "status",
            *expected.pointer("/response/status").unwrap() == status,
        );
        let theirs = expected.pointer("/response/headers").unwrap();
        for (name, value) in theirs.as_object().unwrap() {
            let ours = answer
                .headers
                .get(name)
                .map(|value| value.to_str().unwrap());
            let is_text = name == "content-type" && status == 200 && path == "/v1/metrics";
            let is_same =
                ours == value.as_str() || (is_text && ours.unwrap().starts_with("text/plain"));
            self.check("answer", is_same);
        }
        let bytes = answer.read_all(1 << 20).await.unwrap();
        let ours: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let theirs = expected.pointer("/response/body").unwrap();
        let is_same = match (theirs, ours.as_object()) {
            (Value::String(_), _) => bytes.starts_with(b"# HELP"),
            // Ours says more.
            (Value::Object(theirs), Some(ours)) if path == "/v1/health" => theirs
                .iter()
                .all(|(name, value)| ours.get(name) == Some(value)),
            _ => *theirs == ours || (word(theirs).is_some() && word(theirs) == word(&ours)),
        };
        self.check("answer", is_same);
    }

    fn check_seen(&mut self, seen: Option<&Seen>, theirs: &Value, sent: &[(&str, &str)]) {
        let (Some(seen), Some(headers)) = (seen, theirs.get("headers")) else {
            return self.check("upstream", seen.is_none() && theirs.is_null());
        };
        self.check("method", text(theirs, "/method") == Some(&seen.method));
        self.check("path", text(theirs, "/path") == Some(&seen.path));
        self.check("body", text(theirs, "/body") == Some(&seen.body));
        let headers = headers.as_object().unwrap();
        let plain = |value: &Value| value.as_str().unwrap().replace("::ffff:", "");
        for name in headers.keys().chain(seen.headers.keys()) {
            let is_its_own =
                NOT_COMPARED.contains(&name.as_str()) && !sent.iter().any(|(sent, _)| sent == name);
            let is_same = headers.get(name).map(plain) == seen.headers.get(name).map(plain);
            self.check(name, is_same || is_its_own || name == "host");
        }
    }
}

#[test]
async fn ours_does_what_the_one_before_did_but_for_its_faults() {
    let redis = RedisServer::start().unwrap();
    let mut different = BTreeSet::new();
    for case in vectors(include_str!("vectors/gateway_http.json")) {
        let name = text(&case, "/name").unwrap().to_owned();
        let variables = variables(&case, &redis);
        let variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let environment: Environment = variables.iter().copied().collect();
        if GatewaySettings::load(None, &environment).is_err() {
            different.insert((name, 0, "settings".to_owned()));
            continue;
        }
        let (address, say, mut seen) = upstream().await;
        let gateway = TestGateway::start(address, &variables);
        let steps = case.pointer("/input/steps").unwrap().as_array().unwrap();
        let expected = case.pointer("/expected/steps").unwrap().as_array().unwrap();
        assert_eq!(steps.len(), expected.len());
        for (index, (step, expected)) in steps.iter().zip(expected).enumerate() {
            let reaches = seen.is_empty() && expected.get("upstreamSaw").unwrap().is_object();
            if reaches {
                say.send(text(step, "/upstream").unwrap_or_default().to_owned())
                    .unwrap();
            }
            let found = replay(&gateway, step, expected, &mut seen).await;
            different.extend(found.into_iter().map(|what| (name.clone(), index, what)));
            gateway.clock.advance(Duration::from_micros(1));
        }
    }
    let told = DIFFERENT.map(|(case, step, what, _)| (case.to_owned(), step, what.to_owned()));
    assert_eq!(different, BTreeSet::from(told));
}

/// What ours makes of the headers of a client that came through one proxy: the address that this proxy saw. The
/// original's modes have no such rule; each is played by the header that it reads first. Cases where ours differs:
const OTHER_ADDRESS: [(&str, &str); 9] = [
    (
        "xff_first",
        "3: what stands first was written by the client; the proxy's word is the last",
    ),
    (
        "xff_first_blank_parts",
        "what is no address says nothing: the proxy itself is all that is known",
    ),
    (
        "xff_first_garbage",
        "no word is an address; the last one is",
    ),
    (
        "auto_middleware_header",
        "a header that clients can set is not read",
    ),
    (
        "auto_bad_real_ip_then_xff",
        "one header is read, not whichever is there",
    ),
    ("auto_v6_bracket", "an address with its port is one"),
    ("source_unknown_falls_back_to_auto", "3"),
    ("source_empty", "3"),
    (
        "real_ip_v4_leading_zero",
        "010 is 8 to some and 10 to others, so it is no address",
    ),
];

#[test]
async fn a_clients_address_is_what_the_proxy_saw() {
    const PROXY: &str = "192.0.2.254";
    let mut different = BTreeSet::new();
    for case in vectors(include_str!("vectors/client_ip.json")) {
        let headers = case.pointer("/input/headers").unwrap();
        let real_ip = text(headers, "/x-real-ip");
        let reads_real_ip = text(&case, "/input/source").unwrap() == "real_ip"
            || (text(&case, "/input/source").unwrap() == "auto" && real_ip.is_some());
        let (header, value) = if reads_real_ip {
            (ClientHeader::XRealIp, real_ip)
        } else {
            (
                ClientHeader::XForwardedFor,
                text(headers, "/x-forwarded-for"),
            )
        };
        let rules = ClientRules::new(1, &[], header);
        let client = rules.client(PROXY.parse().unwrap(), value.into_iter());
        let theirs = match text(&case, "/expected/ip").unwrap() {
            "unknown" => PROXY,
            address => address,
        };
        if client.to_string() != theirs {
            different.insert(text(&case, "/name").unwrap().to_owned());
        }
    }
    let told = OTHER_ADDRESS.map(|(case, _)| case.to_owned());
    assert_eq!(different, BTreeSet::from(told));
}
