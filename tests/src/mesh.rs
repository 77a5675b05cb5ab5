//! A mesh to test: whole nodes on real sockets, agents that a test plays itself, and clients that look at everything.
//!
//! Nothing is shared between two tests: every node has its own port, its own data directory and its own threads. Read
//! `config` (what a node is told), `node` (a node in this process), `process` (a node as a process of its own, to be
//! killed), `pair` (nodes that trust each other), `agent` (somebody who is called: the test answers), `client` with
//! `events` (somebody who calls), `raw` (bytes that no client would send), `document` (something on a web
//! server), `wait` (how tests wait).
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is a part of tests, which fail by panicking"
)]

mod agent;
mod client;
mod config;
mod document;
mod events;
mod node;
mod pair;
mod process;
mod raw;
mod wait;

use serde_json::{Value, json};

pub use agent::{AgentCall, AgentStream, FakeAgent};
pub use client::{Answer, Client, Refusal};
pub use config::{NodeConfig, TOKEN, free_port};
pub use document::Document;
pub use events::{EventStream, StreamItem};
pub use node::{StoppedNode, TestNode};
pub use pair::{Identity, TestMesh};
pub use process::{NodeProcess, Output, run};
pub use raw::{RawAnswer, RawConnection, head_of_call};
pub use wait::{until, within};

/// Parameters that say `text` to an agent.
pub fn say(text: &str) -> Value {
    json!({"message": {
        "messageId": uuid::Uuid::new_v4().to_string(),
        "role": "ROLE_USER",
        "parts": [{"text": text}],
    }})
}

/// Parameters that say `text` to a task that is there.
pub fn say_to(task: &str, text: &str) -> Value {
    let mut params = say(text);
    params["message"]["taskId"] = task.into();
    params
}

/// The same parameters with a configuration.
pub fn configured(mut params: Value, configuration: Value) -> Value {
    params["configuration"] = configuration;
    params
}

/// A task of an agent that a test plays.
pub fn their_task(state: &str) -> Value {
    json!({"task": {"id": "theirs", "contextId": "talk", "status": {"state": state}}})
}

/// That task's new status.
pub fn their_status(state: &str) -> Value {
    json!({"statusUpdate": {"taskId": "theirs", "contextId": "talk", "status": {"state": state}}})
}

/// A question of that task's agent.
pub fn their_question(text: &str) -> Value {
    let message = json!({"messageId": "question", "role": "ROLE_AGENT", "parts": [{"text": text}]});
    let status = json!({"state": "TASK_STATE_INPUT_REQUIRED", "message": message});
    json!({"statusUpdate": {"taskId": "theirs", "contextId": "talk", "status": status}})
}

/// A piece of that task's artifact.
pub fn their_piece(text: &str) -> Value {
    json!({"artifactUpdate": {
        "taskId": "theirs",
        "contextId": "talk",
        "append": true,
        "artifact": {"artifactId": "made", "parts": [{"text": text}]},
    }})
}

/// The state of a task, wherever it stands: a task, or an event of its stream.
pub fn state_of(value: &Value) -> &str {
    let places = [
        "/status/state",
        "/task/status/state",
        "/statusUpdate/status/state",
    ];
    let found = places.iter().find_map(|place| value.pointer(place));
    found
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no state in {value}"))
}

/// The id of a task, wherever it stands.
pub fn id_of(value: &Value) -> String {
    let found = value.pointer("/task/id").or(value.get("id"));
    let id = found.and_then(Value::as_str);
    id.unwrap_or_else(|| panic!("no task in {value}"))
        .to_owned()
}

/// What the agent says in the status of a task.
pub fn reason_of(value: &Value) -> &str {
    let places = [
        "/status/message/parts/0/text",
        "/task/status/message/parts/0/text",
        "/statusUpdate/status/message/parts/0/text",
    ];
    let found = places.iter().find_map(|place| value.pointer(place));
    found
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no reason in {value}"))
}
