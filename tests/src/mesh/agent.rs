//! An upstream agent, or a peer, that the test itself plays: each call is handed to the test, which answers it when and
//! how it likes.

use std::fmt;
use std::io;
use std::sync::mpsc as start;
use std::thread::{self, JoinHandle};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::wait::{DEADLINE, within};

/// A server on a port of its own. Dropping it closes all its connections at once.
pub struct FakeAgent {
    origin: String,
    calls: mpsc::UnboundedReceiver<AgentCall>,
    server: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

/// A call that waits for its answer. Dropped without one, it is answered with 500.
pub struct AgentCall {
    pub path: String,
    headers: Vec<(String, String)>,
    body: Value,
    answer: oneshot::Sender<Reply>,
}

/// A stream that the test writes. Dropping it ends the stream as an agent does that is done.
pub struct AgentStream {
    id: Value,
    pieces: mpsc::UnboundedSender<io::Result<Bytes>>,
}

enum Reply {
    Whole {
        status: u16,
        kind: &'static str,
        body: Bytes,
    },
    Stream(mpsc::UnboundedReceiver<io::Result<Bytes>>),
}

/// What the server's thread knows.
#[derive(Clone)]
struct Played {
    card: Option<String>,
    /// What it says of itself as a node of a mesh.
    descriptor: Option<String>,
    calls: mpsc::UnboundedSender<AgentCall>,
}

impl FakeAgent {
    /// An agent with a card that says that it streams.
    pub fn start() -> Self {
        let card = json!({
            "name": "played",
            "description": "an agent that a test plays",
            "version": "1",
            "capabilities": {"streaming": true},
            "supportedInterfaces": [
                {"url": "http://elsewhere.invalid/", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
            ],
            "defaultInputModes": ["text/plain"],
            "defaultOutputModes": ["text/plain"],
            "skills": [],
            "x-kept": 1.50,
        });
        Self::start_with(Some(card.to_string()))
    }

    /// An agent without a card, or a peer.
    pub fn start_without_card() -> Self {
        Self::start_with(None)
    }

    /// An agent whose card is this text.
    pub fn start_with(card: Option<String>) -> Self {
        Self::start_as(card, None)
    }

    /// A node with this card and this mesh descriptor.
    pub fn start_as(card: Option<String>, descriptor: Option<String>) -> Self {
        let (tell, told) = start::channel();
        let (hand, calls) = mpsc::unbounded_channel();
        let played = Played {
            card,
            descriptor,
            calls: hand,
        };
        let thread = thread::spawn(move || serve(played, &tell));
        let started = told.recv_timeout(DEADLINE);
        let (origin, server) = started.expect("an agent starts");
        Self {
            origin,
            calls,
            server,
            thread: Some(thread),
        }
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The next call, whatever its method.
    pub async fn call(&mut self) -> AgentCall {
        let call = within("a call of the agent", self.calls.recv()).await;
        call.expect("the agent runs")
    }

    /// The next call, however long it takes to come.
    pub async fn next_call(&mut self) -> Option<AgentCall> {
        self.calls.recv().await
    }

    /// Whether nobody has called since the last call that was taken.
    pub fn is_left_alone(&mut self) -> bool {
        self.calls.try_recv().is_err()
    }
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        // The command is on its way when the call returns; the future only tells when it is done.
        drop(self.server.stop(false));
        // Calls that nobody took would wait for ever.
        self.calls.close();
        while self.calls.try_recv().is_ok() {}
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || thread::panicking(),
                "the agent's thread panicked"
            );
        }
    }
}

impl AgentCall {
    /// The JSON-RPC method.
    pub fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    /// The JSON-RPC parameters.
    pub fn params(&self) -> &Value {
        &self.body["params"]
    }

    /// The whole body, as a webhook gets it.
    pub fn body(&self) -> &Value {
        &self.body
    }

    /// A header; several of one name count as the first.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The names of all headers, in order of the alphabet.
    pub fn header_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// Answers with a result.
    pub fn answer(self, result: Value) {
        let answer = json!({"jsonrpc": "2.0", "id": self.body["id"], "result": result});
        self.answer_raw(200, "application/json", answer.to_string());
    }

