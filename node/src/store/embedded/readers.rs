//! Threads that read, each with a connection of its own, so that no worker waits for the disk.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::OpenError;
use super::schema::open_reader;
use crate::store::StoreError;

/// Reads are rare (a task comes back from the store, a page of the audit): two never starve one another.
const THREADS: usize = 2;
/// Questions that may wait; whoever comes then waits for a place.
const QUEUE: usize = 1024;

type Question = Box<dyn FnOnce(&Connection) + Send>;

#[derive(Debug)]
pub(super) struct Readers {
    questions: mpsc::Sender<Question>,
}

impl Readers {
    pub(super) fn start(path: &Path) -> Result<Self, OpenError> {
        let (sender, queue) = mpsc::channel(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for number in 1..=THREADS {
            let connection = open_reader(path)?;
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name(format!("store-reader-{number}"))
                .spawn(move || serve(&connection, &queue))?;
        }
        Ok(Self { questions: sender })
    }

    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let question = Box::new(move |connection: &Connection| {
            // Nobody listens any more: nothing to do.
            let _ = reply.send(question(connection));
        });
        self.questions
            .send(question)
            .await
            .map_err(|_| StoreError::Unavailable)?;
        answer.await.map_err(|_| StoreError::Unavailable)?
    }
}

/// One thread waits for a question, the others for its place; the lock is not held while reading.
fn serve(connection: &Connection, queue: &Mutex<mpsc::Receiver<Question>>) {
    loop {
        let question = queue.lock().blocking_recv();
        match question {
            Some(question) => question(connection),
            None => return,
        }
    }
}
