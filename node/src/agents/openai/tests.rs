//! Turns run against a small server that plays the endpoint.

use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use archipel_kit::settings::{Environment, Secret, load};
use archipel_protocol::a2a::{Message, Role, TaskState};
use archipel_protocol::object::Json;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{ChatAgent, ChatAgentSettings};
use crate::agents::upstream::UpstreamLimits;
use crate::egress::{Destination, Egress};
use crate::tasks::executor::{AgentExecutor, ExecutorFailure, Turn, TurnEvent, TurnEvents};

/// How the endpoint answers.
#[derive(Clone, Copy)]
enum Plays {
    /// These chunks, each written by itself.
    Stream(&'static [&'static str]),
    /// These chunks, then nothing more, for ever.
    Hangs(&'static [&'static str]),
    /// One JSON body.
    Whole(&'static str),
    Status(u16),
}

#[derive(Clone)]
struct Played {
    plays: Plays,
    seen: mpsc::UnboundedSender<(String, Option<String>, Value)>,
}

struct Endpoint {
    agent: Arc<ChatAgent>,
    seen: mpsc::UnboundedReceiver<(String, Option<String>, Value)>,
    server: ServerHandle,
}

impl Endpoint {
    fn start(plays: Plays, adjust: impl FnOnce(&mut ChatAgentSettings)) -> Self {
        let (seen_by, seen) = mpsc::unbounded_channel();
        let played = Played {
            plays,
            seen: seen_by,
        };
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::new(played.clone()))
                .default_service(web::to(play))
        });
        let server = server.workers(1).bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}/v1/", server.addrs().first().unwrap());
        let server = server.run();
        let handle = server.handle();
        actix_rt::spawn(server);
        let mut settings = ChatAgentSettings {
            id: "model".into(),
            url: url.parse().unwrap(),
            model: "small".to_owned(),
            api_key: Some(Secret::new("key-of-the-node")),
            system_prompt: Some("Be brief.".to_owned()),
            temperature: Some(0.7),
            max_tokens: None,
            images: false,
            history: 1024,
            conversation: false,
            limits: UpstreamLimits::default(),
            destination: Destination::Trusted,
        };
        adjust(&mut settings);
        let egress = Egress::new(&load(None, &Environment::default()).unwrap());
        Self {
            agent: Arc::new(ChatAgent::new(settings, Arc::new(egress))),
            seen,
            server: handle,
        }
    }

    async fn run(&self, turn: Turn) -> (Vec<TurnEvent>, Result<(), ExecutorFailure>) {
        let (events, mut told) = TurnEvents::channel();
        let result = Arc::clone(&self.agent).run(turn, events).await;
        let mut all = Vec::new();
        while let Some(event) = told.recv().await {
            all.push(event);
        }
        (all, result)
    }
}

async fn play(request: HttpRequest, body: Bytes, played: web::Data<Played>) -> HttpResponse {
    let key = request.headers().get("authorization");
    let key = key.map(|key| key.to_str().unwrap().to_owned());
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let seen = (request.path().to_owned(), key, body);
    played.seen.send(seen).unwrap();
    let written = |chunks: &'static [&'static str]| {
        stream::iter(chunks).then(|chunk| async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok::<_, actix_web::Error>(Bytes::from(format!("data: {chunk}\n\n")))
        })
    };
    let mut response = HttpResponse::Ok();
    response.content_type("text/event-stream");
    match played.plays {
        Plays::Stream(chunks) => response.streaming(written(chunks)),
        Plays::Hangs(chunks) => response.streaming(written(chunks).chain(stream::pending())),
        Plays::Whole(body) => HttpResponse::Ok()
            .content_type("application/json")
            .body(body),
        Plays::Status(status) => HttpResponse::build(status.try_into().unwrap())
            .body(r#"{"error":{"message":"their own words"}}"#),
    }
}

