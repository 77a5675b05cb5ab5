//! `POST /api/mesh/federation/proxy/jsonrpc`: the operator calls the default agent of the peer at a place in the roster
//! (contract/federation.md 8). What is not as there: a peer that fails is told as 502 or 504 and recorded, streams last as
//! long as they are not silent, redirects are refused, `Retry-After` and `Cache-Control` go through, the shared secret is
//! never sent beside a token, and a list is no index.

use std::collections::BTreeMap;

use actix_web::body::BodyStream;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use archipel_kit::client::{Answer, copy_end_to_end, copy_listed};
use archipel_protocol::jsonrpc::{Id, readable};
use archipel_protocol::names::Dialect;
use bytes::Bytes;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use http::uri::PathAndQuery;
use serde_json::value::RawValue;

use crate::audit::{AuditAction, AuditOutcome};
use crate::edge::auth::{self, Caller, record};
use crate::edge::peer::{guarded, is_event_stream, peer_failure};
use crate::edge::{Edge, limits};
use crate::error::{Failure, Gate, Tier};
use crate::federation::outbound::PeerCall;
use crate::federation::peers::Peer;
use crate::limiter::{Bucket, Call};
use crate::metrics::Answered;

/// Where every node of the mesh has its default agent.
const AT_PEER: &str = "/api/a2a/jsonrpc";

/// Of the operator's request, these go on.
const PASSED_ON: [HeaderName; 4] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-correlation-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// Of the peer's answer, these go back.
const PASSED_BACK: [HeaderName; 3] = [CONTENT_TYPE, CACHE_CONTROL, RETRY_AFTER];

/// Which peer is called, and with what.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    index: usize,
    rpc: Bytes,
}

/// The gates in the order of the contract, then the call.
pub(super) async fn call(
    request: HttpRequest,
    payload: web::Payload,
    edge: web::Data<Edge>,
) -> Result<HttpResponse, Failure> {
    auth::check_open(&edge)?;
    if !edge.mesh.views.is_enabled() {
        return Err(unavailable("federation is off"));
    }
    if !edge.mesh.views.is_ready() {
        return Err(unavailable("there is no key or no peer to call"));
    }
    limits::check_url(&request, &edge.limits)?;
    let caller = auth::identify(&request, &edge).await?;
    auth::require_operator(&request, &edge, &caller)?;
    check_token(&request, &edge, &caller)?;
    check_rate(&request, &edge, &caller).await?;
    let body = limits::read_body(&request, payload, &edge.limits).await;
    let asked = Asked::read(&body.map_err(too_large)?)?;
    let Some(peer) = edge.mesh.views.peer(asked.index) else {
        return Err(bad("there is no peer at this peerIndex"));
    };
    forward(&request, &edge, &caller, &peer, asked.rpc).await
}

async fn forward(
    request: &HttpRequest,
    edge: &Edge,
    caller: &Caller,
    peer: &Peer,
    rpc: Bytes,
) -> Result<HttpResponse, Failure> {
    let mut headers = HeaderMap::new();
    copy_listed(request.headers(), &mut headers, &PASSED_ON);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let accepted = HeaderValue::from_static("application/json, text/event-stream");
    headers.insert(ACCEPT, accepted);
    let calling = PeerCall {
        peer: &peer.name,
        method: http::Method::POST,
        path_and_query: PathAndQuery::from_static(AT_PEER),
        headers,
        body: rpc,
        only_reads: false,
        behind: caller.behind(),
    };
    let answer = edge.outbound.call(calling).await;
    let (outcome, answered) = match &answer {
        Ok(_) => (AuditOutcome::Accepted, Answered::Result),
        Err(_) => (AuditOutcome::Failed, Answered::Error),
    };
    record(
        request,
        edge,
        AuditAction::OutboundCall,
        outcome,
        |record| {
            record.caller = Some(caller.principal.as_ref().into());
            record.peer = Some(peer.origin.as_str().into());
        },
    );
    edge.metrics.peer_calls.count(answered);
    let answer = answer.map_err(|error| peer_failure(error, &peer.name, &Id::Null))?;
    Ok(pass_back(request, edge, answer))
}

fn pass_back(request: &HttpRequest, edge: &Edge, answer: Answer) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status.as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = HttpResponse::build(status);
    if let Some(id) = auth::request_id(request) {
        response.insert_header(("x-correlation-id", id));
    }
    let mut response = response.finish();
    let mut headers = HeaderMap::with_capacity(PASSED_BACK.len());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for name in PASSED_BACK {
        if let Some(value) = answer.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    copy_end_to_end(&headers, response.headers_mut());
    if is_event_stream(&answer.headers) {
        let body = BodyStream::new(guarded(answer.body, edge));
        return response.set_body(body).map_into_boxed_body();
    }
    response.set_body(answer.body).map_into_boxed_body()
}

