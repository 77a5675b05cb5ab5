//! Log lines on their way to standard error.
//!
//! A worker that writes to a full pipe stops serving. So lines go through a bounded queue to a thread of their own;
//! when the queue is full they are dropped, and the thread says how many.

use std::{
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait.
const QUEUE: usize = 8192;

enum Job {
    Line(Vec<u8>),
    /// Answered when everything queued before it is written.
    Flush(SyncSender<()>),
}

/// The writing end; clones write to the same queue.
#[derive(Debug, Clone)]
pub(super) struct LogWriter {
    jobs: SyncSender<Job>,
    dropped: Arc<AtomicU64>,
}

impl LogWriter {
    /// Starts the thread; it ends when the last writer is dropped.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&dropped);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_lines(&queue, &seen))?;
        Ok(Self { jobs, dropped })
    }

    /// Waits until what was logged before is written, at most a second.
    pub(super) fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.jobs.try_send(Job::Flush(done)).is_ok() {
            let _ = written.recv_timeout(Duration::from_secs(1));
        }
    }
}

impl io::Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.jobs.try_send(Job::Line(line.to_vec())) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn write_lines(queue: &Receiver<Job>, dropped: &AtomicU64) {
    let mut out = io::stderr();
    while let Ok(job) = queue.recv() {
        let lost = dropped.swap(0, Ordering::Relaxed);
        // Nobody can be told that standard error itself is gone.
        if lost > 0 {
            let _ = writeln!(
                out,
                "{lost} log lines dropped: standard error is slower than the log"
            );
        }
        match job {
            Job::Line(line) => drop(out.write_all(&line)),
            Job::Flush(done) => drop(done.try_send(())),
        }
    }
}