const HELLO: &str = r#"{"choices":[{"delta":{"content":"Hello"},"finish_reason":null}]}"#;
const WORLD: &str = r#"{"choices":[{"delta":{"content":", world"},"finish_reason":null}]}"#;
const STOP: &str = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
const CUT: &str = r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#;
const ERROR: &str = r#"{"error":{"message":"overloaded"}}"#;
const FILTERED: &str = r#"{"choices":[{"delta":{},"finish_reason":"content_filter"}]}"#;

fn turn(parts: Value, memory: Option<Json>) -> Turn {
    let said = json!({"messageId": "m", "role": "ROLE_USER", "parts": parts}).to_string();
    let mut message = Message::parse(serde_json::from_str(&said).unwrap()).unwrap();
    message.role = Role::User;
    Turn {
        task_id: "ours".into(),
        context_id: "talk".into(),
        message,
        metadata: None,
        memory,
        accepted_output_modes: Vec::new(),
        extensions: None,
        task: None,
        traceparent: None,
        kept: None,
        canceled: CancellationToken::new(),
    }
}

fn hello() -> Turn {
    turn(json!([{"text": "hello"}]), None)
}

/// The text of an answer, and how its pieces were marked.
fn answer(told: &[TurnEvent]) -> (String, Vec<(bool, bool)>) {
    let pieces = told.iter().filter_map(|event| match event {
        TurnEvent::Artifact {
            artifact,
            append,
            last_chunk,
            ..
        } => Some((artifact, (*append, *last_chunk))),
        _ => None,
    });
    let (artifacts, marks): (Vec<_>, Vec<_>) = pieces.unzip();
    let texts = artifacts
        .iter()
        .flat_map(|artifact| artifact.parts.iter().filter_map(|part| part.as_text()));
    (texts.collect(), marks)
}

#[actix_rt::test]
async fn an_answer_is_streamed_into_one_artifact() {
    let plays = Plays::Stream(&[HELLO, WORLD, STOP, "[DONE]"]);
    let mut endpoint = Endpoint::start(plays, |_| {});
    let (told, result) = endpoint.run(hello()).await;
    assert_eq!(result, Ok(()));
    let (text, marks) = answer(&told);
    assert_eq!(text, "Hello, world");
    assert_eq!(marks.first(), Some(&(false, false)));
    assert_eq!(marks.last(), Some(&(true, true)));
    assert!(marks.iter().filter(|(_, last)| *last).count() == 1 && told.len() == marks.len());

    let (path, key, body) = endpoint.seen.recv().await.unwrap();
    assert_eq!(path, "/v1/chat/completions");
    assert_eq!(key.as_deref(), Some("Bearer key-of-the-node"));
    let expected = json!({
        "model": "small",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hello"},
        ],
        "stream": true,
        "temperature": 0.7,
    });
    assert_eq!(body, expected);
    endpoint.server.stop(false).await;
}

async fn check(plays: Plays, said: &str, end: Result<(), ExecutorFailure>) {
    let endpoint = Endpoint::start(plays, |_| {});
    let (told, result) = endpoint.run(hello()).await;
    let (text, marks) = answer(&told);
    assert_eq!((text.as_str(), &result), (said, &end));
    let ends = marks.last().is_some_and(|(_, last)| *last);
    assert!(ends || result.is_err(), "{told:?}");
    endpoint.server.stop(false).await;
}

#[actix_rt::test]
async fn endpoints_differ_in_how_they_end() {
    check(Plays::Stream(&[HELLO, "[DONE]"]), "Hello", Ok(())).await;
    check(Plays::Stream(&[HELLO, STOP]), "Hello", Ok(())).await;
    check(Plays::Stream(&[HELLO, CUT, "[DONE]"]), "Hello", Ok(())).await;
    let whole = r#"{"choices":[{"message":{"content":"Hello"},"finish_reason":"stop"}]}"#;
    check(Plays::Whole(whole), "Hello", Ok(())).await;
    check(Plays::Stream(&[HELLO]), "Hello", Err(ExecutorFailure::Lost)).await;
}

