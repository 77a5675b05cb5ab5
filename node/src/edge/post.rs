//! Calls that come in envelopes: the gates of a call over HTTP, in the same order, and the same functions.
//!
//! [`PostDesk`] owns nothing but its way to everything else, so a restart loses nothing: the envelope is a row of the inbox
//! until it says that nothing more is to be done. Answers [`Posted`] and [`NotSent`]. Refuses strangers without a word to
//! them; a peer that asks for what it may not is told so, in an envelope. What cannot be done now is done later: the peer
//! does not wait at the line. Read `call` (a call of a peer), then `answer` (what came of a call of ours).

use std::rc::Rc;

use actix::{Actor, Context, Handler, ResponseFuture};
use archipel_protocol::federation::VerifyError;
use archipel_protocol::ids::Origin;
use archipel_protocol::wan::{Direction, Route};
use tracing::Span;

use crate::audit::{AuditAction, AuditOutcome};
use crate::edge::Edge;
use crate::edge::auth::{ByEnvelope, record};
use crate::federation::letters::{GenuineLetter, Letters, VerifyLetter};
use crate::federation::{FederationRefusal, Proof, RefusalKind};
use crate::push::pause::pause;
use crate::wan::calls::{NotSent, Posted, Seen};

mod answer;
mod call;

/// Envelopes that may wait: more than the inbox has in hand.
const MAILBOX: usize = 4096;
/// How long something is left alone that cannot be done now: first, and at most.
const RESTS: [std::time::Duration; 2] = [
    std::time::Duration::from_secs(1),
    std::time::Duration::from_secs(30),
];

/// See the module.
pub struct PostDesk {
    edge: Rc<Edge>,
    letters: Letters,
}

impl PostDesk {
    pub fn new(edge: Edge, letters: Letters) -> Self {
        Self {
            edge: Rc::new(edge),
            letters,
        }
    }
}

impl Actor for PostDesk {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<Posted> for PostDesk {
    type Result = ResponseFuture<Seen>;

    fn handle(&mut self, posted: Posted, _: &mut Self::Context) -> Self::Result {
        let (edge, letters) = (Rc::clone(&self.edge), self.letters.clone());
        Box::pin(async move {
            match posted.call.direction {
                Direction::Request => call::see_to(&edge, &letters, &posted).await,
                Direction::Answer => answer::see_to(&edge, &letters, &posted).await,
            }
        })
    }
}

impl Handler<NotSent> for PostDesk {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, letter: NotSent, _: &mut Self::Context) -> Self::Result {
        let edge = Rc::clone(&self.edge);
        Box::pin(async move { answer::not_sent(&edge, letter).await })
    }
}

/// Who sent a letter, if that is the node that it names as its source.
async fn verify(
    edge: &Edge,
    letters: &Letters,
    posted: &Posted,
) -> Result<(GenuineLetter, Origin), FederationRefusal> {
    edge.federation.check_way(Proof::Token)?;
    let wrong = FederationRefusal::Invalid(VerifyError::BadClaims);
    let route = Route::of(&posted.envelope).map_err(|_| wrong)?;
    let letter = letters
        .verify(VerifyLetter {
            token: posted.call.token.clone(),
            digest: posted.call.digest(&route),
            span: Span::current(),
        })
        .await?;
    let source = Origin::parse(route.source).map_err(|_| wrong)?;
    let is_source = match &letter.identity.origin {
        Some(origin) => origin.as_str() == route.source,
        // Whoever has the shared secret may say to be any of those who do.
        None => edge.federation.roster().by_origin(&source).is_some(),
    };
    if is_source {
        Ok((letter, source))
    } else {
        Err(wrong)
    }
}

/// What becomes of a letter that is not believed. What it is sealed or signed with decides nothing: nobody is answered.
fn refused(edge: &Edge, posted: &Posted, refusal: FederationRefusal) -> Seen {
    if refusal.kind() == RefusalKind::TryLater {
        return later(posted);
    }
    let came = ByEnvelope(&posted.envelope.correlation_id);
    let (action, outcome) = (AuditAction::FederationRefused, AuditOutcome::Refused);
    record(&came, edge, action, outcome, |record| {
        record.reason = Some(refusal.reason());
        record.agent = Some(posted.call.agent.as_str().into());
    });
    Seen::Dead(refusal.to_string())
}

fn later(posted: &Posted) -> Seen {
    let [first, most] = RESTS;
    let times = posted.attempts.saturating_add(1);
    Seen::Later(pause(times, first, most, rand::random()))
}
