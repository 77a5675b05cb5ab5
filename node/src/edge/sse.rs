//! A task's feed as an event stream (A2A 1.0 §9.4.2, §11.7): one `data:` line for each event, with its number in the task's
//! log as `id:`, and a comment when there is nothing to say. A closed connection drops the feed, and with it the watcher;
//! the task goes on.

use std::fmt::Write as _;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::rt::time::{Instant, Interval, interval_at};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use archipel_kit::telemetry::metrics::Gauge;
use archipel_protocol::a2a::Version;
use archipel_protocol::error::RpcError;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{Stream, stream};
use tokio_util::sync::CancellationToken;

use crate::edge::Edge;
use crate::edge::auth::header;
use crate::edge::binding::A2A_VERSION;
use crate::edge::operation::EndsAt;
use crate::tasks::feed::{Feed, FeedEnd, LogEvent, Settled};

const KEEP_ALIVE: &[u8] = b": still here\n\n";
const TOO_SLOW: &[u8] = b": cut off, this watcher did not keep up; subscribe again to go on\n\n";
const INTERRUPTED: &[u8] =
    b": cut off, the node cannot go on telling of this task now; subscribe again to go on\n\n";
const UNTELLABLE: &[u8] =
    b": cut off, an event of this task cannot be told in this version of A2A\n\n";
const STOPPING: &[u8] = b": the node is stopping; subscribe again to go on\n\n";

/// The last event that a returning watcher has seen. Numbers are all that we ever give out as ids; whoever brings something
/// else is given the task as a whole, like one that is here for the first time.
pub(super) fn last_event(request: &HttpRequest) -> Option<u64> {
    header(request, "last-event-id")?.parse().ok()
}

/// How an event becomes a `data:` line.
pub(super) struct Framing {
    /// What stands before each event.
    pub(super) before: Bytes,
    /// What makes of it what the client reads; nothing where that is the event itself.
    pub(super) convert: Option<Convert>,
    /// What stands behind it.
    pub(super) after: &'static [u8],
    /// The version that all this is in.
    pub(super) version: Version,
}

type Convert = fn(&[u8]) -> Result<Vec<u8>, RpcError>;

/// Answers with the events of a feed.
pub(super) fn stream(edge: &Edge, framing: Framing, feed: Feed, ends_at: EndsAt) -> HttpResponse {
    let open = OpenStream::count(edge.metrics.streams.clone());
    let mut head = head(framing.version);
    let watching = Watching {
        framing,
        feed,
        ends_at,
        keep_alive: pause(edge.limits.keep_alive),
        drain: edge.drain.clone(),
        over: false,
        _open: open,
    };
    head.streaming(events(watching))
}

/// The head of an answer that is a stream.
pub(super) fn head(version: Version) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((CONTENT_TYPE, HeaderValue::from_static("text/event-stream")))
        .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-cache")))
        .insert_header((
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ))
        .insert_header((A2A_VERSION, HeaderValue::from_static(version.as_str())));
    response
}

struct Watching {
    framing: Framing,
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
        let around = self.framing.before.len() + self.framing.after.len();
        let mut out = BytesMut::with_capacity(around + event.body.len() + 32);
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
        let converted = self.framing.convert.map(|convert| convert(&event.body));
        let Ok(converted) = converted.transpose() else {
            self.over = true;
            return out.put_slice(UNTELLABLE);
        };
        // Writing to memory cannot fail.
        let _written = write!(out, "id: {}\ndata: ", event.seq);
        out.put_slice(&self.framing.before);
        out.put_slice(converted.as_deref().unwrap_or(&event.body));
        out.put_slice(self.framing.after);
        out.put_slice(b"\n\n");
        self.over = match self.ends_at {
            EndsAt::Settled => event.settled != Settled::No,
            EndsAt::End => event.settled == Settled::Ended,
            EndsAt::SettledLater => event.settled != Settled::No && !is_task(event),
        };
    }

    fn end(&mut self, comment: &'static [u8]) -> Bytes {
        self.over = true;
        Bytes::from_static(comment)
    }
}

/// Whether an item is the task as it was when the watcher came.
fn is_task(event: &LogEvent) -> bool {
    event.body.starts_with(b"{\"task\"")
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
