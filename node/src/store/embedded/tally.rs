//! How many tasks there are, so that nobody counts rows: known by the writer, read by lists.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;
use rusqlite::Connection;

use super::wan;
use crate::store::WAITING;
use crate::store::wan::WanSide;

/// What the writer needs to know. A transaction works on a copy, which counts once it is committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) tasks: u64,
    pub(super) finished: u64,
    pub(super) webhooks: u64,
    inbox: WanTally,
    outbox: WanTally,
    /// Tasks that came to a state or left it, in this transaction.
    pub(super) moves: Vec<Move>,
}

/// Envelopes of one side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct WanTally {
    pub(super) waiting: u64,
    pub(super) settled: u64,
}

impl WanTally {
    /// So many that waited are settled.
    pub(super) fn settle(&mut self, rows: u64) {
        self.waiting = self.waiting.saturating_sub(rows);
        self.settled += rows;
    }
}

impl Tally {
    pub(super) fn wan(&mut self, side: WanSide) -> &mut WanTally {
        match side {
            WanSide::In => &mut self.inbox,
            WanSide::Out => &mut self.outbox,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) owner: Arc<str>,
    pub(super) agent: Arc<str>,
    pub(super) state: u8,
    pub(super) came: bool,
}

/// How many tasks each caller has in each state: owner, agent, state. Bounded by the number of tasks; no entry is zero.
#[derive(Debug, Default)]
pub(super) struct Standing(RwLock<Callers>);

#[derive(Debug, Default)]
struct Callers {
    owners: HashMap<Arc<str>, Agents>,
    /// Of all callers.
    waiting: u64,
}

type Agents = HashMap<Arc<str>, BTreeMap<u8, u64>>;

/// Counts once, when the file is opened, by an index.
pub(super) fn count(connection: &Connection) -> rusqlite::Result<(Tally, Standing)> {
    let mut tally = Tally::default();
    let mut callers = Callers::default();
    let sql = "SELECT owner, agent, state, count(*) FROM task GROUP BY owner, agent, state";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let text = |column| row.get::<_, String>(column).map(Arc::<str>::from);
        let tasks = row.get::<_, i64>(3)?.unsigned_abs();
        let state = row.get(2)?;
        let agents = callers.owners.entry(text(0)?).or_default();
        let states = agents.entry(text(1)?).or_default();
        states.insert(state, tasks);
        tally.tasks += tasks;
        if WAITING.contains(&state) {
            callers.waiting += tasks;
        }
    }
    let number = |sql: &str| {
        let number = connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        number.map(i64::unsigned_abs)
    };
    tally.finished = number("SELECT count(*) FROM task WHERE terminal = 1")?;
    tally.webhooks = number("SELECT count(*) FROM webhook")?;
    for side in [WanSide::In, WanSide::Out] {
        *tally.wan(side) = wan::tally(connection, side)?;
    }
    Ok((tally, Standing(RwLock::new(callers))))
}

impl Standing {
    /// Of one caller: its states, and how many tasks are in each.
    pub(super) fn of(&self, owner: &str, agent: &str) -> BTreeMap<u8, u64> {
        let callers = self.0.read();
        let agents = callers.owners.get(owner);
        let states = agents.and_then(|agents| agents.get(agent));
        states.cloned().unwrap_or_default()
    }

    /// How many tasks wait for their client.
    pub(super) fn waiting(&self) -> u64 {
        self.0.read().waiting
    }

    pub(super) fn apply(&self, moves: impl Iterator<Item = Move>) {
        let mut callers = self.0.write();
        for moved in moves {
            if moved.came {
                callers.enter(moved);
            } else {
                callers.leave(&moved);
            }
        }
    }
}

impl Callers {
    fn enter(&mut self, moved: Move) {
        if WAITING.contains(&moved.state) {
            self.waiting += 1;
        }
        let agents = self.owners.entry(moved.owner).or_default();
        let states = agents.entry(moved.agent).or_default();
        *states.entry(moved.state).or_default() += 1;
    }

    fn leave(&mut self, moved: &Move) {
        if WAITING.contains(&moved.state) {
            self.waiting = self.waiting.saturating_sub(1);
        }
        let Some(agents) = self.owners.get_mut(&moved.owner) else {
            return;
        };
        if let Some(states) = agents.get_mut(&moved.agent) {
            if let Some(tasks) = states.get_mut(&moved.state) {
                *tasks = tasks.saturating_sub(1);
                if *tasks == 0 {
                    states.remove(&moved.state);
                }
            }
            if states.is_empty() {
                agents.remove(&moved.agent);
            }
        }
        if agents.is_empty() {
            self.owners.remove(&moved.owner);
        }
    }
}
