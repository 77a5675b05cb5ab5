//! Somebody who speaks A2A in one tongue. What goes in and what comes out has the shapes of JSON-RPC 1.0.

use std::collections::BTreeMap;

use archipel_protocol::a2a::{Version, v03};
use archipel_protocol::error::ErrorCode;
use archipel_protocol::method::Method;
use archipel_tests::mesh::{Answer, Client, EventStream, say};
use http::Method as Verb;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A version in a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tongue {
    Rpc10,
    Rpc03,
    Rest,
}

impl Tongue {
    pub(super) const ALL: [Self; 3] = [Self::Rpc10, Self::Rpc03, Self::Rest];
}

/// See the module.
pub(super) struct Speaker {
    pub(super) name: String,
    pub(super) tongue: Tongue,
    client: Client,
    path: String,
}

/// What was answered, in the tongue of the speaker.
pub(super) struct Told {
    tongue: Tongue,
    method: Method,
    pub(super) answer: Answer,
}

/// A stream, in the tongue of the speaker.
pub(super) struct ToldEvents {
    tongue: Tongue,
    stream: EventStream,
}

impl Speaker {
    pub(super) fn new(name: String, client: Client, tongue: Tongue, path: &str) -> Self {
        let client = match tongue {
            Tongue::Rpc10 => client,
            Tongue::Rpc03 => client.without("a2a-version"),
            Tongue::Rest => client.with("content-type", "application/a2a+json"),
        };
        Self {
            name,
            tongue,
            client,
            path: path.to_owned(),
        }
    }

    pub(super) async fn send(&self, text: &str, task: Option<&str>) -> Told {
        self.call("SendMessage", said(text, task)).await
    }

    pub(super) async fn get(&self, id: &str, history: Option<u32>) -> Told {
        let mut params = json!({"id": id});
        if let Some(history) = history {
            params["historyLength"] = history.into();
        }
        self.call("GetTask", params).await
    }

    pub(super) async fn cancel(&self, id: &str) -> Told {
        self.call("CancelTask", json!({"id": id})).await
    }

    /// The agent's card.
    pub(super) async fn card(&self) -> Answer {
        let path = format!("{}/.well-known/agent-card.json", self.path);
        self.client.get(&path).await
    }

    /// For what is refused before a stream begins.
    pub(super) async fn subscribe(&self, id: &str) -> Told {
        self.call("SubscribeToTask", json!({"id": id})).await
    }

    pub(super) async fn send_streaming(&self, text: &str) -> ToldEvents {
        self.stream("SendStreamingMessage", said(text, None)).await
    }

    /// The task's events; behind the event `after`, if one is given.
    pub(super) async fn watch(&self, id: &str, after: Option<u64>) -> ToldEvents {
        let params = json!({"id": id});
        match after {
            None => self.stream("SubscribeToTask", params).await,
            Some(after) => {
                let returning = self.with("last-event-id", &after.to_string());
                returning.stream("SubscribeToTask", params).await
            }
        }
    }

    /// The same speaker, sending one more header.
    pub(super) fn with(&self, name: &str, value: &str) -> Self {
        Self {
            name: self.name.clone(),
            tongue: self.tongue,
            client: self.client.with(name, value),
            path: self.path.clone(),
        }
    }

    /// Calls an operation by its name in 1.0.
    pub(super) async fn call(&self, name: &str, params: Value) -> Told {
        let method = Method::parse(Version::V1, name).unwrap();
        let answer = match self.tongue {
            Tongue::Rpc10 => self.client.post_rpc(&self.path, name, params).await,
            Tongue::Rpc03 => {
                let name = method.name(Version::V03);
                let params = params_in_03(method, params);
                self.client.post_rpc(&self.path, name, params).await
            }
            Tongue::Rest => {
                let (verb, path, body) = self.rest(method, params);
                self.client.rest(verb, &path, body.as_ref()).await
            }
        };
        Told {
            tongue: self.tongue,
            method,
            answer,
        }
    }

