//! How much each address has at once: connections, or requests.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
    net::IpAddr,
    sync::Arc,
};

use parking_lot::Mutex;

/// Keeps workers out of each other's way; a power of two, so that a mask picks one.
const SHARDS: usize = 16;

type Shards = Vec<Mutex<HashMap<IpAddr, usize>>>;

/// Counts by address. An address that has nothing takes no memory.
#[derive(Debug, Clone)]
pub(crate) struct Crowd {
    shards: Arc<Shards>,
    hasher: RandomState,
}

impl Crowd {
    pub(crate) fn new() -> Self {
        let shards = std::iter::repeat_with(Mutex::default).take(SHARDS);
        Self {
            shards: Arc::new(shards.collect()),
            hasher: RandomState::new(),
        }
    }

    /// One more for an address, unless it has `most` already.
    pub(crate) fn enter(&self, address: IpAddr, most: usize) -> Option<Place> {
        let shard = self.hasher.hash_one(address) as usize & (SHARDS - 1);
        let mut counts = self.shards.get(shard)?.lock();
        let count = counts.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place {
            shards: Arc::clone(&self.shards),
            shard,
            address,
        })
    }
}

/// Counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    shards: Arc<Shards>,
    shard: usize,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(shard) = self.shards.get(self.shard) else {
            return;
        };
        let mut counts = shard.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_so_much_and_leaves_nothing_behind() {
        let crowd = Crowd::new();
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "::1".parse().unwrap());
        let first = crowd.enter(one, 2).unwrap();
        let second = crowd.enter(one, 2).unwrap();
        assert!(crowd.enter(one, 2).is_none());
        let third = crowd.enter(other, 2).unwrap();
        drop(first);
        assert!(crowd.enter(one, 2).is_some());
        drop((second, third));
        assert!(crowd.shards.iter().all(|shard| shard.lock().is_empty()));
    }
}
