//! One webhook: its events in order, one at a time, each until it is accepted or the webhook is given up.
//!
//! A lane holds nothing while it waits: the webhook and the next event are read from the store for each attempt, so that a
//! webhook that was changed or removed meanwhile is what it is now.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use archipel_kit::client::Timeouts;
use archipel_kit::clock::Clock;
use archipel_protocol::a2a::{PushConfig, StreamEvent, Version, v03};
use bytes::Bytes;
use serde::Serialize;
use url::form_urlencoded::byte_serialize;
use uuid::Uuid;

use super::kept;
use super::lease::Lease;
use super::pause::pause;
use super::request::{Outcome, outcome, request};
use super::slots::Slots;
use crate::egress::{Destination, Egress};
use crate::metrics::{PushMetrics, PushOutcome};
use crate::push::PushSettings;
use crate::store::{ClaimStore, StoreError, TaskStore, Webhook, WebhookStore};
use crate::tasks::feed::{LogEvent, Settled};
use crate::tasks::machine::Record;

/// The longest answer that is read; nothing in it counts.
const MAX_ANSWER: usize = 4096;

/// What all lanes share.
#[derive(Debug, Clone)]
pub(super) struct LanePorts {
    pub(super) tasks: Arc<dyn TaskStore>,
    pub(super) webhooks: Arc<dyn WebhookStore>,
    /// Where several replicas are one node.
    pub(super) claims: Option<Arc<dyn ClaimStore>>,
    pub(super) egress: Arc<Egress>,
    pub(super) destination: Destination,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: PushSettings,
    pub(super) slots: Slots,
    pub(super) metrics: PushMetrics,
}

/// The way of one webhook.
pub(super) struct Lane {
    pub(super) ports: LanePorts,
    pub(super) task: Uuid,
    pub(super) webhook: Arc<str>,
    /// There may be more than when the lane last looked.
    pub(super) more: Rc<Cell<bool>>,
    pub(super) lease: Lease,
}

/// Why a lane came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneEnd {
    /// There is nothing to tell now.
    UpToDate,
    /// The webhook is told of nothing more.
    Over,
}

/// What is to be told next.
struct Item {
    body: Bytes,
    /// Number of the last event that is told with it.
    through: u64,
    /// Nothing follows.
    is_last: bool,
}

enum Step {
    Told,
    UpToDate,
    /// The webhook is told of nothing more.
    Over,
    /// To be tried again.
    Failed(Failure),
}

enum Failure {
    Receiver,
    Hopeless,
    /// Ours: the receiver has no part in it.
    Store,
    /// Another replica is at it.
    Elsewhere,
}

impl Lane {
    /// Tells everything there is to tell.
    pub(super) async fn run(mut self) -> LaneEnd {
        let mut failures = 0;
        let mut failing_since = None;
        loop {
            self.more.set(false);
            let failure = match self.step().await {
                Ok(Step::Told) => {
                    failures = 0;
                    failing_since = None;
                    continue;
                }
                Ok(Step::UpToDate) if self.more.get() => continue,
                Ok(Step::UpToDate) => return LaneEnd::UpToDate,
                Ok(Step::Over) => return LaneEnd::Over,
                Ok(Step::Failed(failure)) => failure,
                Err(error) => {
                    tracing::warn!(task.id = %self.task, %error, "a webhook waits for the store");
                    Failure::Store
                }
            };
            failures += 1;
            let now = self.ports.clock.monotonic();
            let is_over = match failure {
                Failure::Receiver => {
                    let since = *failing_since.get_or_insert(now);
                    now.saturating_sub(since) >= self.ports.settings.give_up_after
                }
                Failure::Hopeless => true,
                Failure::Store | Failure::Elsewhere => false,
            };
            if is_over && self.give_up().await {
                return LaneEnd::Over;
            }
            tokio::time::sleep(self.pause(failures)).await;
        }
    }

    /// Tells one event, if there is one.
    async fn step(&mut self) -> Result<Step, StoreError> {
        let Some((_, config)) = self.read().await? else {
            return Ok(Step::Over);
        };
        let Some(host) = host(&config) else {
            return Ok(Step::Failed(Failure::Hopeless));
        };
        let Some(_slot) = self.ports.slots.take(&host).await else {
            return Ok(Step::Over);
        };
        // Waiting may have taken its time.
        let Some((webhook, config)) = self.read().await? else {
            return Ok(Step::Over);
        };
        let Some(item) = self.next(&webhook, &config).await? else {
            return Ok(Step::UpToDate);
        };
        // By where it goes on from: what one attempt tells may reach further than what another replica found before it.
        if !self.is_ours(webhook.delivered).await? {
            return Ok(Step::Failed(Failure::Elsewhere));
        }
        let Some(request) = request(
            &config,
            item.body,
            &format!("\"{}\"", self.key(item.through)),
        ) else {
            return Ok(Step::Failed(Failure::Hopeless));
        };
        let limits = Timeouts {
            total: Some(self.ports.settings.time_limit),
            ..Timeouts::default()
        };
        let egress = &self.ports.egress;
        let answer = egress.send(self.ports.destination, request, limits).await;
        match outcome(&answer) {
            Outcome::Accepted => {}
            Outcome::Failed => {
                self.ports.metrics.deliveries.count(PushOutcome::Failed);
                return Ok(Step::Failed(Failure::Receiver));
            }
            Outcome::Hopeless => return Ok(Step::Failed(Failure::Hopeless)),
        }
        if let Ok(answer) = answer {
            // Read to its end, if it is short, so that the connection can be used again.
            let _irrelevant = answer.read_all(MAX_ANSWER).await;
        }
        self.ports.metrics.deliveries.count(PushOutcome::Accepted);
        let webhooks = &self.ports.webhooks;
        webhooks
            .delivered(self.task, &self.webhook, item.through, item.is_last)
            .await?;
        Ok(if item.is_last { Step::Over } else { Step::Told })
    }

