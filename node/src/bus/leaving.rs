//! Messages on their way to a broker: a bounded queue in the order in which they came, each with whoever is told of it.

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::{BusAdapter, BusError, BusMessage, Told};

/// Messages that wait to leave.
const QUEUE: usize = 4096;
/// Messages that leave at once.
const BATCH: usize = 256;

/// Where messages are put that are to leave: the whole of an adapter whose messages somebody else sends.
#[derive(Debug)]
pub(crate) struct Door(mpsc::Sender<Leaving>);

/// What waits behind a door.
pub(crate) struct Queue(mpsc::Receiver<Leaving>);

pub(crate) struct Leaving {
    pub(crate) message: BusMessage,
    told: Told,
}

/// A door and the queue behind it.
pub(crate) fn open() -> (Door, Queue) {
    let (put, queue) = mpsc::channel(QUEUE);
    (Door(put), Queue(queue))
}

impl BusAdapter for Door {
    fn publish(&self, message: BusMessage, told: Told) {
        let (leaving, error) = match self.0.try_send(Leaving { message, told }) {
            Ok(()) => return,
            Err(TrySendError::Full(leaving)) => (leaving, BusError::Full),
            Err(TrySendError::Closed(leaving)) => (leaving, BusError::Unavailable),
        };
        leaving.tell(Err(error));
    }
}

impl Queue {
    /// Waits for the next ones and puts them into `batch`; false when the door is gone.
    pub(crate) async fn next(&mut self, batch: &mut Vec<Leaving>) -> bool {
        self.0.recv_many(batch, BATCH).await > 0
    }
}

impl Leaving {
    pub(crate) fn tell(self, answer: Result<(), BusError>) {
        (self.told)(answer);
    }
}
