//! What everybody plays. A scene gives everything that it was told; that is what is compared.

use archipel_tests::mesh::{
    FakeAgent, configured, id_of, say, state_of, their_piece, their_question, their_status,
    their_task,
};
use serde_json::{Value, json};

use super::speaker::{Told, ToldEvents, Tongue};
use super::{ECHO, compare, compare_on, compare_played};

#[tokio::test]
async fn a_message_is_answered_with_the_same_task() {
    compare(async |speaker| {
        let task = speaker.send("hello", None).await.result();
        assert_eq!(state_of(&task["task"]), "TASK_STATE_COMPLETED");
        let id = id_of(&task);
        let mut told = vec![task];
        for history in [None, Some(0), Some(1), Some(9)] {
            told.push(speaker.get(&id, history).await.result());
        }
        if speaker.tongue == Tongue::Rpc03 {
            // The clients of 0.3 mean no limit by 0, and some send it unasked.
            let without_limit = &mut told[2];
            assert!(without_limit["history"].is_array(), "{without_limit}");
            without_limit.as_object_mut().unwrap().remove("history");
        }
        told
    })
    .await;
}

#[tokio::test]
async fn a_stream_tells_the_same_events() {
    compare(async |speaker| {
        let mut stream = speaker.send_streaming("hello").await;
        let mut told = Vec::new();
        let mut ids = Vec::new();
        while let Some(event) = stream.event().await {
            told.push(event);
            ids.push(stream.last_id());
        }
        assert!(ids.is_sorted() && ids[0] < ids[1], "{ids:?}");
        assert_eq!(state_of(told.last().unwrap()), "TASK_STATE_COMPLETED");
        told.push(json!(ids));
        told
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_alike() {
    compare(async |speaker| {
        let task = speaker.send("hello", None).await.result();
        let ended = id_of(&task);
        let missing = "0197f3a0-0000-7000-8000-000000000000";
        let refused = [
            speaker.get(missing, None).await,
            speaker.get("nothing", None).await,
            speaker.cancel(missing).await,
            speaker.cancel(&ended).await,
            speaker.subscribe(missing).await,
            speaker.subscribe(&ended).await,
            speaker.send("hello", Some(missing)).await,
            speaker.send("hello", Some(&ended)).await,
            speaker.call("SendMessage", json!({})).await,
            speaker.call("ListTasks", json!({"pageSize": 0})).await,
            speaker.call("ListTasks", json!({"pageSize": 101})).await,
            speaker.call("ListTasks", json!({"pageToken": "x"})).await,
        ];
        refused.iter().map(Told::refusal).collect()
    })
    .await;
}

#[tokio::test]
async fn tasks_are_listed_alike() {
    compare(async |speaker| {
        let talk = uuid::Uuid::new_v4().to_string();
        for text in ["one", "two", "three"] {
            let mut params = say(text);
            params["message"]["contextId"] = talk.clone().into();
            speaker.call("SendMessage", params).await.result();
        }
        let list = async |mut params: Value| {
            params["contextId"] = talk.clone().into();
            speaker.call("ListTasks", params).await.result()
        };
        let first = list(json!({"pageSize": 2})).await;
        let next = json!({"pageSize": 2, "pageToken": first["nextPageToken"]});
        let told = vec![
            list(next).await,
            list(json!({"includeArtifacts": true, "historyLength": 1})).await,
            list(json!({"status": "TASK_STATE_WORKING"})).await,
            list(json!({"status": "TASK_STATE_COMPLETED", "pageSize": 1})).await,
            first,
        ];
        let sizes: Vec<_> = told
            .iter()
            .map(|page| page["tasks"].as_array().unwrap().len())
            .collect();
        assert_eq!(sizes, [1, 3, 0, 1, 2]);
        told
    })
    .await;
}

#[tokio::test]
async fn a_talk_is_told_alike() {
    compare_played(FakeAgent::start(), async |speaker, agent| {
        let params = configured(say("begin"), json!({"returnImmediately": true}));
        let opened = speaker.call("SendMessage", params).await.result();
        let id = id_of(&opened);
        let mut watcher = speaker.watch(&id, None).await;
        let mut told = vec![opened, watcher.event().await.unwrap()];
        let theirs = agent.call().await.stream();
        theirs.tell(their_task("TASK_STATE_WORKING"));
        theirs.tell(their_piece("one"));
        theirs.tell(their_question("which one?"));
        told.extend(events_until(&mut watcher, "TASK_STATE_INPUT_REQUIRED").await);
        told.push(speaker.get(&id, None).await.result());
        let answer = speaker.send("that one", Some(&id));
        let played = async {
            let theirs = agent.call().await.stream();
            theirs.tell(their_piece("two"));
            theirs.tell(their_status("TASK_STATE_COMPLETED"));
        };
        let (answer, ()) = tokio::join!(answer, played);
        told.push(answer.result());
        told
    })
    .await;
}

/// The next events of a stream, to the first in this state.
async fn events_until(stream: &mut ToldEvents, state: &str) -> Vec<Value> {
    let mut events = Vec::new();
    loop {
        let event = stream.event().await.unwrap();
        let reached = event.pointer("/statusUpdate/status/state") == Some(&state.into());
        events.push(event);
        if reached {
            return events;
        }
    }
}

#[tokio::test]
async fn a_watcher_that_returns_misses_nothing() {
    compare_played(FakeAgent::start(), async |speaker, agent| {
        let mut sender = speaker.send_streaming("begin").await;
        let id = id_of(&sender.event().await.unwrap());
        let theirs = agent.call().await.stream();
        for text in ["one", "two", "three"] {
            theirs.tell(their_piece(text));
        }
        theirs.tell(their_status("TASK_STATE_COMPLETED"));
        let mut told = Vec::new();
        let mut ids = Vec::new();
        while let Some(event) = sender.event().await {
            told.push(event);
            ids.push(sender.last_id().unwrap());
        }
        // From each place in the log the rest is had, the same as the first time, though the task has ended.
        for (seen, after) in ids.iter().enumerate().take(ids.len() - 1) {
            let mut returned = speaker.watch(&id, Some(*after)).await;
            for expected in &told[seen + 1..] {
                assert_eq!(returned.event().await.as_ref(), Some(expected));
            }
            assert_eq!(returned.event().await, None);
        }
        told
    })
    .await;
}

#[tokio::test]
async fn a_task_is_canceled_alike() {
    compare_played(FakeAgent::start(), async |speaker, agent| {
        let params = configured(say("begin"), json!({"returnImmediately": true}));
        let id = id_of(&speaker.call("SendMessage", params).await.result());
        let theirs = agent.call().await.stream();
        theirs.tell(their_task("TASK_STATE_WORKING"));
        let mut watcher = speaker.watch(&id, None).await;
        theirs.tell(their_piece("one"));
        let mut told = Vec::new();
        while !told.iter().any(is_piece) {
            told.push(watcher.event().await.unwrap());
        }
        // How many events the piece took to come here is not the scene's.
        told.retain(is_piece);
        let canceling = speaker.cancel(&id);
        let played = async {
            let call = agent.call().await;
            assert_eq!(call.method(), "CancelTask");
            call.answer(json!({"id": "theirs", "status": {"state": "TASK_STATE_CANCELED"}}));
        };
        let (canceled, ()) = tokio::join!(canceling, played);
        told.push(canceled.result());
        told.extend(events_until(&mut watcher, "TASK_STATE_CANCELED").await);
        assert_eq!(watcher.event().await, None);
        told
    })
    .await;
}

fn is_piece(event: &Value) -> bool {
    event.get("artifactUpdate").is_some()
        || event
            .pointer("/task/artifacts")
            .is_some_and(|artifacts| !artifacts.as_array().unwrap().is_empty())
}

/// An agent that requires one extension and knows another.
fn demanding_agent() -> FakeAgent {
    let card = json!({
        "name": "played",
        "description": "an agent that a test plays",
        "version": "1",
        "capabilities": {
            "streaming": true,
            "extensions": [{"uri": "urn:required", "required": true}, {"uri": "urn:known"}],
        },
        "supportedInterfaces": [
            {"url": "http://elsewhere.invalid/", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
        ],
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": [],
    });
    FakeAgent::start_with(Some(card.to_string()))
}

#[tokio::test]
async fn extensions_are_required_known_or_ignored_alike() {
    compare_played(demanding_agent(), async |speaker, agent| {
        // Whoever calls has read the card, and with that the node knows it too.
        assert_eq!(speaker.card().await.status, 200);
        let refused = speaker.send("hello", None).await;
        let some = speaker.with("a2a-extensions", "urn:known");
        let mut told = vec![refused.refusal(), some.send("hello", None).await.refusal()];
        let wanted = "urn:unknown, urn:required,urn:known";
        let wanting = speaker.with("a2a-extensions", wanted);
        let sent = wanting.send("hello", None);
        let played = async {
            let call = agent.call().await;
            assert_eq!(call.header("a2a-extensions"), Some(wanted));
            call.stream().tell(their_status("TASK_STATE_COMPLETED"));
        };
        let (sent, ()) = tokio::join!(sent, played);
        told.push(sent.result());
        told.push(json!(sent.extensions()));
        told
    })
    .await;
}

#[tokio::test]
async fn content_that_is_not_taken_is_refused_alike() {
    compare_on(&ECHO[..4], async |speaker| {
        let mut params = say("hello");
        let sound = json!({"raw": "AAAA", "mediaType": "audio/wav"});
        params["message"]["parts"]
            .as_array_mut()
            .unwrap()
            .push(sound);
        let refused = speaker.call("SendMessage", params).await.refusal();
        assert_eq!(refused["reason"], "CONTENT_TYPE_NOT_SUPPORTED");
        vec![refused]
    })
    .await;
}

#[tokio::test]
async fn an_extended_card_that_is_not_there_is_told_alike() {
    compare(async |speaker| {
        let none = speaker.call("GetExtendedAgentCard", json!({})).await;
        vec![none.refusal()]
    })
    .await;
}
