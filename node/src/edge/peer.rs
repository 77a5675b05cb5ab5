//! A call to an agent of a peer: our token, the caller's message, the peer's answer as it comes.
//!
//! A peer's error is repeated when it speaks of the agent or the task. When it speaks of us (our token was refused, the
//! peer is in trouble) the caller is told that the peer could not be used, and which one. Read [`forward`], then `hive`
//! (peers that are Hive or Pilox nodes).

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use archipel_kit::client::{Answer, ClientError, copy_end_to_end, copy_listed};
use archipel_protocol::a2a::Version;
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::jsonrpc::Id;
use archipel_protocol::method::Method;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use http::uri::PathAndQuery;

use crate::audit::{AuditAction, AuditOutcome};
use crate::edge::auth::{Caller, record};
use crate::edge::binding::Call;
use crate::edge::{Edge, card, limits, rpc};
use crate::error::{Failure, Gate, RETRY_AFTER_SECONDS};
use crate::federation::acting::NoFurther;
use crate::federation::outbound::{FORWARDED_HEADERS, NodeKind, OutboundError, PeerCall};
use crate::metrics::Answered;

pub(super) mod hive;

/// Which agent of which peer.
#[derive(Debug, Clone)]
pub(super) struct PeerPath {
    pub(super) peer: String,
    pub(super) agent: String,
}

impl PeerPath {
    /// The agent's path at the peer.
    pub(super) fn at_peer(&self, below: &str, id: &Id) -> Result<PathAndQuery, Failure> {
        // What the router hands over is decoded: a name that needs encoding names nothing.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if self.agent.is_empty() || !self.agent.bytes().all(plain) || self.agent.starts_with('.') {
            return Err(rpc::agent_not_found(id));
        }
        format!("/agents/{}{below}", self.agent)
            .parse()
            .map_err(|_| rpc::agent_not_found(id))
    }
}

/// Passes a call on, and its answer back.
pub(super) async fn forward(
    request: &HttpRequest,
    edge: &Edge,
    caller: &Caller,
    path: &PeerPath,
    body: &Bytes,
    call: &Call<'_>,
) -> Result<HttpResponse, Failure> {
    let kind = edge.outbound.kind(&path.peer).await;
    let kind = kind.map_err(|error| peer_failure(error, &path.peer, &call.id()))?;
    let calling = written(request, caller, path, body, call, kind)?;
    let answer = edge
        .outbound
        .call(calling)
        .await
        .map_err(|error| peer_failure(error, &path.peer, &call.id()))
        .and_then(|answer| usable(answer, &path.peer, call));
    note(request, edge, caller, path, call, answer.is_ok());
    let answer = answer?;
    if kind == NodeKind::Hive && !hive::is_spoken_there(call) {
        return hive::told(edge, path, call, answer).await;
    }
    if call.method() == Some(Method::GetExtendedAgentCard) && answer.status == http::StatusCode::OK
    {
        // The one answer with addresses in it.
        return card::of_peer::extended(edge, path, call, answer).await;
    }
    Ok(pass_back(answer, edge))
}

/// What is sent.
fn written<'a>(
    request: &HttpRequest,
    caller: &'a Caller,
    path: &'a PeerPath,
    body: &Bytes,
    call: &Call<'_>,
    kind: NodeKind,
) -> Result<PeerCall<'a>, Failure> {
    let mut headers = HeaderMap::new();
    copy_listed(request.headers(), &mut headers, &FORWARDED_HEADERS);
    let (version, method, path_and_query, body) = match kind {
        NodeKind::Archipel => {
            let at_peer = path.at_peer(&below(request, call), &call.id())?;
            (call.version(), verb(request), at_peer, body.clone())
        }
        NodeKind::Hive => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let accepted = HeaderValue::from_static("application/json, text/event-stream");
            headers.insert(ACCEPT, accepted);
            let body = hive::written(call, body)?;
            let at_peer = hive::at_peer(path, call)?;
            (Version::V03, http::Method::POST, at_peer, body)
        }
    };
    // The version may have come with the query, or not at all; the peer is told in any case.
    headers.insert("a2a-version", HeaderValue::from_static(version.as_str()));
    Ok(PeerCall {
        peer: &path.peer,
        method,
        path_and_query,
        headers,
        body,
        only_reads: call.method().is_some_and(Method::only_reads),
        behind: caller.behind(),
    })
}

