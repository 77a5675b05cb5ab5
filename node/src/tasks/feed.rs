//! What a watcher receives: the task as it was when the watcher came, then every later event, in order.
//!
//! A feed is a bounded queue. A watcher that does not keep up is cut off rather than slowing the task or its neighbours:
//! the task drops its end, and the feed ends without a settled event.

use archipel_protocol::a2a::TaskState;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Events a watcher may be behind before it is cut off. Their bytes are shared by all watchers and bounded by the size of
/// the task, so this bounds only the places in the queue.
pub const FEED_CAPACITY: usize = 1024;

/// Whether an event leaves the task in a state in which somebody who waits has the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// More will come by itself.
    No,
    /// The agent waits for the client.
    Interrupted,
    /// Nothing will come any more.
    Ended,
}

impl Settled {
    /// Of a task in `state`.
    pub fn of(state: TaskState) -> Self {
        if state.is_terminal() {
            Self::Ended
        } else if state.is_interrupted() {
            Self::Interrupted
        } else {
            Self::No
        }
    }
}

/// One item of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEvent {
    /// Its number in the task's log.
    pub seq: u64,
    /// The `StreamResponse` as JSON: exactly one of `task`, `statusUpdate`, `artifactUpdate`.
    pub body: Bytes,
    /// How it leaves the task.
    pub settled: Settled,
}

/// The receiving end.
pub type Feed = mpsc::Receiver<LogEvent>;

/// What became of a watcher that was shown an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// It has the event and waits for more.
    Taken,
    /// It left, or has seen the end.
    Over,
    /// It did not keep up.
    CutOff,
}

/// The task's end of one watcher's feed.
#[derive(Debug)]
pub struct Watcher {
    feed: mpsc::Sender<LogEvent>,
    /// The last event that the watcher has, in its first item or after it.
    seen: u64,
}

impl Watcher {
    /// A feed that begins with `first`, the whole task. No watcher comes back when that is all there will ever be.
    pub fn begin(first: &LogEvent) -> (Option<Self>, Feed) {
        let (feed, receiver) = mpsc::channel(FEED_CAPACITY);
        let mut watcher = Self { feed, seen: 0 };
        let goes_on = watcher.show(first) == Shown::Taken;
        (goes_on.then_some(watcher), receiver)
    }

    /// Hands an event on, unless the watcher has it. A watcher that has not taken it is to be dropped.
    pub fn show(&mut self, event: &LogEvent) -> Shown {
        if event.seq <= self.seen {
            return Shown::Taken;
        }
        self.seen = event.seq;
        match self.feed.try_send(event.clone()) {
            Ok(()) if event.settled == Settled::Ended => Shown::Over,
            Ok(()) => Shown::Taken,
            Err(TrySendError::Closed(_)) => Shown::Over,
            Err(TrySendError::Full(_)) => Shown::CutOff,
        }
    }

    /// Whether somebody still listens.
    pub fn is_open(&self) -> bool {
        !self.feed.is_closed()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn event(seq: u64, settled: Settled) -> LogEvent {
        LogEvent {
            seq,
            body: Bytes::from_static(b"{}"),
            settled,
        }
    }

    #[test]
    fn a_watcher_takes_each_event_once_until_the_end() {
        let (watcher, mut feed) = Watcher::begin(&event(3, Settled::No));
        let mut watcher = watcher.unwrap();
        for (seq, settled, expected) in [
            (2, Settled::No, Shown::Taken),
            (3, Settled::No, Shown::Taken),
            (4, Settled::Interrupted, Shown::Taken),
            (5, Settled::Ended, Shown::Over),
        ] {
            assert_eq!(watcher.show(&event(seq, settled)), expected, "{seq}");
        }
        let seen = std::iter::from_fn(|| feed.try_recv().ok()).map(|event| event.seq);
        assert_eq!(seen.collect::<Vec<_>>(), [3, 4, 5]);
    }

    #[test]
    fn nobody_watches_what_has_ended() {
        let (watcher, mut feed) = Watcher::begin(&event(1, Settled::Ended));
        assert!(watcher.is_none());
        assert_eq!(feed.try_recv().unwrap().seq, 1);
    }

    #[test]
    fn leaving_and_being_too_slow_are_not_the_same() {
        let (watcher, feed) = Watcher::begin(&event(1, Settled::No));
        let mut watcher = watcher.unwrap();
        for seq in 2..=FEED_CAPACITY as u64 {
            assert_eq!(watcher.show(&event(seq, Settled::No)), Shown::Taken);
        }
        let next = event(FEED_CAPACITY as u64 + 1, Settled::No);
        assert_eq!(watcher.show(&next), Shown::CutOff);
        let (watcher, left) = Watcher::begin(&event(1, Settled::No));
        let mut watcher = watcher.unwrap();
        drop(left);
        assert!(!watcher.is_open());
        assert_eq!(watcher.show(&event(2, Settled::No)), Shown::Over);
        drop(feed);
    }
}
