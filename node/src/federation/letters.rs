//! Letters that claim to come from a peer: the same checks as for a call over HTTP, but that the token is not claimed here.
//!
//! A call over HTTP that dies with us is made again by whoever made it, with another token. A letter is not: we have taken
//! it. So its token is claimed by whoever sees to it, once the call in it is safe.

use std::sync::Arc;

use actix::{Handler, Message, Recipient, ResponseFuture};
use tracing::{Instrument, Span};

use super::{FederationRefusal, FederationVerifier, PeerIdentity};
use crate::replay::{ClaimId, LookUp};
use crate::store::Claim;

/// A letter claims to come from a peer.
#[derive(Debug, Message)]
#[rtype(result = "Result<GenuineLetter, FederationRefusal>")]
pub struct VerifyLetter {
    /// The token as it was sent.
    pub token: String,
    /// Of the letter that it came with.
    pub digest: String,
    pub span: Span,
}

/// A letter of a peer, good but for the question whether it was seen to before.
#[derive(Debug)]
pub struct GenuineLetter {
    pub identity: PeerIdentity,
    /// To be asked before the call in it is begun, and taken once it was.
    pub claim: Option<ClaimId>,
}

/// The way to whoever knows of letters.
#[derive(Clone)]
pub struct Letters {
    pub verify: Recipient<VerifyLetter>,
    pub look: Recipient<LookUp>,
    pub take: Recipient<ClaimId>,
}

impl Letters {
    /// Who sent a letter.
    ///
    /// # Errors
    /// Why it is not believed.
    pub async fn verify(&self, letter: VerifyLetter) -> Result<GenuineLetter, FederationRefusal> {
        let verified = self.verify.send(letter).await;
        verified.unwrap_or(Err(FederationRefusal::Undecided))
    }

    /// Whether a letter was not seen to before.
    ///
    /// # Errors
    /// That it was, or that nobody can tell.
    pub async fn check_fresh(&self, claim: &ClaimId) -> Result<(), FederationRefusal> {
        match self.look.send(LookUp(claim.clone())).await {
            Ok(Ok(Claim::First)) => Ok(()),
            Ok(Ok(Claim::Repeated)) => Err(FederationRefusal::Replayed),
            Ok(Ok(Claim::BeforeEpoch)) => Err(FederationRefusal::BeforeEpoch),
            Ok(Err(_)) | Err(_) => Err(FederationRefusal::Undecided),
        }
    }

    /// Notes that a letter was seen to, for as long as its token would be taken; whether that is kept now.
    pub async fn take(&self, claim: ClaimId) -> bool {
        matches!(self.take.send(claim).await, Ok(Ok(_)))
    }
}

impl Handler<VerifyLetter> for FederationVerifier {
    type Result = ResponseFuture<Result<GenuineLetter, FederationRefusal>>;

    fn handle(&mut self, letter: VerifyLetter, _: &mut Self::Context) -> Self::Result {
        let (federation, clock) = (Arc::clone(&self.federation), Arc::clone(&self.clock));
        let VerifyLetter {
            token,
            digest,
            span,
        } = letter;
        let genuine = federation.check_letter(&token, &digest, clock.now_ms());
        let follow = self.unknown_key(&token, &genuine);
        let decide = async move {
            let genuine = match (genuine, follow) {
                (Err(_), Some(follow)) if follow.has_news().await => {
                    federation.check_letter(&token, &digest, clock.now_ms())
                }
                (genuine, _) => genuine,
            };
            if let Err(refusal) = &genuine {
                tracing::info!(reason = refusal.reason(), "a letter of a peer was refused");
            }
            genuine.map(|genuine| GenuineLetter {
                identity: genuine.identity,
                claim: genuine.claim,
            })
        };
        Box::pin(decide.instrument(span))
    }
}
