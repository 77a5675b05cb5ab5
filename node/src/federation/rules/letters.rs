//! Tokens of letters: they live as long as a letter may be on its way, and are good for that letter alone.

use std::time::Duration;

use archipel_protocol::federation::{Delegation, Policy, Terms};
use archipel_protocol::ids::Origin;
use uuid::Uuid;

use super::{Federation, Genuine, unix_seconds};
use crate::federation::FederationRefusal;

/// The longest life of a token of a letter that is taken: the longest that [`wan.call_life`] may be.
///
/// [`wan.call_life`]: crate::wan::WanSettings
const MAX_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// A letter that is to go.
#[derive(Debug, Clone, Copy)]
pub struct LetterTerms<'a> {
    /// To whom.
    pub to: &'a Origin,
    /// Names it, and its token.
    pub id: Uuid,
    /// For whom the call in it is made.
    pub delegation: &'a Delegation,
    /// How long it may be on its way.
    pub life: Duration,
    pub now_ms: u64,
}

impl Federation {
    /// Checks everything about the token of a letter with this digest but whether it was used before.
    pub(in crate::federation) fn check_letter(
        &self,
        token: &str,
        digest: &str,
        now_ms: u64,
    ) -> Result<Genuine, FederationRefusal> {
        let policy = Policy {
            // Whatever is asked of tokens over HTTP, a letter is for one site and is taken once.
            require_audience: true,
            require_jti: true,
            max_lifetime_seconds: Some(MAX_LIFE.as_secs() + self.policy.skew_seconds),
            letter: Some(digest.to_owned()),
            ..self.policy.clone()
        };
        self.check_by(&policy, token, now_ms)
    }

    /// The token of the letter with this digest; `None` when there is nothing to mint with.
    pub fn mint_letter(&self, terms: LetterTerms<'_>, digest: &str) -> Option<String> {
        let tokens = self.mint_on(
            terms.to,
            &Terms {
                audience: Some(terms.to.as_str()),
                ttl_seconds: terms.life.as_secs(),
                jti: terms.id,
                now_unix: unix_seconds(terms.now_ms),
                delegation: terms.delegation,
                letter: Some(digest),
            },
        );
        Some(tokens?.own)
    }
}
