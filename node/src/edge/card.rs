//! Agent cards (A2A 1.0 §8.2), where they are found, and with what they are signed: who may see one depends on the agent, and
//! a card never names another URL than ours. Those of agents of peers are in `of_peer`.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, HttpDate, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
    VARY,
};
use actix_web::{HttpRequest, HttpResponse, web};
use archipel_protocol::a2a::Version;
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::jsonrpc::Id;
use bytes::Bytes;
use serde_json::json;

use crate::cards::key::JWKS_PATH;
use crate::cards::shelf::{CardSort, NoCard};
use crate::cards::{CardForm, Modified, ServedCard, etag_of};
use crate::config::{RootCard, Visibility};
use crate::edge::auth::{self, header};
use crate::edge::binding::named_version;
use crate::edge::{CARD, Edge, OF_PEER, OLD_CARD, limits, only, rpc};
use crate::error::{Failure, Gate};
use crate::registry::{HostedAgent, ReadCard};

pub(super) mod of_peer;

/// Where the agents of this node are listed.
const CATALOG: &str = "/.well-known/ai-catalog.json";

/// The paths of cards and of what belongs to them.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    let below = |base: &str| [CARD, OLD_CARD].map(|card| format!("{base}{card}"));
    let (of_agent, of_peer_agent) = (below("/agents/{id}"), below(OF_PEER));
    config
        .service(only(&[CARD, OLD_CARD], web::get().to(default)))
        .service(only(
            &of_agent.each_ref().map(String::as_str),
            web::get().to(named),
        ))
        .service(only(
            &of_peer_agent.each_ref().map(String::as_str),
            web::get().to(of_peer::card),
        ))
        .service(only(&[JWKS_PATH], web::get().to(keys)))
        .service(only(&[CATALOG], web::get().to(catalog)));
}

impl Edge {
    /// The card of an agent for callers, as JSON in the shape of `version`.
    ///
    /// # Errors
    /// When the agent has none; whether it declares one makes a difference (§3.1.11).
    pub async fn extended_card(
        &self,
        agent: &HostedAgent,
        version: Version,
    ) -> Result<Bytes, RpcError> {
        let form = match version {
            Version::V1 => CardForm::V1,
            Version::V03 => CardForm::V03,
        };
        let (code, message) = match self.read_card(agent, CardSort::Extended, form).await {
            Ok(card) => return Ok(card.body),
            Err(NoCard::NotDeclared) => (
                ErrorCode::UnsupportedOperation,
                "this agent has no extended card",
            ),
            Err(NoCard::NotConfigured) => (
                ErrorCode::ExtendedCardNotConfigured,
                "this agent declares an extended card but shows none",
            ),
            Err(NoCard::Away | NoCard::Refused) => (
                ErrorCode::Unavailable,
                "the agent's extended card cannot be read now",
            ),
        };
        Err(RpcError::new(code, message))
    }

    async fn read_card(
        &self,
        agent: &HostedAgent,
        sort: CardSort,
        form: CardForm,
    ) -> Result<ServedCard, NoCard> {
        let ask = ReadCard {
            agent: Arc::clone(&agent.id),
            sort,
            form,
        };
        self.cards.send(ask).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "a card cannot be read now");
            Err(NoCard::Away)
        })
    }
}

/// The card of the default agent.
async fn default(request: HttpRequest, edge: web::Data<Edge>) -> Result<HttpResponse, Failure> {
    let agent = edge.agents.load().default_agent().cloned();
    let usual = match edge.root_card {
        RootCard::Both => CardForm::Both,
        RootCard::V1 => CardForm::V1,
        RootCard::V03 => CardForm::V03,
    };
    of_agent(&request, &edge, agent, usual).await
}

/// The card of one agent.
async fn named(
    request: HttpRequest,
    edge: web::Data<Edge>,
    id: web::Path<String>,
) -> Result<HttpResponse, Failure> {
    let agent = edge.agents.load().find(&id).cloned();
    of_agent(&request, &edge, agent, CardForm::V1).await
}

async fn of_agent(
    request: &HttpRequest,
    edge: &Edge,
    agent: Option<Arc<HostedAgent>>,
    usual: CardForm,
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
            .is_ok_and(|caller| caller.may_see(&agent.id, agent.visibility))
    {
        return Err(rpc::agent_not_found(&Id::Null));
    }
    let form = form(request, usual);
    let card = edge.read_card(&agent, CardSort::Public, form).await;
    let card = card.map_err(|none| Failure::gate(Gate::Unavailable, told(none)))?;
    let caching = if public {
        "public, max-age=60"
    } else {
        "private, max-age=60"
    };
    Ok(answer(request, &card, caching))
}

