//! Counting calls for all replicas: one script for a call, on Redis's own clock. Keys and types are those of the contract
//! (contract/public-tier.md 5 and 6), below our prefix: a prefix of `hive` or `pilox` shares the limits with such nodes.

use ::redis::ScriptInvocation;
use async_trait::async_trait;

use super::RedisStore;
use super::claims::claimed;
use crate::limiter::{Admission, Call, Conduct, Limit, Limiter};
use crate::store::{Claim, ClaimRequest, StoreError};

#[async_trait]
impl Limiter for RedisStore {
    async fn admit(&self, call: Call<'_>) -> Result<Admission, StoreError> {
        let mut script = self.scripts.admit.prepare_invoke();
        self.tell_call(&mut script, call);
        let answer: Vec<u64> = self.link.invoke(&script).await?;
        admission(&answer)
    }

    async fn claim_and_admit(
        &self,
        claim: ClaimRequest<'_>,
        call: Call<'_>,
    ) -> Option<Result<(Claim, Option<Admission>), StoreError>> {
        if self.link.is_cluster() {
            // The keys of the two are in different slots.
            return None;
        }
        Some(self.claim_and_count(claim, call).await)
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
        claim: ClaimRequest<'_>,
        call: Call<'_>,
    ) -> Result<(Claim, Option<Admission>), StoreError> {
        let mut script = self.scripts.claim_and_admit.prepare_invoke();
        let partition = self.keys.partition_of_claim(claim.key);
        self.tell_claim(&mut script, partition, claim);
        self.tell_call(&mut script, call);
        let answer: Vec<u64> = self.link.invoke(&script).await?;
        let (first, rest) = answer.split_first().ok_or_else(corrupt)?;
        let claimed = claimed(*first);
        match claimed {
            Claim::First => Ok((claimed, Some(admission(rest)?))),
            Claim::Repeated => Ok((claimed, None)),
            Claim::BeforeEpoch => {
                self.begin_claims().await;
                Ok((claimed, None))
            }
        }
    }

    /// What `admit.lua` must know.
    fn tell_call(&self, script: &mut ScriptInvocation<'_>, call: Call<'_>) {
        let is_cluster = self.link.is_cluster();
        let nonce = format!("{:016x}", rand::random::<u64>());
        let reputation = call.reputation;
        for bucket in call.buckets {
            script.key(self.keys.limit(is_cluster, bucket.key));
        }
        if let Some(reputation) = reputation {
            for kind in ["rate_limited", "rpc_error"] {
                script.key(self.keys.conduct(is_cluster, kind, reputation.id));
            }
        }
        script.arg(call.buckets.len()).arg(nonce).arg(
            reputation
                .and_then(|reputation| reputation.block_at)
                .unwrap_or(0),
        );
        for bucket in call.buckets {
            match bucket.limit {
                Limit::Window { max, window } => {
                    let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
                    script.arg("window").arg(max).arg(window_ms);
                }
                Limit::Steady(rule) => {
                    script
                        .arg("steady")
                        .arg(rule.emission_us)
                        .arg(rule.burst_us);
                }
            }
        }
    }
}

/// What an answer of `admit.lua` says.
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
