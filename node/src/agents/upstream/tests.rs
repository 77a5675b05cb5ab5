//! Turns run against a small server that plays the agent.

use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use archipel_kit::clock::SystemClock;
use archipel_kit::settings::{Environment, Secret, load};
use archipel_protocol::a2a::{Artifact, Message, Part, Role, TaskState};
use archipel_protocol::object::Json;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{UpstreamAgent, UpstreamAgentSettings, UpstreamCard, UpstreamLimits};
use crate::cards::shelf::NoCard;
use crate::cards::trust::CardTrust;
use crate::config::CardCheck;
use crate::egress::{Destination, Egress};
use crate::tasks::executor::{AgentExecutor, ExecutorFailure, Turn, TurnEvent, TurnEvents};

const OUR_CONTEXT: &str = "0195a3c4-7e00-7abc-8def-0123456789ab";
const STREAMS: &str = r#"{"name":"played","capabilities":{"streaming":true},
    "supportedInterfaces":[{"url":"http://0.0.0.0:1/rpc","protocolBinding":"JSONRPC","protocolVersion":"1.0","tenant":"x"}]}"#;
const DOES_NOT_STREAM: &str = r#"{"name":"played","capabilities":{},
    "supportedInterfaces":[{"url":"http://0.0.0.0:1/rpc","protocolBinding":"JSONRPC","protocolVersion":"1.0"}]}"#;
const OLD: &str = r#"{"name":"played","description":"d","version":"1","protocolVersion":"0.3.0","url":"http://0.0.0.0:1/rpc",
    "preferredTransport":"JSONRPC","capabilities":{"streaming":true},"skills":[]}"#;
const REST_IN_ONE: &str = r#"{"name":"played","capabilities":{},
    "supportedInterfaces":[{"url":"http://0.0.0.0:1/v1","protocolBinding":"HTTP+JSON","protocolVersion":"1.0","tenant":"x"}]}"#;
const REST: &str = r#"{"name":"played","capabilities":{"streaming":true},
    "supportedInterfaces":[{"url":"http://0.0.0.0:1/v1","protocolBinding":"HTTP+JSON","protocolVersion":"1.0","tenant":"x"}]}"#;

const SUBMITTED: &str =
    r#"{"task":{"id":"theirs","contextId":"talk","status":{"state":"TASK_STATE_SUBMITTED"}}}"#;
const PIECE: &str = r#"{"artifactUpdate":{"taskId":"theirs","contextId":"talk","artifact":{"artifactId":"a","parts":[{"text":"one"}]}}}"#;
const LAST_PIECE: &str = r#"{"artifactUpdate":{"taskId":"theirs","contextId":"talk","append":true,"lastChunk":true,
    "artifact":{"artifactId":"a","parts":[{"text":"two"}],"x-new":[1.50]}}}"#;
const ASKS: &str = r#"{"statusUpdate":{"taskId":"theirs","contextId":"talk","status":{"state":"TASK_STATE_INPUT_REQUIRED",
    "message":{"messageId":"q","taskId":"theirs","role":"ROLE_AGENT","parts":[{"text":"which?"}]}}}}"#;
const DONE: &str = r#"{"statusUpdate":{"taskId":"theirs","contextId":"talk","status":{"state":"TASK_STATE_COMPLETED"}}}"#;

