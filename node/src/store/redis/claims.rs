//! Claims: one key each, which Redis forgets by itself some time after the claim is over.

use std::sync::atomic::Ordering;

use ::redis::Cmd;
use async_trait::async_trait;

use super::RedisStore;
use super::keys::PARTITIONS;
use super::link::call_of;
use crate::store::{Claim, ClaimRequest, ClaimStore, StoreError};

/// How much longer a claim is remembered than it must be: the clocks of replicas differ by less.
pub(super) const MARGIN_MS: u64 = 120_000;

/// What `claim` of `claims.lua` is told of each claim.
pub(super) const CLAIM_KEYS: usize = 2;
pub(super) const CLAIM_ARGUMENTS: usize = 2;

/// No clock is believed to be further ahead than this: it is the most that tokens may be dated ahead.
const MOST_AHEAD_MS: u64 = 300_000;

#[async_trait]
impl ClaimStore for RedisStore {
    async fn claim(&self, claim: ClaimRequest<'_>) -> Result<Claim, StoreError> {
        let partition = self.keys.partition_of_claim(claim.key);
        let claimed = self.claim_in(partition, claim).await?;
        if claimed == Claim::BeforeEpoch {
            // The memory of every partition begins now, so that the next token is taken wherever its id belongs.
            self.begin_claims().await;
        }
        Ok(claimed)
    }
}

impl RedisStore {
    /// Begins the memory of claims where it has not begun, so that the first to claim an id need not be refused.
    pub(super) async fn begin_claims(&self) {
        // Older than any memory, so it is never taken.
        let oldest = ClaimRequest {
            key: "",
            given_at_ms: 0,
            expires_at_ms: 0,
            now_ms: 0,
        };
        for partition in 0..PARTITIONS {
            if self.claim_in(partition, oldest).await.is_err() {
                return;
            }
        }
    }

    async fn claim_in(&self, partition: u8, claim: ClaimRequest<'_>) -> Result<Claim, StoreError> {
        let script = &self.scripts.claim;
        let mut command = call_of(script, CLAIM_KEYS);
        self.tell_claim_keys(&mut command, partition, &claim);
        tell_claim(&mut command, &claim);
        let ahead_ms = self.ahead_ms(&claim);
        command.arg(claim.now_ms).arg(MARGIN_MS).arg(ahead_ms);
        Ok(claimed(self.link.run(script, &command).await?))
    }

    /// As many as [`CLAIM_KEYS`].
    pub(super) fn tell_claim_keys(
        &self,
        command: &mut Cmd,
        partition: u8,
        claim: &ClaimRequest<'_>,
    ) {
        let [epoch, key] = self.keys.claim(partition, claim.key);
        command.arg(epoch).arg(key);
    }

    /// How far the clocks of issuers, that of this id among them, may be ahead of ours.
    ///
    /// What a clock that is ahead of ours dates after a loss may have been shown before it. Clocks that are ahead stay so,
    /// so whoever was met once is known; a peer whose clock is right waits for nobody.
    pub(super) fn ahead_ms(&self, claim: &ClaimRequest<'_>) -> u64 {
        let ahead_ms = claim.given_at_ms.saturating_sub(claim.now_ms);
        let ahead_ms = ahead_ms.min(MOST_AHEAD_MS);
        let met_ms = self.ahead_ms.fetch_max(ahead_ms, Ordering::Relaxed);
        met_ms.max(ahead_ms)
    }
}

/// What is a claim's own of the arguments of `claim` of `claims.lua`: as many as [`CLAIM_ARGUMENTS`].
pub(super) fn tell_claim(command: &mut Cmd, claim: &ClaimRequest<'_>) {
    command.arg(claim.given_at_ms).arg(claim.expires_at_ms);
}

/// What `claim` of `claims.lua` says.
pub(super) fn claimed(answer: u64) -> Claim {
    match answer {
        0 => Claim::First,
        1 => Claim::Repeated,
        _ => Claim::BeforeEpoch,
    }
}
