//! `call`: one message to an agent, by URL or by its name on a node; `via` is how it goes by envelope.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use archipel_kit::client::{Answer, RequestBody, Timeouts};
use archipel_kit::settings::{self, Environment};
use archipel_protocol::a2a::{self, ArtifactUpdate, StreamEvent, Task, TaskState, Version};
use archipel_protocol::jsonrpc::{Outcome, decode_response, encode_request};
use archipel_protocol::method::Method;
use futures_util::StreamExt;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Uri};
use serde_json::{Value, json};
use uuid::Uuid;

use super::node::{Node, NodeArguments, advice};
use super::{ConfigFile, print};
use crate::agents::upstream::sse::SseReader;
use crate::egress::{Destination, Egress, EgressSettings};

mod via;

use via::Via;

const MAX_ANSWER: usize = 64 * 1024 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Call {
    /// Agent: its URL, or its name on the node (`text`, `beta/text` for an agent of peer beta).
    #[arg(value_name = "AGENT-OR-URL")]
    agent: String,
    /// What to say; `-` reads it from standard input.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    text: Option<String>,
    /// Say what stands in this file.
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Show what the agent makes as it comes.
    #[arg(long)]
    stream: bool,
    #[command(flatten)]
    node: NodeArguments,
    /// Go on with this task instead of opening one.
    #[arg(long, value_name = "TASK-ID")]
    task: Option<String>,
    /// Seconds to wait for the answer, or for the next event of a stream.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    /// Go on another way than HTTP, to an agent of a peer (`beta/text`). The wait ends when the node gives up (`wan.call_life`).
    #[arg(long, value_name = "WAY", conflicts_with_all = ["stream", "task"])]
    via: Option<Via>,
    /// With --via: write which task it is, and do not wait for what comes of it.
    #[arg(long, requires = "via")]
    no_wait: bool,
    /// Write the result, or each event of the stream, as one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn call(call: Call, file: &ConfigFile) -> anyhow::Result<ExitCode> {
    let node = call.node.find(file)?;
    let uri = address(&call.agent, &node.origin)?;
    let text = said(&call)?;
    if let Some(way) = call.via {
        let uri = via::address(&uri, way)?;
        return Ok(exit_code(via::call(&call, &node, &uri, &text).await?));
    }
    let method = if call.stream {
        Method::SendStreamingMessage
    } else {
        Method::SendMessage
    };
    let body = encode_request(
        &Uuid::new_v4().to_string(),
        method.name(Version::V1),
        &params(&text, call.task.as_deref()),
    )?;
    let answer = send(&call, &node, &uri, body)
        .await
        .with_context(|| format!("cannot call {uri}"))?;
    let status = answer.status;
    let streams = answer
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let state = if streams {
        watch(answer, call.json).await?
    } else {
        let body = answer.read_all(MAX_ANSWER).await?;
        whole(&body, status, call.json)?
    };
    Ok(exit_code(state))
}

fn exit_code(state: TaskState) -> ExitCode {
    match state {
        TaskState::Completed | TaskState::InputRequired | TaskState::AuthRequired => {
            ExitCode::SUCCESS
        }
        _ => ExitCode::FAILURE,
    }
}

/// The URL of an agent that is given by its own or by its name on a node.
pub(super) fn address(agent: &str, node: &str) -> anyhow::Result<Uri> {
    let node = node.trim_end_matches('/');
    let url = match agent.split_once('/') {
        _ if agent.contains("://") => agent.to_owned(),
        Some((peer, agent)) => format!("{node}/peers/{peer}/agents/{agent}"),
        None => format!("{node}/agents/{agent}"),
    };
    url.parse().with_context(|| format!("{url} is no URL"))
}

fn said(call: &Call) -> anyhow::Result<String> {
    match (&call.file, call.text.as_deref()) {
        (Some(path), _) => {
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        }
        (None, Some("-")) => {
            std::io::read_to_string(std::io::stdin()).context("cannot read standard input")
        }
        (None, text) => Ok(text.unwrap_or_default().to_owned()),
    }
}

fn params(text: &str, task: Option<&str>) -> Value {
    let mut message = json!({
        "messageId": Uuid::new_v4().to_string(),
        "role": "ROLE_USER",
        "parts": [{"text": text}],
    });
    if let (Some(task), Some(members)) = (task, message.as_object_mut()) {
        members.insert("taskId".to_owned(), task.into());
    }
    json!({"message": message})
}

