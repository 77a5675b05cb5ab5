//! How two nodes pair: the invitation, its acceptance, and the answer of the node that invited.
//!
//! Each side looks at the other's own origin whether the key that it is shown is published there. So whoever holds an
//! invitation can pair as the node that they are, and as no other.

use std::time::Duration;

use archipel_kit::client::{RequestBody, Timeouts};
use archipel_protocol::federation::invitation::{
    Acceptance, Confirmation, Invitation, MAX_LIFE_SECONDS,
};
use archipel_protocol::federation::statement::StatementSigner;
use archipel_protocol::federation::succession::{PublishedKey, read_jwks};
use archipel_protocol::ids::{Origin, Text};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cards::key::JWKS_PATH;
use crate::egress::{Destination, TlsFiles};
use crate::federation::own_keys::OwnKeys;
use crate::federation::peers::{Peer, PeerSource};
use crate::pairing::book::{PairedKey, PairedPeer};
use crate::pairing::desk::{Desk, without_key};
use crate::pairing::{AcceptOrder, InviteOrder, JoinOrder, PairingError, plan, view};
use crate::replay::{ClaimId, ClaimScope};
use crate::store::Claim;

/// Where a node that was invited answers, below the inviter's origin.
pub const PAIR_PATH: &str = "/api/mesh/federation/pair";

/// How long an invitation lives where nothing is said: a day, in seconds.
const LIFE_SECONDS: i64 = 24 * 3600;
/// Shortest life: a minute, in seconds.
const MIN_LIFE_SECONDS: i64 = 60;
/// How long the other node may take for each answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Largest answer of the other node.
const MAX_ANSWER: usize = 128 * 1024;
/// How long the claim of an invitation may take.
const CLAIM_LIMIT: Duration = Duration::from_secs(2);

impl Desk {
    pub(super) async fn invite(&self, order: InviteOrder) -> Result<Value, PairingError> {
        let own = self.present_keys()?;
        plan::check_terms(&order.grant, order.review_by.as_deref())?;
        let life = order.expires_in.unwrap_or(LIFE_SECONDS);
        if !(MIN_LIFE_SECONDS..=MAX_LIFE_SECONDS).contains(&life) {
            let what = "an invitation lives from a minute to thirty days";
            return Err(PairingError::Invalid(what.to_owned()));
        }
        order.name.as_deref().map_or(Ok(()), plan::check_name)?;
        let now = self.now();
        let invitation = Invitation {
            origin: self.own().clone(),
            id: Uuid::new_v4(),
            issued_at: now,
            expires_at: now.saturating_add(life),
            key: own.public_key,
            name: text(order.name)?,
            grant: order.grant,
            hold: order.hold,
            allow_private: order.allow_private,
            review_by: text(order.review_by)?,
        };
        let signed = invitation.to_text(&signer(&own)?);
        let line = signed.ok_or_else(without_key)?;
        // Checked as whoever accepts will check it.
        Invitation::parse(&line, now)?;
        self.decide(|view| plan::open(view, &invitation)).await?;
        Ok(view::invitation(&invitation, &line))
    }

    /// The side of whoever was invited.
    pub(super) async fn accept(&self, order: AcceptOrder) -> Result<Value, PairingError> {
        let own = self.present_keys()?;
        let invitation = Invitation::parse(&order.invitation, self.now())?;
        if invitation.origin == *self.own() {
            let what = "this is an invitation of this node itself: hand it to somebody else";
            return Err(PairingError::Invalid(what.to_owned()));
        }
        plan::check_terms(&order.grant, order.review_by.as_deref())?;
        let nameless = Peer::nameless(invitation.origin.clone(), PeerSource::Paired);
        let name = order.name.as_deref().unwrap_or(&nameless.name).to_owned();
        let book = self.read().await?;
        plan::check_host(
            self.view(&book, &self.ports.federation.roster()),
            &invitation,
            &name,
        )?;
        let way = (destination(order.allow_private), None);
        let published = self.published_by(way, &invitation.origin).await?;
        check_published(&published, &invitation.origin, &invitation.key)?;
        if !order.confirm {
            return Ok(view::offer(&invitation, &name, &own));
        }
        let acceptance = Acceptance {
            origin: self.own().clone(),
            inviter: invitation.origin.clone(),
            invitation: invitation.id,
            issued_at: self.now(),
            key: own.public_key,
        };
        let confirmation = self.answer(&order, &invitation, &acceptance, &own).await?;
        let peer = PairedPeer {
            name: name.clone(),
            origin: invitation.origin.clone(),
            keys: vec![PairedKey::new(&invitation.key)],
            grant: order.grant,
            review_by: order.review_by,
            allow_private: order.allow_private,
            paired_at: self.now(),
            invitation: invitation.id,
        };
        self.decide(|view| Ok(plan::take_host(view, &peer))).await?;
        let mut shown = self.shown(&name).await?;
        if let Some(members) = shown.as_object_mut() {
            members.insert("held".to_owned(), confirmation.held.into());
        }
        Ok(shown)
    }

