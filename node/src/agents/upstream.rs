//! The `a2a` executor: an agent of somebody else, reached by URL, that speaks A2A.
//!
//! It owns no task. A turn becomes one message to the agent; what the agent tells is relayed as the turn's events, and
//! the agent's own ids of task and conversation are remembered, so that the next turn goes on with the same task over
//! there. An agent that falls silent, breaks off or talks nonsense fails the turn. Read `interface` (where the agent
//! wants to be called, from its card), `binding` (how that is spoken), `call` (what every request carries), `wire` (what
//! is sent), `relay` (what its events mean for us), `resume` (tasks that it has already), `sse` (how its stream is cut into
//! events), `card` (what it says of itself).

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use archipel_kit::client::Answer;
use archipel_kit::clock::Clock;
use archipel_kit::settings::Secret;
use archipel_protocol::a2a::{SendMessageParams, StreamEvent};
use archipel_protocol::object::Json;
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use http::header::HeaderValue;
use tokio::sync::SetOnce;
use tokio::time::timeout;
use url::Url;

use crate::agents::upstream::binding::{Ask, Binding};
use crate::agents::upstream::call::{Along, Caller, Reply, Way};
use crate::agents::upstream::interface::{Interface, KnownInterface, Streaming};
use crate::agents::upstream::relay::{Relay, Step};
use crate::agents::upstream::sse::SseReader;
use crate::agents::upstream::wire::{Known, addressed};
use crate::cards::trust::CardTrust;
use crate::control::hosted::Probe;
use crate::egress::{Destination, Egress};
use crate::tasks::executor::{
    AgentExecutor, CancelFuture, ExecutorFailure, Turn, TurnEvents, TurnFuture,
};

mod binding;
mod call;
mod card;
mod interface;
mod relay;
mod resume;
pub(crate) mod sse;
mod wire;

pub(super) use call::{failure, is_event_stream};

/// How long the agent's name of a task that is canceled may take to come, if it has not come yet.
const WAIT_FOR_NAME: Duration = Duration::from_secs(10);

/// How long the end of a stream may take after its last event, before the connection is given up instead of kept.
const END_OF_STREAM: Duration = Duration::from_millis(100);

/// Errors by which an agent says that there is no such operation: a JSON-RPC code, and HTTP statuses of a path that is not
/// there.
const NO_OPERATION: [i64; 4] = [-32601, 404, 405, 501];

/// The code by which an agent says that it does not stream. One whose card says that it does may mean anything by it,
/// after it has done its work.
const NO_STREAMING: i64 = -32004;

/// How long an agent may take, and how much it may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamLimits {
    /// Until its stream begins.
    pub first_byte: Duration,
    /// Between two pieces of its stream; comments count.
    pub idle: Duration,
    /// For a whole turn.
    pub turn: Duration,
    /// For one event of a stream, or one whole answer.
    pub max_event_bytes: usize,
}

impl Default for UpstreamLimits {
    /// Agents with a model behind them think for minutes; an hour of work without a question is a mistake.
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(300),
            turn: Duration::from_secs(3600),
            max_event_bytes: 8 * 1024 * 1024,
        }
    }
}

/// Which agent, and how it is called.
pub struct UpstreamAgentSettings {
    /// Our id of it, for log lines.
    pub id: Arc<str>,
    /// Where its card is, without the well-known path.
    pub url: Url,
    /// Sent to it as bearer token.
    pub credential: Option<Secret>,
    pub limits: UpstreamLimits,
    /// Who chose the URL.
    pub destination: Destination,
    /// What is asked of its card.
    pub trust: CardTrust,
}

/// An agent reached by URL.
pub struct UpstreamAgent {
    id: Arc<str>,
    caller: Caller,
    clock: Arc<dyn Clock>,
    /// Read from its card; forgotten when it grows old or a turn fails.
    interface: ArcSwapOption<KnownInterface>,
}

/// The card of an agent reached by URL.
pub struct UpstreamCard(Arc<UpstreamAgent>);

impl UpstreamCard {
    /// The card of this agent.
    pub fn of(agent: Arc<UpstreamAgent>) -> Self {
        Self(agent)
    }
}

/// Whether more is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Going,
    Over,
}

/// One turn as it runs.
struct Talk<'a> {
    events: &'a TurnEvents,
    relay: Relay,
    /// The agent's id of the task, once it is known: what a cancellation must name.
    named: &'a SetOnce<String>,
}

