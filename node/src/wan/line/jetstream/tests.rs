//! The line over real NATS servers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use archipel_kit::settings::{Environment, load};
use async_nats::jetstream::stream;

use super::super::contract_tests::{PATIENT, letter, publish, settle, take};
use super::*;
use crate::config::NodeSettings;
use crate::nats::tests::{NatsServer, connect_to, free_port, shared_server};

/// A line that nobody else is on, and its server.
pub(in crate::wan::line) struct FreshLine {
    pub(in crate::wan::line) line: JetStreamLine,
    _server: Arc<NatsServer>,
}

pub(in crate::wan::line) async fn fresh_line(rules: LineRules) -> FreshLine {
    let server = shared_server();
    let line = line_at(&server.url(), &fresh_settings(rules), "http://one.example").await;
    FreshLine {
        line,
        _server: server,
    }
}

/// Of a subject and a stream that no other test uses.
fn fresh_settings(rules: LineRules) -> LineSettings {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let defaults = load::<NodeSettings>(None, &Environment::default()).unwrap();
    LineSettings {
        subject: format!("test.wan.{number}"),
        stream: format!("TEST_{number}"),
        settle_within: rules.settle_within,
        attempts: rules.attempts,
        ..defaults.nats.line
    }
}

/// Sites of one name on one server share dead letters, so every stream has a site of its own here.
async fn line_at(url: &str, settings: &LineSettings, site: &str) -> JetStreamLine {
    let origin = format!("{site}/{}", settings.stream);
    JetStreamLine::new(connect_to(url).await, settings, &origin)
}

