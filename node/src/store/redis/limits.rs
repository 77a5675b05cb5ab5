//! Counting calls for all replicas: one script for a call, or for several, on Redis's own clock. Keys and types are those of the contract
//! (contract/public-tier.md 5 and 6), below our prefix: a prefix of `hive` or `pilox` shares the limits with such nodes.

use ::redis::Cmd;
use async_trait::async_trait;

use super::RedisStore;
use super::claims::{CLAIM_ARGUMENTS, CLAIM_KEYS, MARGIN_MS, claimed, tell_claim};
use super::link::call_of;
use crate::limiter::{Admission, Call, Conduct, Entry, Limit, Limiter};
use crate::store::{Claim, StoreError};

#[async_trait]
impl Limiter for RedisStore {
    async fn admit(&self, call: Call<'_>) -> Result<Admission, StoreError> {
        let script = &self.scripts.admit;
        let mut command = call_of(script, told_of(&call).keys);
        self.tell_call_keys(&mut command, &call);
        command.arg(nonce());
        tell_call(&mut command, &call);
        let answer: Vec<u64> = self.link.run(script, &command).await?;
        admission(&answer)
    }

    async fn claim_and_admit(
        &self,
        entries: &[Entry<'_>],
    ) -> Option<Result<Vec<(Claim, Option<Admission>)>, StoreError>> {
        if self.link.is_cluster() {
            // The keys of the two are in different slots.
            return None;
        }
        Some(self.claim_and_count(entries).await)
    }

    async fn note(&self, id: &str, conduct: Conduct) -> Result<(), StoreError> {
        let kind = match conduct {
            Conduct::Good => "ok",
            Conduct::Bad => "rpc_error",
        };
        let key = self.keys.conduct(self.link.is_cluster(), kind, id);
        let _: u8 = self.link.invoke(&self.scripts.note.key(key)).await?;
        Ok(())
    }
}

impl RedisStore {
    async fn claim_and_count(
        &self,
        entries: &[Entry<'_>],
    ) -> Result<Vec<(Claim, Option<Admission>)>, StoreError> {
        let script = &self.scripts.claim_and_admit;
        let keys = entries.iter().map(|entry| told_of(&entry.call).keys);
        let mut command = call_of(script, entries.len() * CLAIM_KEYS + keys.sum::<usize>());
        for Entry { claim, call } in entries {
            let partition = self.keys.partition_of_claim(claim.key);
            self.tell_claim_keys(&mut command, partition, claim);
            self.tell_call_keys(&mut command, call);
        }
        let claims = entries.iter().map(|entry| &entry.claim);
        let now_ms = claims.clone().map(|claim| claim.now_ms).min().unwrap_or(0);
        let ahead_ms = claims.map(|claim| self.ahead_ms(claim)).max().unwrap_or(0);
        command.arg(now_ms).arg(MARGIN_MS).arg(ahead_ms);
        command.arg(nonce()).arg(entries.len());
        for Entry { claim, call } in entries {
            let told = told_of(call);
            command.arg(CLAIM_KEYS + told.keys);
            command.arg(CLAIM_ARGUMENTS + told.arguments);
            tell_claim(&mut command, claim);
            tell_call(&mut command, call);
        }
        let answers: Vec<Vec<u64>> = self.link.run(script, &command).await?;
        if answers.len() != entries.len() {
            return Err(corrupt());
        }
        let answers: Vec<_> = answers.iter().map(|answer| entered(answer)).collect();
        if answers.contains(&Ok((Claim::BeforeEpoch, None))) {
            self.begin_claims().await;
        }
        answers.into_iter().collect()
    }

    fn tell_call_keys(&self, command: &mut Cmd, call: &Call<'_>) {
        let is_cluster = self.link.is_cluster();
        for bucket in call.buckets {
            command.arg(self.keys.limit(is_cluster, bucket.key));
        }
        if let Some(reputation) = call.reputation {
            for kind in ["rate_limited", "rpc_error"] {
                command.arg(self.keys.conduct(is_cluster, kind, reputation.id));
            }
        }
    }
}

/// What `admit` of `limits.lua` is told of a call, but for the nonce.
fn tell_call(command: &mut Cmd, call: &Call<'_>) {
    command.arg(call.buckets.len());
    match call.reputation {
        Some(reputation) => command.arg(reputation.block_at.unwrap_or(0)),
        None => command.arg(-1),
    };
    for bucket in call.buckets {
        match bucket.limit {
            Limit::Window { max, window } => {
                let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
                command.arg("window").arg(max).arg(window_ms)
            }
            Limit::Steady(rule) => command
                .arg("steady")
                .arg(rule.emission_us)
                .arg(rule.burst_us),
        };
    }
}

/// How much `admit` of `limits.lua` is told of a call.
struct Told {
    keys: usize,
    arguments: usize,
}

fn told_of(call: &Call<'_>) -> Told {
    let buckets = call.buckets.len();
    Told {
        keys: buckets + call.reputation.map_or(0, |_| 2),
        arguments: 2 + 3 * buckets,
    }
}

/// What nobody else has.
fn nonce() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// What `claim_and_admit.lua` says of one call.
fn entered(answer: &[u64]) -> Result<(Claim, Option<Admission>), StoreError> {
    let (first, rest) = answer.split_first().ok_or_else(corrupt)?;
    let claimed = claimed(*first);
    let admission = match claimed {
        Claim::First => Some(admission(rest)?),
        Claim::Repeated | Claim::BeforeEpoch => None,
    };
    Ok((claimed, admission))
}

/// What `admit` of `limits.lua` says.
fn admission(answer: &[u64]) -> Result<Admission, StoreError> {
    match *answer {
        [0] => Ok(Admission::Admitted),
        [1, bucket, retry_after_ms] if bucket > 0 => Ok(Admission::Denied {
            bucket: usize::try_from(bucket - 1).unwrap_or(usize::MAX),
            retry_after_ms,
        }),
        [2] => Ok(Admission::Blocked),
        _ => Err(corrupt()),
    }
}

fn corrupt() -> StoreError {
    StoreError::Corrupt("a limit".to_owned())
}
