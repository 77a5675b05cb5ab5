//! `ListTasks`: what is asked and how it is answered (A2A 1.0 §3.1.4).

use serde::Serialize;
use serde_json::value::RawValue;

use crate::a2a::task::{Task, TaskState};
use crate::a2a::timestamp::Timestamp;
use crate::a2a::v03;
use crate::a2a::version::Version;
use crate::object::{Fields, Invalid};

/// Tasks on a page when the client does not say.
pub const DEFAULT_PAGE_SIZE: u32 = 50;

/// Most tasks on a page.
pub const MAX_PAGE_SIZE: u32 = 100;

/// Longest page token that is accepted, in bytes; ours are much shorter.
const MAX_TOKEN_BYTES: usize = 1024;

/// `ListTasks`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListTasksParams {
    /// Opaque routing word.
    pub tenant: Option<String>,
    /// Only tasks of this conversation.
    pub context_id: Option<String>,
    /// Only tasks in this state.
    pub status: Option<TaskState>,
    /// Most tasks on the page, 1 to [`MAX_PAGE_SIZE`].
    pub page_size: u32,
    /// Where the page before ended.
    pub page_token: Option<String>,
    /// How many messages of its history each task may hold.
    pub history_length: Option<u32>,
    /// Only tasks whose status is of this time or later.
    pub status_timestamp_after: Option<Timestamp>,
    /// Whether the tasks come with their artifacts.
    pub include_artifacts: bool,
}

impl ListTasksParams {
    /// Reads the parameters in the shape of `version`.
    ///
    /// # Errors
    /// What is out of bounds or of the wrong kind, with its path.
    pub fn parse(version: Version, raw: &RawValue) -> Result<Self, Invalid> {
        let mut fields = Fields::open(raw)?;
        match version {
            Version::V1 => {
                let tenant = fields.text("tenant")?;
                let status = fields.parse("status", wanted_state)?.flatten();
                Self::from_fields(fields, tenant, status)
            }
            Version::V03 => {
                let status = fields.parse("status", v03::status::wanted_state)?.flatten();
                let since = fields.parse("lastUpdatedAfter", v03::status::unix_ms)?;
                let params = Self::from_fields(fields, None, status)?;
                Ok(Self {
                    status_timestamp_after: params.status_timestamp_after.or(since),
                    ..params
                })
            }
        }
    }

    fn from_fields(
        mut fields: Fields<'_>,
        tenant: Option<String>,
        status: Option<TaskState>,
    ) -> Result<Self, Invalid> {
        Ok(Self {
            tenant,
            context_id: fields.text("contextId")?,
            status,
            page_size: fields
                .count_within("pageSize", 1..=MAX_PAGE_SIZE)?
                .unwrap_or(DEFAULT_PAGE_SIZE),
            page_token: page_token(&mut fields)?,
            history_length: fields.count("historyLength")?,
            status_timestamp_after: fields.parse("statusTimestampAfter", Timestamp::parse)?,
            include_artifacts: fields.flag("includeArtifacts")?,
        })
    }
}

/// One page of tasks (`ListTasksResponse`). All of its members are always written.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskList {
    /// The newest status first.
    pub tasks: Vec<Task>,
    /// Asks for the next page; empty when there is none.
    pub next_page_token: String,
    /// How many tasks a page may hold.
    pub page_size: u32,
    /// How many tasks there are on all pages.
    pub total_size: u64,
}

impl TaskList {
    /// Reads a page, for instance the one of an agent or of our own store.
    ///
    /// # Errors
    /// What is missing or of the wrong kind, with its path.
    pub fn read(json: &str) -> Result<Self, Invalid> {
        let mut fields = Fields::read(json)?;
        Ok(Self {
            tasks: fields.list("tasks", Task::parse)?,
            next_page_token: fields.text("nextPageToken")?.unwrap_or_default(),
            page_size: fields.count("pageSize")?.unwrap_or_default(),
            total_size: fields.count("totalSize")?.unwrap_or_default().into(),
        })
    }
}

pub(super) fn page_token(fields: &mut Fields<'_>) -> Result<Option<String>, Invalid> {
    let token = fields.text("pageToken")?;
    if token
        .as_ref()
        .is_some_and(|token| token.len() > MAX_TOKEN_BYTES)
    {
        return Err(Invalid::new("pageToken", "is none of ours"));
    }
    Ok(token)
}

/// ProtoJSON's default value means that no state is asked for.
fn wanted_state(raw: &RawValue) -> Result<Option<TaskState>, Invalid> {
    match raw.get() {
        "\"TASK_STATE_UNSPECIFIED\"" | "0" => Ok(None),
        _ => TaskState::parse(raw).map(Some),
    }
}
