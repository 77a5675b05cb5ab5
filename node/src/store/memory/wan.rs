//! Envelopes in the memory of the process.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::store::StoreError;
use crate::store::wan::{
    DeadRow, Kept, NewRow, PutTerms, RowName, Settlement, WanRetention, WanRow, WanSide,
    WanStanding, WanStore,
};

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryWan {
    inbox: Mutex<Rows>,
    outbox: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    last: u64,
    rows: BTreeMap<u64, Held>,
    names: HashMap<RowName, u64>,
    /// Of those that wait, by number: when they came.
    waiting: BTreeMap<u64, u64>,
    /// When the first one of each lane may be taken in hand.
    due: BTreeSet<(u64, u64)>,
    lanes: HashMap<RowName, BTreeSet<u64>>,
    dead: BTreeSet<u64>,
    settled: BTreeSet<u64>,
}

#[derive(Debug)]
struct Held {
    names: [Option<RowName>; 2],
    lane: Option<RowName>,
    put_ms: u64,
    due_ms: u64,
    attempts: u32,
    reason: String,
    body: Bytes,
}

impl Rows {
    fn put(&mut self, row: NewRow, terms: PutTerms) -> Kept {
        let names = [Some(row.name), row.message];
        let is_known = |name: &RowName| self.names.contains_key(name);
        if names.iter().flatten().any(is_known) {
            return Kept::Repeated;
        }
        if self.waiting.len() as u64 >= terms.most {
            return Kept::Full;
        }
        self.last += 1;
        let number = self.last;
        for name in names.into_iter().flatten() {
            self.names.insert(name, number);
        }
        let held = Held {
            names,
            lane: row.lane,
            put_ms: terms.now_ms,
            due_ms: terms.due_ms,
            attempts: 0,
            reason: String::new(),
            body: row.body,
        };
        self.rows.insert(number, held);
        let leads = self.wait(number, terms.due_ms);
        Kept::First { number, leads }
    }

    /// A row waits from now on; whether it is the first of its lane.
    fn wait(&mut self, number: u64, due_ms: u64) -> bool {
        let Some(held) = self.rows.get_mut(&number) else {
            return false;
        };
        held.due_ms = due_ms;
        self.waiting.insert(number, held.put_ms);
        let lane = held.lane.map(|lane| self.lanes.entry(lane).or_default());
        let Some(lane) = lane else {
            return self.due.insert((due_ms, number));
        };
        let led = lane.first().copied();
        lane.insert(number);
        if led.is_some_and(|first| first < number) {
            return false;
        }
        // A row that is tried again may come before the one that led.
        if let Some(held) = led.and_then(|first| Some((self.rows.get(&first)?.due_ms, first))) {
            self.due.remove(&held);
        }
        self.due.insert((due_ms, number))
    }

    /// A row waits no more; the next one of its lane leads it.
    fn leave(&mut self, number: u64) {
        let Some(held) = self.rows.get(&number) else {
            return;
        };
        self.waiting.remove(&number);
        self.due.remove(&(held.due_ms, number));
        let Some(lane) = held.lane else { return };
        let Some(others) = self.lanes.get_mut(&lane) else {
            return;
        };
        others.remove(&number);
        match others.first() {
            None => {
                self.lanes.remove(&lane);
            }
            Some(next) => {
                if let Some(held) = self.rows.get_mut(next) {
                    held.due_ms = 0;
                    self.due.insert((0, *next));
                }
            }
        }
    }

    fn lease(&mut self, limit: usize, now_ms: u64, until_ms: u64) -> Vec<WanRow> {
        let due = self.due.range(..=(now_ms, u64::MAX));
        let due: Vec<(u64, u64)> = due.take(limit).copied().collect();
        let mut leased = Vec::with_capacity(due.len());
        for place in due {
            self.due.remove(&place);
            let (_, number) = place;
            if let Some(held) = self.rows.get_mut(&number) {
                held.due_ms = until_ms;
                self.due.insert((until_ms, number));
                leased.push(held.told(number));
            }
        }
        leased.sort_unstable_by_key(|row| row.number);
        leased
    }

    fn hold(&mut self, number: u64, until_ms: u64) {
        if !self.waiting.contains_key(&number) {
            return;
        }
        let Some(held) = self.rows.get_mut(&number) else {
            return;
        };
        if self.due.remove(&(held.due_ms, number)) {
            self.due.insert((until_ms, number));
        }
        held.due_ms = until_ms;
    }

