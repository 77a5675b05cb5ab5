//! Peers that are Hive or Pilox nodes, played from the contract: one agent at one path, A2A 0.3, tokens as they verify them.

use archipel_kit::clock::{Clock as _, SystemClock};
use archipel_protocol::federation::{Policy, Verifier};
use archipel_tests::mesh::{
    AgentCall, Client, FakeAgent, Identity, Refusal, TestNode, id_of, say, state_of,
};
use http::Method;
use serde_json::{Value, json};

const SECRET: &str = "shared-hs256-secret-for-developers-0001";
/// Where the agent of the peer is called.
const AGENT: &str = "/peers/hive/agents/default";

/// A Pilox node, and what it verifies tokens with.
struct Hive {
    node: FakeAgent,
    verifier: Verifier,
    origin: String,
}

impl Hive {
    fn start() -> Self {
        let card = json!({
            "name": "Pilox Platform", "description": "d", "version": "1.0.0", "protocolVersion": "0.3.0",
            "url": "https://hidden.example/api/a2a/jsonrpc", "preferredTransport": "JSONRPC",
            "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"],
            "capabilities": {"streaming": true}, "skills": [],
        });
        let descriptor = json!({"schema": "pilox-mesh-descriptor-v1", "meshV2": "2.10.0"});
        let node = FakeAgent::start_as(Some(card.to_string()), Some(descriptor.to_string()));
        let origin = node.origin().to_owned();
        let verifier = Verifier::hs256(SECRET, &["pilox-mesh-federation"]).unwrap();
        Self {
            node,
            verifier,
            origin,
        }
    }

    /// A node of ours in the same group.
    fn our_node(&self) -> TestNode {
        let origin = &self.origin;
        TestNode::start(|config| {
            config.add(&format!(
                r#"
                federation = {{ enabled = true, algorithm = "HS256", shared_secret = "{SECRET}" }}
                peers = [{{ name = "hive", origin = "{origin}" }}]
                "#
            ));
        })
    }

    /// The next call, once its token was found good.
    async fn call(&mut self) -> AgentCall {
        let call = self.node.call().await;
        let token = call.header("x-pilox-federation-jwt").unwrap();
        let now = i64::try_from(SystemClock::new().now_ms() / 1000).unwrap();
        let policy = Policy {
            audience: Some(self.origin.clone()),
            ..Policy::default()
        };
        let verified = self.verifier.verify(token, &policy, now);
        assert!(verified.is_ok(), "{verified:?}");
        assert_eq!(call.path, "/api/a2a/jsonrpc");
        assert_eq!(call.header("content-type"), Some("application/json"));
        call
    }
}

fn their_task(state: &str) -> Value {
    json!({
        "kind": "task", "id": "t-1", "contextId": "c-1", "status": {"state": state},
        "artifacts": [{"artifactId": "a", "parts": [{"kind": "text", "text": "done"}]}],
    })
}

/// Calls while the peer is played.
fn calling(
    client: Client,
    method: &'static str,
    params: Value,
) -> tokio::task::JoinHandle<archipel_tests::mesh::Answer> {
    tokio::spawn(async move { client.post_rpc(AGENT, method, params).await })
}

#[tokio::test]
async fn a_client_of_1_0_calls_an_agent_of_0_3() {
    let mut hive = Hive::start();
    let node = hive.our_node();
    let sent = calling(node.client(), "SendMessage", say("hello"));
    let call = hive.call().await;
    assert_eq!(call.method(), "message/send");
    assert_eq!(call.params()["message"]["kind"], "message");
    assert_eq!(call.params()["message"]["role"], "user");
    assert_eq!(call.params()["message"]["parts"][0]["kind"], "text");
    call.answer(their_task("completed"));
    let task = sent.await.unwrap().result();
    assert_eq!(state_of(&task), "TASK_STATE_COMPLETED");
    assert_eq!(task["task"]["artifacts"][0]["parts"][0]["text"], "done");
    assert!(task["task"].get("kind").is_none());

    let read = calling(node.client(), "GetTask", json!({"id": id_of(&task)}));
    let call = hive.call().await;
    assert_eq!(
        (call.method(), call.params()),
        ("tasks/get", &json!({"id": "t-1"}))
    );
    call.answer(their_task("working"));
    assert_eq!(
        state_of(&read.await.unwrap().result()),
        "TASK_STATE_WORKING"
    );

    let missing = calling(node.client(), "CancelTask", json!({"id": "x"}));
    hive.call().await.refuse(-32001);
    let refusal = Refusal::new(200, -32001, "TASK_NOT_FOUND");
    assert_eq!(missing.await.unwrap().refusal(), refusal);
    // What 0.3 has no word for does not go there.
    let refused = node.client().refused(AGENT, "ListTasks", json!({})).await;
    assert_eq!(refused, Refusal::new(200, -32004, "UNSUPPORTED_OPERATION"));
    let client = node.client();
    let nobody = client.refused("/peers/hive/agents/other", "SendMessage", say("x"));
    assert_eq!(nobody.await, Refusal::new(404, -32000, "AGENT_NOT_FOUND"));
    assert!(hive.node.is_left_alone());
}

