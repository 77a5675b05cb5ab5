//! Webhooks: what a real receiver is told, in which order, and what happens when it does not listen.

use archipel_tests::mesh::{
    AgentCall, Client, FakeAgent, NodeConfig, NodeProcess, Refusal, TestNode, configured, id_of,
    say, say_to, state_of, their_piece, their_question, their_status, their_task, until,
};
use archipel_tests::services::RedisServer;
use serde_json::{Value, json};

use crate::{ECHO, NODE, upstream_agent};

const PLAYED: &str = "/agents/played";

/// Receivers of tests are on this machine, and no test waits for long.
fn tell_this_machine(config: &mut NodeConfig) {
    config
        .add("push.allow_private = true\npush.retry_first = \"10ms\"\npush.retry_most = \"50ms\"");
}

fn listening_node() -> TestNode {
    TestNode::start(tell_this_machine)
}

fn hook(receiver: &FakeAgent) -> String {
    format!("{}/hook?key=1", receiver.origin())
}

/// Parameters that say something and name a webhook.
fn say_and_tell(text: &str, webhook: Value) -> Value {
    configured(say(text), json!({"taskPushNotificationConfig": webhook}))
}

/// Takes the next delivery and accepts it.
async fn told(receiver: &mut FakeAgent) -> Value {
    accept(receiver.call().await)
}

fn accept(delivery: AgentCall) -> Value {
    let body = delivery.body().clone();
    delivery.answer_raw(200, "text/plain", "");
    body
}

/// Takes deliveries up to the end of the task.
async fn told_to_the_end(receiver: &mut FakeAgent) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let body = told(receiver).await;
        let ends = body.get("statusUpdate").is_some() && state_of(&body) == "TASK_STATE_COMPLETED";
        all.push(body);
        if ends {
            return all;
        }
    }
}

