//! What is refused by the head of a request, or by how its body arrives.

use archipel_tests::mesh::{RawConnection, Refusal, TestNode, head_of_call, say};
use serde_json::{Value, json};

use crate::ECHO;

const LIMIT: usize = 8 * 1024;

/// A node that takes little and does not wait long.
fn small_node() -> TestNode {
    TestNode::start(|config| {
        config.add(&format!(
            "limits = {{ body = {LIMIT}, url = 128, body_time = \"300ms\" }}"
        ));
    })
}

/// The head of a call, with what it says of its body.
fn head(of_the_body: &str) -> String {
    head_of_call(ECHO, of_the_body)
}

/// Sends these bytes and reads the refusal.
async fn check(node: &TestNode, bytes: &[u8], expected: Refusal) {
    let mut connection = RawConnection::open(node.address()).await;
    connection.write(bytes).await;
    let answer = connection.read_to_end().await;
    let body: Value =
        serde_json::from_str(&answer.body()).unwrap_or_else(|_| panic!("{}", answer.text()));
    let found = Refusal {
        status: answer.status().unwrap(),
        code: body["error"]["code"].as_i64().unwrap(),
        reason: body["error"]["data"][0]["reason"]
            .as_str()
            .unwrap()
            .to_owned(),
        id: body["id"].clone(),
    };
    assert_eq!(found, expected, "{}", answer.text());
}

#[tokio::test]
async fn a_body_that_is_declared_too_large_is_refused_unread() {
    let node = small_node();
    let expected = || Refusal::under(413, -32700, "PAYLOAD_TOO_LARGE", Value::Null);
    // Nothing of the body is sent: the answer cannot have waited for it.
    check(
        &node,
        head(&format!("content-length: {}", LIMIT + 1)).as_bytes(),
        expected(),
    )
    .await;
    check(
        &node,
        head("content-length: 99999999999").as_bytes(),
        expected(),
    )
    .await;
}

