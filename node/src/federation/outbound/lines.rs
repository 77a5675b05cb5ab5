//! The way to each peer: how many calls run on it, whether the peer keeps failing, and what kind of node is at its end.
//!
//! Owns [`Lines`], one for all workers. A line is made with the first call of a peer; lines of origins that have left the
//! roster are forgotten when another is made, so there are never more than the roster has peers and one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use archipel_kit::clock::Clock;
use archipel_kit::telemetry::metrics::{NamedHistogram, NamedSeries, observe_named};
use archipel_protocol::ids::Origin;
use opentelemetry::metrics::Meter;
use parking_lot::{Mutex, RwLock};

use crate::agents::breaker::{Breaker, BreakerRule, BreakerState, LeftAlone, Pass, Verdict};
use crate::federation::outbound::{NodeKind, OutboundError};
use crate::federation::peers::Peer;
use crate::federation::roster::Roster;
use crate::metrics::{NotSent, OutboundMetrics};

/// See the module.
pub(super) struct Lines {
    lines: Arc<RwLock<BTreeMap<Origin, Arc<Line>>>>,
    rule: BreakerRule,
    clock: Arc<dyn Clock>,
    pub(super) metrics: OutboundMetrics,
    times: NamedHistogram,
}

/// The way to one peer.
#[derive(Debug)]
pub(super) struct Line {
    peer: Arc<str>,
    /// Calls whose answer is not over.
    running: AtomicU32,
    breaker: Mutex<Breaker>,
    /// What the peer said it is, and until when that counts on the monotonic clock.
    kind: Mutex<Option<(NodeKind, Duration)>>,
    times: NamedSeries,
}

/// A call that runs. It gives its place back when it is dropped.
pub(super) struct Running {
    line: Arc<Line>,
    /// `None` once it was settled.
    pass: Option<Pass>,
    begun: Duration,
    clock: Arc<dyn Clock>,
    metrics: OutboundMetrics,
}

impl Lines {
    /// No line yet.
    pub(super) fn new(rule: BreakerRule, clock: Arc<dyn Clock>, meter: &Meter) -> Self {
        let lines: Arc<RwLock<BTreeMap<Origin, Arc<Line>>>> = Arc::default();
        observe(meter, &lines);
        Self {
            lines,
            rule,
            clock,
            metrics: OutboundMetrics::new(meter),
            times: NamedHistogram::new(
                meter,
                "archipel_peer_call_seconds",
                "Time until the answer of a peer began or it failed, repetitions included, by peer.",
                "peer",
            ),
        }
    }

    /// The way to a peer of the roster.
    pub(super) fn to(&self, peer: &Peer, roster: &Roster) -> Arc<Line> {
        if let Some(line) = self.lines.read().get(&peer.origin) {
            return Arc::clone(line);
        }
        let mut lines = self.lines.write();
        lines.retain(|origin, _| roster.by_origin(origin).is_some());
        let line = lines.entry(peer.origin.clone()).or_insert_with(|| {
            Arc::new(Line {
                peer: Arc::clone(&peer.name),
                running: AtomicU32::new(0),
                breaker: Mutex::new(Breaker::new(self.rule)),
                kind: Mutex::new(None),
                times: self.times.series(&peer.name),
            })
        });
        Arc::clone(line)
    }

    /// Lets a call begin.
    pub(super) fn begin(&self, line: Arc<Line>, most: u32) -> Result<Running, OutboundError> {
        let (ordering, running) = (Ordering::Relaxed, &line.running);
        let taken = running.fetch_update(ordering, ordering, |calls| {
            (calls < most).then(|| calls + 1)
        });
        if taken.is_err() {
            self.metrics.refused.count(NotSent::Busy);
            return Err(OutboundError::Busy);
        }
        let now = self.clock.monotonic();
        let admitted = line.breaker.lock().admit(now);
        match admitted {
            Ok(pass) => Ok(Running {
                line,
                pass: Some(pass),
                begun: now,
                clock: Arc::clone(&self.clock),
                metrics: self.metrics.clone(),
            }),
            Err(LeftAlone(pause)) => {
                running.fetch_sub(1, ordering);
                self.metrics.refused.count(NotSent::Tripped);
                Err(OutboundError::LeftAlone(pause))
            }
        }
    }
}

impl Line {
    /// What the peer said it is, if that still counts.
    pub(super) fn kind(&self, now: Duration) -> Option<NodeKind> {
        let kind = *self.kind.lock();
        kind.and_then(|(kind, until)| (now < until).then_some(kind))
    }

