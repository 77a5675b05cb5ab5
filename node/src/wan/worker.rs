//! The worker of Hive and Pilox inside the node: what a site does with the envelopes that came (contract/bus.md 8).
//!
//! `log` writes a line for each; `webhook` brings each to one URL until it is accepted, given up after so many attempts. What
//! is given up is kept, and shown with the other dead ones. A receiver may get an envelope twice after a crash; its
//! `Idempotency-Key` tells. The operator chose the URL, so it may be in a private network; redirects are not followed.

use std::sync::Arc;
use std::time::Duration;

use archipel_kit::client::{Answer, ClientError, RequestBody, Timeouts};
use archipel_kit::clock::Clock;
use archipel_kit::settings::Secret;
use archipel_protocol::envelope::Timestamp;
use archipel_protocol::names::Dialect;
use archipel_protocol::wan::WanMessage;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use url::Url;
use uuid::Uuid;

use super::settings::{WanSettings, WorkerMode};
use crate::egress::{Destination, Egress};
use crate::store::wan::{Settlement, WanRow};

/// How long one delivery may take (contract/bus.md 8).
const LIMIT: Duration = Duration::from_secs(60);
/// Deliveries under way at once.
const AT_ONCE: usize = 64;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer that is read; nothing in it counts.
const MAX_ANSWER: usize = 4096;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// See the module.
pub enum Worker {
    Off,
    Log,
    Webhook(Box<Webhook>),
}

/// Where envelopes are brought, and how often that is tried.
pub struct Webhook {
    url: Url,
    bearer: Secret,
    attempts: u32,
    retry: Duration,
    slots: Semaphore,
    dialect: Dialect,
    egress: Arc<Egress>,
    clock: Arc<dyn Clock>,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Attempt {
    Accepted,
    /// It may do later.
    Failed(String),
    /// It would be refused again.
    Refused(String),
}

impl Worker {
    /// As the settings say, which were checked.
    pub fn new(
        settings: &WanSettings,
        dialect: Dialect,
        egress: &Arc<Egress>,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        match (
            settings.worker,
            &settings.webhook_url,
            &settings.webhook_bearer,
        ) {
            (WorkerMode::Log, ..) => Self::Log,
            (WorkerMode::Webhook, Some(url), Some(bearer)) => Self::Webhook(Box::new(Webhook {
                url: url.clone(),
                bearer: bearer.clone(),
                attempts: settings.webhook_attempts,
                retry: settings.webhook_retry,
                slots: Semaphore::new(AT_ONCE),
                dialect,
                egress: Arc::clone(egress),
                clock: Arc::clone(clock),
            })),
            (WorkerMode::Off | WorkerMode::Webhook, ..) => Self::Off,
        }
    }

    /// Does its work on one envelope, and says what became of it.
    pub(super) async fn work(&self, row: &WanRow, message: &WanMessage, event: Uuid) -> Settlement {
        match self {
            Self::Off => Settlement::Done,
            Self::Log => {
                let envelope = &message.envelope;
                tracing::info!(
                    kind = "mesh.wan.envelope",
                    correlation.id = envelope.correlation_id,
                    event.id = %event,
                    source.origin = envelope.source_origin,
                    target.origin = envelope.target_origin,
                    target.handle = envelope.target_handle,
                    "an envelope came"
                );
                Settlement::Done
            }
            Self::Webhook(webhook) => webhook.deliver(row, message, event).await,
        }
    }
}

impl Webhook {
    async fn deliver(&self, row: &WanRow, message: &WanMessage, event: Uuid) -> Settlement {
        let Ok(_slot) = timeout(PATIENCE, self.slots.acquire()).await else {
            // The receiver is slow with others; that is no attempt.
            let due_ms = self.clock.now_ms();
            let attempts = row.attempts;
            return Settlement::Later { due_ms, attempts };
        };
        let attempt = match self.request(row, message, event) {
            Some(request) => {
                let limits = Timeouts {
                    first_byte: Some(LIMIT),
                    idle: Some(LIMIT),
                    total: Some(LIMIT),
                };
                let sent = self.egress.send(Destination::Trusted, request, limits);
                let sent = sent.await;
                let attempt = attempt(&sent);
                if let Ok(answer) = sent {
                    // Read, so that the connection can be used again.
                    let _ = answer.read_all(MAX_ANSWER).await;
                }
                attempt
            }
            None => Attempt::Refused("the webhook's URL or bearer fits in no request".to_owned()),
        };
        let attempts = row.attempts.saturating_add(1);
        let settlement = settlement(attempt, attempts, self.attempts);
        match settlement {
            Settlement::Later { attempts, .. } => {
                let pause = self.retry.saturating_mul(1 << (attempts - 1).min(16));
                let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                let due_ms = self.clock.now_ms().saturating_add(pause_ms);
                Settlement::Later { due_ms, attempts }
            }
            settled => settled,
        }
    }