async fn send(call: &Call, node: &Node, uri: &Uri, body: Vec<u8>) -> anyhow::Result<Answer> {
    let mut request = Request::post(uri)
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, text/event-stream")
        .header("a2a-version", a2a::VERSION)
        .body(RequestBody::from(body))?;
    if let Some(authorization) = node.authorization(uri) {
        request.headers_mut().insert(AUTHORIZATION, authorization);
    }
    let limit = Some(Duration::from_secs(call.timeout));
    let limits = Timeouts {
        first_byte: limit,
        idle: limit,
        total: None,
    };
    let settings: EgressSettings = settings::load(None, &Environment::default())
        .map_err(|problems| anyhow::anyhow!("{problems}"))?;
    let egress = Egress::new(&settings);
    Ok(egress.send(Destination::Trusted, request, limits).await?)
}

/// An answer that is none of the protocol.
fn refused(body: &[u8], status: http::StatusCode) -> anyhow::Error {
    let text: String = String::from_utf8_lossy(body).chars().take(500).collect();
    let advice = match status.as_u16() {
        401 => format!(" ({})", advice()),
        _ => String::new(),
    };
    anyhow::anyhow!("the server answered {status}{advice}: {text}")
}

fn whole(body: &[u8], status: http::StatusCode, as_json: bool) -> anyhow::Result<TaskState> {
    let result = match decode_response(body) {
        Ok(Outcome::Result(result)) => result,
        Ok(Outcome::Error { code, message }) => bail!("error {code}: {message}"),
        Err(_) => return Err(refused(body, status)),
    };
    if as_json {
        print::out(&format!("{}\n", result.get()))?;
    }
    match StreamEvent::parse(result)? {
        StreamEvent::Task(task) => {
            if !as_json {
                print::task(&task)?;
            }
            Ok(task.status.state)
        }
        StreamEvent::Message(message) => {
            if !as_json {
                print::parts(&message.parts)?;
                print::out("\n")?;
            }
            Ok(TaskState::Completed)
        }
        _ => bail!("the server answered with something that is no task and no message"),
    }
}

async fn watch(answer: Answer, as_json: bool) -> anyhow::Result<TaskState> {
    let mut reader = SseReader::new(MAX_ANSWER);
    let mut body = answer.body;
    let mut shown = Shown::default();
    let mut events = Vec::new();
    while let Some(piece) = body.next().await {
        reader.push(&piece?, &mut events)?;
        for event in events.drain(..) {
            shown.show(&event, as_json)?;
        }
    }
    shown
        .state
        .filter(|state| state.is_terminal() || state.is_interrupted())
        .context("the stream broke off")
}

/// What of a stream stands on the terminal.
#[derive(Default)]
struct Shown {
    state: Option<TaskState>,
    task: String,
    artifact: Option<String>,
}

impl Shown {
    fn show(&mut self, event: &[u8], as_json: bool) -> anyhow::Result<()> {
        let result = match decode_response(event)? {
            Outcome::Result(result) => result,
            Outcome::Error { code, message } => bail!("error {code}: {message}"),
        };
        if as_json {
            print::out(&format!("{}\n", result.get()))?;
        }
        match StreamEvent::parse(result)? {
            StreamEvent::Task(task) => self.begin(&task, as_json),
            StreamEvent::StatusUpdate(update) => {
                self.state = Some(update.status.state);
                if as_json {
                    return Ok(());
                }
                self.end_artifact()?;
                print::status(
                    &self.task,
                    update.status.state,
                    update.status.message.as_ref(),
                )
            }
            StreamEvent::ArtifactUpdate(_) if as_json => Ok(()),
            StreamEvent::ArtifactUpdate(update) => self.piece(&update),
            StreamEvent::Message(message) => {
                self.state = Some(TaskState::Completed);
                if as_json {
                    Ok(())
                } else {
                    print::parts(&message.parts)
                }
            }
        }
    }

    fn begin(&mut self, task: &Task, as_json: bool) -> anyhow::Result<()> {
        self.state = Some(task.status.state);
        self.task.clone_from(&task.id);
        if as_json { Ok(()) } else { print::task(task) }
    }

    fn piece(&mut self, update: &ArtifactUpdate) -> anyhow::Result<()> {
        if self.artifact.as_ref() != Some(&update.artifact.artifact_id) {
            self.end_artifact()?;
            print::heading(&update.artifact)?;
            self.artifact = Some(update.artifact.artifact_id.clone());
        }
        print::parts(&update.artifact.parts)
    }

    fn end_artifact(&mut self) -> anyhow::Result<()> {
        if self.artifact.take().is_some() {
            print::out("\n")
        } else {
            Ok(())
        }
    }
}
