//! Counting in this process: for a node that is one process, and gone when it ends.
//!
//! Memory is bounded: by the keys that are held, and by the calls that are remembered for them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use archipel_kit::admission::decide;
use archipel_kit::clock::Clock;
use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Admission, Call, Conduct, Limit, Limiter, now_us};
use crate::store::StoreError;

/// How many of the oldest keys a new one looks at to find room.
const PROBES: usize = 8;
/// How long bad conduct is remembered after the last of it (contract/public-tier.md 6).
const CONDUCT_US: u64 = 30 * 24 * 3600 * 1_000_000;
/// The least that somebody is told to wait for a window.
const LEAST_WAIT_MS: u64 = 1000;

/// How much may be held.
#[derive(Debug, Clone, Copy)]
struct Room {
    keys: usize,
    /// Of all keys together; each takes 8 bytes.
    calls: usize,
}

const ROOM: Room = Room {
    keys: 65_536,
    calls: 2 << 20,
};

/// The port in memory.
#[derive(Debug)]
pub struct MemoryLimiter {
    clock: Arc<dyn Clock>,
    counted: Mutex<Counted>,
}

#[derive(Debug)]
struct Counted {
    room: Room,
    keys: HashMap<Arc<str>, Entry>,
    /// Every key once, those that were looked at longest ago first.
    order: VecDeque<Arc<str>>,
    /// Calls that all windows together remember.
    calls: usize,
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// From when on it says nothing any more.
    over_at_us: u64,
}

#[derive(Debug)]
enum State {
    /// When the calls of a window came.
    Window(VecDeque<u64>),
    /// When the allowance of a steady limit is full again.
    Steady(u64),
    /// How many bad calls there were.
    Bad(u64),
}

impl MemoryLimiter {
    /// One that has counted nothing.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_room(ROOM, clock)
    }

    fn with_room(room: Room, clock: Arc<dyn Clock>) -> Self {
        let counted = Counted {
            room,
            keys: HashMap::new(),
            order: VecDeque::new(),
            calls: 0,
        };
        Self {
            clock,
            counted: Mutex::new(counted),
        }
    }

    #[cfg(test)]
    fn sizes(&self) -> (usize, usize) {
        let counted = self.counted.lock();
        assert_eq!(counted.keys.len(), counted.order.len());
        (counted.keys.len(), counted.calls)
    }
}

#[async_trait]
impl Limiter for MemoryLimiter {
    async fn admit(&self, call: Call<'_>) -> Result<Admission, StoreError> {
        let now_us = now_us(self.clock.as_ref());
        let mut counted = self.counted.lock();
        for (index, bucket) in call.buckets.iter().enumerate() {
            let Some(wait_us) = counted.wait(bucket.key, bucket.limit, now_us) else {
                continue;
            };
            if let Some(reputation) = call.reputation
                && index + 1 == call.buckets.len()
            {
                counted.count_bad(reputation.id, now_us);
            }
            return Ok(Admission::Denied {
                bucket: index,
                retry_after_ms: wait_us.div_ceil(1000),
            });
        }
        let is_blocked = call.reputation.is_some_and(|reputation| {
            let limit = reputation.block_at;
            limit.is_some_and(|limit| counted.bad(reputation.id, now_us) >= limit)
        });
        if is_blocked {
            return Ok(Admission::Blocked);
        }
        for bucket in call.buckets {
            counted.count(bucket.key, bucket.limit, now_us);
        }
        Ok(Admission::Admitted)
    }

    async fn note(&self, id: &str, conduct: Conduct) -> Result<(), StoreError> {
        if conduct == Conduct::Bad {
            let now_us = now_us(self.clock.as_ref());
            self.counted.lock().count_bad(id, now_us);
        }
        Ok(())
    }
}

impl Counted {
    /// How long until a call could be counted, if it cannot be now.
    fn wait(&mut self, key: &str, limit: Limit, now_us: u64) -> Option<u64> {
        let entry = self.keys.get_mut(key)?;
        match (limit, &mut entry.state) {
            (Limit::Window { max, window }, State::Window(calls)) => {
                let window_us = micros(window);
                while calls.front().is_some_and(|at| at + window_us <= now_us) {
                    calls.pop_front();
                    self.calls -= 1;
                }
                let oldest = calls.front().filter(|_| calls.len() >= max as usize)?;
                Some((oldest + window_us - now_us).max(LEAST_WAIT_MS * 1000))
            }
            (Limit::Steady(rule), State::Steady(full_at_us)) => {
                let (decision, _) = decide(*full_at_us, now_us, rule);
                (!decision.allowed).then_some(decision.retry_after_us)
            }
            // One key is always counted in one way; were it not, it would begin anew.
            _ => None,
        }
    }

