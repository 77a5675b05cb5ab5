//! Tasks of several turns: an agent that asks, a client that answers, one history.

use archipel_tests::mesh::{
    FakeAgent, Refusal, configured, id_of, reason_of, say, say_to, state_of, their_piece,
    their_question, their_status, their_task,
};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{PLAYED, node_with, read};

#[tokio::test]
async fn history_is_as_long_as_asked_for() {
    let mut agent = FakeAgent::start();
    let node = node_with(&agent);
    let ask = async |agent: &mut FakeAgent, params: Value| {
        let client = node.client();
        let sent = tokio::spawn(async move { client.call(PLAYED, "SendMessage", params).await });
        let stream = agent.call().await.stream();
        stream.tell(their_question("which one?"));
        sent.await.unwrap()
    };
    let first = ask(&mut agent, say("first")).await;
    let id = id_of(&first);
    ask(&mut agent, say_to(&id, "second")).await;
    let texts = |task: &Value| -> Option<Vec<String>> {
        let history = task.get("history")?.as_array()?;
        Some(
            history
                .iter()
                .map(|message| message["parts"][0]["text"].as_str().unwrap().to_owned())
                .collect(),
        )
    };
    // What the agent asked before stays part of the conversation; its last question stands in the status.
    let all = ["first", "which one?", "second"]
        .map(str::to_owned)
        .to_vec();
    for (asked, expected) in [
        (None, Some(all.clone())),
        (Some(0), None),
        (Some(1), Some(all[2..].to_vec())),
        (Some(2), Some(all[1..].to_vec())),
        (Some(99), Some(all.clone())),
    ] {
        let mut params = json!({"id": id});
        if let Some(asked) = asked {
            params["historyLength"] = asked.into();
        }
        let task = node.client().call(PLAYED, "GetTask", params).await;
        assert_eq!(texts(&task), expected, "{asked:?}");
    }
    let params = configured(say_to(&id, "third"), json!({"historyLength": 1}));
    let task = ask(&mut agent, params).await;
    assert_eq!(texts(&task["task"]), Some(vec!["third".to_owned()]));
    let params = configured(say_to(&id, "fourth"), json!({"historyLength": 0}));
    assert_eq!(texts(&ask(&mut agent, params).await["task"]), None);
}

#[tokio::test]
async fn a_conversation_of_two_turns_is_one_task_on_both_sides() {
    let mut agent = FakeAgent::start();
    let node = node_with(&agent);
    let client = node.client();
    let first = tokio::spawn(async move {
        client
            .call(PLAYED, "SendMessage", say("book a flight"))
            .await
    });
    let call = agent.call().await;
    assert_eq!(call.method(), "SendStreamingMessage");
    assert_eq!(call.params()["message"].get("taskId"), None);
    let stream = call.stream();
    stream.tell(their_task("TASK_STATE_WORKING"));
    stream.tell(their_question("where to?"));
    let asked = first.await.unwrap()["task"].take();
    assert_eq!(state_of(&asked), "TASK_STATE_INPUT_REQUIRED");
    assert_eq!(reason_of(&asked), "where to?");
    assert_ne!(asked["id"], "theirs");

    // The conversation need not be named again, but must not be another one.
    let id = id_of(&asked);
    let mut astray = say_to(&id, "to Rome");
    astray["message"]["contextId"] = "another".into();
    let refusal = node.client().refused(PLAYED, "SendMessage", astray).await;
    assert_eq!(refusal, Refusal::new(200, -32602, "INVALID_PARAMS"));

    let (client, params) = (node.client(), say_to(&id, "to Rome"));
    let second = tokio::spawn(async move { client.call(PLAYED, "SendMessage", params).await });
    let call = agent.call().await;
    assert_eq!(call.params()["message"]["taskId"], "theirs");
    assert_eq!(call.params()["message"]["contextId"], "talk");
    let stream = call.stream();
    stream.tell(their_piece("a ticket"));
    stream.tell(their_status("TASK_STATE_COMPLETED"));
    let done = second.await.unwrap()["task"].take();
    assert_eq!(state_of(&done), "TASK_STATE_COMPLETED");
    assert_eq!(
        (&done["id"], &done["contextId"]),
        (&asked["id"], &asked["contextId"])
    );
    assert_eq!(done["artifacts"][0]["parts"][0]["text"], "a ticket");
    assert_eq!(done["history"].as_array().unwrap().len(), 3);
    assert_eq!(read(&node, PLAYED, &id).await, done);
}

