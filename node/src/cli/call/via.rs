//! A call that goes by envelope: its task is there at once, and is watched until the answer comes.

use anyhow::{Context, bail};
use archipel_protocol::a2a::{StreamEvent, Task, TaskState, Version};
use archipel_protocol::jsonrpc::{Outcome, decode_response, encode_request};
use archipel_protocol::method::Method;
use http::Uri;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Call, MAX_ANSWER, params, refused, send, watch};
use crate::cli::node::Node;
use crate::cli::print;

/// By which a node says that there is nothing to watch of a task.
const HAS_ENDED: i64 = -32004;

/// On which way a call goes that does not go over HTTP.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Via {
    /// By envelope: it waits for a peer that is not there now.
    Wan,
}

/// The agent's address for calls on that way.
pub(super) fn address(uri: &Uri, via: Via) -> anyhow::Result<Uri> {
    let Via::Wan = via;
    let sign = if uri.query().is_some() { '&' } else { '?' };
    Ok(format!("{uri}{sign}via=wan").parse()?)
}

/// Sends the message, and waits for what comes of it.
pub(super) async fn call(
    call: &Call,
    node: &Node,
    uri: &Uri,
    text: &str,
) -> anyhow::Result<TaskState> {
    let sent = ask(call, node, uri, Method::SendMessage, &params(text, None)).await?;
    let Reply::Whole(sent) = sent else {
        bail!("the node answered with a stream");
    };
    let StreamEvent::Task(task) = StreamEvent::parse(result(&sent)?)? else {
        bail!("the node answered with something that is no task");
    };
    if call.no_wait {
        print::out(&format!("{}\n", task.id))?;
        return Ok(TaskState::Completed);
    }
    let id = json!({"id": task.id});
    match ask(call, node, uri, Method::SubscribeToTask, &id).await? {
        Reply::Stream(events) => watch(*events, call.json).await.with_context(|| {
            format!(
                "task {} goes on at the node, which keeps what comes of it",
                task.id
            )
        }),
        Reply::Whole(answer) => match decode_response(&answer) {
            // The answer was quicker than we.
            Ok(Outcome::Error {
                code: HAS_ENDED, ..
            }) => ended(call, node, uri, &id).await,
            _ => bail!(
                "the task cannot be watched: {}",
                String::from_utf8_lossy(&answer)
            ),
        },
    }
}

enum Reply {
    Whole(bytes::Bytes),
    Stream(Box<archipel_kit::client::Answer>),
}

async fn ask(
    call: &Call,
    node: &Node,
    uri: &Uri,
    method: Method,
    params: &Value,
) -> anyhow::Result<Reply> {
    let id = Uuid::new_v4().to_string();
    let body = encode_request(&id, method.name(Version::V1), params)?;
    let sent = send(call, node, uri, body).await;
    let answer = sent.with_context(|| format!("cannot call {uri}"))?;
    let kind = answer.headers.get(CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
        return Ok(Reply::Stream(Box::new(answer)));
    }
    let status = answer.status;
    let body = answer.read_all(MAX_ANSWER).await?;
    match decode_response(&body) {
        Ok(_) => Ok(Reply::Whole(body)),
        Err(_) => Err(refused(&body, status)),
    }
}

async fn ended(call: &Call, node: &Node, uri: &Uri, id: &Value) -> anyhow::Result<TaskState> {
    let Reply::Whole(answer) = ask(call, node, uri, Method::GetTask, id).await? else {
        bail!("the node answered with a stream");
    };
    let told = result(&answer)?;
    let task = Task::parse(told)?;
    if call.json {
        print::out(&format!("{}\n", told.get()))?;
    } else {
        print::task(&task)?;
    }
    Ok(task.status.state)
}

fn result(body: &[u8]) -> anyhow::Result<&serde_json::value::RawValue> {
    match decode_response(body) {
        Ok(Outcome::Result(result)) => Ok(result),
        Ok(Outcome::Error { code, message }) => bail!("error {code}: {message}"),
        Err(error) => bail!("{}", error.message),
    }
}
