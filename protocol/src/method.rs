//! The operations of A2A by their JSON-RPC names, in 1.0 (§5.3, §9.4) and in 0.3 (§3.5.6 there).

use crate::a2a::Version;

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

    /// The operation that version `version` calls `name`, if there is one.
    pub fn parse(version: Version, name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|method| method.name(version) == name)
    }

    /// Whether nothing changes by it and its answer ends, so that it may be asked again.
    pub fn only_reads(self) -> bool {
        matches!(
            self,
            Self::GetTask
                | Self::ListTasks
                | Self::GetTaskPushNotificationConfig
                | Self::ListTaskPushNotificationConfigs
                | Self::GetExtendedAgentCard
        )
    }

    /// Its JSON-RPC name. `tasks/list` came to 0.3 late; its other names are in every 0.3.
    pub fn name(self, version: Version) -> &'static str {
        let (v1, v03) = match self {
            Self::SendMessage => ("SendMessage", "message/send"),
            Self::SendStreamingMessage => ("SendStreamingMessage", "message/stream"),
            Self::GetTask => ("GetTask", "tasks/get"),
            Self::ListTasks => ("ListTasks", "tasks/list"),
            Self::CancelTask => ("CancelTask", "tasks/cancel"),
            Self::SubscribeToTask => ("SubscribeToTask", "tasks/resubscribe"),
            Self::CreateTaskPushNotificationConfig => (
                "CreateTaskPushNotificationConfig",
                "tasks/pushNotificationConfig/set",
            ),
            Self::GetTaskPushNotificationConfig => (
                "GetTaskPushNotificationConfig",
                "tasks/pushNotificationConfig/get",
            ),
            Self::ListTaskPushNotificationConfigs => (
                "ListTaskPushNotificationConfigs",
                "tasks/pushNotificationConfig/list",
            ),
            Self::DeleteTaskPushNotificationConfig => (
                "DeleteTaskPushNotificationConfig",
                "tasks/pushNotificationConfig/delete",
            ),
            Self::GetExtendedAgentCard => {
                ("GetExtendedAgentCard", "agent/getAuthenticatedExtendedCard")
            }
        };
        match version {
            Version::V1 => v1,
            Version::V03 => v03,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Method;
    use crate::a2a::Version;

    #[test]
    fn every_operation_has_one_name_in_each_version() {
        for version in [Version::V1, Version::V03] {
            for method in Method::ALL {
                assert_eq!(Method::parse(version, method.name(version)), Some(method));
            }
        }
        assert_eq!(Method::parse(Version::V1, "message/send"), None);
        assert_eq!(Method::parse(Version::V03, "SendMessage"), None);
    }
}
