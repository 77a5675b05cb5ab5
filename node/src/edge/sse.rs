//! A task's feed as an event stream (A2A 1.0 §9.4.2): one `data:` line for each event, a comment when there is nothing to
//! say. A closed connection drops the feed, and with it the watcher; the task goes on.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::rt::time::{Instant, Interval, interval_at};
use archipel_kit::telemetry::metrics::Gauge;
use archipel_protocol::a2a::VERSION;
use archipel_protocol::jsonrpc::Id;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{Stream, stream};
use tokio_util::sync::CancellationToken;

use crate::edge::Edge;
use crate::edge::rpc::{A2A_VERSION, answer_head};
use crate::tasks::feed::{Feed, FeedEnd, LogEvent, Settled};

const KEEP_ALIVE: &[u8] = b": still here\n\n";
const TOO_SLOW: &[u8] = b": cut off, this watcher did not keep up; subscribe again to go on\n\n";
const INTERRUPTED: &[u8] =
    b": cut off, the node cannot go on telling of this task now; subscribe again to go on\n\n";
const STOPPING: &[u8] = b": the node is stopping; subscribe again to go on\n\n";

/// After which event a stream is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndsAt {
    /// The task has ended, or waits for the client (`SendStreamingMessage`).
    Settled,
    /// The task has ended (`SubscribeToTask`).
    End,
}

/// Answers with the events of a feed.
pub(super) fn stream(edge: &Edge, id: &Id, feed: Feed, ends_at: EndsAt) -> HttpResponse {
    let open = OpenStream::count(edge.metrics.streams.clone());
    let watching = Watching {
        head: answer_head(id),
        feed,
        ends_at,
        keep_alive: pause(edge.limits.keep_alive),
        drain: edge.drain.clone(),
        over: false,
        _open: open,
    };
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, HeaderValue::from_static("text/event-stream")))
        .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-cache")))
        .insert_header((
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ))
        .insert_header((A2A_VERSION, HeaderValue::from_static(VERSION)))
        .streaming(events(watching))
}

struct Watching {
    head: Bytes,
    feed: Feed,
    ends_at: EndsAt,
    keep_alive: Interval,
    drain: CancellationToken,
    over: bool,
    _open: OpenStream,
}

fn events(watching: Watching) -> impl Stream<Item = Result<Bytes, actix_web::Error>> {
    stream::unfold(watching, |mut watching| async move {
        if watching.over {
            return None;
        }
        let piece = watching.next().await;
        Some((Ok(piece), watching))
    })
}

impl Watching {
    async fn next(&mut self) -> Bytes {
        tokio::select! {
            // Events first: a stream that is cut off still shows everything that was handed to it.
            biased;
            event = self.feed.next() => match event {
                Ok(event) => self.show(event),
                // The task's own worker may have stopped before this one.
                Err(_) if self.drain.is_cancelled() => self.end(STOPPING),
                Err(FeedEnd::Over) => self.end(b""),
                Err(FeedEnd::TooSlow) => self.end(TOO_SLOW),
                Err(FeedEnd::Lost | FeedEnd::Unreadable) => self.end(INTERRUPTED),
            },
            () = self.drain.cancelled() => self.end(STOPPING),
            _ = self.keep_alive.tick() => Bytes::from_static(KEEP_ALIVE),
        }
    }

    /// Writes the event, and every further one that is there already: one write for a burst.
    fn show(&mut self, event: LogEvent) -> Bytes {
        let mut out = BytesMut::with_capacity(self.head.len() + event.body.len() + 16);
        self.write(&event, &mut out);
        while !self.over && out.len() < 64 * 1024 {
            let Some(event) = self.feed.ready() else {
                break;
            };
            self.write(&event, &mut out);
        }
        self.keep_alive.reset();
        out.freeze()
    }

    fn write(&mut self, event: &LogEvent, out: &mut BytesMut) {
        out.put_slice(b"data: ");
        out.put_slice(&self.head);
        out.put_slice(&event.body);
        out.put_slice(b"}\n\n");
        self.over = match self.ends_at {
            EndsAt::Settled => event.settled != Settled::No,
            EndsAt::End => event.settled == Settled::Ended,
        };
    }

    fn end(&mut self, comment: &'static [u8]) -> Bytes {
        self.over = true;
        Bytes::from_static(comment)
    }
}

fn pause(length: Duration) -> Interval {
    interval_at(Instant::now() + length, length)
}

/// Counts a stream as open for as long as it lives.
struct OpenStream(Gauge<()>);

impl OpenStream {
    fn count(gauge: Gauge<()>) -> Self {
        gauge.add(1, ());
        Self(gauge)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.add(-1, ());
    }
}
