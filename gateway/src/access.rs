//! One log line per request, written when its answer has ended.

use std::{sync::Arc, time::Duration};

use actix_http::{HttpMessage as _, Request, header::HeaderName};
use archipel_kit::clock::Clock;

use crate::config::{AccessLog as Which, AccessLogSettings};

/// Headers and parameters that hold credentials; their values never get into a log.
const CREDENTIALS: [&str; 15] = [
    "access_token",
    "api_key",
    "authorization",
    "cookie",
    "key",
    "proxy-authorization",
    "token",
    "x-hive-federation-jwt",
    "x-hive-federation-proxy-operator-token",
    "x-hive-federation-secret",
    "x-hive-public-a2a-key",
    "x-pilox-federation-jwt",
    "x-pilox-federation-proxy-operator-token",
    "x-pilox-federation-secret",
    "x-pilox-public-a2a-key",
];

/// What stands in their place.
const REDACTED: &str = "[redacted]";

/// Which requests are logged, and what of them.
#[derive(Debug)]
pub(crate) struct AccessLog {
    only_failed: bool,
    headers: Vec<HeaderName>,
    redact: Vec<String>,
}

/// What is known of one request so far.
#[derive(Debug)]
pub(crate) struct Entry {
    only_failed: bool,
    clock: Arc<dyn Clock>,
    began: Duration,
    pub(crate) line: Line,
    /// Bytes of the answer's body that were passed on.
    pub(crate) bytes: u64,
    /// Whether the answer did not come to its end.
    pub(crate) broke_off: bool,
    is_written: bool,
}

/// The fields of its line that do not change.
#[derive(Debug, Default)]
pub(crate) struct Line {
    method: String,
    path: String,
    headers: String,
    pub(crate) client: String,
    pub(crate) status: u16,
    pub(crate) upstream: String,
    pub(crate) refusal: String,
    pub(crate) trace: String,
}

impl AccessLog {
    pub(crate) fn new(settings: &AccessLogSettings) -> Option<Self> {
        if settings.requests == Which::Off {
            return None;
        }
        let names = settings.headers.iter();
        Some(Self {
            only_failed: settings.requests == Which::Failed,
            headers: names
                .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
                .collect(),
            redact: settings
                .redact
                .iter()
                .map(|word| word.to_lowercase())
                .collect(),
        })
    }

    /// Notes what a request says of itself.
    pub(crate) fn begin(&self, request: &Request, clock: &Arc<dyn Clock>) -> Box<Entry> {
        let query = request.uri().query();
        let path = match query {
            Some(query) => format!("{}?{}", request.path(), self.redact_query(query)),
            None => request.path().to_owned(),
        };
        Box::new(Entry {
            only_failed: self.only_failed,
            clock: Arc::clone(clock),
            began: clock.monotonic(),
            line: Line {
                method: request.method().to_string(),
                path,
                headers: self.show_headers(request),
                ..Line::default()
            },
            bytes: 0,
            broke_off: false,
            is_written: false,
        })
    }

    fn show_headers(&self, request: &Request) -> String {
        let shown = self.headers.iter().filter_map(|name| {
            let value = request.headers().get(name)?;
            let value = if self.hides(name.as_str()) {
                REDACTED.into()
            } else {
                String::from_utf8_lossy(value.as_bytes())
            };
            Some(format!("{name}={value:?}"))
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    fn redact_query(&self, query: &str) -> String {
        let shown = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, _)) if self.hides(&name.to_ascii_lowercase()) => {
                format!("{name}={REDACTED}")
            }
            _ => pair.to_owned(),
        });
        shown.collect::<Vec<_>>().join("&")
    }

    fn hides(&self, name: &str) -> bool {
        CREDENTIALS.contains(&name) || self.redact.iter().any(|word| word == name)
    }
}

impl Entry {
    /// The answer has ended, whole or not.
    pub(crate) fn end(mut self: Box<Self>, bytes: u64, broke_off: bool) {
        self.bytes = bytes;
        self.broke_off = broke_off;
        self.write();
    }

    fn write(&mut self) {
        self.is_written = true;
        if self.only_failed && self.line.status < 400 && !self.broke_off {
            return;
        }
        let took = self.clock.monotonic().saturating_sub(self.began);
        let line = &self.line;
        tracing::info!(
            target: "archipel_gateway::access",
            client = line.client,
            method = line.method,
            path = line.path,
            status = line.status,
            bytes = self.bytes,
            duration_ms = took.as_secs_f64() * 1000.0,
            upstream = line.upstream,
            refusal = line.refusal,
            broke_off = self.broke_off,
            trace.id = line.trace,
            headers = line.headers,
            "request"
        );
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.is_written {
            self.write();
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use actix_http::{Uri, header::HeaderValue};
    use archipel_kit::{clock::ManualClock, settings, settings::Environment};

    use super::*;

    #[test]
    fn credentials_do_not_get_into_the_log() {
        let settings = AccessLogSettings {
            requests: Which::All,
            headers: vec![
                "User-Agent".to_owned(),
                "Authorization".to_owned(),
                "X-Own".to_owned(),
            ],
            redact: vec!["X-Own".to_owned(), "Secret".to_owned()],
        };
        let log = AccessLog::new(&settings).unwrap();
        let mut request = Request::new();
        *request.uri_mut() = Uri::from_static("/agents/a?x=1&token=t&secret=s&KEY=k&flag");
        for (name, value) in [
            ("user-agent", "tests \"quoted\""),
            ("authorization", "Bearer hunter2"),
            ("x-own", "hunter3"),
        ] {
            request.headers_mut().insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(0));
        let entry = log.begin(&request, &clock);
        assert_eq!(
            entry.line.path,
            "/agents/a?x=1&token=[redacted]&secret=[redacted]&KEY=[redacted]&flag"
        );
        assert_eq!(
            entry.line.headers,
            r#"user-agent="tests \"quoted\"" authorization="[redacted]" x-own="[redacted]""#
        );
        let off: AccessLogSettings = settings::load(None, &Environment::default()).unwrap();
        assert!(AccessLog::new(&off).is_none());
    }
}
