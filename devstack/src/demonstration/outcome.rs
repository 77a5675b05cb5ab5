//! What a task has brought: its artifacts put together from a whole task or event by event, and whether that is right.

use anyhow::{Context, bail};
use serde_json::Value;

/// A task as its client sees it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    state: String,
    artifacts: Vec<Artifact>,
    /// Events of the stream that came before the one that ended the task.
    events_before_end: usize,
}

#[derive(Debug)]
struct Artifact {
    id: String,
    parts: Vec<Value>,
}

impl Outcome {
    /// Reads the answer to `SendMessage`.
    pub(crate) fn of_answer(answer: &Value) -> anyhow::Result<Self> {
        let mut outcome = Self::default();
        outcome.take_task(
            result(answer)?
                .get("task")
                .context("the answer holds no task")?,
        )?;
        Ok(outcome)
    }

    /// Takes the next event of a stream; gives the text to show of it.
    pub(crate) fn take_event(&mut self, event: &Value) -> anyhow::Result<Option<String>> {
        if self.has_ended() {
            bail!("an event came after the end of the task");
        }
        let result = result(event)?;
        let mut shown = None;
        if let Some(task) = result.get("task") {
            self.take_task(task)?;
        } else if let Some(update) = result.get("artifactUpdate") {
            shown = Some(self.take_artifact(update)?);
        } else if let Some(update) = result.get("statusUpdate") {
            self.take_status(update)?;
        } else {
            bail!("an event of no known kind: {result}");
        }
        self.events_before_end += usize::from(!self.has_ended());
        Ok(shown)
    }

    /// Whether the agent did its work on our text: it must have read as many characters as we sent.
    pub(crate) fn check(&self, characters: usize) -> anyhow::Result<String> {
        if self.state != "TASK_STATE_COMPLETED" {
            bail!("the task is {}, not TASK_STATE_COMPLETED", self.state);
        }
        let parts = || self.artifacts.iter().flat_map(|artifact| &artifact.parts);
        let read = parts().find_map(|part| counted(part, "characters"));
        let read = read.context("no artifact says how many characters the text has")?;
        if usize::try_from(read) != Ok(characters) {
            bail!("the agent read {read} characters, the text has {characters}");
        }
        let words = parts().find_map(|part| counted(part, "words"));
        Ok(format!(
            "{} words counted, {} artifacts",
            words.unwrap_or_default(),
            self.artifacts.len()
        ))
    }

    /// The same for a task that was streamed.
    pub(crate) fn check_stream(&self, characters: usize) -> anyhow::Result<String> {
        let detail = self.check(characters)?;
        if self.events_before_end < 2 {
            bail!(
                "only {} event came before the end: that is no stream",
                self.events_before_end
            );
        }
        Ok(format!("{detail}, {} events", self.events_before_end + 1))
    }

    fn has_ended(&self) -> bool {
        ["COMPLETED", "FAILED", "CANCELED", "REJECTED"]
            .iter()
            .any(|end| self.state == format!("TASK_STATE_{end}"))
    }

    fn take_task(&mut self, task: &Value) -> anyhow::Result<()> {
        self.take_status(task)?;
        for artifact in task
            .get("artifacts")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            self.artifacts.push(Artifact {
                id: id_of(artifact)?,
                parts: parts_of(artifact),
            });
        }
        Ok(())
    }

    fn take_status(&mut self, holder: &Value) -> anyhow::Result<()> {
        let state = holder.pointer("/status/state").and_then(Value::as_str);
        state
            .context("a status without a state")?
            .clone_into(&mut self.state);
        Ok(())
    }

    fn take_artifact(&mut self, update: &Value) -> anyhow::Result<String> {
        let artifact = update
            .get("artifact")
            .context("an artifact event without an artifact")?;
        let (id, parts) = (id_of(artifact)?, parts_of(artifact));
        let mut shown: String = parts.iter().map(shown_part).collect();
        let known = self.artifacts.iter_mut().find(|known| known.id == id);
        match known {
            Some(known) if update.get("append") == Some(&Value::Bool(true)) => {
                known.parts.extend(parts)
            }
            Some(known) => known.parts = parts,
            None => {
                let name = artifact.get("name").and_then(Value::as_str).unwrap_or(&id);
                shown.insert_str(0, &format!("[{name}]\n"));
                self.artifacts.push(Artifact { id, parts });
            }
        }
        Ok(shown)
    }
}

/// The result of a JSON-RPC answer; its error as an error.
pub(crate) fn result(answer: &Value) -> anyhow::Result<&Value> {
    if let Some(error) = answer.get("error") {
        bail!("answered with an error: {error}");
    }
    answer
        .get("result")
        .with_context(|| format!("no JSON-RPC answer: {answer}"))
}

fn id_of(artifact: &Value) -> anyhow::Result<String> {
    let id = artifact.get("artifactId").and_then(Value::as_str);
    Ok(id.context("an artifact without an id")?.to_owned())
}

fn parts_of(artifact: &Value) -> Vec<Value> {
    artifact
        .get("parts")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

/// A number of the agent's statistics, if the part is data that holds it.
fn counted(part: &Value, what: &str) -> Option<u64> {
    part.get("data")?.get(what)?.as_u64()
}

fn shown_part(part: &Value) -> String {
    if let Some(text) = part.get("text").and_then(Value::as_str) {
        return text.to_owned();
    }
    match part.get("data") {
        Some(Value::Object(members)) => members
            .iter()
            .map(|(name, value)| format!("{name}: {value}\n"))
            .collect(),
        Some(value) => format!("{value}\n"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests;
