//! What was tried and how it went: recorded for the JSON report, told to the screen as it happens.

use std::cell::RefCell;
use std::time::Duration;

use archipel_kit::clock::{Clock, SystemClock};
use serde::Serialize;

use crate::screen::Screen;

/// The report of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    ok: bool,
    steps: Vec<Step>,
}

/// One thing that was tried.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) ok: bool,
    /// Milliseconds, to the tenth.
    pub(crate) ms: f64,
    /// What was seen, or why it failed.
    pub(crate) detail: String,
}

/// Runs steps and remembers how each went.
pub(crate) struct Recorder<'a> {
    screen: &'a Screen,
    clock: SystemClock,
    steps: RefCell<Vec<Step>>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(screen: &'a Screen) -> Self {
        Self {
            screen,
            clock: SystemClock::new(),
            steps: RefCell::default(),
        }
    }

    pub(crate) fn screen(&self) -> &Screen {
        self.screen
    }

    /// Time since the recorder was made.
    pub(crate) fn elapsed(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Milliseconds since 1970.
    pub(crate) fn now_unix_ms(&self) -> i64 {
        i64::try_from(self.clock.now_ms()).unwrap_or(i64::MAX)
    }

    /// Awaits a step that answers with a detail and a value; a failed one gives None.
    pub(crate) async fn step<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = anyhow::Result<(String, T)>>,
    ) -> Option<T> {
        self.screen.begin(name);
        let started = self.elapsed();
        let result = work.await;
        let ms = tenths_of_ms(self.elapsed().saturating_sub(started));
        let (ok, detail, value) = match result {
            Ok((detail, value)) => (true, detail, Some(value)),
            Err(error) => (false, format!("{error:#}"), None),
        };
        let step = Step {
            name,
            ok,
            ms,
            detail,
        };
        self.screen.end(&step);
        self.steps.borrow_mut().push(step);
        value
    }

    pub(crate) fn all_ok(&self) -> bool {
        self.steps.borrow().iter().all(|step| step.ok)
    }

    pub(crate) fn report(&self, ok: bool) -> Report {
        Report {
            ok,
            steps: self.steps.borrow().clone(),
        }
    }
}

/// Milliseconds with one digit after the point: finer ones are noise.
pub(crate) fn tenths_of_ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::{Recorder, tenths_of_ms};
    use crate::screen::Screen;

    #[tokio::test]
    async fn the_report_holds_every_step() {
        let screen = Screen::silent();
        let recorder = Recorder::new(&screen);
        assert_eq!(
            recorder
                .step("good", async { Ok(("seen".to_owned(), 7)) })
                .await,
            Some(7)
        );
        assert!(recorder.all_ok());
        let failed = async { Err::<(String, ()), _>(anyhow::anyhow!("cause").context("what")) };
        assert_eq!(recorder.step("bad", failed).await, None);
        assert!(!recorder.all_ok());

        let mut report: Value = serde_json::to_value(recorder.report(false)).unwrap();
        for step in report
            .pointer_mut("/steps")
            .unwrap()
            .as_array_mut()
            .unwrap()
        {
            assert!(
                step.as_object_mut()
                    .unwrap()
                    .remove("ms")
                    .unwrap()
                    .is_number()
            );
        }
        let steps = json!([
            {"name": "good", "ok": true, "detail": "seen"},
            {"name": "bad", "ok": false, "detail": "what: cause"},
        ]);
        assert_eq!(report, json!({"ok": false, "steps": steps}));
    }

    #[test]
    fn milliseconds_have_one_digit() {
        assert_eq!(
            tenths_of_ms(Duration::from_micros(1_260)).to_string(),
            "1.3"
        );
    }
}
