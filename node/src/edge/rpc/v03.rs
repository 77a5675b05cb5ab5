//! Outcomes in the shapes of A2A 0.3: results are the objects themselves, and a stream ends with its `final` event.

use std::str::from_utf8;

use archipel_protocol::a2a::{Message, StreamEvent, Task, TaskList, v03};
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::object::Invalid;
use serde::Serialize;

use crate::edge::operation::EndsAt;

/// A task.
pub(super) fn task(json: &[u8]) -> Result<Vec<u8>, RpcError> {
    converted(json, |text| write(&v03::task(&Task::read(text)?)))
}

/// A message.
pub(super) fn message(json: &[u8]) -> Result<Vec<u8>, RpcError> {
    converted(json, |text| {
        let raw = serde_json::from_str(text).map_err(|_| Invalid::new("", "must be JSON"))?;
        write(&v03::message(&Message::parse(raw)?))
    })
}

/// A page of tasks.
pub(super) fn page(json: &[u8]) -> Result<Vec<u8>, RpcError> {
    converted(json, |text| write(&v03::task_list(&TaskList::read(text)?)))
}

/// An event of a stream.
pub(in crate::edge) fn event(json: &[u8]) -> Result<Vec<u8>, RpcError> {
    converted(json, |text| write(&v03::event(&StreamEvent::read(text)?)))
}

/// A client of 0.3 leaves at the event that says that it is the final one, whichever request the stream belongs to.
pub(super) fn end(ends_at: EndsAt) -> EndsAt {
    match ends_at {
        EndsAt::Settled => EndsAt::Settled,
        EndsAt::End | EndsAt::SettledLater => EndsAt::SettledLater,
    }
}

/// What is converted is JSON of ours. If it could not be read, the client must not take half of it for the whole.
fn converted(
    json: &[u8],
    convert: impl FnOnce(&str) -> Result<Vec<u8>, Invalid>,
) -> Result<Vec<u8>, RpcError> {
    let unreadable = |_| Invalid::new("", "is not UTF-8");
    from_utf8(json)
        .map_err(unreadable)
        .and_then(convert)
        .map_err(|error| {
            tracing::error!(%error, "an outcome cannot be told in version 0.3");
            RpcError::new(ErrorCode::Internal, "the result cannot be told in A2A 0.3")
        })
}

fn write(value: &impl Serialize) -> Result<Vec<u8>, Invalid> {
    serde_json::to_vec(value).map_err(|error| Invalid::new("", error.to_string()))
}
