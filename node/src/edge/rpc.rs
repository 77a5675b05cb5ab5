//! Operations: the only `match` on methods.

use std::future::Future;
use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use archipel_protocol::a2a::{
    CancelTaskParams, GetTaskParams, SendMessageParams, SubscribeParams, VERSION, Version,
};
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::jsonrpc::{Id, Request};
use archipel_protocol::method::Method;
use archipel_protocol::object::Invalid;
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::value::RawValue;

use crate::edge::auth::{Caller, header};
use crate::edge::{Edge, sse};
use crate::error::Failure;
use crate::metrics::{Answered, RpcMethod};
use crate::registry::HostedAgent;
use crate::tasks::answered;
use crate::tasks::command::{Reply, TaskCaller, TaskError, TurnAnswer, TurnCommand, TurnSetup};

/// Header that names the version a message is in (A2A 1.0 §3.6).
pub(super) const A2A_VERSION: HeaderName = HeaderName::from_static("a2a-version");

/// Whether the version that the request is in is spoken here. The patch number does not matter; no version means 0.3.
pub(super) fn check_version(request: &HttpRequest, call: &Request<'_>) -> Result<(), Failure> {
    let asked =
        header(request, A2A_VERSION.as_str()).or_else(|| from_query(request.query_string()));
    if asked.is_some_and(is_spoken) {
        return Ok(());
    }
    let error = RpcError::new(
        ErrorCode::VersionNotSupported,
        "this node speaks A2A 1.0: send the header A2A-Version: 1.0 (without it a request is in version 0.3)",
    );
    Err(Failure::rpc(
        call.id.clone(),
        error.with("supportedVersions", VERSION),
    ))
}

/// Runs the operation that `call` asks for.
pub(super) async fn run(
    request: &HttpRequest,
    edge: &Edge,
    caller: &Caller,
    agent: &Arc<HostedAgent>,
    call: &Request<'_>,
) -> Result<HttpResponse, Failure> {
    let whose = TaskCaller {
        owner: Arc::clone(&caller.principal),
        agent: Arc::clone(&agent.id),
    };
    let method = Method::parse(Version::V1, &call.method);
    let answered = match method {
        Some(Method::SendMessage) => send(request, edge, whose, agent, call).await,
        Some(Method::SendStreamingMessage) => {
            send_streaming(request, edge, whose, agent, call).await
        }
        Some(Method::GetTask) => get(edge, whose, call).await,
        Some(Method::CancelTask) => cancel(edge, whose, call).await,
        Some(Method::SubscribeToTask) => subscribe(edge, whose, call).await,
        Some(other) => Err(not_offered(other)),
        None => Err(RpcError::new(ErrorCode::MethodNotFound, "no such method")),
    };
    let labels = |outcome| (method.map_or(RpcMethod::Other, RpcMethod::from), outcome);
    match answered {
        Ok(response) => {
            edge.metrics.calls.count(labels(Answered::Result));
            Ok(response)
        }
        // That nothing was done is for proxies and clients to see without reading the body.
        Err(error) if error.code == ErrorCode::Unavailable => {
            Err(Failure::rpc_with_status(call.id.clone(), error))
        }
        Err(error) => {
            edge.metrics.calls.count(labels(Answered::Error));
            Err(Failure::rpc(call.id.clone(), error))
        }
    }
}

/// Counts calls that ended without an operation done.
pub(super) async fn counted(
    edge: &Edge,
    call: impl Future<Output = Result<HttpResponse, Failure>>,
) -> Result<HttpResponse, Failure> {
    let answer = call.await;
    if answer.as_ref().is_err_and(Failure::is_refusal) {
        edge.metrics
            .calls
            .count((RpcMethod::Other, Answered::Refused));
    }
    answer
}

/// The answer to a call of an agent that is not there, or not for this caller.
pub(super) fn agent_not_found(id: &Id) -> Failure {
    let error = RpcError::new(ErrorCode::AgentNotFound, "no such agent");
    Failure::rpc_with_status(id.clone(), error)
}

async fn send(
    request: &HttpRequest,
    edge: &Edge,
    whose: TaskCaller,
    agent: &Arc<HostedAgent>,
    call: &Request<'_>,
) -> Result<HttpResponse, RpcError> {
    let params = parse(call, SendMessageParams::parse)?;
    let (reply, answer) = Reply::pair();
    let history = params.history_length;
    let waits_for = if params.return_immediately {
        TurnAnswer::Opened { history, reply }
    } else {
        TurnAnswer::Settled { history, reply }
    };
    let task_id = say(request, edge, whose, agent, params, waits_for)?;
    let task = answered(answer)
        .await
        .map_err(|error| told(&error, task_id.as_deref()))?;
    Ok(result(&call.id, &[b"{\"task\":", &task, b"}"]))
}

async fn send_streaming(
    request: &HttpRequest,
    edge: &Edge,
    whose: TaskCaller,
    agent: &Arc<HostedAgent>,
    call: &Request<'_>,
) -> Result<HttpResponse, RpcError> {
    let params = parse(call, SendMessageParams::parse)?;
    let (reply, answer) = Reply::pair();
    let task_id = say(
        request,
        edge,
        whose,
        agent,
        params,
        TurnAnswer::Stream { reply },
    )?;
    // The task is kept before any header is sent: what fails until then is a plain JSON answer (§9.4).
    let feed = answered(answer)
        .await
        .map_err(|error| told(&error, task_id.as_deref()))?;
    Ok(sse::stream(edge, &call.id, feed, sse::EndsAt::Settled))
}