    /// The side of the inviter, asked by whoever was invited.
    pub(super) async fn join(&self, order: JoinOrder) -> Result<Value, PairingError> {
        let own = self.present_keys()?;
        let invitation = Invitation::parse(&order.invitation, self.now())?;
        let is_ours = invitation.origin == *self.own() && self.has_own_key(&own, &invitation.key);
        if !is_ours {
            return Err(PairingError::Refused(
                "this invitation is not by this node, or by a key that counts no longer",
            ));
        }
        let acceptance = Acceptance::parse(&order.acceptance, &invitation, self.now())?;
        let book = self.read().await?;
        if !plan::is_same_guest(&book, &invitation, &acceptance) {
            let roster = self.ports.federation.roster();
            plan::check_guest(self.view(&book, &roster), &invitation, &acceptance)?;
            let way = (destination(invitation.allow_private), None);
            let published = self.published_by(way, &acceptance.origin).await?;
            check_published(&published, &acceptance.origin, &acceptance.key)?;
            self.claim(&invitation).await?;
            self.decide(|view| plan::take_guest(view, &invitation, &acceptance))
                .await?;
        }
        let confirmation = Confirmation {
            origin: invitation.origin.clone(),
            accepted_by: acceptance.origin.clone(),
            invitation: invitation.id,
            key: invitation.key,
            accepted_key: acceptance.key,
            held: invitation.hold,
        };
        let signed = self.signer_of(&own, &invitation.key)?.sign(&confirmation);
        Ok(json!({
            "confirmation": signed.ok_or_else(without_key)?,
            "acceptedBy": acceptance.origin.as_str(),
        }))
    }