/// What the played agent answers to a message.
#[derive(Clone)]
enum Plays {
    /// These results as a stream, which then ends.
    Stream(&'static [&'static str]),
    /// These results, then the connection breaks.
    Breaks(&'static [&'static str]),
    /// These results, then nothing more, for ever.
    Hangs(&'static [&'static str]),
    /// These bytes as a stream.
    Raw(&'static str),
    /// `SendMessage` is answered with this; streaming is refused.
    Blocking(&'static str),
    /// `SendMessage` is answered with a task at work, `GetTask` with this; streaming is refused.
    Works(&'static str),
    /// A JSON-RPC error.
    Error(i64),
    /// An HTTP status without a body.
    Status(u16),
}

#[derive(Clone)]
struct Played {
    card: Option<&'static str>,
    plays: Plays,
    seen: mpsc::UnboundedSender<Seen>,
}

/// A request as the agent saw it.
#[derive(Debug)]
struct Seen {
    path: String,
    /// As JSON-RPC calls it, whatever the binding.
    method: &'static str,
    headers: Vec<(String, String)>,
    body: Value,
}

impl Seen {
    fn method(&self) -> &str {
        self.method
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

struct Agent {
    executor: Arc<UpstreamAgent>,
    seen: mpsc::UnboundedReceiver<Seen>,
    server: ServerHandle,
}

impl Agent {
    fn start(card: Option<&'static str>, plays: Plays) -> Self {
        Self::with_limits(card, plays, UpstreamLimits::default())
    }

    fn with_limits(card: Option<&'static str>, plays: Plays, limits: UpstreamLimits) -> Self {
        let (seen_by, seen) = mpsc::unbounded_channel();
        let played = Played {
            card,
            plays,
            seen: seen_by,
        };
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::new(played.clone()))
                .default_service(web::to(play))
        });
        let server = server.workers(1).bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", server.addrs().first().unwrap())
            .parse()
            .unwrap();
        let server = server.run();
        let handle = server.handle();
        actix_rt::spawn(server);
        let credential = Some(Secret::new("of-the-node"));
        let settings = UpstreamAgentSettings {
            id: "played".into(),
            url,
            credential,
            limits,
            destination: Destination::Trusted,
            trust: CardTrust::of_agent(CardCheck::Off, None).unwrap(),
        };
        let egress = Egress::new(&load(None, &Environment::default()).unwrap());
        let executor = Arc::new(UpstreamAgent::new(
            settings,
            Arc::new(egress),
            Arc::new(SystemClock::new()),
        ));
        Self {
            executor,
            seen,
            server: handle,
        }
    }

    /// Runs a turn to its end.
    async fn run(&self, turn: Turn) -> (Vec<TurnEvent>, Result<(), ExecutorFailure>) {
        let (events, mut told) = TurnEvents::channel();
        let result = Arc::clone(&self.executor).run(turn, events).await;
        let mut all = Vec::new();
        while let Some(event) = told.recv().await {
            all.push(event);
        }
        (all, result)
    }

    /// The next request for a JSON-RPC method.
    async fn next_call(&mut self) -> Seen {
        loop {
            let seen = self.seen.recv().await.unwrap();
            if !seen.method().is_empty() {
                return seen;
            }
        }
    }
}

async fn play(request: HttpRequest, body: Bytes, played: web::Data<Played>) -> HttpResponse {
    let headers = request.headers().iter();
    let headers = headers
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (method, frame) = operation(request.path(), &body);
    let seen = Seen {
        path: request.path().to_owned(),
        method,
        headers,
        body,
    };
    played.seen.send(seen).unwrap();
    if request.path().starts_with("/.well-known/") {
        let asked = request.path() == "/.well-known/agent-card.json";
        return played.card.filter(|_| asked).map_or_else(
            || HttpResponse::NotFound().finish(),
            |card| HttpResponse::Ok().body(card),
        );
    }
    match (&played.plays, method) {
        (_, "CancelTask") => {
            frame.result(r#"{"id":"theirs","status":{"state":"TASK_STATE_CANCELED"}}"#)
        }
        (Plays::Stream(results), _) => streaming(frame, results, End::Clean),
        (Plays::Breaks(results), _) => streaming(frame, results, End::Broken),
        (Plays::Hangs(results), _) => streaming(frame, results, End::Never),
        (Plays::Raw(text), _) => HttpResponse::Ok()
            .content_type("text/event-stream")
            .body(*text),
        (Plays::Blocking(result), "SendMessage") => frame.result(result),
        (Plays::Works(_), "SendMessage") => frame.result(SUBMITTED),
        (Plays::Works(task), "GetTask") => frame.result(task),
        (Plays::Blocking(_) | Plays::Works(_), _) => frame.error(-32004),
        (Plays::Error(code), _) => frame.error(*code),
        (Plays::Status(status), _) => HttpResponse::build((*status).try_into().unwrap()).finish(),
    }
}

/// What a request asks for, and in which binding.
fn operation(path: &str, body: &Value) -> (&'static str, Frame) {
    let known = [
        "SendMessage",
        "SendStreamingMessage",
        "GetTask",
        "CancelTask",
    ];
    let named = match body.get("method").and_then(Value::as_str) {
        Some("message/stream") => Some("SendStreamingMessage"),
        Some("tasks/cancel") => Some("CancelTask"),
        other => other,
    };
    if let Some(method) = known.into_iter().find(|name| Some(*name) == named) {
        return (method, Frame::Rpc);
    }
    let below = path.strip_prefix("/v1/x").unwrap_or_default();
    let method = match below {
        "/message:send" => "SendMessage",
        "/message:stream" => "SendStreamingMessage",
        "/tasks/theirs" => "GetTask",
        "/tasks/theirs:cancel" => "CancelTask",
        _ => "",
    };
    (method, Frame::Rest)
}

#[derive(Clone, Copy)]
enum Frame {
    Rpc,
    Rest,
}

impl Frame {
    fn around(self, result: &str) -> String {
        match self {
            Self::Rpc => format!(r#"{{"jsonrpc":"2.0","id":"1","result":{result}}}"#),
            Self::Rest => result.to_owned(),
        }
    }

    fn result(self, result: &str) -> HttpResponse {
        HttpResponse::Ok()
            .content_type("application/json")
            .body(self.around(result))
    }

    fn error(self, code: i64) -> HttpResponse {
        let (status, body) = match self {
            Self::Rpc => (
                200,
                format!(r#"{{"jsonrpc":"2.0","id":"1","error":{{"code":{code},"message":"no"}}}}"#),
            ),
            Self::Rest => (
                400,
                r#"{"error":{"code":400,"status":"FAILED_PRECONDITION","message":"no","details":[
                    {"reason":"UNSUPPORTED_OPERATION"}]}}"#
                    .to_owned(),
            ),
        };
        HttpResponse::build(actix_web::http::StatusCode::from_u16(status).unwrap())
            .content_type("application/json")
            .body(body)
    }
}

#[derive(Clone, Copy)]
enum End {
    Clean,
    Broken,
    Never,
}

fn streaming(frame: Frame, results: &'static [&'static str], end: End) -> HttpResponse {
    let events = results.iter().map(move |result| {
        let line = frame.around(&result.replace('\n', " "));
        Ok::<_, actix_web::Error>(Bytes::from(format!(": alive\n\ndata: {line}\n\n")))
    });
    let events = stream::iter(events);
    let mut response = HttpResponse::Ok();
    response.content_type("text/event-stream; charset=utf-8");
    match end {
        End::Clean => response.streaming(events),
        End::Never => response.streaming(events.chain(stream::pending())),
        // What was said before is on its way only once the server had to wait.
        End::Broken => response.streaming(events.chain(stream::once(async {
            tokio::task::yield_now().await;
            Err(actix_web::error::ErrorInternalServerError("breaks"))
        }))),
    }
}

