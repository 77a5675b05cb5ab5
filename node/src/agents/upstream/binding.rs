//! How an operation is written, and its answer read, in each binding that an upstream agent may speak. Pure.

use archipel_protocol::a2a::{SendMessageParams, StreamEvent, Task, Version, v03};
use archipel_protocol::error::ErrorCode;
use archipel_protocol::jsonrpc::{Outcome, decode_response, encode_request, readable};
use archipel_protocol::method::Method;
use archipel_protocol::object::Fields;
use http::{Method as HttpMethod, Uri};
use serde_json::value::RawValue;
use url::Url;

use crate::agents::upstream::interface::{Interface, uri};
use crate::agents::upstream::wire::{CardParams, TaskParams};
use crate::tasks::executor::ExecutorFailure;

/// How an agent is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binding {
    /// JSON-RPC, of either version (A2A 1.0 §9).
    JsonRpc(Version),
    /// HTTP+JSON, version 1.0 (§11).
    Rest,
}

impl Binding {
    /// The version that is spoken.
    pub(super) fn version(self) -> Version {
        match self {
            Self::JsonRpc(version) => version,
            Self::Rest => Version::V1,
        }
    }
}

/// What is asked of an agent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ask<'a> {
    /// A message, answered once.
    Send(&'a SendMessageParams),
    /// A message, answered with a stream.
    Stream(&'a SendMessageParams),
    /// How the task is, and what happens to it from now on.
    Subscribe(&'a str),
    /// How the task is.
    Get(&'a str),
    /// That it stops.
    Cancel(&'a str),
    /// What it says of itself to us.
    ExtendedCard,
}

/// A request as it is sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) method: HttpMethod,
    pub(super) uri: Uri,
    /// Empty for a request without one.
    pub(super) body: Vec<u8>,
}

impl Ask<'_> {
    pub(super) fn is_stream(self) -> bool {
        matches!(self, Self::Stream(_) | Self::Subscribe(_))
    }
}

impl Interface {
    /// The request for an operation.
    pub(super) fn write(&self, ask: Ask<'_>) -> Result<Written, ExecutorFailure> {
        match self.binding {
            Binding::JsonRpc(version) => self.write_rpc(version, ask),
            Binding::Rest => self.write_rest(ask),
        }
    }

    /// The event in an answer to `Send` or `Stream`, or in a stream.
    pub(super) fn read_event(&self, body: &[u8]) -> Result<StreamEvent, ExecutorFailure> {
        let result = self.result(body)?;
        let event = match self.binding.version() {
            Version::V1 => StreamEvent::parse(result),
            Version::V03 => v03::read_event(result),
        };
        event.map_err(|_| ExecutorFailure::NotA2a)
    }

    /// The task in an answer to `Get`.
    pub(super) fn read_task(&self, body: &[u8]) -> Result<StreamEvent, ExecutorFailure> {
        let result = self.result(body)?;
        let task = match self.binding.version() {
            Version::V1 => Task::parse(result),
            Version::V03 => v03::read_task(result),
        };
        let task = task.map_err(|_| ExecutorFailure::NotA2a)?;
        Ok(StreamEvent::Task(task))
    }

    /// The card in an answer to `ExtendedCard`, as it came.
    pub(super) fn read_card<'a>(&self, body: &'a [u8]) -> Result<&'a str, ExecutorFailure> {
        self.result(body).map(RawValue::get)
    }

    /// The code in a body that tells an error in this binding's own form.
    pub(super) fn read_refusal(&self, body: &[u8]) -> Option<i64> {
        match self.result(body) {
            Err(ExecutorFailure::Refused(code)) => Some(code),
            _ => None,
        }
    }

    fn result<'a>(&self, body: &'a [u8]) -> Result<&'a RawValue, ExecutorFailure> {
        match self.binding {
            Binding::JsonRpc(_) => match decode_response(body) {
                Ok(Outcome::Result(result)) => Ok(result),
                Ok(Outcome::Error { code, .. }) => Err(ExecutorFailure::Refused(code)),
                Err(_) => Err(ExecutorFailure::NotA2a),
            },
            Binding::Rest => {
                let json = readable(body).map_err(|_| ExecutorFailure::NotA2a)?;
                if let Some(code) = rest_refusal(json) {
                    return Err(ExecutorFailure::Refused(code));
                }
                serde_json::from_str(json).map_err(|_| ExecutorFailure::NotA2a)
            }
        }
    }

    fn write_rpc(&self, version: Version, ask: Ask<'_>) -> Result<Written, ExecutorFailure> {
        // 0.3 knows no tenant.
        let tenant = self.tenant.as_deref().filter(|_| version == Version::V1);
        let of_task = |method: Method, id| {
            encode_request("1", method.name(version), &TaskParams { tenant, id })
        };
        let sent = |method: Method, params: &SendMessageParams| match version {
            Version::V1 => encode_request("1", method.name(version), params),
            Version::V03 => encode_request("1", method.name(version), &v03::send_params(params)),
        };
        let body = match ask {
            Ask::Send(params) => sent(Method::SendMessage, params),
            Ask::Stream(params) => sent(Method::SendStreamingMessage, params),
            Ask::Subscribe(id) => of_task(Method::SubscribeToTask, id),
            Ask::Get(id) => of_task(Method::GetTask, id),
            Ask::Cancel(id) => of_task(Method::CancelTask, id),
            Ask::ExtendedCard => {
                let method = Method::GetExtendedAgentCard.name(version);
                encode_request("1", method, &CardParams { tenant })
            }
        };
        Ok(Written {
            method: HttpMethod::POST,
            uri: uri(&self.url).map_err(|_| ExecutorFailure::NotA2a)?,
            body: body.map_err(|_| ExecutorFailure::NotA2a)?,
        })
    }

    fn write_rest(&self, ask: Ask<'_>) -> Result<Written, ExecutorFailure> {
        let sent = serde_json::to_vec::<SendMessageParams>;
        let (method, path, body) = match ask {
            Ask::Send(params) => (
                HttpMethod::POST,
                vec!["message:send".to_owned()],
                sent(params),
            ),
            Ask::Stream(params) => (
                HttpMethod::POST,
                vec!["message:stream".to_owned()],
                sent(params),
            ),
            Ask::Subscribe(id) => (
                HttpMethod::GET,
                vec!["tasks".to_owned(), format!("{id}:subscribe")],
                Ok(Vec::new()),
            ),
            Ask::Get(id) => (
                HttpMethod::GET,
                vec!["tasks".to_owned(), id.to_owned()],
                Ok(Vec::new()),
            ),
            Ask::Cancel(id) => (
                HttpMethod::POST,
                vec!["tasks".to_owned(), format!("{id}:cancel")],
                Ok(b"{}".to_vec()),
            ),
            Ask::ExtendedCard => (
                HttpMethod::GET,
                vec!["extendedAgentCard".to_owned()],
                Ok(Vec::new()),
            ),
        };
        Ok(Written {
            method,
            uri: self.below(&path)?,
            body: body.map_err(|_| ExecutorFailure::NotA2a)?,
        })
    }

    /// A path below the base; the tenant is its first segment (a2a.proto, additional bindings).
    fn below(&self, path: &[String]) -> Result<Uri, ExecutorFailure> {
        let mut url: Url = self.url.clone();
        url.path_segments_mut()
            .map_err(|()| ExecutorFailure::NotA2a)?
            .pop_if_empty()
            .extend(self.tenant.iter().chain(path));
        uri(&url).map_err(|_| ExecutorFailure::NotA2a)
    }
}

