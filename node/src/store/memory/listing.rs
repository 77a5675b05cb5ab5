//! The order in which lists show tasks: one tree for all callers and conversations, and how many tasks stand in it.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;

use uuid::Uuid;

use crate::store::{StoredTask, TaskPlace, TaskQuery, opened};

/// Each task stands in the group of its caller, and in that of its conversation unless it opened that.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// A group is the hash of its name, so that an entry is small. It is keyed: nobody can make two groups meet.
    hasher: RandomState,
    entries: BTreeSet<Entry>,
    /// Tasks in each group and state; none is zero.
    counts: BTreeMap<(u64, u8), u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    group: u64,
    state: u8,
    place: TaskPlace,
}

impl Listing {
    pub(super) fn enter(&mut self, id: Uuid, task: &StoredTask) {
        for entry in self.entries_of(id, task) {
            self.entries.insert(entry);
            *self.counts.entry((entry.group, entry.state)).or_default() += 1;
        }
    }

    pub(super) fn leave(&mut self, id: Uuid, task: &StoredTask) {
        for entry in self.entries_of(id, task) {
            self.entries.remove(&entry);
            let key = (entry.group, entry.state);
            if let Some(count) = self.counts.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&key);
                }
            }
        }
    }

    /// Where the tasks of a page and the one behind them stand, and how many meet the query. `first_task` is the one that
    /// opened the conversation that is asked for.
    pub(super) fn page(
        &self,
        query: &TaskQuery,
        first_task: Option<(Uuid, &StoredTask)>,
    ) -> (Vec<TaskPlace>, u64) {
        let group = self.group(&query.owner, &query.agent, query.context_id.as_deref());
        let first = TaskPlace {
            updated_ms: query.updated_from_ms.unwrap_or(0),
            tie: 0,
        };
        let end = query.after.unwrap_or(TaskPlace::LAST);
        let mut places = Vec::new();
        let mut total = 0;
        if let Some((id, task)) = first_task
            && meets(task, query)
        {
            total += 1;
            places.extend(Some(place(id, task)).filter(|place| *place < end));
        }
        let states = match query.state {
            None => (group, 0)..=(group, u8::MAX),
            Some(state) => (group, state)..=(group, state),
        };
        for (&(_, state), count) in self.counts.range(states) {
            let at = |place| Entry {
                group,
                state,
                place,
            };
            let since = at(first)..=at(TaskPlace::LAST);
            total += match query.updated_from_ms {
                None => *count,
                Some(_) => self.entries.range(since).count() as u64,
            };
            if end > first {
                let page = self.entries.range(at(first)..at(end)).rev();
                places.extend(page.take(query.limit + 1).map(|entry| entry.place));
            }
        }
        places.sort_unstable_by(|a, b| b.cmp(a));
        places.truncate(query.limit + 1);
        (places, total)
    }

    fn entries_of(&self, id: Uuid, task: &StoredTask) -> impl Iterator<Item = Entry> + use<> {
        let entry = |context_id| Entry {
            group: self.group(&task.owner, &task.agent, context_id),
            state: task.state,
            place: place(id, task),
        };
        let of_context = (!opened(id, &task.context_id)).then(|| entry(Some(&task.context_id)));
        of_context.into_iter().chain([entry(None)])
    }

    fn group(&self, owner: &str, agent: &str, context_id: Option<&str>) -> u64 {
        self.hasher.hash_one((owner, agent, context_id))
    }
}

fn place(id: Uuid, task: &StoredTask) -> TaskPlace {
    TaskPlace {
        updated_ms: task.updated_ms,
        tie: id.as_u128(),
    }
}

fn meets(task: &StoredTask, query: &TaskQuery) -> bool {
    (&task.owner, &task.agent) == (&query.owner, &query.agent)
        && Some(&task.context_id) == query.context_id.as_ref()
        && query.state.is_none_or(|state| state == task.state)
        && query
            .updated_from_ms
            .is_none_or(|since| since <= task.updated_ms)
}