/// Waits until so many deliveries came to this.
async fn counted(node: &TestNode, outcome: &str, count: usize) {
    let line = format!("archipel_push_deliveries_total{{outcome=\"{outcome}\"}} {count}");
    until("the count of deliveries", async || {
        let metrics = node.client().get("/metrics").await;
        metrics.text().contains(&line).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_webhook_that_comes_with_a_message_is_told_of_everything_from_the_first_event() {
    let mut receiver = FakeAgent::start_without_card();
    let node = listening_node();
    let webhook = json!({
        "id": "mine", "url": hook(&receiver), "token": "the token",
        "authentication": {"scheme": "Bearer", "credentials": "s3cret"},
    });
    let task = node
        .client()
        .call(ECHO, "SendMessage", say_and_tell("hello", webhook))
        .await;
    let first = receiver.call().await;
    for (name, expected) in [
        ("content-type", "application/a2a+json"),
        ("authorization", "Bearer s3cret"),
        ("x-a2a-notification-token", "the token"),
        ("a2a-version", "1.0"),
    ] {
        assert_eq!(first.header(name), Some(expected), "{name}");
    }
    assert_eq!(first.path, "/hook");
    let opened = accept(first);
    assert_eq!(state_of(&opened), "TASK_STATE_SUBMITTED");
    assert_eq!(id_of(&opened), id_of(&task));
    let rest = told_to_the_end(&mut receiver).await;
    let kinds: Vec<&String> = rest
        .iter()
        .flat_map(|event| event.as_object().unwrap().keys())
        .collect();
    assert_eq!(kinds, ["statusUpdate", "artifactUpdate", "statusUpdate"]);
    assert!(receiver.is_left_alone());
}

#[tokio::test]
async fn a_client_of_0_3_is_told_of_the_task_in_its_own_shape() {
    let mut receiver = FakeAgent::start_without_card();
    let node = listening_node();
    let client = node.client().without("a2a-version");
    let params = json!({
        "message": {"messageId": "m", "role": "user", "parts": [{"kind": "text", "text": "hello"}]},
        "configuration": {"pushNotificationConfig": {
            "url": hook(&receiver), "token": "t",
            "authentication": {"schemes": ["Basic"], "credentials": "eDp5"},
        }},
    });
    let task = client.call(ECHO, "message/send", params).await;
    loop {
        let delivery = receiver.call().await;
        assert_eq!(delivery.header("content-type"), Some("application/json"));
        assert_eq!(delivery.header("authorization"), Some("Basic eDp5"));
        assert_eq!(delivery.header("x-a2a-notification-token"), Some("t"));
        let body = accept(delivery);
        assert_eq!((&body["kind"], &body["id"]), (&json!("task"), &task["id"]));
        if state_of(&body) == "completed" {
            assert_eq!(body, task);
            break;
        }
    }
    let set = json!({"taskId": task["id"], "pushNotificationConfig": {"url": hook(&receiver)}});
    let made = client
        .call(ECHO, "tasks/pushNotificationConfig/set", set)
        .await;
    assert_eq!(made["pushNotificationConfig"]["id"], task["id"]);
    let id = json!({"id": task["id"]});
    let all = client
        .call(ECHO, "tasks/pushNotificationConfig/list", id)
        .await;
    assert_eq!(all.as_array().unwrap().len(), 2);
    let named = json!({"id": task["id"], "pushNotificationConfigId": task["id"]});
    let read = client
        .call(ECHO, "tasks/pushNotificationConfig/get", named.clone())
        .await;
    assert_eq!(read, made);
    let gone = client
        .call(ECHO, "tasks/pushNotificationConfig/delete", named)
        .await;
    assert_eq!(gone, Value::Null);
}

#[tokio::test]
async fn webhooks_of_a_task_that_has_ended_are_made_read_listed_and_removed() {
    let mut receiver = FakeAgent::start_without_card();
    let node = listening_node();
    let client = node.client();
    let task = id_of(&client.call(ECHO, "SendMessage", say("hello")).await);
    let create = async |id: &str, path: &str| {
        let url = format!("{}/{path}", receiver.origin());
        let config = json!({"taskId": task, "id": id, "url": url});
        client
            .call(ECHO, "CreateTaskPushNotificationConfig", config)
            .await
    };
    let first = create("b", "1").await;
    assert_eq!(first["taskId"], json!(task));
    let second = create("a", "2").await;
    let changed = create("b", "3").await;
    let named = |id: &str| json!({"taskId": task, "id": id});
    let read = client
        .call(ECHO, "GetTaskPushNotificationConfig", named("b"))
        .await;
    assert_eq!(read, changed);
    let list = async |more: Value| {
        let mut params = json!({"taskId": task});
        params
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        client
            .call(ECHO, "ListTaskPushNotificationConfigs", params)
            .await
    };
    assert_eq!(list(json!({})).await, json!({"configs": [changed, second]}));
    let page = list(json!({"pageSize": 1})).await;
    assert_eq!(page["configs"], json!([changed]));
    let next = list(json!({"pageSize": 1, "pageToken": page["nextPageToken"]})).await;
    assert_eq!(next, json!({"configs": [second]}));
    for _ in 0..2 {
        let gone = client
            .call(ECHO, "DeleteTaskPushNotificationConfig", named("b"))
            .await;
        assert_eq!(gone, json!({}));
    }
    let refused = client
        .refused(ECHO, "GetTaskPushNotificationConfig", named("b"))
        .await;
    assert_eq!(refused, Refusal::new(200, -32001, "TASK_NOT_FOUND"));
    for number in 0..15 {
        create(&number.to_string(), "more").await;
    }
    let config = json!({"taskId": task, "id": "one too many", "url": hook(&receiver)});
    let refused = client
        .refused(ECHO, "CreateTaskPushNotificationConfig", config)
        .await;
    assert_eq!(refused, Refusal::new(200, -32602, "INVALID_PARAMS"));
    assert!(receiver.is_left_alone());
}

#[tokio::test]
async fn the_webhooks_of_others_are_missing() {
    let receiver = FakeAgent::start_without_card();
    let node = listening_node();
    let task = id_of(&node.client().call(ECHO, "SendMessage", say("hello")).await);
    let config = json!({"taskId": task, "id": "a", "url": hook(&receiver)});
    node.client()
        .call(ECHO, "CreateTaskPushNotificationConfig", config.clone())
        .await;
    let mut foreign = config.clone();
    foreign["tenant"] = json!("another");
    let named = json!({"taskId": task, "id": "a", "tenant": "another"});
    for (method, params) in [
        ("CreateTaskPushNotificationConfig", &foreign),
        ("GetTaskPushNotificationConfig", &named),
        ("ListTaskPushNotificationConfigs", &named),
        ("DeleteTaskPushNotificationConfig", &named),
    ] {
        let refused = node.client().refused(ECHO, method, params.clone()).await;
        assert_eq!(
            refused,
            Refusal::new(200, -32001, "TASK_NOT_FOUND"),
            "{method}"
        );
    }
    let mine = json!({"taskId": task, "id": "a"});
    let read = node
        .client()
        .call(ECHO, "GetTaskPushNotificationConfig", mine)
        .await;
    assert_eq!(read, config);
}

#[tokio::test]
async fn what_is_not_accepted_is_told_again_before_anything_else() {
    let mut receiver = FakeAgent::start_without_card();
    let node = listening_node();
    let params = say_and_tell("hello", json!({"url": hook(&receiver)}));
    node.client().call(ECHO, "SendMessage", params).await;
    let first = receiver.call().await;
    let (body, key) = (
        first.body().clone(),
        first.header("idempotency-key").unwrap().to_owned(),
    );
    first.answer_raw(503, "text/plain", "");
    for attempt in 0..3 {
        let again = receiver.call().await;
        assert_eq!(again.body(), &body);
        assert_eq!(again.header("idempotency-key"), Some(key.as_str()));
        match attempt {
            // A redirect is no acceptance, and nobody follows it.
            0 => again.answer_raw(307, "text/plain", ""),
            1 => drop(again),
            _ => again.answer_raw(204, "text/plain", ""),
        }
    }
    let rest = told_to_the_end(&mut receiver).await;
    assert_eq!(state_of(&rest[0]), "TASK_STATE_WORKING");
    counted(&node, "failed", 3).await;
}

#[tokio::test]
async fn a_webhook_that_is_made_later_is_told_of_what_comes_then() {
    let mut agent = FakeAgent::start();
    let mut receiver = FakeAgent::start_without_card();
    let node = TestNode::start(|config| {
        tell_this_machine(config);
        config.add(&upstream_agent("played", agent.origin()));
    });
    let client = node.client();
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.call(PLAYED, "SendMessage", say("begin")).await }
    });
    agent
        .call()
        .await
        .stream()
        .tell(their_question("which one?"));
    let task = id_of(&first.await.unwrap());
    let config = json!({"taskId": task, "url": hook(&receiver)});
    let made = client
        .call(PLAYED, "CreateTaskPushNotificationConfig", config)
        .await;
    assert!(made["id"].is_string());
    let second = tokio::spawn(async move {
        client
            .call(PLAYED, "SendMessage", say_to(&task, "that one"))
            .await
    });
    let theirs = agent.call().await.stream();
    theirs.tell(their_piece("made"));
    theirs.tell(their_status("TASK_STATE_COMPLETED"));
    second.await.unwrap();
    let all = told_to_the_end(&mut receiver).await;
    assert_eq!(state_of(&all[0]), "TASK_STATE_WORKING");
    let piece = all[1].pointer("/artifactUpdate/artifact/parts/0/text");
    assert_eq!(piece, Some(&json!("made")));
    assert!(receiver.is_left_alone());
}

