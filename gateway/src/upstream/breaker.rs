//! When a node is left out, and how it comes back. Pure: time is passed in.
//!
//! Passing: everything goes there. Tripped: nothing does, until the pause is over. Probing: one request does, and what
//! becomes of it decides. After coming back it gets more and more of its share (slow start).

use std::time::Duration;

use crate::config::BreakerSettings;

/// The least of its share that a node gets while it comes back, in thousandths.
const FIRST_SHARE: u32 = 100;

/// What one node's requests met.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: State,
    failed_in_a_row: u32,
    /// The window of time that is counted together, and what was counted in it.
    window_began: Duration,
    asked: u32,
    failed: u32,
    /// Times it tripped without a good window in between; decides how long the pause is.
    trips: u32,
    came_back: Option<Duration>,
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Requests pass.
    Passing,
    /// None does, until then.
    Tripped {
        /// On the monotonic clock.
        until: Duration,
    },
    /// One request is trying; if nothing is heard of it until then, another one may.
    Probing {
        /// On the monotonic clock.
        until: Duration,
    },
}

impl Breaker {
    pub(crate) const fn new() -> Self {
        Self {
            state: State::Passing,
            failed_in_a_row: 0,
            window_began: Duration::ZERO,
            asked: 0,
            failed: 0,
            trips: 0,
            came_back: None,
        }
    }

    pub(crate) const fn state(&self) -> State {
        self.state
    }

    /// Whether a request may go there now.
    pub(crate) fn may_pass(&self, now: Duration) -> bool {
        match self.state {
            State::Passing => true,
            State::Tripped { until } | State::Probing { until } => now >= until,
        }
    }

    /// A request goes there: the first after a pause is the one that tries.
    pub(crate) fn enter(&mut self, now: Duration, rule: &BreakerSettings) {
        if self.state != State::Passing {
            self.state = State::Probing {
                until: now + self.pause(rule),
            };
        }
    }

    /// A request was answered. Gives whether the node came back by it.
    pub(crate) fn succeeded(&mut self, now: Duration, rule: &BreakerSettings) -> bool {
        self.failed_in_a_row = 0;
        self.count(now, rule, false);
        // A late answer to a request from before the trip says nothing about now.
        if matches!(self.state, State::Probing { .. }) {
            self.come_back(now);
            return true;
        }
        false
    }

    /// A request failed. Gives whether the node is left out because of it.
    pub(crate) fn failed(&mut self, now: Duration, rule: &BreakerSettings) -> bool {
        if rule.failures == 0 {
            return false;
        }
        self.failed_in_a_row = self.failed_in_a_row.saturating_add(1);
        self.count(now, rule, true);
        let trips = match self.state {
            State::Tripped { .. } => false,
            State::Probing { .. } => true,
            State::Passing => {
                let many =
                    u64::from(self.failed) * 100 >= u64::from(self.asked) * u64::from(rule.percent);
                self.failed_in_a_row >= rule.failures || (self.asked >= rule.requests && many)
            }
        };
        if trips {
            self.trips = self.trips.saturating_add(1);
            self.state = State::Tripped {
                until: now + self.pause(rule),
            };
            (self.failed_in_a_row, self.asked, self.failed) = (0, 0, 0);
        }
        trips
    }

    /// Lets requests pass again, and the node start slowly.
    pub(crate) fn come_back(&mut self, now: Duration) {
        self.state = State::Passing;
        self.came_back = Some(now);
        (self.failed_in_a_row, self.asked, self.failed) = (0, 0, 0);
    }

    /// How much of its share the node gets, in thousandths.
    pub(crate) fn share(&self, now: Duration, slow_start: Duration) -> u32 {
        let Some(came_back) = self.came_back else {
            return 1000;
        };
        let since = now.saturating_sub(came_back);
        if since >= slow_start {
            return 1000;
        }
        let grown = since.as_micros() * 1000 / slow_start.as_micros().max(1);
        u32::try_from(grown).unwrap_or(1000).max(FIRST_SHARE)
    }