fn turn(memory: Option<Json>) -> Turn {
    let mut message = Message::from_agent("m-1".to_owned(), "summarise this");
    message.role = Role::User;
    message.task_id = Some("ours".to_owned());
    message.context_id = Some(OUR_CONTEXT.to_owned());
    Turn {
        task_id: "ours".into(),
        context_id: OUR_CONTEXT.into(),
        message,
        metadata: Some(serde_json::from_str(r#"{"k":10000000000000000000001}"#).unwrap()),
        memory,
        accepted_output_modes: Vec::new(),
        extensions: None,
        task: None,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        kept: None,
        canceled: CancellationToken::new(),
    }
}

fn remembered() -> Json {
    serde_json::from_str(r#"{"taskId":"theirs","contextId":"talk"}"#).unwrap()
}

fn status(state: TaskState) -> TurnEvent {
    TurnEvent::status(state, None)
}

/// A turn against an agent with this card that plays this ends like this.
async fn check(
    card: Option<&'static str>,
    plays: Plays,
    told: usize,
    end: Result<(), ExecutorFailure>,
) {
    let agent = Agent::start(card, plays);
    let (all, result) = agent.run(turn(None)).await;
    assert_eq!((all.len(), result), (told, end), "{all:?}");
    agent.server.stop(false).await;
}

#[actix_rt::test]
async fn a_stream_with_an_artifact_in_pieces() {
    let mut agent = Agent::start(
        Some(STREAMS),
        Plays::Stream(&[SUBMITTED, PIECE, LAST_PIECE, DONE]),
    );
    let (told, result) = agent.run(turn(None)).await;
    assert_eq!(result, Ok(()));
    let [TurnEvent::Remember(memory), first, last, done] = told.as_slice() else {
        unreachable!("told {told:?}")
    };
    assert_eq!(*memory, remembered());
    let mut artifact = Artifact::new("a", "", vec![Part::text("one")]);
    artifact.name = None;
    assert_eq!(*first, TurnEvent::artifact(artifact, false, false));
    let TurnEvent::Artifact {
        artifact,
        append: true,
        last_chunk: true,
        ..
    } = last
    else {
        unreachable!("the last piece is {last:?}")
    };
    assert_eq!(artifact.extra.get("x-new").unwrap().text(), "[1.50]");
    assert_eq!(*done, status(TaskState::Completed));

    let seen = agent.next_call().await;
    assert_eq!(
        (seen.path.as_str(), seen.method()),
        ("/rpc", "SendStreamingMessage")
    );
    assert_eq!(seen.header("a2a-version"), Some("1.0"));
    assert_eq!(seen.header("authorization"), Some("Bearer of-the-node"));
    assert_eq!(
        seen.header("traceparent"),
        turn(None).traceparent.as_deref()
    );
    let message = seen.body.pointer("/params/message").unwrap();
    assert_eq!(message.get("taskId"), None);
    assert_eq!(message.get("contextId"), Some(&Value::from(OUR_CONTEXT)));
    assert_eq!(seen.body.pointer("/params/tenant"), Some(&Value::from("x")));
    assert!(seen.body.pointer("/params/metadata/k").is_some());
    agent.server.stop(false).await;
}

#[actix_rt::test]
async fn a_second_turn_goes_on_with_the_agents_task() {
    let mut agent = Agent::start(Some(STREAMS), Plays::Stream(&[SUBMITTED, ASKS]));
    let (told, result) = agent.run(turn(None)).await;
    assert_eq!(result, Ok(()));
    let Some(TurnEvent::Remember(memory)) = told.first() else {
        unreachable!("told {told:?}")
    };
    let asked = told.last().unwrap();
    assert!(
        matches!(
            asked,
            TurnEvent::Status { status, .. }
                if status.state == TaskState::InputRequired && status.message.is_some()
        ),
        "{asked:?}"
    );
    agent.next_call().await;

    let (told, result) = agent.run(turn(Some(memory.clone()))).await;
    assert_eq!((told.len(), result), (1, Ok(())), "{told:?}");
    let message = agent
        .next_call()
        .await
        .body
        .pointer("/params/message")
        .cloned()
        .unwrap();
    assert_eq!(message.get("taskId"), Some(&Value::from("theirs")));
    assert_eq!(message.get("contextId"), Some(&Value::from("talk")));
    agent.server.stop(false).await;
}

#[actix_rt::test]
async fn an_agent_that_does_not_stream() {
    const TASK: &str = r#"{"task":{"id":"theirs","contextId":"talk","status":{"state":"TASK_STATE_COMPLETED"},
        "artifacts":[{"artifactId":"a","parts":[{"text":"one"}]}]}}"#;
    const MESSAGE: &str =
        r#"{"message":{"messageId":"m","role":"ROLE_AGENT","parts":[{"text":"hello"}]}}"#;
    check(Some(DOES_NOT_STREAM), Plays::Blocking(TASK), 3, Ok(())).await;
    check(Some(DOES_NOT_STREAM), Plays::Blocking(MESSAGE), 1, Ok(())).await;
    check(None, Plays::Blocking(MESSAGE), 1, Ok(())).await;
    // Its card promises more than it keeps. It may have done its work, so it is not sent the message again.
    let refused = Err(ExecutorFailure::Refused(-32004));
    check(Some(STREAMS), Plays::Blocking(TASK), 0, refused).await;
}

#[actix_rt::test]
async fn an_agent_that_works_on_after_its_answer_is_asked_again() {
    const DONE: &str = r#"{"id":"theirs","contextId":"talk","status":{"state":"TASK_STATE_COMPLETED"},
        "artifacts":[{"artifactId":"a","parts":[{"text":"one"}]}]}"#;
    const OTHER: &str = r#"{"id":"another","status":{"state":"TASK_STATE_COMPLETED"}}"#;
    check(Some(DOES_NOT_STREAM), Plays::Works(DONE), 3, Ok(())).await;
    check(Some(REST_IN_ONE), Plays::Works(DONE), 3, Ok(())).await;
    let foreign = Err(ExecutorFailure::NotA2a);
    check(Some(DOES_NOT_STREAM), Plays::Works(OTHER), 1, foreign).await;
}

