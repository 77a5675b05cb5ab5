//! Several replicas are one node: processes that share a Redis, with a client that never knows which of them it meets.

use std::time::Duration;

use archipel_tests::mesh::{
    Answer, Client, EventStream, FakeAgent, Identity, NodeConfig, NodeProcess, TestNode,
    configured, free_port, id_of, say, say_to, state_of, their_piece, their_question, their_status,
    their_task, until,
};
use archipel_tests::services::RedisServer;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{ECHO, NODE, upstream_agent};

const PLAYED: &str = "/agents/played";
const JWT: &str = "x-hive-federation-jwt";
/// What an operator expects of a node that cannot keep anything now.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Three replicas of one node.
async fn replicas(redis: &RedisServer, more: impl Fn(&mut NodeConfig) + Copy) -> [NodeProcess; 3] {
    let url = redis.url();
    let start = async || {
        NodeProcess::start(NODE, |config| {
            more(config);
            config.add(&format!("[redis]\nurl = \"{url}\""));
        })
        .await
    };
    [start().await, start().await, start().await]
}

async fn with_agent(redis: &RedisServer, agent: &FakeAgent) -> [NodeProcess; 3] {
    let agent = upstream_agent("played", agent.origin());
    replicas(redis, |config| config.add(&agent)).await
}

async fn read(client: &Client, path: &str, id: &str) -> Value {
    client.call(path, "GetTask", json!({"id": id})).await
}

/// Takes events up to one in `state`: each with its number.
async fn events_to(stream: &mut EventStream, state: &str) -> Vec<(u64, Value)> {
    let mut events = Vec::new();
    loop {
        let event = stream.event().await;
        let is_last = event.pointer("/statusUpdate/status/state") == Some(&state.into());
        events.push((stream.last_id.unwrap(), event));
        if is_last {
            return events;
        }
    }
}

#[tokio::test]
async fn what_one_replica_did_every_replica_knows() {
    let redis = RedisServer::start().unwrap();
    let nodes = replicas(&redis, |_| {}).await;
    let clients: Vec<Client> = nodes.iter().map(NodeProcess::client).collect();
    let mut ids = Vec::new();
    for number in 0..12 {
        let client = &clients[number % 3];
        let task = client
            .call(ECHO, "SendMessage", say(&format!("message {number}")))
            .await;
        ids.push(id_of(&task));
    }
    for (number, id) in ids.iter().enumerate() {
        let task = read(&clients[(number + 1) % 3], ECHO, id).await;
        let text = format!("Echo: message {number}");
        assert_eq!(task["artifacts"][0]["parts"][0]["text"], text);
    }
    ids.reverse();
    for client in &clients {
        let page = client.call(ECHO, "ListTasks", json!({})).await;
        let listed = page["tasks"].as_array().unwrap().iter().map(id_of);
        let listed: Vec<String> = listed.collect();
        assert_eq!(
            (page["totalSize"].as_u64(), listed),
            (Some(12), ids.clone())
        );
    }
}

