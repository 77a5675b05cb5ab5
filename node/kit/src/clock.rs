//! Time, and the only place that reads it: everything else takes a [`Clock`], so that rules can be tested at any hour.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A source of time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall clock, in milliseconds since the Unix epoch. It may jump when the operator sets the clock.
    fn now_ms(&self) -> u64;

    /// Time since an arbitrary start. It never goes back, so intervals are measured with it.
    fn monotonic(&self) -> Duration;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the machine's clock"
    )]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the machine's clock"
    )]
    fn now_ms(&self) -> u64 {
        // A machine set before 1970 counts as 1970: every expiry then lies in the future and nothing wraps.
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that stands still until it is told to move.
#[derive(Debug)]
pub struct ManualClock {
    started_ms: AtomicU64,
    elapsed_us: AtomicU64,
}

impl ManualClock {
    /// A clock that reads `now_ms` milliseconds after the Unix epoch.
    pub const fn new(now_ms: u64) -> Self {
        Self {
            started_ms: AtomicU64::new(now_ms),
            elapsed_us: AtomicU64::new(0),
        }
    }

    /// Moves both readings forward; parts below a microsecond are dropped.
    pub fn advance(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.elapsed_us.fetch_add(micros, Ordering::SeqCst);
    }

    /// Sets the wall clock, as an operator does: forward or back, while no time passes.
    pub fn set(&self, now_ms: u64) {
        let elapsed_ms = self.elapsed_us.load(Ordering::SeqCst) / 1000;
        let started_ms = now_ms.saturating_sub(elapsed_ms);
        self.started_ms.store(started_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        let elapsed_ms = self.elapsed_us.load(Ordering::SeqCst) / 1000;
        self.started_ms.load(Ordering::SeqCst) + elapsed_ms
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.elapsed_us.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(1_000);
        assert_eq!((clock.now_ms(), clock.monotonic()), (1_000, Duration::ZERO));
        clock.advance(Duration::from_micros(1_500));
        clock.advance(Duration::from_micros(500));
        assert_eq!(
            (clock.now_ms(), clock.monotonic()),
            (1_002, Duration::from_millis(2))
        );
        clock.set(500);
        assert_eq!(
            (clock.now_ms(), clock.monotonic()),
            (500, Duration::from_millis(2))
        );
    }

    #[test]
    fn the_system_clock_never_goes_back() {
        let clock = SystemClock::new();
        let earlier = clock.monotonic();
        assert!(clock.monotonic() >= earlier);
        assert!(clock.now_ms() > 1_700_000_000_000);
    }
}
