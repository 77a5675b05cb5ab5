//! Metrics over names that only the configuration knows, such as those of servers. Their number is the operator's choice.

use std::{sync::Arc, time::Duration};

use opentelemetry::{
    KeyValue,
    metrics::{Histogram, Meter},
};

use super::SECONDS;

/// How long something took, apart for each name.
#[derive(Debug, Clone)]
pub struct NamedHistogram {
    inner: Histogram<f64>,
    label: &'static str,
}

impl NamedHistogram {
    /// Declares it. `label` is the label that holds the names.
    pub fn new(meter: &Meter, name: &'static str, help: &'static str, label: &'static str) -> Self {
        let inner = meter
            .f64_histogram(name)
            .with_description(help)
            .with_boundaries(SECONDS.to_vec())
            .build();
        Self { inner, label }
    }

    /// The series of one name; keep it, so that recording allocates nothing.
    pub fn series(&self, name: &str) -> NamedSeries {
        NamedSeries {
            inner: self.inner.clone(),
            attributes: Arc::new([KeyValue::new(self.label, name.to_owned())]),
        }
    }
}

/// One series of a [`NamedHistogram`].
#[derive(Debug, Clone)]
pub struct NamedSeries {
    inner: Histogram<f64>,
    attributes: Arc<[KeyValue; 1]>,
}

impl NamedSeries {
    /// Records one duration.
    pub fn record(&self, duration: Duration) {
        self.inner.record(duration.as_secs_f64(), &*self.attributes);
    }
}

/// Declares a gauge that is read when somebody asks for the metrics: `read` gives each name and its value.
pub fn observe_named<R, N>(
    meter: &Meter,
    name: &'static str,
    help: &'static str,
    label: &'static str,
    read: R,
) where
    R: Fn() -> Vec<(N, i64)> + Send + Sync + 'static,
    N: Into<String>,
{
    meter
        .i64_observable_gauge(name)
        .with_description(help)
        .with_callback(move |observer| {
            for (named, value) in read() {
                observer.observe(value, &[KeyValue::new(label, named.into())]);
            }
        })
        .build();
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::{
        settings::{self, Environment},
        telemetry::Telemetry,
    };

    #[test]
    fn each_name_has_its_series() {
        let settings = settings::load(None, &Environment::default()).unwrap();
        let telemetry = Telemetry::start(&settings, "named").unwrap();
        let meter = telemetry.meter();
        let times = NamedHistogram::new(&meter, "archipel_test_seconds", "Times.", "server");
        times.series("a").record(Duration::from_millis(3));
        observe_named(&meter, "archipel_test_up", "Up.", "server", || {
            vec![("a", 1), ("b", 0)]
        });
        let text = telemetry.metrics_text();
        for line in [
            "archipel_test_seconds_count{server=\"a\"} 1",
            "archipel_test_up{server=\"a\"} 1",
            "archipel_test_up{server=\"b\"} 0",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        telemetry.shutdown();
    }
}