#[tokio::test]
async fn a_body_that_grows_too_large_is_refused() {
    let node = small_node();
    let chunk = "x".repeat(4096);
    let chunks = format!("1000\r\n{chunk}\r\n").repeat(3);
    let bytes = format!("{}{chunks}0\r\n\r\n", head("transfer-encoding: chunked"));
    check(
        &node,
        bytes.as_bytes(),
        Refusal::under(413, -32700, "PAYLOAD_TOO_LARGE", Value::Null),
    )
    .await;
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_taken() {
    let node = small_node();
    let shortest = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": say("")});
    let text = "x".repeat(LIMIT - shortest.to_string().len());
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": say(&text)})
        .to_string();
    assert_eq!(body.len(), LIMIT);
    node.client().post(ECHO, body.clone()).await.result();
    let refused = node.client().post(ECHO, format!("{body} ")).await;
    assert_eq!(
        refused.refusal(),
        Refusal::under(413, -32700, "PAYLOAD_TOO_LARGE", Value::Null)
    );
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up() {
    let node = small_node();
    let expected = || Refusal::under(408, -32700, "REQUEST_TIMEOUT", Value::Null);
    let nothing = head("content-length: 100");
    check(&node, nothing.as_bytes(), expected()).await;
    let some = format!("{}{{\"jsonrpc\":", head("content-length: 100"));
    check(&node, some.as_bytes(), expected()).await;
}

#[tokio::test]
async fn a_body_that_breaks_off_does_nothing() {
    let node = small_node();
    let body =
        json!({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": say("cut off")})
            .to_string();
    let mut connection = RawConnection::open(node.address()).await;
    let (sent, _kept) = body.split_at(body.len() - 1);
    let cut_off = format!("{}{sent}", head(&format!("content-length: {}", body.len())));
    connection.write(cut_off.as_bytes()).await;
    connection.end_writing().await;
    // Whoever says no more has mostly gone, so an answer is a courtesy; a result would be a mistake.
    let answer = connection.read_to_end().await;
    assert!(
        matches!(answer.status(), None | Some(400 | 408)),
        "{}",
        answer.text()
    );
    let metrics = node.client().get("/metrics").await;
    assert!(
        !metrics.text().contains("archipel_tasks_opened_total 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_body_is_declared_as_json() {
    let node = small_node();
    let expected = || Refusal::under(415, -32005, "CONTENT_TYPE_NOT_SUPPORTED", Value::Null);
    let client = node.client();
    for declared in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "text/json",
        "json",
    ] {
        let client = client.with("content-type", declared);
        assert_eq!(
            client.refused(ECHO, "SendMessage", say("hello")).await,
            expected(),
            "{declared}"
        );
    }
    assert_eq!(
        client
            .without("content-type")
            .refused(ECHO, "SendMessage", say("hello"))
            .await,
        expected()
    );
    for declared in [
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/a2a+json",
    ] {
        client
            .with("content-type", declared)
            .call(ECHO, "SendMessage", say("hello"))
            .await;
    }
}

#[tokio::test]
async fn a_url_that_is_too_long_is_refused() {
    let node = small_node();
    let query = "x".repeat(128);
    let call = node.client().post(&format!("{ECHO}?{query}"), "{}").await;
    call.assert_gate(414, "URI Too Long");
    let card = node
        .stranger()
        .get(&format!("{ECHO}/.well-known/agent-card.json?{query}"))
        .await;
    card.assert_gate(414, "URI Too Long");
}

#[tokio::test]
async fn a_path_that_is_nobodys_is_not_found() {
    let node = small_node();
    for path in [
        "/",
        "/agents",
        "/peers/beta",
        "/api/a2a",
        "//agents/echo",
        "/../etc/passwd",
    ] {
        node.client()
            .post(path, "{}")
            .await
            .assert_gate(404, "Not Found");
        node.client().get(path).await.assert_gate(404, "Not Found");
    }
}

#[tokio::test]
async fn what_is_left_unread_is_never_taken_for_a_request() {
    let node = small_node();
    let smuggled = format!(
        "GET /livez?{} HTTP/1.1\r\nhost: node\r\n\r\n",
        "x".repeat(20)
    );
    let filling = smuggled.repeat(LIMIT / smuggled.len() + 1);
    let keeping = |head: String| head.replace("connection: close\r\n", "");
    // Too large, of a stranger, and of an agent that is not there: each is refused before its body is read.
    let too_large = keeping(head(&format!("content-length: {}", filling.len())));
    let of_stranger = keeping(head(&format!("content-length: {}", smuggled.len())))
        .replace("authorization", "x-nothing");
    let for_nobody = keeping(head(&format!("content-length: {}", smuggled.len())))
        .replace(ECHO, "/agents/nobody");
    for (sent, status) in [
        (format!("{too_large}{filling}"), 413),
        (format!("{of_stranger}{smuggled}"), 401),
        (format!("{for_nobody}{smuggled}"), 404),
    ] {
        let mut connection = RawConnection::open(node.address()).await;
        connection.write(sent.as_bytes()).await;
        connection.end_writing().await;
        let answer = connection.read_to_end().await;
        assert_eq!(answer.status(), Some(status), "{}", answer.text());
        assert!(!answer.text().contains("\"ok\":true"), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_head_that_contradicts_itself_is_refused() {
    let node = small_node();
    for lengths in [
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5\r\ntransfer-encoding: chunked",
        "content-length: +5",
        "content-length: -1",
        "transfer-encoding: gzip, chunked, identity",
        "no colon in this line",
    ] {
        let mut connection = RawConnection::open(node.address()).await;
        connection
            .write(format!("{}hello", head(lengths)).as_bytes())
            .await;
        let answer = connection.read_to_end().await;
        assert_eq!(answer.status(), Some(400), "{lengths}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_head_is_bounded_in_size_and_time() {
    let node = TestNode::start(|config| config.add("limits.head_time = \"1s\""));
    let endless = head(&format!("x-filling: {}", "x".repeat(300_000)));
    let slow = head("content-length: 5").trim_end().to_owned();
    for unfinished in [endless.trim_end(), &slow, "POST", ""] {
        let mut connection = RawConnection::open(node.address()).await;
        // The node may have had enough before it has taken all of it.
        connection.try_write(unfinished.as_bytes()).await;
        let answer = connection.read_to_end().await;
        let told = answer.status();
        assert!(
            matches!(told, None | Some(400 | 408 | 431)),
            "{}",
            answer.text()
        );
    }
    node.client()
        .call(ECHO, "SendMessage", say("others are served"))
        .await;
}
