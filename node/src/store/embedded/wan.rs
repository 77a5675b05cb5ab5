//! The two tables of envelopes.

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{CachedStatement, Connection, Params, Row, params};

use super::EmbeddedStore;
use super::rows::{rows_limit, signed, unsigned};
use super::tally::{Tally, WanTally};
use super::writes::{Write, Written};
use crate::store::StoreError;
use crate::store::wan::{
    DeadRow, Kept, NewRow, PutTerms, Settlement, WanRetention, WanRow, WanSide, WanStanding,
    WanStore,
};

/// A row waits while it is due some time; it is dead while it has a reason. Few rows are in an index besides that of their
/// names: those whose message has a name of its own, those that wait, which most leave soon, and those that are dead.
/// Numbers ascend as long as there are rows.
pub(super) const TABLES: &str = "
    CREATE TABLE wan_in (
        number   INTEGER PRIMARY KEY,
        name     BLOB    NOT NULL UNIQUE,
        message  BLOB,
        lane     BLOB,
        put_ms   INTEGER NOT NULL,
        due_ms   INTEGER,
        attempts INTEGER NOT NULL DEFAULT 0,
        reason   TEXT,
        body     BLOB    NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX wan_in_message ON wan_in (message) WHERE message IS NOT NULL;
    CREATE INDEX wan_in_due ON wan_in (due_ms) WHERE due_ms IS NOT NULL;
    CREATE INDEX wan_in_lane ON wan_in (lane, number) WHERE due_ms IS NOT NULL;
    CREATE INDEX wan_in_dead ON wan_in (number) WHERE reason IS NOT NULL;
    CREATE TABLE wan_out (
        number   INTEGER PRIMARY KEY,
        name     BLOB    NOT NULL UNIQUE,
        message  BLOB,
        lane     BLOB,
        put_ms   INTEGER NOT NULL,
        due_ms   INTEGER,
        attempts INTEGER NOT NULL DEFAULT 0,
        reason   TEXT,
        body     BLOB    NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX wan_out_message ON wan_out (message) WHERE message IS NOT NULL;
    CREATE INDEX wan_out_due ON wan_out (due_ms) WHERE due_ms IS NOT NULL;
    CREATE INDEX wan_out_lane ON wan_out (lane, number) WHERE due_ms IS NOT NULL;
    CREATE INDEX wan_out_dead ON wan_out (number) WHERE reason IS NOT NULL;
";

pub(super) struct WanWrite {
    pub(super) side: WanSide,
    pub(super) what: WanChange,
}

pub(super) enum WanChange {
    Put(Vec<NewRow>, PutTerms),
    Lease {
        limit: usize,
        now_ms: u64,
        until_ms: u64,
    },
    Settle(Vec<(u64, Settlement)>),
    Forget {
        retention: WanRetention,
        now_ms: u64,
        limit: usize,
    },
}

/// The table of a side, for statements in which it is called `{t}`.
fn sql(side: WanSide, statement: &str) -> String {
    statement.replace(
        "{t}",
        match side {
            WanSide::In => "wan_in",
            WanSide::Out => "wan_out",
        },
    )
}

pub(super) fn apply(
    connection: &Connection,
    tally: &mut Tally,
    write: &WanWrite,
) -> Result<Written, StoreError> {
    let side = write.side;
    let tally = tally.wan(side);
    match &write.what {
        WanChange::Put(rows, terms) => {
            let mut putting = Putting::prepare(connection, side)?;
            let kept = rows.iter().map(|row| putting.put(tally, row, *terms));
            Ok(Written::WanKept(kept.collect::<Result<_, _>>()?))
        }
        WanChange::Lease {
            limit,
            now_ms,
            until_ms,
        } => lease(connection, side, *limit, (*now_ms, *until_ms)).map(Written::WanRows),
        WanChange::Settle(settled) => {
            let mut settling = Settling::prepare(connection, side)?;
            let mut were = 0;
            for (number, settlement) in settled {
                were += settling.settle(tally, *number, settlement)?;
            }
            Ok(Written::Counted(were))
        }
        WanChange::Forget {
            retention,
            now_ms,
            limit,
        } => forget(connection, tally, side, *retention, (*now_ms, *limit)).map(Written::Counted),
    }
}

/// What keeping rows takes.
struct Putting<'c> {
    connection: &'c Connection,
    known: CachedStatement<'c>,
    others: CachedStatement<'c>,
    insert: CachedStatement<'c>,
}

impl<'c> Putting<'c> {
    fn prepare(connection: &'c Connection, side: WanSide) -> rusqlite::Result<Self> {
        let prepare = |statement| connection.prepare_cached(&sql(side, statement));
        Ok(Self {
            connection,
            known: prepare("SELECT 1 FROM {t} WHERE name = ?1 OR message = ?2")?,
            others: prepare("SELECT 1 FROM {t} WHERE lane = ?1 AND due_ms IS NOT NULL")?,
            insert: prepare(
                "INSERT INTO {t} (name, message, lane, put_ms, due_ms, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
            )?,
        })
    }

    fn put(
        &mut self,
        tally: &mut WanTally,
        row: &NewRow,
        terms: PutTerms,
    ) -> rusqlite::Result<Kept> {
        let (name, message) = (row.name.0, row.message.map(|name| name.0));
        if tally.waiting >= terms.most {
            let is_known = self.known.exists(params![name, message])?;
            return Ok(if is_known { Kept::Repeated } else { Kept::Full });
        }
        let lane = row.lane.map(|lane| lane.0);
        let leads = match lane {
            None => true,
            Some(lane) => !self.others.exists([lane])?,
        };
        let (put_ms, due_ms) = (signed(terms.now_ms), signed(terms.due_ms));
        let inserted = self
            .insert
            .execute(params![name, message, lane, put_ms, due_ms, &*row.body])?;
        if inserted == 0 {
            return Ok(Kept::Repeated);
        }
        tally.waiting += 1;
        let number = self.connection.last_insert_rowid().unsigned_abs();
        Ok(Kept::First { number, leads })
    }
}

fn lease(
    connection: &Connection,
    side: WanSide,
    limit: usize,
    (now_ms, until_ms): (u64, u64),
) -> Result<Vec<WanRow>, StoreError> {
    let update = sql(
        side,
        "UPDATE {t} SET due_ms = ?2 WHERE number IN (
             SELECT number FROM {t} AS one WHERE due_ms <= ?1 AND (lane IS NULL OR NOT EXISTS (
                 SELECT 1 FROM {t} AS before
                 WHERE before.lane = one.lane AND before.due_ms IS NOT NULL AND before.number < one.number))
             ORDER BY due_ms LIMIT ?3)
         RETURNING number, put_ms, attempts, body",
    );
    let mut statement = connection.prepare_cached(&update)?;
    let values = params![signed(now_ms), signed(until_ms), rows_limit(limit)];
    let rows = statement.query_map(values, wan_row)?;
    let mut rows: Vec<WanRow> = rows.collect::<rusqlite::Result<_>>()?;
    rows.sort_unstable_by_key(|row| row.number);
    Ok(rows)
}