#[actix_rt::test]
async fn an_agent_that_speaks_http_and_json() {
    let mut agent = Agent::start(
        Some(REST),
        Plays::Stream(&[SUBMITTED, PIECE, LAST_PIECE, DONE]),
    );
    let mut said = turn(None);
    said.accepted_output_modes = vec!["text/plain".to_owned()];
    said.extensions = Some("https://example.org/x".to_owned());
    let (told, result) = agent.run(said).await;
    assert_eq!((told.len(), result), (4, Ok(())), "{told:?}");
    let seen = agent.next_call().await;
    assert_eq!(seen.path, "/v1/x/message:stream");
    for (name, value) in [
        ("a2a-version", "1.0"),
        ("content-type", "application/json"),
        ("a2a-extensions", "https://example.org/x"),
        ("authorization", "Bearer of-the-node"),
    ] {
        assert_eq!(seen.header(name), Some(value));
    }
    let modes = seen
        .body
        .pointer("/configuration/acceptedOutputModes/0")
        .unwrap();
    assert_eq!(modes, "text/plain");
    assert_eq!(seen.body.get("tenant"), None);
    agent.server.stop(false).await;

    let refused = |code| Err(ExecutorFailure::Refused(code));
    check(Some(REST), Plays::Error(0), 0, refused(-32004)).await;
    check(Some(REST), Plays::Status(403), 0, refused(403)).await;
    let no_a2a = Err(ExecutorFailure::NotA2a);
    check(Some(REST), Plays::Stream(&["{}"]), 0, no_a2a).await;
}

