//! The operations on webhooks (A2A 1.0 §3.1.7 - 3.1.10), and the webhook that comes with a message.

use archipel_protocol::a2a::{ListPushConfigsParams, PushConfig, PushConfigParams, Version};
use archipel_protocol::error::RpcError;

use super::{Asking, Outcome};
use crate::push::WebhookError;
use crate::tasks::command::NewWebhook;

impl Asking<'_> {
    pub(super) async fn create_webhook(&self, config: PushConfig) -> Result<Outcome, RpcError> {
        let whose = self.whose(config.tenant.as_deref());
        let task_id = config.task_id.clone();
        let url = match config.version {
            Version::V1 => "url",
            Version::V03 => "pushNotificationConfig.url",
        };
        let webhooks = &self.edge.webhooks;
        let created = webhooks.create(&whose, config).await;
        let created = created.map_err(|error| error.told(task_id.as_deref(), url))?;
        Ok(Outcome::Webhook(created.into()))
    }

    pub(super) async fn get_webhook(&self, params: PushConfigParams) -> Result<Outcome, RpcError> {
        let whose = self.whose(params.tenant.as_deref());
        let found = self.edge.webhooks.get(&whose, &params).await;
        Ok(Outcome::Webhook(told(found, &params.task_id)?.into()))
    }

    pub(super) async fn list_webhooks(
        &self,
        params: ListPushConfigsParams,
    ) -> Result<Outcome, RpcError> {
        let whose = self.whose(params.tenant.as_deref());
        let listed = self.edge.webhooks.list(&whose, &params).await;
        Ok(Outcome::Webhooks(told(listed, &params.task_id)?))
    }

    pub(super) async fn delete_webhook(
        &self,
        params: PushConfigParams,
    ) -> Result<Outcome, RpcError> {
        let whose = self.whose(params.tenant.as_deref());
        let deleted = self.edge.webhooks.delete(&whose, &params).await;
        told(deleted, &params.task_id)?;
        Ok(Outcome::Done)
    }

    /// The webhook that comes with a message to the task, or to a new one.
    pub(super) async fn webhook_of_message(
        &self,
        config: PushConfig,
        task_id: Option<&str>,
    ) -> Result<NewWebhook, RpcError> {
        let url = match config.version {
            Version::V1 => "configuration.taskPushNotificationConfig.url",
            Version::V03 => "configuration.pushNotificationConfig.url",
        };
        let checked = self.edge.webhooks.inline(config, task_id).await;
        checked.map_err(|error| error.told(task_id, url))
    }
}

fn told<T>(answer: Result<T, WebhookError>, task_id: &str) -> Result<T, RpcError> {
    answer.map_err(|error| error.told(Some(task_id), "url"))
}
