//! The actor with its rules: what reaches subscribers, and what is refused for which reason.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use actix::Addr;
use archipel_kit::clock::ManualClock;
use archipel_protocol::envelope::{
    AgentLifecycle, AgentState, AgentStatus, BusSecret, SystemEvent, SystemPayload, Timestamp,
};
use archipel_protocol::names::Dialect;
use tokio::sync::mpsc;

use super::*;

const NOW_MS: u64 = 1_700_000_000_000;
const CHANNEL: &str = "hive:system:events";

/// Passes on what it gets.
struct Listener(mpsc::UnboundedSender<Arc<Opened>>);

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<BusEvent> for Listener {
    type Result = ();

    fn handle(&mut self, BusEvent(opened): BusEvent, _: &mut Self::Context) {
        self.0.send(opened).unwrap();
    }
}

#[derive(Debug)]
struct Broken;

impl BusAdapter for Broken {
    fn publish(&self, _: BusMessage, told: Told) {
        told(Err(BusError::Unavailable));
    }
}

fn secret(letter: &str) -> BusSecret {
    BusSecret::new(&letter.repeat(32)).unwrap()
}

fn rules(secrets: Vec<BusSecret>) -> BusRules {
    BusRules {
        secrets,
        dialect: Dialect::Hive,
        freshness: Duration::from_secs(300),
    }
}

fn signed() -> BusRules {
    rules(vec![secret("n"), secret("o")])
}

fn created(at_ms: u64) -> Event {
    let payload = SystemPayload::Agent {
        change: AgentLifecycle::Created,
        agent_id: Text::parse("echo").unwrap(),
        name: Text::parse("Echo").unwrap(),
    };
    Event::System(SystemEvent {
        payload,
        timestamp: timestamp(at_ms),
    })
}

fn status() -> Event {
    Event::Status(AgentStatus {
        agent_id: Text::parse("echo").unwrap(),
        status: AgentState::Ready,
        timestamp: timestamp(NOW_MS),
        instance_id: None,
    })
}

fn timestamp(at_ms: u64) -> Timestamp {
    Timestamp::from_unix_ms(i64::try_from(at_ms).unwrap()).unwrap()
}

/// The message of `event` under the id `number`.
fn sealed(rules: &BusRules, event: &Event, number: u128) -> Deliver {
    let id = Uuid::from_u128(0x0000_0000_0000_4000_8000_0000_0000_0000 | number);
    let message = rules.seal(
        event,
        &MeshMeta {
            event_id: EventId::from(id),
            correlation_id: None,
        },
    );
    Deliver {
        channel: message.channel.into_owned(),
        wire: message.wire,
    }
}

/// A bus that has been there for as long as a message may be old.
fn start(rules: BusRules, ends: (Arc<dyn BusAdapter>, Received)) -> Addr<BusActor> {
    let clock = Arc::new(ManualClock::new(NOW_MS - 300_000));
    let bus = BusActor::new(rules, ends, clock.clone());
    clock.advance(Duration::from_secs(300));
    bus.start()
}

fn start_in_process(rules: BusRules) -> Addr<BusActor> {
    start(rules, in_process::connect())
}

async fn listen(bus: &Addr<BusActor>) -> (Addr<Listener>, mpsc::UnboundedReceiver<Arc<Opened>>) {
    let (heard, ears) = mpsc::unbounded_channel();
    let listener = Listener(heard).start();
    bus.send(Subscribe(listener.clone().recipient()))
        .await
        .unwrap();
    (listener, ears)
}

#[actix::test]
async fn what_is_published_reaches_subscribers() {
    let bus = start_in_process(signed());
    let (_listener, mut ears) = listen(&bus).await;
    for event in [created(NOW_MS), status()] {
        let correlation_id = Some(Text::parse("request-1").unwrap());
        let published = bus
            .send(Publish {
                event: event.clone(),
                correlation_id: correlation_id.clone(),
                event_id: None,
            })
            .await;
        let heard = ears.recv().await.unwrap();
        assert_eq!(
            heard.event_id(),
            published.unwrap().unwrap().event_id.to_string()
        );
        assert_eq!(
            (&heard.event, &heard.meta.correlation_id, heard.signed),
            (&event, &correlation_id, true)
        );
    }
    let counts = bus.send(Snapshot).await.unwrap();
    assert_eq!(
        counts,
        BusSnapshot {
            published: 2,
            accepted: 2,
            ..BusSnapshot::default()
        }
    );
}

#[actix::test]
async fn a_publication_that_cannot_leave_is_an_error() {
    let (_, received) = in_process::connect();
    let bus = start(signed(), (Arc::new(Broken), received));
    let outcome = bus
        .send(Publish {
            event: status(),
            correlation_id: None,
            event_id: None,
        })
        .await
        .unwrap();
    assert_eq!(outcome, Err(BusError::Unavailable));
    // What came from outside may be sent again.
    let message = sealed(&signed(), &status(), 1);
    for _ in 0..2 {
        let refused = bus.send(message.clone()).await.unwrap();
        let unavailable = BusRefusal::Bus(BusError::Unavailable);
        assert_eq!(refused.map(drop), Err(unavailable));
    }
    assert_eq!(bus.send(Snapshot).await.unwrap().unpublished, 3);
}