#[actix_rt::test]
async fn an_agent_of_the_old_version() {
    const WORKS: &str =
        r#"{"kind":"task","id":"theirs","contextId":"talk","status":{"state":"working"}}"#;
    const PIECE: &str = r#"{"kind":"artifact-update","taskId":"theirs","contextId":"talk",
        "artifact":{"artifactId":"a","parts":[{"kind":"text","text":"one"}]}}"#;
    const ASKS: &str = r#"{"kind":"status-update","taskId":"theirs","contextId":"talk","final":true,
        "status":{"state":"input-required","message":{"kind":"message","messageId":"q","role":"agent","parts":[{"kind":"text","text":"which?"}]}}}"#;
    let mut agent = Agent::start(Some(OLD), Plays::Stream(&[WORKS, PIECE, ASKS]));
    let mut said = turn(None);
    said.extensions = Some("https://example.org/x".to_owned());
    let (told, result) = agent.run(said).await;
    assert_eq!((told.len(), result), (3, Ok(())), "{told:?}");
    assert!(
        matches!(told.last(), Some(TurnEvent::Status { status, .. }) if status.state == TaskState::InputRequired)
    );
    let seen = agent.next_call().await;
    assert_eq!(seen.header("a2a-version"), Some("0.3"));
    assert_eq!(
        seen.header("x-a2a-extensions"),
        Some("https://example.org/x")
    );
    assert_eq!(seen.header("a2a-extensions"), None);
    let kind = seen.body.pointer("/params/message/kind");
    assert_eq!(kind, Some(&Value::from("message")));
    agent.server.stop(false).await;
    // The shapes of the new version are not those of the old.
    let no_a2a = Err(ExecutorFailure::NotA2a);
    check(Some(OLD), Plays::Stream(&[SUBMITTED]), 0, no_a2a).await;
}

