//! What is known of one agent's cards: where they come from, and which were read last.
//!
//! The card of an agent elsewhere is read from it and kept for a while; when the agent does not answer, the last one that was
//! read is served. However many ask at once, it is read once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use archipel_protocol::a2a::AgentCard;
use archipel_protocol::a2a::card::{CardSigner, Offer};
use archipel_protocol::object::Extra;
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};

use crate::agents::upstream::UpstreamCard;
use crate::cards::{CardForm, CardForms, LAST_EVENT_ID, Modified, ServedCard};

/// How long a card that was read from an agent is served before it is read again.
pub const CARD_LIFE: Duration = Duration::from_secs(60);
/// How long an agent that did not answer is left alone: anybody may ask for a public card.
pub const CARD_RETRY: Duration = Duration::from_secs(2);

/// Where the card of an agent comes from.
pub enum CardSource {
    /// From us.
    Own(Box<AgentCard>),
    /// From the agent, whose tasks are ours.
    Upstream(UpstreamCard),
    /// From the agent, whose card is none of our business.
    Passthrough(UpstreamCard),
}

/// Which card of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CardSort {
    /// For everybody who may know of the agent.
    Public,
    /// For callers.
    Extended,
}

/// Why there is no card to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoCard {
    /// The agent does not show its card, and never did.
    #[error("the agent does not answer with a card")]
    Away,
    /// Its card is not signed as it must be.
    #[error("the agent's card is not signed by a key that is trusted")]
    Refused,
    /// The agent says of itself that it has no extended card.
    #[error("the agent has no extended card")]
    NotDeclared,
    /// The agent says of itself that it has an extended card, but shows none.
    #[error("the agent declares an extended card but shows none")]
    NotConfigured,
}

/// What a card is made with.
pub struct Making<'a> {
    /// The agent's URL at this node.
    pub url: &'a str,
    pub signer: &'a CardSigner,
    /// Whether webhooks are called.
    pub push_notifications: bool,
    pub now_ms: u64,
}

/// See the module.
pub struct Shelf {
    source: Arc<CardSource>,
    /// What the extended card says beyond the card.
    extra: Option<Extra>,
    places: BTreeMap<Place, Card>,
}

/// What is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A card of ours to make, in every form at once.
    Made(CardSort),
    /// The agent's answer to who asks in this form.
    AsItCame(CardForm),
}

/// What was read for a place.
#[derive(Clone)]
pub enum Found {
    /// A card, and whether the agent has an extended one.
    Card(Arc<AgentCard>, bool),
    /// An answer to hand on.
    AsItCame(ServedCard),
}

/// What is read for a place; all who wait share it.
pub type Reading = Shared<LocalBoxFuture<'static, Result<Found, NoCard>>>;

#[derive(Default)]
struct Card {
    /// The last card that was read, or why there is none.
    served: Option<Result<Served, NoCard>>,
    /// Until then it is not read again: it is fresh, or reading it failed a moment ago.
    until: Duration,
    /// Under way; the first of those who waited takes it away.
    reading: Option<Reading>,
}

#[derive(Clone)]
enum Served {
    Made(Arc<CardForms>),
    AsItCame(ServedCard),
}

impl Shelf {
    /// An agent's cards; `extra` is what its extended card says beyond its card.
    pub fn new(source: CardSource, extra: Option<Extra>) -> Self {
        Self {
            source: Arc::new(source),
            extra,
            places: BTreeMap::new(),
        }
    }

    /// Where a card of this sort and form is kept.
    pub fn place(&self, sort: CardSort, form: CardForm) -> Place {
        match self.source.as_ref() {
            CardSource::Passthrough(_) => Place::AsItCame(form),
            CardSource::Own(_) | CardSource::Upstream(_) => Place::Made(sort),
        }
    }

