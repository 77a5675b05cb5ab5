//! One scenario, told in every tongue and on every way to an agent: the results must be equal.
//!
//! `speaker` is somebody who speaks A2A in one tongue and hands out what is told in the shapes of JSON-RPC 1.0; `shapes`
//! looks at what each tongue really has on the wire.

use archipel_tests::mesh::{TestMesh, id_of, state_of};
use serde_json::{Value, json};

mod shapes;
mod speaker;

use speaker::{Speaker, Told, Tongue, normal};

/// A way to the echo agent of beta: where JSON-RPC is spoken, and where HTTP+JSON.
struct Way {
    name: &'static str,
    rpc: &'static str,
    rest: &'static str,
    through_alpha: bool,
}

const WAYS: [Way; 4] = [
    Way {
        name: "by its name",
        rpc: "/agents/echo",
        rest: "/agents/echo",
        through_alpha: false,
    },
    Way {
        name: "as the default agent",
        rpc: "/api/a2a/jsonrpc",
        rest: "/api/a2a/rest",
        through_alpha: false,
    },
    Way {
        name: "as the default agent for peers",
        rpc: "/api/a2a/federated/jsonrpc/",
        rest: "/api/a2a/federated/rest",
        through_alpha: false,
    },
    Way {
        name: "through a peer",
        rpc: "/peers/beta/agents/echo",
        rest: "/peers/beta/agents/echo",
        through_alpha: true,
    },
];

/// Everybody who may speak: each tongue on each way.
fn speakers(mesh: &TestMesh) -> Vec<Speaker> {
    let mut speakers = Vec::new();
    for way in &WAYS {
        let node = if way.through_alpha {
            &mesh.alpha
        } else {
            &mesh.beta
        };
        for tongue in Tongue::ALL {
            let path = if tongue == Tongue::Rest {
                way.rest
            } else {
                way.rpc
            };
            let name = format!("{tongue:?} {}", way.name);
            speakers.push(Speaker::new(name, node.client(), tongue, path));
        }
    }
    speakers
}

/// Plays a scene with everybody; what was told must be what JSON-RPC 1.0 was told by name.
async fn compare(scene: impl AsyncFn(&Speaker) -> Vec<Value>) {
    let mesh = TestMesh::pair();
    let mut expected = None;
    for speaker in speakers(&mesh) {
        let told = normal(&Value::from(scene(&speaker).await));
        let expected = expected.get_or_insert_with(|| told.clone());
        assert_eq!(&told, expected, "{}", speaker.name);
    }
}

#[tokio::test]
async fn a_message_is_answered_with_the_same_task() {
    compare(async |speaker| {
        let task = speaker.send("hello", None).await.result();
        assert_eq!(state_of(&task["task"]), "TASK_STATE_COMPLETED");
        let id = id_of(&task);
        let mut told = vec![task];
        for history in [None, Some(0), Some(1), Some(9)] {
            // The clients of 0.3 mean no limit by 0, and some send it unasked.
            if history != Some(0) || speaker.tongue != Tongue::Rpc03 {
                told.push(speaker.get(&id, history).await.result());
            }
        }
        if speaker.tongue == Tongue::Rpc03 {
            let without_history = told[1].clone();
            told.insert(2, with_no_history(without_history));
        }
        told
    })
    .await;
}

fn with_no_history(mut task: Value) -> Value {
    task.as_object_mut().unwrap().remove("history");
    task
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
        assert_eq!(
            told.last().unwrap()["statusUpdate"]["status"]["state"],
            "TASK_STATE_COMPLETED"
        );
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
        ];
        refused.iter().map(Told::refusal).collect()
    })
    .await;
}