/// Records and counts a call.
pub(super) fn note(
    request: &HttpRequest,
    edge: &Edge,
    caller: &Caller,
    path: &PeerPath,
    call: &Call<'_>,
    is_answered: bool,
) {
    let (outcome, answered) = if is_answered {
        (AuditOutcome::Accepted, Answered::Result)
    } else {
        (AuditOutcome::Failed, Answered::Error)
    };
    let action = AuditAction::OutboundCall;
    record(request, edge, action, outcome, |record| {
        record.caller = Some(caller.principal.as_ref().into());
        record.peer = Some(path.peer.as_str().into());
        record.agent = Some(path.agent.as_str().into());
        record.method = Some(call.name().into());
    });
    edge.metrics.peer_calls.count(answered);
}

/// What follows the agent's path at the peer: as it came, because the peer reads it as we do.
fn below(request: &HttpRequest, call: &Call<'_>) -> String {
    if call.is_json_rpc() {
        return String::new();
    }
    // `/peers/{peer}/agents/{agent}/..`: what is behind the fifth slash.
    let path = request.path().splitn(6, '/').nth(5).unwrap_or_default();
    match request.query_string() {
        "" => format!("/{path}"),
        query => format!("/{path}?{query}"),
    }
}

/// The method of a request.
pub(super) fn verb(request: &HttpRequest) -> http::Method {
    // The router has let only methods through that both libraries know.
    http::Method::from_bytes(request.method().as_str().as_bytes()).unwrap_or(http::Method::POST)
}

/// How a call to a peer that failed is told.
pub(super) fn peer_failure(error: OutboundError, peer: &str, id: &Id) -> Failure {
    let (code, message) = match error {
        OutboundError::NoSuchAgent => return rpc::agent_not_found(id),
        OutboundError::UnknownPeer => (ErrorCode::PeerNotFound, "no such peer"),
        OutboundError::Suspended => (ErrorCode::PeerUnavailable, "the peer is suspended"),
        OutboundError::NoFurther(NoFurther::Loop) => (
            ErrorCode::LoopDetected,
            "the call has come through this peer already",
        ),
        OutboundError::NoFurther(NoFurther::TooFar) => (
            ErrorCode::LoopDetected,
            "the call has gone through as many nodes as it may",
        ),
        OutboundError::Slow => (ErrorCode::PeerTimeout, "the peer did not answer in time"),
        OutboundError::NotReady => {
            return Failure::gate(
                Gate::Unavailable,
                "federation is not configured on this node",
            );
        }
        OutboundError::Busy | OutboundError::LeftAlone(_) => return not_now(error, peer, id),
        OutboundError::Down => (ErrorCode::PeerUnavailable, "the peer cannot be reached"),
        OutboundError::BadAnswer => (
            ErrorCode::PeerUnavailable,
            "the peer gave an answer that cannot be used",
        ),
    };
    let message = format!("{message}: {peer}");
    Failure::rpc_with_status(id.clone(), RpcError::new(code, message).with("peer", peer))
}

/// A call that was not made, because the peer has or causes enough trouble already.
fn not_now(why: OutboundError, peer: &str, id: &Id) -> Failure {
    let seconds = match why {
        OutboundError::LeftAlone(pause) => pause.as_secs() + 1,
        _ => 1,
    };
    let error = RpcError::new(ErrorCode::Unavailable, format!("{why}: {peer}"))
        .with("peer", peer)
        .with(RETRY_AFTER_SECONDS, seconds.to_string());
    Failure::rpc_with_status(id.clone(), error)
}

