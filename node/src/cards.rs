//! Cards as the node shows them, and what it makes of the cards of others.
//!
//! Read `key` (with what our cards are signed), `trust` (whose signatures are believed), `shelf` (what is known of one
//! agent's cards) and `declared` (what of it decides about calls). Here: the forms in which one card is served, each signed.

use std::borrow::Cow;

use archipel_protocol::a2a::AgentCard;
use archipel_protocol::a2a::card::{CardSigner, Extension, for_both};
use bytes::Bytes;
use sha2::{Digest, Sha256};

pub mod declared;
pub mod key;
pub mod shelf;
pub mod trust;

/// How an event stream is taken up again where it was broken off.
pub const LAST_EVENT_ID: Extension = Extension {
    uri: "urn:archipel:a2a:extension:last-event-id:v1",
    description: "Events of a stream carry ids; who subscribes again with Last-Event-ID goes on behind it.",
};

/// In which form a card is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CardForm {
    /// Of 1.0.
    V1,
    /// Of 0.3.
    V03,
    /// Of 1.0, with what clients of 0.3 look for.
    Both,
}

/// A card as it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedCard {
    /// JSON.
    pub body: Bytes,
    /// As it is declared.
    pub content_type: Cow<'static, str>,
    /// Names the body: an entity tag, quotes included (RFC 9110 §8.8.3).
    pub etag: String,
    /// Since when the body is what it is.
    pub modified: Modified,
}

/// Since when a card is what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Modified {
    /// In milliseconds since 1970.
    At(u64),
    /// In the words of the agent that it came from, if it said so.
    Told(Option<String>),
}

/// One card in every form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardForms {
    v1: ServedCard,
    v03: ServedCard,
    both: ServedCard,
}

impl CardForms {
    /// The forms of the card of an agent at `url`.
    pub fn of(card: &AgentCard, url: &str, signer: &CardSigner, modified: &Modified) -> Self {
        let (v1, v03) = (card.to_json(), card.to_json_03(url));
        let both = for_both(&v1, &v03);
        let serve = |text| ServedCard::signed(text, signer, modified.clone());
        Self {
            v1: serve(v1),
            v03: serve(v03),
            both: serve(both),
        }
    }

    /// The card in one form.
    pub fn in_form(&self, form: CardForm) -> &ServedCard {
        match form {
            CardForm::V1 => &self.v1,
            CardForm::V03 => &self.v03,
            CardForm::Both => &self.both,
        }
    }

    /// The same forms; what has not changed since `before` keeps its date.
    #[must_use]
    pub fn since(mut self, before: &Self) -> Self {
        let forms = [
            (&mut self.v1, &before.v1),
            (&mut self.v03, &before.v03),
            (&mut self.both, &before.both),
        ];
        for (new, old) in forms {
            if new.etag == old.etag {
                new.modified = old.modified.clone();
            }
        }
        self
    }
}

impl ServedCard {
    fn signed(text: String, signer: &CardSigner, modified: Modified) -> Self {
        let body = signer.sign(&text).unwrap_or_else(|error| {
            tracing::error!(%error, "a card is served without a signature");
            text
        });
        let body = Bytes::from(body);
        Self {
            etag: etag_of(&body),
            body,
            content_type: "application/json".into(),
            modified,
        }
    }
}

/// A strong entity tag.
pub fn etag_of(body: &[u8]) -> String {
    let digest = hex::encode(Sha256::digest(body));
    format!("\"{}\"", digest.get(..32).unwrap_or_default())
}