    pub(super) async fn stream(&self, name: &str, params: Value) -> ToldEvents {
        let method = Method::parse(Version::V1, name).unwrap();
        let stream = match self.tongue {
            Tongue::Rpc10 => self.client.stream(&self.path, name, params).await,
            Tongue::Rpc03 => {
                let name = method.name(Version::V03);
                let params = params_in_03(method, params);
                self.client.stream(&self.path, name, params).await
            }
            Tongue::Rest => {
                let (verb, path, body) = self.rest(method, params);
                self.client.rest_stream(verb, &path, body.as_ref()).await
            }
        };
        ToldEvents {
            tongue: self.tongue,
            stream,
        }
    }

    fn rest(&self, method: Method, params: Value) -> (Verb, String, Option<Value>) {
        let base = match params["tenant"].as_str() {
            Some(tenant) => format!("{}/{tenant}", self.path.trim_end_matches('/')),
            None => self.path.trim_end_matches('/').to_owned(),
        };
        let id = params["id"].as_str().unwrap_or_default();
        let history = || match &params["historyLength"] {
            Value::Null => String::new(),
            length => format!("?historyLength={length}"),
        };
        match method {
            Method::SendMessage => (Verb::POST, format!("{base}/message:send"), Some(params)),
            Method::SendStreamingMessage => {
                (Verb::POST, format!("{base}/message:stream"), Some(params))
            }
            Method::GetTask => (Verb::GET, format!("{base}/tasks/{id}{}", history()), None),
            Method::ListTasks => (
                Verb::GET,
                format!("{base}/tasks{}", query_of(&params)),
                None,
            ),
            Method::CancelTask => (Verb::POST, format!("{base}/tasks/{id}:cancel"), None),
            Method::SubscribeToTask => (Verb::GET, format!("{base}/tasks/{id}:subscribe"), None),
            Method::GetExtendedAgentCard => (Verb::GET, format!("{base}/extendedAgentCard"), None),
            webhooks => rest_webhooks(webhooks, &base, params),
        }
    }
}

impl Told {
    /// The result, as JSON-RPC 1.0 has it.
    pub(super) fn result(&self) -> Value {
        match self.tongue {
            Tongue::Rpc10 => self.answer.result(),
            Tongue::Rpc03 => {
                let result = self.answer.result();
                match self.method {
                    Method::SendMessage => json!({"task": in_10(&result)}),
                    Method::ListTasks => page_in_10(result),
                    _ => in_10(&result),
                }
            }
            Tongue::Rest => {
                assert_eq!(self.answer.status, 200, "{}", self.answer);
                self.answer.json()
            }
        }
    }

    /// The extensions that are in force.
    pub(super) fn extensions(&self) -> Option<&str> {
        self.answer.header(match self.tongue {
            Tongue::Rpc03 => "x-a2a-extensions",
            Tongue::Rpc10 | Tongue::Rest => "a2a-extensions",
        })
    }

    /// The reason of the refusal with its message; code and status are checked against the table.
    pub(super) fn refusal(&self) -> Value {
        let answer = &self.answer;
        let error = &answer.json()["error"];
        let info = match self.tongue {
            Tongue::Rpc10 => &error["data"][0],
            Tongue::Rpc03 => &error["data"],
            Tongue::Rest => &error["details"][0],
        };
        let reason = info["reason"].as_str().unwrap_or_default();
        let known = |code: &&ErrorCode| code.reason() == reason;
        let code = ErrorCode::ALL.iter().find(known);
        let code = *code.unwrap_or_else(|| panic!("no reason in {answer}"));
        let expected = match self.tongue {
            Tongue::Rpc10 | Tongue::Rpc03 => (200, code.rpc_code()),
            Tongue::Rest => (code.http_status(), code.http_status().into()),
        };
        let told = (answer.status, error["code"].clone());
        assert_eq!(told, (expected.0, expected.1.into()), "{answer}");
        json!({"reason": reason, "message": error["message"], "metadata": info["metadata"]})
    }
}

impl ToldEvents {
    /// The next event, as JSON-RPC 1.0 has it; `None` at the end.
    pub(super) async fn event(&mut self) -> Option<Value> {
        let event = self.stream.try_event().await?;
        Some(match self.tongue {
            Tongue::Rpc10 | Tongue::Rest => event,
            Tongue::Rpc03 => event_in_10(&event),
        })
    }

    /// Number of the last event.
    pub(super) fn last_id(&self) -> Option<u64> {
        self.stream.last_id
    }
}

