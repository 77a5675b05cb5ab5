//! When a call to a peer is made again: pure, with time and chance passed in.
//!
//! A call may have had its effect as soon as the peer has it, so it is made again only when nothing of it was sent, when the
//! peer says that it did not look at it, or when it only reads. Each attempt has a token of its own.

use std::time::Duration;

use archipel_kit::client::{Answer, ClientError};
use http::StatusCode;
use http::header::WWW_AUTHENTICATE;

use crate::error::MINT_AGAIN;
use crate::metrics::Repeated;

/// Most repetitions of one call.
const MOST: u32 = 2;

/// The longest pause before the first repetition; each further one may take four times as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// How far a call has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// Repetitions so far.
    pub(super) repeated: u32,
    /// Since the first attempt.
    pub(super) elapsed: Duration,
    /// How long the caller is to wait for the beginning of an answer.
    pub(super) patience: Duration,
}

/// Why a call may be made again; `None` when it must not.
pub(super) fn why(outcome: &Result<Answer, ClientError>, only_reads: bool) -> Option<Repeated> {
    match outcome {
        Ok(answer) if asks_for_another_token(answer) => Some(Repeated::MintAgain),
        Err(ClientError::Connect(_)) => Some(Repeated::NotSent),
        Err(ClientError::Other(_)) if only_reads => Some(Repeated::Read),
        // A time limit that has passed would pass again, and an address that is refused stays so.
        _ => None,
    }
}

/// How long to wait before a call is made again; `None` when it has been made often enough. `chance` is from 0 to 1.
pub(super) fn pause(
    why: Repeated,
    progress: Progress,
    now_ms: u64,
    chance: f64,
) -> Option<Duration> {
    if progress.repeated >= MOST {
        return None;
    }
    let random = FIRST_PAUSE.mul_f64(chance) * 4_u32.pow(progress.repeated);
    let pause = match why {
        // Tokens count whole seconds, so one that is newer for certain is minted in the next.
        Repeated::MintAgain => Duration::from_millis(1000 - now_ms % 1000) + random,
        Repeated::NotSent | Repeated::Read => random,
    };
    (progress.elapsed + pause < progress.patience).then_some(pause)
}

/// Whether a peer has forgotten which tokens it has taken, and therefore takes only newer ones.
fn asks_for_another_token(answer: &Answer) -> bool {
    answer.status == StatusCode::UNAUTHORIZED
        && answer
            .headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .any(|challenge| challenge == MINT_AGAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn check(why: Repeated, repeated: u32, elapsed: Duration, expected: Option<u64>) {
        let progress = Progress {
            repeated,
            elapsed,
            patience: 10 * SECOND,
        };
        let found = pause(why, progress, 7_300, 0.5);
        assert_eq!(
            found,
            expected.map(Duration::from_millis),
            "{why:?} {progress:?}"
        );
    }

    #[test]
    fn pauses_grow_and_end() {
        check(Repeated::NotSent, 0, Duration::ZERO, Some(25));
        check(Repeated::NotSent, 1, Duration::ZERO, Some(100));
        check(Repeated::NotSent, 2, Duration::ZERO, None);
        check(Repeated::Read, 1, SECOND, Some(100));
        check(Repeated::Read, 0, 10 * SECOND, None);
    }

    #[test]
    fn another_token_is_minted_in_another_second() {
        check(Repeated::MintAgain, 0, Duration::ZERO, Some(725));
        check(Repeated::MintAgain, 1, SECOND, Some(800));
        check(Repeated::MintAgain, 2, SECOND, None);
    }

    #[test]
    fn only_what_had_no_effect_is_made_again() {
        let check = |error: ClientError, only_reads, expected| {
            assert_eq!(why(&Err(error), only_reads), expected);
        };
        let lost = || ClientError::Other("reset".to_owned());
        check(lost(), false, None);
        check(lost(), true, Some(Repeated::Read));
        let away = ClientError::Connect("refused".to_owned());
        check(away, false, Some(Repeated::NotSent));
        for only_reads in [false, true] {
            check(ClientError::Refused("host".to_owned()), only_reads, None);
            check(ClientError::ConnectTimeout, only_reads, None);
            check(ClientError::FirstByteTimeout, only_reads, None);
            check(ClientError::TooLarge(1), only_reads, None);
        }
    }
}
