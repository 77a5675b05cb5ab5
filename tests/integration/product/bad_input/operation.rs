//! What is a request but cannot be done: methods, versions and parameters that are wrong, things that are not there.

use archipel_tests::mesh::{Refusal, TestMesh, TestNode, id_of, say, say_to};
use serde_json::{Value, json};

use crate::ECHO;

#[tokio::test]
async fn a_method_is_one_that_is_known_by_exactly_its_name() {
    let node = TestNode::start(|_| {});
    for method in [
        "",
        "Nothing",
        "sendmessage",
        "message/send",
        "SendMessage ",
        "__proto__",
    ] {
        let refusal = node.client().refused(ECHO, method, say("hello")).await;
        assert_eq!(
            refusal,
            Refusal::new(200, -32601, "METHOD_NOT_FOUND"),
            "{method:?}"
        );
    }
    let refusal = node
        .client()
        .refused(ECHO, "GetExtendedAgentCard", json!({}))
        .await;
    assert_eq!(refusal, Refusal::new(200, -32004, "UNSUPPORTED_OPERATION"));
}

#[tokio::test]
async fn a_version_is_asked_for_and_spoken() {
    let node = TestNode::start(|_| {});
    let client = node.client().without("a2a-version");
    let expected = || Refusal::new(200, -32009, "VERSION_NOT_SUPPORTED");
    for method in [
        "SendMessage",
        "SendStreamingMessage",
        "GetTask",
        "CancelTask",
        "SubscribeToTask",
        "message/stream",
        "Nothing",
    ] {
        for version in ["1.1", "2.0", "99.0", "1", "v1.0", "1.0.x"] {
            let asking = client.with("a2a-version", version);
            assert_eq!(
                asking.refused(ECHO, method, say("hello")).await,
                expected(),
                "{method} {version}"
            );
        }
    }
    let query = |version| format!("{ECHO}?A2A-Version={version}");
    for (asking, path) in [
        (client.clone(), query("1.0")),
        (client.with("a2a-version", "1.0.1"), ECHO.to_owned()),
    ] {
        asking.call(&path, "SendMessage", say("hello")).await;
    }
    let refusal = client
        .refused(&query("99.0"), "SendMessage", say("hello"))
        .await;
    assert_eq!(refusal, expected());
}

#[tokio::test]
async fn without_a_version_it_is_0_3() {
    let node = TestNode::start(|_| {});
    let unnamed = node.client().without("a2a-version");
    for asking in [
        unnamed.clone(),
        unnamed.with("a2a-version", ""),
        unnamed.with("a2a-version", "0.3"),
        unnamed.with("a2a-version", "0.3.0"),
    ] {
        let answer = asking.post_rpc(ECHO, "SendMessage", say("hello")).await;
        let error = &answer.json()["error"];
        assert_eq!(error["code"], -32601, "{answer}");
        assert_eq!(error["data"]["reason"], "METHOD_NOT_FOUND", "{answer}");
        // Most likely the version was forgotten.
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("A2A-Version"), "{answer}");
    }
}

/// Parameters of `SendMessage` with one member changed, and the path that the refusal names.
async fn check_params(node: &TestNode, change: impl FnOnce(&mut Value), field: &str) {
    let mut params = say("hello");
    change(&mut params);
    for method in ["SendMessage", "SendStreamingMessage"] {
        let answer = node.client().post_rpc(ECHO, method, params.clone()).await;
        assert_eq!(
            answer.refusal(),
            Refusal::new(200, -32602, "INVALID_PARAMS"),
            "{params}"
        );
        let violation = answer.json()["error"]["data"][1].clone();
        assert_eq!(
            violation["@type"], "type.googleapis.com/google.rpc.BadRequest",
            "{answer}"
        );
        assert_eq!(violation["fieldViolations"][0]["field"], field, "{answer}");
    }
}

#[tokio::test]
async fn parameters_are_what_the_method_takes() {
    let node = TestNode::start(|_| {});
    let check = async |place: &str, value: Value, field: &str| {
        check_params(
            &node,
            |params| *params.pointer_mut(place).unwrap() = value,
            field,
        )
        .await;
    };
    check("/message", json!(null), "message").await;
    check("/message", json!("hello"), "message").await;
    check("/message", json!([]), "message").await;
    check("/message/messageId", json!(null), "message.messageId").await;
    check("/message/messageId", json!(""), "message.messageId").await;
    check("/message/messageId", json!(7), "message.messageId").await;
    check(
        "/message/messageId",
        json!("x".repeat(2000)),
        "message.messageId",
    )
    .await;
    check("/message/role", json!(null), "message.role").await;
    check("/message/role", json!("user"), "message.role").await;
    check("/message/parts", json!(null), "message.parts").await;
    check("/message/parts", json!([]), "message.parts").await;
    check("/message/parts", json!({}), "message.parts").await;
    check("/message/parts/0", json!({}), "message.parts[0]").await;
    check("/message/parts/0", json!("hello"), "message.parts[0]").await;
    check(
        "/message/parts/0",
        json!({"text": "a", "url": "http://a"}),
        "message.parts[0]",
    )
    .await;
    check("/message/parts/0/text", json!(7), "message.parts[0].text").await;
}

