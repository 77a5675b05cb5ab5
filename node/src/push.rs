//! Webhooks: who is told of a task's events by HTTP, and the telling.
//!
//! Owns [`Webhooks`], the operations on them. Read `kept` (what of a webhook is stored), `signal` (how tasks say that there
//! is something to tell), `notifier` (the actor that sees to it), `lane` (one webhook: its events in order, one at a
//! time), `request` (one delivery and what its answer means), `pause` (how long after a failure) and `slots` (how many at
//! once), `lease` (which replica).
//!
//! The store is the queue: an event counts as told when the receiver has accepted it and the store has the new place of
//! the webhook. So nothing is lost or told out of order when the node dies, but the event that was on its way then is told
//! once more; its `Idempotency-Key` is the same. Whoever chose the URL is not trusted: it passes the egress guard when the
//! webhook is made and again at each delivery, and redirects are not followed.

use std::sync::Arc;
use std::time::Duration;

use archipel_kit::settings;
use archipel_protocol::a2a::{
    ListPushConfigsParams, PushConfig, PushConfigList, PushConfigParams, TaskState, Version,
};
use archipel_protocol::error::RpcError;
use archipel_protocol::object::Invalid;
use uuid::Uuid;

use crate::egress::{Destination, Egress};
use crate::store::{Put, StoreError, StoredTask, TaskStore, Webhook, WebhookStore};
use crate::tasks::command::{NewWebhook, TaskCaller, TaskError};
use crate::tasks::task_id;

mod kept;
mod lane;
mod lease;
pub mod notifier;
pub(crate) mod pause;
mod request;
pub mod signal;
mod slots;

pub use signal::PushSignal;

settings! {
    /// Webhooks: how the events of tasks are told to those who asked for it.
    pub struct PushSettings {
        /// Whether webhooks may be anywhere, loopback and private networks included. For development: anybody who may
        /// talk to an agent can then make this node call its neighbours.
        pub allow_private: bool = false, env ["ARCHIPEL_PUSH_ALLOW_PRIVATE"];
        /// How long one delivery may take.
        pub time_limit: Duration = "15s", in "1s"..="30s";
        /// How long after the first failure a delivery is tried again; doubled with each further one.
        pub retry_first: Duration = "1s", in "10ms"..="1m";
        /// How long a delivery is put off at most.
        pub retry_most: Duration = "1m", in "10ms"..="1h";
        /// How long one event is tried before its webhook is given up. The time starts anew with the node.
        pub give_up_after: Duration = "1h", in "1s"..="7d";
        /// Deliveries under way at once, for all receivers together.
        pub at_once: usize = 64, in 1..=1024;
        /// Deliveries under way at once to one host, so that a slow one leaves room for the others.
        pub at_once_per_host: usize = 8, in 1..=1024;
    }
}

impl PushSettings {
    /// Who is said to have chosen the URLs.
    pub(crate) fn destination(&self) -> Destination {
        if self.allow_private {
            Destination::Trusted
        } else {
            Destination::Outside
        }
    }
}

/// Why an operation on a webhook was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// There is no such task, it belongs to somebody else, or it has no such webhook.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// It is none that may be called.
    #[error("is of a host that may not be called")]
    Host,
    /// As many as there may be.
    #[error("the task has as many webhooks as it may")]
    TooMany,
}

impl WebhookError {
    /// How it is told, of task `id`, whose URL stood at `url` in the request.
    pub fn told(&self, id: Option<&str>, url: &str) -> RpcError {
        match self {
            Self::Task(error) => error.told(id),
            Self::Host => Invalid::new(url, self.to_string()).into(),
            Self::TooMany => Invalid::new("", self.to_string()).into(),
        }
    }
}

impl From<StoreError> for WebhookError {
    fn from(error: StoreError) -> Self {
        Self::Task(TaskError::NotKept(error))
    }
}

/// The operations on webhooks. Every one of them compares the caller with the owner of the task.
#[derive(Debug, Clone)]
pub struct Webhooks {
    tasks: Arc<dyn TaskStore>,
    webhooks: Arc<dyn WebhookStore>,
    egress: Arc<Egress>,
    destination: Destination,
    signal: PushSignal,
}

impl Webhooks {
    /// The operations on what is in the stores.
    pub fn new(
        tasks: Arc<dyn TaskStore>,
        webhooks: Arc<dyn WebhookStore>,
        egress: Arc<Egress>,
        destination: Destination,
        signal: PushSignal,
    ) -> Self {
        Self {
            tasks,
            webhooks,
            egress,
            destination,
            signal,
        }
    }