#[tokio::test]
async fn a_task_is_begun_here_watched_there_and_canceled_elsewhere() {
    let redis = RedisServer::start().unwrap();
    let mut agent = FakeAgent::start();
    let [first, second, third] = &with_agent(&redis, &agent).await;
    let mut sender = first
        .client()
        .stream(PLAYED, "SendStreamingMessage", say("begin"))
        .await;
    let id = id_of(&sender.event().await);
    let theirs = agent.call().await.stream();
    theirs.tell(their_task("TASK_STATE_WORKING"));
    let watch = async |node: &NodeProcess| {
        let params = json!({"id": id});
        let client = node.client();
        let mut stream = client.stream(PLAYED, "SubscribeToTask", params).await;
        assert_eq!(id_of(&stream.event().await), id);
        stream
    };
    let (mut second_sees, mut third_sees) = (watch(second).await, watch(third).await);
    for number in 0..50 {
        theirs.tell(their_piece(&number.to_string()));
    }
    let busy = second
        .client()
        .refused(PLAYED, "SendMessage", say_to(&id, "more"))
        .await;
    assert_eq!(busy.reason, "UNSUPPORTED_OPERATION");
    let canceling = tokio::spawn({
        let (client, id) = (third.client(), id.clone());
        async move { client.call(PLAYED, "CancelTask", json!({"id": id})).await }
    });
    let call = agent.call().await;
    assert_eq!(call.method(), "CancelTask");
    call.answer(their_task("TASK_STATE_CANCELED")["task"].clone());
    assert_eq!(state_of(&canceling.await.unwrap()), "TASK_STATE_CANCELED");
    let expected = events_to(&mut sender, "TASK_STATE_CANCELED").await;
    for (number, sees) in [&mut second_sees, &mut third_sees].into_iter().enumerate() {
        let seen = events_to(sees, "TASK_STATE_CANCELED").await;
        let common = &expected[expected.len() - seen.len()..];
        assert_eq!(seen, common, "watcher {number}");
    }
    for node in [first, second, third] {
        let task = read(&node.client(), PLAYED, &id).await;
        assert_eq!(state_of(&task), "TASK_STATE_CANCELED");
        let again = node
            .client()
            .refused(PLAYED, "CancelTask", json!({"id": id}))
            .await;
        assert_eq!(again.reason, "TASK_NOT_CANCELABLE");
    }
}

#[tokio::test]
async fn a_conversation_goes_on_at_any_replica() {
    let redis = RedisServer::start().unwrap();
    let mut agent = FakeAgent::start();
    let nodes = with_agent(&redis, &agent).await;
    let mut id: Option<String> = None;
    let mut watching = None;
    for (turn, node) in nodes.iter().chain(&nodes).enumerate() {
        let params = match &id {
            None => say("begin"),
            Some(id) => say_to(id, &format!("answer {turn}")),
        };
        let client = node.client();
        let sent = tokio::spawn(async move { client.call(PLAYED, "SendMessage", params).await });
        let call = agent.call().await;
        call.stream()
            .tell(their_question(&format!("question {turn}")));
        let task = sent.await.unwrap();
        assert_eq!(state_of(&task), "TASK_STATE_INPUT_REQUIRED");
        assert_eq!(
            task["task"]["history"].as_array().unwrap().len(),
            2 * turn + 1
        );
        let id = id.get_or_insert_with(|| id_of(&task)).clone();
        if watching.is_none() {
            let params = json!({"id": id});
            let client = nodes[1].client();
            watching = Some(client.stream(PLAYED, "SubscribeToTask", params).await);
        }
    }
    // One watcher saw all of it, over all the interruptions.
    let mut watching = watching.unwrap();
    let mut numbers = Vec::new();
    let mut questions = 0;
    while questions < 5 {
        let event = watching.event().await;
        numbers.push(watching.last_id.unwrap());
        let state = event.pointer("/statusUpdate/status/state");
        questions += usize::from(state == Some(&"TASK_STATE_INPUT_REQUIRED".into()));
    }
    assert!(
        numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{numbers:?}"
    );
}

