//! An operation as a request of A2A 0.3 over JSON-RPC. Pure.

use archipel_protocol::a2a::{Version, v03};
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::jsonrpc::encode_request;
use archipel_protocol::method::Method;
use archipel_protocol::object::Json;
use serde::Serialize;

use crate::edge::operation::Operation;

/// The request, under an id of ours: the answer is told under the caller's. A tenant has no place in 0.3 and stays here.
pub(super) fn write(operation: &Operation) -> Result<Vec<u8>, RpcError> {
    let written = match operation {
        Operation::Send(params) => request(Method::SendMessage, &v03::send_params(params)),
        Operation::SendStreaming(params) => {
            request(Method::SendStreamingMessage, &v03::send_params(params))
        }
        Operation::Get(params) => request(
            Method::GetTask,
            &OfTask {
                history_length: params.history_length,
                ..OfTask::of(&params.id)
            },
        ),
        Operation::Cancel(params) => request(
            Method::CancelTask,
            &OfTask {
                metadata: params.metadata.as_ref(),
                ..OfTask::of(&params.id)
            },
        ),
        Operation::Subscribe(params) => request(Method::SubscribeToTask, &OfTask::of(&params.id)),
        Operation::CreateWebhook(config) => request(
            Method::CreateTaskPushNotificationConfig,
            &v03::push_config(config),
        ),
        Operation::GetWebhook(params) => request(
            Method::GetTaskPushNotificationConfig,
            &OfTask::webhook(&params.task_id, params.id.as_deref()),
        ),
        Operation::DeleteWebhook(params) => request(
            Method::DeleteTaskPushNotificationConfig,
            &OfTask::webhook(&params.task_id, params.id.as_deref()),
        ),
        Operation::ListWebhooks(params) => request(
            Method::ListTaskPushNotificationConfigs,
            &OfTask::of(&params.task_id),
        ),
        Operation::ExtendedCard => request(Method::GetExtendedAgentCard, &Nothing {}),
        Operation::List(_) => {
            let message = "this peer speaks A2A 0.3, which does not list tasks";
            return Err(RpcError::new(ErrorCode::UnsupportedOperation, message));
        }
    };
    written.map_err(|_| RpcError::new(ErrorCode::Internal, "the call cannot be told in A2A 0.3"))
}

fn request(method: Method, params: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    encode_request("1", method.name(Version::V03), params)
}

/// Parameters of the operations on one task.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct OfTask<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    push_notification_config_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history_length: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Json>,
}

impl<'a> OfTask<'a> {
    fn of(id: &'a str) -> Self {
        Self {
            id,
            ..Self::default()
        }
    }

    fn webhook(task: &'a str, id: Option<&'a str>) -> Self {
        Self {
            push_notification_config_id: id,
            ..Self::of(task)
        }
    }
}

#[derive(Serialize)]
struct Nothing {}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn check(method: Method, params: &str, expected: &str) {
        let raw: Box<RawValue> = serde_json::from_str(params).unwrap();
        let operation = Operation::read(Version::V1, method, Some(&raw)).unwrap();
        let written = String::from_utf8(write(&operation).unwrap()).unwrap();
        let expected = format!(r#"{{"jsonrpc":"2.0","id":"1",{expected}}}"#);
        assert_eq!(written, expected);
    }

    #[test]
    fn operations_in_the_words_of_the_old_version() {
        check(
            Method::SendMessage,
            r#"{"message":{"messageId":"m","role":"ROLE_USER","parts":[{"text":"hello"}]}}"#,
            r#""method":"message/send","params":{"message":{"kind":"message","messageId":"m","role":"user","parts":[{"kind":"text","text":"hello"}]},"configuration":{"blocking":true}}"#,
        );
        check(
            Method::GetTask,
            r#"{"id":"t","historyLength":3}"#,
            r#""method":"tasks/get","params":{"id":"t","historyLength":3}"#,
        );
        check(
            Method::CancelTask,
            r#"{"id":"t","tenant":"x"}"#,
            r#""method":"tasks/cancel","params":{"id":"t"}"#,
        );
        check(
            Method::SubscribeToTask,
            r#"{"id":"t"}"#,
            r#""method":"tasks/resubscribe","params":{"id":"t"}"#,
        );
        check(
            Method::DeleteTaskPushNotificationConfig,
            r#"{"taskId":"t","id":"w"}"#,
            r#""method":"tasks/pushNotificationConfig/delete","params":{"id":"t","pushNotificationConfigId":"w"}"#,
        );
        check(
            Method::GetExtendedAgentCard,
            "{}",
            r#""method":"agent/getAuthenticatedExtendedCard","params":{}"#,
        );
    }

    #[test]
    fn what_the_old_version_has_no_word_for_is_refused() {
        let raw: Box<RawValue> = serde_json::from_str("{}").unwrap();
        let operation = Operation::read(Version::V1, Method::ListTasks, Some(&raw)).unwrap();
        let refused = write(&operation).unwrap_err();
        assert_eq!(refused.code, ErrorCode::UnsupportedOperation);
    }
}