/// Hands a message to its task, or to a new one; the id of the task that the message names.
fn say(
    request: &HttpRequest,
    edge: &Edge,
    whose: TaskCaller,
    agent: &Arc<HostedAgent>,
    params: SendMessageParams,
    answer: TurnAnswer,
) -> Result<Option<String>, RpcError> {
    if params.push_notification_config.is_some() {
        return Err(RpcError::new(
            ErrorCode::PushNotificationNotSupported,
            "this agent calls no webhooks",
        ));
    }
    let task_id = params.message.task_id.clone();
    let turn = TurnSetup {
        executor: Arc::clone(&agent.executor),
        metadata: params.metadata,
        accepted_output_modes: params.accepted_output_modes,
        extensions: header(request, "a2a-extensions").map(str::to_owned),
        traceparent: header(request, "traceparent").map(str::to_owned),
    };
    let command = TurnCommand {
        message: params.message,
        turn,
        webhook: None,
        answer,
    };
    match &task_id {
        None => edge.tasks.open(whose, command),
        Some(id) => edge.tasks.continue_task(id, whose, command),
    }
    Ok(task_id)
}

async fn get(edge: &Edge, whose: TaskCaller, call: &Request<'_>) -> Result<HttpResponse, RpcError> {
    let params = parse(call, GetTaskParams::parse)?;
    let task = edge
        .tasks
        .read(&params.id, whose, params.history_length)
        .await;
    Ok(result(
        &call.id,
        &[&task.map_err(|error| told(&error, Some(&params.id)))?],
    ))
}

async fn cancel(
    edge: &Edge,
    whose: TaskCaller,
    call: &Request<'_>,
) -> Result<HttpResponse, RpcError> {
    let params = parse(call, CancelTaskParams::parse)?;
    let task = edge.tasks.cancel(&params.id, whose).await;
    Ok(result(
        &call.id,
        &[&task.map_err(|error| told(&error, Some(&params.id)))?],
    ))
}

async fn subscribe(
    edge: &Edge,
    whose: TaskCaller,
    call: &Request<'_>,
) -> Result<HttpResponse, RpcError> {
    let params = parse(call, SubscribeParams::parse)?;
    let feed = edge.tasks.watch(&params.id, whose, None).await;
    let feed = feed.map_err(|error| told(&error, Some(&params.id)))?;
    Ok(sse::stream(edge, &call.id, feed, sse::EndsAt::End))
}

fn parse<'a, T>(
    call: &Request<'a>,
    read: impl FnOnce(Version, &'a RawValue) -> Result<T, Invalid>,
) -> Result<T, RpcError> {
    let params = call
        .params
        .ok_or_else(|| RpcError::new(ErrorCode::InvalidParams, "params are required"))?;
    read(Version::V1, params).map_err(RpcError::from)
}

fn told(error: &TaskError, task_id: Option<&str>) -> RpcError {
    error.told(task_id)
}

fn not_offered(method: Method) -> RpcError {
    let (code, message) = match method {
        Method::CreateTaskPushNotificationConfig
        | Method::GetTaskPushNotificationConfig
        | Method::ListTaskPushNotificationConfigs
        | Method::DeleteTaskPushNotificationConfig => (
            ErrorCode::PushNotificationNotSupported,
            "this agent calls no webhooks",
        ),
        _ => (
            ErrorCode::UnsupportedOperation,
            "this agent does not offer the operation",
        ),
    };
    RpcError::new(code, message)
}

/// A JSON-RPC answer around a result that is JSON already, in pieces.
fn result(id: &Id, pieces: &[&[u8]]) -> HttpResponse {
    let mut body =
        BytesMut::with_capacity(64 + pieces.iter().map(|piece| piece.len()).sum::<usize>());
    body.put_slice(&answer_head(id));
    for piece in pieces {
        body.put_slice(piece);
    }
    body.put_slice(b"}");
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")))
        .insert_header((A2A_VERSION, HeaderValue::from_static(VERSION)))
        .body(body.freeze())
}

/// `{"jsonrpc":"2.0","id":..,"result":`, to be followed by the result and `}`.
pub(super) fn answer_head(id: &Id) -> Bytes {
    // An id is a text or digits, so writing it cannot fail; null is what JSON-RPC has for an id that cannot be told.
    let id = serde_json::to_string(id).unwrap_or_else(|_| "null".to_owned());
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":").into()
}

fn from_query(query: &str) -> Option<&str> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("A2A-Version="))
        .filter(|version| !version.is_empty())
}

fn is_spoken(version: &str) -> bool {
    version == VERSION
        || version
            .strip_prefix(VERSION)
            .and_then(|rest| rest.strip_prefix('.'))
            .is_some_and(|patch| {
                !patch.is_empty()
                    && patch.len() <= 4
                    && patch.bytes().all(|byte| byte.is_ascii_digit())
            })
}

#[cfg(test)]
mod tests {
    use super::{from_query, is_spoken};

    #[test]
    fn the_patch_number_does_not_matter() {
        for (version, expected) in [
            ("1.0", true),
            ("1.0.1", true),
            ("1.0.", false),
            ("1.1", false),
            ("1", false),
            ("0.3", false),
            ("1.0x", false),
            ("1.0.1.2", false),
        ] {
            assert_eq!(is_spoken(version), expected, "{version}");
        }
    }

    #[test]
    fn the_version_may_come_with_the_query() {
        assert_eq!(from_query("a=1&A2A-Version=1.0"), Some("1.0"));
        assert_eq!(from_query("A2A-Version="), None);
        assert_eq!(from_query("a=A2A-Version=1.0"), None);
    }
}
