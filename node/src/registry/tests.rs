//! Cards, own and read from an agent that comes and goes; the table of agents.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use archipel_kit::clock::ManualClock;
use archipel_kit::settings::{Environment, load};
use archipel_protocol::object::Fields;
use parking_lot::Mutex;
use serde_json::json;

use super::*;
use crate::agents::echo::Echo;
use crate::agents::upstream::{UpstreamAgent, UpstreamAgentSettings, UpstreamCard, UpstreamLimits};
use crate::cards::shelf::{CARD_LIFE, CARD_RETRY};
use crate::cards::trust::CardTrust;
use crate::config::CardCheck;
use crate::egress::{Destination, Egress};

const ORIGIN: &str = "http://node.example.org";
const CARD: &str = r#"{"name":"played","x-new":[1.50],"supportedInterfaces":
    [{"url":"http://0.0.0.0:1/rpc","protocolBinding":"JSONRPC","protocolVersion":"1.0"}]}"#;

const DECLARES: &str = r#"{"name":"played","capabilities":{"extendedAgentCard":true},"supportedInterfaces":
    [{"url":"http://0.0.0.0:1/rpc","protocolBinding":"JSONRPC","protocolVersion":"1.0"}]}"#;

/// What an agent shows of itself; `None` while it is away.
#[derive(Default)]
struct Shown {
    card: Mutex<Option<&'static str>>,
    /// What it answers to calls.
    answer: Mutex<Option<&'static str>>,
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
        let card = |agent: &str, source, extra: Option<&str>| HostedCard {
            agent: agent.into(),
            source,
            extra: extra.map(|text| Fields::read(text).unwrap().rest()),
            declared: Arc::default(),
        };
        let own = || CardSource::Own(Box::new(own()));
        let extra = Some(r#"{"skills":[{"id":"more"}],"x-extra":1}"#);
        let cards = vec![
            card("own", own(), None),
            card("own-extended", own(), extra),
            card("played", upstream(&shown, &clock), None),
        ];
        let settings = CardSettings {
            origin: ORIGIN.to_owned(),
            signer: CardSigner::new(&[7; 32], None).unwrap(),
            push_notifications: false,
        };
        let clock_port: Arc<dyn Clock> = Arc::clone(&clock) as _;
        Self {
            registry: AgentRegistry::new(
                cards.into_iter().map(ChangeCard::Put).collect(),
                settings,
                clock_port,
            )
            .start(),
            clock,
            shown,
        }
    }

    async fn read(&self, agent: &str) -> Result<ServedCard, NoCard> {
        self.read_as(agent, CardSort::Public).await
    }

    async fn read_as(&self, agent: &str, sort: CardSort) -> Result<ServedCard, NoCard> {
        let ask = ReadCard {
            agent: agent.into(),
            sort,
            form: CardForm::V1,
        };
        self.registry.send(ask).await.unwrap()
    }

    fn show(&self, card: Option<&'static str>) {
        *self.shown.card.lock() = card;
    }

    fn tell(&self, answer: Option<&'static str>) {
        *self.shown.answer.lock() = answer;
    }

    fn reads(&self) -> usize {
        self.shown.read.load(Ordering::SeqCst)
    }
}

fn own() -> AgentCard {
    let own = r#"{"id":"own","kind":"echo"}"#;
    let agent: AgentSettings = archipel_kit::settings::from_json(own).unwrap();
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
        trust: CardTrust::of_agent(CardCheck::Off, None).unwrap(),
    };
    let egress = Egress::new(&load(None, &Environment::default()).unwrap());
    let clock: Arc<dyn Clock> = Arc::clone(clock) as _;
    let agent = UpstreamAgent::new(settings, Arc::new(egress), clock);
    CardSource::Upstream(UpstreamCard::of(Arc::new(agent)))
}

async fn show(request: HttpRequest, shown: web::Data<Shown>) -> HttpResponse {
    let text = if request.method() == actix_web::http::Method::POST {
        *shown.answer.lock()
    } else {
        shown.read.fetch_add(1, Ordering::SeqCst);
        *shown.card.lock()
    };
    text.map_or_else(
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
    let url = format!("{ORIGIN}/agents/own");
    assert_eq!(
        shown["supportedInterfaces"],
        json!([
            {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
            {"url": url, "protocolBinding": "HTTP+JSON", "protocolVersion": "1.0"},
            {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "0.3"},
        ])
    );
    assert_eq!(world.read("own").await.unwrap(), card, "the tag stays");
    assert_eq!(world.read("nobody").await, Err(NoCard::Away));
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
    assert_eq!(world.read("played").await, Err(NoCard::Away));
    let asked = world.reads();
    world.show(Some(CARD));
    assert_eq!(world.read("played").await, Err(NoCard::Away));
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

#[actix::test]
async fn what_an_extended_card_says_beyond_the_card() {
    let world = World::start();
    let public = body(&world.read("own-extended").await.unwrap());
    assert_eq!(public["capabilities"]["extendedAgentCard"], true);
    assert_eq!(public["x-extra"], Value::Null);
    let card = world.read_as("own-extended", CardSort::Extended).await;
    let card = body(&card.unwrap());
    assert_eq!(
        (&card["skills"], &card["x-extra"], &card["name"]),
        (&json!([{"id": "more"}]), &json!(1), &json!("own"))
    );
    let url = &card["supportedInterfaces"][0]["url"];
    assert_eq!(url, &format!("{ORIGIN}/agents/own-extended"));
    let none = world.read_as("own", CardSort::Extended).await;
    assert_eq!(none, Err(NoCard::NotDeclared));
}

#[actix::test]
async fn an_agents_own_extended_card_is_asked_for_where_it_declares_one() {
    let world = World::start();
    world.show(Some(CARD));
    let none = world.read_as("played", CardSort::Extended).await;
    assert_eq!(none, Err(NoCard::NotDeclared));
    world.show(Some(DECLARES));
    world.clock.advance(CARD_LIFE);
    let refusal = r#"{"jsonrpc":"2.0","id":"1","error":{"code":-32007,"message":"none"}}"#;
    let shown = r#"{"jsonrpc":"2.0","id":"1","result":{"name":"played for us","url":"http://0.0.0.0:1/rpc"}}"#;
    world.tell(Some(refusal));
    let none = world.read_as("played", CardSort::Extended).await;
    assert_eq!(none, Err(NoCard::NotConfigured));
    world.tell(Some(shown));
    world.clock.advance(CARD_RETRY);
    let card = world.read_as("played", CardSort::Extended).await;
    let card = body(&card.unwrap());
    assert_eq!(card["name"], "played for us");
    let url = &card["supportedInterfaces"][0]["url"];
    assert_eq!(url, &format!("{ORIGIN}/agents/played"));
    world.tell(None);
    world.clock.advance(CARD_LIFE);
    let kept = world.read_as("played", CardSort::Extended).await;
    assert_eq!(body(&kept.unwrap())["name"], "played for us");
}

#[test]
fn agents_are_found_by_id_and_one_answers_for_the_node() {
    let agent = |id: &str| {
        Arc::new(HostedAgent {
            id: id.into(),
            visibility: Visibility::Public,
            receives_envelopes: false,
            executor: Arc::new(Echo),
            declared: Arc::default(),
            run: None,
            passthrough: None,
            paused: false,
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