#[actix_rt::test]
async fn endpoints_that_fail_are_told_in_plain_words() {
    let unusable = |why| Err(ExecutorFailure::Unusable(why));
    let unreadable = "the model's endpoint gave an answer that cannot be read";
    check(Plays::Stream(&["x"]), "", unusable(unreadable)).await;
    check(Plays::Whole("<html>"), "", unusable(unreadable)).await;
    check(Plays::Status(302), "", unusable(unreadable)).await;
    let broke = "the model broke off with an error";
    check(Plays::Stream(&[ERROR]), "", unusable(broke)).await;
    let credential = "the model's endpoint refused the node's credential";
    check(Plays::Status(401), "", unusable(credential)).await;
    let nothing = "the endpoint has no such path or no such model";
    check(Plays::Status(404), "", unusable(nothing)).await;
    let busy = "the model's endpoint takes no more requests now; try again later";
    check(Plays::Status(429), "", unusable(busy)).await;
    check(Plays::Status(400), "", Err(ExecutorFailure::Refused(400))).await;
    check(Plays::Status(500), "", Err(ExecutorFailure::Unreachable)).await;
    let withheld = "the model's endpoint withheld the answer by its content filter";
    let declined = Err(ExecutorFailure::Declined(withheld));
    check(
        Plays::Stream(&[HELLO, FILTERED, "[DONE]"]),
        "Hello",
        declined,
    )
    .await;
}

#[actix_rt::test]
async fn what_the_model_cannot_be_given_is_refused_without_asking_it() {
    let mut endpoint = Endpoint::start(Plays::Status(500), |_| {});
    let check = |told: &[TurnEvent], expected: TaskState, words: &str| {
        let [TurnEvent::Status { status, .. }] = told else {
            unreachable!("told {told:?}")
        };
        assert_eq!(status.state, expected);
        let said = status.message.as_ref().unwrap().joined_text();
        assert!(said.contains(words), "{said}");
    };
    let file = json!([{"text": "read"}, {"url": "http://a/b", "mediaType": "application/pdf"}]);
    let (told, result) = endpoint.run(turn(file, None)).await;
    assert_eq!(result, Ok(()));
    check(
        &told,
        TaskState::Rejected,
        "part 2 of the message is a file (application/pdf)",
    );
    let (told, result) = endpoint.run(turn(json!([{"text": " "}]), None)).await;
    assert_eq!(result, Ok(()));
    check(&told, TaskState::InputRequired, "says something");
    assert!(endpoint.seen.try_recv().is_err());
    endpoint.server.stop(false).await;
}

#[actix_rt::test]
async fn a_conversation_goes_on_with_what_was_said() {
    let plays = Plays::Stream(&[HELLO, STOP, "[DONE]"]);
    let mut endpoint = Endpoint::start(plays, |settings| settings.conversation = true);
    let (told, _) = endpoint.run(hello()).await;
    let [
        ..,
        TurnEvent::Remember(memory),
        TurnEvent::Status { status, .. },
    ] = told.as_slice()
    else {
        unreachable!("told {told:?}")
    };
    assert_eq!(status.state, TaskState::InputRequired);
    let again = turn(json!([{"text": "and?"}]), Some(memory.clone()));
    assert_eq!(endpoint.run(again).await.1, Ok(()));
    endpoint.seen.recv().await.unwrap();
    let (_, _, body) = endpoint.seen.recv().await.unwrap();
    let expected = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "and?"},
    ]);
    assert_eq!(body.get("messages"), Some(&expected));
    endpoint.server.stop(false).await;
}

#[actix_rt::test]
async fn a_cancellation_ends_the_request() {
    let mut endpoint = Endpoint::start(Plays::Hangs(&[HELLO]), |_| {});
    let (events, mut told) = TurnEvents::channel();
    let turn = hello();
    let canceled = turn.canceled.clone();
    let running = actix_rt::spawn(Arc::clone(&endpoint.agent).run(turn, events));
    assert!(matches!(
        told.recv().await,
        Some(TurnEvent::Artifact { .. })
    ));
    canceled.cancel();
    assert_eq!(running.await.unwrap(), Err(ExecutorFailure::Ended));
    endpoint.seen.recv().await.unwrap();
    endpoint.server.stop(false).await;
}
