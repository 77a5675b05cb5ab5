//! Calls that come in envelopes: the gates of a call over HTTP, in the same order, and the same functions.
//!
//! [`PostDesk`] owns nothing but its way to everything else, so a restart loses nothing: the envelope is a row of the inbox
//! until it says that nothing more is to be done. Answers [`Posted`], [`NotSent`] and [`Deliver`]. Refuses strangers without a word to
//! them; a peer that asks for what it may not is told so, in an envelope. What cannot be done now is done later: the peer
//! does not wait at the line. Read `call` (a call of a peer), `answer` (what came of a call of ours), then `delivery`
//! (envelopes that agents are told of).

use std::rc::Rc;
use std::time::Duration;

use actix::{Actor, Context, Handler, ResponseFuture};
use archipel_protocol::a2a::{Task, TaskState};
use archipel_protocol::federation::VerifyError;
use archipel_protocol::ids::Origin;
use archipel_protocol::wan::{Direction, Route};
use bytes::Bytes;
use tokio::time::timeout;
use tracing::Span;
use uuid::Uuid;

use crate::audit::{AuditAction, AuditOutcome};
use crate::edge::Edge;
use crate::edge::auth::{ByEnvelope, record};
use crate::federation::letters::{GenuineLetter, Letters, VerifyLetter};
use crate::federation::{FederationRefusal, Proof, RefusalKind};
use crate::push::pause::pause;
use crate::tasks::command::{TaskCaller, TaskError};
use crate::tasks::feed::Settled;
use crate::wan::calls::{Deliver, NotSent, Posted, Seen};

mod answer;
mod call;
mod delivery;

/// Envelopes that may wait: more than the inbox has in hand.
const MAILBOX: usize = 4096;
/// How long something is left alone that cannot be done now: first, and at most.
const RESTS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
/// How long a task is watched before it is left to be looked after again: most agents are done then.
const WATCHED_FOR: Duration = Duration::from_secs(1);

/// See the module.
pub struct PostDesk {
    edge: Rc<Edge>,
    letters: Letters,
    /// How often an envelope is brought to an agent, and how long after the first failure it is brought again.
    rule: (u32, Duration),
}

impl PostDesk {
    pub fn new(edge: Edge, letters: Letters, rule: (u32, Duration)) -> Self {
        Self {
            edge: Rc::new(edge),
            letters,
            rule,
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

impl Handler<Deliver> for PostDesk {
    type Result = ResponseFuture<Seen>;

    fn handle(&mut self, envelope: Deliver, _: &mut Self::Context) -> Self::Result {
        let (edge, rule) = (Rc::clone(&self.edge), self.rule);
        Box::pin(async move { delivery::see_to(&edge, envelope, rule).await })
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

/// A task, as it is.
async fn read(edge: &Edge, id: Uuid, whose: &TaskCaller) -> Result<Bytes, TaskError> {
    let id = id.hyphenated().to_string();
    edge.tasks.read(&id, whose.clone(), None).await
}

/// A task, if it has come to something within the time that it is watched.
async fn watched(
    edge: &Edge,
    id: Uuid,
    whose: &TaskCaller,
) -> Result<Option<(TaskState, Bytes)>, TaskError> {
    let name = id.hyphenated().to_string();
    let watched = async {
        let feed = edge.tasks.watch(&name, whose.clone(), None).await;
        // There is nothing to watch of a task that has ended.
        let Ok(mut feed) = feed else { return };
        while let Ok(event) = feed.next().await {
            if event.settled != Settled::No {
                return;
            }
        }
    };
    // When the time is over, the task is looked at all the same.
    let _late = timeout(WATCHED_FOR, watched).await;
    let task = read(edge, id, whose).await?;
    let state = std::str::from_utf8(&task).ok();
    let state = state.and_then(|text| Some(Task::read(text).ok()?.status.state));
    let settled = state.filter(|state| Settled::of(*state) != Settled::No);
    Ok(settled.map(|state| (state, task)))
}
