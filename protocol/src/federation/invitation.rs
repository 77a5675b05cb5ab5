//! How two nodes come to trust each other: an invitation that one operator hands to another, the answer of the node that
//! was invited, and the confirmation of the one that invited. All three are [statements](super::statement).
//!
//! An invitation holds no secret, but whoever holds it can pair, once and until it expires: hand it over as you would a
//! password. It says under which origin the inviter answers, so whoever accepts it can see there whether its key is the one
//! in the invitation.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::statement::{self, Statement, StatementError, StatementSigner, key_hex};
use crate::ids::{Origin, Text};

/// What an invitation begins with, so that people and programs see what it is.
pub const PREFIX: &str = "archipel-invitation:";

/// Longest life of an invitation, in seconds: 30 days.
pub const MAX_LIFE_SECONDS: i64 = 30 * 24 * 3600;

/// How far the clocks of two nodes may differ, in seconds.
const SKEW_SECONDS: i64 = 60;

/// How old the answer to an invitation may be, in seconds.
const MAX_ANSWER_AGE_SECONDS: i64 = 300;

/// Most agents, or operations, that a grant lists.
const MAX_LISTED: usize = 64;

/// One node invites another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Invitation {
    /// The inviter: where it is reached and under what it signs.
    #[serde(rename = "iss")]
    pub origin: Origin,
    /// Taken once.
    #[serde(rename = "jti")]
    pub id: Uuid,
    /// Unix seconds.
    #[serde(rename = "iat")]
    pub issued_at: i64,
    /// Unix seconds.
    #[serde(rename = "exp")]
    pub expires_at: i64,
    /// With what the inviter signs its tokens, and signed this.
    #[serde(with = "key_hex")]
    pub key: [u8; 32],
    /// How the inviter will call whoever accepts.
    pub name: Option<Text<64>>,
    /// What whoever accepts may do at the inviter.
    pub grant: Grant,
    /// Whether whoever accepts waits until the inviter's operator lets them in.
    #[serde(default)]
    pub hold: bool,
    /// Whether whoever accepts may be in a private network.
    #[serde(default)]
    pub allow_private: bool,
    /// The day on which the inviter wants to look at this again, as `2027-01-31`.
    pub review_by: Option<Text<10>>,
}

/// What one node lets another do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant {
    /// Ids of the agents that may be seen and called; all where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents: Option<Vec<Text<128>>>,
    /// Operations that may be asked for, as A2A 1.0 names them; all where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<Text<64>>>,
    /// `viewer`, `operator` or `admin`; `operator` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_role: Option<Text<16>>,
    /// How often it may call; what holds for every peer where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<GrantLimit>,
}

/// How often a node may call another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrantLimit {
    /// In each `seconds`.
    pub calls: u32,
    /// For which time `calls` is said.
    pub seconds: u32,
}

/// The node that was invited accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Acceptance {
    /// Who accepts: where it is reached and under what it signs.
    #[serde(rename = "iss")]
    pub origin: Origin,
    /// Who invited.
    #[serde(rename = "aud")]
    pub inviter: Origin,
    /// Which invitation.
    pub invitation: Uuid,
    /// Unix seconds.
    #[serde(rename = "iat")]
    pub issued_at: i64,
    /// With what it signs its tokens, and signed this.
    #[serde(with = "key_hex")]
    pub key: [u8; 32],
}

/// The inviter has taken whoever accepted as a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Confirmation {
    /// Who invited.
    #[serde(rename = "iss")]
    pub origin: Origin,
    /// Who accepted.
    #[serde(rename = "aud")]
    pub accepted_by: Origin,
    /// Which invitation.
    pub invitation: Uuid,
    /// The inviter's key.
    #[serde(with = "key_hex")]
    pub key: [u8; 32],
    /// The key of whoever accepted, as the inviter has it now.
    #[serde(with = "key_hex")]
    pub accepted_key: [u8; 32],
    /// Whether the inviter's operator has still to let them in.
    pub held: bool,
}

