//! What is sent, and what comes back piece by piece.

use std::{
    any::Any,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::body::{BodySize, MessageBody};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{ClientError, plain::Arriving};

type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// The body of a request.
pub struct RequestBody(Kind);

enum Kind {
    /// Everything is here; sent with its length.
    Full(Bytes),
    /// Sent as it comes; with a length when it was declared, else chunked.
    Stream {
        stream: ByteStream,
        length: Option<u64>,
    },
}

impl RequestBody {
    /// No body.
    pub const fn empty() -> Self {
        Self(Kind::Full(Bytes::new()))
    }

    /// A body that is sent as it comes. `length`, when given, must be exact. An error of the stream aborts the
    /// exchange, so that the server never takes a part for the whole.
    pub fn stream(
        stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        length: Option<u64>,
    ) -> Self {
        Self(Kind::Stream {
            stream: Box::pin(stream),
            length,
        })
    }
}

impl<B: Into<Bytes>> From<B> for RequestBody {
    fn from(bytes: B) -> Self {
        Self(Kind::Full(bytes.into()))
    }
}

impl std::fmt::Debug for RequestBody {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_tuple("RequestBody")
            .field(&self.size_hint().exact())
            .finish()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.get_mut().0 {
            Kind::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Stream { stream, .. } => stream
                .poll_next_unpin(context)
                .map(|next| next.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Kind::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream {
                length: Some(length),
                ..
            } => SizeHint::with_exact(*length),
            Kind::Stream { length: None, .. } => SizeHint::default(),
        }
    }
}

/// The body of an answer, as it arrives: a stream of pieces, and a body that an actix response can carry as it is.
///
/// Trailers are dropped. Dropping it before its end closes the exchange with the server.
#[derive(Debug)]
pub struct AnswerBody {
    source: Source,
    idle: Option<Duration>,
    deadline: Option<Instant>,
    /// The earlier of the idle limit and the deadline; made at the first wait, as most answers arrive whole.
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the timer runs for the present wait.
    waiting: bool,
    /// What lasts as long as the answer. Boxed twice, so that the many bodies that hold nothing stay small.
    held: Option<Box<Box<dyn Any + Send>>>,
}

/// Where the pieces come from.
#[derive(Debug)]
enum Source {
    Plain(Arriving),
    General(Incoming),
}

impl AnswerBody {
    pub(super) const fn general(
        incoming: Incoming,
        idle: Option<Duration>,
        deadline: Option<Instant>,
    ) -> Self {
        Self::new(Source::General(incoming), idle, deadline)
    }

    pub(super) const fn plain(
        arriving: Arriving,
        idle: Option<Duration>,
        deadline: Option<Instant>,
    ) -> Self {
        Self::new(Source::Plain(arriving), idle, deadline)
    }

    const fn new(source: Source, idle: Option<Duration>, deadline: Option<Instant>) -> Self {
        Self {
            source,
            idle,
            deadline,
            timer: None,
            waiting: false,
            held: None,
        }
    }

    /// Keeps something until the body is over or dropped, in place of what it kept before.
    pub fn hold(&mut self, what: impl Send + 'static) {
        self.held = Some(Box::new(Box::new(what)));
    }

    /// The number of bytes still to come, where the server declared it.
    pub fn exact_length(&self) -> Option<u64> {
        match &self.source {
            Source::Plain(arriving) => arriving.exact_length(),
            Source::General(incoming) => incoming.size_hint().exact(),
        }
    }

    /// Reads everything; see [`Answer::read_all`](super::Answer::read_all).
    ///
    /// # Errors
    /// [`ClientError::TooLarge`] past `limit` bytes, else what broke the body.
    pub async fn read_all(mut self, limit: usize) -> Result<Bytes, ClientError> {
        if self
            .exact_length()
            .is_some_and(|length| length > limit as u64)
        {
            return Err(ClientError::TooLarge(limit));
        }
        let Some(first) = self.next().await.transpose()? else {
            return Ok(Bytes::new());
        };
        if first.len() > limit {
            return Err(ClientError::TooLarge(limit));
        }
        // Most bodies are one piece, and that piece is handed on without a copy.
        let Some(second) = self.next().await.transpose()? else {
            return Ok(first);
        };
        let mut whole = BytesMut::from(first);
        let mut piece = Some(second);
        while let Some(bytes) = piece {
            if whole.len() + bytes.len() > limit {
                return Err(ClientError::TooLarge(limit));
            }
            whole.extend_from_slice(&bytes);
            piece = self.next().await.transpose()?;
        }
        Ok(whole.freeze())
    }

    /// Waits for the limit that passes first; ready with what its passing means.
    fn poll_limits(&mut self, context: &mut Context<'_>) -> Poll<ClientError> {
        if !self.waiting {
            let silent = self.idle.map(|idle| Instant::now() + idle);
            let Some(first) = [silent, self.deadline].into_iter().flatten().min() else {
                return Poll::Pending;
            };
            self.waiting = true;
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(first),
                None => self.timer = Some(Box::pin(sleep_until(first))),
            }
        }
        let Some(timer) = &mut self.timer else {
            return Poll::Pending;
        };
        ready!(timer.as_mut().poll(context));
        let total = self
            .deadline
            .is_some_and(|deadline| timer.deadline() >= deadline);
        Poll::Ready(if total {
            ClientError::TotalTimeout
        } else {
            ClientError::IdleTimeout
        })
    }
}

impl Stream for AnswerBody {
    type Item = Result<Bytes, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.source.poll_piece(context) {
            Poll::Pending => self.poll_limits(context).map(|error| Some(Err(error))),
            piece => {
                self.waiting = false;
                if matches!(piece, Poll::Ready(None)) {
                    self.held = None;
                }
                piece
            }
        }
    }
}

impl Source {
    fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, ClientError>>> {
        let incoming = match self {
            Self::Plain(arriving) => return arriving.poll_piece(context),
            Self::General(incoming) => incoming,
        };
        loop {
            match ready!(Pin::new(&mut *incoming).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Some(Err(error)) => {
                    return Poll::Ready(Some(Err(ClientError::Other(super::chain(&error)))));
                }
                None => return Poll::Ready(None),
            }
        }
    }
}

impl MessageBody for AnswerBody {
    type Error = ClientError;

    fn size(&self) -> BodySize {
        self.exact_length()
            .map_or(BodySize::Stream, BodySize::Sized)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, ClientError>>> {
        Stream::poll_next(self, context)
    }
}