impl UpstreamAgent {
    /// No connection is made yet.
    pub fn new(
        settings: UpstreamAgentSettings,
        egress: Arc<Egress>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let UpstreamAgentSettings {
            id,
            url,
            credential,
            limits,
            destination,
            trust,
        } = settings;
        let way = Way {
            destination,
            egress,
            trust,
        };
        let caller = Caller::new(url, credential.as_ref(), limits, way);
        Self {
            id,
            caller,
            clock,
            interface: ArcSwapOption::empty(),
        }
    }

    async fn take_turn(
        self: Arc<Self>,
        turn: Turn,
        events: TurnEvents,
    ) -> Result<(), ExecutorFailure> {
        let named = SetOnce::new();
        let canceled = turn.canceled.clone();
        let talk = Talk {
            events: &events,
            relay: Relay::new(turn.memory.as_ref()),
            named: &named,
        };
        // A task that has no name yet cannot be canceled over there, so its name is waited for a moment.
        let given_up = async {
            canceled.cancelled().await;
            timeout(WAIT_FOR_NAME, named.wait()).await.ok();
        };
        let result = tokio::select! {
            result = self.converse(turn, talk) => result,
            () = given_up => Err(ExecutorFailure::Ended),
        };
        if let Err(failure) = &result {
            self.let_go(failure, named.get());
        }
        result
    }

    async fn converse(&self, turn: Turn, mut talk: Talk<'_>) -> Result<(), ExecutorFailure> {
        talk.name();
        let interface = self.interface().await?;
        let along = Along {
            traceparent: turn.traceparent.as_deref().and_then(as_header),
            extensions: turn.extensions.as_deref().and_then(as_header),
        };
        let params = SendMessageParams {
            metadata: turn.metadata,
            accepted_output_modes: turn.accepted_output_modes,
            // In HTTP+JSON it stands in the path.
            tenant: interface
                .tenant
                .clone()
                .filter(|_| interface.binding != Binding::Rest),
            ..SendMessageParams::new(addressed(turn.message, talk.relay.known()))
        };
        if interface.streaming != Streaming::Refused {
            let asked = Ask::Stream(&params);
            match self.caller.ask(&interface, asked, &along).await {
                Ok(Reply::Stream(answer)) => {
                    return self.follow(&interface, *answer, &mut talk).await;
                }
                Ok(Reply::Whole(body)) => return self.conclude(&interface, &body, &mut talk).await,
                Err(ExecutorFailure::Refused(code)) if NO_OPERATION.contains(&code) => {}
                Err(ExecutorFailure::Refused(NO_STREAMING))
                    if interface.streaming == Streaming::Untold => {}
                Err(failure) => return Err(failure),
            }
        }
        let asked = Ask::Send(&params);
        match self.caller.ask(&interface, asked, &along).await? {
            Reply::Whole(body) => self.conclude(&interface, &body, &mut talk).await,
            Reply::Stream(_) => Err(ExecutorFailure::NotA2a),
        }
    }

    /// The answer of an agent that does not stream. When it works on after it, it is asked again now and then.
    async fn conclude(
        &self,
        interface: &Interface,
        body: &[u8],
        talk: &mut Talk<'_>,
    ) -> Result<(), ExecutorFailure> {
        match talk.relay_event(interface.read_event(body)?).await? {
            Progress::Over => Ok(()),
            Progress::Going => self.look(interface, talk).await,
        }
    }

    /// Follows the stream of a new turn to the turn's end.
    async fn follow(
        &self,
        interface: &Interface,
        answer: Answer,
        talk: &mut Talk<'_>,
    ) -> Result<(), ExecutorFailure> {
        match self.relay_stream(interface, answer, talk).await? {
            Progress::Over => Ok(()),
            // The stream may end where the agent waits for authorization, and the agent still go on.
            Progress::Going if talk.relay.waits() => self.go_on(interface, talk).await,
            Progress::Going => Err(ExecutorFailure::Lost),
        }
    }

    /// Relays a stream until the event that ends the turn, or its own end.
    async fn relay_stream(
        &self,
        interface: &Interface,
        answer: Answer,
        talk: &mut Talk<'_>,
    ) -> Result<Progress, ExecutorFailure> {
        let mut reader = SseReader::new(self.caller.limits().max_event_bytes);
        let mut body = answer.body;
        let mut found = Vec::new();
        while let Some(piece) = body.next().await {
            let whole = reader.push(&piece.map_err(failure)?, &mut found);
            for event in found.drain(..) {
                let event = interface.read_event(&event)?;
                if talk.relay_streamed(event).await? == Progress::Over {
                    // Reading to the end is what lets the connection be used again.
                    timeout(END_OF_STREAM, body.next()).await.ok();
                    return Ok(Progress::Over);
                }
            }
            whole.map_err(|_| ExecutorFailure::NotA2a)?;
        }
        talk.end_stream().await
    }

