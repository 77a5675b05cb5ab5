//! How the write-ahead log goes back into the file without the writer waiting for it.
//!
//! A thread copies pages back while the writer appends ([`start`]). Under steady load it never catches up completely, so
//! SQLite would never reuse the log from its beginning and it would grow for ever. Once the log is long, the thread says so
//! ([`Checkpointer::is_due`]) and the writer copies the short rest itself between two batches ([`copy_back`]).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use rusqlite::Connection;

use super::OpenError;

/// Pages in the log from which on the writer finishes a checkpoint: 32 MiB.
const LONG_LOG: i64 = 8192;

/// The writer's end.
pub(super) struct Checkpointer {
    wake: SyncSender<()>,
    due: Arc<AtomicBool>,
}

pub(super) fn start(path: &Path) -> Result<Checkpointer, OpenError> {
    let connection = Connection::open(path)?;
    let (wake, woken) = sync_channel(1);
    let due = Arc::new(AtomicBool::new(false));
    let report = Arc::clone(&due);
    thread::Builder::new()
        .name("store-checkpoint".to_owned())
        .spawn(move || run(&connection, &woken, &report))?;
    Ok(Checkpointer { wake, due })
}

impl Checkpointer {
    /// Asks for a checkpoint; if one is asked for already, once is enough.
    pub(super) fn wake(&self) {
        let _ = self.wake.try_send(());
    }

    /// Whether the writer should call [`copy_back`] now; true once per report.
    pub(super) fn is_due(&self) -> bool {
        self.due.load(Ordering::Relaxed) && self.due.swap(false, Ordering::Relaxed)
    }
}

/// Copies what the log holds into the file, as far as nobody still reads older pages; how many pages the log has. A failure
/// (a full disk) leaves everything in the log, where it is as safe, and the next checkpoint tries again.
pub(super) fn copy_back(connection: &Connection) -> i64 {
    checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)")
}

/// The same at the end, and the log's room is given back.
pub(super) fn fold_in(connection: &Connection) {
    checkpoint(connection, "PRAGMA wal_checkpoint(TRUNCATE)");
}

fn checkpoint(connection: &Connection, pragma: &str) -> i64 {
    match connection.query_row(pragma, [], |row| row.get(1)) {
        Ok(pages) => pages,
        Err(error) => {
            tracing::warn!(error = %error, "checkpoint of the store failed");
            0
        }
    }
}

fn run(connection: &Connection, woken: &Receiver<()>, due: &AtomicBool) {
    while woken.recv().is_ok() {
        if copy_back(connection) >= LONG_LOG {
            due.store(true, Ordering::Relaxed);
        }
    }
}
