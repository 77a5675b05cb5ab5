//! Reading what a client sends, with bounds: how much, and for how long.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use actix_web::{
    dev::Payload,
    error::PayloadError,
    http::header::{CONTENT_LENGTH, HeaderMap},
};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::mpsc;

use crate::client::RequestBody;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Larger than allowed, declared or counted: 413.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// Not complete in time: 408.
    #[error("the body did not arrive in time")]
    TimedOut,
    /// The client went away, or what came is not a body: 400, if anybody still listens.
    #[error("the body broke off: {0}")]
    Broken(#[from] PayloadError),
}

/// The length that a request declares, if it declares one.
pub fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads a whole body of at most `limit` bytes within `time`.
///
/// A declared length over the limit is refused before anything is read.
///
/// # Errors
/// See [`BodyError`].
pub async fn read_body(
    headers: &HeaderMap,
    payload: &mut Payload,
    limit: usize,
    time: Duration,
) -> Result<Bytes, BodyError> {
    let declared = declared_length(headers);
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(BodyError::TooLarge(limit));
    }
    // The usual body arrived together with its head: it is taken without a timer and without a copy.
    let whole = declared.and_then(|length| usize::try_from(length).ok());
    match first_at_hand(payload).await {
        Poll::Ready(None) => Ok(Bytes::new()),
        Poll::Ready(Some(first)) => {
            let first = first?;
            if whole == Some(first.len()) {
                return Ok(first);
            }
            read_rest(first.into(), payload, limit, time).await
        }
        Poll::Pending => read_rest(BytesMut::new(), payload, limit, time).await,
    }
}

/// Drops what is here already of a body that nobody will read, at most about `limit` bytes. When that is all of it, its
/// connection can serve the next request; else the server has to close it, for it cannot know how much is to come.
pub async fn drop_body(payload: &mut Payload, limit: usize) {
    let mut dropped = 0;
    while dropped < limit {
        match first_at_hand(payload).await {
            Poll::Ready(Some(Ok(piece))) => dropped += piece.len(),
            _ => return,
        }
    }
}

/// The first piece, if it is here already. It is looked for twice, because the server calls a handler when it has read
/// the head, and takes the body from the same buffer when the handler waits for the first time.
async fn first_at_hand(payload: &mut Payload) -> Poll<Option<Result<Bytes, PayloadError>>> {
    let mut looked = false;
    poll_fn(|context| {
        let look = LOOK.get();
        if looked {
            if look == Look::Owed {
                LOOK.set(Look::Watched);
            }
            return Poll::Ready(payload.poll_next_unpin(context));
        }
        looked = true;
        // Whoever watches sees to the second look, and the payload must not see to it too.
        let watched = look != Look::Unwatched;
        let mut silent = Context::from_waker(Waker::noop());
        let context = if watched { &mut silent } else { context };
        let first = payload.poll_next_unpin(context);
        match first {
            Poll::Ready(first) => return Poll::Ready(Poll::Ready(first)),
            Poll::Pending if watched => LOOK.set(Look::Owed),
            Poll::Pending => context.waker().wake_by_ref(),
        }
        Poll::Pending
    })
    .await
}

/// Who sees to it that a handler gets its second look at a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// The handler itself: it wakes its task, which costs a turn of the whole connection.
    Unwatched,
    /// [`second_looks`].
    Watched,
    /// The same, and a handler waits for it.
    Owed,
}

thread_local! {
    /// How it is for what is polled at the moment.
    static LOOK: Cell<Look> = const { Cell::new(Look::Unwatched) };
}

/// Serves a connection whose handlers read bodies. Usually the server polls a handler again by itself, in the same turn
/// and when it has taken the body: then nobody has to be woken for the second look. Where it did not, this wakes.
pub async fn second_looks<F: Future>(connection: F) -> F::Output {
    /// Also when something below panics, or another connection of the thread would wait for what nobody does.
    struct Watch;

    impl Drop for Watch {
        fn drop(&mut self) {
            LOOK.set(Look::Unwatched);
        }
    }

    let mut connection = pin!(connection);
    poll_fn(|context| {
        let watch = Watch;
        LOOK.set(Look::Watched);
        let polled = connection.as_mut().poll(context);
        if LOOK.get() == Look::Owed && polled.is_pending() {
            context.waker().wake_by_ref();
        }
        drop(watch);
        polled
    })
    .await
}

