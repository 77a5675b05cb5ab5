//! The `openai` executor: a model behind a chat endpoint of the kind that OpenAI made and everybody copied.
//!
//! A turn becomes one `POST {url}/chat/completions` with `stream: true`; what the model says is streamed into one
//! artifact, piece by piece. What was said in earlier turns of the task goes along, up to a bound. Dropping the turn
//! drops the request, which is how such an endpoint is told to stop. Read `chat` (what is sent), `chunk` (what comes
//! back).

use std::sync::Arc;
use std::time::Duration;

use archipel_kit::client::{Answer, ClientError, RequestBody, Timeouts};
use archipel_kit::settings::Secret;
use archipel_protocol::a2a::{Artifact, Message, Part, TaskState};
use archipel_protocol::object::{Extra, Json};
use futures_util::future::LocalBoxFuture;
use futures_util::{FutureExt, StreamExt};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode};
use serde_json::json;
use url::Url;
use uuid::Uuid;

use crate::agents::openai::chat::{Chat, Heard};
use crate::agents::openai::chunk::{Chunk, Piece};
use crate::agents::upstream::sse::SseReader;
use crate::agents::upstream::{UpstreamLimits, failure, is_event_stream};
use crate::control::hosted::Probe;
use crate::egress::{Destination, Egress};
use crate::tasks::executor::{
    AgentExecutor, ExecutorFailure, Turn, TurnEvent, TurnEvents, TurnFuture,
};

mod chat;
mod chunk;

/// The one artifact of an answer.
const ANSWER: &str = "answer";

/// How long it may take to see whether an endpoint is there.
const LOOK: Duration = Duration::from_secs(10);

/// How long the end of a stream may take after its last event, before the connection is given up instead of kept.
const END_OF_STREAM: Duration = Duration::from_millis(100);

/// Which model, and how it is asked.
#[derive(Debug, Clone)]
pub struct ChatAgentSettings {
    /// Our id of the agent, for log lines.
    pub id: Arc<str>,
    /// The base of the endpoint, `https://api.openai.com/v1` for example.
    pub url: Url,
    /// Name of the model.
    pub model: String,
    /// Sent as bearer token.
    pub api_key: Option<Secret>,
    /// Said to the model before anything else.
    pub system_prompt: Option<String>,
    /// How freely it chooses words; unset leaves it to the endpoint.
    pub temperature: Option<f64>,
    /// The longest answer, in tokens.
    pub max_tokens: Option<u32>,
    /// Whether image parts are passed on.
    pub images: bool,
    /// How much of what was said in earlier turns goes along, in bytes.
    pub history: usize,
    /// Whether the task waits for another message after an answer.
    pub conversation: bool,
    /// How long it may take, and how much it may say at once.
    pub limits: UpstreamLimits,
    /// Who chose the URL.
    pub destination: Destination,
}

/// See the module.
pub struct ChatAgent {
    settings: ChatAgentSettings,
    endpoint: Url,
    authorization: Option<HeaderValue>,
    egress: Arc<Egress>,
}

/// What has come of an answer so far.
#[derive(Default)]
struct Answered {
    text: String,
    told: bool,
    /// Why the model stopped.
    finish: Option<String>,
}

