//! Logs, traces and metrics of one process.
//!
//! Read `log` (lines leave through a thread, never through a worker), then `metrics` (what is counted, and how cheaply),
//! and `trace` (how spans are joined to those of others).
//!
//! Logs go to standard error. Traces and metrics are sent by OTLP only when an endpoint is set; metrics can always be
//! read as Prometheus text.

mod log;
pub mod metrics;
pub mod trace;

use std::{io::IsTerminal as _, time::Duration};

use opentelemetry::{
    global,
    metrics::{Meter, MeterProvider as _},
    trace::TracerProvider as _,
};
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, Protocol, SpanExporter, WithExportConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
    propagation::TraceContextPropagator,
    trace::SdkTracerProvider,
};
use prometheus::TextEncoder;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt, layer::SubscriberExt as _, reload,
    util::SubscriberInitExt as _,
};

use crate::{settings, settings::Scalar};

settings! {
    /// What the process tells about itself.
    pub struct TelemetrySettings {
        /// Which log lines are written, as in the `RUST_LOG` convention: a level, or a list such as
        /// `info,archipel_node=debug`. The default keeps the web server quiet, which calls every malformed request of a
        /// client an error.
        pub log: LogFilter = "info,actix_http=off,actix_server=warn", env ["ARCHIPEL_LOG", "RUST_LOG"];
        /// How log lines look: `text` for people, `json` for collectors.
        pub log_format: LogFormat = "text", env ["ARCHIPEL_LOG_FORMAT"];
        /// Base URL of an OTLP/HTTP collector. Unset: nothing is sent. Spans of a level that `log` leaves out are not
        /// sent either.
        pub otlp_endpoint: Option<url::Url>, env ["OTEL_EXPORTER_OTLP_ENDPOINT"], example "http://127.0.0.1:4318";
        /// The name under which this process appears there. Unset: the name of the program.
        pub service_name: Option<String>, env ["OTEL_SERVICE_NAME"], example "archipel";
        /// How often metrics are sent there.
        pub export_interval: std::time::Duration = "10s", in "1s"..="10m", env ["OTEL_METRIC_EXPORT_INTERVAL_MS"];
        /// Sends nothing, whatever else is set.
        pub otlp_disabled: bool = false, env ["OTEL_SDK_DISABLED"];
    }
}

settings! {
    /// How log lines look.
    pub enum LogFormat {
        /// One line of text, coloured on a terminal.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
}

/// Which log lines are written; always well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    fn directives(&self) -> EnvFilter {
        // It was parsed when it was made, so nothing is left out here.
        EnvFilter::builder().parse_lossy(&self.0)
    }
}

impl Scalar for LogFilter {
    const EXPECTED: &'static str = "a level or a list such as `info,archipel_node=debug`";
    const SAMPLE: &'static str = "\"info\"";

    fn from_text(text: &str) -> Option<Self> {
        let parsed = EnvFilter::builder().parse(text);
        parsed.is_ok().then(|| Self(text.to_owned()))
    }
}

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The exporter cannot be made, for example because of its URL.
    #[error("the OTLP exporter cannot be made")]
    Exporter(#[from] ExporterBuildError),
    /// The registry of metrics refused its reader.
    #[error("metrics cannot be read")]
    Metrics(#[from] opentelemetry_sdk::error::OTelSdkError),
    /// The thread that writes log lines cannot be started.
    #[error("the thread that writes log lines cannot be started")]
    Thread(#[from] std::io::Error),
}

/// The telemetry of one program. Each has its own metrics; log lines and traces belong to the process, so the first
/// one started decides how they look.
#[derive(Debug)]
pub struct Telemetry {
    registry: prometheus::Registry,
    meters: SdkMeterProvider,
    traces: Option<SdkTracerProvider>,
    log: log::LogWriter,
    /// Changes which lines are written; none where another telemetry of this process decides.
    filter: Option<reload::Handle<EnvFilter, Registry>>,
}

impl Telemetry {
    /// Starts telemetry under a service name (for example `archipel-gateway`).
    ///
    /// # Errors
    /// When the exporter's URL is not well formed, or the process may start no further thread.
    pub fn start(settings: &TelemetrySettings, service_name: &str) -> Result<Self, TelemetryError> {
        let filter = settings.log.directives();
        let name = settings
            .service_name
            .clone()
            .unwrap_or_else(|| service_name.to_owned());
        let resource = Resource::builder().with_service_name(name).build();
        let endpoint = settings
            .otlp_endpoint
            .as_ref()
            .filter(|_| !settings.otlp_disabled);

        let registry = prometheus::Registry::new();
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_units()
            .without_counter_suffixes()
            .scope_info_enabled(false)
            .without_target_info()
            .build()?;
        let mut meters = SdkMeterProvider::builder()
            .with_resource(resource.clone())
            .with_reader(reader);
        let mut traces = None;
        if let Some(endpoint) = endpoint {
            let exporter = MetricExporter::builder()
                .with_http()
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(signal_url(endpoint, "metrics"))
                .build()?;
            meters = meters.with_reader(
                PeriodicReader::builder(exporter)
                    .with_interval(settings.export_interval)
                    .build(),
            );
            traces = Some(trace_provider(endpoint, resource)?);
        }
        let log = log::LogWriter::start()?;
        let filter = install(settings, filter, &log, traces.as_ref());
        Ok(Self {
            registry,
            meters: meters.build(),
            traces,
            log,
            filter,
        })
    }

    /// Whether spans are sent to anybody, so that making them is worth it.
    pub fn sends_traces(&self) -> bool {
        self.traces.is_some()
    }

    /// Which log lines are written, as it was set last.
    pub fn log_filter(&self) -> Option<String> {
        self.filter.as_ref()?.with_current(ToString::to_string).ok()
    }

    /// Changes which log lines are written, from now on. Gives whether that was possible: the process has one log, and
    /// the telemetry that started first decides about it.
    pub fn set_log_filter(&self, filter: &LogFilter) -> bool {
        let handle = self.filter.as_ref();
        handle.is_some_and(|handle| handle.reload(filter.directives()).is_ok())
    }

    /// The meter that the program's metrics are declared on; see [`metrics!`](crate::metrics!).
    pub fn meter(&self) -> Meter {
        self.meters.meter("archipel")
    }

    /// All metrics in the Prometheus text format, version 0.0.4.
    pub fn metrics_text(&self) -> String {
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be written");
        }
        text
    }

    /// Sends what is still to be sent and writes the last log lines. Blocks for a moment at most.
    pub fn shutdown(&self) {
        const LIMIT: Duration = Duration::from_secs(2);
        if let Some(traces) = &self.traces
            && let Err(error) = traces.shutdown_with_timeout(LIMIT)
        {
            tracing::warn!(%error, "last traces were not sent");
        }
        if let Err(error) = self.meters.shutdown_with_timeout(LIMIT) {
            tracing::debug!(%error, "last metrics were not sent");
        }
        self.log.flush();
    }
}

fn trace_provider(
    endpoint: &url::Url,
    resource: Resource,
) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(signal_url(endpoint, "traces"))
        .build()?;
    global::set_text_map_propagator(TraceContextPropagator::new());
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}