    pub(super) fn learn(&self, kind: NodeKind, until: Duration) {
        *self.kind.lock() = Some((kind, until));
    }
}

impl Running {
    /// Notes how the peer answered, or that it did not.
    pub(super) fn settle(&mut self, verdict: Verdict) {
        let Some(pass) = self.pass.take() else {
            return;
        };
        let now = self.clock.monotonic();
        self.line.times.record(now.saturating_sub(self.begun));
        let mut breaker = self.line.breaker.lock();
        let before = breaker.state();
        breaker.settle(pass, verdict, now);
        if before != BreakerState::Tripped
            && breaker.state() == BreakerState::Tripped
            && verdict == Verdict::Bad
        {
            self.metrics.tripped.count(());
            tracing::warn!(peer.name = %self.line.peer, "a peer keeps failing and is left alone for a while");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.settle(Verdict::Unknown);
        self.line.running.fetch_sub(1, Ordering::Relaxed);
    }
}

fn observe(meter: &Meter, lines: &Arc<RwLock<BTreeMap<Origin, Arc<Line>>>>) {
    let told = |read: fn(&Line) -> i64| {
        let lines = Arc::clone(lines);
        move || {
            let lines = lines.read();
            let values = lines
                .values()
                .map(|line| (line.peer.to_string(), read(line)));
            values.collect()
        }
    };
    observe_named(
        meter,
        "archipel_peer_calls_open",
        "Calls to peers whose answer is not over, by peer.",
        "peer",
        told(|line| i64::from(line.running.load(Ordering::Relaxed))),
    );
    observe_named(
        meter,
        "archipel_peer_left_alone",
        "Whether a peer is left alone because it keeps failing, by peer.",
        "peer",
        told(|line| i64::from(line.breaker.lock().state() != BreakerState::Passing)),
    );
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use archipel_kit::clock::ManualClock;

    use super::*;
    use crate::federation::peers::PeerSource;
    use crate::federation::roster::Trust;

    fn peer(name: &str) -> Peer {
        let origin = Origin::parse(&format!("https://{name}.example")).unwrap();
        Peer::new(name, origin, PeerSource::Configured)
    }

    fn roster(names: &[&str]) -> Roster {
        let peers = names.iter().map(|name| peer(name)).collect();
        Roster::new(peers, &Trust::Nobody).unwrap()
    }

    fn lines(clock: &Arc<ManualClock>) -> Lines {
        let rule = BreakerRule {
            failures: 2,
            pause: Duration::from_secs(10),
            longest: Duration::from_secs(60),
        };
        let clock: Arc<dyn Clock> = clock.clone();
        Lines::new(rule, clock, &opentelemetry::global::meter("tests"))
    }

    #[test]
    fn so_many_calls_run_at_once_and_no_more() {
        let lines = lines(&Arc::new(ManualClock::new(0)));
        let roster = roster(&["beta", "gamma"]);
        let begin = |name: &str| lines.begin(lines.to(&peer(name), &roster), 2);
        let (first, _second) = (begin("beta").unwrap(), begin("beta").unwrap());
        assert_eq!(begin("beta").err(), Some(OutboundError::Busy));
        assert!(begin("gamma").is_ok(), "another peer is another matter");
        drop(first);
        assert!(begin("beta").is_ok());
    }

    #[test]
    fn a_peer_that_keeps_failing_is_left_alone() {
        let clock = Arc::new(ManualClock::new(0));
        let lines = lines(&clock);
        let roster = roster(&["beta"]);
        let begin = || lines.begin(lines.to(&peer("beta"), &roster), 9);
        for _ in 0..2 {
            begin().unwrap().settle(Verdict::Bad);
        }
        let pause = Duration::from_secs(10);
        assert_eq!(begin().err(), Some(OutboundError::LeftAlone(pause)));
        clock.advance(pause);
        let mut probe = begin().unwrap();
        assert!(begin().is_err(), "one call tries it");
        probe.settle(Verdict::Good);
        assert!(begin().is_ok());
    }

    #[test]
    fn lines_of_peers_that_have_left_are_forgotten() {
        let lines = lines(&Arc::new(ManualClock::new(0)));
        lines.to(&peer("beta"), &roster(&["beta"]));
        lines.to(&peer("gamma"), &roster(&["gamma"]));
        assert_eq!(lines.lines.read().len(), 1);
    }
}
