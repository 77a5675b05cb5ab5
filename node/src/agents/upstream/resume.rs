//! Tasks that the agent has already: going on with a turn that a dead process left, following an agent that works on
//! without a stream of ours, and asking it to stop.
//!
//! Nothing is sent a second time: the agent is asked for its task, by a stream where it has one and else now and then,
//! and only what was not told yet is told (`relay`).

use std::sync::Arc;
use std::time::Duration;

use archipel_protocol::object::Json;
use tokio::sync::SetOnce;
use tokio::time::sleep;

use super::{Progress, Talk, UpstreamAgent};
use crate::agents::upstream::binding::Ask;
use crate::agents::upstream::call::{Along, Reply};
use crate::agents::upstream::interface::{Interface, Streaming};
use crate::agents::upstream::relay::Relay;
use crate::agents::upstream::wire::Known;
use crate::tasks::executor::{CancelAnswer, CancelFuture, ExecutorFailure, Turn, TurnEvents};

/// How long an agent is left alone that works on without a stream: first, and at most. Each look waits twice as long.
const FIRST_LOOK: Duration = Duration::from_millis(200);
const LAST_LOOK: Duration = Duration::from_secs(5);

/// How long an agent that cannot be reached is asked again for a task that was left: it may have stopped with us.
const COMES_BACK: Duration = Duration::from_secs(30);

/// JSON-RPC errors by which an agent says that it does not cancel: not this task, no task, or it never heard of it.
const GOES_ON: [i64; 3] = [-32002, -32004, -32601];

impl UpstreamAgent {
    /// Goes on with a turn whose task the agent has.
    pub(super) async fn take_up(
        self: Arc<Self>,
        turn: Turn,
        events: TurnEvents,
    ) -> Result<(), ExecutorFailure> {
        let named = SetOnce::new();
        let mut talk = Talk {
            events: &events,
            relay: Relay::resumed(turn.memory.as_ref(), turn.task.as_deref()),
            named: &named,
        };
        talk.name();
        let result = tokio::select! {
            result = self.go_on_when_it_is_back(&mut talk) => result,
            () = turn.canceled.cancelled() => Err(ExecutorFailure::Ended),
        };
        // What it refuses is to speak of the task, not a message.
        let result = result.map_err(|failure| match failure {
            ExecutorFailure::Refused(_) => ExecutorFailure::Lost,
            other => other,
        });
        if let Err(failure) = &result {
            self.let_go(failure, named.get());
        }
        result
    }

    async fn go_on_when_it_is_back(&self, talk: &mut Talk<'_>) -> Result<(), ExecutorFailure> {
        let until = self.clock.monotonic() + COMES_BACK;
        let mut pause = FIRST_LOOK;
        loop {
            let result = match self.interface().await {
                Ok(interface) => self.go_on(&interface, talk).await,
                Err(failure) => Err(failure),
            };
            if result != Err(ExecutorFailure::Unreachable) || self.clock.monotonic() >= until {
                return result;
            }
            sleep(pause).await;
            pause = LAST_LOOK.min(pause * 2);
        }
    }

    /// Follows a task until its turn is over.
    pub(super) async fn go_on(
        &self,
        interface: &Interface,
        talk: &mut Talk<'_>,
    ) -> Result<(), ExecutorFailure> {
        if interface.streaming != Streaming::Refused {
            let id = talk.task()?;
            let asked = Ask::Subscribe(&id);
            match self.caller.ask(interface, asked, &Along::default()).await {
                Ok(Reply::Stream(answer)) => {
                    if self.relay_stream(interface, *answer, talk).await? == Progress::Over {
                        return Ok(());
                    }
                }
                // It has ended, or is not to be watched: a look will tell.
                Ok(Reply::Whole(_)) | Err(ExecutorFailure::Refused(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        self.look(interface, talk).await
    }

    /// Looks at a task now and then until its turn is over.
    pub(super) async fn look(
        &self,
        interface: &Interface,
        talk: &mut Talk<'_>,
    ) -> Result<(), ExecutorFailure> {
        let id = talk.task()?;
        let mut pause = FIRST_LOOK;
        loop {
            let asked = Ask::Get(&id);
            let event = match self.caller.ask(interface, asked, &Along::default()).await? {
                Reply::Whole(body) => interface.read_task(&body)?,
                Reply::Stream(_) => return Err(ExecutorFailure::NotA2a),
            };
            if talk.relay_event(event).await? == Progress::Over {
                return Ok(());
            }
            sleep(pause).await;
            pause = LAST_LOOK.min(pause * 2);
        }
    }

    /// Asks the agent to stop, if it has the task.
    pub(super) fn ask_to_stop(self: Arc<Self>, memory: Option<&Json>) -> Option<CancelFuture> {
        let id = memory.map(Known::of)?.task_id?;
        Some(Box::pin(async move {
            let told = match self.interface().await {
                Ok(interface) => {
                    let (asked, along) = (Ask::Cancel(&id), Along::default());
                    self.caller.ask(&interface, asked, &along).await.map(drop)
                }
                Err(failure) => Err(failure),
            };
            match told {
                Ok(()) => CancelAnswer::Stops,
                Err(ExecutorFailure::Refused(code)) if GOES_ON.contains(&code) => {
                    CancelAnswer::GoesOn
                }
                Err(failure) => {
                    tracing::warn!(agent.id = %self.id, reason = %failure, "upstream agent could not be told to stop");
                    CancelAnswer::Stops
                }
            }
        }))
    }
}
