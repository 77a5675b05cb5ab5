//! The two tables of envelopes, and what is read of them. Read `changes` for what is written.

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, Row, params};

pub(super) use changes::apply;

use super::EmbeddedStore;
use super::rows::{rows_limit, signed, unsigned};
use super::tally::WanTally;
use super::writes::{Write, Written};
use crate::store::StoreError;
use crate::store::wan::{
    DeadRow, Kept, NewRow, PutTerms, Settlement, WanRetention, WanRow, WanSide, WanStanding,
    WanStore,
};

mod changes;

/// A row waits while it is due some time; it is dead while it has a reason. Few rows are in an index besides that of their
/// names: those whose message has a name of its own, those that wait, which most leave soon, and those that are dead.
/// No number is given twice: whoever comes late with one must not settle another row.
pub(super) const TABLES: &str = "
    CREATE TABLE wan_in (
        number   INTEGER PRIMARY KEY AUTOINCREMENT,
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
        number   INTEGER PRIMARY KEY AUTOINCREMENT,
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
    Hold(Vec<u64>, u64),
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

    async fn hold(
        &self,
        side: WanSide,
        numbers: Vec<u64>,
        until_ms: u64,
    ) -> Result<(), StoreError> {
        self.write_wan(side, WanChange::Hold(numbers, until_ms))
            .await
            .map(drop)
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