    /// The webhook as it is now, if it is to be told of anything more.
    async fn read(&self) -> Result<Option<(Webhook, PushConfig)>, StoreError> {
        let webhook = self.ports.webhooks.get(self.task, &self.webhook).await?;
        Ok(webhook
            .filter(|webhook| !webhook.done)
            .and_then(|webhook| kept::read(&webhook.config).map(|config| (webhook, config))))
    }

    async fn next(
        &self,
        webhook: &Webhook,
        config: &PushConfig,
    ) -> Result<Option<Item>, StoreError> {
        let after = webhook.delivered;
        match (config.version, after) {
            // The SDKs of 0.3 tell of the task as a whole, whatever happened.
            (Version::V03, _) => self.whole_task(after).await,
            // The opening of a task stands in no event; the log begins behind it.
            (Version::V1, 0) => self.opening().await,
            (Version::V1, _) => self.next_event(after).await,
        }
    }

    async fn whole_task(&self, after: u64) -> Result<Option<Item>, StoreError> {
        let Some(record) = self.record().await?.filter(|record| record.seq > after) else {
            return Ok(None);
        };
        Ok(Some(Item {
            body: json(&v03::task(&record.task))?,
            through: record.seq,
            is_last: record.task.status.state.is_terminal(),
        }))
    }

    async fn opening(&self) -> Result<Option<Item>, StoreError> {
        let Some(record) = self.record().await? else {
            return Ok(None);
        };
        Ok(Some(Item {
            body: json(&StreamEvent::Task(record.as_opened()))?,
            through: 1,
            is_last: false,
        }))
    }

    async fn next_event(&self, after: u64) -> Result<Option<Item>, StoreError> {
        let rows = self.ports.tasks.events(self.task, after, 1).await?;
        let event = rows.into_iter().next().and_then(LogEvent::of);
        Ok(event.map(|event| Item {
            body: event.body,
            through: event.seq,
            is_last: event.settled == Settled::Ended,
        }))
    }

    async fn record(&self) -> Result<Option<Record>, StoreError> {
        let stored = self.ports.tasks.load(self.task).await?;
        stored
            .map(|stored| Record::restore(&stored))
            .transpose()
            .map_err(|invalid| StoreError::Corrupt(invalid.to_string()))
    }

    /// Nobody will try again; whether that is kept.
    async fn give_up(&self) -> bool {
        let webhooks = &self.ports.webhooks;
        let kept = webhooks.delivered(self.task, &self.webhook, 0, true).await;
        if kept.is_ok() {
            self.ports.metrics.deliveries.count(PushOutcome::GivenUp);
            tracing::warn!(task.id = %self.task, "a webhook was given up: its receiver cannot be told");
        }
        kept.is_ok()
    }

    /// What is the same for each attempt to tell this webhook of one event, and for nothing else.
    fn key(&self, event: u64) -> String {
        let webhook: String = byte_serialize(self.webhook.as_bytes()).collect();
        format!("{}/{webhook}/{event}", self.task)
    }

    /// Whether no other replica is telling what comes after that event.
    async fn is_ours(&mut self, after: u64) -> Result<bool, StoreError> {
        let key = self.key(after);
        let Some(claims) = &self.ports.claims else {
            return Ok(true);
        };
        let limit = self.ports.settings.time_limit.as_millis();
        let limit = u64::try_from(limit).unwrap_or(u64::MAX / 4);
        let clock = self.ports.clock.as_ref();
        self.lease.take(claims, clock, (&key, after), limit).await
    }

    fn pause(&self, failures: u32) -> Duration {
        let settings = &self.ports.settings;
        let dice = f64::from(rand::random::<u32>()) / f64::from(u32::MAX);
        pause(failures, settings.retry_first, settings.retry_most, dice)
    }
}

fn json(value: &impl Serialize) -> Result<Bytes, StoreError> {
    let body = serde_json::to_vec(value).map_err(|error| StoreError::Corrupt(error.to_string()));
    body.map(Bytes::from)
}

fn host(config: &PushConfig) -> Option<String> {
    let uri: http::Uri = config.url.parse().ok()?;
    uri.authority()
        .map(|host| host.as_str().to_ascii_lowercase())
}