/// The public keys of our cards and of our tokens.
async fn keys(request: HttpRequest, edge: web::Data<Edge>) -> Result<HttpResponse, Failure> {
    limits::check_url(&request, &edge.limits)?;
    let body = Bytes::from(edge.peers.jwks(&edge.signer));
    let keys = ServedCard {
        etag: etag_of(&body),
        body,
        content_type: "application/jwk-set+json".into(),
        modified: Modified::Told(None),
    };
    Ok(answer(&request, &keys, "public, max-age=300"))
}

/// The agents that the caller may see (AI Catalog 1.0). An agent's card says the rest.
async fn catalog(request: HttpRequest, edge: web::Data<Edge>) -> Result<HttpResponse, Failure> {
    auth::check_open(&edge)?;
    limits::check_url(&request, &edge.limits)?;
    let caller = if auth::presents_credential(&request) {
        Some(auth::identify(&request, &edge).await?)
    } else {
        None
    };
    let may_see = |agent: &HostedAgent| match &caller {
        Some(caller) => caller.may_see(&agent.id, agent.visibility),
        None => agent.visibility == Visibility::Public,
    };
    let agents = edge.agents.load();
    let entries: Vec<_> = agents
        .iter()
        .filter(|agent| may_see(agent))
        .map(|agent| {
            let url = format!("{}/agents/{}", edge.origin, agent.id);
            // We run the catalog and need not be who published the agent, so its name here is a URL of ours.
            json!({"identifier": url, "type": "application/a2a-agent-card+json", "url": format!("{url}{CARD}")})
        })
        .collect();
    let body = json!({"specVersion": "1.0", "entries": entries}).to_string();
    let body = Bytes::from(body);
    let served = ServedCard {
        etag: etag_of(&body),
        body,
        content_type: "application/ai-catalog+json".into(),
        modified: Modified::Told(None),
    };
    // Whom it is for is in more headers than a cache could be told to look at.
    Ok(answer(&request, &served, "private, max-age=60"))
}

/// In which form the client wants a card: as the version that it names (§3.6), else as its path says.
fn form(request: &HttpRequest, usual: CardForm) -> CardForm {
    match named_version(request).filter(|version| !version.is_empty()) {
        None if request.path().ends_with(OLD_CARD) => CardForm::V03,
        None => usual,
        // Who speaks what we do not is told in the newest words that we have what we do speak.
        Some(version) => match Version::parse(Some(version)) {
            Some(Version::V03) => CardForm::V03,
            Some(Version::V1) | None => CardForm::V1,
        },
    }
}

fn told(none: NoCard) -> &'static str {
    match none {
        NoCard::Refused => "the agent's card is not signed by a key that is trusted",
        _ => "the agent does not answer with a card",
    }
}

fn answer(request: &HttpRequest, card: &ServedCard, caching: &'static str) -> HttpResponse {
    let known = is_known(request, card);
    let mut response = if known {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    response
        .insert_header((ETAG, card.etag.as_str()))
        .insert_header((CACHE_CONTROL, caching))
        .insert_header((VARY, "A2A-Version"));
    match &card.modified {
        Modified::At(ms) => {
            response.insert_header((LAST_MODIFIED, date(*ms)));
        }
        Modified::Told(Some(date)) => {
            response.insert_header((LAST_MODIFIED, date.as_str()));
        }
        Modified::Told(None) => {}
    }
    if known {
        return response.finish();
    }
    response
        .insert_header((CONTENT_TYPE, card.content_type.as_ref()))
        .body(card.body.clone())
}

/// Whether the client has this very body (RFC 9110 §13.2.2): tags say it exactly, and only without tags dates count.
fn is_known(request: &HttpRequest, card: &ServedCard) -> bool {
    if let Some(tags) = header(request, IF_NONE_MATCH.as_str()) {
        let tag = card.etag.trim_start_matches("W/");
        return tags
            .split(',')
            .map(str::trim)
            .any(|known| known == "*" || known.trim_start_matches("W/") == tag);
    }
    let since = header(request, IF_MODIFIED_SINCE.as_str());
    let Some(since) = since.and_then(|since| since.parse::<HttpDate>().ok()) else {
        return false;
    };
    match &card.modified {
        Modified::At(ms) => date(*ms) <= since,
        Modified::Told(told) => told
            .as_deref()
            .and_then(|told| told.parse::<HttpDate>().ok())
            .is_some_and(|told| told <= since),
    }
}

/// To the second, as HTTP has it.
fn date(ms: u64) -> HttpDate {
    (UNIX_EPOCH + Duration::from_secs(ms / 1000)).into()
}