impl ChatAgent {
    /// No connection is made yet.
    pub fn new(settings: ChatAgentSettings, egress: Arc<Egress>) -> Self {
        let mut endpoint = settings.url.clone();
        // An http URL always has segments; the configuration takes no other.
        if let Ok(mut path) = endpoint.path_segments_mut() {
            path.pop_if_empty().extend(["chat", "completions"]);
        }
        let authorization = settings.api_key.as_ref().and_then(|key| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose())).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self {
            settings,
            endpoint,
            authorization,
            egress,
        }
    }

    async fn take_turn(
        self: Arc<Self>,
        turn: Turn,
        events: TurnEvents,
    ) -> Result<(), ExecutorFailure> {
        let canceled = turn.canceled.clone();
        let talk = self.talk(&turn, &events);
        let result = canceled
            .run_until_cancelled(talk)
            .await
            .unwrap_or(Err(ExecutorFailure::Ended));
        if let Err(failure) = &result
            && *failure != ExecutorFailure::Ended
        {
            tracing::warn!(agent.id = %self.settings.id, reason = %failure, "turn of a model not finished");
        }
        result
    }

    async fn talk(&self, turn: &Turn, events: &TurnEvents) -> Result<(), ExecutorFailure> {
        let heard = match Heard::of(&turn.message, self.settings.images) {
            Ok(heard) => heard,
            Err(refusal) => {
                let said = agent_says(refusal.to_string());
                let status = TurnEvent::status(TaskState::Rejected, Some(said));
                return Ok(events.tell(status).await?);
            }
        };
        if heard.is_blank() {
            let asks = agent_says("Send me a message that says something.".to_owned());
            let status = TurnEvent::status(TaskState::InputRequired, Some(asks));
            return Ok(events.tell(status).await?);
        }
        let mut chat = Chat::recall(turn.memory.as_ref());
        chat.hear(heard);
        chat.shorten(self.settings.history);
        let answer = self.ask(&chat, turn.traceparent.as_deref()).await?;
        let said = self.listen(answer, events).await?;
        if self.settings.conversation {
            chat.answer(said);
            chat.shorten(self.settings.history);
            if let Ok(memory) = Json::of(&chat) {
                events.tell(TurnEvent::Remember(memory)).await?;
            }
            let waits = TurnEvent::status(TaskState::InputRequired, None);
            events.tell(waits).await?;
        }
        Ok(())
    }

    async fn ask(&self, chat: &Chat, traceparent: Option<&str>) -> Result<Answer, ExecutorFailure> {
        let settings = &self.settings;
        let body = chat.request(settings).map_err(|_| unreadable())?;
        let mut request = Request::new(RequestBody::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self
            .endpoint
            .as_str()
            .parse()
            .map_err(|_| ExecutorFailure::Unreachable)?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let accept = "text/event-stream, application/json";
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(Ok(traceparent)) = traceparent.map(HeaderValue::from_str) {
            headers.insert("traceparent", traceparent);
        }
        let limits = Timeouts {
            first_byte: Some(settings.limits.first_byte),
            idle: Some(settings.limits.idle),
            total: Some(settings.limits.turn),
        };
        let sent = self.egress.send(settings.destination, request, limits);
        let answer = sent.await.map_err(broken)?;
        match refused(answer.status) {
            None => Ok(answer),
            Some(failure) => Err(failure),
        }
    }

    /// Asks for the list of models, which costs nothing; an endpoint without such a list is there, too.
    async fn models(&self) -> Result<(), ExecutorFailure> {
        let mut url = self.settings.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("models");
        }
        let mut request = Request::new(RequestBody::empty());
        *request.uri_mut() = url
            .as_str()
            .parse()
            .map_err(|_| ExecutorFailure::Unreachable)?;
        if let Some(authorization) = &self.authorization {
            let headers = request.headers_mut();
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let limits = Timeouts {
            first_byte: Some(LOOK),
            idle: None,
            total: Some(LOOK),
        };
        let sent = self.egress.send(self.settings.destination, request, limits);
        let answer = sent.await.map_err(broken)?;
        let is_missing = matches!(
            answer.status,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
        );
        match refused(answer.status).filter(|_| !is_missing) {
            None => Ok(()),
            Some(failure) => Err(failure),
        }
    }

    /// Streams the answer into its artifact; gives back the whole of it.
    async fn listen(&self, answer: Answer, events: &TurnEvents) -> Result<String, ExecutorFailure> {
        let limit = self.settings.limits.max_event_bytes;
        let mut answered = Answered::default();
        if !is_event_stream(&answer) {
            // An endpoint that does not stream says everything at once.
            let body = answer.read_all(limit).await;
            let body = body.map_err(broken)?;
            let piece = Piece::of_whole(&body).ok_or_else(unreadable)?;
            answered.take(vec![piece], true, events).await?;
            return answered.end();
        }
        let mut reader = SseReader::new(limit);
        let mut body = answer.body;
        let mut found = Vec::new();
        while let Some(bytes) = body.next().await {
            let whole = reader.push(&bytes.map_err(broken)?, &mut found);
            // Pieces that came together are told together: each telling is kept before it is shown.
            let mut pieces = Vec::new();
            let mut done = false;
            for event in found.drain(..) {
                match Chunk::read(&event).ok_or_else(unreadable)? {
                    Chunk::Piece(piece) => pieces.push(piece),
                    Chunk::Done => done = true,
                    Chunk::Error => {
                        return Err(ExecutorFailure::Unusable(
                            "the model broke off with an error",
                        ));
                    }
                }
            }
            answered.take(pieces, done, events).await?;
            if done {
                // Reading to the end is what lets the connection be used again.
                tokio::time::timeout(END_OF_STREAM, body.next()).await.ok();
                return answered.end();
            }
            whole.map_err(|_| unreadable())?;
        }
        if answered.finish.is_none() {
            return Err(ExecutorFailure::Lost);
        }
        // Some endpoints close the stream without saying that it is done.
        answered.take(Vec::new(), true, events).await?;
        answered.end()
    }
}

