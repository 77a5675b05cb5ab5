//! States and statuses: states in lower case, one of which (`unknown`) 1.0 does not have, and times in any form of ISO
//! 8601.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::a2a::task::{TaskState, TaskStatus};
use crate::a2a::timestamp::Timestamp;
use crate::a2a::v03::foreign::{Foreign, Names, aside, kept};
use crate::a2a::v03::message::{Message03, read_message};
use crate::object::{Extra, Fields, Invalid, Json, text};

/// A task whose state its agent does not know has not ended, and nobody is asked for anything: to 1.0 it is at work.
const UNKNOWN: &str = "\"unknown\"";

/// A state as 0.3 writes it.
pub fn state_name(state: TaskState) -> &'static str {
    match state {
        TaskState::Submitted => "submitted",
        TaskState::Working => "working",
        TaskState::Completed => "completed",
        TaskState::Failed => "failed",
        TaskState::Canceled => "canceled",
        TaskState::InputRequired => "input-required",
        TaskState::Rejected => "rejected",
        TaskState::AuthRequired => "auth-required",
    }
}

#[derive(Serialize)]
pub(super) struct Status03<'a> {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message03<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Timestamp>,
    #[serde(flatten)]
    extra: Foreign<'a>,
}

impl<'a> Status03<'a> {
    pub(super) fn of(status: &'a TaskStatus) -> Self {
        let is_unknown = status.state == TaskState::Working
            && aside(&status.extra, "state").is_some_and(|state| state.text() == UNKNOWN);
        Self {
            state: if is_unknown {
                UNKNOWN.trim_matches('"')
            } else {
                state_name(status.state)
            },
            message: status.message.as_ref().map(Message03::of),
            timestamp: status.timestamp,
            extra: Foreign {
                extra: &status.extra,
                names: Names::SAME,
            },
        }
    }
}

pub(super) fn read_status(raw: &RawValue) -> Result<TaskStatus, Invalid> {
    let mut fields = Fields::open(raw)?;
    let mut put_aside = Extra::default();
    let state = fields.require("state", |raw| {
        if raw.get() == UNKNOWN {
            put_aside.push("state", Json::capture(raw));
            return Ok(TaskState::Working);
        }
        read_state(raw)
    })?;
    Ok(TaskStatus {
        state,
        message: fields.parse("message", read_message)?,
        timestamp: fields.parse("timestamp", read_time)?,
        extra: kept(fields.rest(), Names::SAME, put_aside),
    })
}

/// The state that a list is limited to. Nothing is kept as `unknown`, which therefore limits nothing, as in 1.0.
pub(in crate::a2a) fn wanted_state(raw: &RawValue) -> Result<Option<TaskState>, Invalid> {
    match raw.get() {
        UNKNOWN => Ok(None),
        _ => read_state(raw).map(Some),
    }
}

/// A time in Unix milliseconds, as the late 0.3 has it in `lastUpdatedAfter`.
pub(in crate::a2a) fn unix_ms(raw: &RawValue) -> Result<Timestamp, Invalid> {
    raw.get()
        .parse()
        .map(Timestamp::from_unix_ms)
        .map_err(|_| Invalid::new("", "must be a time in Unix milliseconds"))
}

fn read_state(raw: &RawValue) -> Result<TaskState, Invalid> {
    let name = text(raw)?;
    (1..=8)
        .filter_map(TaskState::from_number)
        .find(|state| state_name(*state) == name)
        .ok_or_else(|| Invalid::new("", "must be a known task state, such as working"))
}

/// Some agents leave the offset out and mean UTC.
fn read_time(raw: &RawValue) -> Result<Timestamp, Invalid> {
    Timestamp::parse(raw).or_else(|invalid| {
        text(raw)
            .ok()
            .and_then(|local| Timestamp::parse_utc(&local))
            .ok_or(invalid)
    })
}
