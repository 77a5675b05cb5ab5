//! Which ids were used: a federation token or an envelope is taken once.
//!
//! Owns [`ReplayGuard`], which keeps nothing but its counts: the ids are in the claim store, so a restart forgets none, and
//! any number of guards (one per worker) share one memory. Answers [`ClaimId`], [`ClaimCalls`], [`LookUp`] and
//! [`Snapshot`]. When the store cannot say whether an id is new, neither can the guard: [`ReplayError::Undecided`], and the
//! caller refuses for now.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use actix::{Actor, Context, Handler, Message, MessageResult, ResponseFuture};
use archipel_kit::clock::Clock;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::limiter::{Bucket, Call, Entered, Entry, Limit, Turnstile, buckets};
use crate::store::{Claim, ClaimRequest, ClaimStore, StoreError};

/// Claims that may wait for one guard.
const MAILBOX: usize = 1024;

/// Bytes of an issuer and an id that are not hashed.
const PLAIN: usize = 128;

/// Takes an id for the caller, who goes on only if the answer is [`Claim::First`].
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Result<Claim, ReplayError>")]
pub struct ClaimId {
    pub scope: ClaimScope,
    /// Who gave out the id; ids of two issuers never meet.
    pub issuer: String,
    pub id: String,
    /// When it was given out. A store that lost claims takes nothing that is older than the loss.
    pub given_at_ms: u64,
    /// Until when the id must be remembered: as long as whatever carries it would still be taken.
    pub expires_at_ms: u64,
}

/// Takes ids for calls, each of which is counted if nobody had taken its id. One answer for each, in their order.
#[derive(Debug, Message)]
#[rtype(result = "Vec<Result<Entered, ReplayError>>")]
pub struct ClaimCalls(pub Vec<ClaimCall>);

/// A call that wants an id.
#[derive(Debug)]
pub struct ClaimCall {
    pub claim: ClaimId,
    /// What the call is held to; nothing, and it is not counted.
    pub limits: Vec<(String, Limit)>,
}

/// Asks what [`ClaimId`] would say, and takes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Result<Claim, ReplayError>")]
pub struct LookUp(pub ClaimId);

/// What kind of thing an id names; ids of two kinds never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimScope {
    FederationToken,
    Envelope,
    Invitation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The answer is "come again", never yes.
    #[error("whether the id was used before cannot be told now")]
    Undecided,
}

/// Asks a guard for its counts.
#[derive(Debug, Message)]
#[rtype(result = "ReplaySnapshot")]
pub struct Snapshot;

/// What one guard has answered since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ReplaySnapshot {
    pub first: u64,
    pub repeated: u64,
    /// Given out before the claim store began.
    pub before_epoch: u64,
    pub undecided: u64,
}

#[derive(Debug)]
pub struct ReplayGuard {
    claims: Arc<dyn ClaimStore>,
    turnstile: Arc<Turnstile>,
    clock: Arc<dyn Clock>,
    /// Shared with the answers that still wait for the store.
    counts: Rc<Cell<ReplaySnapshot>>,
}

impl ReplayGuard {
    pub fn new(
        claims: Arc<dyn ClaimStore>,
        turnstile: Arc<Turnstile>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            claims,
            turnstile,
            clock,
            counts: Rc::default(),
        }
    }
}

impl Actor for ReplayGuard {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<ClaimId> for ReplayGuard {
    type Result = ResponseFuture<Result<Claim, ReplayError>>;

    /// Claims wait for the store side by side: which of two is first is decided there, in one step.
    fn handle(&mut self, message: ClaimId, _: &mut Self::Context) -> Self::Result {
        let claims = Arc::clone(&self.claims);
        let counts = Rc::clone(&self.counts);
        let now_ms = self.clock.now_ms();
        Box::pin(async move {
            let until_ms = message.expires_at_ms;
            let answer = decide(&*claims, &message, now_ms, until_ms).await;
            counts.set(counted(counts.get(), answer));
            answer
        })
    }
}

impl Handler<ClaimCalls> for ReplayGuard {
    type Result = ResponseFuture<Vec<Result<Entered, ReplayError>>>;

    fn handle(&mut self, ClaimCalls(calls): ClaimCalls, _: &mut Self::Context) -> Self::Result {
        let claims = Arc::clone(&self.claims);
        let turnstile = Arc::clone(&self.turnstile);
        let counts = Rc::clone(&self.counts);
        let now_ms = self.clock.now_ms();
        Box::pin(async move {
            let answers = enter(&turnstile, &*claims, &calls, now_ms).await;
            for answer in &answers {
                let claimed = answer.as_ref().map(|(claimed, _)| *claimed);
                counts.set(counted(counts.get(), claimed.map_err(|error| *error)));
            }
            answers
        })
    }
}

impl Handler<LookUp> for ReplayGuard {
    type Result = ResponseFuture<Result<Claim, ReplayError>>;

