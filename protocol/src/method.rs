//! The operations of A2A 1.0 by their JSON-RPC names (§5.3, §9.4).

/// An operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// Say something, wait for the outcome.
    SendMessage,
    /// Say something, watch what follows.
    SendStreamingMessage,
    /// Read a task.
    GetTask,
    /// Read many tasks.
    ListTasks,
    /// End a task.
    CancelTask,
    /// Watch a task.
    SubscribeToTask,
    /// Add a webhook.
    CreateTaskPushNotificationConfig,
    /// Read a webhook.
    GetTaskPushNotificationConfig,
    /// Read the webhooks of a task.
    ListTaskPushNotificationConfigs,
    /// Remove a webhook.
    DeleteTaskPushNotificationConfig,
    /// Read the card for the authenticated.
    GetExtendedAgentCard,
}

impl Method {
    /// Every operation.
    pub const ALL: [Self; 11] = [
        Self::SendMessage,
        Self::SendStreamingMessage,
        Self::GetTask,
        Self::ListTasks,
        Self::CancelTask,
        Self::SubscribeToTask,
        Self::CreateTaskPushNotificationConfig,
        Self::GetTaskPushNotificationConfig,
        Self::ListTaskPushNotificationConfigs,
        Self::DeleteTaskPushNotificationConfig,
        Self::GetExtendedAgentCard,
    ];

    /// The operation called `name`, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// Its JSON-RPC name.
    pub fn name(self) -> &'static str {
        match self {
            Self::SendMessage => "SendMessage",
            Self::SendStreamingMessage => "SendStreamingMessage",
            Self::GetTask => "GetTask",
            Self::ListTasks => "ListTasks",
            Self::CancelTask => "CancelTask",
            Self::SubscribeToTask => "SubscribeToTask",
            Self::CreateTaskPushNotificationConfig => "CreateTaskPushNotificationConfig",
            Self::GetTaskPushNotificationConfig => "GetTaskPushNotificationConfig",
            Self::ListTaskPushNotificationConfigs => "ListTaskPushNotificationConfigs",
            Self::DeleteTaskPushNotificationConfig => "DeleteTaskPushNotificationConfig",
            Self::GetExtendedAgentCard => "GetExtendedAgentCard",
        }
    }
}