#[tokio::test]
async fn a_stream_outlives_the_replica_that_served_it() {
    let redis = RedisServer::start().unwrap();
    let mut agent = FakeAgent::start();
    let [mut first, second, third] = with_agent(&redis, &agent).await;
    let mut sender = first
        .client()
        .stream(PLAYED, "SendStreamingMessage", say("begin"))
        .await;
    let id = id_of(&sender.event().await);
    let params = json!({"id": id});
    let mut watcher = third
        .client()
        .stream(PLAYED, "SubscribeToTask", params.clone())
        .await;
    watcher.event().await;
    let begun = watcher.last_id.unwrap();
    let theirs = agent.call().await.stream();
    theirs.tell(their_status("TASK_STATE_WORKING"));
    for number in 0..200 {
        theirs.tell(their_piece(&number.to_string()));
    }
    let mut seen = 0;
    while seen < 100 {
        seen += usize::from(sender.event().await.get("artifactUpdate").is_some());
    }
    let last_seen = sender.last_id.unwrap();
    first.kill().await;
    drop(theirs);
    // Whoever takes the task up may ask the agent, which is of no help.
    let unhelpful = tokio::spawn(async move {
        loop {
            drop(agent.call().await);
        }
    });
    let mut resumed = second
        .client()
        .with("last-event-id", &last_seen.to_string())
        .stream(PLAYED, "SubscribeToTask", params)
        .await;
    let rest = events_to(&mut resumed, "TASK_STATE_FAILED").await;
    let numbers = rest.iter().map(|(number, _)| *number);
    assert!(numbers.eq(last_seen + 1..=last_seen + rest.len() as u64));
    // Who watched elsewhere all the time saw the same, and need not do anything.
    let all = events_to(&mut watcher, "TASK_STATE_FAILED").await;
    let numbers = all.iter().map(|(number, _)| *number);
    assert!(numbers.eq(begun + 1..=begun + all.len() as u64));
    assert_eq!(all[all.len() - rest.len()..], rest);
    let task = read(&second.client(), PLAYED, &id).await;
    let parts = task["artifacts"][0]["parts"].as_array().unwrap();
    assert!(parts.len() >= seen);
    for (number, part) in parts.iter().enumerate() {
        assert_eq!(part["text"], number.to_string());
    }
    unhelpful.abort();
}