impl Answered {
    async fn take(
        &mut self,
        pieces: Vec<Piece>,
        is_last: bool,
        events: &TurnEvents,
    ) -> Result<(), ExecutorFailure> {
        let mut text = String::new();
        for piece in pieces {
            text.push_str(piece.text.as_deref().unwrap_or_default());
            self.finish = piece.finish.or(self.finish.take());
        }
        if text.is_empty() && !is_last {
            return Ok(());
        }
        self.text.push_str(&text);
        let artifact = Artifact::new(ANSWER, ANSWER, vec![Part::text(text)]);
        // A client should know that an answer was cut off.
        let unusual = self
            .finish
            .as_deref()
            .filter(|why| is_last && *why != "stop");
        let metadata = unusual.and_then(|why| Json::of(&json!({"finishReason": why})).ok());
        let event = TurnEvent::Artifact {
            artifact,
            append: self.told,
            last_chunk: is_last,
            metadata,
            extra: Extra::default(),
        };
        self.told = true;
        Ok(events.tell(event).await?)
    }

    fn end(self) -> Result<String, ExecutorFailure> {
        match self.finish.as_deref() {
            Some("content_filter") => Err(ExecutorFailure::Declined(
                "the model's endpoint withheld the answer by its content filter",
            )),
            _ => Ok(self.text),
        }
    }
}

impl Probe for ChatAgent {
    fn look(self: Arc<Self>) -> LocalBoxFuture<'static, Result<(), ExecutorFailure>> {
        Box::pin(async move { self.models().await })
    }
}

impl AgentExecutor for ChatAgent {
    fn run(self: Arc<Self>, turn: Turn, events: TurnEvents) -> TurnFuture {
        self.take_turn(turn, events).boxed_local()
    }
}

fn agent_says(text: String) -> Message {
    Message::from_agent(Uuid::new_v4().to_string(), text)
}

fn unreadable() -> ExecutorFailure {
    ExecutorFailure::Unusable("the model's endpoint gave an answer that cannot be read")
}

/// What a status that is no answer means. The endpoint's own words are for the operator's eyes at most, never shown.
fn refused(status: StatusCode) -> Option<ExecutorFailure> {
    let failure = match status {
        StatusCode::OK => return None,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            ExecutorFailure::Unusable("the model's endpoint refused the node's credential")
        }
        StatusCode::NOT_FOUND => {
            ExecutorFailure::Unusable("the endpoint has no such path or no such model")
        }
        StatusCode::TOO_MANY_REQUESTS => ExecutorFailure::Unusable(
            "the model's endpoint takes no more requests now; try again later",
        ),
        StatusCode::REQUEST_TIMEOUT => ExecutorFailure::TooSlow,
        status if status.is_client_error() => ExecutorFailure::Refused(i64::from(status.as_u16())),
        status if status.is_server_error() => ExecutorFailure::Unreachable,
        _ => unreadable(),
    };
    Some(failure)
}

fn broken(error: ClientError) -> ExecutorFailure {
    match error {
        ClientError::TooLarge(_) => unreadable(),
        other => failure(other),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
