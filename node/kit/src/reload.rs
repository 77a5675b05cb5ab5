//! Looking for changes while a program runs: every so often, and at SIGHUP.

use std::io;
use std::time::Duration;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

/// What became of looking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// Nothing differs.
    Same,
    /// What differs is in force; whoever put it there has told so.
    Taken,
    /// What was before still holds; the problems, one per line.
    Refused(String),
}

/// Waits for SIGHUP and for time to pass. Made early, because the signal ends a process that does not listen.
#[derive(Debug)]
pub struct Reload {
    /// What is looked at, for the log.
    what: &'static str,
    hangup: Signal,
    /// A problem is told when it appears, not every time it is met.
    told: Option<String>,
}

impl Reload {
    /// Starts to listen; must be called inside a Tokio runtime. `what` is named in the log.
    ///
    /// # Errors
    /// When the signal's handler cannot be installed.
    pub fn listen(what: &'static str) -> io::Result<Self> {
        Ok(Self {
            what,
            hangup: signal(SignalKind::hangup())?,
            told: None,
        })
    }

    /// Waits until it is time to look: `interval` has passed (zero: never does) or SIGHUP has come, which is the answer.
    pub async fn due(&mut self, interval: Duration) -> bool {
        tokio::select! {
            _ = self.hangup.recv() => true,
            () = sleep(interval), if !interval.is_zero() => false,
        }
    }

    /// Tells what came of looking; `asked` says that somebody waits for an answer in the log. Whether it is news: of one
    /// problem that is met again and again, only the first time is.
    pub fn tell(&mut self, look: &Look, asked: bool) -> bool {
        let what = self.what;
        let is_news = match look {
            Look::Same if asked => {
                tracing::info!(what, "configuration has not changed");
                false
            }
            Look::Same => false,
            Look::Taken => true,
            Look::Refused(problems) => {
                let is_news = asked || self.told.as_ref() != Some(problems);
                if is_news {
                    tracing::error!(what, problems, "configuration was not taken");
                }
                is_news
            }
        };
        self.told = match look {
            Look::Refused(problems) => Some(problems.clone()),
            Look::Same | Look::Taken => None,
        };
        is_news
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_passes_and_zero_is_never() {
        let mut reload = Reload::listen("tests").unwrap();
        assert!(!reload.due(Duration::from_secs(5)).await);
        let never = tokio::time::timeout(Duration::from_secs(3600), reload.due(Duration::ZERO));
        assert!(never.await.is_err());
    }

    #[tokio::test]
    async fn one_problem_is_told_once_unless_somebody_asks() {
        let mut reload = Reload::listen("tests").unwrap();
        let bad = |what: &str| Look::Refused(what.to_owned());
        for (look, asked, news) in [
            (bad("one"), false, true),
            (bad("one"), false, false),
            (bad("one"), true, true),
            (bad("two"), false, true),
            (Look::Same, false, false),
            (bad("two"), false, true),
            (Look::Taken, false, true),
        ] {
            assert_eq!(reload.tell(&look, asked), news, "{look:?} {asked}");
        }
    }
}