    /// Takes an invitation: of any number of nodes that answer it, one gets through.
    async fn claim(&self, invitation: &Invitation) -> Result<(), PairingError> {
        let milliseconds = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1000);
        let claim = ClaimId {
            scope: ClaimScope::Invitation,
            issuer: invitation.origin.to_string(),
            id: invitation.id.to_string(),
            given_at_ms: milliseconds(invitation.issued_at),
            expires_at_ms: milliseconds(invitation.expires_at),
        };
        match self.ports.claims.send(claim).timeout(CLAIM_LIMIT).await {
            Ok(Ok(Claim::First)) => Ok(()),
            Ok(Ok(Claim::Repeated)) => Err(PairingError::Refused(
                "the invitation was taken already: ask for a new one",
            )),
            Ok(Ok(Claim::BeforeEpoch)) => Err(PairingError::Refused(
                "the inviter no longer knows which invitations were taken before: ask for a new one",
            )),
            Ok(Err(_)) | Err(_) => Err(PairingError::Undecided),
        }
    }

    /// Sends our acceptance, and reads the inviter's confirmation.
    async fn answer(
        &self,
        order: &AcceptOrder,
        invitation: &Invitation,
        acceptance: &Acceptance,
        own: &OwnKeys,
    ) -> Result<Confirmation, PairingError> {
        let signed = signer(own)?.sign(acceptance).ok_or_else(without_key)?;
        let body = json!({"invitation": order.invitation.trim(), "acceptance": signed}).to_string();
        let (origin, way) = (&invitation.origin, (destination(order.allow_private), None));
        let sent = self.send(way, Method::POST, origin, PAIR_PATH, body.into());
        let (status, body) = sent.await?;
        let told: Value = serde_json::from_slice(&body).unwrap_or_default();
        if !status.is_success() {
            let why = told.get("message").and_then(Value::as_str);
            let why = why.unwrap_or("it did not say why");
            // What another node says is shown to the operator, so it is short and plain.
            let why: String = why.chars().filter(|c| !c.is_control()).take(300).collect();
            return Err(PairingError::Elsewhere(format!(
                "{origin} did not pair ({status}): {why}"
            )));
        }
        let confirmation = told.get("confirmation").and_then(Value::as_str);
        let confirmation = confirmation.unwrap_or_default();
        Confirmation::parse(confirmation, invitation, acceptance).map_err(|_| {
            PairingError::Elsewhere(format!("{origin} answered with no confirmation of its own"))
        })
    }

    /// The keys that a node publishes.
    pub(super) async fn published_by(
        &self,
        way: (Destination, Option<TlsFiles>),
        origin: &Origin,
    ) -> Result<Vec<PublishedKey>, PairingError> {
        let asked = self.send(way, Method::GET, origin, JWKS_PATH, Bytes::new());
        let (status, body) = asked.await?;
        let keys = read_jwks(&body).filter(|_| status == StatusCode::OK);
        keys.ok_or_else(|| {
            PairingError::Elsewhere(format!(
                "{origin} publishes no keys at {JWKS_PATH} ({status})"
            ))
        })
    }

    async fn send(
        &self,
        (destination, tls): (Destination, Option<TlsFiles>),
        method: Method,
        origin: &Origin,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), PairingError> {
        let cannot = |why: &dyn std::fmt::Display| {
            let advice = match destination {
                Destination::Outside => {
                    " (a node in a private network needs --allow-private on the side that calls it)"
                }
                Destination::Trusted => "",
            };
            PairingError::Elsewhere(format!("{origin} cannot be asked: {why}{advice}"))
        };
        let json = HeaderValue::from_static("application/json");
        let request = Request::builder()
            .method(method)
            .uri(format!("{origin}{path}"))
            .header(CONTENT_TYPE, json.clone())
            .header(ACCEPT, json)
            .body(RequestBody::from(body))
            .map_err(|error| cannot(&error))?;
        let limits = Timeouts {
            first_byte: Some(ANSWER_LIMIT),
            idle: Some(ANSWER_LIMIT),
            total: Some(ANSWER_LIMIT),
        };
        let egress = &self.ports.egress;
        let sent = egress.send_with((destination, tls), request, limits).await;
        let answer = sent.map_err(|error| cannot(&error))?;
        let status = answer.status;
        let body = answer.read_all(MAX_ANSWER).await;
        Ok((status, body.map_err(|error| cannot(&error))?))
    }

    fn present_keys(&self) -> Result<OwnKeys, PairingError> {
        self.ports.federation.own_keys().ok_or_else(without_key)
    }

    fn has_own_key(&self, own: &OwnKeys, key: &[u8; 32]) -> bool {
        let retiring = own.retiring.as_ref();
        own.public_key == *key
            || retiring.is_some_and(|old| old.public_key == *key && old.until >= self.now())
    }

    /// Signs with the key by which the other side knows us.
    fn signer_of(&self, own: &OwnKeys, key: &[u8; 32]) -> Result<StatementSigner, PairingError> {
        let seed = match &own.retiring {
            Some(old) if old.public_key == *key => old.seed,
            _ => own.seed,
        };
        StatementSigner::new(&seed).map_err(|_| without_key())
    }
}

fn signer(own: &OwnKeys) -> Result<StatementSigner, PairingError> {
    StatementSigner::new(&own.seed).map_err(|_| without_key())
}

fn destination(allow_private: bool) -> Destination {
    match allow_private {
        true => Destination::Trusted,
        false => Destination::Outside,
    }
}

fn check_published(
    published: &[PublishedKey],
    origin: &Origin,
    key: &[u8; 32],
) -> Result<(), PairingError> {
    if published.iter().any(|known| known.public_key == *key) {
        return Ok(());
    }
    Err(PairingError::Elsewhere(format!(
        "{origin} does not publish the key that it is said to have: somebody else may have sent this"
    )))
}

fn text<const MAX: usize>(given: Option<String>) -> Result<Option<Text<MAX>>, PairingError> {
    let read = given.map(Text::parse).transpose();
    read.map_err(|error| PairingError::Invalid(error.to_string()))
}