    fn count(&mut self, key: &str, limit: Limit, now_us: u64) {
        match limit {
            Limit::Window { window, .. } => {
                let over_at_us = now_us + micros(window);
                let entry = self.entry(key, now_us, || State::Window(VecDeque::new()));
                entry.over_at_us = over_at_us;
                if let State::Window(calls) = &mut entry.state {
                    calls.push_back(now_us);
                    self.calls += 1;
                }
                while self.calls > self.room.calls && self.forget_one(now_us) {}
            }
            Limit::Steady(rule) => {
                let entry = self.entry(key, now_us, || State::Steady(0));
                if let State::Steady(full_at_us) = &mut entry.state {
                    *full_at_us = decide(*full_at_us, now_us, rule).1;
                    entry.over_at_us = *full_at_us;
                }
            }
        }
    }

    fn bad(&self, id: &str, now_us: u64) -> u64 {
        match self.keys.get(conduct_key(id).as_str()) {
            Some(Entry {
                state: State::Bad(count),
                over_at_us,
            }) if *over_at_us > now_us => *count,
            _ => 0,
        }
    }

    fn count_bad(&mut self, id: &str, now_us: u64) {
        let before = self.bad(id, now_us);
        let entry = self.entry(&conduct_key(id), now_us, || State::Bad(0));
        entry.state = State::Bad(before + 1);
        entry.over_at_us = now_us + CONDUCT_US;
    }

    /// What is held under a key; room is made for a new one first.
    fn entry(&mut self, key: &str, now_us: u64, new: impl FnOnce() -> State) -> &mut Entry {
        if !self.keys.contains_key(key) {
            self.forget_what_is_over(now_us);
            if self.keys.len() >= self.room.keys {
                self.forget_one(now_us);
            }
            self.order.push_back(key.into());
        }
        self.keys.entry(key.into()).or_insert_with(|| Entry {
            state: new(),
            over_at_us: now_us,
        })
    }

    /// Looks at the two oldest keys, so that what is over goes faster than new keys come.
    fn forget_what_is_over(&mut self, now_us: u64) {
        for _ in 0..2 {
            let Some(key) = self.order.pop_front() else {
                return;
            };
            match self.keys.get(&key) {
                Some(entry) if entry.over_at_us > now_us => self.order.push_back(key),
                _ => self.remove(&key),
            }
        }
    }

    /// Makes room: of some old keys the one that would be over first goes. Whether there was one.
    fn forget_one(&mut self, now_us: u64) -> bool {
        let mut goes: Option<(u64, Arc<str>)> = None;
        for _ in 0..PROBES {
            let Some(key) = self.order.pop_front() else {
                break;
            };
            let over_at_us = self.keys.get(&key).map_or(now_us, |entry| entry.over_at_us);
            let stays = match &goes {
                Some((soonest, _)) if over_at_us >= *soonest => Some(key),
                _ => goes.replace((over_at_us, key)).map(|(_, key)| key),
            };
            self.order.extend(stays);
        }
        let Some((_, key)) = goes else { return false };
        self.remove(&key);
        true
    }

    /// Forgets a key that is no longer in the order.
    fn remove(&mut self, key: &str) {
        if let Some(Entry {
            state: State::Window(calls),
            ..
        }) = self.keys.remove(key)
        {
            self.calls -= calls.len();
        }
    }
}

fn conduct_key(id: &str) -> String {
    format!("conduct:{id}")
}

fn micros(window: Duration) -> u64 {
    u64::try_from(window.as_micros()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use archipel_kit::clock::ManualClock;

    use super::super::Bucket;
    use super::*;

    async fn call(limiter: &MemoryLimiter, key: &str, max: u32) -> bool {
        let limit = Limit::Window {
            max,
            window: Duration::from_secs(60),
        };
        let call = Call {
            buckets: &[Bucket { key, limit }],
            reputation: None,
        };
        limiter.admit(call).await == Ok(Admission::Admitted)
    }

    #[tokio::test]
    async fn memory_is_bounded_by_keys_and_by_calls() {
        let room = Room {
            keys: 100,
            calls: 1000,
        };
        let limiter = MemoryLimiter::with_room(room, Arc::new(ManualClock::new(0)));
        for number in 0..10_000 {
            assert!(call(&limiter, &format!("key {number}"), 1).await);
        }
        assert_eq!(limiter.sizes(), (100, 100));
        for number in 0..10_000 {
            assert!(call(&limiter, &format!("busy {}", number % 16), u32::MAX).await);
        }
        assert!(limiter.sizes().1 <= 1000);
    }

    #[tokio::test]
    async fn what_is_over_is_forgotten() {
        let clock = Arc::new(ManualClock::new(0));
        let limiter = MemoryLimiter::new(clock.clone());
        for number in 0..20_000 {
            clock.advance(Duration::from_secs(1));
            assert!(call(&limiter, &format!("key {number}"), 1).await);
        }
        assert!(limiter.sizes().0 < 200);
    }
}
