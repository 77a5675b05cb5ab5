//! The verifier with claim stores that answer, refuse to answer, and do not answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Recipient, ResponseFuture};
use archipel_kit::clock::{Clock, ManualClock};
use archipel_kit::settings::{Environment, from_json, load};
use archipel_protocol::federation::{Minter, VerifyError, keys};
use archipel_protocol::ids::Origin;
use archipel_protocol::names::Dialect;
use parking_lot::Mutex;
use tracing::Span;
use uuid::Uuid;

use super::settings::{FederationSettings, PeerSettings};
use super::{
    Federation, FederationRefusal, FederationVerifier, PeerIdentity, RefusalKind, Snapshot,
    VerifierSnapshot, VerifyPeer,
};
use crate::config::CardCheck;
use crate::limiter::Entered;
use crate::replay::{ClaimCalls, ClaimId, ReplayError};
use crate::store::Claim;

const OWN: &str = "https://own.example";
const BETA: &str = "https://beta.example";
const NOW_MS: u64 = 1_767_225_600_000;
const NOW: i64 = 1_767_225_600;

/// What becomes of a claim.
enum Claims {
    Kept(BTreeSet<(String, String)>),
    Undecided,
    Silent,
}

impl Actor for Claims {
    type Context = Context<Self>;
}

impl Handler<ClaimCalls> for Claims {
    type Result = ResponseFuture<Vec<Result<Entered, ReplayError>>>;

    fn handle(&mut self, ClaimCalls(calls): ClaimCalls, _: &mut Self::Context) -> Self::Result {
        let mut answer = |claim: ClaimId| match self {
            Self::Kept(ids) => Ok(match ids.insert((claim.issuer, claim.id)) {
                true => (Claim::First, None),
                false => (Claim::Repeated, None),
            }),
            Self::Undecided | Self::Silent => Err(ReplayError::Undecided),
        };
        let answers = calls.into_iter().map(|call| answer(call.claim)).collect();
        if let Self::Silent = self {
            return Box::pin(std::future::pending());
        }
        Box::pin(std::future::ready(answers))
    }
}

struct Mesh {
    verifier: Addr<FederationVerifier>,
    clock: Arc<ManualClock>,
}

impl Mesh {
    fn with(claims: Recipient<ClaimCalls>) -> Self {
        let seed = "11".repeat(32);
        let variables = [
            ("MESH_FEDERATION_ENABLED", "true"),
            ("MESH_FEDERATION_ED25519_SEED_HEX", seed.as_str()),
        ];
        let settings: FederationSettings = load(None, &Environment::from_iter(variables)).unwrap();
        let key = keys::to_hex(&keys::public_key_of_seed(&[2; 32]).unwrap());
        let beta = format!(r#"{{"name":"beta","origin":"{BETA}","ed25519_public_key":"{key}"}}"#);
        let beta: PeerSettings = from_json(&beta).unwrap();
        let own = Origin::parse(OWN).unwrap();
        let federation =
            Federation::from_settings(&own, Dialect::Hive, &settings, &[beta], CardCheck::Off)
                .unwrap();
        let clock = Arc::new(ManualClock::new(NOW_MS));
        let shared: Arc<dyn Clock> = clock.clone();
        Self {
            verifier: FederationVerifier::new(Arc::new(federation), claims, shared).start(),
            clock,
        }
    }

    async fn verify(&self, token: String) -> Result<PeerIdentity, FederationRefusal> {
        let call = VerifyPeer {
            token,
            request_id: Some("r-1".to_owned()),
            toll: None,
            span: Span::none(),
        };
        let verified = self.verifier.send(call).await.unwrap();
        verified.map(|verified| verified.identity)
    }

    async fn snapshot(&self) -> VerifierSnapshot {
        self.verifier.send(Snapshot).await.unwrap()
    }
}

fn token(issuer: &str, audience: &str, id: u128) -> String {
    let minter = Minter::ed25519(&[2; 32], &Origin::parse(issuer).unwrap()).unwrap();
    minter
        .mint(Some(audience), 60, Uuid::from_u128(id), NOW)
        .unwrap()
}

#[actix_rt::test]
async fn a_token_is_taken_once() {
    let mesh = Mesh::with(Claims::Kept(BTreeSet::new()).start().recipient());
    let identity = mesh.verify(token(BETA, OWN, 1)).await.unwrap();
    assert_eq!(
        (&*identity.name, &*identity.principal),
        ("beta", "peer:beta")
    );
    assert_eq!(
        mesh.verify(token(BETA, OWN, 1)).await,
        Err(FederationRefusal::Replayed)
    );
    assert!(mesh.verify(token(BETA, OWN, 2)).await.is_ok());
    let counts = VerifierSnapshot {
        accepted: 2,
        refused: 0,
        replayed: 1,
        undecided: 0,
    };
    assert_eq!(mesh.snapshot().await, counts);
}

/// Notes how many ids it was asked about at once, and takes a while to answer.
struct Slow {
    asked: Arc<Mutex<Vec<usize>>>,
    answers: bool,
}

impl Actor for Slow {
    type Context = Context<Self>;
}

impl Handler<ClaimCalls> for Slow {
    type Result = ResponseFuture<Vec<Result<Entered, ReplayError>>>;

