//! The node's answer on its way back to the client.

use std::{
    error::Error as StdError,
    future::Future as _,
    pin::Pin,
    rc::Rc,
    sync::atomic::Ordering,
    task::{Context, Poll},
};

use actix_http::{
    Response,
    body::{BodySize, MessageBody},
    header::CONTENT_TYPE,
};
use archipel_kit::client::{AnswerBody, CarriedAnswer, ClientError};
use bytes::Bytes;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::{
    access::Entry,
    metrics::{GatewayMetrics, UpstreamFailure},
    proxy::Setup,
    server::Place,
    upstream::{Turn, Unanswered},
};

/// Makes the response that carries an answer on: its status, its end-to-end headers, and its body piece by piece.
pub(crate) fn respond(answer: CarriedAnswer, passage: Passage, turn: Turn) -> Response<Outgoing> {
    let is_stream = answer.headers.iter().any(|(name, value)| {
        *name == CONTENT_TYPE && value.as_bytes().starts_with(b"text/event-stream")
    });
    let learns = passage.setup.current.fleet.learns();
    let body = PassedBody {
        inner: answer.body,
        // Only event streams are ended by a drain: they may never end by themselves, and clients resume them.
        end: is_stream.then(|| {
            let draining = passage.setup.shared.draining.clone();
            Box::pin(draining.cancelled_owned())
        }),
        learns,
        turn,
        passage,
    };
    let mut response = Response::with_body(answer.status, Outgoing::Passed(body));
    let headers = response.headers_mut();
    for (name, value) in answer.headers {
        headers.append(name, value);
    }
    response
}

/// One request under way; counted while it exists.
pub(crate) struct Passage {
    setup: Rc<Setup>,
    /// Its place among its client's, where those are bounded.
    _place: Option<Place>,
    /// The line that the access log gets at its end.
    pub(crate) entry: Option<Box<Entry>>,
}

impl Passage {
    pub(crate) fn enter(setup: Rc<Setup>, place: Option<Place>) -> Self {
        setup.shared.in_flight.fetch_add(1, Ordering::Relaxed);
        setup.shared.metrics.in_flight.add(1, ());
        Self {
            setup,
            _place: place,
            entry: None,
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.setup.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.setup.shared.metrics.in_flight.add(-1, ());
    }
}

/// The body of an answer: our own, or one that is passed on.
pub(crate) enum Outgoing {
    Own(Bytes),
    Passed(PassedBody),
}

/// The body of an answer. Each piece is passed on when it comes; dropping it (the client left) closes the exchange.
pub(crate) struct PassedBody {
    inner: AnswerBody,
    end: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// Whether the next piece may tell which task the answer is about.
    learns: bool,
    turn: Turn,
    passage: Passage,
}

impl Outgoing {
    /// The access log's line goes with the body, to be written when that has ended.
    pub(crate) fn log_at_end(&mut self, entry: Box<Entry>) {
        match self {
            Self::Own(bytes) => entry.end(bytes.len() as u64, false),
            Self::Passed(body) => body.passage.entry = Some(entry),
        }
    }

    /// The node that it comes from.
    pub(crate) fn upstream(&self) -> Option<&str> {
        match self {
            Self::Own(_) => None,
            Self::Passed(body) => Some(body.turn.node().name()),
        }
    }
}

impl MessageBody for Outgoing {
    type Error = Box<dyn StdError>;

    fn size(&self) -> BodySize {
        match self {
            Self::Own(bytes) => BodySize::Sized(bytes.len() as u64),
            Self::Passed(body) => MessageBody::size(&body.inner),
        }
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        match self.get_mut() {
            Self::Own(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Own(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            Self::Passed(body) => body
                .poll_piece(context)
                .map(|piece| piece.map(|piece| piece.map_err(Into::into))),
        }
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        match self {
            Self::Own(bytes) => Ok(bytes),
            passed @ Self::Passed(_) => Err(passed),
        }
    }
}

impl PassedBody {
    fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, ClientError>>> {
        let next = MessageBody::poll_next(Pin::new(&mut self.inner), context);
        match &next {
            Poll::Pending => match &mut self.end {
                Some(end) => end.as_mut().poll(context).map(|()| None),
                None => Poll::Pending,
            },
            Poll::Ready(Some(Err(error))) => {
                // The head is gone: the client learns it from a body that breaks off.
                count_failure(&self.passage.setup.shared.metrics, error);
                if let Some(entry) = &mut self.passage.entry {
                    entry.broke_off = true;
                }
                next
            }
            Poll::Ready(Some(Ok(piece))) => {
                if self.learns {
                    self.learns = false;
                    self.passage
                        .setup
                        .current
                        .fleet
                        .learn(piece, self.turn.node());
                }
                if let Some(entry) = &mut self.passage.entry {
                    entry.bytes += piece.len() as u64;
                }
                next
            }
            Poll::Ready(None) => next,
        }
    }
}

/// Counts and logs a failed exchange; once, here or where the answer's head was awaited.
pub(crate) fn count_failure(metrics: &GatewayMetrics, error: &ClientError) {
    let kind = match error {
        error if error.is_timeout() => UpstreamFailure::Timeout,
        ClientError::Connect(_) | ClientError::Refused(_) => UpstreamFailure::Connect,
        _ => UpstreamFailure::Broken,
    };
    metrics.upstream_failures.count(kind);
    tracing::warn!(%error, "exchange with the node failed");
}

/// The same where no node answered.
pub(crate) fn count_unanswered(metrics: &GatewayMetrics, error: &Unanswered) {
    if let Unanswered::Failed(error) = error {
        count_failure(metrics, error);
    }
}
