//! The line without a broker: a queue in this process that gives out again what nobody settled.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::{DeadLetter, Delivery, Letter, LineError, LineRules, PULL_PATIENCE, Verdict, WanLine};

#[derive(Debug)]
pub(crate) struct InProcessLine {
    rules: LineRules,
    held: Mutex<Held>,
    /// Told when something may be due earlier than was known.
    stirred: Notify,
}

#[derive(Debug, Default)]
struct Held {
    /// Nothing gets through while it is cut.
    cut: bool,
    last: u64,
    letters: BTreeMap<u64, Row>,
    /// Of all letters there ever were: its window never ends.
    message_ids: BTreeSet<String>,
    last_dead: u64,
    dead: BTreeMap<u64, DeadLetter>,
}

#[derive(Debug)]
struct Row {
    letter: Letter,
    attempt: u64,
    due: Instant,
}

impl InProcessLine {
    pub(crate) fn new(rules: LineRules) -> Self {
        Self {
            rules,
            held: Mutex::default(),
            stirred: Notify::new(),
        }
    }

    /// Cuts the line, or joins it again.
    pub(crate) fn cut(&self, cut: bool) {
        self.held.lock().cut = cut;
    }

    /// Letters that nobody has settled for good.
    pub(crate) fn open(&self) -> usize {
        self.held.lock().letters.len()
    }

    fn whole(&self) -> Result<parking_lot::MutexGuard<'_, Held>, LineError> {
        let held = self.held.lock();
        if held.cut {
            return Err(LineError::Unavailable("it is cut".to_owned()));
        }
        Ok(held)
    }
}

#[async_trait]
impl WanLine for InProcessLine {
    async fn publish(&self, letters: Vec<Letter>) -> Vec<Result<(), LineError>> {
        let mut answers = Vec::with_capacity(letters.len());
        for letter in letters {
            answers.push(self.whole().map(|mut held| held.add(letter)));
        }
        self.stirred.notify_waiters();
        answers
    }

    async fn pull(&self, most: usize) -> Result<Vec<Delivery>, LineError> {
        let end = Instant::now() + PULL_PATIENCE;
        loop {
            let stirred = self.stirred.notified();
            let (due, next) = {
                let mut held = self.whole()?;
                (held.due(most, &self.rules), held.next_due())
            };
            let now = Instant::now();
            if !due.is_empty() || now >= end {
                return Ok(due);
            }
            let wake = next.map_or(end, |next| next.min(end));
            // Woken or not, what is due is looked at again.
            let _ = timeout_at(wake, stirred).await;
        }
    }

    async fn settle(&self, delivery: &Delivery, verdict: Verdict) -> Result<(), LineError> {
        let mut held = self.whole()?;
        held.settle(delivery, verdict, &self.rules);
        self.stirred.notify_waiters();
        Ok(())
    }

    async fn dead(&self, after: u64, limit: usize) -> Result<Vec<DeadLetter>, LineError> {
        let held = self.whole()?;
        let later = held.dead.range(after.saturating_add(1)..);
        Ok(later.take(limit).map(|(_, dead)| dead.clone()).collect())
    }

    async fn dead_letter(&self, sequence: u64) -> Result<Option<DeadLetter>, LineError> {
        Ok(self.whole()?.dead.get(&sequence).cloned())
    }

    async fn again(&self, sequence: u64) -> Result<bool, LineError> {
        let mut held = self.whole()?;
        let Some(dead) = held.dead.remove(&sequence) else {
            return Ok(false);
        };
        held.add(Letter {
            message_id: format!("again:{sequence}"),
            body: dead.body,
            headers: dead.headers,
        });
        self.stirred.notify_waiters();
        Ok(true)
    }

    async fn drop_dead(&self, sequence: u64) -> Result<bool, LineError> {
        Ok(self.whole()?.dead.remove(&sequence).is_some())
    }
}

impl Held {
    fn add(&mut self, letter: Letter) {
        if !self.message_ids.insert(letter.message_id.clone()) {
            return;
        }
        self.last += 1;
        let row = Row {
            letter,
            attempt: 0,
            due: Instant::now(),
        };
        self.letters.insert(self.last, row);
    }

    fn due(&mut self, most: usize, rules: &LineRules) -> Vec<Delivery> {
        let now = Instant::now();
        let due = self.letters.iter().filter(|(_, row)| row.due <= now);
        let due: Vec<u64> = due.map(|(sequence, _)| *sequence).take(most).collect();
        let mut deliveries = Vec::with_capacity(due.len());
        for sequence in due {
            let Some(row) = self.letters.get_mut(&sequence) else {
                continue;
            };
            if row.attempt >= rules.attempts {
                self.bury(sequence, rules.worn_out());
                continue;
            }
            row.attempt += 1;
            row.due = now + rules.settle_within;
            deliveries.push(Delivery {
                message_id: Some(row.letter.message_id.clone()),
                body: row.letter.body.clone(),
                headers: row.letter.headers.clone(),
                attempt: row.attempt,
                sequence,
                handle: Box::default(),
            });
        }
        deliveries
    }

    fn next_due(&self) -> Option<Instant> {
        self.letters.values().map(|row| row.due).min()
    }

    fn settle(&mut self, delivery: &Delivery, verdict: Verdict, rules: &LineRules) {
        let sequence = delivery.sequence;
        let wait = |row: Option<&mut Row>, time: Duration| {
            if let Some(row) = row {
                row.due = Instant::now() + time;
            }
        };
        match verdict {
            Verdict::Done => drop(self.letters.remove(&sequence)),
            Verdict::Later(_) if delivery.attempt >= rules.attempts => {
                self.bury(sequence, rules.worn_out());
            }
            Verdict::Later(time) => wait(self.letters.get_mut(&sequence), time),
            Verdict::StillWorking => wait(self.letters.get_mut(&sequence), rules.settle_within),
            Verdict::Never(reason) => self.bury(sequence, reason),
        }
    }

    fn bury(&mut self, sequence: u64, reason: String) {
        let Some(Row { letter, .. }) = self.letters.remove(&sequence) else {
            return;
        };
        self.last_dead += 1;
        let dead = DeadLetter {
            sequence: self.last_dead,
            line_sequence: sequence,
            reason,
            // It knows no wall clock.
            died_ms: 0,
            message_id: Some(letter.message_id),
            body: letter.body,
            headers: letter.headers,
        };
        self.dead.insert(self.last_dead, dead);
    }
}
