//! The arithmetic of a rate limit: GCRA (the virtual scheduling algorithm of ITU-T I.371), in whole microseconds.
//!
//! The whole state of a key is one time: when its allowance will be full again. A call moves it forward by one
//! emission interval; a call that would move it further than the burst ahead of now is denied and moves nothing.

/// A limit: steady calls, each `emission_us` apart, of which `burst_us` worth may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Microseconds between two calls at the steady rate.
    pub emission_us: u64,
    /// How far ahead of now the state may run; a multiple of `emission_us`.
    pub burst_us: u64,
}

impl Rule {
    /// So many calls per minute, of which `burst` may come at once. Both count as at least one, and more than a
    /// million per second count as that.
    pub const fn per_minute(calls: u32, burst: u32) -> Self {
        const MINUTE_US: u64 = 60_000_000;
        let calls = if calls == 0 { 1 } else { calls as u64 };
        let burst = if burst == 0 { 1 } else { burst as u64 };
        let emission_us = if calls > MINUTE_US {
            1
        } else {
            MINUTE_US / calls
        };
        Self {
            emission_us,
            burst_us: emission_us * burst,
        }
    }

    /// The part of this limit that one of several counts by itself, in percent; at least one call.
    pub const fn part(self, percent: u64) -> Self {
        if percent == 0 || percent >= 100 {
            return self;
        }
        let calls = self.limit() * percent / 100;
        let calls = if calls == 0 { 1 } else { calls };
        let emission_us = self.emission_us * 100 / percent;
        Self {
            emission_us,
            burst_us: emission_us * calls,
        }
    }

    /// How many calls may come at once: the limit that callers are told.
    pub const fn limit(self) -> u64 {
        self.burst_us / self.emission_us
    }
}

/// What becomes of one call. The default is a refusal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may pass.
    pub allowed: bool,
    /// How many more could pass right now.
    pub remaining: u64,
    /// Microseconds until one call could pass; 0 when this one was allowed.
    pub retry_after_us: u64,
    /// Microseconds until the whole burst is available again.
    pub reset_us: u64,
}

/// Decides one call at `now_us`, given the key's state (0 for a new key), and gives its next state.
pub const fn decide(state_us: u64, now_us: u64, rule: Rule) -> (Decision, u64) {
    let full_at = if state_us < now_us { now_us } else { state_us };
    let next = full_at + rule.emission_us;
    let ahead = next - now_us;
    if ahead > rule.burst_us {
        let decision = Decision {
            allowed: false,
            remaining: 0,
            retry_after_us: ahead - rule.burst_us,
            reset_us: full_at - now_us,
        };
        return (decision, state_us);
    }
    let remaining = (rule.burst_us - ahead) / rule.emission_us;
    (
        Decision {
            allowed: true,
            remaining,
            retry_after_us: 0,
            reset_us: ahead,
        },
        next,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn a_burst_passes_then_the_steady_rate() {
        let rule = Rule::per_minute(60, 3);
        assert_eq!((rule.emission_us, rule.limit()), (SECOND, 3));
        let mut state = 0;
        let mut check =
            |now_us: u64, allowed: bool, remaining: u64, retry_after_us: u64, reset_us: u64| {
                let (decision, next) = decide(state, now_us, rule);
                assert_eq!(
                    decision,
                    Decision {
                        allowed,
                        remaining,
                        retry_after_us,
                        reset_us
                    },
                    "at {now_us}"
                );
                assert!(allowed || next == state, "a denied call is not counted");
                state = next;
            };
        let start = 1_000 * SECOND;
        check(start, true, 2, 0, SECOND);
        check(start, true, 1, 0, 2 * SECOND);
        check(start, true, 0, 0, 3 * SECOND);
        check(start, false, 0, SECOND, 3 * SECOND);
        check(start, false, 0, SECOND, 3 * SECOND);
        check(start + SECOND / 2, false, 0, SECOND / 2, 5 * SECOND / 2);
        check(start + SECOND, true, 0, 0, 3 * SECOND);
        check(start + 60 * SECOND, true, 2, 0, SECOND);
    }

    #[test]
    fn strange_limits_still_limit() {
        let check = |calls, burst, emission_us, limit| {
            let rule = Rule::per_minute(calls, burst);
            assert_eq!((rule.emission_us, rule.limit()), (emission_us, limit));
        };
        check(0, 0, 60 * SECOND, 1);
        check(7, 7, 60 * SECOND / 7, 7);
        check(u32::MAX, 5, 1, 5);
        check(1, u32::MAX, 60 * SECOND, u64::from(u32::MAX));
    }

    #[test]
    fn a_part_of_a_limit_is_slower_and_bursts_less() {
        let check = |percent, emission_us, limit| {
            let part = Rule::per_minute(60, 8).part(percent);
            assert_eq!((part.emission_us, part.limit()), (emission_us, limit));
        };
        check(100, SECOND, 8);
        check(25, 4 * SECOND, 2);
        check(1, 100 * SECOND, 1);
        check(0, SECOND, 8);
    }
}
