//! What a feed gives, from the board and from the log.

use archipel_protocol::a2a::{Message, TaskState};

use super::*;
use crate::store::memory::MemoryStore;
use crate::store::{Snapshot, TaskChange};

const TASK: Uuid = Uuid::from_u128(7);

/// A board, the log behind it, and how often somebody was cut off.
struct Told {
    board: Board,
    log: Arc<MemoryStore>,
    cut_off: Counter<()>,
    last: u64,
}

fn body(seq: u64) -> Bytes {
    let state = match seq {
        0 => "COMPLETED",
        _ => "WORKING",
    };
    format!(
        r#"{{"statusUpdate":{{"taskId":"t","contextId":"c","status":{{"state":"TASK_STATE_{state}"}}}}}}"#
    )
    .into()
}

impl Told {
    /// A task that has been opened.
    async fn new() -> Self {
        let log = Arc::new(MemoryStore::new(10));
        let metrics = crate::metrics::TaskMetrics::new(&opentelemetry::global::meter("tests"));
        let cut_off = metrics.watchers_cut;
        let board = Board::new(TASK, 1, log.clone(), cut_off.clone());
        let told = Self {
            board,
            log,
            cut_off,
            last: 1,
        };
        told.keep(Vec::new()).await;
        told
    }

    async fn keep(&self, events: Vec<EventRow>) {
        let hello = Message::from_agent("m".to_owned(), "hello");
        let change = TaskChange {
            id: TASK,
            owner: "o".into(),
            agent: "a".into(),
            context_id: "c".into(),
            state: TaskState::Working.number(),
            terminal: false,
            updated_ms: 0,
            snapshot: Some(Snapshot {
                seq: 1,
                head: serde_json::to_vec(&hello).unwrap().into(),
                rest: bytes::Bytes::new(),
            }),
            events,
            webhook: None,
            hold: None,
        };
        self.log.commit(change).await.unwrap();
    }

    /// Keeps and shows so many events at once.
    async fn tell(&mut self, events: u64, end: bool) {
        let mut rows = Vec::new();
        for left in (0..events).rev() {
            self.last += 1;
            let kind = u64::from(left > 0 || !end);
            rows.push(EventRow {
                seq: self.last,
                body: body(kind),
            });
        }
        self.keep(rows.clone()).await;
        self.board
            .show(rows.into_iter().filter_map(LogEvent::of).collect());
    }
}

fn task(seq: u64) -> FirstItem {
    FirstItem::Task(LogEvent {
        seq,
        body: Bytes::from_static(b"{}"),
        settled: Settled::No,
    })
}

/// The numbers that a feed gives, and why it ends.
async fn all(mut feed: Feed) -> (Vec<u64>, FeedEnd) {
    let mut seen = Vec::new();
    loop {
        match feed.next().await {
            Ok(event) => seen.push(event.seq),
            Err(end) => return (seen, end),
        }
    }
}

#[tokio::test]
async fn a_feed_gives_each_event_once_until_the_end() {
    let mut told = Told::new().await;
    told.tell(2, false).await;
    let feed = told.board.feed(task(3));
    told.tell(2, true).await;
    drop(told.board);
    assert_eq!(all(feed).await, (vec![3, 4, 5], FeedEnd::Over));
}

#[tokio::test]
async fn a_watcher_that_resumes_gets_the_rest_from_the_log_however_much_it_is() {
    let mut told = Told::new().await;
    told.tell(3 * FEED_CAPACITY, false).await;
    let last = told.last;
    let mut feeds: Vec<Feed> = [1, 2, last - 1, last]
        .map(|after| told.board.feed(FirstItem::After(after)))
        .into();
    assert_eq!(feeds[0].next().await.unwrap().seq, 2);
    told.tell(2, true).await;
    let mut after = [2, 2, last - 1, last].into_iter();
    for feed in feeds {
        let first = after.next().unwrap() + 1;
        let expected: Vec<u64> = (first..=last + 2).collect();
        assert_eq!(all(feed).await, (expected, FeedEnd::Over));
    }
    assert_eq!(told.cut_off.value(()), 0);
}

#[tokio::test]
async fn who_falls_behind_reads_the_log_until_it_is_too_far() {
    let mut told = Told::new().await;
    let (mut slow, slower) = (told.board.feed(task(1)), told.board.feed(task(1)));
    slow.next().await.unwrap();
    told.tell(FEED_CAPACITY, false).await;
    let mut seen = 1;
    while let Some(event) = slow.ready() {
        seen = event.seq;
    }
    assert_eq!(seen, 1, "it is not on the board any more");
    while seen < told.last {
        seen += 1;
        assert_eq!(slow.next().await.unwrap().seq, seen);
    }
    told.tell(1, false).await;
    assert_eq!(told.cut_off.value(()), 1);
    assert_eq!(all(slower).await, (vec![], FeedEnd::TooSlow));
    assert_eq!(slow.next().await.unwrap().seq, seen + 1);
}

#[tokio::test]
async fn a_feed_says_why_it_ends() {
    let mut told = Told::new().await;
    let feed = told.board.feed(task(1));
    told.tell(1, false).await;
    drop(told.board);
    assert_eq!(all(feed).await, (vec![1, 2], FeedEnd::Lost));

    let mut told = Told::new().await;
    let gap = told.board.feed(FirstItem::After(1));
    let far = LogEvent {
        seq: 9,
        body: body(1),
        settled: Settled::No,
    };
    told.board.show(vec![far]);
    assert_eq!(all(gap).await, (vec![], FeedEnd::Unreadable));
}

#[tokio::test]
async fn what_is_at_hand_is_bounded() {
    let mut told = Told::new().await;
    let feed = told.board.feed(task(1));
    told.tell(1_000, false).await;
    assert_eq!(told.board.recent.events.lock().events.len(), RECENT);
    let large = |seq| LogEvent {
        seq,
        body: Bytes::from(vec![b'x'; RECENT_BYTES]),
        settled: Settled::No,
    };
    told.board.show(vec![large(told.last + 1)]);
    told.board.show(vec![large(told.last + 2)]);
    assert_eq!(told.board.recent.events.lock().events.len(), 1);
    assert!(told.board.is_watched());
    drop(feed);
    assert!(!told.board.is_watched());
}