    fn handle(&mut self, LookUp(message): LookUp, _: &mut Self::Context) -> Self::Result {
        let claims = Arc::clone(&self.claims);
        let now_ms = self.clock.now_ms();
        // A claim that is over when it is made counts as never made.
        Box::pin(async move { decide(&*claims, &message, now_ms, now_ms).await })
    }
}

impl Handler<Snapshot> for ReplayGuard {
    type Result = MessageResult<Snapshot>;

    fn handle(&mut self, _: Snapshot, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.counts.get())
    }
}

async fn decide(
    claims: &dyn ClaimStore,
    message: &ClaimId,
    now_ms: u64,
    until_ms: u64,
) -> Result<Claim, ReplayError> {
    if is_over(message, now_ms) {
        return Ok(Claim::Repeated);
    }
    let key = key(message);
    let claimed = claims.claim(request(message, &key, now_ms, until_ms));
    claimed.await.map_err(|error| undecided(message, &error))
}

async fn enter(
    turnstile: &Turnstile,
    claims: &dyn ClaimStore,
    calls: &[ClaimCall],
    now_ms: u64,
) -> Vec<Result<Entered, ReplayError>> {
    let keys: Vec<String> = calls.iter().map(|call| key(&call.claim)).collect();
    let buckets: Vec<Vec<Bucket<'_>>> = calls.iter().map(|call| buckets(&call.limits)).collect();
    let entries: Vec<Entry<'_>> = calls
        .iter()
        .zip(&keys)
        .zip(&buckets)
        .filter(|((call, _), _)| !is_over(&call.claim, now_ms))
        .map(|((ClaimCall { claim, .. }, key), buckets)| Entry {
            claim: request(claim, key, now_ms, claim.expires_at_ms),
            call: Call::of(buckets),
        })
        .collect();
    let mut told = turnstile.enter(claims, &entries).await.into_iter();
    let answer = |ClaimCall { claim, .. }: &ClaimCall| {
        if is_over(claim, now_ms) {
            return Ok((Claim::Repeated, None));
        }
        let told = told.next().unwrap_or(Err(StoreError::Unavailable));
        told.map_err(|error| undecided(claim, &error))
    };
    calls.iter().map(answer).collect()
}

/// Whether the store may have forgotten by now that the id was taken.
fn is_over(message: &ClaimId, now_ms: u64) -> bool {
    message.expires_at_ms <= now_ms
}

fn request<'a>(message: &ClaimId, key: &'a str, now_ms: u64, until_ms: u64) -> ClaimRequest<'a> {
    ClaimRequest {
        key,
        given_at_ms: message.given_at_ms,
        expires_at_ms: until_ms,
        now_ms,
    }
}

fn undecided(message: &ClaimId, error: &StoreError) -> ReplayError {
    tracing::error!(%error, claim.scope = message.scope.as_str(), "id could not be claimed");
    ReplayError::Undecided
}

/// The name of a claim in the store. Two different pairs of issuer and id never have one name, because it says how long the
/// first is; and it is short whatever an issuer sends, because long ones are hashed.
fn key(message: &ClaimId) -> String {
    let ClaimId { issuer, id, .. } = message;
    let (scope, length) = (message.scope.as_str(), issuer.len());
    if length + id.len() <= PLAIN {
        return format!("{scope}:{length}:{issuer}{id}");
    }
    let mut hash = Sha256::new();
    hash.update((length as u64).to_be_bytes());
    hash.update(issuer);
    hash.update(id);
    format!("{scope}:#{}", hex::encode(hash.finalize()))
}

fn counted(mut counts: ReplaySnapshot, answer: Result<Claim, ReplayError>) -> ReplaySnapshot {
    let counter = match answer {
        Ok(Claim::First) => &mut counts.first,
        Ok(Claim::Repeated) => &mut counts.repeated,
        Ok(Claim::BeforeEpoch) => &mut counts.before_epoch,
        Err(ReplayError::Undecided) => &mut counts.undecided,
    };
    *counter += 1;
    counts
}