fn numbers(deliveries: &[Delivery]) -> Vec<usize> {
    let number = |delivery: &Delivery| {
        let id = delivery.message_id.as_deref().unwrap();
        id.strip_prefix("id-").unwrap().parse().unwrap()
    };
    let mut numbers: Vec<usize> = deliveries.iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// The client sends nothing before it is connected again, and everything that is asked of the streams waits for them.
async fn until_back(line: &JetStreamLine) {
    line.nats.client().flush().await.unwrap();
    while line.places().await.is_err() {}
}

/// Pulls until all of these have come. A broker that was killed may have forgotten what was settled last, and servers that
/// were parted need some seconds to find each other.
async fn until_come(line: &JetStreamLine, expected: std::ops::Range<usize>) {
    let mut missing: BTreeSet<usize> = expected.collect();
    for _ in 0..10 {
        for number in numbers(&line.pull(100).await.unwrap()) {
            missing.remove(&number);
        }
        if missing.is_empty() {
            return;
        }
    }
    assert_eq!(missing, BTreeSet::new());
}

#[tokio::test]
async fn replicas_share_what_comes_and_sites_do_not() {
    let (server, settings) = (shared_server(), fresh_settings(PATIENT));
    let first = line_at(&server.url(), &settings, "http://one.example").await;
    let second = line_at(&server.url(), &settings, "http://one.example").await;
    let other = line_at(&server.url(), &settings, "http://two.example").await;
    publish(&first, 0..40).await;
    let mut taken = take(&first, 15).await;
    taken.extend(take(&second, 25).await);
    assert_eq!(numbers(&taken), (0..40).collect::<Vec<_>>());
    assert_eq!(
        numbers(&take(&other, 40).await),
        (0..40).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn letters_of_other_programs_are_read() {
    let (server, settings) = (shared_server(), fresh_settings(PATIENT));
    let line = line_at(&server.url(), &settings, "http://one.example").await;
    publish(&line, 0..1).await;
    settle(&line, &take(&line, 1).await[0], Verdict::Done).await;
    let published = line.context.publish(settings.subject.clone(), "{}".into());
    published.await.unwrap().await.unwrap();
    let taken = take(&line, 1).await;
    assert_eq!((&*taken[0].body, &taken[0].message_id), (&b"{}"[..], &None));
    settle(&line, &taken[0], Verdict::Never("bad".to_owned())).await;
    assert_eq!(line.dead(0, 2).await.unwrap()[0].message_id, None);
}

#[tokio::test]
async fn a_stream_of_an_operator_is_used_as_it_is() {
    let (server, settings) = (shared_server(), fresh_settings(PATIENT));
    let line = line_at(&server.url(), &settings, "http://one.example").await;
    let theirs = stream::Config {
        name: settings.stream.clone(),
        subjects: vec![format!("{}.>", settings.subject), settings.subject.clone()],
        max_messages: 1000,
        discard: stream::DiscardPolicy::Old,
        duplicate_window: Duration::from_secs(1),
        ..stream::Config::default()
    };
    let made = line.context.create_stream(theirs).await.unwrap();
    publish(&line, 0..1).await;
    settle(&line, &take(&line, 1).await[0], Verdict::Done).await;
    let now = line.context.get_stream(&settings.stream).await.unwrap();
    assert_eq!(now.cached_info().config, made.cached_info().config);
}

#[tokio::test]
async fn a_stream_that_does_not_fit_is_told() {
    let (server, settings) = (shared_server(), fresh_settings(PATIENT));
    let line = line_at(&server.url(), &settings, "http://one.example").await;
    let theirs = stream::Config {
        name: settings.stream.clone(),
        subjects: vec![format!("other.{}", settings.subject)],
        ..stream::Config::default()
    };
    line.context.create_stream(theirs).await.unwrap();
    let what = format!(
        "stream {}: it does not take the subject {}",
        settings.stream, settings.subject
    );
    assert_eq!(line.pull(1).await, Err(LineError::Unavailable(what)));
}

#[tokio::test]
async fn what_the_broker_lost_is_made_again() {
    let (server, settings) = (shared_server(), fresh_settings(PATIENT));
    let line = line_at(&server.url(), &settings, "http://one.example").await;
    publish(&line, 0..1).await;
    line.context.delete_stream(&settings.stream).await.unwrap();
    let told = line.publish(vec![letter(1)]).await;
    assert!(
        matches!(told[..], [Err(LineError::Unavailable(_))]),
        "{told:?}"
    );
    publish(&line, 1..2).await;
    assert_eq!(numbers(&take(&line, 1).await), [1]);
}

#[tokio::test]
async fn what_no_header_can_have_is_refused() {
    let fresh = fresh_line(PATIENT).await;
    let line = &fresh.line;
    let bad = Letter {
        headers: vec![("name".to_owned(), "two\r\nlines".to_owned())],
        ..letter(0)
    };
    let told = line.publish(vec![bad, letter(1)]).await;
    assert!(
        matches!(told[..], [Err(LineError::Refused(_)), Ok(())]),
        "{told:?}"
    );
}

#[tokio::test]
async fn nothing_is_lost_when_the_broker_is_killed() {
    let (mut server, settings) = (NatsServer::start().unwrap(), fresh_settings(PATIENT));
    let line = line_at(&server.url(), &settings, "http://one.example").await;
    publish(&line, 0..30).await;
    let taken = take(&line, 20).await;
    settle(&line, &taken[0], Verdict::Never("bad".to_owned())).await;
    for delivery in &taken[1..10] {
        settle(&line, delivery, Verdict::Done).await;
    }
    // The broker answers in order: whoever has this answer knows that the others were heard.
    assert_eq!(line.dead(0, 10).await.unwrap().len(), 1);
    server.kill().unwrap();
    let told = line.publish((30..40).map(letter).collect()).await;
    let is_away = |told: &Result<(), LineError>| matches!(told, Err(LineError::Unavailable(_)));
    assert!(told.iter().all(is_away), "{told:?}");
    assert!(line.pull(1).await.is_err());
    server.restart().unwrap();
    until_back(&line).await;
    publish(&line, 30..40).await;
    for delivery in &taken[10..] {
        settle(&line, delivery, Verdict::Done).await;
    }
    until_come(&line, 20..40).await;
    assert_eq!(line.dead(0, 10).await.unwrap()[0].body, letter(0).body);
}

/// Two sites, each with a server of its own; the second dials the first as a leaf node. Each server keeps what its own site
/// publishes, and each site follows both.
#[tokio::test]
async fn sites_that_are_joined_by_a_leaf_node_reach_each_other() {
    let port = free_port().unwrap();
    let hub = format!("leafnodes {{ listen: \"127.0.0.1:{port}\" }}");
    let alpha = NatsServer::start_with(Some("alpha"), &hub).unwrap();
    let settings = fresh_settings(PATIENT);
    let leaf = format!(
        "leafnodes {{ remotes: [ {{ url: \"nats-leaf://127.0.0.1:{port}\"\n\
         deny_imports: \"{0}\"\n deny_exports: \"{0}\" }} ] }}",
        settings.subject
    );
    let mut beta = NatsServer::start_with(Some("beta"), &leaf).unwrap();
    let following = |domain: &str| LineSettings {
        from_domains: vec![domain.to_owned()],
        ..settings.clone()
    };
    let at_alpha = line_at(&alpha.url(), &following("beta"), "http://alpha.example").await;
    let at_beta = line_at(&beta.url(), &following("alpha"), "http://beta.example").await;
    publish(&at_alpha, 0..10).await;
    publish(&at_beta, 10..20).await;
    until_come(&at_alpha, 0..20).await;
    until_come(&at_beta, 0..20).await;
    // What is published while the other site is away gets there when it is back.
    beta.kill().unwrap();
    publish(&at_alpha, 20..30).await;
    assert_eq!(
        numbers(&take(&at_alpha, 10).await),
        (20..30).collect::<Vec<_>>()
    );
    beta.restart().unwrap();
    until_back(&at_beta).await;
    until_come(&at_beta, 20..30).await;
}