fn said(text: &str, task: Option<&str>) -> Value {
    let mut params = say(text);
    if let Some(task) = task {
        params["message"]["taskId"] = task.into();
    }
    params
}

/// What these tests say, as 0.3 says it.
fn params_in_03(method: Method, mut params: Value) -> Value {
    let task = params.get_mut("taskId").map(Value::take);
    match method {
        Method::CreateTaskPushNotificationConfig => {
            return json!({"taskId": task, "pushNotificationConfig": params});
        }
        Method::ListTaskPushNotificationConfigs => return json!({"id": task}),
        Method::GetTaskPushNotificationConfig | Method::DeleteTaskPushNotificationConfig => {
            return json!({"id": task, "pushNotificationConfigId": params["id"]});
        }
        _ => {}
    }
    if let Some(state) = params.get_mut("status") {
        let name = state.as_str().unwrap().trim_start_matches("TASK_STATE_");
        *state = name.to_ascii_lowercase().replace('_', "-").into();
    }
    if let Some(configuration) = params.get_mut("configuration") {
        let waits = configuration["returnImmediately"] != true;
        *configuration = json!({"blocking": waits});
    }
    if let Some(message) = params.get_mut("message") {
        message["kind"] = "message".into();
        message["role"] = "user".into();
        for part in message["parts"].as_array_mut().unwrap() {
            if part.get("raw").is_some() {
                let (bytes, kind) = (part["raw"].take(), part["mediaType"].take());
                *part = json!({"kind": "file", "file": {"bytes": bytes, "mimeType": kind}});
            } else {
                part["kind"] = "text".into();
            }
        }
    }
    params
}

fn rest_webhooks(method: Method, base: &str, params: Value) -> (Verb, String, Option<Value>) {
    let text = |name: &str| params[name].as_str().unwrap_or_default();
    let all = format!("{base}/tasks/{}/pushNotificationConfigs", text("taskId"));
    let one = format!("{all}/{}", text("id"));
    match method {
        Method::CreateTaskPushNotificationConfig => (Verb::POST, all, Some(params)),
        Method::ListTaskPushNotificationConfigs => (Verb::GET, all, None),
        Method::GetTaskPushNotificationConfig => (Verb::GET, one, None),
        Method::DeleteTaskPushNotificationConfig => (Verb::DELETE, one, None),
        other => panic!("no path for {other:?}"),
    }
}

/// Parameters of a list as a query.
fn query_of(params: &Value) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in params.as_object().unwrap() {
        match value {
            Value::String(text) => query.append_pair(name, text),
            other => query.append_pair(name, &other.to_string()),
        };
    }
    format!("?{}", query.finish())
}

fn page_in_10(mut page: Value) -> Value {
    for task in page["tasks"].as_array_mut().unwrap() {
        *task = in_10(task);
    }
    page
}

fn in_10(task: &Value) -> Value {
    assert_eq!(task["kind"], "task", "{task}");
    written(&v03::read_task(&raw(task)).unwrap())
}

fn event_in_10(event: &Value) -> Value {
    let read = v03::read_event(&raw(event)).unwrap_or_else(|error| panic!("{error}: {event}"));
    written(&read)
}

fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap()
}

fn written(value: &impl Serialize) -> Value {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

/// The same but for what is different each time: ids are numbered in the order in which they appear, times are left out.
pub(super) fn normal(value: &Value) -> Value {
    Normal::default().of(value)
}

#[derive(Default)]
struct Normal {
    seen: BTreeMap<String, usize>,
}

impl Normal {
    fn of(&mut self, value: &Value) -> Value {
        match value {
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| {
                    let value = match (name.as_str(), value) {
                        ("timestamp", Value::String(_)) => "some time".into(),
                        ("nextPageToken", Value::String(token)) => (!token.is_empty()).into(),
                        _ => self.of(value),
                    };
                    (name.clone(), value)
                })
                .collect(),
            Value::Array(items) => items.iter().map(|item| self.of(item)).collect(),
            Value::String(text) if uuid::Uuid::try_parse(text).is_ok() => {
                let next = self.seen.len();
                let number = *self.seen.entry(text.clone()).or_insert(next);
                format!("id {number}").into()
            }
            other => other.clone(),
        }
    }
}
