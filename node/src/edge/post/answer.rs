//! What came of a call of ours: its task is told, and ends.

use archipel_protocol::ids::Origin;
use archipel_protocol::wan::{Direction, PostedCall};
use uuid::Uuid;

use super::{later, refused, verify};
use crate::edge::Edge;
use crate::federation::letters::Letters;
use crate::tasks::command::TaskError;
use crate::tasks::machine::TurnRefusal;
use crate::wan::calls::outcome::{failed, outcome_of};
use crate::wan::calls::{NotSent, Posted, Seen, agent_of_peer};

/// An answer came.
pub(super) async fn see_to(edge: &Edge, letters: &Letters, posted: &Posted) -> Seen {
    let source = match verify(edge, letters, posted).await {
        Ok((_, source)) => source,
        Err(refusal) => return refused(edge, posted, refusal),
    };
    let Some(task) = called(edge, &posted.call, &source, &posted.envelope.correlation_id) else {
        return Seen::Dead("it answers no call of this node".to_owned());
    };
    let told = task.tell(edge, outcome_of(posted.call.body.as_bytes()));
    match told.await {
        Told::Kept => Seen::Done,
        Told::NoTask => {
            tracing::info!(
                correlation.id = posted.envelope.correlation_id,
                "an answer came to a call that nobody waits for"
            );
            Seen::Done
        }
        Told::NotNow => later(posted),
    }
}

/// A call of ours never goes; whether nobody waits for its answer any more.
pub(super) async fn not_sent(edge: &Edge, letter: NotSent) -> bool {
    let target = letter.envelope.target_origin.as_deref();
    let target = target.and_then(|target| Origin::parse(target).ok());
    let id = &letter.envelope.correlation_id;
    let task = match letter.call.direction {
        Direction::Request => target.and_then(|target| called(edge, &letter.call, &target, id)),
        // Whoever asked finds out by itself.
        Direction::Answer => None,
    };
    let Some(task) = task else { return true };
    let reason = format!("the call could not be sent: {}", letter.reason);
    !matches!(task.tell(edge, failed(reason)).await, Told::NotNow)
}

/// A task of a call of ours.
struct Called {
    id: Uuid,
    agent: String,
}

enum Told {
    Kept,
    /// There is none, it is of another call, or it has ended.
    NoTask,
    NotNow,
}

/// The task of a call to that peer.
fn called(edge: &Edge, call: &PostedCall, peer: &Origin, id: &str) -> Option<Called> {
    let roster = edge.federation.roster();
    let peer = roster.by_origin(peer)?;
    Some(Called {
        id: id.parse().ok()?,
        agent: agent_of_peer(&peer.name, &call.agent),
    })
}

impl Called {
    async fn tell(&self, edge: &Edge, task: archipel_protocol::a2a::Task) -> Told {
        match edge.tasks.report(self.id, &self.agent, task).await {
            Ok(()) => Told::Kept,
            Err(TaskError::NotFound | TaskError::Turn(TurnRefusal::Ended)) => Told::NoTask,
            Err(_) => Told::NotNow,
        }
    }
}
