//! How many requests may be sent again, so that a broken node does not meet twice the load.

use std::sync::atomic::{AtomicU32, Ordering};

/// Retries that may be saved up.
const MOST: u32 = 100;

/// What one retry costs; a request earns so many parts of it as the setting has percent.
const COST: u32 = 100;

/// Every request earns a part of a retry.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    saved: AtomicU32,
    percent: u32,
}

impl RetryBudget {
    /// Starts with as much as can be saved: the first failures are no storm.
    pub(crate) const fn new(percent: u32) -> Self {
        let most = if percent == 0 { 0 } else { MOST * COST };
        Self {
            saved: AtomicU32::new(most),
            percent,
        }
    }

    /// A request was taken.
    pub(crate) fn earn(&self) {
        // The usual case, a full budget, only reads. Two workers that write at once may lose a part: no matter.
        let saved = self.saved.load(Ordering::Relaxed);
        if saved < MOST * COST && self.percent > 0 {
            self.saved
                .store((saved + self.percent).min(MOST * COST), Ordering::Relaxed);
        }
    }

    /// Whether one may be sent again; it is paid for then.
    pub(crate) fn spend(&self) -> bool {
        self.saved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| {
                saved.checked_sub(COST)
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_earn_retries() {
        let budget = RetryBudget::new(20);
        let spent = std::iter::repeat_with(|| budget.spend())
            .take_while(|paid| *paid)
            .count();
        assert_eq!(spent, 100);
        for _ in 0..5 {
            assert!(!budget.spend());
            budget.earn();
        }
        assert!(budget.spend() && !budget.spend());
        assert!(!RetryBudget::new(0).spend());
    }
}
