//! Which node has a task or a conversation, as far as its answers have told.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
};

use parking_lot::Mutex;

/// Keeps workers out of each other's way; a power of two, so that a mask picks one.
const SHARDS: usize = 16;

/// Remembers for a bounded number of ids the name of the node that has them. The oldest half is forgotten first: what was
/// asked for since then is remembered anew.
#[derive(Debug)]
pub(crate) struct Placement {
    shards: Vec<Mutex<Shard>>,
    per_generation: usize,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Shard {
    young: HashMap<u64, u64>,
    old: HashMap<u64, u64>,
}

impl Placement {
    /// Remembers about `capacity` ids, of about 50 bytes each.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            shards: std::iter::repeat_with(Mutex::default)
                .take(SHARDS)
                .collect(),
            per_generation: (capacity / SHARDS / 2).max(1),
            hasher: RandomState::new(),
        }
    }

    /// The node that has `id`, if it is known.
    pub(crate) fn find(&self, id: &[u8]) -> Option<u64> {
        let (key, shard) = self.place(id);
        let mut shard = shard?.lock();
        if let Some(node) = shard.young.get(&key) {
            return Some(*node);
        }
        let node = shard.old.remove(&key)?;
        shard.young.insert(key, node);
        Some(node)
    }

    /// Remembers that `node` has `id`.
    pub(crate) fn learn(&self, id: &[u8], node: u64) {
        let (key, shard) = self.place(id);
        let Some(shard) = shard else { return };
        let mut shard = shard.lock();
        if shard.young.len() >= self.per_generation {
            shard.old = std::mem::take(&mut shard.young);
        }
        shard.young.insert(key, node);
    }

    /// 64 bits stand for the id: seeded, so that nobody can choose two that meet.
    fn place(&self, id: &[u8]) -> (u64, Option<&Mutex<Shard>>) {
        let key = self.hasher.hash_one(id);
        (key, self.shards.get(key as usize & (SHARDS - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_remembered_and_memory_is_bounded() {
        let placement = Placement::new(3200);
        placement.learn(b"kept", 7);
        placement.learn(b"lost", 8);
        for id in 0..20_000_u32 {
            placement.learn(&id.to_be_bytes(), 1);
            assert_eq!(placement.find(b"kept"), Some(7));
        }
        assert_eq!(
            (placement.find(b"lost"), placement.find(b"new")),
            (None, None)
        );
        let held: usize = placement
            .shards
            .iter()
            .map(|shard| {
                let shard = shard.lock();
                shard.young.len() + shard.old.len()
            })
            .sum();
        assert!(held <= 3200 + 2 * SHARDS, "{held}");
    }
}