/// Why an invitation, or the answer to one, does not lead to trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvitationError {
    /// The text does not begin as an invitation does.
    #[error("this is no invitation: it does not begin with `archipel-invitation:`")]
    NoInvitation,
    /// What comes then cannot be taken.
    #[error("the invitation cannot be taken: {0}")]
    Statement(#[from] StatementError),
    /// It lives longer than it may, or names more than it may.
    #[error("the invitation says what none may say")]
    OutOfBounds,
    /// Its time is over.
    #[error("the invitation has expired: ask for a new one")]
    Expired,
    /// Its time has not begun; a clock is wrong.
    #[error("the invitation is from the future: compare the clocks of the two nodes")]
    TooEarly,
    /// The answer is not to this invitation, not from this inviter, or too old.
    #[error("the answer does not belong to the invitation")]
    WrongAnswer,
}

impl Statement for Invitation {
    const TYPE: &'static str = "archipel-invitation+jwt";

    fn signed_by(&self) -> [u8; 32] {
        self.key
    }
}

impl Statement for Acceptance {
    const TYPE: &'static str = "archipel-acceptance+jwt";

    fn signed_by(&self) -> [u8; 32] {
        self.key
    }
}

impl Statement for Confirmation {
    const TYPE: &'static str = "archipel-confirmation+jwt";

    fn signed_by(&self) -> [u8; 32] {
        self.key
    }
}

impl Invitation {
    /// The line that is handed over; `None` when it cannot be signed.
    pub fn to_text(&self, signer: &StatementSigner) -> Option<String> {
        Some(format!("{PREFIX}{}", signer.sign(self)?))
    }

    /// Reads an invitation that is good at this time (Unix seconds). Space around it is the mail program's.
    ///
    /// # Errors
    /// The first [`InvitationError`] that applies.
    pub fn parse(text: &str, now_unix: i64) -> Result<Self, InvitationError> {
        let statement = text.trim().strip_prefix(PREFIX);
        let statement = statement.ok_or(InvitationError::NoInvitation)?;
        let invitation: Self = statement::open(statement)?;
        invitation.check(now_unix)?;
        Ok(invitation)
    }

    fn check(&self, now_unix: i64) -> Result<(), InvitationError> {
        let life = self.expires_at.checked_sub(self.issued_at);
        let is_bounded = life.is_some_and(|life| (0..=MAX_LIFE_SECONDS).contains(&life));
        if !is_bounded || !self.grant.is_bounded() {
            return Err(InvitationError::OutOfBounds);
        }
        if now_unix >= self.expires_at {
            return Err(InvitationError::Expired);
        }
        if self.issued_at > now_unix.saturating_add(SKEW_SECONDS) {
            return Err(InvitationError::TooEarly);
        }
        Ok(())
    }
}

impl Grant {
    fn is_bounded(&self) -> bool {
        let agents = self.agents.as_ref().map_or(0, Vec::len);
        let methods = self.methods.as_ref().map_or(0, Vec::len);
        let is_limit = |limit: GrantLimit| limit.calls > 0 && limit.seconds > 0;
        agents <= MAX_LISTED && methods <= MAX_LISTED && self.limit.is_none_or(is_limit)
    }
}

impl Acceptance {
    /// Reads the answer to an invitation of ours.
    ///
    /// # Errors
    /// The first [`InvitationError`] that applies.
    pub fn parse(
        text: &str,
        invitation: &Invitation,
        now_unix: i64,
    ) -> Result<Self, InvitationError> {
        let acceptance: Self = statement::open(text)?;
        let age = now_unix.saturating_sub(acceptance.issued_at);
        let belongs = acceptance.invitation == invitation.id
            && acceptance.inviter == invitation.origin
            && acceptance.origin != invitation.origin
            && acceptance.key != invitation.key
            && (-SKEW_SECONDS..=MAX_ANSWER_AGE_SECONDS).contains(&age);
        if belongs {
            Ok(acceptance)
        } else {
            Err(InvitationError::WrongAnswer)
        }
    }
}

impl Confirmation {
    /// Reads the confirmation of what we accepted.
    ///
    /// # Errors
    /// The first [`InvitationError`] that applies.
    pub fn parse(
        text: &str,
        invitation: &Invitation,
        accepted: &Acceptance,
    ) -> Result<Self, InvitationError> {
        let confirmation: Self = statement::open(text)?;
        let belongs = confirmation.key == invitation.key
            && confirmation.origin == invitation.origin
            && confirmation.invitation == invitation.id
            && confirmation.accepted_by == accepted.origin
            && confirmation.accepted_key == accepted.key;
        if belongs {
            Ok(confirmation)
        } else {
            Err(InvitationError::WrongAnswer)
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
mod tests;