#[actix_rt::test]
async fn a_cancellation_reaches_an_agent_over_http_and_json() {
    let mut agent = Agent::start(Some(REST), Plays::Hangs(&[SUBMITTED]));
    let (events, mut told) = TurnEvents::channel();
    let turn = turn(None);
    let canceled = turn.canceled.clone();
    let running = actix_rt::spawn(Arc::clone(&agent.executor).run(turn, events));
    assert!(matches!(told.recv().await, Some(TurnEvent::Remember(_))));
    canceled.cancel();
    assert_eq!(running.await.unwrap(), Err(ExecutorFailure::Ended));
    assert_eq!(agent.next_call().await.method(), "SendStreamingMessage");
    assert_eq!(agent.next_call().await.path, "/v1/x/tasks/theirs:cancel");
    agent.server.stop(false).await;
}

#[actix_rt::test]
async fn an_agent_without_a_card_is_tried_at_its_url() {
    let mut agent = Agent::start(None, Plays::Stream(&[SUBMITTED, DONE]));
    let (told, result) = agent.run(turn(None)).await;
    assert_eq!((told.len(), result), (2, Ok(())));
    assert_eq!(agent.next_call().await.path, "/");
    assert_eq!(
        UpstreamCard::of(Arc::clone(&agent.executor)).read().await,
        Err(NoCard::Away)
    );
    agent.server.stop(false).await;
}

#[actix_rt::test]
async fn agents_that_do_not_finish() {
    check(
        Some(STREAMS),
        Plays::Breaks(&[SUBMITTED, PIECE]),
        2,
        Err(ExecutorFailure::Lost),
    )
    .await;
    check(
        Some(STREAMS),
        Plays::Stream(&[SUBMITTED, PIECE]),
        2,
        Err(ExecutorFailure::Lost),
    )
    .await;
    check(
        Some(STREAMS),
        Plays::Stream(&[]),
        0,
        Err(ExecutorFailure::Lost),
    )
    .await;
    check(
        Some(STREAMS),
        Plays::Raw("data: {\"jsonrpc\":\"2.0\""),
        0,
        Err(ExecutorFailure::Lost),
    )
    .await;
}

#[actix_rt::test]
async fn agents_that_talk_nonsense() {
    const OTHERS: &str = r#"{"statusUpdate":{"taskId":"another","contextId":"talk","status":{"state":"TASK_STATE_COMPLETED"}}}"#;
    check(
        Some(STREAMS),
        Plays::Raw("data: nonsense\n\n"),
        0,
        Err(ExecutorFailure::NotA2a),
    )
    .await;
    check(
        Some(STREAMS),
        Plays::Stream(&["{}"]),
        0,
        Err(ExecutorFailure::NotA2a),
    )
    .await;
    check(
        Some(STREAMS),
        Plays::Stream(&[SUBMITTED, OTHERS]),
        1,
        Err(ExecutorFailure::NotA2a),
    )
    .await;
    check(
        Some("[]"),
        Plays::Stream(&[DONE]),
        0,
        Err(ExecutorFailure::NotA2a),
    )
    .await;
    check(
        Some(r#"{"name":"without an interface"}"#),
        Plays::Stream(&[DONE]),
        0,
        Err(ExecutorFailure::NotA2a),
    )
    .await;
}

#[actix_rt::test]
async fn agents_that_refuse() {
    check(
        Some(STREAMS),
        Plays::Error(-32602),
        0,
        Err(ExecutorFailure::Refused(-32602)),
    )
    .await;
    check(
        Some(STREAMS),
        Plays::Error(-32004),
        0,
        Err(ExecutorFailure::Refused(-32004)),
    )
    .await;
    check(
        Some(STREAMS),
        Plays::Status(401),
        0,
        Err(ExecutorFailure::Refused(401)),
    )
    .await;
    check(
        Some(STREAMS),
        Plays::Status(302),
        0,
        Err(ExecutorFailure::NotA2a),
    )
    .await;
    check(
        Some(STREAMS),
        Plays::Status(503),
        0,
        Err(ExecutorFailure::Unreachable),
    )
    .await;
}

#[actix_rt::test]
async fn an_event_beyond_the_limit_fails_the_turn() {
    let limits = UpstreamLimits {
        max_event_bytes: 300,
        ..UpstreamLimits::default()
    };
    let long: &'static str = Box::leak(PIECE.replace("one", &"x".repeat(400)).into_boxed_str());
    let results: &'static [&'static str] = Box::leak(Box::new([SUBMITTED, long]));
    let agent = Agent::with_limits(Some(STREAMS), Plays::Stream(results), limits);
    let (told, result) = agent.run(turn(None)).await;
    assert_eq!((told.len(), result), (1, Err(ExecutorFailure::NotA2a)));
    agent.server.stop(false).await;
}

