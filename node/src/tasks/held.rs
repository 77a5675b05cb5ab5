//! How much memory live tasks hold, in bytes of JSON: one sum for all workers, which is also what operators see.

use archipel_kit::telemetry::metrics::Gauge;

/// A task without content counts for this much: its actor, and the places in tables.
const AT_LEAST: usize = 2048;

/// One task's part of the sum, taken back when it is dropped.
#[derive(Debug)]
pub(super) struct HeldBytes {
    sum: Gauge<()>,
    bytes: usize,
}

impl HeldBytes {
    /// Nothing yet.
    pub(super) fn of(sum: Gauge<()>) -> Self {
        Self { sum, bytes: 0 }
    }

    /// The task holds so much now.
    pub(super) fn set(&mut self, content: usize) {
        let bytes = content.saturating_add(AT_LEAST);
        self.sum.add(signed(bytes) - signed(self.bytes), ());
        self.bytes = bytes;
    }

    /// Whether all tasks together hold more than `bound`.
    pub(super) fn is_too_much(&self, bound: usize) -> bool {
        is_too_much(&self.sum, bound)
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.sum.add(-signed(self.bytes), ());
    }
}

/// Whether all tasks together hold more than `bound`.
pub(super) fn is_too_much(sum: &Gauge<()>, bound: usize) -> bool {
    sum.value(()) > signed(bound)
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
