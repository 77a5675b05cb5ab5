//! Commands against a control plane whose agents are made of nothing.

use std::sync::Arc;

use actix::{Actor, Addr, Context, Handler};
use arc_swap::ArcSwap;
use archipel_kit::clock::ManualClock;
use archipel_kit::settings::{Environment, load};
use archipel_protocol::a2a::AgentCard;
use archipel_protocol::envelope::{Event, SystemPayload};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use parking_lot::Mutex;
use serde_json::json;
use uuid::Uuid;

use super::hosted::{MadeAgent, Probe};
use super::*;
use crate::agents::echo::Echo;
use crate::bus::{BusError, Published};
use crate::cards::shelf::CardSource;
use crate::config::AgentSettings;
use crate::egress::Destination;
use crate::registry::HostedCard;
use crate::store::agents::{AgentRow, MemoryAgents};
use crate::tasks::executor::ExecutorFailure;

/// Takes what others are told.
#[derive(Default)]
struct Listener {
    news: Arc<Mutex<Vec<String>>>,
    cards: Arc<Mutex<Vec<String>>>,
}

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<Publish> for Listener {
    type Result = Result<Published, BusError>;

    fn handle(&mut self, publish: Publish, _: &mut Self::Context) -> Self::Result {
        let told = match &publish.event {
            Event::Status(status) => format!("{} is {:?}", status.agent_id.as_str(), status.status),
            Event::System(system) => match &system.payload {
                SystemPayload::Agent { agent_id, .. } => {
                    format!("{} {}", publish.event.kind(), agent_id.as_str())
                }
                other => format!("{other:?}"),
            },
        };
        self.news.lock().push(told);
        Ok(Published {
            event_id: Uuid::nil(),
        })
    }
}

impl Handler<ChangeCard> for Listener {
    type Result = ();

    fn handle(&mut self, change: ChangeCard, _: &mut Self::Context) {
        self.cards.lock().push(match change {
            ChangeCard::Put(card) => format!("put {}", card.agent),
            ChangeCard::Drop(agent) => format!("drop {agent}"),
        });
    }
}

struct Away;

impl Probe for Away {
    fn look(self: Arc<Self>) -> LocalBoxFuture<'static, Result<(), ExecutorFailure>> {
        Box::pin(async { Err(ExecutorFailure::Unreachable) })
    }
}

struct World {
    control: Addr<AgentControl>,
    table: SharedAgents,
    store: Arc<dyn AgentStore>,
    news: Arc<Mutex<Vec<String>>>,
    cards: Arc<Mutex<Vec<String>>>,
}