#[actix_rt::test]
async fn an_agent_that_falls_silent_is_told_to_stop() {
    let limits = UpstreamLimits {
        idle: Duration::from_millis(500),
        ..UpstreamLimits::default()
    };
    let mut agent = Agent::with_limits(Some(STREAMS), Plays::Hangs(&[SUBMITTED, PIECE]), limits);
    let (told, result) = agent.run(turn(None)).await;
    assert_eq!((told.len(), result), (2, Err(ExecutorFailure::TooSlow)));
    assert_eq!(agent.next_call().await.method(), "SendStreamingMessage");
    let cancel = agent.next_call().await;
    assert_eq!(
        (cancel.method(), cancel.body.pointer("/params/id")),
        ("CancelTask", Some(&Value::from("theirs")))
    );
    agent.server.stop(false).await;
}

#[actix_rt::test]
async fn a_cancellation_reaches_the_agent() {
    let mut agent = Agent::start(Some(STREAMS), Plays::Hangs(&[SUBMITTED, PIECE]));
    let (events, mut told) = TurnEvents::channel();
    let turn = turn(None);
    let canceled = turn.canceled.clone();
    let running = actix_rt::spawn(Arc::clone(&agent.executor).run(turn, events));
    assert!(matches!(told.recv().await, Some(TurnEvent::Remember(_))));
    canceled.cancel();
    assert_eq!(running.await.unwrap(), Err(ExecutorFailure::Ended));
    assert_eq!(agent.next_call().await.method(), "SendStreamingMessage");
    let cancel = agent.next_call().await;
    assert_eq!(
        (cancel.method(), cancel.body.pointer("/params/id")),
        ("CancelTask", Some(&Value::from("theirs")))
    );
    assert_eq!(
        cancel.body.pointer("/params/tenant"),
        Some(&Value::from("x"))
    );
    agent.server.stop(false).await;
}

#[actix_rt::test]
async fn a_task_that_ended_otherwise_ends_the_turn() {
    let mut agent = Agent::start(Some(STREAMS), Plays::Hangs(&[SUBMITTED, PIECE]));
    let (events, told) = TurnEvents::channel();
    drop(told);
    let result = Arc::clone(&agent.executor).run(turn(None), events).await;
    assert_eq!(result, Err(ExecutorFailure::Ended));
    agent.next_call().await;
    assert_eq!(agent.next_call().await.method(), "CancelTask");
    agent.server.stop(false).await;
}

#[actix_rt::test]
async fn an_agent_that_is_away() {
    let agent = Agent::start(Some(STREAMS), Plays::Stream(&[DONE]));
    agent.server.stop(false).await;
    let (told, result) = agent.run(turn(None)).await;
    assert_eq!(
        (told, result),
        (Vec::new(), Err(ExecutorFailure::Unreachable))
    );
}

#[actix_rt::test]
async fn the_card_is_read_once_for_many_turns() {
    let mut agent = Agent::start(Some(STREAMS), Plays::Stream(&[DONE]));
    for _ in 0..3 {
        assert_eq!(agent.run(turn(None)).await.1, Ok(()));
    }
    let mut methods = Vec::new();
    while let Ok(seen) = agent.seen.try_recv() {
        methods.push(seen.method().to_owned());
    }
    let call = "SendStreamingMessage";
    assert_eq!(methods, ["", call, call, call]);
    let card = UpstreamCard::of(Arc::clone(&agent.executor))
        .read()
        .await
        .unwrap();
    assert_eq!(card.name, "played");
    agent.server.stop(false).await;
}
