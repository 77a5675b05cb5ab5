//! Cards of agents of peers: believed as `trust.cards` says, reached through us, signed anew.

use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use archipel_kit::client::Answer;
use archipel_protocol::a2a::{AgentCard, Version};
use archipel_protocol::jsonrpc::{self, Id, decode_response};
use bytes::Bytes;

use crate::cards::trust::CardTrust;
use crate::cards::{CardForm, CardForms, Modified};
use crate::edge::binding::Call;
use crate::edge::card::{answer, form};
use crate::edge::operation::Outcome;
use crate::edge::peer::{PeerPath, hive, peer_failure};
use crate::edge::{CARD, Edge, auth, limits};
use crate::error::Failure;
use crate::federation::outbound::{MAX_CARD_BYTES, NodeKind, OutboundError};

/// The card of an agent of a peer, with our URL on it.
pub(super) async fn card(
    request: HttpRequest,
    edge: web::Data<Edge>,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Failure> {
    auth::check_open(&edge)?;
    limits::check_url(&request, &edge.limits)?;
    auth::check_gateway(&request, &edge)?;
    // Reading it costs a call to the peer in our name, so it needs the same right.
    let caller = auth::identify(&request, &edge).await?;
    auth::check_forward(&request, &edge, &caller)?;
    let (peer, agent) = path.into_inner();
    let path = PeerPath { peer, agent };
    let kind = edge.outbound.kind(&path.peer).await;
    let at_peer = match kind.map_err(|error| peer_failure(error, &path.peer, &Id::Null))? {
        NodeKind::Archipel => path.at_peer(CARD, &Id::Null)?,
        NodeKind::Hive => hive::card_at_peer(&path)?,
    };
    let read = edge.outbound.card(&path.peer, at_peer, caller.behind());
    let read = read
        .await
        .map_err(|error| peer_failure(error, &path.peer, &Id::Null))?;
    let modified = Modified::Told(read.modified);
    let forms = passed_on(&edge, &path, &read.body, &modified, &Id::Null)?;
    let card = forms.in_form(form(&request, CardForm::V1));
    Ok(answer(&request, card, "private, max-age=60"))
}

/// What a peer answered that was asked for the extended card of an agent.
pub(in crate::edge) async fn extended(
    edge: &Edge,
    path: &PeerPath,
    call: &Call<'_>,
    told: Answer,
) -> Result<HttpResponse, Failure> {
    let id = call.id();
    let body = told.read_all(MAX_CARD_BYTES).await;
    let body = body.map_err(|error| peer_failure(error.into(), &path.peer, &id))?;
    let card = if call.is_json_rpc() {
        match decode_response(&body) {
            Ok(jsonrpc::Outcome::Result(card)) => Bytes::copy_from_slice(card.get().as_bytes()),
            // Of an error it makes no difference on whose card it is.
            Ok(jsonrpc::Outcome::Error { .. }) => {
                let json = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
                return Ok(HttpResponse::Ok().insert_header(json).body(body));
            }
            Err(_) => return Err(peer_failure(OutboundError::BadAnswer, &path.peer, &id)),
        }
    } else {
        body
    };
    told_card(edge, path, call, &card)
}

/// Answers with the card that a peer told.
pub(in crate::edge) fn told_card(
    edge: &Edge,
    path: &PeerPath,
    call: &Call<'_>,
    card: &[u8],
) -> Result<HttpResponse, Failure> {
    let forms = passed_on(edge, path, card, &Modified::Told(None), &call.id())?;
    let form = match call.version() {
        Version::V1 => CardForm::V1,
        Version::V03 => CardForm::V03,
    };
    let card = forms.in_form(form).body.clone();
    call.tell(edge, Ok(Outcome::Card(card)))
}

fn passed_on(
    edge: &Edge,
    path: &PeerPath,
    card: &[u8],
    modified: &Modified,
    id: &Id,
) -> Result<CardForms, Failure> {
    let unusable = || peer_failure(OutboundError::BadAnswer, &path.peer, id);
    let text = std::str::from_utf8(card).map_err(|_| unusable())?;
    let trust = CardTrust::new(edge.card_check, edge.outbound.keys_of(&path.peer));
    let text = trust.accept(text, &path.peer);
    let text = text.map_err(|error| unusable().because(error))?;
    let card = AgentCard::read_any(&text).map_err(|error| unusable().because(error))?;
    let url = format!("{}/peers/{}/agents/{}", edge.origin, path.peer, path.agent);
    Ok(CardForms::of(
        &card.hosted_at(&url),
        &url,
        &edge.signer,
        modified,
    ))
}