/// The URL of one signal below the collector's base URL (OTLP specification, "Endpoint URLs for OTLP/HTTP").
fn signal_url(base: &url::Url, signal: &str) -> String {
    format!("{}/v1/{signal}", base.as_str().trim_end_matches('/'))
}

/// Makes log lines and traces of this telemetry those of the process. A second one in the same process (tests start
/// many) finds the place taken and leaves it so.
fn install(
    settings: &TelemetrySettings,
    filter: EnvFilter,
    log: &log::LogWriter,
    traces: Option<&SdkTracerProvider>,
) -> Option<reload::Handle<EnvFilter, Registry>> {
    let (filter, handle) = reload::Layer::new(filter);
    let lines = fmt::layer().with_writer(log.clone());
    let lines = match settings.log_format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let spans = traces
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("archipel")));
    let installed = Registry::default()
        .with(filter)
        .with(spans)
        .with(lines)
        .try_init();
    installed.is_ok().then_some(handle)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::settings::{self, Environment};

    #[test]
    fn it_starts_twice_and_each_has_its_own_metrics() {
        let settings: TelemetrySettings = settings::load(None, &Environment::default()).unwrap();
        let first = Telemetry::start(&settings, "first").unwrap();
        let second = Telemetry::start(&settings, "second").unwrap();
        let counter: metrics::Counter<()> =
            metrics::Metric::register(&first.meter(), "archipel_test_things_total", "Things.");
        counter.count(());
        assert!(
            first
                .metrics_text()
                .contains("archipel_test_things_total 1"),
            "{}",
            first.metrics_text()
        );
        assert!(!second.metrics_text().contains("archipel_test_things_total"));
        first.shutdown();
        second.shutdown();
    }

    fn filter(text: &str) -> Result<TelemetrySettings, settings::Problems> {
        settings::load(None, &[("ARCHIPEL_LOG", text)].into_iter().collect())
    }

    #[test]
    fn a_bad_filter_is_a_problem_of_its_key() {
        for wrong in ["info,no=such=level", "not,,a=valid=filter"] {
            let expected = format!(
                "ARCHIPEL_LOG: expected a level or a list such as `info,archipel_node=debug`, found {wrong:?}"
            );
            assert_eq!(filter(wrong).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn the_web_server_is_quiet_unless_it_is_asked_for() {
        use tracing::Level;
        let check = |settings: TelemetrySettings, refused: bool, stopped: bool, ours: bool| {
            let lines = Registry::default().with(settings.log.directives());
            tracing::subscriber::with_default(lines, || {
                let told = (
                    tracing::enabled!(target: "actix_http::h1::dispatcher", Level::ERROR),
                    tracing::enabled!(target: "actix_server::builder", Level::INFO),
                    tracing::enabled!(target: "archipel_node::app", Level::INFO),
                );
                assert_eq!(told, (refused, stopped, ours), "{:?}", settings.log);
            });
        };
        let default: TelemetrySettings = settings::load(None, &Environment::default()).unwrap();
        check(default, false, false, true);
        check(filter("info").unwrap(), true, true, true);
        check(filter("warn").unwrap(), true, false, false);
    }

    #[test]
    fn signals_go_below_the_base_url() {
        let check = |base: &str| {
            assert_eq!(
                signal_url(&base.parse().unwrap(), "traces"),
                "http://collector:4318/v1/traces"
            );
        };
        check("http://collector:4318");
        check("http://collector:4318/");
    }
}