/// Only what an agent may say goes on: its answer as JSON or as events, or that the request was not right.
fn usable(answer: Answer, peer: &str, call: &Call<'_>) -> Result<Answer, Failure> {
    let id = &call.id();
    let status = answer.status;
    let speaks = Speaks::of(&answer.headers);
    match status {
        // Told before the body was read, so without the call's id. In HTTP+JSON it speaks of the task as well.
        http::StatusCode::NOT_FOUND if speaks == Speaks::Otherwise || call.is_json_rpc() => {
            Err(rpc::agent_not_found(id))
        }
        // These are about this node, not about its caller.
        http::StatusCode::UNAUTHORIZED | http::StatusCode::FORBIDDEN => Err(bad(status, peer, id)),
        http::StatusCode::OK if speaks != Speaks::Otherwise => Ok(answer),
        http::StatusCode::SERVICE_UNAVAILABLE | http::StatusCode::LOOP_DETECTED
            if speaks == Speaks::Json =>
        {
            Ok(answer)
        }
        _ if status.is_client_error() && speaks == Speaks::Json => Ok(answer),
        _ => Err(bad(status, peer, id)),
    }
}

fn bad(status: http::StatusCode, peer: &str, id: &Id) -> Failure {
    let cause = format!("the peer answered {status}");
    peer_failure(OutboundError::BadAnswer, peer, id).because(cause)
}

/// What kind of body an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Json,
    Events,
    Otherwise,
}

impl Speaks {
    fn of(headers: &HeaderMap) -> Self {
        let declared = headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or_default();
        if limits::is_json(declared) {
            Self::Json
        } else if declared.starts_with("text/event-stream") {
            Self::Events
        } else {
            Self::Otherwise
        }
    }
}

/// Whether an answer is a stream of events.
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    Speaks::of(headers) == Speaks::Events
}

/// A peer speaks in our name here, so only headers that mean nothing beyond the answer go on: no cookies, no places.
const PASSED_BACK: [HeaderName; 9] = [
    CONTENT_TYPE,
    CACHE_CONTROL,
    RETRY_AFTER,
    HeaderName::from_static("a2a-version"),
    HeaderName::from_static("a2a-extensions"),
    HeaderName::from_static("x-a2a-extensions"),
    HeaderName::from_static("x-accel-buffering"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-correlation-id"),
];

fn pass_back(answer: Answer, edge: &Edge) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status.as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = HttpResponse::new(status);
    let mut headers = HeaderMap::with_capacity(PASSED_BACK.len());
    for name in PASSED_BACK {
        for value in answer.headers.get_all(&name) {
            headers.append(&name, value.clone());
        }
    }
    copy_end_to_end(&headers, response.headers_mut());
    if Speaks::of(&answer.headers) == Speaks::Events {
        let body = actix_web::body::BodyStream::new(guarded(answer.body, edge));
        response.set_body(body).map_into_boxed_body()
    } else {
        response.set_body(answer.body).map_into_boxed_body()
    }
}

/// Somebody else's stream that ends with this node, with a comment that says so.
pub(super) fn guarded<S>(
    body: S,
    edge: &Edge,
) -> impl Stream<Item = Result<Bytes, ClientError>> + use<S>
where
    S: Stream<Item = Result<Bytes, ClientError>>,
{
    let drain = edge.drain.clone();
    let until = async move {
        drain.cancelled().await;
        // What is on its way gets a moment.
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let stopping = stream::once(async {
        Ok(Bytes::from_static(
            b": the node is stopping; subscribe again to go on\n\n",
        ))
    });
    let stopped = edge.drain.clone();
    body.take_until(Box::pin(until))
        .chain(stopping.filter(move |_| std::future::ready(stopped.is_cancelled())))
}
