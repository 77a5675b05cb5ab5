//! When an agent that keeps failing is left alone: pure, with the time passed in.
//!
//! Three states. Passing: every turn may begin. Tripped, after so many failures in a row: none may, until a pause is
//! over. Probing: one turn may, and how it goes decides; each failed probe doubles the pause. Turns that ended for
//! another reason than the agent's (the client canceled, the message was refused) decide nothing against it.

use std::time::Duration;

/// When an agent is left alone, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerRule {
    /// Failures in a row that trip it; 0 never trips.
    pub failures: u32,
    /// The first pause.
    pub pause: Duration,
    /// The longest pause.
    pub longest: Duration,
}

/// How a turn went, as far as it speaks of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It answered.
    Good,
    /// It was away, too slow, broken, or made no sense.
    Bad,
    /// Nothing can be said: the turn was ended by somebody else.
    Unknown,
}

/// The right to begin one turn, to be given back with a verdict.
#[derive(Debug, PartialEq, Eq)]
pub struct Pass {
    is_probe: bool,
}

/// No turn may begin before this much time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftAlone(pub Duration);

/// What it is doing, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Turns begin.
    Passing,
    /// None begins.
    Tripped,
    /// One is tried.
    Probing,
}

/// See the module.
#[derive(Debug)]
pub struct Breaker {
    rule: BreakerRule,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Passing {
        failures: u32,
    },
    /// `until` on the monotonic clock.
    Tripped {
        until: Duration,
        pause: Duration,
    },
    /// The probe is under way; `pause` was the last one.
    Probing {
        pause: Duration,
    },
}

impl Breaker {
    /// A breaker that passes.
    pub fn new(rule: BreakerRule) -> Self {
        Self {
            rule,
            state: State::Passing { failures: 0 },
        }
    }

    /// Whether a turn may begin now.
    ///
    /// # Errors
    /// How long to wait.
    pub fn admit(&mut self, now: Duration) -> Result<Pass, LeftAlone> {
        match self.state {
            State::Passing { .. } => Ok(Pass { is_probe: false }),
            State::Tripped { until, .. } if now < until => Err(LeftAlone(until - now)),
            State::Tripped { pause, .. } => {
                self.state = State::Probing { pause };
                Ok(Pass { is_probe: true })
            }
            // How long the probe takes nobody knows; the first pause is a guess that costs little.
            State::Probing { .. } => Err(LeftAlone(self.rule.pause)),
        }
    }

    /// Takes a pass back.
    pub fn settle(&mut self, pass: Pass, verdict: Verdict, now: Duration) {
        match (self.state, verdict) {
            (State::Passing { .. }, Verdict::Good) => {
                self.state = State::Passing { failures: 0 };
            }
            (State::Passing { failures }, Verdict::Bad) => {
                let failures = failures.saturating_add(1);
                self.state = if failures == self.rule.failures {
                    self.trip(self.rule.pause, now)
                } else {
                    State::Passing { failures }
                };
            }
            (State::Probing { .. }, Verdict::Good) if pass.is_probe => {
                self.state = State::Passing { failures: 0 };
            }
            (State::Probing { pause }, Verdict::Bad) if pass.is_probe => {
                self.state = self.trip(pause.saturating_mul(2).min(self.rule.longest), now);
            }
            // The probe said nothing: the next turn is the probe.
            (State::Probing { pause }, Verdict::Unknown) if pass.is_probe => {
                self.state = State::Tripped { until: now, pause };
            }
            // A turn that began before it tripped: the probe is what counts.
            _ => {}
        }
    }

    /// What it is doing now.
    pub fn state(&self) -> BreakerState {
        match self.state {
            State::Passing { .. } => BreakerState::Passing,
            State::Tripped { .. } => BreakerState::Tripped,
            State::Probing { .. } => BreakerState::Probing,
        }
    }

    fn trip(&self, pause: Duration, now: Duration) -> State {
        State::Tripped {
            until: now.saturating_add(pause),
            pause,
        }
    }
}

impl BreakerState {
    /// As one word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Tripped => "tripped",
            Self::Probing => "probing",
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    const RULE: BreakerRule = BreakerRule {
        failures: 3,
        pause: Duration::from_secs(10),
        longest: Duration::from_secs(30),
    };

    /// Steps: `g`, `b`, `u` are whole turns (good, bad, unknown), a number lets so many seconds pass, `(` begins a turn,
    /// `)` ends the oldest begun one well, `]` badly, `}` without a verdict, `!` is a turn that must be refused.
    fn check(steps: &str, expected: BreakerState) {
        let mut breaker = Breaker::new(RULE);
        let mut now = Duration::ZERO;
        let mut begun = Vec::new();
        for step in steps.chars() {
            let verdict = match step {
                'g' | ')' => Verdict::Good,
                'b' | ']' => Verdict::Bad,
                _ => Verdict::Unknown,
            };
            match step {
                'g' | 'b' | 'u' => {
                    let pass = breaker.admit(now).unwrap_or_else(|_| panic!("{steps}"));
                    breaker.settle(pass, verdict, now);
                }
                '(' => begun.push(breaker.admit(now).unwrap()),
                ')' | ']' | '}' => breaker.settle(begun.remove(0), verdict, now),
                '!' => assert!(breaker.admit(now).is_err(), "{steps}"),
                digit => now += Duration::from_secs(u64::from(digit.to_digit(10).unwrap())),
            }
        }
        assert_eq!(breaker.state(), expected, "{steps}");
    }

    #[test]
    fn failures_in_a_row_trip_it() {
        check("", BreakerState::Passing);
        check("bb", BreakerState::Passing);
        check("bbgbb", BreakerState::Passing);
        check("bbb!", BreakerState::Tripped);
        // What says nothing of the agent neither helps nor harms.
        check("bbuub!", BreakerState::Tripped);
    }

    #[test]
    fn after_the_pause_one_turn_is_tried() {
        check("bbb9!1(!", BreakerState::Probing);
        check("bbb91(!)ggg", BreakerState::Passing);
        check("bbb91g bb".replace(' ', "").as_str(), BreakerState::Passing);
        check("bbb91u(!)g", BreakerState::Passing);
    }

    #[test]
    fn each_failed_probe_doubles_the_pause_up_to_a_bound() {
        check("bbb91b991!1(", BreakerState::Probing);
        check("bbb91b992b9992!1(", BreakerState::Probing);
        check("bbb91b992b9993b9992!1(", BreakerState::Probing);
    }

    #[test]
    fn turns_from_before_it_tripped_change_nothing() {
        check("((bbb)]!", BreakerState::Tripped);
        check("((bbb91()!]", BreakerState::Probing);
    }

    #[test]
    fn it_tells_how_long_to_wait() {
        let mut breaker = Breaker::new(RULE);
        for _ in 0..3 {
            let pass = breaker.admit(Duration::ZERO).unwrap();
            breaker.settle(pass, Verdict::Bad, Duration::ZERO);
        }
        let now = Duration::from_millis(2500);
        assert_eq!(
            breaker.admit(now),
            Err(LeftAlone(Duration::from_millis(7500)))
        );
    }

    #[test]
    fn without_a_number_it_never_trips() {
        let rule = BreakerRule {
            failures: 0,
            ..RULE
        };
        let mut breaker = Breaker::new(rule);
        for _ in 0..100 {
            let pass = breaker.admit(Duration::ZERO).unwrap();
            breaker.settle(pass, Verdict::Bad, Duration::ZERO);
        }
        assert_eq!(breaker.state(), BreakerState::Passing);
    }
}