#[tokio::test]
async fn nothing_is_lost_or_told_out_of_order_when_the_node_dies() {
    let mut agent = FakeAgent::start();
    let mut receiver = FakeAgent::start_without_card();
    let mut node = NodeProcess::start(NODE, |config| {
        tell_this_machine(config);
        config.add(&upstream_agent("played", agent.origin()));
    })
    .await;
    let params = say_and_tell("begin", json!({"url": hook(&receiver)}));
    let mut stream = node
        .client()
        .stream(PLAYED, "SendStreamingMessage", params)
        .await;
    let theirs = agent.call().await.stream();
    theirs.tell(their_task("TASK_STATE_WORKING"));
    for number in 0..20 {
        theirs.tell(their_piece(&number.to_string()));
    }
    theirs.tell(their_status("TASK_STATE_COMPLETED"));
    let mut kept = stream.events().await.len();
    let mut all: Vec<Value> = Vec::new();
    for _ in 0..5 {
        all.push(told(&mut receiver).await);
    }
    // One is on its way: whether it arrived is not known to the node that comes back.
    let on_its_way = receiver.call().await;
    node.kill().await;
    let repeated = on_its_way.body().clone();
    drop(on_its_way);
    node.restart().await;
    let again = told(&mut receiver).await;
    // The node may have died before it had noted the acceptance of the fifth.
    if Some(&again) == all.last() {
        assert_eq!(told(&mut receiver).await, repeated);
    } else {
        assert_eq!(again, repeated);
    }
    all.push(repeated);
    all.extend(told_to_the_end(&mut receiver).await);
    kept -= all.len();
    assert_eq!(kept, 0, "each event is told");
    let pieces: Vec<&Value> = all
        .iter()
        .filter_map(|event| event.pointer("/artifactUpdate/artifact/parts/0/text"))
        .collect();
    let expected: Vec<Value> = (0..20)
        .map(|number: u8| json!(number.to_string()))
        .collect();
    assert_eq!(pieces, expected.iter().collect::<Vec<_>>());
    assert_eq!(state_of(&all[0]), "TASK_STATE_SUBMITTED");
}

