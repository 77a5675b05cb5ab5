//! What a command comes to: pure. Everything that is wrong with the settings of an agent is told at once.

use archipel_kit::settings::{Problems, from_json};
use bytes::Bytes;
use serde_json::{Map, Value};
use url::Url;

use crate::config::AgentSettings;
use crate::control::hosted::{Held, Hosted, Kept, RunState};
use crate::control::{Command, ControlError, Step};
use crate::store::agents::AgentRow;

/// What is to be kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// It is so already.
    Nothing(String),
    /// A row of an agent; the URL, if there is one, was chosen by whoever gave the command.
    Keep { row: AgentRow, url: Option<Url> },
    /// No row.
    Forget(String),
}

impl Plan {
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Nothing(id) | Self::Forget(id) => id,
            Self::Keep { row, .. } => &row.id,
        }
    }
}

/// Reads the settings of an agent that is added.
pub(super) fn read(given: &Map<String, Value>) -> Result<AgentSettings, Problems> {
    // A map of JSON values can always be written.
    let json = serde_json::to_string(given).unwrap_or_default();
    let read = from_json::<AgentSettings>(&json);
    if !given.contains_key("default") {
        return read;
    }
    let mut problems = read.err().unwrap_or_default();
    problems.add("default", "is for agents of the configuration only");
    Err(problems)
}

/// What a command comes to; `most` agents may be added.
pub(super) fn plan(hosted: &Hosted, command: Command, most: usize) -> Result<Plan, ControlError> {
    match command {
        Command::List | Command::Show(_) => Err(ControlError::NotFound),
        Command::Add(json) => add(hosted, &json, most),
        Command::Change { id, patch } => change(find(hosted, &id)?, &patch),
        Command::Move { id, step } => shift(find(hosted, &id)?, step),
        Command::Remove(id) => match find(hosted, &id)?.given {
            Some(_) => Ok(Plan::Forget(id)),
            None => Err(ControlError::Conflict(
                "the agent is in the configuration of the node: take it out there, or disable it here",
            )),
        },
    }
}

fn add(hosted: &Hosted, json: &str, most: usize) -> Result<Plan, ControlError> {
    let given = object(json)?;
    let settings = read(&given).map_err(ControlError::Invalid)?;
    if hosted.find(&settings.id).is_some() {
        return Err(ControlError::Conflict("there is an agent of that id"));
    }
    if hosted.added() >= most {
        return Err(ControlError::Conflict(
            "as many agents were added as may be (control_plane.max_agents)",
        ));
    }
    Ok(keep(
        &settings.id,
        RunState::Enabled,
        Some(given),
        settings.url.clone(),
    ))
}

fn change(held: &Held, patch: &str) -> Result<Plan, ControlError> {
    let Some(mut given) = held.given.clone() else {
        return Err(ControlError::Conflict(
            "the agent is in the configuration of the node: change it there",
        ));
    };
    for (key, value) in object(patch)? {
        if value.is_null() {
            given.remove(&key);
        } else {
            given.insert(key, value);
        }
    }
    let read = read(&given);
    let renamed = given.get("id").and_then(Value::as_str) != Some(&held.settings.id);
    if renamed {
        let mut problems = read.err().unwrap_or_default();
        problems.add("id", "cannot be changed: its tasks are known by it");
        return Err(ControlError::Invalid(problems));
    }
    let settings = read.map_err(ControlError::Invalid)?;
    Ok(keep(
        &settings.id,
        held.state,
        Some(given),
        settings.url.clone(),
    ))
}

fn shift(held: &Held, step: Step) -> Result<Plan, ControlError> {
    let state = match (held.state, step) {
        (RunState::Disabled, Step::Pause | Step::Resume) => {
            return Err(ControlError::Conflict(
                "the agent is disabled: enable it first",
            ));
        }
        (_, Step::Pause) => RunState::Paused,
        (_, Step::Disable) => RunState::Disabled,
        // One that is paused stays so: it is enabled already.
        (RunState::Paused, Step::Enable) => RunState::Paused,
        (_, Step::Resume | Step::Enable) => RunState::Enabled,
    };
    let id = &held.settings.id;
    if state == held.state {
        return Ok(Plan::Nothing(id.clone()));
    }
    Ok(keep(id, state, held.given.clone(), None))
}

fn keep(id: &str, state: RunState, settings: Option<Map<String, Value>>, url: Option<Url>) -> Plan {
    let kept = Kept { state, settings };
    // Words and JSON values can always be written.
    let body = serde_json::to_vec(&kept).unwrap_or_default();
    let row = AgentRow {
        id: id.into(),
        body: Bytes::from(body),
    };
    Plan::Keep { row, url }
}

fn find<'a>(hosted: &'a Hosted, id: &str) -> Result<&'a Held, ControlError> {
    hosted.find(id).ok_or(ControlError::NotFound)
}

fn object(json: &str) -> Result<Map<String, Value>, ControlError> {
    serde_json::from_str(json).map_err(|_| {
        let mut problems = Problems::default();
        problems.add("body", "must be a JSON object");
        ControlError::Invalid(problems)
    })
}
