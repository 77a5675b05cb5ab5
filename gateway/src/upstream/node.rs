//! What all workers know of one node: whether it can be asked, and how much it has to do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use archipel_kit::telemetry::metrics::NamedSeries;
use parking_lot::Mutex;
use url::Url;

use super::{
    breaker::{Breaker, State},
    choice::{Candidate, key_of},
};
use crate::config::{BreakerSettings, HealthSettings, UpstreamSettings};

/// One node behind the gateway.
#[derive(Debug)]
pub(crate) struct Node {
    name: String,
    key: u64,
    url: Url,
    /// Requests under way, streams included.
    in_flight: AtomicUsize,
    /// What the last health checks said; good until one says otherwise.
    is_healthy: AtomicBool,
    looks: Mutex<Looks>,
    breaker: Mutex<Breaker>,
    /// Time to the head of its answers.
    pub(crate) first_byte: NamedSeries,
}

/// What health checks have met.
#[derive(Debug, Default)]
struct Looks {
    good_in_a_row: u32,
    bad_in_a_row: u32,
    /// When the last one was, on the monotonic clock, and whether it was good.
    last: Option<(Duration, bool)>,
}

impl Node {
    /// A node that is taken to be good until it shows otherwise.
    pub(crate) fn new(name: String, url: Url, first_byte: NamedSeries) -> Self {
        Self {
            key: key_of(name.as_bytes()),
            name,
            url,
            in_flight: AtomicUsize::new(0),
            is_healthy: AtomicBool::new(true),
            looks: Mutex::default(),
            breaker: Mutex::new(Breaker::new()),
            first_byte,
        }
    }

    /// What a node is called when nobody named it.
    pub(crate) fn name_of(settings: &UpstreamSettings) -> String {
        settings.name.clone().unwrap_or_else(|| {
            let host = settings.url.host_str().unwrap_or_default();
            match settings.url.port_or_known_default() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            }
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its name as a number, the same in every gateway.
    pub(crate) const fn key(&self) -> u64 {
        self.key
    }

    pub(crate) const fn url(&self) -> &Url {
        &self.url
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.is_healthy.load(Ordering::Relaxed)
    }

    pub(crate) fn breaker_state(&self) -> State {
        self.breaker.lock().state()
    }

    /// Whether a request may go there now.
    pub(crate) fn may_be_asked(&self, now: Duration) -> bool {
        self.is_healthy() && self.breaker.lock().may_pass(now)
    }

    /// This node for a choice between several.
    pub(crate) fn candidate(
        &self,
        index: usize,
        weight: u32,
        now: Duration,
        slow_start: Duration,
    ) -> Candidate {
        let share = u64::from(weight) * u64::from(self.breaker.lock().share(now, slow_start));
        Candidate {
            index,
            load: self.in_flight(),
            share: share.max(1),
            name: self.key,
        }
    }

    /// A request goes there. It counts until the turn is dropped.
    pub(crate) fn enter(self: &Arc<Self>, now: Duration, rule: &BreakerSettings) -> Turn {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.breaker.lock().enter(now, rule);
        Turn(Arc::clone(self))
    }

    /// A request was answered.
    pub(crate) fn succeeded(&self, now: Duration, rule: &BreakerSettings) {
        if self.breaker.lock().succeeded(now, rule) {
            tracing::info!(upstream = self.name, "node is back");
        }
    }

    /// A request was not.
    pub(crate) fn failed(&self, now: Duration, rule: &BreakerSettings) {
        if self.breaker.lock().failed(now, rule) {
            tracing::warn!(
                upstream = self.name,
                "node is left out: requests failed there"
            );
        }
    }

    /// What the last health check met, if that is no longer ago than `most`.
    pub(crate) fn last_look(&self, now: Duration, most: Duration) -> Option<bool> {
        let (at, is_good) = self.looks.lock().last?;
        (now.saturating_sub(at) <= most).then_some(is_good)
    }

    /// A health check was answered, well or not at all.
    pub(crate) fn looked(&self, is_good: bool, now: Duration, rule: &HealthSettings) {
        let (good, bad) = {
            let mut looks = self.looks.lock();
            looks.last = Some((now, is_good));
            (looks.good_in_a_row, looks.bad_in_a_row) = if is_good {
                (looks.good_in_a_row.saturating_add(1), 0)
            } else {
                (0, looks.bad_in_a_row.saturating_add(1))
            };
            (looks.good_in_a_row, looks.bad_in_a_row)
        };
        if good >= rule.successes && !self.is_healthy.swap(true, Ordering::Relaxed) {
            // It was away: what requests met there before is past, and it may be cold.
            self.breaker.lock().come_back(now);
            tracing::info!(upstream = self.name, "node is healthy again");
        } else if bad >= rule.failures && self.is_healthy.swap(false, Ordering::Relaxed) {
            tracing::warn!(upstream = self.name, "node is left out: health checks fail");
        }
    }
}

/// A request under way at a node.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Node>);

impl Turn {
    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.0
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