#[tokio::test]
async fn of_several_replicas_one_tells_each_event() {
    let redis = RedisServer::start().unwrap();
    let mut receiver = FakeAgent::start_without_card();
    let start = async || {
        NodeProcess::start(NODE, |config| {
            tell_this_machine(config);
            config.add(&format!("redis.url = \"{}\"", redis.url()));
        })
        .await
    };
    let (one, other) = (start().await, start().await);
    let webhook = json!({"id": "mine", "url": hook(&receiver)});
    let params = say_and_tell("hello", webhook.clone());
    let task = id_of(&one.client().call(ECHO, "SendMessage", params).await);
    let held = receiver.call().await;
    // The other replica learns of the webhook, and finds that its first event was not told.
    let mut same = webhook;
    same["taskId"] = json!(task);
    let create = "CreateTaskPushNotificationConfig";
    other.client().call(ECHO, create, same).await;
    until("the other replica to wait", async || {
        let metrics = other.client().get("/metrics").await;
        metrics
            .text()
            .contains("archipel_push_waiting 1")
            .then_some(())
    })
    .await;
    assert!(receiver.is_left_alone());
    assert_eq!(state_of(&accept(held)), "TASK_STATE_SUBMITTED");
    assert_eq!(told_to_the_end(&mut receiver).await.len(), 3);
    assert!(receiver.is_left_alone());
}

#[tokio::test]
async fn a_webhook_may_not_be_where_only_this_node_can_reach() {
    let node = TestNode::start(|_| {});
    let client = node.client();
    let task = id_of(&client.call(ECHO, "SendMessage", say("hello")).await);
    let violation = async |client: &Client, method: &str, params: Value| {
        let answer = client.post_rpc(ECHO, method, params).await;
        assert_eq!(
            answer.refusal(),
            Refusal::new(200, -32602, "INVALID_PARAMS")
        );
        answer.json()["error"]["data"][1]["fieldViolations"][0]["field"].clone()
    };
    for url in [
        "http://127.0.0.1:9/",
        "http://localhost/",
        "https://10.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://169.254.169.254/latest",
        "http://user:secret@example.com/",
        "file:///etc/passwd",
        "/relative",
    ] {
        let config = json!({"taskId": task, "url": url});
        let field = violation(&client, "CreateTaskPushNotificationConfig", config).await;
        assert_eq!(field, "url", "{url}");
        let inline = say_and_tell("hello", json!({"url": url}));
        let field = violation(&client, "SendMessage", inline).await;
        assert_eq!(
            field, "configuration.taskPushNotificationConfig.url",
            "{url}"
        );
    }
    // A name that nobody knows now may be known when there is something to tell.
    let config = json!({"taskId": task, "url": "https://hooks.invalid/"});
    client
        .call(ECHO, "CreateTaskPushNotificationConfig", config)
        .await;
}

#[tokio::test]
async fn a_webhook_that_may_not_be_called_any_more_is_not_called() {
    let mut receiver = FakeAgent::start_without_card();
    let node = TestNode::start(|config| {
        tell_this_machine(config);
        config.add("push.retry_first = \"1m\"\npush.retry_most = \"1m\"");
    });
    let params = say_and_tell("hello", json!({"url": hook(&receiver)}));
    node.client().call(ECHO, "SendMessage", params).await;
    receiver.call().await.answer_raw(500, "text/plain", "");
    let mut stopped = node.stop().await;
    stopped.config().add("push.allow_private = false");
    let node = stopped.start();
    counted(&node, "given_up", 1).await;
    assert!(receiver.is_left_alone());
}

#[tokio::test]
async fn a_receiver_that_never_accepts_is_given_up() {
    let mut receiver = FakeAgent::start_without_card();
    let node = TestNode::start(|config| {
        tell_this_machine(config);
        config.add("push.give_up_after = \"1s\"");
    });
    let params = say_and_tell("hello", json!({"url": hook(&receiver)}));
    let task = id_of(&node.client().call(ECHO, "SendMessage", params).await);
    let refusing = async {
        loop {
            receiver.call().await.answer_raw(500, "text/plain", "");
        }
    };
    let given_up = counted(&node, "given_up", 1);
    tokio::select! {
        () = refusing => {}
        () = given_up => {}
    }
    // It is still there for its owner to see and to make anew.
    let named = json!({"taskId": task});
    let all = node
        .client()
        .call(ECHO, "ListTaskPushNotificationConfigs", named)
        .await;
    assert_eq!(all["configs"].as_array().unwrap().len(), 1);
}
