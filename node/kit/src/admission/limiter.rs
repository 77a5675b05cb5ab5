//! A limit over many keys, in bounded memory.

use std::{
    collections::{HashMap, hash_map::RandomState},
    fmt,
    hash::{BuildHasher, Hash},
};

use parking_lot::Mutex;

use super::gcra::{Decision, Rule, decide};

/// Shards keep workers out of each other's way; the count is a power of two so that a mask picks one.
const SHARDS: usize = 16;

/// How many old entries a new key looks at to find room. More finds better victims, fewer cost less.
const PROBES: usize = 8;

/// For each of a bounded number of keys a point in time, after which the key is forgotten.
///
/// A new key takes the place of an expired one if a few probes find one. When the map is full of live keys, the probed
/// one that expires first gives way: under a flood of new keys memory stays bounded, and the keys that were used most
/// (whose times lie furthest ahead) stay longest.
pub struct KeyTimes<K> {
    shards: Vec<Mutex<Shard<K>>>,
    hasher: RandomState,
}

struct Shard<K> {
    index: HashMap<K, usize, RandomState>,
    /// Never longer than `capacity`; slots are reused, never removed.
    entries: Vec<(K, u64)>,
    capacity: usize,
    /// Where the next search for room begins.
    hand: usize,
}

impl<K: Hash + Eq + Clone> KeyTimes<K> {
    /// An empty map for about `capacity` keys.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.div_ceil(SHARDS).max(1);
        let shard = || {
            Mutex::new(Shard {
                index: HashMap::default(),
                entries: Vec::new(),
                capacity,
                hand: 0,
            })
        };
        Self {
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
            hasher: RandomState::new(),
        }
    }

    /// The time of a key, if it is known and not past.
    pub fn get(&self, key: &K, now: u64) -> Option<u64> {
        let shard = self.shard(key)?.lock();
        let slot = *shard.index.get(key)?;
        shard
            .entries
            .get(slot)
            .map(|entry| entry.1)
            .filter(|time| *time > now)
    }

    /// Sets the time of a key.
    pub fn set(&self, key: &K, time: u64, now: u64) {
        self.update(key, now, |_| ((), time));
    }

    /// Replaces the time of a key (0 for a new one) by what `change` makes of it, and returns what else it gives.
    pub fn update<R: Default>(&self, key: &K, now: u64, change: impl FnOnce(u64) -> (R, u64)) -> R {
        self.shard(key)
            .map(|shard| shard.lock().update(key, now, change))
            .unwrap_or_default()
    }

    /// How many keys are held, expired ones included.
    pub fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().entries.len())
            .sum()
    }

    /// Whether no key is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, key: &K) -> Option<&Mutex<Shard<K>>> {
        let hash = self.hasher.hash_one(key);
        self.shards.get(hash as usize & (SHARDS - 1))
    }
}

impl<K> fmt::Debug for KeyTimes<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KeyTimes").finish_non_exhaustive()
    }
}

impl<K: Hash + Eq + Clone> Shard<K> {
    fn update<R>(&mut self, key: &K, now: u64, change: impl FnOnce(u64) -> (R, u64)) -> R {
        let held = self
            .index
            .get(key)
            .and_then(|slot| self.entries.get_mut(*slot));
        if let Some((_, time)) = held {
            let (result, next) = change(*time);
            *time = next;
            return result;
        }
        let (result, time) = change(0);
        if time > now {
            self.insert(key, time, now);
        }
        result
    }

    fn insert(&mut self, key: &K, time: u64, now: u64) {
        let entry = (key.clone(), time);
        let slot = match self.slot_to_reuse(now) {
            Some((slot, old)) => {
                let (old_key, _) = std::mem::replace(old, entry);
                self.index.remove(&old_key);
                slot
            }
            None => {
                self.entries.push(entry);
                self.entries.len() - 1
            }
        };
        self.index.insert(key.clone(), slot);
    }

    /// An expired entry, or in a full shard the probed one that expires first; `None` when there is room to grow.
    fn slot_to_reuse(&mut self, now: u64) -> Option<(usize, &mut (K, u64))> {
        let held = self.entries.len();
        let mut soonest: Option<(u64, usize)> = None;
        for _ in 0..PROBES.min(held) {
            self.hand = if self.hand + 1 < held {
                self.hand + 1
            } else {
                0
            };
            let time = self.entries.get(self.hand)?.1;
            if soonest.is_none_or(|(earliest, _)| time < earliest) {
                soonest = Some((time, self.hand));
            }
            if time <= now {
                break;
            }
        }
        let (time, slot) = soonest?;
        let reusable = time <= now || held >= self.capacity;
        self.entries
            .get_mut(slot)
            .filter(|_| reusable)
            .map(|entry| (slot, entry))
    }
}

/// One rule over many keys, in this process.
#[derive(Debug)]
pub struct LocalLimiter<K> {
    rule: Rule,
    states: KeyTimes<K>,
}

impl<K: Hash + Eq + Clone> LocalLimiter<K> {
    /// A limiter that remembers about `capacity` keys.
    pub fn new(rule: Rule, capacity: usize) -> Self {
        Self {
            rule,
            states: KeyTimes::new(capacity),
        }
    }

    /// Decides one call of `key` at `now_us` (any clock that does not go back, in microseconds).
    pub fn decide(&self, key: &K, now_us: u64) -> Decision {
        self.states
            .update(key, now_us, |state| decide(state, now_us, self.rule))
    }

    /// How many keys are held.
    pub fn keys(&self) -> usize {
        self.states.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_allowance() {
        let limiter = LocalLimiter::new(Rule::per_minute(60, 2), 100);
        let check = |key: &str, now_us: u64, allowed: bool| {
            assert_eq!(
                limiter.decide(&key.to_owned(), now_us).allowed,
                allowed,
                "{key} at {now_us}"
            );
        };
        check("a", 1_000_000, true);
        check("a", 1_000_000, true);
        check("a", 1_000_000, false);
        check("b", 1_000_000, true);
        check("a", 2_000_000, true);
        check("a", 2_000_000, false);
    }

    #[test]
    fn memory_is_bounded_and_the_busiest_key_stays() {
        let limiter = LocalLimiter::new(Rule::per_minute(60, 10), 1_000);
        for _ in 0..10 {
            assert!(limiter.decide(&u32::MAX, 1).allowed);
        }
        for key in 0..100_000 {
            assert!(limiter.decide(&key, 1).allowed);
        }
        assert!(limiter.keys() <= 1_000 + SHARDS, "{}", limiter.keys());
        assert!(!limiter.decide(&u32::MAX, 1).allowed);
    }

    #[test]
    fn expired_keys_make_room_before_memory_grows() {
        let times = KeyTimes::new(1 << 20);
        for key in 0..50_000_u32 {
            // Each key lives for 100 steps of time, so that about 100 are alive at once.
            times.set(&key, u64::from(key) + 100, u64::from(key));
        }
        assert!(times.len() < 3_000, "{}", times.len());
        assert_eq!(times.get(&49_999, 50_000), Some(50_099));
        assert_eq!(times.get(&49_999, 50_099), None);
        assert_eq!(times.get(&0, 50_000), None);
        assert!(!times.is_empty());
    }
}
