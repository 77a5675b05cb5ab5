//! Streams that end with the trust under which they began.
//!
//! Whoever is removed, suspended, or may do other things than before must not go on listening to what was begun. A call
//! that answers at once has answered before anybody could object.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::header::CONTENT_TYPE;
use bytes::Bytes;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::federation::peers::Cut;

const CUT: &[u8] =
    b": cut off, what the operator says about this peer has changed; come again to go on\n\n";

/// The answer, which ends when the signal fires, if it is a stream of events. Other answers stay as they are.
pub(super) fn ending_with(answer: HttpResponse, cut: Option<&Cut>) -> HttpResponse {
    let Some(cut) = cut.filter(|_| is_event_stream(&answer)) else {
        return answer;
    };
    let cut = Box::pin(cut.token().cancelled_owned());
    answer.map_body(|_, body| {
        BoxBody::new(CutBody {
            body,
            cut,
            is_between_events: true,
            is_over: false,
        })
    })
}

fn is_event_stream(answer: &HttpResponse) -> bool {
    let declared = answer.headers().get(CONTENT_TYPE);
    declared.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

struct CutBody {
    body: BoxBody,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// In the middle of an event a comment would make half of it look whole.
    is_between_events: bool,
    is_over: bool,
}

impl MessageBody for CutBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        // The signal first: a stream that always has something to say ends as well.
        if self.cut.as_mut().poll(context).is_ready() {
            self.is_over = true;
            let last = self.is_between_events.then(|| Ok(Bytes::from_static(CUT)));
            return Poll::Ready(last);
        }
        let next = self.body.as_pin_mut().poll_next(context);
        if let Poll::Ready(Some(Ok(piece))) = &next {
            self.is_between_events = piece.ends_with(b"\n\n") || piece.ends_with(b"\r\n\r\n");
        }
        next
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use actix_web::body::to_bytes;
    use futures_util::stream;

    use super::*;

    /// What is read of a stream that was cut after these pieces.
    async fn check(kind: &str, pieces: &[&'static str], expected: &str) {
        let cut = Cut::default();
        let fired = cut.clone();
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Bytes::from_static(piece.as_bytes()))
            .collect();
        let last = stream::once(async move {
            fired.fire();
            std::future::pending::<Result<Bytes, actix_web::Error>>().await
        });
        let answer =
            HttpResponse::Ok()
                .content_type(kind)
                .streaming(futures_util::StreamExt::chain(
                    stream::iter(pieces.into_iter().map(Ok)),
                    last,
                ));
        let answer = ending_with(answer, Some(&cut));
        let read = to_bytes(answer.into_body()).await.ok().unwrap();
        assert_eq!(read, expected, "{kind}");
    }

    #[actix_rt::test]
    async fn a_stream_that_is_cut_says_so_between_events() {
        let comment = std::str::from_utf8(CUT).unwrap();
        let events = "text/event-stream";
        check(events, &["data: 1\n\n"], &format!("data: 1\n\n{comment}")).await;
        check(events, &[], comment).await;
        check(events, &["data: 1\n\n", "data: ha"], "data: 1\n\ndata: ha").await;
    }

    #[actix_rt::test]
    async fn an_answer_that_is_no_stream_is_left_alone() {
        let cut = Cut::default();
        cut.fire();
        let answer = ending_with(HttpResponse::Ok().json(1), Some(&cut));
        assert_eq!(to_bytes(answer.into_body()).await.ok().unwrap(), "1");
    }
}