#[tokio::test]
async fn a_conversation_goes_on_after_the_node_was_stopped() {
    let mut agent = FakeAgent::start();
    let node = node_with(&agent);
    let client = node.client();
    let first = tokio::spawn(async move { client.call(PLAYED, "SendMessage", say("begin")).await });
    let stream = agent.call().await.stream();
    stream.tell(their_question("which one?"));
    let id = id_of(&first.await.unwrap());
    drop(stream);
    let node = node.stop().await.start();
    assert_eq!(
        state_of(&read(&node, PLAYED, &id).await),
        "TASK_STATE_INPUT_REQUIRED"
    );
    let (client, params) = (node.client(), say_to(&id, "that one"));
    let second = tokio::spawn(async move { client.call(PLAYED, "SendMessage", params).await });
    let call = agent.call().await;
    assert_eq!(call.params()["message"]["taskId"], "theirs");
    call.stream().tell(their_status("TASK_STATE_COMPLETED"));
    assert_eq!(state_of(&second.await.unwrap()), "TASK_STATE_COMPLETED");
}

#[tokio::test]
async fn of_many_messages_at_once_one_opens_the_turn() {
    let mut agent = FakeAgent::start();
    let node = node_with(&agent);
    let client = node.client();
    let first = tokio::spawn(async move { client.call(PLAYED, "SendMessage", say("begin")).await });
    agent
        .call()
        .await
        .stream()
        .tell(their_question("which one?"));
    let id = id_of(&first.await.unwrap());
    let client = node.client();
    let answers = (0..8).map(|number| {
        let message = say_to(&id, &format!("number {number}"));
        let params = configured(message, json!({"returnImmediately": true}));
        client.post_rpc(PLAYED, "SendMessage", params)
    });
    let answers = join_all(answers).await;
    let _held = agent.call().await;
    let (taken, refused): (Vec<_>, Vec<_>) = answers
        .iter()
        .partition(|answer| answer.json().get("result").is_some());
    assert_eq!((taken.len(), refused.len()), (1, 7));
    for answer in refused {
        assert_eq!(
            answer.refusal(),
            Refusal::new(200, -32004, "UNSUPPORTED_OPERATION")
        );
    }
    let task = read(&node, PLAYED, &id).await;
    assert_eq!(task, taken[0].result()["task"]);
    assert_eq!(task["history"].as_array().unwrap().len(), 3);
    assert!(agent.is_left_alone());
}

#[tokio::test]
async fn a_task_that_waits_can_be_canceled() {
    let mut agent = FakeAgent::start();
    let node = node_with(&agent);
    let client = node.client();
    let first = tokio::spawn(async move { client.call(PLAYED, "SendMessage", say("begin")).await });
    agent
        .call()
        .await
        .stream()
        .tell(their_question("which one?"));
    let id = id_of(&first.await.unwrap());
    let canceled = node
        .client()
        .call(PLAYED, "CancelTask", json!({"id": id}))
        .await;
    assert_eq!(state_of(&canceled), "TASK_STATE_CANCELED");
    let refusal = node
        .client()
        .refused(PLAYED, "SendMessage", say_to(&id, "that one"))
        .await;
    assert_eq!(refusal, Refusal::new(200, -32004, "UNSUPPORTED_OPERATION"));
    assert_eq!(read(&node, PLAYED, &id).await, canceled);
}
