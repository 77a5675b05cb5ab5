//! The adapter without a broker: what is published comes back, in order, to this process only. Events of the node itself
//! need not go this way.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::{BusAdapter, BusError, BusMessage, Received, Told};

/// Messages on their way back.
const QUEUE: usize = 4096;

#[derive(Debug)]
struct InProcess {
    messages: mpsc::Sender<BusMessage>,
}

/// An adapter and what it receives.
pub fn connect() -> (Arc<dyn BusAdapter>, Received) {
    let (messages, mut queue) = mpsc::channel(QUEUE);
    let received = stream::poll_fn(move |context| queue.poll_recv(context)).boxed();
    (Arc::new(InProcess { messages }), received)
}

impl BusAdapter for InProcess {
    fn publish(&self, message: BusMessage, told: Told) {
        let sent = self.messages.try_send(message);
        told(sent.map_err(|error| match error {
            TrySendError::Full(_) => BusError::Full,
            TrySendError::Closed(_) => BusError::Unavailable,
        }));
    }

    fn is_inside(&self) -> bool {
        true
    }
}
