//! Turns that are let in, wait, run and end in every way.

use archipel_kit::clock::ManualClock;
use archipel_protocol::a2a::Message;
use futures_util::FutureExt;

use super::*;

const RULE: BreakerRule = BreakerRule {
    failures: 2,
    pause: Duration::from_secs(10),
    longest: Duration::from_secs(60),
};

/// An agent whose turns all end like this, or never.
struct Played(Option<Result<(), ExecutorFailure>>);

impl AgentExecutor for Played {
    fn run(self: Arc<Self>, _: Turn, _: TurnEvents) -> TurnFuture {
        match self.0.clone() {
            Some(result) => Box::pin(std::future::ready(result)),
            None => Box::pin(std::future::pending()),
        }
    }
}

struct Agent {
    run: Arc<AgentRun>,
    clock: Arc<ManualClock>,
}

impl Agent {
    fn new(concurrent: usize, waiting: usize) -> Self {
        let clock = Arc::new(ManualClock::new(0));
        let limits = TurnLimits {
            concurrent,
            waiting,
        };
        let metrics = AgentMetrics::new(&opentelemetry::global::meter("tests"));
        let clock_of_run = Arc::clone(&clock) as Arc<dyn Clock>;
        let run = AgentRun::new(limits, RULE, clock_of_run, metrics);
        Self {
            run: Arc::new(run),
            clock,
        }
    }

    fn begin(
        &self,
        ends: Option<Result<(), ExecutorFailure>>,
        canceled: &CancellationToken,
    ) -> Result<TurnFuture, NotNow> {
        let executor: Arc<dyn AgentExecutor> = Arc::new(Played(ends));
        let (events, _) = TurnEvents::channel();
        let turn = self.run.begin(&executor)?;
        Ok(turn.run(turn_of(canceled), events))
    }

    /// A turn that ends at once.
    fn ends(&self, result: Result<(), ExecutorFailure>) -> Result<(), NotNow> {
        let turn = self.begin(Some(result), &CancellationToken::new())?;
        turn.now_or_never().unwrap().ok();
        Ok(())
    }

    fn check(&self, turns: usize, breaker: BreakerState) {
        let expected = RunSnapshot {
            turns,
            breaker,
            away: false,
        };
        assert_eq!(self.run.snapshot(), expected);
    }
}

fn turn_of(canceled: &CancellationToken) -> Turn {
    Turn {
        task_id: "ours".into(),
        context_id: "talk".into(),
        message: Message::from_agent("m".to_owned(), "hello"),
        metadata: None,
        memory: None,
        accepted_output_modes: Vec::new(),
        extensions: None,
        task: None,
        traceparent: None,
        kept: None,
        canceled: canceled.clone(),
    }
}

#[test]
fn so_many_turns_run_so_many_wait_and_the_rest_is_refused() {
    let agent = Agent::new(1, 1);
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    let mut running = agent.begin(None, &first).unwrap();
    assert!((&mut running).now_or_never().is_none());
    let mut waiting = agent.begin(Some(Ok(())), &second).unwrap();
    assert!((&mut waiting).now_or_never().is_none());
    assert!(matches!(agent.begin(None, &first), Err(NotNow::Busy)));
    agent.check(2, BreakerState::Passing);
    drop(running);
    assert_eq!(waiting.now_or_never(), Some(Ok(())));
    agent.check(0, BreakerState::Passing);
}

#[test]
fn whoever_waits_can_be_canceled() {
    let agent = Agent::new(1, 1);
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    let mut running = agent.begin(None, &first).unwrap();
    assert!((&mut running).now_or_never().is_none());
    let waiting = agent.begin(Some(Ok(())), &second).unwrap();
    second.cancel();
    assert_eq!(waiting.now_or_never(), Some(Err(ExecutorFailure::Ended)));
    agent.check(1, BreakerState::Passing);
}

#[test]
fn a_turn_that_never_runs_gives_its_place_back() {
    let agent = Agent::new(1, 0);
    let executor: Arc<dyn AgentExecutor> = Arc::new(Played(None));
    let turn = agent.run.begin(&executor).unwrap();
    agent.check(1, BreakerState::Passing);
    drop(turn);
    agent.check(0, BreakerState::Passing);
}

#[test]
fn only_the_agents_own_failures_trip_the_breaker() {
    let agent = Agent::new(0, 0);
    for harmless in [
        Ok(()),
        Err(ExecutorFailure::Refused(-32602)),
        Err(ExecutorFailure::Refused(400)),
        Err(ExecutorFailure::Declined("no")),
        Err(ExecutorFailure::Ended),
    ] {
        agent.ends(harmless.clone()).unwrap();
        agent.ends(harmless).unwrap();
        agent.check(0, BreakerState::Passing);
    }
    for fault in [
        ExecutorFailure::Unreachable,
        ExecutorFailure::TooSlow,
        ExecutorFailure::Lost,
        ExecutorFailure::NotA2a,
        ExecutorFailure::Broken,
        ExecutorFailure::Unusable("no key"),
        ExecutorFailure::Refused(-32603),
        ExecutorFailure::Refused(500),
    ] {
        let agent = Agent::new(0, 0);
        agent.ends(Err(fault.clone())).unwrap();
        agent.check(0, BreakerState::Passing);
        agent.ends(Err(fault)).unwrap();
        agent.check(0, BreakerState::Tripped);
        let left_alone = NotNow::LeftAlone(Duration::from_secs(10));
        assert_eq!(agent.ends(Ok(())), Err(left_alone));
        agent.clock.advance(Duration::from_secs(10));
        agent.ends(Ok(())).unwrap();
        agent.check(0, BreakerState::Passing);
    }
}

#[test]
fn a_turn_that_is_dropped_after_its_end_was_told_is_a_good_one() {
    let agent = Agent::new(0, 0);
    let failed = || agent.ends(Err(ExecutorFailure::Lost)).unwrap();
    let dropped = |is_canceled: bool| {
        let canceled = CancellationToken::new();
        let mut turn = agent.begin(None, &canceled).unwrap();
        assert!((&mut turn).now_or_never().is_none());
        if is_canceled {
            canceled.cancel();
        }
    };
    failed();
    dropped(false);
    failed();
    agent.check(0, BreakerState::Passing);
    // A canceled one says nothing.
    dropped(true);
    failed();
    agent.check(0, BreakerState::Tripped);
}

#[test]
fn a_refusal_says_when_to_try_again() {
    for (why, seconds) in [
        (NotNow::Paused, "30"),
        (NotNow::Busy, "1"),
        (NotNow::LeftAlone(Duration::from_millis(1500)), "2"),
    ] {
        let error = RpcError::from(why);
        assert_eq!(error.code, ErrorCode::Unavailable);
        assert_eq!(error.metadata, [(RETRY_AFTER_SECONDS, seconds.to_owned())]);
    }
}
