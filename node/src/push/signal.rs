//! How tasks say that there is something to tell.
//!
//! A task whose events nobody asked for costs one look at a number. What is said here may get lost: the store knows what
//! was not told, and the notifier looks there by itself from time to time.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::prelude::*;
use parking_lot::RwLock;
use uuid::Uuid;

/// There is something to tell of this task, perhaps.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Wake {
    /// Which task.
    pub task: Uuid,
    /// Its webhooks may be others than a moment ago.
    pub changed: bool,
}

/// The way to the notifier.
#[derive(Clone)]
pub struct PushSignal {
    watched: Arc<Watched>,
    /// `None` in tests that are about other things.
    notifier: Option<Recipient<Wake>>,
}

/// Tasks with webhooks that are to be told more. Bounded by the number of such tasks that are kept; the notifier takes out
/// those that have been told everything.
#[derive(Debug, Default)]
pub struct Watched {
    tasks: RwLock<HashSet<Uuid>>,
    /// How many they are, so that a node without webhooks never takes the lock.
    count: AtomicUsize,
}

impl PushSignal {
    /// The way to `notifier`, which keeps `watched` small.
    pub fn new(watched: Arc<Watched>, notifier: Recipient<Wake>) -> Self {
        Self {
            watched,
            notifier: Some(notifier),
        }
    }

    /// A way to nowhere.
    #[cfg(test)]
    pub fn unheard() -> Self {
        Self {
            watched: Arc::default(),
            notifier: None,
        }
    }

    /// A webhook of the task is kept.
    pub fn registered(&self, task: Uuid) {
        self.watched.add(task);
        self.send(Wake {
            task,
            changed: true,
        });
    }

    /// Events of the task are kept.
    pub fn kept(&self, task: Uuid) {
        if self.watched.has(task) {
            self.send(Wake {
                task,
                changed: false,
            });
        }
    }

    /// Events of the task are kept, and whether it has webhooks is not known here: it was not in memory.
    pub fn kept_of_unknown(&self, task: Uuid) {
        self.watched.add(task);
        self.kept(task);
    }

    fn send(&self, wake: Wake) {
        // A full mailbox loses nothing: the notifier finds the task in the store.
        if let Some(notifier) = &self.notifier {
            let _later = notifier.try_send(wake);
        }
    }
}

impl Watched {
    fn has(&self, task: Uuid) -> bool {
        self.count.load(Ordering::Relaxed) > 0 && self.tasks.read().contains(&task)
    }

    /// Adds a task.
    pub fn add(&self, task: Uuid) {
        let mut tasks = self.tasks.write();
        tasks.insert(task);
        self.count.store(tasks.len(), Ordering::Relaxed);
    }

    /// Takes a task out.
    pub fn remove(&self, task: Uuid) {
        let mut tasks = self.tasks.write();
        tasks.remove(&task);
        self.count.store(tasks.len(), Ordering::Relaxed);
    }
}

impl fmt::Debug for PushSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PushSignal")
    }
}
