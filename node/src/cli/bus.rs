//! `bus`: what happens at a site, as a node hears it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use archipel_kit::client::{RequestBody, Timeouts};
use archipel_kit::settings::{self, Environment};
use clap::Subcommand;
use futures_util::StreamExt;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{Request, StatusCode, Uri};
use serde_json::Value;
use url::form_urlencoded::Serializer;

use super::node::{Node, NodeArguments, advice};
use super::{ConfigFile, print};
use crate::agents::upstream::sse::SseReader;
use crate::egress::{Destination, Egress, EgressSettings};

const MAX_EVENT: usize = 4 * 1024 * 1024;
/// A node shows at least this often that it is there.
const SILENCE: Duration = Duration::from_secs(330);
/// How long to wait before asking again.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Bus {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Shows events as they come, until Ctrl-C. When the node goes away, it is asked again until it is back.
    Tail(Tail),
}

#[derive(Debug, clap::Args)]
struct Tail {
    #[command(flatten)]
    node: NodeArguments,
    /// Kinds of events, by commas; `*` at an end stands for the rest, as in `agent.*`.
    #[arg(long = "type", value_name = "KINDS")]
    kinds: Option<String>,
    /// Events of one agent.
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Go on behind this event, as far as the node knows what came then.
    #[arg(long, value_name = "EVENT-ID")]
    after: Option<String>,
    /// Write each event as one line of JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn bus(bus: Bus, file: &ConfigFile) -> anyhow::Result<ExitCode> {
    let Action::Tail(tail) = bus.action;
    let node = tail.node.find(file)?;
    let uri = uri_of(&node, &tail)?;
    let settings: EgressSettings = settings::load(None, &Environment::default())
        .map_err(|problems| anyhow::anyhow!("{problems}"))?;
    let egress = Egress::new(&settings);
    let mut after = tail.after.clone();
    let mut is_first = true;
    loop {
        let heard = listen(&egress, &node, &uri, &mut after, tail.json).await;
        match heard {
            // A mistake of the first request would be made again for ever.
            Err(error) if is_first => return Err(error),
            Err(error) => print::error(&format!("archipel: {error:#}; asking again\n"))?,
            Ok(()) => {}
        }
        is_first = false;
        tokio::time::sleep(PAUSE).await;
    }
}

fn uri_of(node: &Node, tail: &Tail) -> anyhow::Result<Uri> {
    let mut query = Serializer::new(String::new());
    if let Some(kinds) = &tail.kinds {
        query.append_pair("type", kinds);
    }
    if let Some(agent) = &tail.agent {
        query.append_pair("agent", agent);
    }
    let uri = format!("{}/api/events?{}", node.origin, query.finish());
    uri.parse().with_context(|| format!("{uri} is no URL"))
}

/// Shows what one connection tells, to its end.
async fn listen(
    egress: &Egress,
    node: &Node,
    uri: &Uri,
    after: &mut Option<String>,
    as_json: bool,
) -> anyhow::Result<()> {
    let mut request = Request::get(uri).header(ACCEPT, "text/event-stream");
    if let Some(after) = after.as_deref() {
        request = request.header("last-event-id", after);
    }
    let mut request = request.body(RequestBody::empty())?;
    if let Some(authorization) = node.authorization(uri) {
        request.headers_mut().insert(AUTHORIZATION, authorization);
    }
    let limits = Timeouts {
        first_byte: Some(Duration::from_secs(30)),
        idle: Some(SILENCE),
        total: None,
    };
    let answer = egress.send(Destination::Trusted, request, limits).await;
    let answer = answer.with_context(|| format!("cannot call {uri}"))?;
    match answer.status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED => bail!("the node does not know who asks ({})", advice()),
        status => {
            let body = answer.read_all(MAX_EVENT).await.unwrap_or_default();
            bail!(
                "{uri} answered {status}: {}",
                String::from_utf8_lossy(&body)
            );
        }
    }
    let mut reader = SseReader::new(MAX_EVENT);
    let (mut body, mut found) = (answer.body, Vec::new());
    while let Some(piece) = body.next().await {
        let whole = reader.push(&piece?, &mut found);
        for event in found.drain(..) {
            let told: Value = serde_json::from_slice(&event).context("an event is not JSON")?;
            print::out(&match as_json {
                true => format!("{told}\n"),
                false => line(&told),
            })?;
            let id = told.get("eventId").and_then(Value::as_str);
            *after = id.map(str::to_owned).or(after.take());
        }
        whole.map_err(|_| anyhow::anyhow!("the node sent an event that is too large"))?;
    }
    Ok(())
}

/// `WHEN KIND AGENT DETAILS`.
fn line(told: &Value) -> String {
    let text = |path: &str| told.pointer(path).and_then(Value::as_str);
    let agent = text("/agentId").or(text("/payload/agentId"));
    let details = text("/status").or(text("/payload/name"));
    let cells = [
        text("/timestamp").unwrap_or_default(),
        text("/type").unwrap_or_default(),
        agent.unwrap_or_default(),
        details.unwrap_or_default(),
    ];
    format!("{}\n", cells.join("  ").trim_end())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::line;

    #[test]
    fn an_event_is_one_line() {
        let status = json!({"eventId": "1", "type": "agent.status", "agentId": "echo", "status": "paused", "timestamp": "T"});
        assert_eq!(line(&status), "T  agent.status  echo  paused\n");
        let paused = json!({"type": "agent.paused", "payload": {"agentId": "echo", "name": "Echo"}, "timestamp": "T"});
        assert_eq!(line(&paused), "T  agent.paused  echo  Echo\n");
        let pulled =
            json!({"type": "model.pulled", "payload": {"modelName": "m"}, "timestamp": "T"});
        assert_eq!(line(&pulled), "T  model.pulled\n");
    }
}
