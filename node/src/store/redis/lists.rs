//! One page of a caller's tasks: every partition has its own in the order of the page, and the page merges them.

use ::redis::cmd;
use bytes::Bytes;
use futures_util::future::try_join_all;
use uuid::Uuid;

use super::RedisStore;
use super::keys::{Listed, place, place_of};
use crate::store::{PAGE_BYTES, StoreError, TaskPage, TaskPlace, TaskQuery};

/// Tasks that are read at once, when only their heads are; whole ones may be large.
const HEADS_AT_ONCE: usize = 32;
const WHOLE_AT_ONCE: usize = 2;

pub(super) async fn page(store: &RedisStore, query: TaskQuery) -> Result<TaskPage, StoreError> {
    let range = Range::of(&query);
    let (found, counts) = futures_util::try_join!(
        find(store, &query, &range),
        store.everywhere::<u64>(|partition| {
            let mut count = cmd("ZLEXCOUNT");
            count
                .arg(store.keys.list(partition, &query.owner, &query.agent))
                .arg(range.first.as_slice())
                .arg(range.last.as_slice());
            count
        })
    )?;
    let mut page = TaskPage {
        tasks: Vec::new(),
        next: None,
        total: counts.iter().sum(),
    };
    let mut bytes = 0;
    let mut last = None;
    let (shown, more) = found.split_at(found.len().min(query.limit));
    let at_once = if query.whole {
        WHOLE_AT_ONCE
    } else {
        HEADS_AT_ONCE
    };
    for places in shown.chunks(at_once) {
        let read = places
            .iter()
            .map(|place| store.load_part(Uuid::from_u128(place.tie), query.whole));
        for (place, task) in places.iter().zip(try_join_all(read).await?) {
            if bytes >= PAGE_BYTES {
                page.next = last;
                return Ok(page);
            }
            // A task that has moved since its place was found stands before this page now.
            if let Some(task) = task.filter(|task| task.updated_ms == place.updated_ms) {
                bytes += task.bytes();
                page.tasks.push(task);
            }
            last = Some(*place);
        }
    }
    page.next = if more.is_empty() { None } else { last };
    Ok(page)
}

/// The places of the page, and of one task more if there is one.
async fn find(
    store: &RedisStore,
    query: &TaskQuery,
    range: &Range,
) -> Result<Vec<TaskPlace>, StoreError> {
    let found: Vec<Vec<Bytes>> = store
        .everywhere(|partition| {
            let mut places = cmd("ZRANGE");
            places
                .arg(store.keys.list(partition, &query.owner, &query.agent))
                .arg(range.from.as_slice())
                .arg(range.first.as_slice())
                .arg("BYLEX")
                .arg("REV")
                .arg("LIMIT")
                .arg(0)
                .arg(query.limit.saturating_add(1));
            places
        })
        .await?;
    let places = found.iter().flatten().map(|member| {
        let (updated_ms, tie) = place_of(member)
            .ok_or_else(|| StoreError::Corrupt("a list holds no place".to_owned()))?;
        Ok(TaskPlace { updated_ms, tie })
    });
    let mut places = places.collect::<Result<Vec<_>, StoreError>>()?;
    places.sort_unstable_by(|a, b| b.cmp(a));
    places.truncate(query.limit.saturating_add(1));
    Ok(places)
}

/// Bounds of a list in a sorted set, as its commands want them.
struct Range {
    /// The oldest task of the list, and the newest.
    first: Vec<u8>,
    last: Vec<u8>,
    /// Where the page begins.
    from: Vec<u8>,
}

impl Range {
    fn of(query: &TaskQuery) -> Self {
        let listed = match (query.context_id.as_deref(), query.state) {
            (None, None) => Listed::All,
            (None, Some(state)) => Listed::State(state),
            (Some(context), None) => Listed::Context(context),
            (Some(context), Some(state)) => Listed::Both(context, state),
        };
        let start = listed.start();
        let bound = |sign: &[u8], place: [u8; 24]| [sign, start.as_slice(), &place].concat();
        let last = bound(b"[", place(u64::MAX, u128::MAX));
        Self {
            first: bound(b"[", place(query.updated_from_ms.unwrap_or(0), 0)),
            from: match query.after {
                Some(after) => bound(b"(", place(after.updated_ms, after.tie)),
                None => last.clone(),
            },
            last,
        }
    }
}
