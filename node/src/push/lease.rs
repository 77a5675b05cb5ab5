//! Which replica tells what comes after an event, where several are one node: whoever claims it first, for a while.
//!
//! Without it each of them would find the same in the store and tell it. A replica that dies leaves its claim behind;
//! another one goes on when that is over.

use std::sync::Arc;

use archipel_kit::clock::Clock;

use crate::store::{Claim, ClaimRequest, ClaimStore, StoreError};

/// The claim of one lane.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// After which event, and until when.
    held: Option<(u64, u64)>,
}

impl Lease {
    /// Whether what comes after `event`, called `key`, is ours for as long as an attempt may take. Attempts that follow soon cost nothing.
    pub(super) async fn take(
        &mut self,
        claims: &Arc<dyn ClaimStore>,
        clock: &dyn Clock,
        (key, event): (&str, u64),
        attempt_ms: u64,
    ) -> Result<bool, StoreError> {
        let now = clock.now_ms();
        let is_held = self
            .held
            .is_some_and(|(held, until)| held == event && now + attempt_ms <= until);
        if is_held {
            return Ok(true);
        }
        let until = now + 2 * attempt_ms;
        let claim = ClaimRequest {
            key: &format!("push:{key}"),
            given_at_ms: now,
            expires_at_ms: until,
            now_ms: now,
        };
        let claim = claims.claim(claim).await?;
        self.held = (claim == Claim::First).then_some((event, until));
        Ok(self.held.is_some())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::time::Duration;

    use archipel_kit::clock::ManualClock;

    use super::*;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn one_replica_at_a_time_tells_an_event() {
        let claims: Arc<dyn ClaimStore> = Arc::new(MemoryStore::new(10));
        let clock = ManualClock::new(1_000_000);
        let (mut one, mut other) = (Lease::default(), Lease::default());
        for (passed, event, expected) in [
            (0, 5, (true, false)),
            (10, 5, (true, false)),
            // An attempt might take longer than what is left of the claim.
            (15, 5, (false, false)),
            (6, 5, (true, false)),
            (1, 6, (true, false)),
        ] {
            clock.advance(Duration::from_secs(passed));
            let key = format!("t/w/{event}");
            let one = one.take(&claims, &clock, (&key, event), 15_000).await;
            let other = other.take(&claims, &clock, (&key, event), 15_000).await;
            assert_eq!((one.unwrap(), other.unwrap()), expected, "after {passed} s");
        }
    }
}
