//! How values of ours are kept in columns, and SQLite's errors as conditions of ours.

use bytes::{Buf, BufMut, Bytes};
use rusqlite::{ErrorCode, Row};
use uuid::Uuid;

use crate::store::{EventRow, StoreError, opened};

/// Bits of an event's place that hold its sequence number; the others hold the task's number.
pub(super) const SEQ_BITS: u32 = 24;
/// The greatest sequence number: a task may have some sixteen million events.
pub(super) const MAX_SEQ: u64 = (1 << SEQ_BITS) - 1;

/// Bytes before each body in an event row: its sequence number and its length.
const EVENT_HEADER: usize = 8 + 4;

/// Where an event row stands: rows of one task side by side, in the order of their last event.
pub(super) fn place(number: i64, seq: u64) -> i64 {
    (number << SEQ_BITS) | signed(seq.min(MAX_SEQ))
}

pub(super) fn pack(events: &[EventRow]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(
        events
            .iter()
            .map(|event| EVENT_HEADER + event.body.len())
            .sum(),
    );
    for event in events {
        packed.put_u64_le(event.seq);
        packed.put_u32_le(u32::try_from(event.body.len()).unwrap_or(u32::MAX));
        packed.put_slice(&event.body);
    }
    packed
}

/// The bodies stay where they were read to; each event holds a share of that one buffer.
pub(super) fn unpack(
    mut packed: Bytes,
    after_seq: u64,
    events: &mut Vec<EventRow>,
) -> Result<(), StoreError> {
    while !packed.is_empty() {
        let damaged = |_| StoreError::Corrupt("an event row is shorter than it says".to_owned());
        let seq = packed.try_get_u64_le().map_err(damaged)?;
        let length = packed.try_get_u32_le().map_err(damaged)? as usize;
        if length > packed.len() {
            return Err(StoreError::Corrupt(
                "an event row is shorter than it says".to_owned(),
            ));
        }
        let body = packed.split_to(length);
        if seq > after_seq {
            events.push(EventRow { seq, body });
        }
    }
    Ok(())
}

/// What stands in the column of a task's conversation.
pub(super) fn context(id: Uuid, context_id: &str) -> &str {
    if opened(id, context_id) {
        ""
    } else {
        context_id
    }
}

/// SQLite's integers are signed; no time or sequence number of ours comes near the difference.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column)
        .map(|number| u64::try_from(number).unwrap_or(0))
}

pub(super) fn rows_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly,
            Some(
                ErrorCode::ConstraintViolation
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase,
            ) => Self::Corrupt(error.to_string()),
            Some(_) => Self::Unavailable,
            // Not SQLite but the row: a column is missing or of another type.
            None => Self::Corrupt(error.to_string()),
        }
    }
}
