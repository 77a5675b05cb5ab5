//! Stream items and the result of `message/send`: in 0.3 the object itself, told apart by its `kind`.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::a2a::message::{bounded_id, optional_id};
use crate::a2a::task::{ArtifactUpdate, StatusUpdate, StreamEvent, TaskState};
use crate::a2a::v03::artifact::{Artifact03, read_artifact};
use crate::a2a::v03::foreign::{Foreign, Names, aside, kept};
use crate::a2a::v03::message::{check_kind, message, read_message};
use crate::a2a::v03::status::{Status03, read_status};
use crate::a2a::v03::task::{read_task, task};
use crate::object::{Extra, Fields, Invalid, Json, text};

/// What 0.3 has in a status update beyond 1.0.
const STATUS_UPDATE: Names = Names {
    only_v03: &["kind", "final"],
    only_v10: &[],
};

/// A stream item, or the result of `message/send`, as 0.3 writes it.
pub fn event(event: &StreamEvent) -> impl Serialize {
    Event03(event)
}

/// Reads a stream item, or the result of `message/send`, of 0.3. Where `kind` is missing, the members tell it, as they
/// do to the SDKs.
///
/// # Errors
/// What is missing or of the wrong kind, with its path.
pub fn read_event(raw: &RawValue) -> Result<StreamEvent, Invalid> {
    let mut fields = Fields::open(raw)?;
    let kind = fields.parse("kind", text)?;
    let is = |name: &str, has: &[&str]| match &kind {
        Some(kind) => kind == name,
        None => has.iter().all(|member| fields.has(member)),
    };
    if is("message", &["messageId"]) {
        return read_message(raw).map(StreamEvent::Message);
    }
    if is("artifact-update", &["taskId", "artifact"]) {
        return read_artifact_update(raw).map(StreamEvent::ArtifactUpdate);
    }
    if is("status-update", &["taskId", "status"]) {
        return read_status_update(raw).map(StreamEvent::StatusUpdate);
    }
    if is("task", &["id", "status"]) {
        return read_task(raw).map(StreamEvent::Task);
    }
    Err(Invalid::new(
        "kind",
        "must be task, message, status-update or artifact-update",
    ))
}

struct Event03<'a>(&'a StreamEvent);

impl Serialize for Event03<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            StreamEvent::Task(whole) => task(whole).serialize(serializer),
            StreamEvent::Message(said) => message(said).serialize(serializer),
            StreamEvent::StatusUpdate(update) => StatusUpdate03::of(update).serialize(serializer),
            StreamEvent::ArtifactUpdate(update) => {
                ArtifactUpdate03::of(update).serialize(serializer)
            }
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusUpdate03<'a> {
    kind: &'static str,
    task_id: &'a str,
    context_id: &'a str,
    status: Status03<'a>,
    r#final: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Json>,
    #[serde(flatten)]
    extra: Foreign<'a>,
}

impl<'a> StatusUpdate03<'a> {
    fn of(update: &'a StatusUpdate) -> Self {
        let said = aside(&update.extra, "final");
        Self {
            kind: "status-update",
            task_id: &update.task_id,
            context_id: &update.context_id,
            status: Status03::of(&update.status),
            r#final: match said.as_ref().map(Json::text) {
                Some("true") => true,
                Some("false") => false,
                _ => is_final(update.status.state),
            },
            metadata: update.metadata.as_ref(),
            extra: Foreign {
                extra: &update.extra,
                names: STATUS_UPDATE,
            },
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactUpdate03<'a> {
    kind: &'static str,
    task_id: &'a str,
    context_id: &'a str,
    artifact: Artifact03<'a>,
    append: bool,
    last_chunk: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Json>,
    #[serde(flatten)]
    extra: Foreign<'a>,
}

impl<'a> ArtifactUpdate03<'a> {
    fn of(update: &'a ArtifactUpdate) -> Self {
        Self {
            kind: "artifact-update",
            task_id: &update.task_id,
            context_id: &update.context_id,
            artifact: Artifact03::of(&update.artifact),
            append: update.append,
            last_chunk: update.last_chunk,
            metadata: update.metadata.as_ref(),
            extra: Foreign {
                extra: &update.extra,
                names: Names::KIND,
            },
        }
    }
}

fn read_status_update(raw: &RawValue) -> Result<StatusUpdate, Invalid> {
    let mut fields = Fields::open(raw)?;
    check_kind(&mut fields, "status-update")?;
    let task_id = bounded_id(fields.require_text("taskId")?, "taskId")?;
    let context_id = optional_id(&mut fields, "contextId")?.unwrap_or_default();
    let status = fields.require("status", read_status)?;
    // Worth keeping only where the state does not say the same.
    let mut put_aside = Extra::default();
    if let Some(said) = fields.optional_flag("final")?
        && said != is_final(status.state)
    {
        put_aside.push("final", Json::flag(said));
    }
    Ok(StatusUpdate {
        task_id,
        context_id,
        status,
        metadata: fields.object("metadata")?,
        extra: kept(fields.rest(), STATUS_UPDATE, put_aside),
    })
}

fn read_artifact_update(raw: &RawValue) -> Result<ArtifactUpdate, Invalid> {
    let mut fields = Fields::open(raw)?;
    check_kind(&mut fields, "artifact-update")?;
    Ok(ArtifactUpdate {
        task_id: bounded_id(fields.require_text("taskId")?, "taskId")?,
        context_id: optional_id(&mut fields, "contextId")?.unwrap_or_default(),
        artifact: fields.require("artifact", read_artifact)?,
        append: fields.flag("append")?,
        last_chunk: fields.flag("lastChunk")?,
        metadata: fields.object("metadata")?,
        extra: kept(fields.rest(), Names::KIND, Extra::default()),
    })
}

/// Whether the stream of the message that led to this state ends with it.
fn is_final(state: TaskState) -> bool {
    state.is_terminal() || state.is_interrupted()
}