#[tokio::test]
async fn configuration_is_what_the_method_takes() {
    let node = TestNode::start(|_| {});
    let check = async |configuration: Value, field: &str| {
        check_params(
            &node,
            |params| params["configuration"] = configuration,
            field,
        )
        .await;
    };
    check(json!("fast"), "configuration").await;
    check(json!({"historyLength": -1}), "configuration.historyLength").await;
    check(json!({"historyLength": 1.5}), "configuration.historyLength").await;
    check(
        json!({"historyLength": "many"}),
        "configuration.historyLength",
    )
    .await;
    check(
        json!({"returnImmediately": "yes"}),
        "configuration.returnImmediately",
    )
    .await;
    check(
        json!({"acceptedOutputModes": "text/plain"}),
        "configuration.acceptedOutputModes",
    )
    .await;
    check(
        json!({"acceptedOutputModes": [7]}),
        "configuration.acceptedOutputModes[0]",
    )
    .await;
}

#[tokio::test]
async fn methods_that_name_a_task_need_its_name() {
    let node = TestNode::start(|_| {});
    for method in ["GetTask", "CancelTask", "SubscribeToTask"] {
        for params in [
            json!({}),
            json!({"id": null}),
            json!({"id": 7}),
            json!({"id": ""}),
            json!({"name": "x"}),
        ] {
            let refusal = node.client().refused(ECHO, method, params.clone()).await;
            assert_eq!(
                refusal,
                Refusal::new(200, -32602, "INVALID_PARAMS"),
                "{method} {params}"
            );
        }
        let without = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#);
        let refusal = node.client().post(ECHO, without).await.refusal();
        assert_eq!(
            refusal,
            Refusal::new(200, -32602, "INVALID_PARAMS"),
            "{method}"
        );
    }
}

#[tokio::test]
async fn a_task_that_is_not_there_is_not_found() {
    let node = TestNode::start(|_| {});
    let known = id_of(&node.client().call(ECHO, "SendMessage", say("hello")).await);
    let names = [
        uuid::Uuid::now_v7().to_string(),
        uuid::Uuid::nil().to_string(),
        known.to_uppercase(),
        known.replace('-', ""),
        format!("{{{known}}}"),
        "../../etc/passwd".to_owned(),
        "ü".to_owned(),
    ];
    for name in names {
        let expected = || Refusal::new(200, -32001, "TASK_NOT_FOUND");
        for method in ["GetTask", "CancelTask", "SubscribeToTask"] {
            let refusal = node
                .client()
                .refused(ECHO, method, json!({"id": name}))
                .await;
            assert_eq!(refusal, expected(), "{method} {name}");
        }
        for method in ["SendMessage", "SendStreamingMessage"] {
            let refusal = node
                .client()
                .refused(ECHO, method, say_to(&name, "hello"))
                .await;
            assert_eq!(refusal, expected(), "{method} {name}");
        }
    }
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_not_found() {
    let mesh = TestMesh::pair();
    for name in ["nobody", "Echo", "echo%20", "echo%2f", "%65cho%00"] {
        let refusal = mesh
            .alpha
            .client()
            .refused(&format!("/agents/{name}"), "SendMessage", say("hello"))
            .await;
        assert_eq!(
            refusal,
            Refusal::under(404, -32000, "AGENT_NOT_FOUND", Value::Null),
            "{name}"
        );
    }
    // Percent-encoding is one spelling of the same path (RFC 3986 §6.2.2.2).
    mesh.alpha
        .client()
        .call("/agents/%65cho", "SendMessage", say("hello"))
        .await;
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_not_found() {
    let mesh = TestMesh::pair();
    for name in ["nobody", "Beta", "alpha", "beta%20"] {
        let path = format!("/peers/{name}/agents/echo");
        let refusal = mesh
            .alpha
            .client()
            .refused(&path, "SendMessage", say("hello"))
            .await;
        assert_eq!(
            refusal,
            Refusal::new(404, -32000, "PEER_NOT_FOUND"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_agent_of_a_peer_has_a_plain_name() {
    let mesh = TestMesh::pair();
    // None of these may reach another path of the peer.
    for name in [
        "..",
        "%2e%2e",
        "echo%2f..%2f..%2fmetrics",
        "%3f",
        "echo%23",
        "echo%0d%0ax:y",
    ] {
        let path = format!("/peers/beta/agents/{name}");
        let answer = mesh
            .alpha
            .client()
            .post_rpc(&path, "SendMessage", say("hello"))
            .await;
        assert_eq!(answer.status, 404, "{name}: {answer}");
    }
}
