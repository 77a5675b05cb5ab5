//! Calling an upstream agent: what every request carries, what an answer counts as, and its card.

use std::sync::Arc;
use std::time::Duration;

use archipel_kit::client::{Answer, ClientError, RequestBody, Timeouts};
use archipel_kit::settings::Secret;
use archipel_protocol::a2a::{AgentCard, VERSION, Version};
use archipel_protocol::jsonrpc::{Outcome, decode_response, encode_request};
use archipel_protocol::method::Method;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, StatusCode, Uri};
use serde::Serialize;
use url::Url;

use crate::agents::upstream::UpstreamLimits;
use crate::agents::upstream::interface::{Interface, card_below, card_of_host, names};
use crate::agents::upstream::wire::{CancelParams, SendParams};
use crate::egress::{Destination, Egress};
use crate::tasks::executor::ExecutorFailure;

/// How long reading a card or telling a cancellation may take.
const SHORT_EXCHANGE: Duration = Duration::from_secs(10);

/// The largest card that is read.
const MAX_CARD_BYTES: usize = 256 * 1024;

const A2A_VERSION: HeaderName = HeaderName::from_static("a2a-version");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const STREAM_OR_JSON: HeaderValue = HeaderValue::from_static("text/event-stream, application/json");

/// Makes the requests to one agent.
pub(super) struct Caller {
    url: Url,
    authorization: Option<HeaderValue>,
    limits: UpstreamLimits,
    egress: Arc<Egress>,
}

/// How an agent answered.
pub(super) enum Reply {
    /// Boxed, because an answer is much larger than what the other kind holds.
    Stream(Box<Answer>),
    Whole(Bytes),
}

