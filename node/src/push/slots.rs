//! How many deliveries are under way at once: so many for all receivers together, and fewer for one host, so that one that
//! is slow or dead does not take the room of the others.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Hosts after which those that nobody is busy with are forgotten.
const HOSTS: usize = 256;

/// The room there is. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    all: Arc<Semaphore>,
    per_host: usize,
    /// Bounded by the lanes that wait for a slot or have one, and [`HOSTS`] beside them.
    hosts: Rc<RefCell<HashMap<String, Weak<Semaphore>>>>,
}

/// Room for one delivery, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    _of_host: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Slots {
    pub(super) fn new(all: usize, per_host: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all)),
            per_host,
            hosts: Rc::default(),
        }
    }

    /// Waits for room; in order for one host. `None` never happens, since nobody closes the semaphores.
    pub(super) async fn take(&self, host: &str) -> Option<Slot> {
        // The host's first: whoever waits for a busy host must not hold room that others could use.
        let of_host = self.host(host).acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Slot {
            _of_host: of_host,
            _of_all: of_all,
        })
    }

    fn host(&self, host: &str) -> Arc<Semaphore> {
        let mut hosts = self.hosts.borrow_mut();
        if let Some(known) = hosts.get(host).and_then(Weak::upgrade) {
            return known;
        }
        if hosts.len() >= HOSTS {
            hosts.retain(|_, semaphore| semaphore.strong_count() > 0);
        }
        let semaphore = Arc::new(Semaphore::new(self.per_host));
        hosts.insert(host.to_owned(), Arc::downgrade(&semaphore));
        semaphore
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_busy_host_leaves_room_for_others() {
        let slots = Slots::new(3, 2);
        let first = slots.take("a").await.unwrap();
        let _second = slots.take("a").await.unwrap();
        assert!(slots.take("a").now_or_never().is_none());
        let third = slots.take("b").await.unwrap();
        assert!(slots.take("c").now_or_never().is_none(), "all are taken");
        drop(third);
        assert!(slots.take("a").now_or_never().is_none());
        drop(first);
        assert!(slots.take("a").now_or_never().is_some());
    }

    #[tokio::test]
    async fn hosts_that_nobody_is_busy_with_are_forgotten() {
        let slots = Slots::new(3, 2);
        for number in 0..10 * HOSTS {
            slots.take(&number.to_string()).await.unwrap();
        }
        assert!(slots.hosts.borrow().len() <= HOSTS);
    }
}