async fn read_rest(
    mut body: BytesMut,
    rest: &mut (impl Stream<Item = Result<Bytes, PayloadError>> + Unpin),
    limit: usize,
    time: Duration,
) -> Result<Bytes, BodyError> {
    let gather = async {
        if body.len() > limit {
            return Err(BodyError::TooLarge(limit));
        }
        while let Some(piece) = rest.next().await {
            let piece = piece?;
            if body.len() + piece.len() > limit {
                return Err(BodyError::TooLarge(limit));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    };
    tokio::time::timeout(time, gather)
        .await
        .map_err(|_| BodyError::TimedOut)?
}

/// What became of a body that is passed on while it arrives.
#[derive(Debug, Clone, Default)]
pub struct Upload(Rc<RefCell<Option<BodyError>>>);

impl Upload {
    /// Why it was not passed on whole. Ask when the exchange that carries it has failed: this is the cause.
    pub fn failure(&self) -> Option<BodyError> {
        self.0.take()
    }
}

/// Passes a body on while it arrives, piece by piece, with at most four pieces under way.
///
/// More than `limit` bytes, or more than `time` for all of it, abort the exchange that carries it; the cause is left in
/// the [`Upload`]. Must be called on an actix worker: a request's payload cannot leave its thread, so a task on the
/// same thread hands the pieces over.
pub fn forward_body(
    payload: Payload,
    declared: Option<u64>,
    limit: usize,
    time: Duration,
) -> (RequestBody, Upload) {
    let (pieces, mut receiver) = mpsc::channel(4);
    let upload = Upload::default();
    let result = upload.clone();
    actix_rt::spawn(async move {
        let passed = tokio::select! {
            passed = tokio::time::timeout(time, pass_pieces(payload, limit, &pieces)) => passed,
            () = pieces.closed() => return,
        };
        if let Err(error) = passed.unwrap_or(Err(BodyError::TimedOut)) {
            // The cause is left before the exchange can fail, so that whoever sees it fail finds the cause.
            result.0.replace(Some(error));
            let _ = pieces.send(Err(io::ErrorKind::InvalidData.into())).await;
        }
    });
    let stream = stream::poll_fn(move |context| receiver.poll_recv(context));
    (RequestBody::stream(stream, declared), upload)
}

async fn pass_pieces(
    mut payload: Payload,
    limit: usize,
    pieces: &mpsc::Sender<io::Result<Bytes>>,
) -> Result<(), BodyError> {
    let mut passed = 0;
    while let Some(piece) = payload.next().await {
        let piece = piece?;
        passed += piece.len();
        if passed > limit {
            return Err(BodyError::TooLarge(limit));
        }
        // A closed channel ends the task from outside.
        let _ = pieces.send(Ok(piece)).await;
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::{
        pin::Pin,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use actix_web::http::header::HeaderValue;
    use futures_util::stream;

    use super::*;

    type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>;

    fn read(length: Option<&'static str>, pieces: Pieces) -> Result<Bytes, BodyError> {
        let mut headers = HeaderMap::new();
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static(length));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let mut payload = Payload::from(pieces);
        runtime.block_on(read_body(&headers, &mut payload, 6, Duration::from_secs(5)))
    }

    fn pieces(pieces: &[&'static str]) -> Pieces {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok(Bytes::from_static(piece.as_bytes())))
            .collect();
        Box::pin(stream::iter(pieces))
    }

    #[test]
    fn bodies_up_to_the_limit_are_read() {
        let check = |length, given: &[&'static str], expected: &'static str| {
            assert_eq!(read(length, pieces(given)).unwrap(), expected);
        };
        check(None, &[], "");
        check(Some("3"), &["abc"], "abc");
        check(Some("6"), &["abc", "def"], "abcdef");
        check(None, &["a", "", "bcdef"], "abcdef");
    }

    #[test]
    fn larger_ones_are_refused_declared_or_counted() {
        let check = |length, given: &[&'static str]| {
            assert!(matches!(
                read(length, pieces(given)),
                Err(BodyError::TooLarge(6))
            ));
        };
        check(Some("7"), &[]);
        check(None, &["abcdefg"]);
        check(None, &["abc", "defg"]);
        check(Some("2"), &["abc", "defg"]);
    }

    #[test]
    fn a_body_that_nobody_reads_is_dropped_as_far_as_it_is_here() {
        let check = |given: &[&'static str], limit: usize, left: Option<&'static str>| {
            let mut payload = Payload::from(pieces(given));
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            let next = runtime.block_on(async {
                drop_body(&mut payload, limit).await;
                payload.next().await
            });
            assert_eq!(next.map(Result::unwrap), left.map(Bytes::from));
        };
        check(&[], 10, None);
        check(&["abc", "def"], 10, None);
        check(&["abc", "def", "ghi"], 4, Some("ghi"));
        let waiting = stream::pending();
        let mut waiting = Payload::from(Box::pin(waiting) as Pieces);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(drop_body(&mut waiting, 10));
    }

    #[test]
    fn nobody_is_woken_for_a_second_look_that_comes_by_itself() {
        #[derive(Default)]
        struct Woken(AtomicUsize);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        // The body comes after the handler was polled for the first time; then the server polls it again, or does not.
        let check = |is_watched: bool, polls_again: bool, expected: usize| {
            let here = Rc::new(Cell::new(false));
            let came = Rc::clone(&here);
            let body = stream::poll_fn(move |_| match came.take() {
                true => Poll::Ready(Some(Ok(Bytes::from_static(b"abc")))),
                false => Poll::Pending,
            });
            let mut payload = Payload::from(Box::pin(body) as Pieces);
            let mut handler = Box::pin(async move { first_at_hand(&mut payload).await });
            let connection = poll_fn(move |context| {
                let first = handler.as_mut().poll(context);
                here.set(true);
                if first.is_pending() && polls_again {
                    return handler.as_mut().poll(context);
                }
                first
            });
            let mut connection: Pin<Box<dyn Future<Output = _>>> = match is_watched {
                true => Box::pin(second_looks(connection)),
                false => Box::pin(connection),
            };
            let woken = Arc::new(Woken::default());
            let waker = Waker::from(Arc::clone(&woken));
            let first = connection.as_mut().poll(&mut Context::from_waker(&waker));
            assert_eq!(first.is_ready(), polls_again);
            assert_eq!(woken.0.load(Ordering::Relaxed), expected);
            assert_eq!(LOOK.get(), Look::Unwatched);
        };
        check(true, true, 0);
        check(true, false, 1);
        check(false, true, 1);
        check(false, false, 1);
    }

    #[test]
    fn a_body_that_stalls_or_breaks_is_refused() {
        let stalled = pieces(&["abc"]).chain(stream::pending());
        assert!(matches!(
            read(None, Box::pin(stalled)),
            Err(BodyError::TimedOut)
        ));
        let broken = stream::iter([Err(PayloadError::Incomplete(None))]);
        assert!(matches!(
            read(None, Box::pin(broken)),
            Err(BodyError::Broken(_))
        ));
    }
}