/// The JSON-RPC code of an error of the HTTP+JSON binding (§11.6), or its HTTP status where the reason says nothing.
fn rest_refusal(json: &str) -> Option<i64> {
    let mut answer = Fields::read(json).ok()?;
    let mut error = Fields::open(answer.take("error")?).ok()?;
    let status = error
        .take("code")
        .and_then(|raw| raw.get().parse().ok())
        .unwrap_or(500);
    let reasons = error
        .list("details", |raw| {
            Ok(Fields::open(raw)?.text("reason")?.unwrap_or_default())
        })
        .unwrap_or_default();
    let known = reasons.iter().find_map(|reason| {
        ErrorCode::ALL
            .iter()
            .find(|code| code.reason() == reason)
            .map(|code| i64::from(code.rpc_code()))
    });
    Some(known.unwrap_or(status))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use archipel_protocol::a2a::Message;

    use super::*;
    use crate::agents::upstream::interface::Streaming;

    const V1: Binding = Binding::JsonRpc(Version::V1);
    const V03: Binding = Binding::JsonRpc(Version::V03);

    fn interface(binding: Binding, url: &str, tenant: Option<&str>) -> Interface {
        Interface {
            url: url.parse().unwrap(),
            binding,
            streaming: Streaming::Promised,
            tenant: tenant.map(str::to_owned),
        }
    }

    fn said(tenant: Option<&str>) -> SendMessageParams {
        let mut params = SendMessageParams::new(Message::from_agent("m".to_owned(), "hello"));
        params.tenant = tenant.map(str::to_owned);
        params
    }

    fn check(interface: &Interface, ask: Ask<'_>, line: &str, body: &str) {
        let written = interface.write(ask).unwrap();
        assert_eq!(
            (
                format!("{} {}", written.method, written.uri).as_str(),
                std::str::from_utf8(&written.body).unwrap()
            ),
            (line, body)
        );
    }

    #[test]
    fn operations_over_json_rpc() {
        let agent = interface(V1, "http://a:1/rpc?x=1", Some("t"));
        let line = "POST http://a:1/rpc?x=1";
        let said = said(Some("t"));
        let message = r#"{"messageId":"m","role":"ROLE_AGENT","parts":[{"text":"hello"}]}"#;
        let rpc = |method: &str, params: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":"1","method":"{method}","params":{params}}}"#)
        };
        let sent = format!(
            r#"{{"tenant":"t","message":{message},"configuration":{{"returnImmediately":false}}}}"#
        );
        check(&agent, Ask::Send(&said), line, &rpc("SendMessage", &sent));
        let streamed = rpc("SendStreamingMessage", &sent);
        check(&agent, Ask::Stream(&said), line, &streamed);
        let of_task = r#"{"tenant":"t","id":"x/1"}"#;
        let subscribed = rpc("SubscribeToTask", of_task);
        check(&agent, Ask::Subscribe("x/1"), line, &subscribed);
        check(&agent, Ask::Get("x/1"), line, &rpc("GetTask", of_task));
        check(
            &agent,
            Ask::Cancel("x/1"),
            line,
            &rpc("CancelTask", of_task),
        );
    }

    #[test]
    fn operations_in_the_shapes_of_the_old_version() {
        let agent = interface(V03, "http://a:1/rpc", Some("t"));
        let line = "POST http://a:1/rpc";
        let said = said(None);
        let rpc = |method: &str, params: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":"1","method":"{method}","params":{params}}}"#)
        };
        let message = r#"{"kind":"message","messageId":"m","role":"agent","parts":[{"kind":"text","text":"hello"}]}"#;
        let sent = format!(r#"{{"message":{message},"configuration":{{"blocking":true}}}}"#);
        check(&agent, Ask::Send(&said), line, &rpc("message/send", &sent));
        let streamed = rpc("message/stream", &sent);
        check(&agent, Ask::Stream(&said), line, &streamed);
        let of_task = r#"{"id":"x"}"#;
        check(&agent, Ask::Get("x"), line, &rpc("tasks/get", of_task));
        let canceled = rpc("tasks/cancel", of_task);
        check(&agent, Ask::Cancel("x"), line, &canceled);
        let card = rpc("agent/getAuthenticatedExtendedCard", "{}");
        check(&agent, Ask::ExtendedCard, line, &card);
    }

    #[test]
    fn operations_over_http_and_json() {
        let said = said(None);
        let message = r#"{"message":{"messageId":"m","role":"ROLE_AGENT","parts":[{"text":"hello"}]},"configuration":{"returnImmediately":false}}"#;
        for base in ["http://a:1/v1", "http://a:1/v1/"] {
            let agent = interface(Binding::Rest, base, None);
            let send = "POST http://a:1/v1/message:send";
            check(&agent, Ask::Send(&said), send, message);
            let stream = "POST http://a:1/v1/message:stream";
            check(&agent, Ask::Stream(&said), stream, message);
            let subscribe = "GET http://a:1/v1/tasks/x:subscribe";
            check(&agent, Ask::Subscribe("x"), subscribe, "");
            check(&agent, Ask::Get("x"), "GET http://a:1/v1/tasks/x", "");
            let card = "GET http://a:1/v1/extendedAgentCard";
            check(&agent, Ask::ExtendedCard, card, "");
            let cancel = "POST http://a:1/v1/tasks/x%2F..:cancel";
            check(&agent, Ask::Cancel("x/.."), cancel, "{}");
        }
        let tenant = interface(Binding::Rest, "http://a:1", Some("t/1"));
        let send = "POST http://a:1/t%2F1/message:send";
        check(&tenant, Ask::Send(&said), send, message);
    }

    #[test]
    fn errors_of_both_bindings_are_told_by_their_json_rpc_code() {
        let refused = |binding, body: &str| {
            interface(binding, "http://a:1", None).read_refusal(body.as_bytes())
        };
        let rpc = r#"{"jsonrpc":"2.0","id":"1","error":{"code":-32602,"message":"no"}}"#;
        assert_eq!(refused(V1, rpc), Some(-32602));
        let rest = r#"{"error":{"code":400,"status":"FAILED_PRECONDITION","message":"no","details":[
            {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"UNSUPPORTED_OPERATION","domain":"a2a-protocol.org"}]}}"#;
        assert_eq!(refused(Binding::Rest, rest), Some(-32004));
        let plain = r#"{"error":{"code":429,"message":"slow down"}}"#;
        assert_eq!(refused(Binding::Rest, plain), Some(429));
        for nothing in ["", "[]", r#"{"task":{}}"#, r#"{"error":"x"}"#] {
            assert_eq!(refused(Binding::Rest, nothing), None, "{nothing}");
            assert_eq!(refused(V1, nothing), None, "{nothing}");
        }
    }
}
