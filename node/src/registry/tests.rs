//! Cards, own and read from an agent that comes and goes; the table of agents.

use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::{App, HttpResponse, HttpServer, web};
use archipel_kit::clock::ManualClock;
use archipel_kit::settings::{Environment, load};
use parking_lot::Mutex;
use serde_json::json;

use super::*;
use crate::agents::echo::Echo;
use crate::agents::upstream::{UpstreamAgent, UpstreamAgentSettings, UpstreamLimits};
use crate::config::AgentKind;
use crate::egress::{Destination, Egress};

const ORIGIN: &str = "http://node.example.org";
const CARD: &str = r#"{"name":"played","x-new":[1.50],"supportedInterfaces":
    [{"url":"http://0.0.0.0:1/rpc","protocolBinding":"JSONRPC","protocolVersion":"1.0"}]}"#;

/// What an agent shows of itself; `None` while it is away.
#[derive(Default)]
struct Shown {
    card: Mutex<Option<&'static str>>,
    read: AtomicUsize,
}

/// A registry with one agent of ours, and one elsewhere.
struct World {
    registry: Addr<AgentRegistry>,
    clock: Arc<ManualClock>,
    shown: web::Data<Shown>,
}

impl World {
    fn start() -> Self {
        let shown = web::Data::new(Shown::default());
        let clock = Arc::new(ManualClock::new(1_767_225_600_000));
        let cards = vec![
            ("own".into(), CardSource::Own(Box::new(own()))),
            ("played".into(), upstream(&shown, &clock)),
        ];
        let clock_port: Arc<dyn Clock> = Arc::clone(&clock) as _;
        Self {
            registry: AgentRegistry::new(cards, ORIGIN.to_owned(), clock_port).start(),
            clock,
            shown,
        }
    }

    async fn read(&self, agent: &str) -> Result<ServedCard, CardUnavailable> {
        let agent = agent.into();
        self.registry.send(ReadCard { agent }).await.unwrap()
    }

    fn show(&self, card: Option<&'static str>) {
        *self.shown.card.lock() = card;
    }

    fn reads(&self) -> usize {
        self.shown.read.load(Ordering::SeqCst)
    }
}

fn own() -> AgentCard {
    let agent = AgentSettings {
        id: "own".to_owned(),
        kind: AgentKind::Echo,
        default: false,
        name: None,
        description: None,
        visibility: Visibility::Public,
        url: None,
        bearer: None,
    };
    own_card(
        &agent,
        "says it again",
        &["text/plain"],
        &json!({"id": "echo"}),
    )
}

fn upstream(shown: &web::Data<Shown>, clock: &Arc<ManualClock>) -> CardSource {
    let data = shown.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .default_service(web::to(show))
    });
    let server = server.workers(1).bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", server.addrs()[0]).parse().unwrap();
    actix_rt::spawn(server.run());
    let settings = UpstreamAgentSettings {
        id: "played".into(),
        url,
        credential: None,
        limits: UpstreamLimits::default(),
        destination: Destination::Trusted,
    };
    let egress = Egress::new(&load(None, &Environment::default()).unwrap());
    let clock: Arc<dyn Clock> = Arc::clone(clock) as _;
    let agent = UpstreamAgent::new(settings, Arc::new(egress), clock);
    CardSource::Upstream(UpstreamCard::of(Arc::new(agent)))
}

async fn show(shown: web::Data<Shown>) -> HttpResponse {
    shown.read.fetch_add(1, Ordering::SeqCst);
    let card = *shown.card.lock();
    card.map_or_else(
        || HttpResponse::ServiceUnavailable().finish(),
        |card| HttpResponse::Ok().body(card),
    )
}

fn body(card: &ServedCard) -> Value {
    serde_json::from_slice(&card.body).unwrap()
}

#[actix::test]
async fn an_agent_of_ours_is_reached_below_our_origin() {
    let world = World::start();
    let card = world.read("own").await.unwrap();
    let shown = body(&card);
    assert_eq!(shown["name"], "own");
    assert_eq!(
        shown["supportedInterfaces"],
        json!([{"url": format!("{ORIGIN}/agents/own"), "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}])
    );
    assert_eq!(world.read("own").await.unwrap(), card, "the tag stays");
    assert_eq!(world.read("nobody").await, Err(CardUnavailable));
}

#[actix::test]
async fn the_card_of_an_agent_elsewhere_is_kept_for_a_while() {
    let world = World::start();
    world.show(Some(CARD));
    let first = world.read("played").await.unwrap();
    let shown = body(&first);
    let text = std::str::from_utf8(&first.body).unwrap();
    assert!(
        text.contains(r#""x-new":[1.50]"#),
        "kept as it came: {text}"
    );
    let url = &shown["supportedInterfaces"][0]["url"];
    assert_eq!(url, &format!("{ORIGIN}/agents/played"));
    world.clock.advance(CARD_LIFE - Duration::from_secs(1));
    assert_eq!(world.read("played").await, Ok(first.clone()));
    assert_eq!(world.reads(), 1);
    world.show(Some(r#"{"name":"renamed"}"#));
    world.clock.advance(Duration::from_secs(1));
    let second = world.read("played").await.unwrap();
    assert_eq!(body(&second)["name"], "renamed");
    assert_ne!(second.etag, first.etag);
    assert_eq!(world.reads(), 2);
}

#[actix::test]
async fn an_agent_that_is_away_is_shown_as_it_was() {
    let world = World::start();
    assert_eq!(world.read("played").await, Err(CardUnavailable));
    let asked = world.reads();
    world.show(Some(CARD));
    assert_eq!(world.read("played").await, Err(CardUnavailable));
    assert_eq!(world.reads(), asked, "it is left alone for a moment");
    world.clock.advance(CARD_RETRY);
    let card = world.read("played").await.unwrap();
    world.show(None);
    world.clock.advance(CARD_LIFE);
    assert_eq!(world.read("played").await, Ok(card.clone()));
    world.show(Some("no card at all"));
    world.clock.advance(CARD_RETRY);
    assert_eq!(world.read("played").await, Ok(card));
}

#[actix::test]
async fn many_who_ask_at_once_cost_one_read() {
    let world = World::start();
    world.show(Some(CARD));
    let cards = futures_util::future::join_all((0..16).map(|_| world.read("played"))).await;
    assert!(cards.iter().all(|card| card.is_ok() && *card == cards[0]));
    assert_eq!(world.reads(), 1);
}

#[test]
fn agents_are_found_by_id_and_one_answers_for_the_node() {
    let agent = |id: &str| {
        Arc::new(HostedAgent {
            id: id.into(),
            visibility: Visibility::Public,
            executor: Arc::new(Echo),
        })
    };
    let agents = || vec![agent("a"), agent("b")];
    for (default, expected) in [(Some("b"), Some("b")), (Some("c"), None), (None, None)] {
        let table = AgentTable::new(agents(), default);
        let found = table.default_agent().map(|agent| agent.id.to_string());
        assert_eq!(found.as_deref(), expected);
        assert!(table.find("a").is_some() && table.find("c").is_none());
    }
}