/// What settling rows takes.
struct Settling<'c> {
    connection: &'c Connection,
    side: WanSide,
    /// What nearly all come to.
    done: CachedStatement<'c>,
}

impl<'c> Settling<'c> {
    fn prepare(connection: &'c Connection, side: WanSide) -> rusqlite::Result<Self> {
        let done =
            "UPDATE {t} SET due_ms = NULL, body = x'' WHERE number = ?1 AND due_ms IS NOT NULL";
        Ok(Self {
            connection,
            side,
            done: connection.prepare_cached(&sql(side, done))?,
        })
    }

    /// How many rows that was true of.
    fn settle(
        &mut self,
        tally: &mut WanTally,
        number: u64,
        settlement: &Settlement,
    ) -> rusqlite::Result<u64> {
        let number = signed(number);
        match settlement {
            Settlement::Done => {
                let done = self.done.execute([number])? as u64;
                tally.settle(done);
                Ok(done)
            }
            Settlement::Later { due_ms, attempts } => self.run(
                "UPDATE {t} SET due_ms = ?2, attempts = ?3 WHERE number = ?1 AND due_ms IS NOT NULL",
                params![number, signed(*due_ms), attempts],
            ),
            Settlement::Dead { reason } => {
                let dead = self.run(
                    "UPDATE {t} SET due_ms = NULL, reason = ?2 WHERE number = ?1 AND due_ms IS NOT NULL",
                    params![number, reason],
                )?;
                tally.settle(dead);
                Ok(dead)
            }
            Settlement::Again { due_ms } => {
                let again = self.run(
                    "UPDATE {t} SET due_ms = ?2, attempts = 0, reason = NULL
                     WHERE number = ?1 AND reason IS NOT NULL",
                    params![number, signed(*due_ms)],
                )?;
                tally.waiting += again;
                tally.settled = tally.settled.saturating_sub(again);
                Ok(again)
            }
            Settlement::Dropped => self.run(
                "UPDATE {t} SET reason = NULL, body = x'' WHERE number = ?1 AND reason IS NOT NULL",
                params![number],
            ),
        }
    }

    fn run(&self, statement: &str, values: impl Params) -> rusqlite::Result<u64> {
        let statement = sql(self.side, statement);
        let changed = self
            .connection
            .prepare_cached(&statement)?
            .execute(values)?;
        Ok(changed as u64)
    }
}

fn forget(
    connection: &Connection,
    tally: &mut WanTally,
    side: WanSide,
    retention: WanRetention,
    (now_ms, limit): (u64, usize),
) -> Result<u64, StoreError> {
    let oldest = sql(
        side,
        "SELECT number, put_ms FROM {t} WHERE due_ms IS NULL ORDER BY number LIMIT ?1",
    );
    let delete = sql(side, "DELETE FROM {t} WHERE number = ?1");
    let mut too_many = tally.settled.saturating_sub(retention.keep_count);
    let mut forgotten = 0;
    let mut statement = connection.prepare_cached(&oldest)?;
    let mut rows = statement.query([rows_limit(limit)])?;
    while let Some(row) = rows.next()? {
        let (number, put_ms) = (row.get::<_, i64>(0)?, unsigned(row, 1)?);
        if !retention.is_over(put_ms, now_ms, too_many) {
            break;
        }
        connection.prepare_cached(&delete)?.execute([number])?;
        too_many = too_many.saturating_sub(1);
        forgotten += 1;
    }
    tally.settled = tally.settled.saturating_sub(forgotten);
    Ok(forgotten)
}

