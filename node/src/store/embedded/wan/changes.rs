//! What is written of envelopes: rows are kept, taken in hand and settled, and forgotten in the end.

use rusqlite::{CachedStatement, Connection, Params, params};

use super::{WanChange, WanWrite, sql, wan_row};
use crate::store::StoreError;
use crate::store::embedded::rows::{rows_limit, signed, unsigned};
use crate::store::embedded::tally::{Tally, WanTally};
use crate::store::embedded::writes::Written;
use crate::store::wan::{Kept, NewRow, PutTerms, Settlement, WanRetention, WanRow, WanSide};

pub(in crate::store::embedded) fn apply(
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
        WanChange::Hold(numbers, until_ms) => {
            let hold = "UPDATE {t} SET due_ms = ?2 WHERE number = ?1 AND due_ms IS NOT NULL";
            let mut hold = connection.prepare_cached(&sql(side, hold))?;
            for number in numbers {
                hold.execute([signed(*number), signed(*until_ms)])?;
            }
            Ok(Written::Done)
        }
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
