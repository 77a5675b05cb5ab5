//! What a request passes, in order. This is the one page that says so.

use std::{net::IpAddr, sync::Arc, time::Duration};

use actix_web::{
    HttpMessage as _, HttpRequest, HttpResponse,
    http::header::{HeaderMap, USER_AGENT},
    web::{Data, Payload},
};
use archipel_kit::{
    admission::client_address,
    client::{Answer, ClientError, RequestBody},
    http::{Upload, declared_length, forward_body, read_body},
};

use crate::{
    exchange::{Passage, count_failure, respond},
    limiter::SharedLimit,
    own,
    refusal::Refusal,
    route::Route,
    state::Shared,
    upstream::Upstream,
};

/// A body up to this size is read whole before it is sent on: it usually came in one piece with its head, and costs
/// neither a task nor a channel then. Larger ones, and those of unknown size, are passed on while they arrive.
const READ_WHOLE: u64 = 64 * 1024;

/// What one worker serves with.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) upstream: Upstream,
    pub(crate) limit: Option<SharedLimit>,
}

/// Serves one request and counts it.
pub(crate) async fn serve(
    request: HttpRequest,
    payload: Payload,
    worker: Data<Worker>,
) -> HttpResponse {
    let route = Route::of(request.method(), request.path());
    let response = match pass(route, &request, payload, &worker).await {
        Ok(response) => response,
        Err(refusal) => {
            refusal.answer(route.speaks_a2a() && request.method() == actix_web::http::Method::POST)
        }
    };
    let labels = (request.method().into(), route, response.status().into());
    worker.shared.metrics.requests.count(labels);
    response
}

/// The order of everything.
async fn pass(
    route: Route,
    request: &HttpRequest,
    payload: Payload,
    worker: &Worker,
) -> Result<HttpResponse, Refusal> {
    let shared = &worker.shared;
    // Length of the target first: nothing below has to look at a long one.
    check_url(request, shared)?;
    // Our own places are asked by machines and must answer when clients use up their limits.
    if let Some(answer) = own::answer(route, request, worker).await {
        return answer;
    }
    // What is not ours costs nothing more.
    if route == Route::Unknown {
        return Err(Refusal::NotFound);
    }
    // Sizes before contents: they are already known.
    check_headers(request.headers(), shared)?;
    // Unwanted programs next, so that they do not use up the allowance of the address they share.
    check_user_agent(request.headers(), shared)?;
    // Who is asking: the socket's peer, or what a trusted proxy says.
    let client = client(request, shared);
    // How often, before a byte of the body is taken.
    if let Some(limiter) = &shared.limiter {
        limiter.admit(client, worker.limit.as_ref()).await?;
    }
    // From here on the request counts as being answered, until the last byte of its answer is gone.
    let passage = Passage::enter(shared);
    // The body, within its bounds: declared ones are refused unread, counted ones while they arrive.
    let (body, upload) = take_body(request, payload, shared).await?;
    // The node, and with it whatever it decides about this caller.
    let answer = ask(route, request, client, body, worker).await;
    let answer = answer.map_err(|error| explain(&error, upload.as_ref(), shared))?;
    // Nobody asked to switch protocols, so a client could make nothing of it.
    if answer.status.is_informational() {
        return Err(Refusal::UpstreamBroken);
    }
    // Its answer, piece by piece.
    Ok(respond(answer, passage))
}

fn check_url(request: &HttpRequest, shared: &Shared) -> Result<(), Refusal> {
    let length = request
        .uri()
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if length > shared.settings.max_url.bytes() {
        Err(Refusal::UrlTooLong)
    } else {
        Ok(())
    }
}

fn check_headers(headers: &HeaderMap, shared: &Shared) -> Result<(), Refusal> {
    let size: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if size > shared.settings.max_headers.bytes() {
        Err(Refusal::HeadersTooLarge)
    } else {
        Ok(())
    }
}

/// A missing or unreadable User-Agent is an empty one: it passes, as no word is in it.
fn check_user_agent(headers: &HeaderMap, shared: &Shared) -> Result<(), Refusal> {
    if shared.blocked_agents.is_empty() {
        return Ok(());
    }
    let agent = headers
        .get(USER_AGENT)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).to_lowercase());
    let agent = agent.unwrap_or_default();
    let blocked = shared
        .blocked_agents
        .iter()
        .any(|word| agent.contains(word));
    if blocked {
        Err(Refusal::UserAgentBlocked)
    } else {
        Ok(())
    }
}

fn client(request: &HttpRequest, shared: &Shared) -> IpAddr {
    let peer = request
        .peer_addr()
        .map_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), |peer| {
            peer.ip()
        });
    let trusted = &shared.settings.trusted_proxies;
    if trusted.is_empty() {
        return peer.to_canonical();
    }
    let lines: Vec<&str> = request
        .headers()
        .get_all("x-forwarded-for")
        .filter_map(|value| value.to_str().ok())
        .collect();
    client_address(peer, lines.into_iter(), trusted)
}

async fn take_body(
    request: &HttpRequest,
    payload: Payload,
    shared: &Shared,
) -> Result<(RequestBody, Option<Upload>), Refusal> {
    let limit = shared.settings.max_body.bytes();
    let time = shared.body_time;
    let declared = declared_length(request.headers());
    let mut payload = payload.into_inner();
    match declared {
        Some(length) if length > limit as u64 => Err(Refusal::TooLarge),
        None if !request.chunked().unwrap_or(false) => Ok((RequestBody::empty(), None)),
        Some(length) if length <= READ_WHOLE => Ok((
            read_body(request.headers(), &mut payload, limit, time)
                .await?
                .into(),
            None,
        )),
        _ => {
            let (body, upload) = forward_body(payload, declared, limit, time);
            Ok((body, Some(upload)))
        }
    }
}

async fn ask(
    route: Route,
    request: &HttpRequest,
    client: IpAddr,
    body: RequestBody,
    worker: &Worker,
) -> Result<Answer, ClientError> {
    let shared = &worker.shared;
    let started = shared.clock.monotonic();
    let answer = worker.upstream.send(route, request, client, body).await;
    let took = shared.clock.monotonic().saturating_sub(started);
    shared.metrics.first_byte.record(took, ());
    answer
}

/// The fault is the client's when its body was what failed; else the node's.
fn explain(error: &ClientError, upload: Option<&Upload>, shared: &Shared) -> Refusal {
    if let Some(cause) = upload.and_then(Upload::failure) {
        return cause.into();
    }
    count_failure(&shared.metrics, error);
    error.into()
}

/// 0 means no limit; a century is none.
pub(crate) fn body_time(setting: Duration) -> Duration {
    if setting.is_zero() {
        Duration::from_secs(100 * 365 * 86_400)
    } else {
        setting
    }
}
