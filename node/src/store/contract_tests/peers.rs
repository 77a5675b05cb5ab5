//! What every store of rows about peers must do.

use super::{embedded_in, fresh_store};
use crate::store::peers::{Changed, MemoryPeers, PeerChange, PeerRow, PeerStore};

fn row(id: &str, body: &'static str) -> PeerRow {
    PeerRow {
        id: id.into(),
        body: body.into(),
    }
}

async fn change(store: &dyn PeerStore, revision: u64, changes: &[PeerChange]) -> Changed {
    let changes = changes.to_vec();
    store.change_peers(revision, changes).await.unwrap()
}

/// For an empty store.
async fn changes_are_made_over_what_is_there(store: &dyn PeerStore) {
    let empty = store.peers().await.unwrap();
    assert_eq!((empty.revision, empty.rows), (0, Vec::new()));
    assert_eq!(store.peers_revision().await.unwrap(), 0);

    let both = [
        PeerChange::Keep(row("peer:b", "1")),
        PeerChange::Keep(row("peer:a", "2")),
    ];
    let Changed::To(first) = change(store, 0, &both).await else {
        panic!("nobody else wrote");
    };
    assert!(first > 0);
    // Whoever looked before that has to look again, and has changed nothing.
    let late = [PeerChange::Forget("peer:a".into())];
    assert_eq!(change(store, 0, &late).await, Changed::Stale);
    let found = store.peers().await.unwrap();
    assert_eq!(found.revision, first);
    assert_eq!(found.rows, [row("peer:a", "2"), row("peer:b", "1")]);

    let mixed = [
        PeerChange::Forget("peer:a".into()),
        PeerChange::Forget("peer:none".into()),
        PeerChange::Keep(row("peer:b", "3")),
    ];
    let Changed::To(second) = change(store, first, &mixed).await else {
        panic!("nobody else wrote");
    };
    assert!(second > first);
    assert_eq!(store.peers_revision().await.unwrap(), second);
    assert_eq!(store.peers().await.unwrap().rows, [row("peer:b", "3")]);
}

async fn of_changes_at_once_one_is_made(store: &dyn PeerStore) {
    let changes = (0..20).map(|number| {
        let keep = PeerChange::Keep(row(&format!("peer:{number}"), "1"));
        store.change_peers(0, vec![keep])
    });
    let made = futures_util::future::join_all(changes).await;
    let first = made
        .into_iter()
        .filter(|changed| matches!(changed, Ok(Changed::To(_))))
        .count();
    assert_eq!((first, store.peers().await.unwrap().rows.len()), (1, 1));
}

#[tokio::test]
async fn in_memory() {
    changes_are_made_over_what_is_there(&MemoryPeers::default()).await;
    of_changes_at_once_one_is_made(&MemoryPeers::default()).await;
}

#[tokio::test]
async fn redis() {
    let store = fresh_store();
    let mut news = store.peer_news().unwrap();
    changes_are_made_over_what_is_there(&*store).await;
    news.changed().await.unwrap();
    of_changes_at_once_one_is_made(&*fresh_store()).await;
}

#[tokio::test]
async fn embedded() {
    let directory = tempfile::tempdir().unwrap();
    let store = embedded_in(directory.path());
    changes_are_made_over_what_is_there(&store).await;
    store.close().await;
    let opened_again = embedded_in(directory.path());
    let found = opened_again.peers().await.unwrap();
    assert_eq!((found.revision, found.rows.len()), (2, 1));
    let directory = tempfile::tempdir().unwrap();
    of_changes_at_once_one_is_made(&embedded_in(directory.path())).await;
}