    /// Where and how the agent wants to be called.
    async fn interface(&self) -> Result<Interface, ExecutorFailure> {
        let now = self.clock.monotonic();
        if let Some(known) = self
            .interface
            .load()
            .as_ref()
            .filter(|known| known.is_fresh(now))
        {
            return Ok(known.interface.clone());
        }
        let card = self.caller.card().await?;
        let interface = Interface::of(self.caller.url(), card.as_ref()).map_err(|problem| {
            tracing::warn!(agent.id = %self.id, %problem, "upstream agent cannot be called");
            ExecutorFailure::NotA2a
        })?;
        self.interface.store(Some(Arc::new(KnownInterface {
            interface: interface.clone(),
            read_at: now,
        })));
        Ok(interface)
    }

    /// After a turn that did not end well: an agent that may still be at work is told to stop, one that may have moved
    /// is looked up again next time. Nobody waits for it.
    fn let_go(self: &Arc<Self>, failure: &ExecutorFailure, task: Option<&String>) {
        if *failure != ExecutorFailure::Ended {
            tracing::warn!(agent.id = %self.id, reason = %failure, "turn of an upstream agent not finished");
            self.interface.store(None);
        }
        let may_work = matches!(
            failure,
            ExecutorFailure::Ended | ExecutorFailure::TooSlow | ExecutorFailure::NotA2a
        );
        if let Some(id) = task.filter(|_| may_work).cloned() {
            let agent = Arc::clone(self);
            actix_rt::spawn(async move {
                let told = match agent.interface().await {
                    Ok(interface) => {
                        let asked = Ask::Cancel(&id);
                        let along = Along::default();
                        agent.caller.ask(&interface, asked, &along).await.map(drop)
                    }
                    Err(failure) => Err(failure),
                };
                if let Err(failure) = told {
                    tracing::warn!(agent.id = %agent.id, reason = %failure, "upstream agent could not be told to stop");
                }
            });
        }
    }
}

impl Probe for UpstreamAgent {
    fn look(self: Arc<Self>) -> LocalBoxFuture<'static, Result<(), ExecutorFailure>> {
        Box::pin(async move { self.caller.look().await })
    }
}

impl AgentExecutor for UpstreamAgent {
    fn run(self: Arc<Self>, turn: Turn, events: TurnEvents) -> TurnFuture {
        Box::pin(self.take_turn(turn, events))
    }

    fn resume(self: Arc<Self>, turn: Turn, events: TurnEvents) -> Option<TurnFuture> {
        // An agent that has not named its task may have done nothing, or everything.
        turn.memory.as_ref().map(Known::of)?.task_id?;
        Some(Box::pin(self.take_up(turn, events)))
    }

    fn may_decline_task(&self) -> bool {
        true
    }

    fn cancel(self: Arc<Self>, memory: Option<Json>) -> Option<CancelFuture> {
        self.ask_to_stop(memory.as_ref())
    }
}

impl Talk<'_> {
    /// An event that is the whole of an answer.
    async fn relay_event(&mut self, event: StreamEvent) -> Result<Progress, ExecutorFailure> {
        let step = self.relay.take(event);
        self.tell(step.map_err(|_| ExecutorFailure::NotA2a)?).await
    }

    async fn relay_streamed(&mut self, event: StreamEvent) -> Result<Progress, ExecutorFailure> {
        let step = self.relay.take_streamed(event);
        self.tell(step.map_err(|_| ExecutorFailure::NotA2a)?).await
    }

    async fn end_stream(&mut self) -> Result<Progress, ExecutorFailure> {
        let step = self.relay.end_stream();
        match step.map_err(|_| ExecutorFailure::NotA2a)? {
            Some(step) => self.tell(step).await,
            None => Ok(Progress::Going),
        }
    }

    async fn tell(&mut self, step: Step) -> Result<Progress, ExecutorFailure> {
        self.name();
        for event in step.told {
            self.events.tell(event).await?;
        }
        Ok(if step.is_over {
            Progress::Over
        } else {
            Progress::Going
        })
    }

    /// The agent's id of the task.
    fn task(&self) -> Result<String, ExecutorFailure> {
        self.named.get().cloned().ok_or(ExecutorFailure::NotA2a)
    }

    fn name(&self) {
        if let Some(id) = self.relay.known().task_id.as_ref() {
            // Fails when it is set already, and an agent that changes its mind is refused by the relay.
            self.named.set(id.clone()).ok();
        }
    }
}

/// What cannot stand in a header is not passed on.
fn as_header(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
