//! An agent of a peer that is called by envelope: our side of such a task.
//!
//! A turn writes one letter, has it kept with the task, then hands it to the outbox and waits. The outcome does not come
//! here: it is reported to the task, which ends the turn; what ends it here is that nothing came in time. A turn that was
//! left is taken up where it was: a letter that was handed over is not handed over again.

use std::sync::Arc;
use std::time::Duration;

use archipel_protocol::a2a::{Message, SendMessageParams, Version};
use archipel_protocol::federation::Delegation;
use archipel_protocol::ids::Origin;
use archipel_protocol::jsonrpc::encode_request;
use archipel_protocol::method::Method;
use archipel_protocol::object::Json;
use archipel_protocol::wan::{Direction, MeshTrace, WanMessage};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{Letter, Post};
use crate::tasks::executor::{
    AgentExecutor, ExecutorFailure, Turn, TurnEvent, TurnEvents, TurnFuture,
};
use crate::wan::queue::{Parcel, Take, Taken};

/// How long an outbox that does not take a letter is left alone.
const AGAIN: Duration = Duration::from_secs(2);

/// See the module.
pub struct PostedAgent {
    post: Arc<Post>,
    /// Absent where a turn is only taken up.
    address: Option<Address>,
}

/// To whom a message goes, and for whom.
#[derive(Debug, Clone)]
pub struct Address {
    pub to: Origin,
    pub agent: String,
    pub delegation: Delegation,
}

/// What a task remembers of its letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// Until when an answer is waited for, in milliseconds since the Unix epoch.
    until_ms: u64,
    /// The envelope, as long as the outbox has not taken it.
    #[serde(skip_serializing_if = "Option::is_none")]
    letter: Option<String>,
}

impl PostedAgent {
    /// Sends a message there.
    pub fn new(post: Arc<Post>, address: Address) -> Self {
        Self {
            post,
            address: Some(address),
        }
    }

    /// Takes turns up that were left.
    pub fn of_left_turns(post: Arc<Post>) -> Self {
        Self {
            post,
            address: None,
        }
    }
}

impl AgentExecutor for PostedAgent {
    fn run(self: Arc<Self>, turn: Turn, events: TurnEvents) -> TurnFuture {
        Box::pin(async move {
            let address = self.address.as_ref().ok_or(ExecutorFailure::Lost)?;
            let parcel = self.post.write(letter(address, &turn)?);
            let parcel = parcel.map_err(|error| {
                tracing::warn!(task.id = %turn.task_id, %error, "a call by envelope cannot be written");
                ExecutorFailure::Unusable("the call cannot be put into an envelope")
            })?;
            let life_ms = u64::try_from(self.post.life.as_millis()).unwrap_or(u64::MAX);
            let until_ms = self.post.clock.now_ms().saturating_add(life_ms);
            // Told before anything is waited for, so that it is kept with the task itself: from the moment in which the
            // caller hears of the task, the letter is safe.
            let kept = Kept {
                until_ms,
                letter: String::from_utf8(parcel.message.encode()).ok(),
            };
            events.tell(remember(&kept)?).await?;
            self.post_and_wait(Some(parcel), until_ms, &turn, &events)
                .await
        })
    }

    fn resume(self: Arc<Self>, turn: Turn, events: TurnEvents) -> Option<TurnFuture> {
        let kept = Kept::of(turn.memory.as_ref()?)?;
        let message = match &kept.letter {
            None => None,
            Some(letter) => Some(WanMessage::decode_outgoing(letter.as_bytes()).ok()?),
        };
        let parcel = message.map(|message| Parcel {
            message,
            message_id: None,
            body: None,
        });
        Some(Box::pin(async move {
            self.post_and_wait(parcel, kept.until_ms, &turn, &events)
                .await
        }))
    }

    fn is_posted(&self) -> bool {
        true
    }
}

impl PostedAgent {
    async fn post_and_wait(
        &self,
        parcel: Option<Parcel>,
        until_ms: u64,
        turn: &Turn,
        events: &TurnEvents,
    ) -> Result<(), ExecutorFailure> {
        let waiting = async {
            if let Some(parcel) = parcel {
                // An answer may come at once, and finds the task in the store.
                if let Some(kept) = &turn.kept {
                    kept.cancelled().await;
                }
                self.hand_over(parcel, until_ms).await?;
            }
            // Also where it was remembered before: whoever tells something waits for nobody.
            let kept = Kept {
                until_ms,
                letter: None,
            };
            events.tell(remember(&kept)?).await?;
            self.sleep_until(until_ms).await;
            Err(ExecutorFailure::TooSlow)
        };
        let waited = turn.canceled.run_until_cancelled(waiting).await;
        waited.unwrap_or(Err(ExecutorFailure::Ended))
    }

