//! Page tokens: where a page ended, and of which list.
//!
//! A token is bound to its list by a digest, so that one that was changed or is used with other conditions is noticed. It
//! is not secret and needs no key: whoever makes one up gets a page of his own tasks from a place of his choice. So tokens
//! hold over restarts and on every replica.

use sha2::{Digest, Sha256};

use crate::store::{TaskPlace, TaskQuery};

/// Bytes of the digest that a token carries.
const CHECK: usize = 8;

pub(super) fn write(query: &TaskQuery, place: TaskPlace) -> String {
    let mut token = hex::encode(place.updated_ms.to_be_bytes());
    token.push_str(&hex::encode(place.tie.to_be_bytes()));
    token.push_str(&hex::encode(check(query, place)));
    token
}

/// The place, if the token was given out for this list.
pub(super) fn read(query: &TaskQuery, token: &str) -> Option<TaskPlace> {
    let mut bytes = [0; 8 + 16 + CHECK];
    hex::decode_to_slice(token, &mut bytes).ok()?;
    let (updated_ms, bytes) = bytes.split_first_chunk()?;
    let (tie, found) = bytes.split_first_chunk()?;
    let place = TaskPlace {
        updated_ms: u64::from_be_bytes(*updated_ms),
        tie: u128::from_be_bytes(*tie),
    };
    (check(query, place) == *found).then_some(place)
}

/// Of everything that makes the list another one; the size of a page and what it shows of a task may change on the way.
fn check(query: &TaskQuery, place: TaskPlace) -> [u8; CHECK] {
    let mut digest = Sha256::new();
    let context_id = query.context_id.as_deref();
    for text in [Some(&*query.owner), Some(&*query.agent), context_id] {
        let length = text.map_or(u64::MAX, |text| text.len() as u64);
        digest.update(length.to_be_bytes());
        digest.update(text.unwrap_or_default());
    }
    digest.update([query.state.unwrap_or(0)]);
    let since = query.updated_from_ms.map_or(0, |ms| ms.saturating_add(1));
    digest.update(since.to_be_bytes());
    digest.update(place.updated_ms.to_be_bytes());
    digest.update(place.tie.to_be_bytes());
    let mut check = [0; CHECK];
    for (to, from) in check.iter_mut().zip(digest.finalize()) {
        *to = from;
    }
    check
}
