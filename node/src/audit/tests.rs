//! The actor: order, batches, overflow, and a store that fails.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use actix::Addr;
use archipel_kit::clock::ManualClock;
use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::*;
use crate::store::AuditRow;
use crate::store::memory::MemoryStore;

/// A store that can be held up and broken.
#[derive(Debug)]
struct Fickle {
    rows: MemoryStore,
    broken: AtomicBool,
    /// Each append takes one permit for good.
    permits: Semaphore,
    appends: AtomicUsize,
}

impl Fickle {
    fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self {
            rows: MemoryStore::new(1),
            broken: AtomicBool::new(false),
            permits: Semaphore::new(permits),
            appends: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl AuditStore for Fickle {
    async fn append(&self, rows: Vec<AuditRow>) -> Result<(), StoreError> {
        self.permits.acquire().await.unwrap().forget();
        self.appends.fetch_add(1, Ordering::Relaxed);
        if self.broken.load(Ordering::Relaxed) {
            Err(StoreError::Full)
        } else {
            self.rows.append(rows).await
        }
    }

    async fn last(&self) -> Result<Option<AuditRow>, StoreError> {
        self.rows.last().await
    }

    async fn page(&self, after_seq: u64, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        self.rows.page(after_seq, limit).await
    }
}

fn start(store: &Arc<Fickle>) -> (Addr<Audit>, AuditDesk) {
    let (clock, tray) = (Arc::new(ManualClock::new(1000)), Tray::default());
    let audit = Audit::new(store.clone(), clock.clone(), tray.clone()).start();
    let desk = AuditDesk::new(tray, audit.clone().recipient(), clock);
    (audit, desk)
}

fn accepted() -> AuditRecord {
    AuditRecord::new(AuditAction::FederationAccepted, AuditOutcome::Accepted)
}

fn refused(request: usize) -> AuditRecord {
    AuditRecord {
        request_id: Some(request.to_string().as_str().into()),
        ..AuditRecord::new(AuditAction::AuthRefused, AuditOutcome::Refused)
    }
}

async fn bodies(store: &Fickle) -> Vec<String> {
    let rows = store.page(0, usize::MAX).await.unwrap();
    rows.iter()
        .map(|row| String::from_utf8(row.body.to_vec()).unwrap())
        .collect()
}

#[actix::test]
async fn records_are_chained_in_their_order() {
    let store = Fickle::new(100);
    let (audit, desk) = start(&store);
    for request in 0..5 {
        desk.leave(refused(request));
    }
    audit.send(Flush).await.unwrap();
    let bodies = bodies(&store).await;
    assert!(
        bodies
            .iter()
            .enumerate()
            .all(|(at, body)| body.contains(&format!("\"requestId\":\"{at}\"")))
    );
    assert_eq!(verify_chain(&*store).await.unwrap().records, 5);
    assert_eq!(
        audit.send(Snapshot).await.unwrap(),
        AuditSnapshot {
            stored: 5,
            ..AuditSnapshot::default()
        }
    );
}

#[actix::test]
async fn a_new_actor_continues_the_chain() {
    let store = Fickle::new(100);
    for request in 0..3 {
        let (audit, _) = start(&store);
        audit
            .send(RecordDurably(refused(request)))
            .await
            .unwrap()
            .unwrap();
    }
    assert_eq!(verify_chain(&*store).await.unwrap().records, 3);
}

#[actix::test]
async fn records_gather_while_one_append_is_under_way() {
    let store = Fickle::new(2);
    let (audit, _) = start(&store);
    let answers =
        join_all((0..200).map(|request| audit.send(RecordDurably(refused(request))))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().is_ok()));
    assert_eq!(store.appends.load(Ordering::Relaxed), 2);
    assert_eq!(verify_chain(&*store).await.unwrap().records, 200);
}

#[actix::test]
async fn records_gather_on_the_desk_for_a_moment() {
    tokio::time::pause();
    let store = Fickle::new(1);
    let (audit, desk) = start(&store);
    for request in 0..5 {
        desk.leave(refused(request));
    }
    // The audit has been told by now, and waits for more.
    assert_eq!(audit.send(Snapshot).await.unwrap().waiting, 5);
    for request in 5..10 {
        desk.leave(refused(request));
    }
    tokio::time::sleep(2 * GATHER).await;
    let snapshot = audit.send(Snapshot).await.unwrap();
    assert_eq!((snapshot.waiting, snapshot.stored), (0, 10));
    assert_eq!(store.appends.load(Ordering::Relaxed), 1);
}

#[actix::test]
async fn whoever_waits_for_a_record_waits_for_those_before_it() {
    let store = Fickle::new(1);
    let (audit, desk) = start(&store);
    desk.leave(refused(0));
    let durably = audit.send(RecordDurably(refused(1))).await.unwrap();
    assert_eq!(durably, Ok(()));
    let bodies = bodies(&store).await;
    assert!(matches!(bodies.as_slice(), [first, _] if first.contains("\"requestId\":\"0\"")));
}

#[actix::test]
async fn what_finds_no_place_is_counted_and_recorded() {
    tokio::time::pause();
    let store = Fickle::new(0);
    let (audit, desk) = start(&store);
    // What is on its way to the store has made room for as much.
    for _ in 0..BATCH {
        desk.leave(accepted());
    }
    tokio::time::sleep(2 * GATHER).await;
    // The desk has as much room as the queue; what it has no place for, and what the queue has none for, is counted.
    for _ in 0..QUEUE + 3 {
        desk.leave(accepted());
    }
    assert_eq!(
        audit.send(RecordDurably(refused(0))).await.unwrap(),
        Err(AuditError::Full)
    );
    store.permits.add_permits(100);
    audit.send(Flush).await.unwrap();

    let dropped: Vec<_> = bodies(&store)
        .await
        .into_iter()
        .filter(|body| body.contains("audit.dropped"))
        .collect();
    assert_eq!(dropped.len(), 1);
    assert!(dropped.iter().all(|body| body.contains("\"count\":4")));
    assert_eq!(
        verify_chain(&*store).await.unwrap().records,
        (BATCH + QUEUE) as u64 + 1
    );
    assert_eq!(audit.send(Snapshot).await.unwrap().dropped, 4);
}

#[actix::test]
async fn a_flood_of_refusals_is_counted_not_kept() {
    let store = Fickle::new(1_000_000);
    let (audit, desk) = start(&store);
    for request in 0..5000 {
        desk.leave(refused(request));
    }
    desk.leave(accepted());
    audit.send(Flush).await.unwrap();

    let bodies = bodies(&store).await;
    let of = |what: &str| bodies.iter().filter(|body| body.contains(what)).count();
    assert_eq!(of("auth.refused") as u64, REFUSALS.limit());
    assert_eq!(
        of("federation.accepted"),
        1,
        "what matters is not lost in it"
    );
    assert!(of("audit.dropped") >= 1);
    let dropped = audit.send(Snapshot).await.unwrap().dropped;
    assert_eq!(dropped, 5000 - REFUSALS.limit());
    assert!(verify_chain(&*store).await.is_ok());
}

#[actix::test]
async fn a_failing_store_loses_nothing_that_was_queued() {
    tokio::time::pause();
    let store = Fickle::new(100);
    let (audit, desk) = start(&store);
    store.broken.store(true, Ordering::Relaxed);
    assert_eq!(
        audit.send(RecordDurably(refused(0))).await.unwrap(),
        Err(AuditError::NotStored)
    );
    desk.leave(refused(1));
    assert_eq!(store.appends.load(Ordering::Relaxed), 1);
    assert_eq!(audit.send(Snapshot).await.unwrap().waiting, 2);

    store.broken.store(false, Ordering::Relaxed);
    audit.send(Flush).await.unwrap();
    assert_eq!(verify_chain(&*store).await.unwrap().records, 2);
    let snapshot = audit.send(Snapshot).await.unwrap();
    assert_eq!((snapshot.stored, snapshot.failed_appends), (2, 1));
}
