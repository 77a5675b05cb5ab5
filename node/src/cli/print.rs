//! Standard output and error, and what a task looks like on a terminal.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use archipel_protocol::a2a::{Artifact, Content, Message, Part, Task, TaskState};

/// Writes to standard output; a reader that has left is an error of its own kind.
pub(super) fn out(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Writes to standard error.
pub(super) fn error(text: &str) -> anyhow::Result<()> {
    Ok(io::stderr().lock().write_all(text.as_bytes())?)
}

/// A task that came back whole: its artifacts, then how it stands.
pub(super) fn task(task: &Task) -> anyhow::Result<()> {
    for artifact in &task.artifacts {
        heading(artifact)?;
        parts(&artifact.parts)?;
        out("\n")?;
    }
    status(&task.id, task.status.state, task.status.message.as_ref())
}

/// The name of an artifact, on a line of its own.
pub(super) fn heading(artifact: &Artifact) -> anyhow::Result<()> {
    let name = artifact.name.as_deref().unwrap_or(&artifact.artifact_id);
    out(&harmless(&format!("== {name}\n")))
}

/// The parts of an artifact or a message.
pub(super) fn parts(parts: &[Part]) -> anyhow::Result<()> {
    for part in parts {
        match &part.content {
            Content::Text(text) => out(&harmless(text))?,
            Content::Url(url) => out(&harmless(&format!("<{url}>")))?,
            Content::Raw(base64) => out(&format!("[{} bytes of base64]", base64.len()))?,
            Content::Data(data) => {
                let value: serde_json::Value = serde_json::from_str(data.text())?;
                out(&serde_json::to_string_pretty(&value)?)?;
            }
        }
    }
    Ok(())
}

/// How a task stands, on standard error, so that what the agent made can be piped.
pub(super) fn status(id: &str, state: TaskState, message: Option<&Message>) -> anyhow::Result<()> {
    let said = message
        .map(|message| format!(": {}", message.joined_text()))
        .unwrap_or_default();
    error(&harmless(&format!("task {id}: {}{said}\n", word(state))))
}

/// What somebody else wrote, for a terminal: control characters could move its cursor or worse. A file gets it as it is.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    let dangerous = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    if !io::stdout().is_terminal() || !text.contains(dangerous) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace(dangerous, "\u{FFFD}"))
}

fn word(state: TaskState) -> &'static str {
    match state {
        TaskState::Submitted => "submitted",
        TaskState::Working => "working",
        TaskState::Completed => "completed",
        TaskState::Failed => "failed",
        TaskState::Canceled => "canceled",
        TaskState::InputRequired => "input required",
        TaskState::Rejected => "rejected",
        TaskState::AuthRequired => "authentication required",
    }
}