#[tokio::test]
async fn a_replica_that_ends_leaves_its_tasks_to_the_others() {
    let redis = RedisServer::start().unwrap();
    let mut agent = FakeAgent::start();
    let [mut first, second, _third] = with_agent(&redis, &agent).await;
    let params = configured(say("begin"), json!({"returnImmediately": true}));
    let id = id_of(&first.client().call(PLAYED, "SendMessage", params).await);
    let call = agent.call().await;
    first.kill().await;
    drop(call);
    drop(agent);
    until("the end of the task", async || {
        let task = read(&second.client(), PLAYED, &id).await;
        (state_of(&task) == "TASK_STATE_FAILED").then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_redis_a_node_says_so_at_once_and_comes_back_by_itself() {
    let mut redis = RedisServer::start().unwrap();
    let nodes = replicas(&redis, |_| {}).await;
    let id = id_of(
        &nodes[0]
            .client()
            .call(ECHO, "SendMessage", say("before"))
            .await,
    );
    redis.suspend().unwrap();
    for node in &nodes {
        refuses_at_once(&node.client(), &id).await;
    }
    redis.resume().unwrap();
    for node in &nodes {
        comes_back(&node.client()).await;
        assert_eq!(
            state_of(&read(&node.client(), ECHO, &id).await),
            "TASK_STATE_COMPLETED"
        );
    }
    redis.kill().unwrap();
    for node in &nodes {
        refuses_at_once(&node.client(), &id).await;
    }
    redis.restart().unwrap();
    for node in &nodes {
        comes_back(&node.client()).await;
    }
}

async fn refuses_at_once(client: &Client, id: &str) {
    for _ in 0..3 {
        for (method, params) in [
            ("SendMessage", say("meanwhile")),
            ("GetTask", json!({"id": id})),
            ("CancelTask", json!({"id": id})),
            ("SubscribeToTask", json!({"id": id})),
            ("ListTasks", json!({})),
        ] {
            let answer = timeout(AT_ONCE, client.post_rpc(ECHO, method, params)).await;
            let answer = answer.unwrap_or_else(|_| panic!("{method} waits for redis"));
            assert_eq!(answer.refusal().reason, "UNAVAILABLE", "{method}: {answer}");
        }
    }
    until("a node that is not ready", async || {
        (client.get("/readyz").await.status == 503).then_some(())
    })
    .await;
}

async fn comes_back(client: &Client) {
    until("a node that is ready again", async || {
        (client.get("/readyz").await.status == 200).then_some(())
    })
    .await;
    let task = client.call(ECHO, "SendMessage", say("after")).await;
    assert_eq!(state_of(&task), "TASK_STATE_COMPLETED");
}

#[tokio::test]
async fn a_token_is_taken_once_whoever_it_is_shown_to() {
    let mut redis = RedisServer::start().unwrap();
    let (ours, peer) = (Identity::of_new_node(), Identity::of_new_node());
    let nodes = replicas(&redis, |config| {
        let listen = config.listen().to_owned();
        ours.configure(config);
        peer.configure_as_peer(config, "alpha");
        config.add(&format!(
            "listen = \"{listen}\"\npublic_origin = \"{}\"",
            ours.origin()
        ));
    })
    .await;
    let clients: Vec<Client> = nodes
        .iter()
        .map(|node| Client::new(node.origin()))
        .collect();
    let mut used = vec![a_token_that_is_taken(&clients[0], &peer, ours.origin()).await];
    for _ in 0..5 {
        let token = peer.token_for(ours.origin());
        let accepted = shown_to_all(&clients, &token).await;
        assert_eq!(accepted.len(), 1);
        used.push(token);
    }
    // What was used stays used, whatever becomes of the memory of it.
    redis.restart().unwrap();
    for token in &used {
        until("an answer", async || {
            let shown = shown_to_all(&clients, token).await;
            assert!(shown.is_empty());
            Some(())
        })
        .await;
    }
    let token = a_token_that_is_taken(&clients[1], &peer, ours.origin()).await;
    assert!(shown_to_all(&clients, &token).await.is_empty());
}

/// Mints until a token is young enough for the memory of used ones.
async fn a_token_that_is_taken(client: &Client, peer: &Identity, audience: &str) -> String {
    until("a token that is taken", async || {
        let token = peer.token_for(audience);
        let answer = show(client, &token).await;
        (answer.status == 200).then_some(token)
    })
    .await
}

/// The answers that are none of 401 or 503, when a token is shown to all of them many times at once.
async fn shown_to_all(clients: &[Client], token: &str) -> Vec<Answer> {
    let shown = (0..40).flat_map(|_| clients.iter().map(|client| show(client, token)));
    let answers = join_all(shown).await;
    answers
        .into_iter()
        .filter(|answer| !matches!(answer.status, 401 | 503))
        .collect()
}

async fn show(client: &Client, token: &str) -> Answer {
    let client = client.with(JWT, token);
    client
        .post_rpc(ECHO, "GetTask", json!({"id": "none"}))
        .await
}

#[tokio::test]
async fn redis_may_ask_for_tls_and_a_user_of_its_access_list() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let names = vec!["localhost".to_owned()];
    let certified = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(at("cert.pem"), certified.cert.pem()).unwrap();
    std::fs::write(at("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    let (port, cert, key) = (free_port().to_string(), at("cert.pem"), at("key.pem"));
    let redis = RedisServer::start_with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
    ])
    .unwrap();
    // As the documentation says.
    let rules = "on >let-me-in ~archipel:* &archipel:* +@read +@write +@scripting +@pubsub +@connection +info +time";
    let setting = ["acl", "setuser", "archipel"].into_iter();
    let setting: Vec<&str> = setting.chain(rules.split(' ')).collect();
    assert_eq!(redis.ask(&setting).unwrap(), "OK\n");
    let start = async |ca: &str| {
        let redis = format!(
            "[redis]\nurl = \"rediss://archipel@localhost:{port}\"\npassword = \"let-me-in\"\nca_file = {ca:?}"
        );
        TestNode::start(|config| config.add(&redis))
    };
    let (first, second) = (start(&cert).await, start(&cert).await);
    let id = id_of(&first.client().call(ECHO, "SendMessage", say("hello")).await);
    let task = read(&second.client(), ECHO, &id).await;
    assert_eq!(state_of(&task), "TASK_STATE_COMPLETED");
    // Somebody else's word for it is not enough.
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(at("other.pem"), other.cert.pem()).unwrap();
    let distrustful = start(&at("other.pem")).await;
    assert_eq!(distrustful.client().get("/readyz").await.status, 503);
}