    /// Hands a letter to the outbox, which knows it again if it has it already.
    async fn hand_over(&self, parcel: Parcel, until_ms: u64) -> Result<(), ExecutorFailure> {
        loop {
            let taken = self.post.outbox.send(Take(vec![parcel.clone()])).await;
            if let Ok(Ok(taken)) = taken
                && matches!(taken.first(), Some(Taken::First | Taken::Repeated))
            {
                return Ok(());
            }
            if self.post.clock.now_ms() >= until_ms {
                return Err(ExecutorFailure::TooSlow);
            }
            sleep(AGAIN).await;
        }
    }

    async fn sleep_until(&self, until_ms: u64) {
        let left_ms = until_ms.saturating_sub(self.post.clock.now_ms());
        sleep(Duration::from_millis(left_ms)).await;
    }
}

impl Kept {
    fn of(memory: &Json) -> Option<Self> {
        serde_json::from_str(memory.text()).ok()
    }
}

fn remember(kept: &Kept) -> Result<TurnEvent, ExecutorFailure> {
    let kept = Json::of(kept).map_err(|_| ExecutorFailure::Broken)?;
    Ok(TurnEvent::Remember(kept))
}

fn letter<'a>(address: &'a Address, turn: &Turn) -> Result<Letter<'a>, ExecutorFailure> {
    let mut params = SendMessageParams::new(addressed(turn.message.clone()));
    params
        .accepted_output_modes
        .clone_from(&turn.accepted_output_modes);
    params.metadata.clone_from(&turn.metadata);
    let method = Method::SendMessage.name(Version::V1);
    let body = encode_request(&turn.task_id, method, &params).ok();
    let body = body.and_then(|body| String::from_utf8(body).ok());
    Ok(Letter {
        to: &address.to,
        id: turn.task_id.parse().map_err(|_| ExecutorFailure::Broken)?,
        direction: Direction::Request,
        agent: &address.agent,
        body: body.ok_or(ExecutorFailure::Broken)?,
        delegation: &address.delegation,
        trace: MeshTrace::new(turn.traceparent.as_deref(), None),
    })
}