    /// Answers with a JSON-RPC error.
    pub fn refuse(self, code: i64) {
        let error = json!({"code": code, "message": "refused by the test"});
        let answer = json!({"jsonrpc": "2.0", "id": self.body["id"], "error": error});
        self.answer_raw(200, "application/json", answer.to_string());
    }

    /// Answers with anything.
    pub fn answer_raw(self, status: u16, kind: &'static str, body: impl Into<Bytes>) {
        let body = body.into();
        self.reply(Reply::Whole { status, kind, body });
    }

    /// Answers with a stream.
    pub fn stream(mut self) -> AgentStream {
        let (pieces, written) = mpsc::unbounded_channel();
        let id = self.body["id"].take();
        self.reply(Reply::Stream(written));
        AgentStream { id, pieces }
    }

    fn reply(self, reply: Reply) {
        // A caller that has left does not need an answer.
        let _left = self.answer.send(reply);
    }
}

impl AgentStream {
    /// Tells an event.
    pub fn tell(&self, result: Value) {
        let event = json!({"jsonrpc": "2.0", "id": self.id, "result": result});
        self.write(format!("data: {event}\n\n"));
    }

    /// Writes anything.
    pub fn write(&self, text: impl Into<Bytes>) {
        // A caller that has left does not listen.
        let _left = self.pieces.send(Ok(text.into()));
    }

    /// Breaks the connection in the middle of the stream.
    pub fn break_off(self) {
        let _left = self
            .pieces
            .send(Err(io::Error::other("the test breaks off")));
    }

    /// Waits until the caller closes the connection.
    pub async fn until_left(&self) {
        within(
            "the caller leaving the agent's stream",
            self.pieces.closed(),
        )
        .await;
    }
}

impl fmt::Debug for AgentCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.body)
    }
}

fn serve(played: Played, tell: &start::Sender<(String, ServerHandle)>) {
    actix_rt::System::new().block_on(async move {
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::new(played.clone()))
                .app_data(web::PayloadConfig::new(64 * 1024 * 1024))
                .default_service(web::to(play))
        });
        // A caller that closes its side has left; otherwise an agent notices that only when it writes.
        let server = server
            .workers(1)
            .disable_signals()
            .h1_allow_half_closed(false);
        let server = server.bind(("127.0.0.1", 0)).expect("there is a free port");
        let address = server.addrs().first().copied().expect("it is bound");
        let running = server.run();
        tell.send((format!("http://{address}"), running.handle()))
            .unwrap();
        running.await.expect("the agent serves");
    });
}

async fn play(request: HttpRequest, body: Bytes, played: web::Data<Played>) -> HttpResponse {
    let document = |document: &Option<String>| match document {
        Some(document) => HttpResponse::Ok()
            .content_type("application/json")
            .body(document.clone()),
        None => HttpResponse::NotFound().finish(),
    };
    if request.path().ends_with("/.well-known/agent-card.json") {
        return document(&played.card);
    }
    if request.path().ends_with("-mesh.json") {
        return document(&played.descriptor);
    }
    if request.path().ends_with("/.well-known/agent.json") {
        return HttpResponse::NotFound().finish();
    }
    let (answer, answered) = oneshot::channel();
    let headers = request.headers().iter();
    let call = AgentCall {
        path: request.path().to_owned(),
        headers: headers
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
        answer,
    };
    let handed = played.calls.send(call);
    match answered.await {
        Ok(Reply::Whole { status, kind, body }) => {
            let status = actix_web::http::StatusCode::from_u16(status).expect("a status");
            HttpResponse::build(status).content_type(kind).body(body)
        }
        Ok(Reply::Stream(written)) => HttpResponse::Ok()
            .content_type("text/event-stream")
            .streaming(stream::unfold(written, |mut written| async move {
                Some((written.recv().await?, written))
            })),
        Err(_) => HttpResponse::InternalServerError().body(format!("{:?}", handed.is_ok())),
    }
}
