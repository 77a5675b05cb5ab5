//! A call to an agent that keeps its own tasks: after the gates, the request goes to it as it came, and its answer comes
//! back as it is. Whose task it is is the agent's own business; it is told a pseudonym of the caller.

use actix_web::body::{BodyStream, SizedStream};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use actix_web::{HttpRequest, HttpResponse};
use archipel_kit::client::{Answer, copy_end_to_end, copy_listed};
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::jsonrpc::Id;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName};

use crate::agents::breaker::Verdict;
use crate::agents::passthrough::{PASSED_ON, PassError, Passed, PassthroughAgent};
use crate::agents::run::{Admission, Place};
use crate::edge::auth::Caller;
use crate::edge::{Edge, peer, rpc};
use crate::error::Failure;
use crate::metrics::{Answered, RpcMethod};
use crate::registry::HostedAgent;

/// The agent speaks in our name here, so no cookies, no places and no challenges of its own go back.
const PASSED_BACK: [HeaderName; 14] = [
    CONTENT_TYPE,
    HeaderName::from_static("cache-control"),
    HeaderName::from_static("etag"),
    HeaderName::from_static("last-modified"),
    HeaderName::from_static("vary"),
    HeaderName::from_static("allow"),
    HeaderName::from_static("retry-after"),
    HeaderName::from_static("a2a-version"),
    HeaderName::from_static("a2a-extensions"),
    HeaderName::from_static("x-a2a-extensions"),
    HeaderName::from_static("x-accel-buffering"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-correlation-id"),
    HeaderName::from_static("content-language"),
];

/// Passes a request on, and its answer back.
pub(super) async fn forward(
    request: &HttpRequest,
    edge: &Edge,
    caller: &Caller,
    (agent, elsewhere): (&HostedAgent, &PassthroughAgent),
    below: &str,
    body: Bytes,
) -> Result<HttpResponse, Failure> {
    let mut admission = agent.admit().map_err(refused)?;
    let place = match &admission {
        Some(admission) => admission.place().await,
        None => None,
    };
    let mut headers = HeaderMap::new();
    copy_listed(request.headers(), &mut headers, &PASSED_ON);
    let answer = elsewhere
        .pass(Passed {
            method: peer::verb(request),
            below,
            query: request.query_string(),
            headers,
            body,
            caller: &caller.principal,
        })
        .await;
    let labels = |answered| (RpcMethod::Other, answered);
    match answer {
        Ok(answer) => {
            edge.metrics.calls.count(labels(Answered::Result));
            if answer.status.is_server_error()
                && let Some(admission) = &mut admission
            {
                admission.settle(Verdict::Bad);
            }
            Ok(pass_back(answer, edge, Held(admission, place)))
        }
        Err(PassError::Path) => Err(rpc::agent_not_found(&Id::Null)),
        Err(PassError::Client(cause)) => {
            if let Some(admission) = &mut admission {
                admission.settle(Verdict::Bad);
            }
            let error = RpcError::new(ErrorCode::Unavailable, "the agent cannot be reached");
            Err(refused(error).because(cause))
        }
    }
}

/// What a request that is being answered holds: its place among those that the agent has at once.
struct Held(
    Option<Admission>,
    #[expect(dead_code, reason = "given back when it is dropped")] Place,
);

impl Drop for Held {
    /// The agent has answered, so whatever came of the rest, it is there.
    fn drop(&mut self) {
        if let Some(admission) = &mut self.0 {
            admission.settle(Verdict::Good);
        }
    }
}

fn refused(why: impl Into<RpcError>) -> Failure {
    Failure::rpc_with_status(Id::Null, why.into())
}

fn pass_back(answer: Answer, edge: &Edge, held: Held) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status.as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = HttpResponse::new(status);
    let mut headers = HeaderMap::with_capacity(PASSED_BACK.len());
    for name in PASSED_BACK {
        for value in answer.headers.get_all(&name) {
            headers.append(&name, value.clone());
        }
    }
    copy_end_to_end(&headers, response.headers_mut());
    // A page of the agent's must not be one of ours.
    let headers = response.headers_mut();
    let harmless = actix_web::http::header::HeaderValue::from_static;
    headers.insert(X_CONTENT_TYPE_OPTIONS, harmless("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, harmless("sandbox"));
    if peer::is_event_stream(&answer.headers) {
        let body = BodyStream::new(holding(peer::guarded(answer.body, edge), held));
        return response.set_body(body).map_into_boxed_body();
    }
    match answer.body.exact_length() {
        Some(length) => {
            let body = SizedStream::new(length, holding(answer.body, held));
            response.set_body(body).map_into_boxed_body()
        }
        None => {
            let body = BodyStream::new(holding(answer.body, held));
            response.set_body(body).map_into_boxed_body()
        }
    }
}

/// A body that holds its place until it is over.
fn holding<S: Stream>(body: S, held: Held) -> impl Stream<Item = S::Item> {
    body.inspect(move |_| {
        let _held = &held;
    })
}
