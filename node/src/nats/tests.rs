//! What the settings mean, and connections to real servers.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::Weak;

use archipel_kit::settings::{Environment, Secret, load};
use parking_lot::Mutex;

use super::*;
use crate::config::NodeSettings;
pub(crate) use crate::store::redis::tests::services::{NatsServer, free_port};

/// A server that the tests share which run at the same time; the last of them ends it.
pub(crate) fn shared_server() -> Arc<NatsServer> {
    static SHARED: Mutex<Weak<NatsServer>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock();
    shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(NatsServer::start().unwrap());
        *shared = Arc::downgrade(&server);
        server
    })
}

pub(crate) fn settings_for(url: &str) -> NatsSettings {
    let defaults = load::<NodeSettings>(None, &Environment::default()).unwrap();
    NatsSettings {
        url: Some(Secret::new(url)),
        patience: Duration::from_millis(500),
        ..defaults.nats
    }
}

/// A connection that stands.
pub(crate) async fn connect_to(url: &str) -> Nats {
    let nats = Nats::connect(&settings_for(url), "test").await;
    let nats = nats.unwrap().unwrap();
    nats.client().flush().await.unwrap();
    assert!(nats.is_connected());
    nats
}

/// Whether these settings lead to a connection.
async fn gets_in(settings: NatsSettings) -> bool {
    let nats = Nats::connect(&settings, "test").await.unwrap().unwrap();
    let stands = tokio::time::timeout(Duration::from_secs(1), nats.client().flush());
    stands.await.is_ok_and(|flushed| flushed.is_ok()) && nats.is_connected()
}

fn problems_of(settings: &NatsSettings) -> Vec<String> {
    let mut problems = Problems::default();
    WayIn::read(settings, &mut problems);
    problems.iter().map(|problem| problem.at.clone()).collect()
}

#[test]
fn what_is_wrong_with_the_settings_is_told() {
    let with = |change: fn(&mut NatsSettings)| {
        let mut settings = settings_for("nats://127.0.0.1:4222");
        change(&mut settings);
        problems_of(&settings)
    };
    let none: [&str; 0] = [];
    assert_eq!(with(|_| ()), none);
    for url in [
        "nats://a:1, tls://b",
        "localhost",
        "nats://user:pass@host",
        "nats://[::1]:4222",
    ] {
        assert_eq!(problems_of(&settings_for(url)), none, "{url}");
    }
    for url in ["", "http://host", "ws://host", "nats://a,,b", "nats://"] {
        assert_eq!(problems_of(&settings_for(url)), ["nats.url"], "{url}");
    }
    assert_eq!(with(|it| it.user = Some("me".to_owned())), ["nats.user"]);
    let password = |it: &mut NatsSettings| it.password = Some(Secret::new("secret"));
    assert_eq!(with(password), ["nats.user"]);
    assert_eq!(
        with(|it| {
            it.token = Some(Secret::new("token"));
            it.nkey_seed = Some(Secret::new("seed"));
        }),
        ["nats"]
    );
    let bad_seed = |it: &mut NatsSettings| it.nkey_seed = Some(Secret::new("SAxx"));
    assert_eq!(with(bad_seed), ["nats.nkey_seed"]);
    let bad_file = |it: &mut NatsSettings| it.credentials = Some(Secret::new("nothing"));
    assert_eq!(with(bad_file), ["nats.credentials"]);
    let half = |it: &mut NatsSettings| it.certificate_file = Some("cert.pem".into());
    assert_eq!(with(half), ["nats.certificate_file"]);
    assert_eq!(with(|it| it.ca_file = Some("not/there".into())), ["nats"]);
}

#[test]
fn subjects_are_plain() {
    for (subject, expected) in [
        ("archipel.bus", true),
        ("a", true),
        ("a-b.c_1", true),
        ("", false),
        ("a.", false),
        ("a..b", false),
        ("a.*", false),
        ("a.>", false),
        ("a b", false),
    ] {
        assert_eq!(is_plain_subject(subject), expected, "{subject}");
    }
}

#[test]
fn pauses_grow_to_a_bound() {
    let pauses = [1, 2, 3, 7, 8, usize::MAX].map(|attempt| pause(attempt).as_millis());
    assert_eq!(pauses, [0, 50, 100, 1600, 2000, 2000]);
}

#[tokio::test]
async fn one_gets_in_by_name_token_or_not_at_all() {
    let named = NatsServer::start_with(
        None,
        "authorization { users = [ { user: me, password: \"p@ss\" } ] }",
    );
    let named = named.unwrap();
    let in_url = |who: &str| settings_for(&format!("nats://{who}127.0.0.1:{}", named.port()));
    assert!(gets_in(in_url("me:p%40ss@")).await);
    let by_settings = NatsSettings {
        user: Some("me".to_owned()),
        password: Some(Secret::new("p@ss")),
        ..in_url("")
    };
    assert!(gets_in(by_settings).await);
    assert!(!gets_in(in_url("me:wrong@")).await);

    let token = NatsServer::start_with(None, "authorization { token: t0ken }").unwrap();
    assert!(
        gets_in(settings_for(&format!(
            "nats://t0ken@127.0.0.1:{}",
            token.port()
        )))
        .await
    );
    let by_settings = NatsSettings {
        token: Some(Secret::new("t0ken")),
        ..settings_for(&token.url())
    };
    assert!(gets_in(by_settings).await);
}

#[tokio::test]
async fn nats_may_come_later_than_we() {
    let port = free_port().unwrap();
    let settings = settings_for(&format!("nats://127.0.0.1:{port}"));
    let nats = Nats::connect(&settings, "test").await.unwrap().unwrap();
    assert!(!nats.is_connected());
    let _server = NatsServer::start_at(port).unwrap();
    nats.client().flush().await.unwrap();
    assert!(nats.is_connected());
}
