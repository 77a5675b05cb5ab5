//! Claims: one key each, which Redis forgets by itself some time after the claim is over.

use async_trait::async_trait;

use super::RedisStore;
use crate::store::{Claim, ClaimRequest, ClaimStore, StoreError};

/// How much longer a claim is remembered than it must be: the clocks of replicas differ by less.
const MARGIN_MS: u64 = 120_000;

#[async_trait]
impl ClaimStore for RedisStore {
    async fn claim(&self, claim: ClaimRequest<'_>) -> Result<Claim, StoreError> {
        let [epoch, key] = self.keys.claim(claim.key);
        let mut script = self.scripts.claim.key(epoch);
        script
            .key(key)
            .arg(claim.given_at_ms)
            .arg(claim.expires_at_ms)
            .arg(claim.now_ms)
            .arg(MARGIN_MS);
        let answer: u8 = self.link.invoke(&script).await?;
        Ok(match answer {
            0 => Claim::First,
            1 => Claim::Repeated,
            _ => Claim::BeforeEpoch,
        })
    }
}