    fn request(
        &self,
        row: &WanRow,
        message: &WanMessage,
        event: Uuid,
    ) -> Option<Request<RequestBody>> {
        let time = |ms: u64| Timestamp::from_unix_ms(i64::try_from(ms).ok()?).ok();
        let envelope = &message.envelope;
        let body = json!({
            "schema": self.dialect.wan_delivery_schema(),
            "receivedAt": time(self.clock.now_ms())?.to_string(),
            "redisEventId": event.to_string(),
            "correlationId": envelope.correlation_id,
            "envelopeTimestamp": time(row.put_ms)?.to_string(),
            "envelope": envelope.to_value(),
        });
        let mut request = Request::new(RequestBody::from(body.to_string().into_bytes()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.as_str().parse().ok()?;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", self.bearer.expose())).ok()?;
        bearer.set_sensitive(true);
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, bearer);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            IDEMPOTENCY_KEY,
            HeaderValue::from_str(&event.to_string()).ok()?,
        );
        let trace = &message.trace;
        for (name, text) in [
            (TRACEPARENT, trace.traceparent()),
            (TRACESTATE, trace.tracestate()),
        ] {
            // A trace that fits in no header is left out.
            if let Some(value) = text.and_then(|text| HeaderValue::from_str(text).ok()) {
                headers.insert(name, value);
            }
        }
        Some(request)
    }
}

/// What an answer means (contract/bus.md 8).
fn attempt(answer: &Result<Answer, ClientError>) -> Attempt {
    match answer {
        Ok(answer) => judge(answer.status),
        Err(error) => Attempt::Failed(error.to_string()),
    }
}

fn judge(status: StatusCode) -> Attempt {
    match status {
        status if status.is_success() => Attempt::Accepted,
        StatusCode::TOO_MANY_REQUESTS => Attempt::Failed(status.to_string()),
        status if status.is_server_error() => Attempt::Failed(status.to_string()),
        status => Attempt::Refused(status.to_string()),
    }
}

/// What becomes of an envelope after so many attempts of so many that there may be; when it is tried again is open.
fn settlement(attempt: Attempt, attempts: u32, most: u32) -> Settlement {
    match attempt {
        Attempt::Accepted => Settlement::Done,
        Attempt::Failed(_) if attempts < most => Settlement::Later {
            due_ms: 0,
            attempts,
        },
        Attempt::Failed(why) => Settlement::Dead {
            reason: format!("the webhook failed {attempts} times: {why}"),
        },
        Attempt::Refused(why) => Settlement::Dead {
            reason: format!("the webhook refused it: {why}"),
        },
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn check(status: u16, attempts: u32, expected: Settlement) {
        let attempt = judge(StatusCode::from_u16(status).unwrap());
        assert_eq!(
            settlement(attempt, attempts, 4),
            expected,
            "{status} {attempts}"
        );
    }

    #[test]
    fn an_answer_settles_an_envelope() {
        let later = |attempts| Settlement::Later {
            due_ms: 0,
            attempts,
        };
        let dead = |reason: &str| Settlement::Dead {
            reason: reason.to_owned(),
        };
        check(200, 1, Settlement::Done);
        check(204, 4, Settlement::Done);
        check(429, 1, later(1));
        check(503, 3, later(3));
        check(
            500,
            4,
            dead("the webhook failed 4 times: 500 Internal Server Error"),
        );
        check(302, 1, dead("the webhook refused it: 302 Found"));
        check(404, 1, dead("the webhook refused it: 404 Not Found"));
    }
}