impl ClaimScope {
    const fn as_str(self) -> &'static str {
        match self {
            Self::FederationToken => "token",
            Self::Envelope => "envelope",
            Self::Invitation => "invitation",
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::time::Duration;

    use actix::Addr;
    use archipel_kit::clock::ManualClock;
    use async_trait::async_trait;
    use futures_util::future::join_all;

    use super::*;
    use crate::limiter::MemoryLimiter;
    use crate::metrics::LimiterMetrics;
    use crate::store::memory::MemoryStore;

    #[derive(Debug)]
    struct Broken;

    #[async_trait]
    impl ClaimStore for Broken {
        async fn claim(&self, _: ClaimRequest<'_>) -> Result<Claim, StoreError> {
            Err(StoreError::Unavailable)
        }
    }

    fn start(claims: Arc<dyn ClaimStore>, clock: Arc<dyn Clock>) -> Addr<ReplayGuard> {
        let metrics = LimiterMetrics::new(&opentelemetry::global::meter("tests"));
        let limiter = Arc::new(MemoryLimiter::new(Arc::clone(&clock)));
        let turnstile = Arc::new(Turnstile::new(limiter, Arc::clone(&clock), metrics));
        ReplayGuard::new(claims, turnstile, clock).start()
    }

    fn token(issuer: &str, id: &str) -> ClaimId {
        ClaimId {
            scope: ClaimScope::FederationToken,
            issuer: issuer.to_owned(),
            id: id.to_owned(),
            given_at_ms: 900,
            expires_at_ms: 2000,
        }
    }

    #[actix::test]
    async fn an_id_is_taken_once() {
        let clock = Arc::new(ManualClock::new(1000));
        let claims = Arc::new(MemoryStore::new(1));
        let guard = start(claims.clone(), clock.clone());
        let other = start(claims, clock.clone());
        let answers = join_all((0..20).map(|number| {
            let guard = if number % 2 == 0 { &guard } else { &other };
            guard.send(token("beta", "1"))
        }))
        .await;
        let first = answers
            .into_iter()
            .filter(|answer| *answer.as_ref().unwrap() == Ok(Claim::First))
            .count();
        assert_eq!(first, 1);

        let elsewhere = ClaimId {
            scope: ClaimScope::Envelope,
            ..token("beta", "1")
        };
        assert_eq!(guard.send(elsewhere).await.unwrap(), Ok(Claim::First));
        clock.advance(Duration::from_secs(1));
        assert_eq!(
            guard.send(token("beta", "2")).await.unwrap(),
            Ok(Claim::Repeated)
        );
        let (one, two) = (
            guard.send(Snapshot).await.unwrap(),
            other.send(Snapshot).await.unwrap(),
        );
        assert_eq!(
            (one.first + two.first, one.repeated + two.repeated),
            (2, 20)
        );
    }

    #[actix::test]
    async fn whoever_looks_takes_nothing() {
        let clock = Arc::new(ManualClock::new(1000));
        let guard = start(Arc::new(MemoryStore::new(1)), clock);
        let look = || guard.send(LookUp(token("beta", "1")));
        for _ in 0..2 {
            assert_eq!(look().await.unwrap(), Ok(Claim::First));
        }
        let claimed = guard.send(token("beta", "1")).await.unwrap();
        assert_eq!(claimed, Ok(Claim::First));
        assert_eq!(look().await.unwrap(), Ok(Claim::Repeated));
    }

    #[actix::test]
    async fn a_call_is_counted_if_its_id_is_new() {
        let clock = Arc::new(ManualClock::new(1000));
        let guard = start(Arc::new(MemoryStore::new(1)), clock);
        let window = Duration::from_secs(1);
        let limit = Limit::Window { max: 2, window };
        let call = async |id| {
            let claim = token("beta", id);
            let limits = vec![("peer".to_owned(), limit)];
            let call = ClaimCall { claim, limits };
            let mut answers = guard.send(ClaimCalls(vec![call])).await.unwrap();
            let (claim, passed) = answers.remove(0).unwrap();
            (claim, passed.map(|passed| passed.is_ok()))
        };
        assert_eq!(call("1").await, (Claim::First, Some(true)));
        assert_eq!(call("1").await, (Claim::Repeated, None));
        assert_eq!(call("2").await, (Claim::First, Some(true)));
        // A call that is held has used its id.
        assert_eq!(call("3").await, (Claim::First, Some(false)));
        assert_eq!(call("3").await, (Claim::Repeated, None));
    }

    #[actix::test]
    async fn an_undecided_claim_is_never_a_yes() {
        let guard = start(Arc::new(Broken), Arc::new(ManualClock::new(1000)));
        assert_eq!(
            guard.send(token("beta", "1")).await.unwrap(),
            Err(ReplayError::Undecided)
        );
        assert_eq!(
            guard.send(Snapshot).await.unwrap(),
            ReplaySnapshot {
                undecided: 1,
                ..ReplaySnapshot::default()
            }
        );
    }

    #[test]
    fn keys_are_unambiguous_and_short() {
        let long = "x".repeat(100_000);
        let pairs = [
            ("a", "bc"),
            ("ab", "c"),
            ("", "abc"),
            ("abc", ""),
            ("1", "2:abc"),
            ("12", ":abc"),
            (&long, ""),
            ("", &long),
        ];
        let keys: std::collections::BTreeSet<String> =
            pairs.map(|(issuer, id)| key(&token(issuer, id))).into();
        assert_eq!(keys.len(), pairs.len());
        assert!(
            keys.iter()
                .all(|key| key.len() <= "token:100:".len() + PLAIN)
        );
    }
}
