//! What a keeper takes of what was kept, and when it fetches.

use archipel_kit::clock::ManualClock;
use archipel_kit::settings::{Environment, from_json, load};
use archipel_protocol::federation::keys;
use archipel_protocol::federation::manifest::ManifestPeer;
use archipel_protocol::ids::Origin;
use archipel_protocol::names::Dialect;

use super::*;
use crate::config::CardCheck;
use crate::federation::settings::FederationSettings;
use crate::store::peers::MemoryPeers;

const SEED: [u8; 32] = [7; 32];
const NOW_MS: u64 = 1_767_225_600_000;

fn keeper() -> Keeper {
    let settings: FederationSettings = from_json("{}").unwrap();
    let own = Origin::parse("https://own.example").unwrap();
    let federation =
        Federation::from_settings(&own, Dialect::Hive, &settings, &[], CardCheck::Off).unwrap();
    let place = ManifestPlace {
        url: Uri::from_static("https://mesh.example/peers.json"),
        public_key_hex: keys::to_hex(&keys::public_key_of_seed(&SEED).unwrap()),
        refresh: Duration::from_secs(300),
        timeout: Duration::from_secs(15),
    };
    let ports = KeeperPorts {
        federation: Arc::new(federation),
        egress: Arc::new(Egress::new(&load(None, &Environment::default()).unwrap())),
        store: Arc::new(MemoryPeers::default()),
        clock: Arc::new(ManualClock::new(NOW_MS)),
    };
    Keeper::new(place, ports)
}

fn signed(issued_at: &str, origin: &str, seed: &[u8; 32]) -> String {
    let manifest = Manifest {
        issued_at: Some(issued_at.to_owned()),
        peers: vec![ManifestPeer {
            origin: origin.to_owned(),
            public_key_hex: None,
        }],
    };
    manifest.sign(seed).unwrap()
}

fn kept(document: &str) -> PeerRows {
    PeerRows {
        revision: 1,
        rows: vec![PeerRow {
            id: DOCUMENT.into(),
            body: document.to_owned().into(),
        }],
    }
}

#[test]
fn what_is_kept_is_verified_and_never_goes_back() {
    let mut keeper = keeper();
    let mut check = |document: &str, expected: &[&str]| {
        keeper.take_rows(&kept(document));
        let roster = keeper.ports.federation.roster();
        let origins: Vec<&str> = roster
            .peers()
            .iter()
            .map(|peer| peer.origin.as_str())
            .collect();
        assert_eq!(origins, expected);
    };
    let (first, second) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let (a, b) = ("https://a.example", "https://b.example");
    check(&signed(second, b, &[8; 32]), &[]);
    check(&signed(first, a, &SEED), &[a]);
    check(&signed(second, b, &SEED), &[b]);
    check(&signed(first, a, &SEED), &[b]);
    check(
        &signed(second, a, &SEED).replace("a.example", "c.example"),
        &[b],
    );
    check("no json", &[b]);
}

#[test]
fn one_replica_fetches_when_it_is_time() {
    let mut keeper = keeper();
    let mine = keeper.place.mark();
    let mut check = |state: State, asked_ms: u64, expected: Next| {
        keeper.state = state;
        keeper.asked_ms = asked_ms;
        assert_eq!(keeper.next(NOW_MS), expected, "{:?}", keeper.state);
    };
    let tried = |place: &str, ago_ms: u64, busy_until_ms: u64| State {
        place: place.to_owned(),
        tried_ms: NOW_MS - ago_ms,
        busy_until_ms,
        ..State::default()
    };
    check(State::default(), 0, Next::Fetch);
    let left = Duration::from_millis(299_000);
    check(tried(&mine, 1000, 0), 0, Next::Wait(left));
    check(tried(&mine, 300_000, 0), 0, Next::Fetch);
    check(tried(&mine, 300_000, NOW_MS + 1), 0, Next::LookAgain);
    check(tried(&mine, 300_000, NOW_MS), 0, Next::Fetch);
    check(tried("elsewhere", 1000, 0), 0, Next::Fetch);
    // SIGHUP wants a fetch that began after it.
    check(tried(&mine, 1000, 0), NOW_MS - 500, Next::Fetch);
    check(tried(&mine, 1000, 0), NOW_MS - 1500, Next::Wait(left));
}

#[actix_rt::test]
async fn of_two_replicas_one_says_that_it_fetches() {
    let (first, mut second) = (keeper(), keeper());
    second.ports.store = Arc::clone(&first.ports.store);
    assert_eq!(first.claim(0, NOW_MS).await, Ok(Changed::To(1)));
    assert_eq!(second.claim(0, NOW_MS).await, Ok(Changed::Stale));
    assert_eq!(second.turn().await, Next::LookAgain);
}
