//! What is refused by its head alone, and by what it asks for.

use std::sync::atomic::Ordering;

use actix_http::{
    HttpMessage as _, Method, Request,
    header::{CONTENT_TYPE, HeaderMap, USER_AGENT},
};
use archipel_kit::http::declared_length;

use crate::{
    config::{GatewaySettings, RouteSettings},
    peek::Glance,
    proxy::Setup,
    refusal::{Reason, Refusal},
    state::Current,
};

pub(crate) fn check_url(request: &Request, settings: &GatewaySettings) -> Result<(), Refusal> {
    let target = request.uri().path_and_query();
    let length = target.map_or(0, |target| target.as_str().len());
    refuse_if(length > settings.max_url.bytes(), Reason::UrlTooLong)
}

/// Whether the operator has closed everything, or this place.
pub(crate) fn check_open(policy: Option<&RouteSettings>, setup: &Setup) -> Result<(), Refusal> {
    let settings = &setup.current.settings;
    let is_closed = settings.closed
        || setup.shared.is_closed.load(Ordering::Relaxed)
        || policy.is_some_and(|policy| policy.closed);
    if is_closed {
        return Err(Refusal::closed(
            settings.closed_retry_after.as_secs().max(1),
        ));
    }
    Ok(())
}

pub(crate) fn check_headers(
    headers: &HeaderMap,
    settings: &GatewaySettings,
) -> Result<(), Refusal> {
    let (count, size) = headers.iter().fold((0, 0), |(count, size), (name, value)| {
        (count + 1, size + name.as_str().len() + value.len())
    });
    let is_too_much = count > settings.max_header_count || size > settings.max_headers.bytes();
    refuse_if(is_too_much, Reason::HeadersTooLarge)
}

/// What a request says of its body's length; the body itself is counted while it arrives.
pub(crate) fn check_length(headers: &HeaderMap, settings: &GatewaySettings) -> Result<(), Refusal> {
    let most = settings.max_body.bytes() as u64;
    let is_too_long = declared_length(headers).is_some_and(|length| length > most);
    refuse_if(is_too_long, Reason::TooLarge)
}

/// An unreadable User-Agent is read as far as it goes; a missing one passes unless the operator wants one.
pub(crate) fn check_user_agent(headers: &HeaderMap, current: &Current) -> Result<(), Refusal> {
    let must_have_one = current.settings.block_missing_user_agent;
    if current.blocked_agents.is_empty() && !must_have_one {
        return Ok(());
    }
    let Some(agent) = headers.get(USER_AGENT).filter(|agent| !agent.is_empty()) else {
        return refuse_if(must_have_one, Reason::UserAgentBlocked);
    };
    let agent = String::from_utf8_lossy(agent.as_bytes()).to_lowercase();
    let mut words = current.blocked_agents.iter();
    refuse_if(
        words.any(|word| agent.contains(word)),
        Reason::UserAgentBlocked,
    )
}

/// Of the methods that a place knows, those that the operator lets through.
pub(crate) fn check_method(
    request: &Request,
    policy: Option<&RouteSettings>,
) -> Result<(), Refusal> {
    let Some(policy) = policy.filter(|policy| !policy.methods.is_empty()) else {
        return Ok(());
    };
    let method = request.method().as_str();
    if policy.methods.iter().any(|allowed| allowed == method) {
        return Ok(());
    }
    Err(Refusal::method_not_allowed(&policy.methods))
}

/// The media type of a body, where it has one.
pub(crate) fn check_media_type(request: &Request, current: &Current) -> Result<(), Refusal> {
    if current.content_types.is_empty() || request.method() != Method::POST {
        return Ok(());
    }
    let Some(value) = request.headers().get(CONTENT_TYPE) else {
        return Ok(());
    };
    let bytes = value.as_bytes();
    let media_type = bytes.split(|byte| *byte == b';').next();
    let media_type = media_type.unwrap_or_default().trim_ascii();
    let mut allowed = current.content_types.iter();
    let is_allowed = allowed.any(|allowed| media_type.eq_ignore_ascii_case(allowed.as_bytes()));
    refuse_if(!is_allowed, Reason::MediaType)
}

/// The JSON-RPC method, where a place takes only some. A body that does not plainly say which it wants gets none.
pub(crate) fn check_rpc_method(
    policy: Option<&RouteSettings>,
    glance: &Glance<'_>,
) -> Result<(), Refusal> {
    let Some(policy) = policy.filter(|policy| !policy.rpc_methods.is_empty()) else {
        return Ok(());
    };
    let mut allowed = policy.rpc_methods.iter();
    let is_allowed = !glance.is_odd
        && glance
            .method
            .is_some_and(|method| allowed.any(|allowed| allowed.as_bytes() == method));
    refuse_if(!is_allowed, Reason::RpcMethod)
}

fn refuse_if(is_wrong: bool, reason: Reason) -> Result<(), Refusal> {
    if is_wrong { Err(reason.into()) } else { Ok(()) }
}
