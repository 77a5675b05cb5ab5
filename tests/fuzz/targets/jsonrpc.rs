//! JSON-RPC: no body makes the reader fail otherwise than by refusing; what it lets in can be answered under its id, and
//! the parameters of every operation are read or refused.

#![no_main]

use archipel_protocol::a2a::{
    CancelTaskParams, ExtendedCardParams, GetTaskParams, ListPushConfigsParams, ListTasksParams,
    PushConfig, PushConfigParams, SendMessageParams, SubscribeParams, Version,
};
use archipel_protocol::error::RpcError;
use archipel_protocol::jsonrpc::{
    Id, Outcome, Request, decode_response, encode_error, encode_result,
};
use archipel_protocol::method::Method;
use archipel_protocol::object::Invalid;
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

fuzz_target!(|input: &[u8]| {
    let _ = decode_response(input);
    let call = match Request::decode(input) {
        Ok(call) => call,
        Err(refused) => return check_refusal(&refused.id, &refused.error),
    };
    let answer = encode_result(&call.id, &true).expect("an answer can be written");
    assert!(matches!(decode_response(&answer), Ok(Outcome::Result(_))));
    for version in Version::ALL {
        let method = Method::parse(version, &call.method);
        if let Some(Err(invalid)) = method.map(|method| read(method, version, call.params)) {
            check_refusal(&call.id, &RpcError::from(invalid));
        }
    }
});

fn check_refusal(id: &Id, error: &RpcError) {
    for refusal in [encode_error(id, error), encode_error(id, &error.in_v03())] {
        let told = decode_response(&refusal).expect("a refusal is a response");
        assert!(
            matches!(told, Outcome::Error { code, .. } if code == i64::from(error.code.rpc_code()))
        );
    }
}

fn read(method: Method, version: Version, params: Option<&RawValue>) -> Result<(), Invalid> {
    if method == Method::GetExtendedAgentCard {
        return ExtendedCardParams::parse(version, params).map(drop);
    }
    let Some(params) = params else { return Ok(()) };
    match method {
        Method::SendMessage | Method::SendStreamingMessage => {
            SendMessageParams::parse(version, params).map(drop)
        }
        Method::GetTask => GetTaskParams::parse(version, params).map(drop),
        Method::ListTasks => ListTasksParams::parse(version, params).map(drop),
        Method::CancelTask => CancelTaskParams::parse(version, params).map(drop),
        Method::SubscribeToTask => SubscribeParams::parse(version, params).map(drop),
        Method::CreateTaskPushNotificationConfig => {
            PushConfig::parse_create(version, params).map(drop)
        }
        Method::GetTaskPushNotificationConfig => {
            PushConfigParams::parse_get(version, params).map(drop)
        }
        Method::DeleteTaskPushNotificationConfig => {
            PushConfigParams::parse_delete(version, params).map(drop)
        }
        Method::ListTaskPushNotificationConfigs => {
            ListPushConfigsParams::parse(version, params).map(drop)
        }
        Method::GetExtendedAgentCard => Ok(()),
    }
}
