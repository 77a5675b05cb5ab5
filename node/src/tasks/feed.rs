//! What a watcher receives: the task as it was when the watcher came, or what came after the last event that it has seen,
//! then every later event, in order.
//!
//! A feed holds no queue. The task puts what is kept on a [`Board`] that all its feeds share: the last few events, and the
//! number of the last one. A feed knows what it has seen and takes the next event from there, or from the log when that
//! is further back. So any number of watchers see equal events in equal order, an idle one costs some hundred bytes, and
//! a resumed one never holds more than a page of the log. A watcher that falls too far behind is cut off rather than
//! reading the whole log after everybody else.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use archipel_kit::telemetry::metrics::Counter;
use archipel_protocol::a2a::{StreamEvent, TaskState};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use crate::store::{EventRow, StoreError, TaskStore};

/// Events a watcher may be behind before it is cut off. One that resumes may be behind as far as it likes, until it has
/// caught up for the first time.
pub const FEED_CAPACITY: u64 = 1024;
/// The events on a board, at most. What is not there is in the log.
const RECENT: usize = 256;
/// Their bytes, at most, but for the last one. Shared with the log where that is in memory.
const RECENT_BYTES: usize = 64 * 1024;
/// Events that are read from the log at once.
const PAGE: usize = 32;

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
    /// Its number in the task's log. The task as a whole has the number of the last event that is in it.
    pub seq: u64,
    /// The `StreamResponse` as JSON: exactly one of `task`, `statusUpdate`, `artifactUpdate`; or `message`, alone.
    pub body: Bytes,
    /// How it leaves the task.
    pub settled: Settled,
}

impl LogEvent {
    /// The rows of a log as events, if none is missing between `last` and the first, or between two of them.
    pub fn successors(mut last: u64, rows: Vec<EventRow>) -> Option<VecDeque<Self>> {
        let mut events = VecDeque::with_capacity(rows.len());
        for row in rows {
            if row.seq != last + 1 {
                return None;
            }
            last = row.seq;
            events.push_back(Self::of(row)?);
        }
        Some(events)
    }

    /// An event as the log has it.
    pub(crate) fn of(row: EventRow) -> Option<Self> {
        let settled = if row.body.starts_with(b"{\"statusUpdate\"") {
            let body = std::str::from_utf8(&row.body).ok()?;
            match StreamEvent::read(body).ok()? {
                StreamEvent::StatusUpdate(update) => Settled::of(update.status.state),
                _ => Settled::No,
            }
        } else {
            Settled::No
        };
        Some(Self {
            seq: row.seq,
            body: row.body,
            settled,
        })
    }
}

/// Why a feed gives nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FeedEnd {
    /// The task has ended, and its last event was given.
    #[error("the task has ended")]
    Over,
    /// The watcher did not keep up.
    #[error("the watcher did not keep up")]
    TooSlow,
    /// Whoever worked on the task is gone; it can be watched anew.
    #[error("the task was interrupted inside the node")]
    Lost,
    /// The log could not be read.
    #[error("the log of the task cannot be read now")]
    Unreadable,
}

/// With what a feed begins.
#[derive(Debug)]
pub enum FirstItem {
    /// The whole task.
    Task(LogEvent),
    /// What comes after this event.
    After(u64),
}

impl FirstItem {
    /// The task, unless the log has all that came after what the watcher has seen: event 1 is the task's opening, which
    /// only the task itself tells of. `None` when there is nothing to watch.
    pub fn of(
        seq: u64,
        settled: Settled,
        after: Option<u64>,
        task: impl FnOnce() -> Bytes,
    ) -> Option<Self> {
        match after {
            Some(after) if 0 < after && after < seq => Some(Self::After(after)),
            _ if settled == Settled::Ended => None,
            Some(after) if after == seq => Some(Self::After(after)),
            _ => Some(Self::Task(LogEvent {
                seq,
                body: task(),
                settled,
            })),
        }
    }
}

/// The task's end of all its feeds. Dropping it ends them, once they have given what is on it.
#[derive(Debug)]
pub struct Board {
    recent: Arc<Recent>,
    /// Number of the last event that may be seen.
    shown: watch::Sender<u64>,
    /// Where the feeds are. Those that left go when the list would have to grow, or the next event is shown.
    places: Vec<Arc<Place>>,
}

/// Where one feed is, for its board to see: a watcher that has stopped reading never looks itself.
#[derive(Debug)]
struct Place {
    /// The last event given; `RESUMING` until the feed has been where everybody else is.
    seen: AtomicU64,
    cut_off: AtomicBool,
}

const RESUMING: u64 = u64::MAX;

/// What a board and its feeds share.
struct Recent {
    task: Uuid,
    log: Arc<dyn TaskStore>,
    /// The last events without a gap; bounded by `RECENT` and `RECENT_BYTES`.
    events: Mutex<RecentEvents>,
    cut_off: Counter<()>,
}

#[derive(Default)]
struct RecentEvents {
    events: VecDeque<LogEvent>,
    bytes: usize,
}

/// The receiving end: one watcher's place in the events of a task.
#[derive(Debug)]
pub struct Feed {
    recent: Arc<Recent>,
    shown: watch::Receiver<u64>,
    /// The next items: the task itself, or a page of the log.
    waiting: VecDeque<LogEvent>,
    /// The last event given.
    seen: u64,
    place: Arc<Place>,
    end: Option<FeedEnd>,
}

impl Board {
    /// The board of a task whose events up to `shown` may be seen. They are in `log`.
    pub fn new(task: Uuid, shown: u64, log: Arc<dyn TaskStore>, cut_off: Counter<()>) -> Self {
        let recent = Recent {
            task,
            log,
            events: Mutex::default(),
            cut_off,
        };
        Self {
            recent: Arc::new(recent),
            shown: watch::Sender::new(shown),
            places: Vec::new(),
        }
    }