    fn settle(&mut self, number: u64, settlement: Settlement) -> bool {
        let was = match &settlement {
            Settlement::Again { .. } | Settlement::Dropped => self.dead.contains(&number),
            _ => self.waiting.contains_key(&number),
        };
        let Some(held) = self.rows.get_mut(&number).filter(|_| was) else {
            return false;
        };
        match settlement {
            Settlement::Later { due_ms, attempts } => {
                held.attempts = attempts;
                self.hold(number, due_ms);
            }
            Settlement::Done => {
                held.body = Bytes::new();
                self.leave(number);
                self.settled.insert(number);
            }
            Settlement::Dead { reason } => {
                held.reason = reason;
                self.leave(number);
                self.settled.insert(number);
                self.dead.insert(number);
            }
            Settlement::Again { due_ms } => {
                held.attempts = 0;
                self.dead.remove(&number);
                self.settled.remove(&number);
                self.wait(number, due_ms);
            }
            Settlement::Dropped => {
                held.body = Bytes::new();
                self.dead.remove(&number);
            }
        }
        true
    }

    fn forget(&mut self, retention: WanRetention, now_ms: u64, limit: usize) -> u64 {
        let mut forgotten = 0;
        while forgotten < limit as u64 {
            let too_many = (self.settled.len() as u64).saturating_sub(retention.keep_count);
            let Some(number) = self.settled.first().copied() else {
                break;
            };
            let put_ms = self.rows.get(&number).map_or(0, |held| held.put_ms);
            if !retention.is_over(put_ms, now_ms, too_many) {
                break;
            }
            self.settled.remove(&number);
            self.dead.remove(&number);
            let names = self.rows.remove(&number).map(|held| held.names);
            for name in names.into_iter().flatten().flatten() {
                self.names.remove(&name);
            }
            forgotten += 1;
        }
        forgotten
    }
}

impl Held {
    fn told(&self, number: u64) -> WanRow {
        WanRow {
            number,
            put_ms: self.put_ms,
            attempts: self.attempts,
            body: self.body.clone(),
        }
    }
}

impl MemoryWan {
    fn of(&self, side: WanSide) -> &Mutex<Rows> {
        match side {
            WanSide::In => &self.inbox,
            WanSide::Out => &self.outbox,
        }
    }
}

#[async_trait]
impl WanStore for MemoryWan {
    async fn put(
        &self,
        side: WanSide,
        rows: Vec<NewRow>,
        terms: PutTerms,
    ) -> Result<Vec<Kept>, StoreError> {
        let mut held = self.of(side).lock();
        Ok(rows.into_iter().map(|row| held.put(row, terms)).collect())
    }

    async fn lease(
        &self,
        side: WanSide,
        limit: usize,
        now_ms: u64,
        until_ms: u64,
    ) -> Result<Vec<WanRow>, StoreError> {
        Ok(self.of(side).lock().lease(limit, now_ms, until_ms))
    }

    async fn hold(
        &self,
        side: WanSide,
        numbers: Vec<u64>,
        until_ms: u64,
    ) -> Result<(), StoreError> {
        let mut held = self.of(side).lock();
        for number in numbers {
            held.hold(number, until_ms);
        }
        Ok(())
    }

    async fn settle(
        &self,
        side: WanSide,
        settled: Vec<(u64, Settlement)>,
    ) -> Result<u64, StoreError> {
        let mut held = self.of(side).lock();
        let settled = settled.into_iter();
        let were = settled.filter_map(|(number, how)| held.settle(number, how).then_some(()));
        Ok(were.count() as u64)
    }

    async fn dead(
        &self,
        side: WanSide,
        after: u64,
        limit: usize,
    ) -> Result<Vec<DeadRow>, StoreError> {
        let held = self.of(side).lock();
        let numbers = held.dead.range(after.saturating_add(1)..).take(limit);
        let dead = numbers.filter_map(|number| {
            let row = held.rows.get(number)?;
            let reason = row.reason.clone();
            Some(DeadRow {
                row: row.told(*number),
                reason,
            })
        });
        Ok(dead.collect())
    }

    async fn forget(
        &self,
        side: WanSide,
        retention: WanRetention,
        now_ms: u64,
        limit: usize,
    ) -> Result<u64, StoreError> {
        Ok(self.of(side).lock().forget(retention, now_ms, limit))
    }

    async fn standing(&self, side: WanSide) -> Result<WanStanding, StoreError> {
        let held = self.of(side).lock();
        Ok(WanStanding {
            waiting: held.waiting.len() as u64,
            oldest_ms: held.waiting.first_key_value().map(|(_, put_ms)| *put_ms),
            dead: held.dead.len() as u64,
        })
    }
}
