//! The adapter without a broker: what is published comes back, in order, to this process only.

use std::sync::Arc;

use archipel_protocol::envelope::Opened;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::{BusAdapter, BusError, BusMessage, Coming, Received};

/// Events on their way back.
const QUEUE: usize = 4096;

#[derive(Debug)]
struct InProcess {
    coming: mpsc::Sender<Coming>,
}

/// An adapter and what it receives.
pub fn connect() -> (Arc<dyn BusAdapter>, Received) {
    let (coming, mut queue) = mpsc::channel(QUEUE);
    let received = stream::poll_fn(move |context| queue.poll_recv(context)).boxed();
    (Arc::new(InProcess { coming }), received)
}

impl BusAdapter for InProcess {
    fn publish(&self, message: BusMessage) -> BoxFuture<'static, Result<(), BusError>> {
        ready(self.send(Coming::Message(message))).boxed()
    }

    fn tell_inside(&self, said: &Arc<Opened>) -> Option<Result<(), BusError>> {
        Some(self.send(Coming::Inside(Arc::clone(said))))
    }
}

impl InProcess {
    fn send(&self, coming: Coming) -> Result<(), BusError> {
        self.coming.try_send(coming).map_err(|error| match error {
            TrySendError::Full(_) => BusError::Full,
            TrySendError::Closed(_) => BusError::Unavailable,
        })
    }
}