    /// The card, if it need not be read.
    pub fn fresh(
        &self,
        place: Place,
        form: CardForm,
        now: Duration,
    ) -> Option<Result<ServedCard, NoCard>> {
        let card = self.places.get(&place).filter(|card| now < card.until)?;
        Some(card.answer(form))
    }

    /// Reads the card; joins whoever reads it already.
    pub fn read(&mut self, place: Place) -> Reading {
        let source = Arc::clone(&self.source);
        let extra = self.extra.clone();
        let read = async move { read(&source, extra, place).await };
        self.places
            .entry(place)
            .or_default()
            .reading
            .get_or_insert_with(|| read.boxed_local().shared())
            .clone()
    }

    /// Keeps what was read, and answers with what is to be served now.
    pub fn keep(
        &mut self,
        place: Place,
        form: CardForm,
        found: Result<Found, NoCard>,
        making: &Making<'_>,
        now: Duration,
    ) -> Result<ServedCard, NoCard> {
        let card = self.places.entry(place).or_default();
        // The first of those who waited for this read keeps what it brought.
        if card.reading.take().is_some() {
            card.until = now + if found.is_ok() { CARD_LIFE } else { CARD_RETRY };
            card.take(found, making);
        }
        card.answer(form)
    }
}

impl Card {
    fn take(&mut self, found: Result<Found, NoCard>, making: &Making<'_>) {
        let served = match found {
            Ok(Found::Card(card, has_extended)) => {
                let forms = making.forms(&card, has_extended);
                Ok(Served::Made(Arc::new(match &self.served {
                    Some(Ok(Served::Made(before))) => forms.since(before),
                    _ => forms,
                })))
            }
            Ok(Found::AsItCame(card)) => Ok(Served::AsItCame(card)),
            // Who is away for a moment still is what it was.
            Err(NoCard::Away) if matches!(self.served, Some(Ok(_))) => return,
            Err(none) => Err(none),
        };
        self.served = Some(served);
    }

    fn answer(&self, form: CardForm) -> Result<ServedCard, NoCard> {
        match &self.served {
            Some(Ok(Served::Made(forms))) => Ok(forms.in_form(form).clone()),
            Some(Ok(Served::AsItCame(card))) => Ok(card.clone()),
            Some(Err(none)) => Err(*none),
            None => Err(NoCard::Away),
        }
    }
}

impl Making<'_> {
    fn forms(&self, card: &AgentCard, has_extended: bool) -> CardForms {
        let offer = Offer {
            push_notifications: self.push_notifications,
            extended_card: has_extended,
            extensions: &[LAST_EVENT_ID],
        };
        let card = card.clone().hosted_at(self.url).offering(&offer);
        CardForms::of(&card, self.url, self.signer, &Modified::At(self.now_ms))
    }
}

async fn read(source: &CardSource, extra: Option<Extra>, place: Place) -> Result<Found, NoCard> {
    let (card, upstream) = match (source, place) {
        (CardSource::Passthrough(agent), Place::AsItCame(form)) => {
            return agent.read_as_it_came(form).await.map(Found::AsItCame);
        }
        (CardSource::Own(card), _) => (card.as_ref().clone(), None),
        (CardSource::Upstream(agent) | CardSource::Passthrough(agent), _) => {
            (agent.read().await?, Some(agent))
        }
    };
    let own = upstream.filter(|_| card.capabilities.extended_agent_card == Some(true));
    let has_extended = own.is_some() || extra.is_some();
    let card = match (place, own, extra) {
        (Place::Made(CardSort::Extended), Some(agent), _) => agent.read_extended().await?,
        (Place::Made(CardSort::Extended), None, Some(extra)) => {
            card.extended_by(extra).ok_or(NoCard::NotConfigured)?
        }
        (Place::Made(CardSort::Extended), None, None) => return Err(NoCard::NotDeclared),
        (Place::Made(CardSort::Public) | Place::AsItCame(_), _, _) => card,
    };
    Ok(Found::Card(Arc::new(card), has_extended))
}
