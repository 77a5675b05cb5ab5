//! What a dead actor means.
//!
//! A panic kills an actor for good. Some are made anew by whoever finds them dead: a task's actor by its hub. The single
//! ones (registry, replay guard, audit, bus, the hub of each worker) are not, because a node that has lost one can no
//! longer keep a promise. Then the node is not ready, and it stops, so that whatever runs it starts a whole one. When it
//! stops, its parts end one after another, and that is no death.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

/// How often actors are looked at.
pub const WATCH_EVERY: Duration = Duration::from_secs(1);

type Alive = Box<dyn Fn() -> bool + Send + Sync>;

/// Whether the node can do its work.
#[derive(Default)]
pub struct Health {
    stopping: AtomicBool,
    /// Bounded by the number of parts of a node; added while the node is built, never removed.
    parts: RwLock<Vec<(&'static str, Alive)>>,
    /// What else must be so for the node to get requests. Bounded as `parts` are.
    needs: RwLock<Vec<(&'static str, Alive)>>,
    /// What the node does without, for a while. Bounded as `parts` are.
    notes: RwLock<Vec<(&'static str, Alive)>>,
    /// The parts that were dead when the node was told to stop.
    died: RwLock<Vec<&'static str>>,
}

impl Health {
    /// Looks after one more part.
    pub fn watch(&self, name: &'static str, alive: impl Fn() -> bool + Send + Sync + 'static) {
        self.parts.write().push((name, Box::new(alive)));
    }

    /// The node gets no requests while this is not so; it goes on all the same.
    pub fn need(&self, name: &'static str, met: impl Fn() -> bool + Send + Sync + 'static) {
        self.needs.write().push((name, Box::new(met)));
    }

    /// People are told when this is not so; the node does its work and gets requests all the same.
    pub fn note(&self, name: &'static str, here: impl Fn() -> bool + Send + Sync + 'static) {
        self.notes.write().push((name, Box::new(here)));
    }

    /// What the node does without now.
    pub fn away(&self) -> Vec<&'static str> {
        let notes = self.notes.read();
        let away = notes.iter().filter(|(_, here)| !here());
        away.map(|(name, _)| *name).collect()
    }

    /// The parts that are dead; of a node that stops, those that were when it was told to.
    pub fn dead(&self) -> Vec<&'static str> {
        if self.stopping.load(Ordering::Relaxed) {
            return self.died.read().clone();
        }
        self.parts
            .read()
            .iter()
            .filter(|(_, alive)| !alive())
            .map(|(name, _)| *name)
            .collect()
    }

    /// Why the node should get no requests; empty when it should.
    pub fn missing(&self) -> Vec<&'static str> {
        let mut missing = self.dead();
        let needs = self.needs.read();
        let unmet = needs.iter().filter(|(_, met)| !met());
        missing.extend(unmet.map(|(name, _)| *name));
        if self.stopping.load(Ordering::Relaxed) {
            missing.push("stopping");
        }
        missing
    }

    /// Everything that is looked after by its name, and whether it is as it should be. What every worker has is one part.
    pub fn all(&self) -> BTreeMap<&'static str, bool> {
        let (parts, needs) = (self.parts.read(), self.needs.read());
        let names = parts.iter().chain(needs.iter()).map(|(name, _)| *name);
        let mut all: BTreeMap<_, _> = names.map(|name| (name, true)).collect();
        all.extend(self.missing().into_iter().map(|name| (name, false)));
        all
    }

    /// From now on the node is about to stop.
    pub fn stop(&self) {
        let died = self.dead();
        *self.died.write() = died;
        self.stopping.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_node_is_ready_as_long_as_all_of_it_lives_and_nobody_stops_it() {
        let health = Health::default();
        let alive = Arc::new(AtomicBool::new(true));
        let heart = Arc::clone(&alive);
        health.watch("audit", move || heart.load(Ordering::Relaxed));
        health.watch("bus", || true);
        let check = |dead: &[&str], missing: &[&str]| {
            assert_eq!(
                (health.dead(), health.missing()),
                (dead.to_vec(), missing.to_vec())
            );
        };
        check(&[], &[]);
        alive.store(false, Ordering::Relaxed);
        check(&["audit"], &["audit"]);
        health.stop();
        check(&["audit"], &["audit", "stopping"]);

        let health = Health::default();
        let alive = Arc::new(AtomicBool::new(true));
        let heart = Arc::clone(&alive);
        health.watch("tasks", move || heart.load(Ordering::Relaxed));
        health.stop();
        alive.store(false, Ordering::Relaxed);
        let found = (health.dead(), health.missing());
        assert_eq!(found, (vec![], vec!["stopping"]), "it ended with the node");
    }
}
