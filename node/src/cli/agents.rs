//! `agents`: the agents of a node that runs, over its control plane.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use archipel_kit::client::{RequestBody, Timeouts};
use archipel_kit::settings::{self, Environment};
use clap::Subcommand;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Uri};
use serde_json::Value;

use super::node::{NodeArguments, advice};
use super::{ConfigFile, print};
use crate::egress::{Destination, Egress, EgressSettings};

const MAX_ANSWER: usize = 16 * 1024 * 1024;
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(super) struct Agents {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    node: NodeArguments,
    /// Write what the node answers as one line of JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Shows all agents and how they are.
    List,
    /// Shows one agent.
    Show {
        /// Which agent.
        id: String,
    },
    /// Adds an agent.
    Add {
        /// Its settings: a JSON object with the keys of `[[agents]]`; `-` reads it from standard input, which keeps
        /// secrets out of the process list.
        settings: String,
    },
    /// Changes settings of an agent that was added.
    Change {
        /// Which agent.
        id: String,
        /// What changes: a JSON object of which null takes a key away; `-` reads it from standard input.
        settings: String,
    },
    /// Lets an agent take no further messages; what it works on goes on.
    Pause {
        /// Which agent.
        id: String,
    },
    /// Lets a paused agent take messages again.
    Resume {
        /// Which agent.
        id: String,
    },
    /// Makes a disabled agent callable again.
    Enable {
        /// Which agent.
        id: String,
    },
    /// Hides an agent from everybody.
    Disable {
        /// Which agent.
        id: String,
    },
    /// Removes an agent that was added.
    Remove {
        /// Which agent.
        id: String,
    },
}

pub(super) async fn agents(agents: Agents, file: &ConfigFile) -> anyhow::Result<ExitCode> {
    let node = agents.node.find(file)?;
    let (method, path, body) = request_of(&agents.action)?;
    let uri: Uri = format!("{}/api/agents{path}", node.origin).parse()?;
    let mut request = Request::builder()
        .method(method)
        .uri(&uri)
        .body(RequestBody::from(body.clone()))?;
    let headers = request.headers_mut();
    if !body.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(authorization) = node.authorization(&uri) {
        headers.insert(AUTHORIZATION, authorization);
    }
    let settings: EgressSettings = settings::load(None, &Environment::default())
        .map_err(|problems| anyhow::anyhow!("{problems}"))?;
    let limits = Timeouts {
        first_byte: Some(LIMIT),
        idle: Some(LIMIT),
        total: Some(LIMIT),
    };
    let egress = Egress::new(&settings);
    let sent = egress.send(Destination::Trusted, request, limits).await;
    let answer = sent.with_context(|| format!("cannot call {uri}"))?;
    let is_done = answer.status.is_success();
    let status = answer.status;
    let body = answer.read_all(MAX_ANSWER).await?;
    let told: Value = serde_json::from_slice(&body).unwrap_or_default();
    if agents.json {
        print::out(&format!("{told}\n"))?;
    } else if is_done {
        show(&told)?;
    } else {
        refused(status, &told)?;
    }
    Ok(if is_done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn request_of(action: &Action) -> anyhow::Result<(Method, String, Vec<u8>)> {
    let moved = |id: &str, step: &str| (Method::POST, format!("/{id}/{step}"), Vec::new());
    Ok(match action {
        Action::List => (Method::GET, String::new(), Vec::new()),
        Action::Show { id } => (Method::GET, format!("/{id}"), Vec::new()),
        Action::Add { settings } => (Method::POST, String::new(), text_of(settings)?),
        Action::Change { id, settings } => (Method::PATCH, format!("/{id}"), text_of(settings)?),
        Action::Pause { id } => moved(id, "pause"),
        Action::Resume { id } => moved(id, "resume"),
        Action::Enable { id } => moved(id, "enable"),
        Action::Disable { id } => moved(id, "disable"),
        Action::Remove { id } => (Method::DELETE, format!("/{id}"), Vec::new()),
    })
}

fn text_of(settings: &str) -> anyhow::Result<Vec<u8>> {
    if settings != "-" {
        return Ok(settings.as_bytes().to_vec());
    }
    let read = std::io::read_to_string(std::io::stdin());
    Ok(read.context("cannot read standard input")?.into_bytes())
}

fn show(told: &Value) -> anyhow::Result<()> {
    let one = std::slice::from_ref(told);
    let agents = told
        .get("agents")
        .and_then(Value::as_array)
        .map_or(one, Vec::as_slice);
    for agent in agents {
        let text = |name: &str| agent.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("id").is_empty() {
            continue;
        }
        let health = match agent.pointer("/health/ok").and_then(Value::as_bool) {
            Some(true) => "there",
            Some(false) => "away",
            None => "",
        };
        let breaker = agent.pointer("/turns/breaker").and_then(Value::as_str);
        let cells = [
            format!("{:<24}", text("id")),
            format!("{:<8}", text("kind")),
            format!("{:<9}", text("state")),
            format!("{:<14}", text("source")),
            format!("{:<8}", breaker.unwrap_or_default()),
            format!("{health:<6}"),
            text("url").to_owned(),
        ];
        print::out(&format!("{}\n", cells.join(" ").trim_end()))?;
    }
    Ok(())
}

fn refused(status: http::StatusCode, told: &Value) -> anyhow::Result<()> {
    let message = told
        .get("message")
        .and_then(Value::as_str)
        .unwrap_or("no reason was given");
    let advice = match status.as_u16() {
        401 => format!(" ({})", advice()),
        404 => " (is control_plane.enabled = true, and is there such an agent?)".to_owned(),
        _ => String::new(),
    };
    print::error(&format!("archipel: {status}: {message}{advice}\n"))?;
    let problems = told.get("problems").and_then(Value::as_array);
    for problem in problems.into_iter().flatten() {
        let text = |name: &str| {
            problem
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        print::error(&format!("  {}: {}\n", text("at"), text("what")))?;
    }
    Ok(())
}
