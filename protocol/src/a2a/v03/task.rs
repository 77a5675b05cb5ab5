//! Tasks and pages of tasks.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::a2a::list::TaskList;
use crate::a2a::message::{bounded_id, optional_id};
use crate::a2a::task::Task;
use crate::a2a::v03::artifact::{Artifact03, read_artifact};
use crate::a2a::v03::foreign::{Foreign, Names, kept};
use crate::a2a::v03::message::{Message03, check_kind, read_message};
use crate::a2a::v03::status::{Status03, read_status};
use crate::object::{Extra, Fields, Invalid, Json};

/// A task as 0.3 writes it.
pub fn task(task: &Task) -> impl Serialize {
    Task03::of(task)
}

/// A page of tasks as the late 0.3 writes it.
pub fn task_list(list: &TaskList) -> impl Serialize {
    TaskList03 {
        tasks: list.tasks.iter().map(Task03::of).collect(),
        next_page_token: &list.next_page_token,
        page_size: list.page_size,
        total_size: list.total_size,
    }
}

/// Reads a task of 0.3.
///
/// # Errors
/// What is missing or of the wrong kind, with its path.
pub fn read_task(raw: &RawValue) -> Result<Task, Invalid> {
    let mut fields = Fields::open(raw)?;
    check_kind(&mut fields, "task")?;
    Ok(Task {
        id: bounded_id(fields.require_text("id")?, "id")?,
        context_id: optional_id(&mut fields, "contextId")?,
        status: fields.require("status", read_status)?,
        artifacts: fields.list("artifacts", read_artifact)?,
        history: fields.list("history", read_message)?,
        metadata: fields.object("metadata")?,
        extra: kept(fields.rest(), Names::KIND, Extra::default()),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Task03<'a> {
    kind: &'static str,
    id: &'a str,
    /// Required in 0.3; empty when there is none.
    context_id: &'a str,
    status: Status03<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    artifacts: Vec<Artifact03<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    history: Vec<Message03<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Json>,
    #[serde(flatten)]
    extra: Foreign<'a>,
}

impl<'a> Task03<'a> {
    fn of(task: &'a Task) -> Self {
        Self {
            kind: "task",
            id: &task.id,
            context_id: task.context_id.as_deref().unwrap_or_default(),
            status: Status03::of(&task.status),
            artifacts: task.artifacts.iter().map(Artifact03::of).collect(),
            history: task.history.iter().map(Message03::of).collect(),
            metadata: task.metadata.as_ref(),
            extra: Foreign {
                extra: &task.extra,
                names: Names::KIND,
            },
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskList03<'a> {
    tasks: Vec<Task03<'a>>,
    next_page_token: &'a str,
    page_size: u32,
    total_size: u64,
}
