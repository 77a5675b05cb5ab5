//! The desk where records are left, from any thread, until the audit comes for them.
//!
//! The audit is told of the first only, and comes a moment later for all that lie there by then: waking its thread, and
//! asking the store, for every record would cost a call more than everything else that is written down of it.

use std::fmt;
use std::sync::Arc;

use actix::{Message, Recipient};
use archipel_kit::clock::Clock;
use parking_lot::Mutex;

use super::{AuditRecord, Pending, QUEUE};

/// Tells the audit that there is something on the desk.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Gather;

/// Where whoever decides leaves records; nobody waits for the store.
#[derive(Clone)]
pub struct AuditDesk {
    tray: Tray,
    audit: Recipient<Gather>,
    clock: Arc<dyn Clock>,
}

/// What lies on the desk: shared by those who leave records and the audit that takes them.
#[derive(Debug, Clone, Default)]
pub struct Tray(Arc<Mutex<Left>>);

#[derive(Debug, Default)]
pub(super) struct Left {
    /// In their order; at most [`QUEUE`].
    pub(super) records: Vec<Pending>,
    /// Found no place.
    pub(super) dropped: u64,
    /// Whether the audit knows and will come.
    is_told: bool,
}

impl AuditDesk {
    /// A desk for the audit that takes from this tray.
    pub fn new(tray: Tray, audit: Recipient<Gather>, clock: Arc<dyn Clock>) -> Self {
        Self { tray, audit, clock }
    }

    /// Leaves a record. One that finds no place is dropped and counted, and the number is recorded.
    pub fn leave(&self, record: AuditRecord) {
        let at_ms = self.clock.now_ms();
        let mut left = self.tray.0.lock();
        if left.records.len() < QUEUE {
            left.records.push(Pending {
                at_ms,
                record,
                stored: None,
            });
        } else {
            left.dropped += 1;
        }
        if !left.is_told {
            left.is_told = self.audit.try_send(Gather).is_ok();
            if !left.is_told {
                tracing::warn!("audit records wait: the audit cannot be told of them");
            }
        }
    }
}

impl Tray {
    /// All that was left.
    pub(super) fn take(&self) -> Left {
        std::mem::take(&mut *self.0.lock())
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().records.len()
    }
}

impl fmt::Debug for AuditDesk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("AuditDesk")
            .field(&self.tray)
            .finish()
    }
}
