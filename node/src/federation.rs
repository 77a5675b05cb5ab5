//! Who may speak for which peer: the roster in force, our own tokens, and the actor that lets callers in.
//!
//! Owns [`FederationVerifier`], one per worker, with no state but its counts, so a restart loses nothing. Answers [`VerifyPeer`] and [`Snapshot`]. A token is taken once: its id is
//! claimed after everything else about it was found good, and when that cannot be decided the caller is refused.
//! Read `settings` (what an operator says), `peers` (a peer), `roster` (which of them are in force), `files` and
//! `upkeep` (how it follows what an operator changes), `manifest` (peers that somebody else lists), `rules` (what a token
//! must be), `claims` (how its id is taken), `minters` with `own_keys` (our own tokens), `acting` (who stands behind a call), `outbound` (calls to peers), `letters` (calls that come by envelope),
//! `views` (what a node tells of itself).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message, MessageResult, Recipient};
use archipel_kit::clock::Clock;
use archipel_protocol::federation::VerifyError;
use archipel_protocol::ids::Origin;
use serde::Serialize;
use tracing::Span;

use crate::federation::peers::Peer;
use crate::limiter::Passed;
use crate::pairing::FollowKeys;
use crate::replay::ClaimCalls;

mod claims;
mod minters;
mod rules;
mod toll;

pub mod acting;
pub mod files;
pub mod letters;
pub mod manifest;
pub mod outbound;
pub mod own_keys;
pub mod peers;
pub mod roster;
pub mod settings;
pub mod upkeep;
pub mod views;

pub use acting::Acting;
use claims::Claims;
pub use claims::Decision;
pub use rules::{Federation, LetterTerms};
pub use toll::{Toll, of_caller};

/// How long looking for a new key of a peer may take.
const FOLLOW_LIMIT: Duration = Duration::from_secs(12);

/// Requests that may wait for one worker's verifier.
const MAILBOX: usize = 1024;

/// A call claims to come from a peer.
#[derive(Debug, Message)]
#[rtype(result = "Result<Verified, FederationRefusal>")]
pub struct VerifyPeer {
    /// The token as it was sent.
    pub token: String,
    /// The request's id, for the log line.
    pub request_id: Option<String>,
    /// What the call is held to if it is counted at once, which costs the store one trip instead of two.
    pub toll: Option<Toll>,
    pub span: Span,
}

/// Who came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub identity: PeerIdentity,
    /// Whether the call may pass, if it was counted.
    pub passed: Option<Passed>,
}

/// What has happened on this worker so far.
#[derive(Debug, Message)]
#[rtype(result = "VerifierSnapshot")]
pub struct Snapshot;

/// A caller that came through federation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The peer's name; with a shared secret, the group's.
    pub name: Arc<str>,
    /// The peer's origin; nobody's with a shared secret, because any holder may have minted the token.
    pub origin: Option<Origin>,
    /// `iss` of the token.
    pub issuer: String,
    /// How the caller is called in tasks and records: `peer:` and the name, or the group's name; then, where the token
    /// says for whom the peer calls, `/` and how the peer calls them.
    pub principal: Arc<str>,
    /// What the roster said of the peer when the call came; nobody with a shared secret.
    pub peer: Option<Arc<Peer>>,
    /// For whom the peer calls, where the token says so.
    pub acting: Option<Acting>,
    /// How many further nodes the call may go through.
    pub hops: u8,
}

impl PeerIdentity {
    /// Whether what it asks for may go on to further peers.
    pub fn may_forward(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.rights.forward)
    }
}

/// Why a caller is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FederationRefusal {
    /// Federation is off.
    #[error("federation is off")]
    Disabled,
    /// There is nothing to verify tokens with.
    #[error("there is nothing to verify federation tokens with")]
    NotConfigured,
    /// Too late or too early.
    #[error("the federation token is not valid at this time")]
    NotValidNow(VerifyError),
    /// Anything else about the token.
    #[error("the federation token is not valid: {0}")]
    Invalid(VerifyError),
    /// The token is good, but its peer is suspended.
    #[error("the peer is suspended")]
    Suspended,
    /// The call has been here before.
    #[error("the call has come through this node already")]
    Loop,
    /// The token was used before.
    #[error("the federation token was already used")]
    Replayed,
    /// It was minted before our memory of used tokens began: a new one will be taken.
    #[error("the federation token is older than the memory of used ones")]
    BeforeEpoch,
    /// Whether it was used before cannot be told now.
    #[error("whether the federation token was used before cannot be told")]
    Undecided,
    /// The shared secret itself came where only tokens are taken.
    #[error("the shared secret is not taken instead of a token")]
    SecretNotTaken,
    /// What came as the shared secret is not it.
    #[error("the federation secret is wrong")]
    WrongSecret,
}

/// What a refusal means to the caller (`contract/federation.md` 2): one answer each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// 401, federation authentication failed.
    Failed,
    /// 401, not valid at this time.
    NotValidNow,
    /// 401, and another token would be taken.
    MintAgain,
    /// 401, invalid token.
    Invalid,
    /// 401, already used.
    AlreadyUsed,
    /// 503, retry later.
    TryLater,
    /// 508, it goes round in a loop.
    Loop,
    /// 403, not this way.
    NotThisWay,
    /// 401, invalid credentials.
    WrongSecret,
}

