//! `wan`: envelopes between sites, as a node that runs sends them, and those that nobody sees to any more.

use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::node::{NodeArguments, Told};
use super::{ConfigFile, print};

const MISSING: &str = "is there such an envelope, and has the node a line to other sites?";

#[derive(Debug, clap::Args)]
pub(super) struct Wan {
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
    /// Hands in an envelope to be sent.
    Publish {
        /// The envelope, as JSON; `-` reads it from standard input.
        envelope: String,
    },
    /// Shows what waits, since when, and why.
    Status,
    /// Envelopes that nobody sees to any more.
    Dlq {
        #[command(subcommand)]
        action: DeadAction,
    },
}

#[derive(Debug, Subcommand)]
enum DeadAction {
    /// Shows them, a page at a time.
    List {
        /// Go on behind this one.
        #[arg(long, value_name = "ID")]
        after: Option<String>,
    },
    /// Shows one, as it came.
    Show {
        /// Which one: line-N, in-N or out-N.
        id: String,
    },
    /// Has one seen to once more.
    Retry {
        /// Which one.
        id: String,
    },
    /// Drops one.
    Drop {
        /// Which one.
        id: String,
    },
}

pub(super) async fn wan(wan: Wan, file: &ConfigFile) -> anyhow::Result<ExitCode> {
    let node = wan.node.find(file)?;
    let (method, path, body) = request_of(&wan.action)?;
    let told = node
        .ask(method, &format!("/api/mesh/wan{path}"), body)
        .await?;
    if wan.json {
        print::out(&format!("{}\n", told.body))?;
    } else if told.is_done() {
        print::out(&text_of(&wan.action, &told.body))?;
    } else {
        refused(&told)?;
    }
    Ok(told.exit_code())
}

fn request_of(action: &Action) -> anyhow::Result<(Method, String, Vec<u8>)> {
    let nothing = Vec::new();
    Ok(match action {
        Action::Publish { envelope } if envelope == "-" => {
            let read = std::io::read_to_string(std::io::stdin());
            let body = read.context("cannot read standard input")?.into_bytes();
            (Method::POST, "/publish".to_owned(), body)
        }
        Action::Publish { envelope } => {
            let body = envelope.as_bytes().to_vec();
            (Method::POST, "/publish".to_owned(), body)
        }
        Action::Status => (Method::GET, String::new(), nothing),
        Action::Dlq { action } => match action {
            DeadAction::List { after: None } => (Method::GET, "/dead".to_owned(), nothing),
            DeadAction::List { after: Some(after) } => (
                Method::GET,
                format!("/dead?after={}", named(after)),
                nothing,
            ),
            DeadAction::Show { id } => (Method::GET, format!("/dead/{}", named(id)), nothing),
            DeadAction::Retry { id } => {
                (Method::POST, format!("/dead/{}/retry", named(id)), nothing)
            }
            DeadAction::Drop { id } => (Method::DELETE, format!("/dead/{}", named(id)), nothing),
        },
    })
}

/// An id as it can stand in a URL; what is none the node refuses.
fn named(id: &str) -> String {
    url::form_urlencoded::byte_serialize(id.as_bytes()).collect()
}

/// What people read.
fn text_of(action: &Action, body: &Value) -> String {
    let text = |value: &Value, name: &str| match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    match action {
        Action::Publish { .. } => format!(
            "{}  kept, and sent as soon as possible\n",
            text(body, "correlationId")
        ),
        Action::Status => ["inbox", "outbox"]
            .map(|side| {
                let view = body.get(side).filter(|view| !view.is_null());
                let told = view.map_or("no line to other sites".to_owned(), |view| {
                    format!(
                        "waiting {}, oldest {} s, dead {}, last error {}",
                        text(view, "waiting"),
                        text(view, "oldestSeconds"),
                        text(view, "dead"),
                        text(view, "lastError"),
                    )
                });
                format!("{side:<6}  {told}\n")
            })
            .concat(),
        Action::Dlq {
            action: DeadAction::List { .. },
        } => {
            let dead = body.get("dead").and_then(Value::as_array);
            let mut lines: String = dead
                .into_iter()
                .flatten()
                .map(|dead| {
                    let cells = ["id", "correlationId", "sourceOrigin", "bytes", "reason"];
                    let cells = cells.map(|name| text(dead, name));
                    format!("{}\n", cells.join("  "))
                })
                .collect();
            if let Some(Value::String(next)) = body.get("next") {
                lines.push_str(&format!("more: archipel wan dlq list --after {next}\n"));
            }
            lines
        }
        Action::Dlq {
            action: DeadAction::Show { .. },
        } => {
            let pretty = serde_json::to_string_pretty(body);
            format!("{}\n", pretty.unwrap_or_default())
        }
        Action::Dlq { .. } => format!("{}  done\n", text(body, "id")),
    }
}

/// The bridge's paths tell an `error` and no message.
fn refused(told: &Told) -> anyhow::Result<()> {
    if told.body.get("message").is_some() {
        return told.print_refusal(MISSING);
    }
    let error = told.body.get("error").and_then(Value::as_str);
    let details: Vec<&str> = ["instancePath", "message"]
        .into_iter()
        .filter_map(|name| told.body.get(name)?.as_str())
        .collect();
    let error = error.unwrap_or("no reason was given");
    print::error(&format!(
        "archipel: {}: {error} {}\n",
        told.status,
        details.join(" ")
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dead_envelopes_are_one_line_each() {
        let action = Action::Dlq {
            action: DeadAction::List { after: None },
        };
        let body = json!({
            "dead": [
                {"id": "line-3", "bytes": 5, "reason": "not JSON"},
                {"id": "in-1", "bytes": 90, "reason": "webhook", "correlationId": "corr-0001", "sourceOrigin": "https://a.example"},
            ],
            "next": "in-1",
        });
        assert_eq!(
            text_of(&action, &body),
            "line-3  -  -  5  not JSON\n\
             in-1  corr-0001  https://a.example  90  webhook\n\
             more: archipel wan dlq list --after in-1\n"
        );
    }

    #[test]
    fn a_node_without_a_line_says_so() {
        let inbox = json!({"waiting": 2, "oldestSeconds": 7, "dead": 0, "lastError": null});
        let body = json!({"line": false, "inbox": inbox, "outbox": null});
        assert_eq!(
            text_of(&Action::Status, &body),
            "inbox   waiting 2, oldest 7 s, dead 0, last error -\n\
             outbox  no line to other sites\n"
        );
    }
}
