//! Taking a request's body: within its bounds, and with a glance at what it asks for.

use std::{cell::Cell, rc::Rc, time::Duration};

use actix_http::{BoxedPayloadStream, HttpMessage as _, Payload, Request, error::PayloadError};
use archipel_kit::http::{Upload, declared_length, drop_body, forward_body, read_body};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};

use crate::{
    peek::{self, Depth, Glance},
    refusal::{Reason, Refusal},
    upstream::Load,
};

/// A body up to this size is read whole before it is sent on: it usually came in one piece with its head, and costs
/// neither a task nor a channel then, and can be sent again. Larger ones, and those of unknown size, are passed on while
/// they arrive, and only this much of them is looked at.
const READ_WHOLE: usize = 64 * 1024;

/// The bounds of a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) size: usize,
    pub(crate) time: Duration,
    /// How deep its JSON may nest; 0 for any depth.
    pub(crate) depth: usize,
    /// Whether anybody wants to know what it asks for.
    pub(crate) is_looked_at: bool,
}

/// A body on its way.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) load: Load,
    /// Its beginning, where anybody wants to know what it asks for.
    seen: Bytes,
    arriving: Option<Arriving>,
}

/// A body that is passed on while it arrives.
#[derive(Debug)]
pub(crate) struct Arriving {
    upload: Upload,
    is_too_deep: Rc<Cell<bool>>,
}

impl Taken {
    fn whole(bytes: Bytes, seen: Bytes) -> Self {
        Self {
            load: Load::Whole(bytes),
            seen,
            arriving: None,
        }
    }

    /// Takes it apart: what is sent, what was seen of it, and what tells why it broke off.
    pub(crate) fn split(self) -> (Load, Bytes, Option<Arriving>) {
        (self.load, self.seen, self.arriving)
    }
}

impl Arriving {
    /// Why it was not passed on whole, if that is why the exchange failed.
    pub(crate) fn failure(&self) -> Option<Refusal> {
        let cause = self.upload.failure()?;
        if self.is_too_deep.get() {
            return Some(Reason::TooDeep.into());
        }
        Some(cause.into())
    }
}

/// What the beginning of a body tells.
pub(crate) fn glance(seen: &[u8]) -> Glance<'_> {
    peek::request(seen)
}

/// Takes what has come of a body that is refused unread, so that a client which is denied keeps its connection: making
/// another would cost both sides more than the refusal does.
pub(crate) async fn refuse(request: &mut Request) {
    let is_small = declared_length(request.headers()).is_some_and(|size| size <= READ_WHOLE as u64);
    if is_small {
        drop_body(&mut request.take_payload(), READ_WHOLE).await;
    }
}

/// Takes a body within its bounds.
pub(crate) async fn take(request: &mut Request, bounds: Bounds) -> Result<Taken, Refusal> {
    let declared = declared_length(request.headers());
    let is_chunked = request.chunked().unwrap_or(false);
    // HTTP/2 needs no length: there a body is known by its frames alone.
    let may_have_one = is_chunked || request.version() == actix_http::Version::HTTP_2;
    let mut payload = request.take_payload();
    match declared {
        None if !may_have_one => Ok(Taken::whole(Bytes::new(), Bytes::new())),
        Some(length) if length <= READ_WHOLE as u64 => {
            let headers = request.headers();
            let bytes = read_body(headers, &mut payload, bounds.size, bounds.time).await?;
            if bounds.depth > 0 && !Depth::admits_all(&bytes, bounds.depth) {
                return Err(Reason::TooDeep.into());
            }
            let seen = if bounds.is_looked_at {
                bytes.clone()
            } else {
                Bytes::new()
            };
            Ok(Taken::whole(bytes, seen))
        }
        _ => pass_on(payload, declared, bounds).await,
    }
}

async fn pass_on(
    mut payload: Payload,
    declared: Option<u64>,
    bounds: Bounds,
) -> Result<Taken, Refusal> {
    let beginning = if bounds.is_looked_at {
        let beginning = tokio::time::timeout(bounds.time, read_beginning(&mut payload));
        let beginning = beginning.await.map_err(|_| Reason::BodyTimeout)?;
        beginning.map_err(|_| Reason::BrokenBody)?
    } else {
        Bytes::new()
    };
    let seen = beginning.clone();
    let is_too_deep = Rc::new(Cell::new(false));
    let tell = Rc::clone(&is_too_deep);
    let mut depth = Depth::default();
    let first = stream::iter((!beginning.is_empty()).then_some(Ok(beginning)));
    let pieces = first.chain(payload).map(move |piece| {
        let piece = piece?;
        if bounds.depth > 0 && !depth.admits(&piece, bounds.depth) {
            tell.set(true);
            return Err(PayloadError::EncodingCorrupted);
        }
        Ok(piece)
    });
    let pieces: BoxedPayloadStream = Box::pin(pieces);
    let (body, upload) = forward_body(pieces.into(), declared, bounds.size, bounds.time);
    Ok(Taken {
        load: Load::Arriving(body),
        seen,
        arriving: Some(Arriving {
            upload,
            is_too_deep,
        }),
    })
}

/// As much of a body as is looked at, or all of it when it is shorter.
async fn read_beginning(payload: &mut Payload) -> Result<Bytes, PayloadError> {
    let mut beginning = BytesMut::new();
    while beginning.len() < READ_WHOLE {
        match payload.next().await {
            Some(piece) => beginning.extend_from_slice(&piece?),
            None => break,
        }
    }
    Ok(beginning.freeze())
}