/// The message as it goes: task and conversation are ours, and open anew over there.
fn addressed(mut message: Message) -> Message {
    message.task_id = None;
    message.context_id = None;
    message.reference_task_ids.clear();
    message
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use actix::{Actor, Context, Handler, MessageResult};
    use archipel_kit::clock::ManualClock;
    use tokio_util::sync::CancellationToken;
    use uuid::Uuid;

    use super::*;
    use crate::agents::breaker::BreakerRule;
    use crate::agents::run::{AgentRun, TurnLimits};
    use crate::metrics::AgentMetrics;
    use crate::wan::seals::tests::federation;

    const NOW: u64 = 1_767_225_600_000;
    const LIFE: Duration = Duration::from_secs(60);
    const PEER: &str = "https://b.example";

    /// An outbox that has no room at first.
    struct Outbox(Arc<AtomicUsize>);

    impl Actor for Outbox {
        type Context = Context<Self>;
    }

    impl Handler<Take> for Outbox {
        type Result = MessageResult<Take>;

        fn handle(&mut self, _: Take, _: &mut Self::Context) -> Self::Result {
            let taken = match self.0.fetch_add(1, Ordering::SeqCst) {
                0 => Taken::Full,
                1 => Taken::First,
                _ => Taken::Repeated,
            };
            MessageResult(Ok(vec![taken]))
        }
    }

    fn post(taken: &Arc<AtomicUsize>) -> Arc<Post> {
        let clock = Arc::new(ManualClock::new(NOW));
        let rule = BreakerRule {
            failures: 0,
            pause: LIFE,
            longest: LIFE,
        };
        let metrics = AgentMetrics::new(&opentelemetry::global::meter("tests"));
        let run = AgentRun::new(TurnLimits::default(), rule, clock.clone(), metrics);
        Arc::new(Post {
            federation: Arc::new(federation(("https://a.example", 1), (PEER, 2))),
            clock,
            outbox: Outbox(Arc::clone(taken)).start().recipient(),
            life: LIFE,
            max_envelope: 4096,
            run: Arc::new(run),
        })
    }

    fn turn(memory: Option<Json>, said: &str) -> Turn {
        Turn {
            task_id: Uuid::nil().to_string().into(),
            context_id: "c".into(),
            message: Message::from_agent("m".to_owned(), said),
            metadata: None,
            accepted_output_modes: Vec::new(),
            extensions: None,
            task: None,
            memory,
            traceparent: None,
            kept: None,
            canceled: CancellationToken::new(),
        }
    }

    /// Runs a turn to its end: what was to be remembered, and why it ended.
    async fn run(
        begin: impl FnOnce(TurnEvents) -> TurnFuture,
    ) -> (Vec<Kept>, Result<(), ExecutorFailure>) {
        let (events, mut told) = TurnEvents::channel();
        let ended = begin(events).await;
        let mut kept = Vec::new();
        while let Ok(TurnEvent::Remember(memory)) = told.try_recv() {
            kept.push(Kept::of(&memory).unwrap());
        }
        (kept, ended)
    }

    #[actix::test]
    async fn a_letter_is_kept_then_handed_over_then_waited_for() {
        tokio::time::pause();
        let taken = Arc::<AtomicUsize>::default();
        let post = post(&taken);
        let address = Address {
            to: Origin::parse(PEER).unwrap(),
            agent: "text".to_owned(),
            delegation: Delegation::NONE,
        };
        let sending = || Arc::new(PostedAgent::new(Arc::clone(&post), address.clone()));
        let (kept, ended) = run(|events| sending().run(turn(None, "hello"), events)).await;
        assert_eq!(ended, Err(ExecutorFailure::TooSlow));
        assert_eq!(
            taken.load(Ordering::SeqCst),
            2,
            "once more where it was full"
        );
        let until_ms = NOW + 60_000;
        let letters: Vec<_> = kept
            .iter()
            .map(|kept| (kept.until_ms, kept.letter.is_some()))
            .collect();
        assert_eq!(letters, [(until_ms, true), (until_ms, false)]);

        // What a process left behind is taken up where it was.
        for (kept, handed_over) in kept.iter().zip([3, 3]) {
            let left = Arc::new(PostedAgent::of_left_turns(Arc::clone(&post)));
            let memory = Json::of(kept).unwrap();
            let turn = turn(Some(memory), "hello");
            let (again, ended) = run(|events| left.resume(turn, events).unwrap()).await;
            assert_eq!(ended, Err(ExecutorFailure::TooSlow));
            assert_eq!(taken.load(Ordering::SeqCst), handed_over);
            assert_eq!(again.last().unwrap().letter, None);
        }
        // While the store does not have the task, an outcome would not find it.
        let unkept = Turn {
            kept: Some(CancellationToken::new()),
            ..turn(None, "hello")
        };
        let before = taken.load(Ordering::SeqCst);
        let waits = tokio::time::timeout(
            LIFE * 2,
            run(|events| sending().run(unkept.clone(), events)),
        );
        assert!(waits.await.is_err());
        assert_eq!(taken.load(Ordering::SeqCst), before);
        unkept.kept.iter().for_each(CancellationToken::cancel);
        run(|events| sending().run(unkept.clone(), events))
            .await
            .1
            .unwrap_err();
        assert_eq!(taken.load(Ordering::SeqCst), before + 1);

        let large = "x".repeat(5000);
        let (kept, ended) = run(|events| sending().run(turn(None, &large), events)).await;
        assert!(
            matches!(ended, Err(ExecutorFailure::Unusable(_))),
            "{ended:?}"
        );
        assert_eq!(kept, []);
    }

    #[test]
    fn what_is_remembered_can_be_read_again() {
        for letter in [None, Some("{\"v\":1}".to_owned())] {
            let kept = Kept {
                until_ms: 7,
                letter,
            };
            let Ok(TurnEvent::Remember(memory)) = remember(&kept) else {
                continue;
            };
            assert_eq!(Kept::of(&memory), Some(kept));
        }
        assert_eq!(Kept::of(&Json::of(&"another's").unwrap()), None);
    }

    #[test]
    fn nothing_of_ours_goes_with_a_message() {
        let mut message = Message::from_agent("m".to_owned(), "hello");
        let plain = message.clone();
        message.task_id = Some("ours".to_owned());
        message.context_id = Some("ours".to_owned());
        message.reference_task_ids = vec!["ours".to_owned()];
        assert_eq!(addressed(message), plain);
    }
}
