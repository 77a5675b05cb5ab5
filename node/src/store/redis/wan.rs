//! Envelopes: one hash each, and sorted sets of those that wait, are due, are settled and are dead. Everything is in one
//! slot, because a script touches rows that it finds out about itself.

use ::redis::cmd;
use async_trait::async_trait;
use bytes::Bytes;

use super::RedisStore;
use crate::store::StoreError;
use crate::store::wan::{
    DeadRow, Kept, NewRow, PutTerms, RowName, Settlement, WanRetention, WanRow, WanSide,
    WanStanding, WanStore,
};

/// Sorted sets of Redis hold doubles: greater times are as good as this one, which is beyond the year 200000.
const MOST_MS: u64 = 1 << 53;

#[async_trait]
impl WanStore for RedisStore {
    async fn put(
        &self,
        side: WanSide,
        rows: Vec<NewRow>,
        terms: PutTerms,
    ) -> Result<Vec<Kept>, StoreError> {
        let mut script = self.scripts.wan_put.key(self.keys.wan(side));
        script
            .arg(terms.now_ms)
            .arg(terms.due_ms.min(MOST_MS))
            .arg(terms.most.min(MOST_MS));
        for row in &rows {
            script
                .arg(row.name.0.as_slice())
                .arg(bytes(row.message.as_ref()))
                .arg(bytes(row.lane.as_ref()))
                .arg(row.body.as_ref());
        }
        let kept: Vec<String> = self.link.invoke(&script).await?;
        kept.iter().map(|text| kept_as(text)).collect()
    }

    async fn lease(
        &self,
        side: WanSide,
        limit: usize,
        now_ms: u64,
        until_ms: u64,
    ) -> Result<Vec<WanRow>, StoreError> {
        let mut script = self.scripts.wan_lease.key(self.keys.wan(side));
        script
            .arg(limit)
            .arg(now_ms.min(MOST_MS))
            .arg(until_ms.min(MOST_MS));
        let told: Vec<Option<Bytes>> = self.link.invoke(&script).await?;
        let mut rows = Vec::with_capacity(told.len() / 4);
        for fields in told.chunks_exact(4) {
            rows.push(row(fields)?);
        }
        rows.sort_unstable_by_key(|row| row.number);
        Ok(rows)
    }

    async fn hold(
        &self,
        side: WanSide,
        numbers: Vec<u64>,
        until_ms: u64,
    ) -> Result<(), StoreError> {
        let mut hold = cmd("ZADD");
        // Those that are not there any more wait no more.
        hold.arg(format!("{}due", self.keys.wan(side))).arg("XX");
        for number in numbers {
            hold.arg(until_ms.min(MOST_MS)).arg(number);
        }
        self.link.query::<u64>(&hold).await.map(drop)
    }

    async fn settle(
        &self,
        side: WanSide,
        settled: Vec<(u64, Settlement)>,
    ) -> Result<u64, StoreError> {
        let mut script = self.scripts.wan_settle.key(self.keys.wan(side));
        for (number, settlement) in &settled {
            script.arg(*number);
            match settlement {
                Settlement::Done => script.arg("done").arg("").arg(""),
                Settlement::Later { due_ms, attempts } => script
                    .arg("later")
                    .arg((*due_ms).min(MOST_MS))
                    .arg(*attempts),
                Settlement::Dead { reason } => script.arg("dead").arg(reason).arg(""),
                Settlement::Again { due_ms } => {
                    script.arg("again").arg((*due_ms).min(MOST_MS)).arg("")
                }
                Settlement::Dropped => script.arg("dropped").arg("").arg(""),
            };
        }
        self.link.invoke(&script).await
    }

    async fn dead(
        &self,
        side: WanSide,
        after: u64,
        limit: usize,
    ) -> Result<Vec<DeadRow>, StoreError> {
        let base = self.keys.wan(side);
        let mut range = cmd("ZRANGEBYSCORE");
        range
            .arg(format!("{base}dead"))
            .arg(format!("({after}"))
            .arg("+inf")
            .arg("LIMIT")
            .arg(0)
            .arg(limit);
        let numbers: Vec<u64> = self.link.query(&range).await?;
        let mut rows = Vec::with_capacity(numbers.len());
        for number in numbers {
            let mut get = cmd("HMGET");
            get.arg(format!("{base}row:{number}"))
                .arg(&["put", "attempts", "body", "reason"]);
            let fields: Vec<Option<Bytes>> = self.link.query(&get).await?;
            // It may have been settled meanwhile.
            if let [put, attempts, body, Some(reason)] = fields.as_slice() {
                let own = Some(Bytes::from(number.to_string()));
                let fields = [own, put.clone(), attempts.clone(), body.clone()];
                rows.push(DeadRow {
                    row: row(&fields)?,
                    reason: String::from_utf8_lossy(reason).into_owned(),
                });
            }
        }
        Ok(rows)
    }

    async fn forget(
        &self,
        side: WanSide,
        retention: WanRetention,
        now_ms: u64,
        limit: usize,
    ) -> Result<u64, StoreError> {
        let mut script = self.scripts.wan_forget.key(self.keys.wan(side));
        let too_old = now_ms.checked_sub(retention.keep_for_ms);
        script
            .arg(limit)
            .arg(too_old.map_or(-1, |ms| i64::try_from(ms).unwrap_or(i64::MAX)))
            .arg(retention.keep_count.min(MOST_MS));
        self.link.invoke(&script).await
    }

    async fn standing(&self, side: WanSide) -> Result<WanStanding, StoreError> {
        let base = self.keys.wan(side);
        let count = async |what: &str| {
            let mut count = cmd("ZCARD");
            count.arg(format!("{base}{what}"));
            self.link.query::<u64>(&count).await
        };
        let mut first = cmd("ZRANGE");
        first
            .arg(format!("{base}waiting"))
            .arg(0)
            .arg(0)
            .arg("WITHSCORES");
        let first: Vec<(String, f64)> = self.link.query(&first).await?;
        Ok(WanStanding {
            waiting: count("waiting").await?,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a time of ours, which a double holds exactly"
            )]
            oldest_ms: first.first().map(|(_, put_ms)| *put_ms as u64),
            dead: count("dead").await?,
        })
    }

    fn is_shared(&self) -> bool {
        true
    }
}

fn bytes(name: Option<&RowName>) -> &[u8] {
    name.map_or(&[], |name| name.0.as_slice())
}

fn kept_as(text: &str) -> Result<Kept, StoreError> {
    match text.parse::<i64>() {
        Ok(0) => Ok(Kept::Repeated),
        Ok(number) => Ok(Kept::First {
            number: number.unsigned_abs(),
            leads: number > 0,
        }),
        Err(_) if text.is_empty() => Ok(Kept::Full),
        Err(_) => Err(damaged()),
    }
}

/// A row of its number, `put`, `attempts` and `body`.
fn row(fields: &[Option<Bytes>]) -> Result<WanRow, StoreError> {
    let [Some(number), Some(put_ms), Some(attempts), Some(body)] = fields else {
        return Err(damaged());
    };
    let read = |digits: &Bytes| std::str::from_utf8(digits).ok()?.parse::<u64>().ok();
    let attempts = read(attempts).and_then(|attempts| u32::try_from(attempts).ok());
    match (read(number), read(put_ms), attempts) {
        (Some(number), Some(put_ms), Some(attempts)) => Ok(WanRow {
            number,
            put_ms,
            attempts,
            body: body.clone(),
        }),
        _ => Err(damaged()),
    }
}

fn damaged() -> StoreError {
    StoreError::Corrupt("an envelope cannot be read".to_owned())
}