    fn handle(&mut self, ClaimCalls(calls): ClaimCalls, _: &mut Self::Context) -> Self::Result {
        self.asked.lock().push(calls.len());
        let answer = match self.answers {
            true => Ok((Claim::First, None)),
            false => Err(ReplayError::Undecided),
        };
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            vec![answer; calls.len()]
        })
    }
}

/// Ten come, then, while those are asked about, two hundred. How many were let in, and how many were asked about at once.
async fn crowd(answers: bool) -> (usize, Vec<usize>) {
    // Nothing is answered before all who are on their way have come.
    tokio::time::pause();
    let asked = Arc::default();
    let slow = Slow {
        asked: Arc::clone(&asked),
        answers,
    };
    let mesh = Mesh::with(slow.start().recipient());
    let come = async |ids: std::ops::Range<u128>| {
        let calls = ids.map(|id| mesh.verify(token(BETA, OWN, id)));
        let answers = futures_util::future::join_all(calls).await;
        answers.into_iter().filter(Result::is_ok).count()
    };
    let later = async {
        while asked.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        come(10..210).await
    };
    let (first, second) = tokio::join!(come(0..10), later);
    let asked = asked.lock().clone();
    (first + second, asked)
}

#[actix_rt::test]
async fn who_comes_together_is_asked_about_together() {
    assert_eq!(crowd(true).await, (210, vec![10, 128, 72]));
}

#[actix_rt::test]
async fn who_waits_behind_the_undecided_does_not_wait_again() {
    assert_eq!(crowd(false).await, (0, vec![10]));
}

#[actix_rt::test]
async fn of_many_at_once_one_is_taken() {
    let mesh = Mesh::with(Claims::Kept(BTreeSet::new()).start().recipient());
    let calls = (0..20).map(|_| mesh.verify(token(BETA, OWN, 1)));
    let taken = futures_util::future::join_all(calls)
        .await
        .into_iter()
        .filter(Result::is_ok)
        .count();
    assert_eq!(taken, 1);
}

#[actix_rt::test]
async fn a_bad_token_burns_no_id() {
    let mesh = Mesh::with(Claims::Kept(BTreeSet::new()).start().recipient());
    let wrong_audience = Err(FederationRefusal::Invalid(VerifyError::WrongAudience));
    assert_eq!(
        mesh.verify(token(BETA, "https://other.example", 1)).await,
        wrong_audience
    );
    let unknown_issuer = Err(FederationRefusal::Invalid(VerifyError::BadClaims));
    assert_eq!(
        mesh.verify(token("https://stranger.example", OWN, 1)).await,
        unknown_issuer
    );
    assert!(mesh.verify(token(BETA, OWN, 1)).await.is_ok());
    let counts = VerifierSnapshot {
        accepted: 1,
        refused: 2,
        replayed: 0,
        undecided: 0,
    };
    assert_eq!(mesh.snapshot().await, counts);
}

#[actix_rt::test]
async fn time_passes_for_tokens() {
    let mesh = Mesh::with(Claims::Kept(BTreeSet::new()).start().recipient());
    mesh.clock.advance(Duration::from_secs(60 + 61));
    let expired = Err(FederationRefusal::NotValidNow(VerifyError::Expired));
    assert_eq!(mesh.verify(token(BETA, OWN, 1)).await, expired);
}

#[actix_rt::test]
async fn what_cannot_be_decided_is_refused() {
    let mesh = Mesh::with(Claims::Undecided.start().recipient());
    assert_eq!(
        mesh.verify(token(BETA, OWN, 1)).await,
        Err(FederationRefusal::Undecided)
    );
    assert_eq!(mesh.snapshot().await.undecided, 1);
}

#[actix_rt::test]
async fn a_silent_claim_store_is_not_waited_for() {
    tokio::time::pause();
    let mesh = Mesh::with(Claims::Silent.start().recipient());
    assert_eq!(
        mesh.verify(token(BETA, OWN, 1)).await,
        Err(FederationRefusal::Undecided)
    );
}

#[test]
fn what_a_refusal_means_to_the_caller_and_to_the_record() {
    let check = |refusal: FederationRefusal, kind: RefusalKind, reason: &str| {
        assert_eq!((refusal.kind(), refusal.reason()), (kind, reason));
    };
    check(FederationRefusal::Disabled, RefusalKind::Failed, "disabled");
    check(
        FederationRefusal::NotConfigured,
        RefusalKind::Failed,
        "not_configured",
    );
    check(
        FederationRefusal::NotValidNow(VerifyError::Expired),
        RefusalKind::NotValidNow,
        "expired",
    );
    check(
        FederationRefusal::NotValidNow(VerifyError::NotYetValid),
        RefusalKind::NotValidNow,
        "not_yet_valid",
    );
    check(
        FederationRefusal::Invalid(VerifyError::BadSignature),
        RefusalKind::Invalid,
        "bad_sig",
    );
    check(
        FederationRefusal::BeforeEpoch,
        RefusalKind::MintAgain,
        "before_epoch",
    );
    check(FederationRefusal::Loop, RefusalKind::Loop, "loop");
    check(
        FederationRefusal::Replayed,
        RefusalKind::AlreadyUsed,
        "replayed",
    );
    check(
        FederationRefusal::Undecided,
        RefusalKind::TryLater,
        "undecided",
    );
}
