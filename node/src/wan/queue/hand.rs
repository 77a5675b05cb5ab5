//! How long an envelope is with whoever sees to it, before another replica takes it in hand.

use crate::store::wan::WanSide;

/// Longer than what is done with an envelope that came may take.
const CAME_MS: u64 = 120_000;
/// Longer than a broker takes. If it took longer still, it would know the envelope again.
const GOES_MS: u64 = 20_000;

/// In milliseconds.
pub(super) const fn hand_ms(side: WanSide) -> u64 {
    match side {
        WanSide::In => CAME_MS,
        WanSide::Out => GOES_MS,
    }
}
