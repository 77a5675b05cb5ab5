//! Whose cards are believed (`trust.cards`). Keys are pinned by the operator; none is ever taken from a card.

use std::borrow::Cow;

use archipel_protocol::a2a::card::signature::{VerifyError, verify};
use archipel_protocol::a2a::card::{KeySetError, TrustedKeys};

use crate::config::CardCheck;

/// What is asked of the cards of one agent or peer.
pub struct CardTrust {
    check: CardCheck,
    keys: TrustedKeys,
}

impl CardTrust {
    /// Cards must be signed by one of these keys, as far as `check` asks for it.
    pub fn new(check: CardCheck, keys: TrustedKeys) -> Self {
        Self { check, keys }
    }

    /// What is asked of the cards of an agent with these pinned keys (a JWK Set).
    ///
    /// # Errors
    /// When the text is no such set.
    pub fn of_agent(check: CardCheck, jwks: Option<&str>) -> Result<Self, KeySetError> {
        let keys = jwks.map(TrustedKeys::from_jwks).transpose()?;
        Ok(Self::new(check, keys.unwrap_or_default()))
    }

    /// Whether an agent without a card may be called.
    pub fn needs_card(&self) -> bool {
        self.check == CardCheck::Require
    }

    /// The card to go on with: exactly what was signed, or the card as it came where that is not asked for. `whose` is
    /// for the log.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn accept<'a>(&self, card: &'a str, whose: &str) -> Result<Cow<'a, str>, VerifyError> {
        if self.check == CardCheck::Off {
            return Ok(Cow::Borrowed(card));
        }
        match verify(card, &self.keys) {
            Ok(verified) => Ok(Cow::Owned(verified.card)),
            Err(problem) if self.check == CardCheck::Require => {
                tracing::warn!(card.of = whose, %problem, "a card is refused");
                Err(problem)
            }
            Err(problem) => {
                tracing::warn!(card.of = whose, %problem, "a card is taken without trust");
                Ok(Cow::Borrowed(card))
            }
        }
    }
}
