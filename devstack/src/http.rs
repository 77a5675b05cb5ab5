//! The HTTP client of the demonstration: whole answers and streams, all with a time limit and a size limit.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, anyhow};
use archipel_protocol::names::Dialect;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::sse::Events;

const TIME_LIMIT: Duration = Duration::from_secs(30);
const LARGEST_ANSWER: usize = 8 * 1024 * 1024;

/// What a call proves itself with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Credential<'a> {
    None,
    /// A token of the node that is called.
    Bearer(&'a str),
    /// A federation token, as a peer sends it.
    Federation(&'a str),
}

/// A client that keeps its connections.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Http {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        // Without it a small write waits for the acknowledgement of the one before, 40 ms at a time.
        connector.set_nodelay(true);
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
        }
    }

    pub(crate) async fn get(
        &self,
        url: &str,
        credential: Credential<'_>,
    ) -> anyhow::Result<Answer> {
        self.whole(url, request(Method::GET, url, credential, Bytes::new())?)
            .await
    }

    pub(crate) async fn post(
        &self,
        url: &str,
        credential: Credential<'_>,
        body: Bytes,
    ) -> anyhow::Result<Answer> {
        self.whole(url, request(Method::POST, url, credential, body)?)
            .await
    }

    /// Posts and gives every event of the answer's stream, as it comes, to `each`.
    pub(crate) async fn stream(
        &self,
        url: &str,
        credential: Credential<'_>,
        body: Bytes,
        each: impl FnMut(Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let request = request(Method::POST, url, credential, body)?;
        let work = async { read_events(self.client.request(request).await?, each).await };
        limited(url, work).await
    }

    /// Opens a stream that has no end of its own.
    pub(crate) async fn watch(
        &self,
        url: &str,
        credential: Credential<'_>,
    ) -> anyhow::Result<EventStream> {
        let request = request(Method::GET, url, credential, Bytes::new())?;
        let work = async { EventStream::open(self.client.request(request).await?).await };
        limited(url, work).await
    }

    async fn whole(&self, url: &str, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        limited(url, async {
            collect(self.client.request(request).await?).await
        })
        .await
    }
}

impl Answer {
    pub(crate) fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("no JSON but {}", self.excerpt()))
    }

    /// The status and the beginning of the body, for a message.
    pub(crate) fn excerpt(&self) -> String {
        let body: String = String::from_utf8_lossy(&self.body)
            .chars()
            .take(300)
            .collect();
        format!("{} {body}", self.status)
    }
}

fn request(
    method: Method,
    url: &str,
    credential: Credential<'_>,
    body: Bytes,
) -> anyhow::Result<Request<Full<Bytes>>> {
    let mut builder = Request::builder()
        .method(method)
        .uri(url)
        .header("a2a-version", "1.0");
    if !body.is_empty() {
        builder = builder.header("content-type", "application/json");
    }
    builder = match credential {
        Credential::None => builder,
        Credential::Bearer(token) => builder.header("authorization", format!("Bearer {token}")),
        Credential::Federation(token) => {
            builder.header(Dialect::Hive.federation_jwt_header(), token)
        }
    };
    Ok(builder.body(Full::new(body))?)
}

/// Work that is to end within the time that anything here may take.
pub(crate) async fn limited<T>(
    url: &str,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let result = tokio::time::timeout(TIME_LIMIT, work).await;
    result
        .map_err(|_| anyhow!("no end within {} s", TIME_LIMIT.as_secs()))
        .flatten()
        .with_context(|| url.to_owned())
}

async fn collect(response: Response<Incoming>) -> anyhow::Result<Answer> {
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST_ANSWER)
        .collect()
        .await;
    let body = body
        .map_err(|error| anyhow!("the answer broke off: {error}"))?
        .to_bytes();
    Ok(Answer { status, body })
}

async fn read_events(
    response: Response<Incoming>,
    mut each: impl FnMut(Value) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut stream = EventStream::open(response).await?;
    while let Some(event) = stream.next().await? {
        each(event)?;
    }
    Ok(())
}

/// The events of an answer, one by one.
pub(crate) struct EventStream {
    body: Incoming,
    events: Events,
    /// What has come and was not asked for yet.
    come: VecDeque<Vec<u8>>,
}

impl EventStream {
    async fn open(response: Response<Incoming>) -> anyhow::Result<Self> {
        let content_type = response
            .headers()
            .get("content-type")
            .and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(|value| value.starts_with("text/event-stream")) {
            let answer = collect(response).await?;
            return Err(anyhow!("no stream but {}", answer.excerpt()));
        }
        Ok(Self {
            body: response.into_body(),
            events: Events::default(),
            come: VecDeque::new(),
        })
    }

    /// The next event; none when the stream has ended.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        loop {
            if let Some(data) = self.come.pop_front() {
                let event = serde_json::from_slice(&data);
                return Ok(Some(event.context("an event is no JSON")?));
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            let Ok(bytes) = frame.context("the stream broke off")?.into_data() else {
                continue;
            };
            self.come.extend(self.events.push(&bytes)?);
        }
    }
}