    /// Lets everybody see further events, each the successor of the one before.
    pub fn show(&mut self, events: Vec<LogEvent>) {
        let Some(last) = events.last().map(|event| event.seq) else {
            return;
        };
        self.recent.events.lock().add(events);
        self.places.retain(|place| {
            let cut_off = place.cut_off_before(last);
            if cut_off {
                self.recent.cut_off.count(());
            }
            place.is_taken() && !cut_off
        });
        self.shown.send_replace(last);
    }

    /// A feed that begins with `first`.
    pub fn feed(&mut self, first: FirstItem) -> Feed {
        let (waiting, seen, resuming) = match first {
            FirstItem::Task(task) => {
                let seq = task.seq;
                (VecDeque::from([task]), seq, false)
            }
            FirstItem::After(seen) => (VecDeque::new(), seen, true),
        };
        let place = Arc::new(Place {
            seen: AtomicU64::new(if resuming { RESUMING } else { seen }),
            cut_off: AtomicBool::new(false),
        });
        if self.places.len() == self.places.capacity() {
            self.places.retain(|place| place.is_taken());
        }
        self.places.push(Arc::clone(&place));
        Feed {
            recent: Arc::clone(&self.recent),
            shown: self.shown.subscribe(),
            waiting,
            seen,
            place,
            end: None,
        }
    }

    /// Whether there is a feed.
    pub fn is_watched(&self) -> bool {
        self.places.iter().any(|place| place.is_taken())
    }
}

impl Place {
    /// Marks a feed that is too far behind.
    fn cut_off_before(&self, last: u64) -> bool {
        let seen = self.seen.load(Ordering::Relaxed);
        let too_far = seen != RESUMING && seen + FEED_CAPACITY < last;
        if too_far {
            self.cut_off.store(true, Ordering::Relaxed);
        }
        too_far
    }

    /// The board's own hold is not one.
    fn is_taken(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1
    }
}

impl Feed {
    /// A feed of one item, after which there is nothing: an answer without a task.
    pub fn of_message(message: &Bytes, log: Arc<dyn TaskStore>, cut_off: Counter<()>) -> Self {
        let only = LogEvent {
            seq: 0,
            body: [b"{\"message\":", message.as_ref(), b"}"].concat().into(),
            settled: Settled::Ended,
        };
        Board::new(Uuid::nil(), 0, log, cut_off).feed(FirstItem::Task(only))
    }

    /// The next item, as soon as there is one. Nothing is lost when the future is dropped before that.
    ///
    /// # Errors
    /// That there will be none any more, and why.
    pub async fn next(&mut self) -> Result<LogEvent, FeedEnd> {
        loop {
            if let Some(event) = self.ready() {
                return Ok(event);
            }
            if let Some(end) = self.end {
                return Err(end);
            }
            let shown = *self.shown.borrow_and_update();
            if self.seen < shown {
                self.read_on().await;
            } else {
                self.place.seen.store(self.seen, Ordering::Relaxed);
                if self.shown.changed().await.is_err() {
                    self.end = Some(FeedEnd::Lost);
                }
            }
        }
    }

    /// The next item, if it is at hand.
    pub fn ready(&mut self) -> Option<LogEvent> {
        if self.end.is_none() && self.place.cut_off.load(Ordering::Relaxed) {
            self.end = Some(FeedEnd::TooSlow);
        }
        if self.end.is_some() {
            return None;
        }
        let (event, from_log) = match self.waiting.pop_front() {
            Some(event) => (event, true),
            None => (self.recent.events.lock().after(self.seen)?, false),
        };
        self.seen = event.seq;
        if !from_log || self.place.seen.load(Ordering::Relaxed) != RESUMING {
            self.place.seen.store(self.seen, Ordering::Relaxed);
        }
        if event.settled == Settled::Ended {
            self.end = Some(FeedEnd::Over);
        }
        Some(event)
    }

    /// Reads the next page of the log.
    async fn read_on(&mut self) {
        let page = self
            .recent
            .log
            .events(self.recent.task, self.seen, PAGE)
            .await;
        match page.map(|rows| self.successors(rows)) {
            Ok(Some(events)) => self.waiting = events,
            Ok(None) => self.unreadable(&"events are missing"),
            Err(error) => self.unreadable::<StoreError>(&error),
        }
    }

    fn unreadable<E: fmt::Display + ?Sized>(&mut self, error: &E) {
        tracing::warn!(task.id = %self.recent.task, %error, "the log of a task cannot be read");
        self.end = Some(FeedEnd::Unreadable);
    }

    /// The rows as events, if they are at least one and none is missing before or between them.
    fn successors(&self, rows: Vec<EventRow>) -> Option<VecDeque<LogEvent>> {
        LogEvent::successors(self.seen, rows).filter(|events| !events.is_empty())
    }
}

impl RecentEvents {
    fn add(&mut self, events: Vec<LogEvent>) {
        for event in events {
            self.bytes += event.body.len();
            self.events.push_back(event);
        }
        while self.events.len() > RECENT || (self.bytes > RECENT_BYTES && self.events.len() > 1) {
            if let Some(oldest) = self.events.pop_front() {
                self.bytes -= oldest.body.len();
            }
        }
    }

    fn after(&self, seen: u64) -> Option<LogEvent> {
        let first = self.events.front()?.seq;
        let place = (seen + 1).checked_sub(first)?;
        self.events.get(usize::try_from(place).ok()?).cloned()
    }
}

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recent")
            .field("task", &self.task)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
mod tests;