fn make(settings: &AgentSettings, _: Destination) -> MadeAgent {
    let card = AgentCard::read(r#"{"name":"made"}"#).unwrap();
    MadeAgent {
        executor: Arc::new(Echo),
        run: None,
        passthrough: None,
        card: HostedCard {
            agent: settings.id.as_str().into(),
            source: CardSource::Own(Box::new(card)),
            extra: None,
            declared: Arc::default(),
        },
        probe: settings.url.is_some().then(|| Arc::new(Away) as _),
    }
}

async fn world(store: Arc<dyn AgentStore>) -> World {
    let configured: Vec<AgentSettings> = ["echo", "text"]
        .map(|id| {
            archipel_kit::settings::from_json(&format!(r#"{{"id":"{id}","kind":"{id}"}}"#)).unwrap()
        })
        .into();
    let rows = store.agents().await.unwrap();
    let mut hosted = Hosted::new(&configured, &rows, Box::new(make));
    hosted.take_cards();
    let table = SharedAgents::new(ArcSwap::from_pointee(hosted.table()));
    let listener = Listener::default();
    let (news, cards) = (Arc::clone(&listener.news), Arc::clone(&listener.cards));
    let listener = listener.start();
    let egress = "host_allowlist = [\"127.0.0.1\"]";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), egress).unwrap();
    let egress = load(Some(file.path()), &Environment::default()).unwrap();
    let ports = ControlPorts {
        table: Arc::clone(&table),
        cards: listener.clone().recipient(),
        store: Arc::clone(&store),
        egress: Arc::new(Egress::new(&egress)),
        bus: listener.recipient(),
        clock: Arc::new(ManualClock::new(0)),
        metrics: AgentMetrics::new(&opentelemetry::global::meter("tests")),
        upstreams: load(None, &Environment::default()).unwrap(),
        max_agents: 2,
    };
    let control = AgentControl::new(hosted, ports).start();
    World {
        control,
        table,
        store,
        news,
        cards,
    }
}

impl World {
    async fn fresh() -> Self {
        world(Arc::new(MemoryAgents::default())).await
    }

    async fn tell(&self, command: Command) -> Result<Value, ControlError> {
        self.control.send(Control(command)).await.unwrap()
    }

    async fn add(&self, settings: Value) -> Result<Value, ControlError> {
        self.tell(Command::Add(settings.to_string())).await
    }

    async fn change(&self, id: &str, patch: Value) -> Result<Value, ControlError> {
        let (id, patch) = (id.to_owned(), patch.to_string());
        self.tell(Command::Change { id, patch }).await
    }

    async fn shift(&self, id: &str, step: Step) -> Result<String, ControlError> {
        let id = id.to_owned();
        let shown = self.tell(Command::Move { id, step }).await?;
        Ok(shown["state"].as_str().unwrap().to_owned())
    }

    /// What the bus was told since this was last asked.
    fn news(&self) -> Vec<String> {
        std::mem::take(&mut self.news.lock())
    }

    fn problems(answer: Result<Value, ControlError>) -> Vec<String> {
        let Err(ControlError::Invalid(problems)) = answer else {
            unreachable!("{answer:?}")
        };
        problems.iter().map(|problem| problem.at.clone()).collect()
    }
}

fn far() -> Value {
    json!({"id": "far", "kind": "a2a", "url": "http://127.0.0.1:1/", "bearer": "hidden-token"})
}

#[actix_rt::test]
async fn an_added_agent_is_there_at_once_and_after_a_restart() {
    let first = World::fresh().await;
    let shown = first.add(far()).await.unwrap();
    assert_eq!(shown["source"], "added");
    assert_eq!(shown["bearer_set"], true);
    assert!(!shown.to_string().contains("hidden-token"));
    assert!(first.table.load().find("far").is_some());
    assert_eq!(first.cards.lock().as_slice(), ["put far"]);
    first.shift("far", Step::Pause).await.unwrap();
    first.shift("echo", Step::Disable).await.unwrap();

    let again = world(Arc::clone(&first.store)).await;
    let table = again.table.load();
    assert!(table.find("far").unwrap().paused);
    assert!(table.find("echo").is_none() && table.find("text").is_some());
    let all = again.tell(Command::List).await.unwrap();
    let states: Vec<_> = all["agents"].as_array().unwrap().iter().collect();
    let states: Vec<_> = states
        .iter()
        .map(|agent| {
            format!("{} {} {}", agent["id"], agent["source"], agent["state"]).replace('"', "")
        })
        .collect();
    assert_eq!(
        states,
        [
            "echo configuration disabled",
            "far added paused",
            "text configuration enabled"
        ]
    );
}

#[actix_rt::test]
async fn the_bus_is_told_every_step() {
    let world = World::fresh().await;
    world.tell(Command::List).await.unwrap();
    assert_eq!(
        world.news(),
        [
            "agent.started echo",
            "echo is Running",
            "agent.started text",
            "text is Running"
        ]
    );
    world.add(far()).await.unwrap();
    let created = ["agent.created far", "agent.started far", "far is Running"];
    assert_eq!(world.news(), created);
    for (step, state, news) in [
        (
            Step::Pause,
            "paused",
            &["agent.paused far", "far is Paused"][..],
        ),
        (Step::Pause, "paused", &[]),
        (Step::Enable, "paused", &[]),
        (
            Step::Resume,
            "enabled",
            &["agent.resumed far", "far is Running"],
        ),
        (
            Step::Disable,
            "disabled",
            &["agent.stopped far", "far is Stopped"],
        ),
        (
            Step::Enable,
            "enabled",
            &["agent.started far", "far is Running"],
        ),
    ] {
        assert_eq!(world.shift("far", step).await.unwrap(), state, "{step:?}");
        assert_eq!(world.news(), news, "{step:?}");
    }
    world
        .change("far", json!({"name": "Far away"}))
        .await
        .unwrap();
    assert!(world.news().is_empty());
    world.tell(Command::Remove("far".to_owned())).await.unwrap();
    let removed = ["agent.stopped far", "far is Stopped", "agent.deleted far"];
    assert_eq!(world.news(), removed);
    assert!(world.table.load().find("far").is_none());
    assert_eq!(world.store.agents().await.unwrap(), []);
}

#[actix_rt::test]
async fn everything_that_is_wrong_is_told_at_once() {
    let world = World::fresh().await;
    let wrong = json!({"id": "Far", "kind": "a2a", "model": "m", "default": true, "bearer_file": "/etc/hostname", "temperature": 9});
    let problems = World::problems(world.add(wrong).await);
    assert_eq!(
        problems,
        [
            "bearer_file",
            "temperature",
            "id",
            "url",
            "model",
            "default"
        ]
    );
    assert_eq!(World::problems(world.add(json!([])).await), ["body"]);
    // Loopback is allowed here, nothing else is.
    for url in [
        "http://10.0.0.1/",
        "http://user:pass@127.0.0.1/",
        "http://localhost:1/",
    ] {
        let mut elsewhere = far();
        elsewhere["url"] = url.into();
        assert_eq!(
            World::problems(world.add(elsewhere).await),
            ["url"],
            "{url}"
        );
    }
    world.add(far()).await.unwrap();
    let renamed = world
        .change("far", json!({"id": "near", "url": null}))
        .await;
    assert_eq!(World::problems(renamed), ["url", "id"]);
    let private = world
        .change("far", json!({"url": "http://192.168.0.1/"}))
        .await;
    assert_eq!(World::problems(private), ["url"]);
}

#[actix_rt::test]
async fn what_cannot_be_is_a_conflict() {
    let world = World::fresh().await;
    let conflict = |answer: Result<Value, ControlError>| {
        assert!(
            matches!(answer, Err(ControlError::Conflict(_))),
            "{answer:?}"
        );
    };
    conflict(world.add(json!({"id": "echo", "kind": "echo"})).await);
    conflict(world.tell(Command::Remove("echo".to_owned())).await);
    conflict(world.change("echo", json!({"name": "x"})).await);
    world.shift("echo", Step::Disable).await.unwrap();
    let id = "echo".to_owned();
    conflict(
        world
            .tell(Command::Move {
                id,
                step: Step::Pause,
            })
            .await,
    );
    for id in ["a", "b"] {
        world.add(json!({"id": id, "kind": "echo"})).await.unwrap();
    }
    conflict(world.add(json!({"id": "c", "kind": "echo"})).await);
    for command in [
        Command::Show("nobody".to_owned()),
        Command::Remove("nobody".to_owned()),
    ] {
        assert_eq!(world.tell(command).await, Err(ControlError::NotFound));
    }
}

#[actix_rt::test]
async fn a_changed_agent_keeps_what_was_not_changed() {
    let world = World::fresh().await;
    world.add(far()).await.unwrap();
    let shown = world
        .change("far", json!({"name": "Far", "visibility": "private"}))
        .await
        .unwrap();
    assert_eq!(
        (&shown["name"], &shown["visibility"]),
        (&json!("Far"), &json!("private"))
    );
    assert_eq!(shown["bearer_set"], true);
    let shown = world
        .change("far", json!({"bearer": null, "name": null}))
        .await
        .unwrap();
    assert_eq!(
        (&shown["bearer_set"], shown.get("name")),
        (&json!(false), None)
    );
}

#[test]
fn what_others_have_decided_is_taken_over() {
    let row = |id: &str, body: Value| AgentRow {
        id: id.into(),
        body: Bytes::from(body.to_string()),
    };
    let added = |state: &str| row("far", json!({"state": state, "settings": far()}));
    let mut hosted = Hosted::new(&[], &[], Box::new(make));
    assert!(hosted.take_all(&[added("enabled")]));
    assert!(!hosted.take_all(&[added("enabled")]));
    assert!(hosted.take_all(&[added("paused")]));
    assert!(hosted.table().find("far").unwrap().paused);
    // What cannot be read, or is of an agent that is no longer in the configuration, is left alone.
    let odd = [
        added("paused"),
        row("x", json!([])),
        row("gone", json!({"state": "paused"})),
    ];
    assert!(!hosted.take_all(&odd));
    assert!(hosted.take_all(&[]));
    assert!(hosted.table().find("far").is_none());
}

#[actix_rt::test]
async fn who_is_away_is_shown() {
    let mut hosted = Hosted::new(&[], &[], Box::new(make));
    let body = json!({"state": "enabled", "settings": far()}).to_string();
    hosted.take_row(&AgentRow {
        id: "far".into(),
        body: body.into(),
    });
    let found = looks::round(hosted.probes(), Arc::new(ManualClock::new(1000))).await;
    for (id, looked) in found {
        hosted.note(&id, looked);
    }
    let shown = view::one(&hosted, "far").unwrap();
    let expected = json!({"ok": false, "checked_at": "1970-01-01T00:00:01.000Z", "reason": "the agent could not be reached"});
    assert_eq!(shown["health"], expected);
}
