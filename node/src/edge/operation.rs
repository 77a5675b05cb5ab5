//! The operations of A2A (1.0 §3.1), the only `match` on them: a typed operation in, a typed outcome out.
//!
//! Nothing here knows a binding or a version of the protocol; what an outcome holds is JSON of A2A 1.0. Whose task it is
//! is decided by the task itself, for every operation alike. The operations on webhooks stand in `webhooks`.

use std::sync::Arc;

use actix_web::http::header::HeaderMap;
use archipel_protocol::a2a::{
    CancelTaskParams, ExtendedCardParams, GetTaskParams, ListPushConfigsParams, ListTasksParams,
    Message, PushConfig, PushConfigList, PushConfigParams, SendMessageParams, SubscribeParams,
    Version,
};
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::method::Method;
use archipel_protocol::object::Invalid;
use bytes::Bytes;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::cards::CardForm;
use crate::cards::shelf::CardSort;
use crate::edge::Edge;
use crate::edge::auth::Caller;
use crate::edge::extensions::Wanted;
use crate::metrics::{Answered, RpcMethod};
use crate::registry::{HostedAgent, ReadCard};
use crate::tasks::answered;
use crate::tasks::command::{
    Reply, Sent, TaskCaller, TaskError, TurnAnswer, TurnCommand, TurnSetup,
};
use crate::tasks::feed::Feed;

mod webhooks;

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operation {
    Send(Box<SendMessageParams>),
    SendStreaming(Box<SendMessageParams>),
    Get(GetTaskParams),
    List(ListTasksParams),
    Cancel(CancelTaskParams),
    Subscribe(SubscribeParams),
    ExtendedCard,
    CreateWebhook(Box<PushConfig>),
    GetWebhook(PushConfigParams),
    ListWebhooks(ListPushConfigsParams),
    DeleteWebhook(PushConfigParams),
}

/// What came of it. The JSON is of A2A 1.0.
pub(super) enum Outcome {
    /// What a message came to.
    Sent(Sent),
    /// The task that was asked for.
    Task(Bytes),
    /// The agent's card for callers, in the version of the request.
    Card(Bytes),
    /// A page of tasks.
    Page(Bytes),
    /// A task's events, until the given one.
    Events(Feed, EndsAt),
    Webhook(Box<PushConfig>),
    Webhooks(PushConfigList),
    /// It is done, and there is nothing to say.
    Done,
}

/// After which event a stream is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndsAt {
    /// The task has ended, or waits for the client (`SendStreamingMessage`).
    Settled,
    /// The task has ended (`SubscribeToTask`).
    End,
    /// The task has ended, or has come to wait for the client while it was watched.
    SettledLater,
}

impl Operation {
    /// Reads the parameters of an operation in the shape of `version`.
    pub(super) fn read(
        version: Version,
        method: Method,
        params: Option<&RawValue>,
    ) -> Result<Self, RpcError> {
        let read = Params { version, params };
        Ok(match method {
            Method::SendMessage => Self::Send(read.with(SendMessageParams::parse)?.into()),
            Method::SendStreamingMessage => {
                Self::SendStreaming(read.with(SendMessageParams::parse)?.into())
            }
            Method::GetTask => Self::Get(read.with(GetTaskParams::parse)?),
            Method::ListTasks => Self::List(read.or_none().with(ListTasksParams::parse)?),
            Method::CancelTask => Self::Cancel(read.with(CancelTaskParams::parse)?),
            Method::SubscribeToTask => Self::Subscribe(read.with(SubscribeParams::parse)?),
            Method::GetExtendedAgentCard => {
                ExtendedCardParams::parse(version, params)?;
                Self::ExtendedCard
            }
            Method::CreateTaskPushNotificationConfig => {
                Self::CreateWebhook(read.with(PushConfig::parse_create)?.into())
            }
            Method::GetTaskPushNotificationConfig => {
                Self::GetWebhook(read.with(PushConfigParams::parse_get)?)
            }
            Method::ListTaskPushNotificationConfigs => {
                Self::ListWebhooks(read.with(ListPushConfigsParams::parse)?)
            }
            Method::DeleteTaskPushNotificationConfig => {
                Self::DeleteWebhook(read.with(PushConfigParams::parse_delete)?)
            }
        })
    }
}

struct Params<'a> {
    version: Version,
    params: Option<&'a RawValue>,
}

