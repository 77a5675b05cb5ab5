//! The node's answer on its way back to the client.

use std::{
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use actix_web::{
    HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    http::{
        StatusCode,
        header::{HeaderValue, X_CONTENT_TYPE_OPTIONS},
    },
};
use archipel_kit::client::{Answer, AnswerBody, ClientError, copy_end_to_end};
use bytes::Bytes;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::{
    metrics::{GatewayMetrics, UpstreamFailure},
    state::Shared,
};

/// Makes the response that carries an answer on: its status, its end-to-end headers, and its body piece by piece.
pub(crate) fn respond(answer: Answer, passage: Passage) -> HttpResponse {
    // A status beyond 999 cannot be expressed, and nothing below 100 gets here.
    let status = StatusCode::from_u16(answer.status.as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    let is_stream = answer
        .headers
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    let Passage(shared) = &passage;
    let nosniff = shared.settings.security_headers;
    let body = PassedBody {
        inner: answer.body,
        // Only event streams are ended by a drain: they may never end by themselves, and clients resume them.
        end: is_stream.then(|| Box::pin(shared.draining.clone().cancelled_owned())),
        passage,
    };
    let mut response = HttpResponse::with_body(status, BoxBody::new(body));
    copy_end_to_end(&answer.headers, response.headers_mut());
    if nosniff {
        response
            .headers_mut()
            .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    response
}

/// One request under way; counted while it exists.
#[derive(Debug)]
pub(crate) struct Passage(Arc<Shared>);

impl Passage {
    pub(crate) fn enter(shared: &Arc<Shared>) -> Self {
        shared.metrics.in_flight.add(1, ());
        Self(Arc::clone(shared))
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.0.metrics.in_flight.add(-1, ());
    }
}

/// The body of an answer. Each piece is passed on when it comes; dropping it (the client left) closes the exchange.
struct PassedBody {
    inner: AnswerBody,
    end: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    passage: Passage,
}

impl MessageBody for PassedBody {
    type Error = ClientError;

    fn size(&self) -> BodySize {
        MessageBody::size(&self.inner)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
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
                count_failure(&self.passage.0.metrics, error);
                next
            }
            Poll::Ready(_) => next,
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