/// How a caller proves to be a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// A token for this one call.
    Token,
    /// The secret that all peers share, as Hive once did it: whoever sees one call can make others.
    LegacySecret,
}

impl FederationRefusal {
    /// Which answer the caller gets.
    pub fn kind(self) -> RefusalKind {
        match self {
            Self::Disabled | Self::NotConfigured | Self::Suspended => RefusalKind::Failed,
            Self::NotValidNow(_) => RefusalKind::NotValidNow,
            Self::BeforeEpoch => RefusalKind::MintAgain,
            Self::Invalid(_) => RefusalKind::Invalid,
            Self::Loop => RefusalKind::Loop,
            Self::Replayed => RefusalKind::AlreadyUsed,
            Self::Undecided => RefusalKind::TryLater,
            Self::SecretNotTaken => RefusalKind::NotThisWay,
            Self::WrongSecret => RefusalKind::WrongSecret,
        }
    }

    /// The reason for the audit record.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::NotConfigured => "not_configured",
            Self::NotValidNow(error) | Self::Invalid(error) => error.token(),
            Self::Suspended => "suspended",
            Self::Loop => "loop",
            Self::Replayed => "replayed",
            Self::BeforeEpoch => "before_epoch",
            Self::Undecided => "undecided",
            Self::SecretNotTaken => "legacy_secret",
            Self::WrongSecret => "wrong_secret",
        }
    }

    /// Whether somebody tried what they have no right to; not so where the node lacks something, or has lost its memory.
    pub fn speaks_against_caller(self) -> bool {
        match self {
            Self::NotValidNow(_) | Self::Invalid(_) | Self::Replayed | Self::WrongSecret => true,
            Self::Disabled
            | Self::NotConfigured
            | Self::Suspended
            | Self::Loop
            | Self::BeforeEpoch
            | Self::Undecided
            | Self::SecretNotTaken => false,
        }
    }
}

/// The counts of one worker's verifier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct VerifierSnapshot {
    pub accepted: u64,
    /// Refused for what the token is or says.
    pub refused: u64,
    pub replayed: u64,
    pub undecided: u64,
}

/// Lets callers in that come from peers.
pub struct FederationVerifier {
    federation: Arc<Federation>,
    claims: Rc<Claims>,
    /// Looks for keys of peers that paired.
    follow: Option<Recipient<FollowKeys>>,
    clock: Arc<dyn Clock>,
}

impl FederationVerifier {
    /// A verifier for one worker.
    pub fn new(
        federation: Arc<Federation>,
        claims: Recipient<ClaimCalls>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            federation,
            claims: Claims::by(claims),
            follow: None,
            clock,
        }
    }

    /// The same verifier, which has new keys of peers looked for.
    #[must_use]
    pub fn following(mut self, follow: Recipient<FollowKeys>) -> Self {
        self.follow = Some(follow);
        self
    }
}

impl Actor for FederationVerifier {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<VerifyPeer> for FederationVerifier {
    type Result = Decision;

    fn handle(&mut self, call: VerifyPeer, _: &mut Self::Context) -> Self::Result {
        let genuine = self.federation.check(&call.token, self.clock.now_ms());
        let follow = self.unknown_key(&call.token, &genuine);
        Decision {
            genuine,
            follow,
            toll: call.toll,
            request_id: call.request_id,
            span: call.span,
            claims: Rc::clone(&self.claims),
        }
    }
}

impl Handler<Snapshot> for FederationVerifier {
    type Result = MessageResult<Snapshot>;

    fn handle(&mut self, _: Snapshot, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.claims.counts())
    }
}

/// A token by a key that we do not know, of a peer that may have a new one.
struct UnknownKey {
    token: String,
    peer: Origin,
    federation: Arc<Federation>,
    follow: Recipient<FollowKeys>,
    clock: Arc<dyn Clock>,
}

impl UnknownKey {
    /// Checks the token once more, if the peer has told of new keys.
    async fn again(self, refusal: FederationRefusal) -> Result<rules::Genuine, FederationRefusal> {
        if !self.has_news().await {
            return Err(refusal);
        }
        self.federation.check(&self.token, self.clock.now_ms())
    }

    /// Whether the peer has told of new keys.
    async fn has_news(&self) -> bool {
        let asked = self.follow.send(FollowKeys(self.peer.clone()));
        matches!(asked.timeout(FOLLOW_LIMIT).await, Ok(true))
    }
}

impl FederationVerifier {
    fn unknown_key(
        &self,
        token: &str,
        checked: &Result<rules::Genuine, FederationRefusal>,
    ) -> Option<UnknownKey> {
        let is_by_unknown_key = matches!(
            checked,
            Err(FederationRefusal::Invalid(
                VerifyError::BadSignature | VerifyError::BadClaims
            ))
        );
        let follow = self.follow.as_ref().filter(|_| is_by_unknown_key)?;
        Some(UnknownKey {
            peer: self.federation.unknown_key_of(token)?,
            token: token.to_owned(),
            federation: Arc::clone(&self.federation),
            follow: follow.clone(),
            clock: Arc::clone(&self.clock),
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
