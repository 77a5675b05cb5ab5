//! Which messages came before: pure, with the time passed in.
//!
//! Nothing is asked and nothing is kept on a disk, because every message of the site passes here. What that could miss is
//! refused instead: whatever was said before this window was opened, or before what it had to forget to stay small.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::BusRefusal;

/// Ids that are remembered at once, about 80 bytes each.
const MOST: usize = 500_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Window {
    /// Every fresh id, and whether its message came from the broker.
    seen: HashMap<Uuid, (u64, bool)>,
    /// By the millisecond in which they were said: a small tree, whose end is where nearly all go.
    by_time: BTreeMap<u64, Vec<Uuid>>,
    /// What was said up to here cannot be told from a repetition.
    floor_ms: u64,
    freshness_ms: u64,
    most: usize,
}

impl Window {
    /// Opened now: nothing that was said before is believed.
    pub(super) fn open(now_ms: u64, freshness_ms: u64) -> Self {
        Self {
            seen: HashMap::new(),
            by_time: BTreeMap::new(),
            floor_ms: now_ms.saturating_sub(1),
            freshness_ms,
            most: MOST,
        }
    }

    /// A message that is to be published here. It is new until it was offered or has come.
    pub(super) fn offer(&mut self, id: Uuid, said_ms: u64, now_ms: u64) -> Result<(), BusRefusal> {
        self.is_fresh(said_ms, now_ms)?;
        if self.seen.contains_key(&id) {
            return Err(BusRefusal::Repeated);
        }
        self.remember(id, said_ms, false);
        Ok(())
    }

    /// The message that was offered could not be published: it may be offered again.
    pub(super) fn withdraw(&mut self, id: Uuid) {
        if let Some((said_ms, false)) = self.seen.get(&id).copied() {
            self.seen.remove(&id);
            if let Some(ids) = self.by_time.get_mut(&said_ms) {
                ids.retain(|known| *known != id);
                if ids.is_empty() {
                    self.by_time.remove(&said_ms);
                }
            }
        }
    }

    /// A message that came from the broker, once, whether it was offered here or not.
    pub(super) fn take(&mut self, id: Uuid, said_ms: u64, now_ms: u64) -> Result<(), BusRefusal> {
        self.is_fresh(said_ms, now_ms)?;
        match self.seen.get_mut(&id) {
            Some((_, true)) => Err(BusRefusal::Repeated),
            Some((_, came)) => {
                *came = true;
                Ok(())
            }
            None => {
                self.remember(id, said_ms, true);
                Ok(())
            }
        }
    }

    fn is_fresh(&self, said_ms: u64, now_ms: u64) -> Result<(), BusRefusal> {
        if said_ms <= self.floor_ms || said_ms.abs_diff(now_ms) > self.freshness_ms {
            return Err(BusRefusal::Stale);
        }
        Ok(())
    }

    fn remember(&mut self, id: Uuid, said_ms: u64, came: bool) {
        self.seen.insert(id, (said_ms, came));
        self.by_time.entry(said_ms).or_default().push(id);
        if self.seen.len() > self.most
            && let Some((oldest_ms, ids)) = self.by_time.pop_first()
        {
            // What was said in the same millisecond is below the floor from now on.
            self.floor_ms = oldest_ms;
            for id in ids {
                self.seen.remove(&id);
            }
        }
    }

    /// Forgets what is not fresh any more and would be refused anyway.
    pub(super) fn sweep(&mut self, now_ms: u64) {
        let oldest_fresh = now_ms.saturating_sub(self.freshness_ms);
        let fresh = self.by_time.split_off(&oldest_fresh);
        for id in std::mem::replace(&mut self.by_time, fresh)
            .into_values()
            .flatten()
        {
            self.seen.remove(&id);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    const OPENED: u64 = 1_000_000;
    const FRESH: u64 = 300_000;

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[test]
    fn a_message_comes_once() {
        let mut window = Window::open(OPENED, FRESH);
        assert_eq!(window.take(id(1), OPENED, OPENED), Ok(()));
        assert_eq!(
            window.take(id(1), OPENED, OPENED),
            Err(BusRefusal::Repeated)
        );
        // Nor under another time, nor from outside.
        let (later, repeated) = (OPENED + 1, Err(BusRefusal::Repeated));
        assert_eq!(window.take(id(1), later, later), repeated);
        assert_eq!(window.offer(id(1), OPENED, later), repeated);
    }

    #[test]
    fn what_is_offered_comes_back_once() {
        let mut window = Window::open(OPENED, FRESH);
        window.offer(id(1), OPENED, OPENED).unwrap();
        let repeated = Err(BusRefusal::Repeated);
        assert_eq!(window.offer(id(1), OPENED, OPENED), repeated);
        assert_eq!(window.take(id(1), OPENED, OPENED), Ok(()));
        assert_eq!(window.take(id(1), OPENED, OPENED), repeated);
        // It came, so it was published, whatever was heard of that.
        window.withdraw(id(1));
        assert_eq!(window.take(id(1), OPENED, OPENED), repeated);
    }

    #[test]
    fn what_could_not_be_published_may_be_offered_again() {
        let mut window = Window::open(OPENED, FRESH);
        window.offer(id(1), OPENED, OPENED).unwrap();
        window.withdraw(id(1));
        assert_eq!(window.offer(id(1), OPENED, OPENED), Ok(()));
    }

    #[test]
    fn freshness_at_its_edges() {
        let mut window = Window::open(OPENED, FRESH);
        let now = OPENED + 2 * FRESH;
        let stale = Err(BusRefusal::Stale);
        for (number, said, expected) in [
            (1, now - FRESH - 1, stale.clone()),
            (2, now - FRESH, Ok(())),
            (3, now + FRESH, Ok(())),
            (4, now + FRESH + 1, stale.clone()),
        ] {
            assert_eq!(window.take(id(number), said, now), expected, "{said}");
        }
        // Said before the window was opened, and heard in time.
        assert_eq!(window.take(id(5), OPENED - 1, OPENED), stale);
    }

    #[test]
    fn what_is_forgotten_is_never_taken_again() {
        let mut window = Window::open(OPENED, FRESH);
        window.most = 2;
        for number in 1..=3 {
            let said = OPENED + number as u64;
            assert_eq!(window.take(id(number), said, OPENED), Ok(()));
        }
        assert_eq!(window.seen.len(), 2);
        assert_eq!(
            window.take(id(1), OPENED + 1, OPENED),
            Err(BusRefusal::Stale)
        );
        window.sweep(OPENED + FRESH + 3);
        assert_eq!((window.seen.len(), window.by_time.len()), (1, 1));
        window.sweep(OPENED + FRESH + 4);
        assert_eq!((window.seen.len(), window.by_time.len()), (0, 0));
    }
}