/// The operator's second key, where the configuration asks for one.
fn check_token(request: &HttpRequest, edge: &Edge, caller: &Caller) -> Result<(), Failure> {
    let Some(token) = edge.mesh.views.proxy_token() else {
        return Ok(());
    };
    let header = Dialect::proxy_operator_token_header;
    let presented = auth::either(request, edge.gates.dialect, header);
    if presented.is_some_and(|presented| token.matches(presented.as_bytes())) {
        return Ok(());
    }
    auth::refuse_caller(request, edge, caller, "proxy_token");
    Err(Failure::gate(
        Gate::Forbidden,
        "the proxy needs its operator token",
    ))
}

/// How often peers may call from one address is how often one operator may call them (contract/federation.md 6).
async fn check_rate(request: &HttpRequest, edge: &Edge, caller: &Caller) -> Result<(), Failure> {
    let key = format!("federation:proxy:{}", caller.principal);
    let call = Call {
        buckets: &[Bucket {
            key: &key,
            limit: edge.gates.federation_limit,
        }],
        reputation: None,
    };
    edge.turnstile.pass(call).await.map_err(|held| {
        auth::refuse_caller(request, edge, caller, held.why.reason());
        Failure::limited(held, Tier::Known)
    })
}

impl Asked {
    fn read(body: &[u8]) -> Result<Self, Failure> {
        let not_json = || bad("the body must be a JSON object");
        let text = readable(body).map_err(|_| not_json())?;
        // Null is a value here.
        let members: BTreeMap<String, &RawValue> =
            serde_json::from_str(text).map_err(|_| not_json())?;
        let index = members.get("peerIndex").and_then(|raw| index(raw));
        let rpc = members.get("rpc").map(|raw| verbatim(raw));
        let rpc = rpc.unwrap_or_default();
        let wrong = || bad("peerIndex must be a whole number from 0 on");
        let index = index.ok_or_else(wrong)?;
        Ok(Self { index, rpc })
    }
}

/// A text is sent as it is, anything else as the JSON that it is.
fn verbatim(raw: &RawValue) -> Bytes {
    let text = serde_json::from_str::<String>(raw.get());
    text.unwrap_or_else(|_| raw.get().to_owned()).into()
}

/// A place in the roster, as generously as the contract reads one: `"0"`, `null`, `true` and `2.0` are numbers.
fn index(raw: &RawValue) -> Option<usize> {
    match raw.get() {
        "null" | "false" => Some(0),
        "true" => Some(1),
        quoted if quoted.starts_with('"') => {
            let text: String = serde_json::from_str(quoted).ok()?;
            match text.trim() {
                "" => Some(0),
                digits => whole(digits),
            }
        }
        number => whole(number),
    }
}

fn whole(number: &str) -> Option<usize> {
    let number: f64 = number.parse().ok()?;
    let is_whole = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    is_whole.then_some(number as usize)
}

fn too_large(failure: Failure) -> Failure {
    if failure.status_code() == StatusCode::PAYLOAD_TOO_LARGE {
        return Failure::gate(Gate::PayloadTooLarge, "the body is too large");
    }
    bad("the body did not come")
}

fn bad(message: &'static str) -> Failure {
    Failure::gate(Gate::BadRequest, message)
}

fn unavailable(message: &'static str) -> Failure {
    Failure::gate(Gate::Unavailable, message)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_generously_as_the_contract_does() {
        let check = |text: &str, expected: Option<usize>| {
            let raw: Box<RawValue> = serde_json::from_str(text).unwrap();
            assert_eq!(index(&raw), expected, "{text}");
        };
        for (text, expected) in [
            ("0", Some(0)),
            ("3", Some(3)),
            ("2.0", Some(2)),
            ("\"1\"", Some(1)),
            ("\" 1 \"", Some(1)),
            ("\"\"", Some(0)),
            ("null", Some(0)),
            ("false", Some(0)),
            ("true", Some(1)),
            ("-1", None),
            ("0.5", None),
            ("1e99", None),
            ("\"x\"", None),
            ("\"NaN\"", None),
            ("{}", None),
            ("[]", None),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn what_is_sent_is_what_was_given() {
        let check = |body: &str, rpc: &str| {
            let asked = Asked::read(body.as_bytes()).unwrap();
            assert_eq!(asked.rpc, rpc, "{body}");
        };
        check(r#"{"peerIndex":0}"#, "");
        check(
            r#"{"peerIndex":0,"rpc":"{\"raw\":true}"}"#,
            r#"{"raw":true}"#,
        );
        check(r#"{"peerIndex":0,"rpc":{"id":1.50}}"#, r#"{"id":1.50}"#);
        check(r#"{"peerIndex":null,"rpc":null}"#, "null");
        for body in ["", "[]", "{", r#"{"rpc":{}}"#] {
            assert!(Asked::read(body.as_bytes()).is_err(), "{body}");
        }
    }
}