impl<'a> Params<'a> {
    /// The same, of an operation that needs none.
    fn or_none(mut self) -> Self {
        self.params = self.params.or(serde_json::from_str("{}").ok());
        self
    }

    fn with<T>(
        &self,
        read: impl FnOnce(Version, &'a RawValue) -> Result<T, Invalid>,
    ) -> Result<T, RpcError> {
        let params = self
            .params
            .ok_or_else(|| RpcError::new(ErrorCode::InvalidParams, "params are required"))?;
        read(self.version, params).map_err(RpcError::from)
    }
}

/// Who asks whom, with what beside the parameters.
pub(super) struct Asking<'a> {
    pub(super) edge: &'a Edge,
    pub(super) caller: &'a Caller,
    pub(super) agent: &'a Arc<HostedAgent>,
    /// The version of the request. It makes a difference to cards alone: each version has one that is signed as it is.
    pub(super) version: Version,
    /// W3C trace context.
    pub(super) traceparent: Option<&'a str>,
    /// `A2A-Extensions`.
    pub(super) extensions: Wanted,
    /// `Last-Event-ID`: the last event of the task that a returning watcher has seen.
    pub(super) last_event: Option<u64>,
}

/// Runs an operation if it could be read, and counts how it went.
pub(super) async fn run(
    asking: &Asking<'_>,
    method: Option<Method>,
    operation: Result<Operation, RpcError>,
) -> Result<Outcome, RpcError> {
    let method = method.map_or(RpcMethod::Other, RpcMethod::from);
    let outcome = match operation {
        Ok(operation) => asking.run(operation).await,
        Err(error) => Err(error),
    };
    let counted = match &outcome {
        Ok(_) => Some(Answered::Result),
        // Nothing was done; it is counted with the refusals.
        Err(error) if error.code == ErrorCode::Unavailable => None,
        Err(_) => Some(Answered::Error),
    };
    if let Some(counted) = counted {
        asking.edge.metrics.calls.count((method, counted));
    }
    outcome
}

