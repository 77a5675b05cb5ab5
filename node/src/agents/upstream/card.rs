//! The cards of an upstream agent, of either version: its card, its extended card, and its card as it came.

use archipel_kit::client::{Answer, RequestBody};
use archipel_protocol::a2a::{AgentCard, Version};
use http::header::{CONTENT_TYPE, ETAG, HeaderName, LAST_MODIFIED};
use http::{Method, StatusCode, Uri};

use crate::agents::upstream::UpstreamCard;
use crate::agents::upstream::binding::Ask;
use crate::agents::upstream::call::{
    A2A_VERSION, Along, Caller, JSON, Reply, failure, refused, short,
};
use crate::agents::upstream::interface::{
    Interface, card_below, card_of_host, names, old_card_below,
};
use crate::cards::shelf::NoCard;
use crate::cards::{CardForm, Modified, ServedCard, etag_of};
use crate::tasks::executor::ExecutorFailure;

/// The largest card that is read.
const MAX_CARD_BYTES: usize = 256 * 1024;

impl UpstreamCard {
    /// Asks the agent for its card.
    ///
    /// # Errors
    /// When it has none, does not answer, or its card is not to be believed; that is logged.
    pub async fn read(&self) -> Result<AgentCard, NoCard> {
        match self.0.caller.card().await {
            Ok(Some(card)) => Ok(card),
            Ok(None) => Err(NoCard::Away),
            Err(failure) => Err(self.not_read(&failure)),
        }
    }

    /// Asks the agent for its extended card, as we are authenticated to it.
    ///
    /// # Errors
    /// When it shows none.
    pub async fn read_extended(&self) -> Result<AgentCard, NoCard> {
        let read = async {
            self.0
                .caller
                .extended_card(&self.0.interface().await?)
                .await
        };
        match read.await {
            Ok(card) => Ok(card),
            // It answers, but with no card.
            Err(ExecutorFailure::Refused(_) | ExecutorFailure::NotA2a) => {
                Err(NoCard::NotConfigured)
            }
            Err(failure) => Err(self.not_read(&failure)),
        }
    }

    /// Asks the agent for its card and changes nothing about it.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_as_it_came(&self, form: CardForm) -> Result<ServedCard, NoCard> {
        let version = match form {
            CardForm::V1 => Some(Version::V1),
            CardForm::V03 => Some(Version::V03),
            CardForm::Both => None,
        };
        match self.0.caller.card_as_it_came(version).await {
            Ok(Some(card)) => Ok(card),
            Ok(None) => Err(NoCard::Away),
            Err(failure) => Err(self.not_read(&failure)),
        }
    }

    fn not_read(&self, failure: &ExecutorFailure) -> NoCard {
        tracing::warn!(agent.id = %self.0.id, reason = %failure, "card of an upstream agent not read");
        match failure {
            ExecutorFailure::Distrusted => NoCard::Refused,
            _ => NoCard::Away,
        }
    }
}

impl Caller {
    /// The agent's card: below its own URL, or that of its host if it speaks of this URL, or where it was before 0.3.
    /// `None` when there is none.
    pub(super) async fn card(&self) -> Result<Option<AgentCard>, ExecutorFailure> {
        if let Some(card) = self.card_at(card_below(self.url())).await? {
            return Ok(Some(card));
        }
        if let Some(of_host) = card_of_host(self.url()) {
            let card = self.card_at(Some(of_host)).await?;
            if let Some(card) = card.filter(|card| names(card, self.url())) {
                return Ok(Some(card));
            }
        }
        let card = self.card_at(old_card_below(self.url())).await?;
        if card.is_none() && self.way.trust.needs_card() {
            return Err(ExecutorFailure::Distrusted);
        }
        Ok(card)
    }

    /// A card of either version. A server that has one for each gives that of 1.0; one that knows only 0.3 may refuse to
    /// be asked for another.
    async fn card_at(&self, uri: Option<Uri>) -> Result<Option<AgentCard>, ExecutorFailure> {
        let uri = uri.ok_or(ExecutorFailure::Unreachable)?;
        let mut answer = self.get(Some(Version::V1), uri.clone()).await?;
        if answer.status == StatusCode::BAD_REQUEST || answer.status == StatusCode::NOT_ACCEPTABLE {
            answer = self.get(Some(Version::V03), uri).await?;
        }
        match shown(answer)? {
            Some(answer) => {
                let body = answer.read_all(MAX_CARD_BYTES).await.map_err(failure)?;
                self.believed(&body).map(Some)
            }
            None => Ok(None),
        }
    }

    async fn card_as_it_came(
        &self,
        version: Option<Version>,
    ) -> Result<Option<ServedCard>, ExecutorFailure> {
        let uri = card_below(self.url()).ok_or(ExecutorFailure::Unreachable)?;
        let Some(answer) = shown(self.get(version, uri).await?)? else {
            return Ok(None);
        };
        let headers = answer.headers.clone();
        let body = answer.read_all(MAX_CARD_BYTES).await.map_err(failure)?;
        self.believed(&body)?;
        let text = |name: HeaderName| {
            let value = headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        Ok(Some(ServedCard {
            etag: text(ETAG).unwrap_or_else(|| etag_of(&body)),
            content_type: text(CONTENT_TYPE).map_or("application/json".into(), Into::into),
            modified: Modified::Told(text(LAST_MODIFIED)),
            body,
        }))
    }

    /// The agent's extended card (1.0 §3.1.11).
    async fn extended_card(&self, interface: &Interface) -> Result<AgentCard, ExecutorFailure> {
        let along = Along::default();
        match self.ask(interface, Ask::ExtendedCard, &along).await? {
            Reply::Whole(body) => self.believed(interface.read_card(&body)?.as_bytes()),
            Reply::Stream(_) => Err(ExecutorFailure::NotA2a),
        }
    }

    /// Whether the agent answers at all: one that has no card is there, too.
    pub(super) async fn look(&self) -> Result<(), ExecutorFailure> {
        let uri = card_below(self.url()).ok_or(ExecutorFailure::Unreachable)?;
        let answer = self.get(Some(Version::V1), uri).await?;
        if answer.status.is_server_error() {
            return Err(refused(answer.status));
        }
        Ok(())
    }

    async fn get(&self, version: Option<Version>, uri: Uri) -> Result<Answer, ExecutorFailure> {
        let named = version.unwrap_or(Version::V1);
        let mut request = self.request(named, uri, JSON, RequestBody::empty());
        *request.method_mut() = Method::GET;
        if version.is_none() {
            request.headers_mut().remove(A2A_VERSION);
        }
        self.exchange(request, short()).await
    }

    /// A card of either version, if it is to be believed.
    fn believed(&self, body: &[u8]) -> Result<AgentCard, ExecutorFailure> {
        let text = std::str::from_utf8(body).map_err(|_| ExecutorFailure::NotA2a)?;
        let whose = self.url().as_str();
        let accepted = self.way.trust.accept(text, whose);
        let text = accepted.map_err(|_| ExecutorFailure::Distrusted)?;
        AgentCard::read_any(&text).map_err(|invalid| {
            tracing::warn!(agent.url = whose, %invalid, "the card of an upstream agent is no card");
            ExecutorFailure::NotA2a
        })
    }
}

/// The answer, if it is there; `None` where the agent says that there is none.
fn shown(answer: Answer) -> Result<Option<Answer>, ExecutorFailure> {
    match answer.status {
        StatusCode::OK => Ok(Some(answer)),
        status if status.is_client_error() => Ok(None),
        status => Err(refused(status)),
    }
}
