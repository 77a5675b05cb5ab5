//! Agent cards (A2A 1.0 §8.2): who may see one depends on the agent, and a card never names another URL than ours.

use std::sync::Arc;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse, web};
use archipel_protocol::a2a::AgentCard;
use archipel_protocol::jsonrpc::Id;

use crate::config::Visibility;
use crate::edge::auth::{self, header};
use crate::edge::peer::{PeerPath, peer_failure};
use crate::edge::{CARD, Edge, limits, rpc};
use crate::error::{Failure, Gate};
use crate::federation::outbound::OutboundError;
use crate::registry::{HostedAgent, ReadCard, ServedCard, serve};

/// The card of the default agent.
pub(super) async fn default(
    request: HttpRequest,
    edge: web::Data<Edge>,
) -> Result<HttpResponse, Failure> {
    let agent = edge.agents.load().default_agent().cloned();
    of_agent(&request, &edge, agent).await
}

/// The card of one agent.
pub(super) async fn named(
    request: HttpRequest,
    edge: web::Data<Edge>,
    id: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    let agent = edge.agents.load().find(&id).cloned();
    of_agent(&request, &edge, agent).await
}

/// The card of an agent of a peer, with our URL on it.
pub(super) async fn of_peer(
    request: HttpRequest,
    edge: web::Data<Edge>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Failure> {
    auth::check_open(&edge)?;
    limits::check_url(&request, &edge.limits)?;
    auth::check_gateway(&request, &edge)?;
    // Reading it costs a call to the peer in our name, so it needs the same right.
    let caller = auth::identify(&request, &edge).await?;
    auth::require_operator(&request, &edge, &caller)?;
    let (peer, agent) = path.into_inner();
    let path = PeerPath { peer, agent };
    let read = edge
        .outbound
        .card(&path.peer, path.at_peer(CARD, &Id::Null)?)
        .await;
    let bytes = read.map_err(|error| peer_failure(error, &path.peer, &Id::Null))?;
    let unusable = || peer_failure(OutboundError::BadAnswer, &path.peer, &Id::Null);
    let text = std::str::from_utf8(&bytes).map_err(|_| unusable())?;
    let card = AgentCard::read(text).map_err(|error| unusable().because(error))?;
    let url = format!("{}/peers/{}/agents/{}", edge.origin, path.peer, path.agent);
    Ok(answer(
        &request,
        &serve(card.served_at(url)),
        "private, max-age=60",
    ))
}

async fn of_agent(
    request: &HttpRequest,
    edge: &Edge,
    agent: Option<Arc<HostedAgent>>,
) -> Result<HttpResponse, Failure> {
    auth::check_open(edge)?;
    limits::check_url(request, &edge.limits)?;
    let Some(agent) = agent else {
        return Err(rpc::agent_not_found(&Id::Null));
    };
    let public = agent.visibility == Visibility::Public;
    // To a stranger, a card that is not public is missing, like an agent that is not there.
    if !public
        && !auth::identify(request, edge)
            .await
            .is_ok_and(|caller| caller.may_see(agent.visibility))
    {
        return Err(rpc::agent_not_found(&Id::Null));
    }
    let read = edge
        .cards
        .send(ReadCard {
            agent: Arc::clone(&agent.id),
        })
        .await;
    match read {
        Ok(Ok(card)) => Ok(answer(
            request,
            &card,
            if public {
                "public, max-age=60"
            } else {
                "private, max-age=60"
            },
        )),
        Ok(Err(unavailable)) => Err(Failure::gate(
            Gate::Unavailable,
            "the agent does not answer with a card",
        )
        .because(unavailable)),
        Err(error) => Err(
            Failure::gate(Gate::Unavailable, "the agent's card cannot be read now").because(error),
        ),
    }
}

fn answer(request: &HttpRequest, card: &ServedCard, caching: &'static str) -> HttpResponse {
    let known = header(request, IF_NONE_MATCH.as_str()).is_some_and(|tags| {
        tags.split(',').any(|tag| {
            matches!(tag.trim(), "*") || tag.trim().trim_start_matches("W/") == card.etag
        })
    });
    let mut response = if known {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    response
        .insert_header((ETAG, card.etag.as_str()))
        .insert_header((CACHE_CONTROL, caching));
    if known {
        return response.finish();
    }
    response
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(card.body.clone())
}