impl Asking<'_> {
    async fn run(&self, operation: Operation) -> Result<Outcome, RpcError> {
        match operation {
            Operation::Send(params) => self.send(params).await,
            Operation::SendStreaming(params) => self.send_streaming(params).await,
            Operation::Get(params) => self.get(params).await,
            Operation::List(params) => self.list(params).await,
            Operation::Cancel(params) => self.cancel(params).await,
            Operation::Subscribe(params) => self.subscribe(params).await,
            Operation::ExtendedCard => {
                let card = self.edge.extended_card(self.agent, self.version).await;
                card.map(Outcome::Card)
            }
            Operation::CreateWebhook(config) => Box::pin(self.create_webhook(*config)).await,
            Operation::GetWebhook(params) => self.get_webhook(params).await,
            Operation::ListWebhooks(params) => self.list_webhooks(params).await,
            Operation::DeleteWebhook(params) => self.delete_webhook(params).await,
        }
    }

    async fn send(&self, params: Box<SendMessageParams>) -> Result<Outcome, RpcError> {
        let (reply, answer) = Reply::pair();
        let history = params.history_length;
        let waits_for = if params.return_immediately {
            TurnAnswer::Opened { history, reply }
        } else {
            TurnAnswer::Settled { history, reply }
        };
        let task_id = self.say(params, None, waits_for).await?;
        let task = answered(answer).await;
        Ok(Outcome::Sent(told(task, task_id.as_deref())?))
    }

    /// Opens a task of this name with a message, and comes back as soon as the task is kept. Whoever names a task has seen to
    /// it that there is none of that name.
    pub(super) async fn open_as(
        &self,
        id: Uuid,
        params: SendMessageParams,
    ) -> Result<(), RpcError> {
        let (reply, answer) = Reply::pair();
        let history = params.history_length;
        let opened = TurnAnswer::Opened { history, reply };
        self.say(params.into(), Some(id), opened).await?;
        told(answered(answer).await, None).map(drop)
    }

    async fn send_streaming(&self, params: Box<SendMessageParams>) -> Result<Outcome, RpcError> {
        let (reply, answer) = Reply::pair();
        let history = params.history_length;
        let task_id = self
            .say(params, None, TurnAnswer::Stream { history, reply })
            .await?;
        // The task is kept before any header is sent: what fails until then is a plain JSON answer (§9.4).
        let feed = answered(answer).await;
        let feed = told(feed, task_id.as_deref())?;
        Ok(Outcome::Events(feed, EndsAt::Settled))
    }

    /// Whether the agent takes a message: what it requires is spoken, what is in it is declared to be taken (§3.3.4).
    fn check_message(&self, message: &Message) -> Result<(), RpcError> {
        let Some(said) = self.agent.declared.said() else {
            // The next message finds it read; this one is looked at by the agent.
            let _busy = self.edge.cards.try_send(ReadCard {
                agent: Arc::clone(&self.agent.id),
                sort: CardSort::Public,
                form: CardForm::V1,
            });
            return Ok(());
        };
        self.extensions.check(&said)?;
        let Some(refused) = said.refused_type(message) else {
            return Ok(());
        };
        let error = RpcError::new(
            ErrorCode::ContentTypeNotSupported,
            "the agent does not take content of a type that is in the message",
        );
        Err(error.with("mediaType", refused))
    }

    /// Names, in an answer, the extensions that are in force.
    pub(super) fn acknowledge_extensions(&self, answer: &mut HeaderMap) {
        let said = self.agent.declared.said();
        self.extensions
            .acknowledge(said.as_deref(), self.version, answer);
    }

    /// Hands a message to its task, or to a new one, which is called `named`; the id of the task that the message names.
    async fn say(
        &self,
        params: Box<SendMessageParams>,
        named: Option<Uuid>,
        answer: TurnAnswer,
    ) -> Result<Option<String>, RpcError> {
        let params = *params;
        let task_id = params.message.task_id.clone();
        self.check_message(&params.message)?;
        let webhook = match params.push_notification_config {
            // On the heap, here and below: what few calls do takes no room in the others.
            Some(config) => {
                let config = self.webhook_of_message(config, task_id.as_deref());
                Some(Box::pin(config).await?)
            }
            None => None,
        };
        let whose = self.whose(params.tenant.as_deref());
        let command = TurnCommand {
            message: params.message,
            turn: TurnSetup {
                // Only a message needs the agent; reading, watching and ending tasks does not.
                executor: self.agent.begin_turn()?,
                metadata: params.metadata,
                accepted_output_modes: params.accepted_output_modes,
                extensions: self.extensions.as_header().map(str::to_owned),
                traceparent: self.traceparent.map(str::to_owned),
            },
            webhook,
            answer,
        };
        let tasks = &self.edge.tasks;
        match &task_id {
            None => tasks.open(named, whose, command),
            Some(id) => tasks.continue_task(id, whose, command),
        }
        Ok(task_id)
    }

    async fn get(&self, params: GetTaskParams) -> Result<Outcome, RpcError> {
        let whose = self.whose(params.tenant.as_deref());
        let tasks = &self.edge.tasks;
        let task = tasks.read(&params.id, whose, params.history_length).await;
        Ok(Outcome::Task(told(task, Some(&params.id))?))
    }

    async fn list(&self, params: ListTasksParams) -> Result<Outcome, RpcError> {
        let whose = self.whose(params.tenant.as_deref());
        let page = self.edge.tasks.list(whose, &params).await;
        Ok(Outcome::Page(told(page, None)?))
    }

    async fn cancel(&self, params: CancelTaskParams) -> Result<Outcome, RpcError> {
        let whose = self.whose(params.tenant.as_deref());
        let task = self.edge.tasks.cancel(&params.id, whose).await;
        Ok(Outcome::Task(told(task, Some(&params.id))?))
    }

    async fn subscribe(&self, params: SubscribeParams) -> Result<Outcome, RpcError> {
        let whose = self.whose(params.tenant.as_deref());
        let tasks = &self.edge.tasks;
        let feed = tasks.watch(&params.id, whose, self.last_event).await;
        let feed = told(feed, Some(&params.id))?;
        Ok(Outcome::Events(feed, EndsAt::End))
    }

    /// A caller has tasks of its own for each tenant that it names, and some for none.
    pub(super) fn whose(&self, tenant: Option<&str>) -> TaskCaller {
        let principal = &self.caller.principal;
        TaskCaller {
            owner: match tenant {
                None => Arc::clone(principal),
                // No principal has a space in its name, so what is before the first one is always the principal.
                Some(tenant) => format!("{principal} {tenant}").into(),
            },
            agent: Arc::clone(&self.agent.id),
        }
    }
}

fn told<T>(answer: Result<T, TaskError>, task_id: Option<&str>) -> Result<T, RpcError> {
    answer.map_err(|error| error.told(task_id))
}

/// The JSON of a type of the protocol, which always has one.
pub(super) fn json(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}