#[actix::test]
async fn messages_are_refused_with_their_reason() {
    let bus = start_in_process(signed());
    let (_listener, mut ears) = listen(&bus).await;
    let genuine = sealed(&signed(), &created(NOW_MS), 1);
    let elsewhere = Deliver {
        channel: "hive:agent:status".to_owned(),
        ..genuine.clone()
    };
    let misplaced = {
        // Signed for the channel it is on, but no event of that channel.
        let meta = MeshMeta {
            event_id: EventId::from(Uuid::nil()),
            correlation_id: None,
        };
        let wire = archipel_protocol::envelope::seal(
            &status(),
            CHANNEL,
            &meta,
            Some(&secret("n")),
            Dialect::Hive,
        );
        Deliver {
            channel: CHANNEL.to_owned(),
            wire: Bytes::from(wire),
        }
    };
    let cases = [
        (
            sealed(&rules(Vec::new()), &created(NOW_MS), 2),
            Err("unsigned"),
        ),
        (
            sealed(&rules(vec![secret("x")]), &created(NOW_MS), 3),
            Err("bad_signature"),
        ),
        (elsewhere, Err("bad_signature")),
        (misplaced, Err("wrong_channel")),
        (
            Deliver {
                channel: CHANNEL.to_owned(),
                wire: Bytes::from_static(b"[]"),
            },
            Err("malformed"),
        ),
        (
            sealed(&signed(), &created(NOW_MS - 300_001), 4),
            Err("stale"),
        ),
        (
            sealed(&signed(), &created(NOW_MS + 300_001), 5),
            Err("stale"),
        ),
        (sealed(&signed(), &created(NOW_MS - 300_000), 6), Ok(())),
        (sealed(&signed(), &created(NOW_MS + 300_000), 7), Ok(())),
        (
            sealed(&rules(vec![secret("o")]), &created(NOW_MS), 8),
            Ok(()),
        ),
        (genuine.clone(), Ok(())),
        (genuine, Err("repeated")),
    ];
    let mut expected = BTreeMap::new();
    for (number, (message, outcome)) in cases.into_iter().enumerate() {
        let delivered = bus.send(message).await.unwrap();
        assert_eq!(
            delivered.map(drop).map_err(|refusal| refusal.reason()),
            outcome,
            "case {number}"
        );
        match outcome {
            Ok(()) => assert!(ears.recv().await.unwrap().signed),
            Err(reason) => *expected.entry(reason).or_default() += 1,
        }
    }
    let counts = bus.send(Snapshot).await.unwrap();
    assert_eq!((counts.accepted, counts.refused), (4, expected));
    assert!(ears.try_recv().is_err());
}

#[actix::test]
async fn without_a_secret_unsigned_messages_are_taken_once() {
    let bus = start_in_process(rules(Vec::new()));
    let message = sealed(&rules(Vec::new()), &status(), 1);
    assert!(!bus.send(message.clone()).await.unwrap().unwrap().signed);
    assert_eq!(bus.send(message).await.unwrap(), Err(BusRefusal::Repeated));
}

#[actix::test]
async fn an_id_is_one_in_either_case() {
    let bus = start_in_process(rules(Vec::new()));
    let message = sealed(&rules(Vec::new()), &status(), 0xabc);
    let upper = String::from_utf8(message.wire.to_vec())
        .unwrap()
        .replace("0abc", "0ABC");
    assert!(bus.send(message.clone()).await.unwrap().is_ok());
    let repeated = bus
        .send(Deliver {
            wire: Bytes::from(upper),
            ..message
        })
        .await
        .unwrap();
    assert_eq!(repeated, Err(BusRefusal::Repeated));
}

#[actix::test]
async fn a_subscriber_that_left_is_forgotten() {
    let bus = start_in_process(signed());
    let (listener, mut ears) = listen(&bus).await;
    drop(listener);
    // The bus's own recipient keeps a listener alive; this one ends by itself.
    let (heard, _) = mpsc::unbounded_channel();
    let gone = Listener(heard);
    let recipient = Actor::create(|context: &mut Context<Listener>| {
        actix::ActorContext::stop(context);
        gone
    });
    bus.send(Subscribe(recipient.recipient())).await.unwrap();
    for number in 1..=2 {
        bus.send(sealed(&signed(), &status(), number))
            .await
            .unwrap()
            .unwrap();
        assert!(ears.recv().await.is_some());
    }
    assert_eq!(bus.send(Snapshot).await.unwrap().missed, 0);
}