impl Caller {
    /// A credential that cannot stand in a header counts as none.
    pub(super) fn new(
        url: Url,
        credential: Option<&Secret>,
        limits: UpstreamLimits,
        egress: Arc<Egress>,
    ) -> Self {
        let authorization = credential.and_then(|credential| {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {}", credential.expose())).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self {
            url,
            authorization,
            limits,
            egress,
        }
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn limits(&self) -> UpstreamLimits {
        self.limits
    }

    /// The agent's card: below its own URL, or that of its host if it speaks of this URL. `None` when there is neither.
    pub(super) async fn card(&self) -> Result<Option<AgentCard>, ExecutorFailure> {
        if let Some(card) = self.card_at(card_below(&self.url)).await? {
            return Ok(Some(card));
        }
        let Some(of_host) = card_of_host(&self.url) else {
            return Ok(None);
        };
        Ok(self
            .card_at(Some(of_host))
            .await?
            .filter(|card| names(card, &self.url)))
    }

    async fn card_at(&self, uri: Option<Uri>) -> Result<Option<AgentCard>, ExecutorFailure> {
        let uri = uri.ok_or(ExecutorFailure::Unreachable)?;
        let mut request = self.request(uri, JSON, RequestBody::empty());
        *request.method_mut() = http::Method::GET;
        let answer = self.exchange(request, short()).await?;
        if answer.status != StatusCode::OK {
            let is_missing = answer.status.is_client_error();
            return if is_missing {
                Ok(None)
            } else {
                Err(refused(answer.status))
            };
        }
        let body = answer.read_all(MAX_CARD_BYTES).await.map_err(failure)?;
        let text = std::str::from_utf8(&body).map_err(|_| ExecutorFailure::NotA2a)?;
        let card = AgentCard::read(text).map_err(|invalid| {
            tracing::warn!(agent.url = %self.url, %invalid, "the card of an upstream agent is no card of version 1.0");
            ExecutorFailure::NotA2a
        });
        card.map(Some)
    }

    pub(super) async fn send(
        &self,
        interface: &Interface,
        method: Method,
        params: &SendParams,
        traceparent: Option<HeaderValue>,
    ) -> Result<Reply, ExecutorFailure> {
        let streaming = method == Method::SendStreamingMessage;
        let accept = if streaming { STREAM_OR_JSON } else { JSON };
        let mut request = self.rpc(interface, method, params, accept)?;
        if let Some(traceparent) = traceparent {
            request.headers_mut().insert(TRACEPARENT, traceparent);
        }
        // A blocking answer begins when the work is done.
        let first_byte = if streaming {
            self.limits.first_byte
        } else {
            self.limits.turn
        };
        let limits = Timeouts {
            first_byte: Some(first_byte),
            idle: Some(self.limits.idle),
            total: Some(self.limits.turn),
        };
        let answer = self.exchange(request, limits).await?;
        if answer.status == StatusCode::OK && is_event_stream(&answer) {
            return Ok(Reply::Stream(Box::new(answer)));
        }
        let status = answer.status;
        let body = answer
            .read_all(self.limits.max_event_bytes)
            .await
            .map_err(failure)?;
        // Some agents tell JSON-RPC errors under the HTTP status that fits them.
        if status == StatusCode::OK || matches!(decode_response(&body), Ok(Outcome::Error { .. })) {
            return Ok(Reply::Whole(body));
        }
        Err(refused(status))
    }

    /// Tells the agent to stop working on a task; what it answers to that changes nothing.
    pub(super) async fn cancel(
        &self,
        interface: &Interface,
        task: &str,
    ) -> Result<(), ExecutorFailure> {
        let params = CancelParams {
            id: task,
            tenant: interface.tenant.as_deref(),
        };
        let request = self.rpc(interface, Method::CancelTask, &params, JSON)?;
        self.exchange(request, short()).await.map(drop)
    }

    fn rpc(
        &self,
        interface: &Interface,
        method: Method,
        params: &impl Serialize,
        accept: HeaderValue,
    ) -> Result<Request<RequestBody>, ExecutorFailure> {
        let body = encode_request("1", method.name(Version::V1), params)
            .map_err(|_| ExecutorFailure::NotA2a)?;
        let mut request = self.request(interface.uri.clone(), accept, RequestBody::from(body));
        *request.method_mut() = http::Method::POST;
        request.headers_mut().insert(CONTENT_TYPE, JSON);
        Ok(request)
    }

    fn request(&self, uri: Uri, accept: HeaderValue, body: RequestBody) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, accept);
        headers.insert(A2A_VERSION, HeaderValue::from_static(VERSION));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        request
    }

    async fn exchange(
        &self,
        request: Request<RequestBody>,
        limits: Timeouts,
    ) -> Result<Answer, ExecutorFailure> {
        self.egress
            .send(Destination::Trusted, request, limits)
            .await
            .map_err(failure)
    }
}

fn short() -> Timeouts {
    Timeouts {
        first_byte: Some(SHORT_EXCHANGE),
        idle: None,
        total: Some(SHORT_EXCHANGE),
    }
}

fn is_event_stream(answer: &Answer) -> bool {
    let content_type = answer
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("text/event-stream")
}

fn refused(status: StatusCode) -> ExecutorFailure {
    match status {
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            ExecutorFailure::Unreachable
        }
        status if status.is_client_error() || status.is_server_error() => {
            ExecutorFailure::Refused(i64::from(status.as_u16()))
        }
        _ => ExecutorFailure::NotA2a,
    }
}

/// What a broken exchange means for a turn.
pub(super) fn failure(error: ClientError) -> ExecutorFailure {
    match error {
        ClientError::Refused(_) | ClientError::Connect(_) | ClientError::ConnectTimeout => {
            ExecutorFailure::Unreachable
        }
        ClientError::FirstByteTimeout | ClientError::IdleTimeout | ClientError::TotalTimeout => {
            ExecutorFailure::TooSlow
        }
        ClientError::TooLarge(_) => ExecutorFailure::NotA2a,
        ClientError::Other(_) => ExecutorFailure::Lost,
    }
}
