//! Addresses that keep presenting bad credentials: beyond a bound they are told to wait before anything is computed for
//! them. Each process has its own memory of them; others are untouched.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use archipel_kit::admission::{KeyTimes, Rule, decide, limiter_key};
use archipel_kit::clock::Clock;

use super::{Held, Why, now_us};

/// Addresses that are remembered.
const ADDRESSES: usize = 65_536;

/// See the module.
#[derive(Debug)]
pub struct Failures {
    /// Absent: nobody is held for failing.
    rule: Option<Rule>,
    times: KeyTimes<IpAddr>,
    /// Whether anybody has ever failed: until then, the usual call pays for one read.
    any: AtomicBool,
    clock: Arc<dyn Clock>,
}

impl Failures {
    /// So many failures a minute are borne; 0: any number.
    pub fn new(per_minute: u32, clock: Arc<dyn Clock>) -> Self {
        Self {
            rule: (per_minute > 0).then(|| Rule::per_minute(per_minute, per_minute)),
            times: KeyTimes::new(ADDRESSES),
            any: AtomicBool::new(false),
            clock,
        }
    }

    /// Whether nobody has failed yet, so that the address of a caller need not be found.
    pub fn is_quiet(&self) -> bool {
        !self.any.load(Ordering::Relaxed)
    }

    /// Whether an address has to wait.
    ///
    /// # Errors
    /// For how long.
    pub fn check(&self, address: IpAddr) -> Result<(), Held> {
        let Some(rule) = self.rule else { return Ok(()) };
        let now_us = now_us(self.clock.as_ref());
        let state = self.times.get(&limiter_key(address), now_us).unwrap_or(0);
        let (decision, _) = decide(state, now_us, rule);
        if decision.allowed {
            return Ok(());
        }
        Err(Held {
            limit: rule.limit(),
            retry_after_seconds: decision.retry_after_us.div_ceil(1_000_000),
            why: Why::Full,
        })
    }

    /// Counts a bad credential.
    pub fn count(&self, address: IpAddr) {
        let Some(rule) = self.rule else { return };
        let now_us = now_us(self.clock.as_ref());
        self.times.update(&limiter_key(address), now_us, |state| {
            ((), decide(state, now_us, rule).1)
        });
        self.any.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use archipel_kit::clock::ManualClock;

    use super::*;

    #[test]
    fn whoever_keeps_failing_waits_and_nobody_else() {
        let clock = Arc::new(ManualClock::new(0));
        let failures = Failures::new(60, clock.clone());
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(failures.is_quiet());
        for _ in 0..60 {
            assert_eq!(failures.check(address("2001:db8::1")), Ok(()));
            failures.count(address("2001:db8::1"));
        }
        assert!(!failures.is_quiet());
        // One client owns all of its network.
        let held = failures.check(address("2001:db8::2")).unwrap_err();
        assert_eq!((held.limit, held.retry_after_seconds), (60, 1));
        assert_eq!(failures.check(address("2001:db8:0:1::1")), Ok(()));
        assert_eq!(failures.check(address("192.0.2.1")), Ok(()));
        clock.advance(std::time::Duration::from_secs(1));
        assert_eq!(failures.check(address("2001:db8::1")), Ok(()));
    }

    #[test]
    fn without_a_bound_nobody_waits() {
        let failures = Failures::new(0, Arc::new(ManualClock::new(0)));
        let address = "192.0.2.1".parse().unwrap();
        for _ in 0..1000 {
            failures.count(address);
        }
        assert_eq!(failures.check(address), Ok(()));
    }
}