    fn count(&mut self, now: Duration, rule: &BreakerSettings, failed: bool) {
        if now.saturating_sub(self.window_began) >= rule.window {
            if self.asked > 0 && self.failed == 0 {
                self.trips = 0;
            }
            (self.window_began, self.asked, self.failed) = (now, 0, 0);
        }
        self.asked = self.asked.saturating_add(1);
        self.failed = self.failed.saturating_add(u32::from(failed));
    }

    fn pause(&self, rule: &BreakerSettings) -> Duration {
        let doubled = 1_u32 << self.trips.saturating_sub(1).min(20);
        rule.pause.saturating_mul(doubled).min(rule.longest_pause)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use archipel_kit::settings::{self, Environment};

    use super::*;

    const fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn rule() -> BreakerSettings {
        settings::load(None, &Environment::default()).unwrap()
    }

    #[test]
    fn failures_in_a_row_leave_a_node_out_and_a_good_probe_brings_it_back() {
        let (rule, mut breaker) = (rule(), Breaker::new());
        for _ in 0..4 {
            assert!(!breaker.failed(at(0), &rule));
        }
        assert!(!breaker.succeeded(at(0), &rule));
        for _ in 0..4 {
            assert!(!breaker.failed(at(0), &rule));
        }
        assert!(breaker.failed(at(0), &rule), "the fifth in a row");
        assert!(!breaker.may_pass(at(999)) && breaker.may_pass(at(1000)));
        assert!(
            !breaker.succeeded(at(500), &rule) && !breaker.may_pass(at(999)),
            "an answer from before says nothing"
        );
        breaker.enter(at(1000), &rule);
        assert!(!breaker.may_pass(at(1000)), "one probe at a time");
        assert!(breaker.may_pass(at(2000)), "unless it was lost");
        assert!(breaker.succeeded(at(1100), &rule));
        assert!(breaker.may_pass(at(1100)));
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_start_anew_after_a_good_window() {
        let (rule, mut breaker) = (rule(), Breaker::new());
        let mut now = 0;
        for _ in 0..5 {
            breaker.failed(at(now), &rule);
        }
        for pause in [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            assert!(!breaker.may_pass(at(now + pause - 1)), "{pause}");
            now += pause;
            breaker.enter(at(now), &rule);
            assert!(breaker.failed(at(now), &rule), "{pause}");
        }
        now += 30_000;
        breaker.enter(at(now), &rule);
        breaker.succeeded(at(now), &rule);
        for later in [1, 10_001, 20_002] {
            breaker.succeeded(at(now + later), &rule);
        }
        for _ in 0..5 {
            breaker.failed(at(now + 20_003), &rule);
        }
        assert!(breaker.may_pass(at(now + 21_003)));
    }

    #[test]
    fn many_failures_of_a_window_leave_a_node_out() {
        let (rule, mut breaker) = (rule(), Breaker::new());
        let mut left_out_at = None;
        for call in 0..40 {
            breaker.succeeded(at(call), &rule);
            if breaker.failed(at(call), &rule) {
                left_out_at = Some(call);
                break;
            }
        }
        assert_eq!(left_out_at, Some(9), "20 requests, half of them failed");
    }

    #[test]
    fn a_node_that_came_back_starts_slowly() {
        let mut breaker = Breaker::new();
        let check = |breaker: &Breaker, now, share| {
            assert_eq!(breaker.share(at(now), at(10_000)), share, "{now}");
        };
        check(&breaker, 0, 1000);
        breaker.come_back(at(1000));
        check(&breaker, 1000, 100);
        check(&breaker, 6000, 500);
        check(&breaker, 11_000, 1000);
        assert_eq!(breaker.share(at(1000), Duration::ZERO), 1000);
    }
}