    /// Makes a webhook, or changes the one of that id; it comes back with its id. It is told of what happens from now on.
    /// One that is changed goes on where it was.
    ///
    /// # Errors
    /// Why not.
    pub async fn create(
        &self,
        caller: &TaskCaller,
        mut config: PushConfig,
    ) -> Result<PushConfig, WebhookError> {
        let named = config.task_id.as_deref().unwrap_or_default();
        let (task, stored) = self.owned(named, caller).await?;
        let id = config.id.get_or_insert_with(new_id).clone();
        self.check_host(&config).await?;
        let known = self.webhooks.get(task, &id).await?;
        let delivered = match known.filter(|known| !known.done) {
            Some(known) => known.delivered,
            None => last_event(&stored),
        };
        let webhook = Webhook {
            task,
            id: id.as_str().into(),
            config: kept::write(&config),
            delivered,
            done: has_ended(&stored) && delivered >= last_event(&stored),
        };
        match self.webhooks.put(webhook).await? {
            Put::Kept => {
                self.signal.registered(task);
                Ok(config)
            }
            Put::TooMany => Err(WebhookError::TooMany),
            Put::NoTask => Err(TaskError::NotFound.into()),
        }
    }

    /// A webhook that comes with a message, to be kept with the turn that the message begins.
    ///
    /// # Errors
    /// Why not.
    pub async fn inline(
        &self,
        mut config: PushConfig,
        task: Option<&str>,
    ) -> Result<NewWebhook, WebhookError> {
        self.check_host(&config).await?;
        let of_task = task.filter(|_| config.version == Version::V03);
        let id = config
            .id
            .get_or_insert_with(|| of_task.map_or_else(new_id, str::to_owned))
            .as_str()
            .into();
        // Which task it is about is known from where it is kept.
        config.task_id = None;
        Ok(NewWebhook {
            id,
            config: kept::write(&config),
        })
    }

    /// One webhook; without an id, the first of the task.
    ///
    /// # Errors
    /// Why not.
    pub async fn get(
        &self,
        caller: &TaskCaller,
        params: &PushConfigParams,
    ) -> Result<PushConfig, WebhookError> {
        let (task, _) = self.owned(&params.task_id, caller).await?;
        let webhook = match &params.id {
            Some(id) => self.webhooks.get(task, id).await?,
            None => self.webhooks.of_task(task).await?.into_iter().next(),
        };
        webhook
            .and_then(|webhook| shown(&webhook))
            .ok_or(TaskError::NotFound.into())
    }

    /// The webhooks of a task, the first one made first.
    ///
    /// # Errors
    /// Why not.
    pub async fn list(
        &self,
        caller: &TaskCaller,
        params: &ListPushConfigsParams,
    ) -> Result<PushConfigList, WebhookError> {
        let (task, _) = self.owned(&params.task_id, caller).await?;
        let all: Vec<PushConfig> = self
            .webhooks
            .of_task(task)
            .await?
            .iter()
            .filter_map(shown)
            .collect();
        page(all, params).ok_or(TaskError::WrongPageToken.into())
    }

    /// Removes a webhook; one that is not there is removed already.
    ///
    /// # Errors
    /// Why not.
    pub async fn delete(
        &self,
        caller: &TaskCaller,
        params: &PushConfigParams,
    ) -> Result<(), WebhookError> {
        let (task, _) = self.owned(&params.task_id, caller).await?;
        if let Some(id) = &params.id {
            self.webhooks.delete(task, id).await?;
        }
        Ok(())
    }

    /// The task, if it is the caller's: a foreign one is missing.
    async fn owned(
        &self,
        named: &str,
        caller: &TaskCaller,
    ) -> Result<(Uuid, StoredTask), WebhookError> {
        let id = task_id(named).ok_or(TaskError::NotFound)?;
        let stored = self.tasks.load(id).await?;
        stored
            .filter(|task| task.owner == caller.owner && task.agent == caller.agent)
            .map(|task| (id, task))
            .ok_or(TaskError::NotFound.into())
    }

    async fn check_host(&self, config: &PushConfig) -> Result<(), WebhookError> {
        if self.destination == Destination::Trusted {
            return Ok(());
        }
        match self.egress.judge(&config.url).await {
            // It is judged again at each delivery.
            Err(refusal) if !refusal.may_pass() => Err(WebhookError::Host),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

fn new_id() -> String {
    Uuid::new_v4().to_string()
}

fn last_event(stored: &StoredTask) -> u64 {
    stored
        .events
        .last()
        .map_or(stored.snapshot.seq, |event| event.seq)
}

fn has_ended(stored: &StoredTask) -> bool {
    TaskState::from_number(stored.state).is_some_and(TaskState::is_terminal)
}

/// A webhook as its owner sees it.
fn shown(webhook: &Webhook) -> Option<PushConfig> {
    let mut config = kept::read(&webhook.config)?;
    config.id = Some(webhook.id.to_string());
    config.task_id = Some(webhook.task.hyphenated().to_string());
    Some(config)
}

/// One page; the token is the id of the last webhook on the page before. `None` when it names none of them.
fn page(mut all: Vec<PushConfig>, params: &ListPushConfigsParams) -> Option<PushConfigList> {
    if let Some(token) = &params.page_token {
        let last = all
            .iter()
            .position(|config| config.id.as_ref() == Some(token))?;
        all.drain(..=last);
    }
    let size = params.page_size.map_or(usize::MAX, |size| {
        usize::try_from(size).unwrap_or(usize::MAX)
    });
    let more = all.len() > size;
    all.truncate(size);
    let last = all.last().and_then(|config| config.id.clone());
    Some(PushConfigList {
        next_page_token: last.filter(|_| more).unwrap_or_default(),
        configs: all,
    })
}
