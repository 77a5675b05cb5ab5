//! How long after a failure a delivery is tried again: twice as long each time, up to a bound, and never quite the same,
//! so that receivers that come back are not met by everybody at once.

use std::time::Duration;

/// The pause after the failure number `failures`, which counts from 1. `dice` is from 0 to 1: the pause is between half
/// and all of what it could be.
pub(crate) fn pause(failures: u32, first: Duration, most: Duration, dice: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    let whole = first.saturating_mul(1 << doublings).min(most);
    whole.mul_f64(0.5 + dice.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        let seconds = Duration::from_secs;
        for (failures, dice, expected) in [
            (1, 1.0, 1.0),
            (1, 0.0, 0.5),
            (2, 1.0, 2.0),
            (4, 0.5, 6.0),
            (7, 1.0, 60.0),
            (u32::MAX, 1.0, 60.0),
            (u32::MAX, 0.0, 30.0),
        ] {
            let pause = pause(failures, seconds(1), seconds(60), dice);
            assert_eq!(
                pause,
                Duration::from_secs_f64(expected),
                "{failures} {dice}"
            );
        }
    }
}
