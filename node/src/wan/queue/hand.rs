//! Which envelopes are with whoever sees to them: other replicas leave them alone for a while, and that is said again for as
//! long as it is true. So what a killed replica had in hand waits no longer than that, however long an effect may take.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use super::Held;

/// For how long others leave an envelope alone. If it took longer to say it again, the broker, or whoever has the effect,
/// would know the envelope again.
pub(super) const HAND_MS: u64 = 20_000;
/// How often it is said again.
pub(super) const RENEW: Duration = Duration::from_secs(5);

/// The numbers of what is in hand.
#[derive(Clone, Default)]
pub(super) struct Hand(Rc<RefCell<HashSet<u64>>>);

impl Hand {
    pub(super) fn take(&self, held: &[Held]) {
        let numbers = held.iter().map(|held| held.row.number);
        self.0.borrow_mut().extend(numbers);
    }

    pub(super) fn let_go(&self, number: u64) {
        self.0.borrow_mut().remove(&number);
    }

    pub(super) fn numbers(&self) -> Vec<u64> {
        self.0.borrow().iter().copied().collect()
    }
}
