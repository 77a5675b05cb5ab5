//! What a peer can do wrong, and that the caller learns which peer it was and nothing of what the peer thinks of us.

use archipel_tests::mesh::{
    FakeAgent, Identity, Refusal, TestMesh, TestNode, free_port, say, within,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{THROUGH, node_with_peer};

/// Where the agent of peer `gamma` is called.
const GAMMA: &str = "/peers/gamma/agents/echo";

/// Calls the agent of peer `gamma`; the answer must be this refusal, and name the peer.
async fn check_peer(node: &TestNode, expected: Refusal) {
    for method in ["SendMessage", "SendStreamingMessage"] {
        let answer = node.client().post_rpc(GAMMA, method, say("hello")).await;
        assert_eq!(answer.refusal(), expected, "{method}");
        let error = &answer.json()["error"];
        assert_eq!(error["data"][0]["metadata"]["peer"], "gamma", "{answer}");
        assert!(
            error["message"].as_str().unwrap().contains("gamma"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_peer_that_is_down_is_named() {
    let node = node_with_peer(&format!("http://127.0.0.1:{}", free_port()), "");
    check_peer(&node, Refusal::new(502, -32000, "PEER_UNAVAILABLE")).await;
    assert_eq!(node.stranger().get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_peer_that_is_slow_is_given_up() {
    let mut peer = FakeAgent::start_without_card();
    let node = node_with_peer(peer.origin(), "federation.call_timeout = \"5s\"");
    let call = node.client();
    let slow = tokio::spawn(async move { call.post_rpc(GAMMA, "SendMessage", say("hello")).await });
    let held = peer.call().await;
    let answer = within("giving up", slow).await.unwrap();
    assert_eq!(answer.refusal(), Refusal::new(504, -32000, "PEER_TIMEOUT"));
    assert_eq!(
        answer.json()["error"]["data"][0]["metadata"]["peer"],
        "gamma"
    );
    drop(held);
}

#[tokio::test]
async fn a_peer_that_refuses_us_or_is_in_trouble_cannot_be_used() {
    let mut peer = FakeAgent::start_without_card();
    let node = node_with_peer(peer.origin(), "");
    for status in [301, 307, 401, 403, 500, 502, 504] {
        let client = node.client();
        let sent =
            tokio::spawn(async move { client.post_rpc(GAMMA, "SendMessage", say("hello")).await });
        peer.call().await.answer_raw(
            status,
            "application/json",
            "{\"error\":\"about you, not about the caller\"}",
        );
        let answer = sent.await.unwrap();
        assert_eq!(
            answer.refusal(),
            Refusal::new(502, -32000, "PEER_UNAVAILABLE"),
            "{status}"
        );
        assert!(!answer.text().contains("about you"), "{answer}");
    }
}

/// A peer that answers every connection with these bytes.
async fn peer_that_writes(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = [0; 64 * 1024];
            let _asked = connection.read(&mut request).await;
            let _left = connection.write_all(answer.as_bytes()).await;
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn a_peer_cannot_speak_as_a_page_of_ours() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 17\r\n\r\n<script></script>",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        "no HTTP at all\r\n\r\n",
    ] {
        let node = node_with_peer(&peer_that_writes(answer).await, "");
        check_peer(&node, Refusal::new(502, -32000, "PEER_UNAVAILABLE")).await;
    }
}

#[tokio::test]
async fn headers_of_a_peer_that_reach_beyond_its_answer_stay_here() {
    let peer = peer_that_writes(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\n\
         set-cookie: a=b\r\nserver: evil\r\nlocation: http://evil.example/\r\nx-frame-options: x\r\n\
         content-length: 36\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}",
    );
    let node = node_with_peer(&peer.await, "");
    let answer = node.client().post_rpc(GAMMA, "SendMessage", say("x")).await;
    assert_eq!((answer.status, answer.result()), (200, json!({})));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    for name in ["set-cookie", "server", "location", "x-frame-options"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn a_peer_that_knows_another_key_of_ours_refuses_us() {
    let (alpha, beta) = (Identity::of_new_node(), Identity::of_new_node());
    let impostor = Identity::at(alpha.origin());
    let alpha = TestNode::start(|config| {
        alpha.configure(config);
        beta.configure_as_peer(config, "gamma");
    });
    let _beta = TestNode::start(|config| {
        beta.configure(config);
        impostor.configure_as_peer(config, "alpha");
    });
    check_peer(&alpha, Refusal::new(502, -32000, "PEER_UNAVAILABLE")).await;
}

#[tokio::test]
async fn what_a_peer_says_of_its_agents_is_passed_on() {
    let mesh = TestMesh::pair();
    let refused = async |path: &str, method: &str, params: Value| {
        mesh.alpha.client().refused(path, method, params).await
    };
    let nobody = refused("/peers/beta/agents/nobody", "SendMessage", say("hello")).await;
    assert_eq!(
        (nobody.status, nobody.reason.as_str()),
        (404, "AGENT_NOT_FOUND")
    );
    let nothing = refused(THROUGH, "Nothing", json!({})).await;
    assert_eq!(nothing, Refusal::new(200, -32601, "METHOD_NOT_FOUND"));
    let params = refused(THROUGH, "SendMessage", json!({})).await;
    assert_eq!(params, Refusal::new(200, -32602, "INVALID_PARAMS"));
    // What is no JSON-RPC does not trouble the peer.
    let broken = mesh.alpha.client().post(THROUGH, "{").await.refusal();
    assert_eq!(
        broken,
        Refusal::under(200, -32700, "PARSE_ERROR", Value::Null)
    );
    let mut peer = FakeAgent::start_without_card();
    let node = node_with_peer(peer.origin(), "");
    let broken = node.client().post(GAMMA, "[]").await.refusal();
    assert_eq!(
        broken,
        Refusal::under(200, -32600, "INVALID_REQUEST", Value::Null)
    );
    assert!(peer.is_left_alone());
}