fn wan_row(row: &Row<'_>) -> rusqlite::Result<WanRow> {
    Ok(WanRow {
        number: unsigned(row, 0)?,
        put_ms: unsigned(row, 1)?,
        attempts: row.get(2)?,
        body: Bytes::from(row.get::<_, Vec<u8>>(3)?),
    })
}

fn dead(
    connection: &Connection,
    side: WanSide,
    after: u64,
    limit: usize,
) -> Result<Vec<DeadRow>, StoreError> {
    let select = sql(
        side,
        "SELECT number, put_ms, attempts, body, reason FROM {t}
         WHERE reason IS NOT NULL AND number > ?1 ORDER BY number LIMIT ?2",
    );
    let mut statement = connection.prepare_cached(&select)?;
    let rows = statement.query_map(params![signed(after), rows_limit(limit)], |row| {
        Ok(DeadRow {
            row: wan_row(row)?,
            reason: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// By the indexes of those that wait and of the dead; nobody reads those that are settled.
fn standing(connection: &Connection, side: WanSide) -> Result<WanStanding, StoreError> {
    let waiting = sql(
        side,
        "SELECT count(*), min(put_ms) FROM {t} INDEXED BY {t}_due WHERE due_ms IS NOT NULL",
    );
    let dead = sql(
        side,
        "SELECT count(*) FROM {t} INDEXED BY {t}_dead WHERE reason IS NOT NULL",
    );
    let dead = connection
        .prepare_cached(&dead)?
        .query_row([], |row| unsigned(row, 0))?;
    Ok(connection.prepare_cached(&waiting)?.query_row([], |row| {
        Ok(WanStanding {
            waiting: unsigned(row, 0)?,
            oldest_ms: row.get::<_, Option<i64>>(1)?.map(i64::unsigned_abs),
            dead,
        })
    })?)
}

/// What waits and what is settled on each side, when the file is opened.
pub(super) fn tally(connection: &Connection, side: WanSide) -> rusqlite::Result<WanTally> {
    let select = sql(
        side,
        "SELECT count(*) FILTER (WHERE due_ms IS NOT NULL), count(*) FROM {t}",
    );
    connection.query_row(&select, [], |row| {
        let waiting = unsigned(row, 0)?;
        let settled = unsigned(row, 1)?.saturating_sub(waiting);
        Ok(WanTally { waiting, settled })
    })
}

impl EmbeddedStore {
    async fn write_wan(&self, side: WanSide, what: WanChange) -> Result<Written, StoreError> {
        self.write(Write::Wan(WanWrite { side, what })).await
    }
}

#[async_trait]
impl WanStore for EmbeddedStore {
    async fn put(
        &self,
        side: WanSide,
        rows: Vec<NewRow>,
        terms: PutTerms,
    ) -> Result<Vec<Kept>, StoreError> {
        match self.write_wan(side, WanChange::Put(rows, terms)).await? {
            Written::WanKept(kept) => Ok(kept),
            _ => Err(StoreError::Unavailable),
        }
    }

    async fn lease(
        &self,
        side: WanSide,
        limit: usize,
        now_ms: u64,
        until_ms: u64,
    ) -> Result<Vec<WanRow>, StoreError> {
        let lease = WanChange::Lease {
            limit,
            now_ms,
            until_ms,
        };
        match self.write_wan(side, lease).await? {
            Written::WanRows(rows) => Ok(rows),
            _ => Err(StoreError::Unavailable),
        }
    }

    async fn settle(
        &self,
        side: WanSide,
        settled: Vec<(u64, Settlement)>,
    ) -> Result<u64, StoreError> {
        match self.write_wan(side, WanChange::Settle(settled)).await? {
            Written::Counted(were) => Ok(were),
            _ => Err(StoreError::Unavailable),
        }
    }

    async fn dead(
        &self,
        side: WanSide,
        after: u64,
        limit: usize,
    ) -> Result<Vec<DeadRow>, StoreError> {
        self.readers
            .ask(move |connection| dead(connection, side, after, limit))
            .await
    }

    async fn forget(
        &self,
        side: WanSide,
        retention: WanRetention,
        now_ms: u64,
        limit: usize,
    ) -> Result<u64, StoreError> {
        let forget = WanChange::Forget {
            retention,
            now_ms,
            limit,
        };
        match self.write_wan(side, forget).await? {
            Written::Counted(forgotten) => Ok(forgotten),
            _ => Err(StoreError::Unavailable),
        }
    }

    async fn standing(&self, side: WanSide) -> Result<WanStanding, StoreError> {
        self.readers
            .ask(move |connection| standing(connection, side))
            .await
    }
}
