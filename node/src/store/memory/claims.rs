//! Ids that are taken, and when they are free again.

use std::collections::{BTreeSet, HashMap};

use crate::store::Claim;

/// How many expired claims one new claim may sweep: more than one, so that a backlog shrinks.
const CLAIMS_SWEPT_PER_CLAIM: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Claims {
    expiry_by_key: HashMap<Box<str>, u64>,
    by_expiry: BTreeSet<(u64, Box<str>)>,
}

impl Claims {
    pub(super) fn claim(&mut self, key: &str, expires_at_ms: u64, now_ms: u64) -> Claim {
        self.sweep(now_ms);
        match self.expiry_by_key.get_mut(key) {
            Some(taken_until) if *taken_until > now_ms => return Claim::Repeated,
            Some(taken_until) => {
                self.by_expiry.remove(&(*taken_until, Box::from(key)));
                *taken_until = expires_at_ms;
            }
            None => {
                self.expiry_by_key.insert(Box::from(key), expires_at_ms);
            }
        }
        self.by_expiry.insert((expires_at_ms, Box::from(key)));
        Claim::First
    }

    fn sweep(&mut self, now_ms: u64) {
        for _ in 0..CLAIMS_SWEPT_PER_CLAIM {
            if self
                .by_expiry
                .first()
                .is_none_or(|(expires_at_ms, _)| *expires_at_ms > now_ms)
            {
                return;
            }
            if let Some((_, key)) = self.by_expiry.pop_first() {
                self.expiry_by_key.remove(&key);
            }
        }
    }
}
