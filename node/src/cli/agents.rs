//! `agents`: the agents of a node that runs, over its control plane.

use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::node::{NodeArguments, Told};
use super::{ConfigFile, print};

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
    let told = node
        .ask(method, &format!("/api/agents{path}"), body)
        .await?;
    if agents.json {
        print::out(&format!("{}\n", told.body))?;
    } else if told.is_done() {
        show(&told.body)?;
    } else {
        refused(&told)?;
    }
    Ok(told.exit_code())
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

fn refused(told: &Told) -> anyhow::Result<()> {
    told.print_refusal("is control_plane.enabled = true, and is there such an agent?")?;
    let problems = told.body.get("problems").and_then(Value::as_array);
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
