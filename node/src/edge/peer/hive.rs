//! A call to a Hive or Pilox peer: such a node has one agent, at one path, in A2A 0.3 over JSON-RPC.
//!
//! Read [`written`] (what is sent), then [`told`] (what comes back). What our caller said in 0.3 already goes as it is, and
//! comes back as it is; anything else is written in the shapes of 0.3, and the answer, or each event of it, in those of 1.0.

use actix_web::HttpResponse;
use actix_web::body::BodyStream;
use archipel_kit::client::{Answer, AnswerBody, ClientError};
use archipel_protocol::a2a::{PushConfig, PushConfigList, StreamEvent, Version, v03};
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::jsonrpc::{self, decode_response};
use archipel_protocol::method::Method;
use archipel_protocol::object::Invalid;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::StatusCode;
use http::header::RETRY_AFTER;
use http::uri::PathAndQuery;
use serde_json::value::RawValue;

use crate::agents::upstream::sse::SseReader;
use crate::edge::binding::{Call, Telling};
use crate::edge::operation::{Outcome, json};
use crate::edge::peer::{PeerPath, guarded, is_event_stream, peer_failure};
use crate::edge::{CARD, Edge, card, rpc, sse};
use crate::error::{Failure, RETRY_AFTER_SECONDS};
use crate::federation::outbound::OutboundError;
use crate::tasks::command::Sent;

mod asked;

/// How the one agent of such a peer is called here.
const AGENT: &str = "default";

/// Where it is.
const AT_PEER: &str = "/api/a2a/jsonrpc";

/// Says nothing, so that nobody takes the stream for dead while the peer keeps it alive.
const STILL_HERE: &[u8] = b": still here\n\n";

/// Where the agent is at the peer, if it is the one that there is.
pub(super) fn at_peer(path: &PeerPath, call: &Call<'_>) -> Result<PathAndQuery, Failure> {
    let is_there = path.agent == AGENT;
    let found = is_there.then_some(PathAndQuery::from_static(AT_PEER));
    found.ok_or_else(|| rpc::agent_not_found(&call.id()))
}

/// Where its card is.
pub(in crate::edge) fn card_at_peer(path: &PeerPath) -> Result<PathAndQuery, Failure> {
    let is_there = path.agent == AGENT;
    let found = is_there.then_some(PathAndQuery::from_static(CARD));
    found.ok_or_else(|| rpc::agent_not_found(&jsonrpc::Id::Null))
}

/// The call as such a peer takes it. What it has no word for is refused here.
pub(super) fn written(call: &Call<'_>, body: &Bytes) -> Result<Bytes, Failure> {
    if is_spoken_there(call) {
        return Ok(body.clone());
    }
    let written = call
        .operation()
        .and_then(|operation| asked::write(&operation));
    written
        .map(Bytes::from)
        .map_err(|error| Failure::rpc(call.id(), error))
}

/// Whether the caller speaks as the peer does.
pub(super) fn is_spoken_there(call: &Call<'_>) -> bool {
    call.is_json_rpc() && call.version() == Version::V03
}

/// Answers the caller with what the peer answered.
pub(super) async fn told(
    edge: &Edge,
    path: &PeerPath,
    call: &Call<'_>,
    answer: Answer,
) -> Result<HttpResponse, Failure> {
    if answer.status == StatusCode::OK && is_event_stream(&answer.headers) {
        return Ok(events(edge, call, answer));
    }
    let id = &call.id();
    let status = answer.status;
    let pause = answer.headers.get(RETRY_AFTER).cloned();
    let limit = edge.limits.task_size.bytes();
    let body = answer.read_all(limit).await;
    let body = body.map_err(|error| peer_failure(error.into(), &path.peer, id))?;
    let outcome = match decode_response(&body) {
        Ok(jsonrpc::Outcome::Result(card)) if is_card(call) => {
            let card = card.get().as_bytes();
            return card::of_peer::told_card(edge, path, call, card);
        }
        Ok(jsonrpc::Outcome::Result(result)) => {
            let read = call.method().map(|method| read(method, result));
            read.unwrap_or_else(|| Err(unreadable()))
        }
        Ok(jsonrpc::Outcome::Error { code, message }) => Err(refusal(code, message)),
        Err(_) if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
            let seconds = pause.as_ref().and_then(|pause| pause.to_str().ok());
            let error = RpcError::new(ErrorCode::Unavailable, "the peer takes no calls now");
            Err(error.with(RETRY_AFTER_SECONDS, seconds.unwrap_or("1")))
        }
        Err(_) => return Err(peer_failure(OutboundError::BadAnswer, &path.peer, id)),
    };
    call.tell(edge, outcome)
}

fn is_card(call: &Call<'_>) -> bool {
    call.method() == Some(Method::GetExtendedAgentCard)
}