#[tokio::test]
async fn streams_are_told_in_the_words_of_the_client() {
    let mut hive = Hive::start();
    let node = hive.our_node();
    let client = node.client();
    let mut stream = {
        let opened = tokio::spawn(async move {
            client
                .stream(AGENT, "SendStreamingMessage", say("hello"))
                .await
        });
        let call = hive.call().await;
        assert_eq!(call.method(), "message/stream");
        let theirs = call.stream();
        theirs.tell(their_task("working"));
        theirs.write(": a comment\n\n");
        theirs.tell(json!({
            "kind": "status-update", "taskId": "t-1", "contextId": "c-1", "final": true,
            "status": {"state": "completed"},
        }));
        opened.await.unwrap()
    };
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    let first = stream.event().await;
    assert_eq!(
        (state_of(&first), id_of(&first).as_str()),
        ("TASK_STATE_WORKING", "t-1")
    );
    let rest = stream.events().await;
    assert_eq!(state_of(rest.last().unwrap()), "TASK_STATE_COMPLETED");

    // The same over HTTP+JSON, and what cannot be read.
    let client = node.client();
    let opened = tokio::spawn(async move {
        let path = format!("{AGENT}/message:stream");
        client
            .rest_stream(Method::POST, &path, Some(&say("hello")))
            .await
    });
    let theirs = hive.call().await.stream();
    theirs.tell(their_task("working"));
    let mut stream = opened.await.unwrap();
    assert_eq!(state_of(&stream.event().await), "TASK_STATE_WORKING");
    theirs.tell(json!({"kind": "nonsense"}));
    let told = stream.event().await;
    assert_eq!(
        told["error"]["details"][0]["reason"],
        "INVALID_AGENT_RESPONSE"
    );
    theirs.until_left().await;
}

#[tokio::test]
async fn a_client_of_0_3_is_passed_through() {
    let mut hive = Hive::start();
    let node = hive.our_node();
    let client = node.client().without("a2a-version");
    let body = r#"{"jsonrpc":"2.0", "id":"ü", "method":"message/send", "params":{"any":1.50}}"#;
    let sent = tokio::spawn(async move { client.post(AGENT, body).await });
    let call = hive.call().await;
    assert_eq!(call.body()["id"], "ü");
    assert_eq!(call.params()["any"], 1.5);
    call.answer(their_task("completed"));
    let answer = sent.await.unwrap();
    assert_eq!(answer.json()["result"]["kind"], "task");
    assert_eq!(answer.json()["id"], "ü");
}

#[tokio::test]
async fn its_card_is_ours_to_show() {
    let hive = Hive::start();
    let node = hive.our_node();
    let path = format!("{AGENT}/.well-known/agent-card.json");
    let answer = node.client().get(&path).await;
    let card = answer.json();
    assert_eq!(card["name"], "Pilox Platform");
    let url = format!("{}{AGENT}", node.origin());
    assert_eq!(card["supportedInterfaces"][0]["url"], url);
    assert!(!answer.text().contains("hidden.example"), "{answer}");
}

#[tokio::test]
async fn with_keys_a_token_is_verified_with_ours() {
    let mut hive = Hive::start();
    let (own, theirs) = (Identity::of_new_node(), Identity::at(&hive.origin));
    let node = TestNode::start(|config| {
        own.configure(config);
        theirs.configure_as_peer(config, "hive");
    });
    hive.verifier = own.verifier();
    let sent = calling(node.client(), "SendMessage", say("hello"));
    hive.call().await.answer(their_task("completed"));
    assert_eq!(
        state_of(&sent.await.unwrap().result()),
        "TASK_STATE_COMPLETED"
    );
}
