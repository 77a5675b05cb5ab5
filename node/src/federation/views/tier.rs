//! What is told of the public tier.

use std::time::Duration;

use serde_json::{Value, json};

use crate::public::{PublicSettings, PublicTier};

/// How calls beyond a limit are answered (contract/public-tier.md 5).
const STATUS: u16 = 429;
const CODE: i64 = -32005;

/// In the status of the A2A surface.
pub(super) fn status(settings: &PublicSettings, tier: Option<&PublicTier>) -> Value {
    let identity = settings.identity_header.as_ref().map(|header| {
        let (max, window) = (
            settings.identity_rate_limit,
            settings.identity_rate_limit_window,
        );
        json!({"headerName": header, "maxRequests": max, "windowMs": millis(window)})
    });
    let block = settings.reputation_block.then(|| {
        json!({
            "badEventThreshold": settings.reputation_block_threshold,
            "retryAfterSeconds": settings.reputation_block_retry_after.as_secs(),
        })
    });
    let has_keys = tier.is_some_and(|tier| !tier.keys.is_empty());
    let of_key = has_keys.then(|| {
        rate(
            settings.api_key_rate_limit,
            settings.api_key_rate_limit_window,
        )
    });
    json!({
        "enabled": tier.is_some(),
        "allowedMethods": tier.map(|tier| tier.methods.names()).unwrap_or_default(),
        "rateLimit": rate(settings.rate_limit, settings.rate_limit_window),
        "identityRateLimit": identity,
        "reputationTracking": settings.reputation,
        "reputationBlock": block,
        "apiKeys": {
            "configured": has_keys,
            "required": settings.require_api_key,
            "scopesEnabled": has_scopes(tier),
            "rateLimit": of_key,
        },
        "rateLimitedResponse": {"httpStatus": STATUS, "jsonRpcErrorCode": CODE},
    })
}

/// In the descriptor.
pub(super) fn descriptor(settings: &PublicSettings, tier: Option<&PublicTier>) -> Value {
    json!({
        "reputationCounters": settings.reputation,
        "reputationBlock": settings.reputation_block,
        "scopesEnabled": has_scopes(tier),
    })
}

/// A limit.
pub(super) fn rate(max: u32, window: Duration) -> Value {
    json!({"maxRequests": max, "windowMs": millis(window)})
}

fn has_scopes(tier: Option<&PublicTier>) -> bool {
    tier.is_some_and(|tier| tier.keys.scopes().next().is_some())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