/// A result in the shapes of 0.3 as what it is in 1.0.
fn read(method: Method, raw: &RawValue) -> Result<Outcome, RpcError> {
    let outcome = match method {
        Method::SendMessage => read_sent(raw),
        Method::GetTask | Method::CancelTask => {
            v03::read_task(raw).map(|task| Outcome::Task(json(&task)))
        }
        Method::CreateTaskPushNotificationConfig | Method::GetTaskPushNotificationConfig => {
            read_webhook(raw).map(|webhook| Outcome::Webhook(Box::new(webhook)))
        }
        Method::ListTaskPushNotificationConfigs => read_webhooks(raw).map(Outcome::Webhooks),
        Method::DeleteTaskPushNotificationConfig => Ok(Outcome::Done),
        Method::SendStreamingMessage
        | Method::SubscribeToTask
        | Method::ListTasks
        | Method::GetExtendedAgentCard => return Err(unreadable()),
    };
    outcome.map_err(|_| unreadable())
}

fn read_sent(raw: &RawValue) -> Result<Outcome, Invalid> {
    match v03::read_event(raw)? {
        StreamEvent::Task(task) => Ok(Outcome::Sent(Sent::Task(json(&task)))),
        StreamEvent::Message(message) => Ok(Outcome::Sent(Sent::Message(json(&message)))),
        _ => Err(Invalid::new("kind", "must be task or message")),
    }
}

fn read_webhook(raw: &RawValue) -> Result<PushConfig, Invalid> {
    PushConfig::parse_create(Version::V03, raw)
}

fn read_webhooks(raw: &RawValue) -> Result<PushConfigList, Invalid> {
    let list: Vec<&RawValue> =
        serde_json::from_str(raw.get()).map_err(|_| Invalid::new("", "must be a list"))?;
    Ok(PushConfigList {
        configs: list
            .into_iter()
            .map(read_webhook)
            .collect::<Result<_, _>>()?,
        next_page_token: String::new(),
    })
}

/// An error of the peer under the code that it has in A2A; any other is an error inside the peer.
fn refusal(code: i64, message: String) -> RpcError {
    /// JSON-RPC has left the meaning of these to each server.
    const OF_SERVERS: i64 = -32000;
    let known = ErrorCode::ALL
        .iter()
        .find(|known| i64::from(known.rpc_code()) == code && code != OF_SERVERS);
    RpcError::new(known.copied().unwrap_or(ErrorCode::Internal), message)
}

fn unreadable() -> RpcError {
    let message = "the peer answered something that is no A2A 0.3";
    RpcError::new(ErrorCode::InvalidAgentResponse, message)
}

/// A stream of events in 0.3, as one in the binding of the caller, who speaks 1.0.
fn events(edge: &Edge, call: &Call<'_>, answer: Answer) -> HttpResponse {
    let converting = Converting {
        body: Some(answer.body),
        reader: SseReader::new(edge.limits.task_size.bytes()),
        telling: call.telling(),
    };
    let body = stream::unfold(converting, |mut converting| async move {
        let piece = converting.next().await?;
        Some((piece, converting))
    });
    sse::head(Version::V1).body(BodyStream::new(guarded(body.boxed_local(), edge)))
}

/// A stream on its way through.
struct Converting {
    /// `None` once nothing more of it can be told.
    body: Option<AnswerBody>,
    reader: SseReader,
    telling: Telling,
}

impl Converting {
    async fn next(&mut self) -> Option<Result<Bytes, ClientError>> {
        let chunk = match self.body.as_mut()?.next().await? {
            Ok(chunk) => chunk,
            Err(error) => {
                self.body = None;
                return Some(Err(error));
            }
        };
        let mut events = Vec::new();
        let read = self.reader.push(&chunk, &mut events);
        let mut out = BytesMut::new();
        for event in events {
            self.show(&event, &mut out);
        }
        if read.is_err() {
            self.end(&mut out);
        }
        if out.is_empty() {
            out.put_slice(STILL_HERE);
        }
        Some(Ok(out.freeze()))
    }

    fn show(&mut self, event: &[u8], out: &mut BytesMut) {
        if self.body.is_none() {
            return;
        }
        match decode_response(event) {
            Ok(jsonrpc::Outcome::Result(raw)) => match v03::read_event(raw) {
                Ok(event) => write(&self.telling.event(&event), out),
                Err(_) => self.end(out),
            },
            Ok(jsonrpc::Outcome::Error { code, message }) => {
                write(&self.telling.error(&refusal(code, message)), out);
            }
            Err(_) => self.end(out),
        }
    }

    /// What cannot be read is told as an error, and nothing after it.
    fn end(&mut self, out: &mut BytesMut) {
        self.body = None;
        write(&self.telling.error(&unreadable()), out);
    }
}

fn write(data: &[u8], out: &mut BytesMut) {
    out.put_slice(b"data: ");
    out.put_slice(data);
    out.put_slice(b"\n\n");
}
