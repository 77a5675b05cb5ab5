//! Calling an upstream agent: what every request carries, and what an answer counts as.

use std::sync::Arc;
use std::time::Duration;

use archipel_kit::client::{Answer, ClientError, RequestBody, Timeouts};
use archipel_kit::settings::Secret;
use archipel_protocol::a2a::Version;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, StatusCode, Uri};
use url::Url;

use crate::agents::upstream::UpstreamLimits;
use crate::agents::upstream::binding::{Ask, Binding, Written};
use crate::agents::upstream::interface::Interface;
use crate::cards::trust::CardTrust;
use crate::egress::{Destination, Egress};
use crate::tasks::executor::ExecutorFailure;

/// How long reading a card or telling a cancellation may take.
const SHORT_EXCHANGE: Duration = Duration::from_secs(10);

pub(super) const A2A_VERSION: HeaderName = HeaderName::from_static("a2a-version");
const A2A_EXTENSIONS: HeaderName = HeaderName::from_static("a2a-extensions");
/// The same in 0.3.
const X_A2A_EXTENSIONS: HeaderName = HeaderName::from_static("x-a2a-extensions");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Servers of the HTTP+JSON binding may answer with either.
const REST_JSON: HeaderValue = HeaderValue::from_static("application/a2a+json, application/json");
const STREAM_OR_JSON: HeaderValue = HeaderValue::from_static("text/event-stream, application/json");

/// Makes the requests to one agent.
pub(super) struct Caller {
    url: Url,
    authorization: Option<HeaderValue>,
    limits: UpstreamLimits,
    pub(super) way: Way,
}

/// The way to an agent.
pub(super) struct Way {
    /// Who chose its URL.
    pub(super) destination: Destination,
    pub(super) egress: Arc<Egress>,
    /// What is asked of its card.
    pub(super) trust: CardTrust,
}

/// What goes along with every request of one turn.
#[derive(Debug, Default)]
pub(super) struct Along {
    pub(super) traceparent: Option<HeaderValue>,
    /// `A2A-Extensions` of the caller.
    pub(super) extensions: Option<HeaderValue>,
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
        way: Way,
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
            way,
        }
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn limits(&self) -> UpstreamLimits {
        self.limits
    }

    /// Asks the agent for something. An error that it tells is [`ExecutorFailure::Refused`], whatever its HTTP status.
    pub(super) async fn ask(
        &self,
        interface: &Interface,
        ask: Ask<'_>,
        along: &Along,
    ) -> Result<Reply, ExecutorFailure> {
        let request = self.written(interface, interface.write(ask)?, ask.is_stream(), along);
        let answer = self.exchange(request, self.patience(ask)).await?;
        if answer.status == StatusCode::OK && ask.is_stream() && is_event_stream(&answer) {
            return Ok(Reply::Stream(Box::new(answer)));
        }
        let status = answer.status;
        let body = answer
            .read_all(self.limits.max_event_bytes)
            .await
            .map_err(failure)?;
        // Some agents tell JSON-RPC errors under the HTTP status that fits them.
        match interface.read_refusal(&body) {
            Some(code) => Err(ExecutorFailure::Refused(code)),
            None if status.is_success() => Ok(Reply::Whole(body)),
            None => Err(refused(status)),
        }
    }

    fn patience(&self, ask: Ask<'_>) -> Timeouts {
        let first_byte = match ask {
            Ask::Stream(_) | Ask::Subscribe(_) => self.limits.first_byte,
            // A blocking answer begins when the work is done.
            Ask::Send(_) => self.limits.turn,
            Ask::Get(_) | Ask::Cancel(_) | Ask::ExtendedCard => return short(),
        };
        Timeouts {
            first_byte: Some(first_byte),
            idle: Some(self.limits.idle),
            total: Some(self.limits.turn),
        }
    }

    fn written(
        &self,
        interface: &Interface,
        written: Written,
        stream: bool,
        along: &Along,
    ) -> Request<RequestBody> {
        let accept = match interface.binding {
            _ if stream => STREAM_OR_JSON,
            Binding::JsonRpc(_) => JSON,
            Binding::Rest => REST_JSON,
        };
        let has_body = !written.body.is_empty();
        let version = interface.binding.version();
        let body = RequestBody::from(written.body);
        let mut request = self.request(version, written.uri, accept, body);
        *request.method_mut() = written.method;
        let headers = request.headers_mut();
        if has_body {
            headers.insert(CONTENT_TYPE, JSON);
        }
        if let Some(traceparent) = &along.traceparent {
            headers.insert(TRACEPARENT, traceparent.clone());
        }
        if let Some(extensions) = &along.extensions {
            let name = match version {
                Version::V1 => A2A_EXTENSIONS,
                Version::V03 => X_A2A_EXTENSIONS,
            };
            headers.insert(name, extensions.clone());
        }
        request
    }

    pub(super) fn request(
        &self,
        version: Version,
        uri: Uri,
        accept: HeaderValue,
        body: RequestBody,
    ) -> Request<RequestBody> {
        let mut request = Request::new(body);
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, accept);
        headers.insert(A2A_VERSION, HeaderValue::from_static(version.as_str()));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        request
    }

    pub(super) async fn exchange(
        &self,
        request: Request<RequestBody>,
        limits: Timeouts,
    ) -> Result<Answer, ExecutorFailure> {
        let sent = self.way.egress.send(self.way.destination, request, limits);
        sent.await.map_err(failure)
    }
}

pub(super) fn short() -> Timeouts {
    Timeouts {
        first_byte: Some(SHORT_EXCHANGE),
        idle: None,
        total: Some(SHORT_EXCHANGE),
    }
}

/// Whether an answer is a stream of events.
pub(in crate::agents) fn is_event_stream(answer: &Answer) -> bool {
    let content_type = answer
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("text/event-stream")
}

pub(super) fn refused(status: StatusCode) -> ExecutorFailure {
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
pub(in crate::agents) fn failure(error: ClientError) -> ExecutorFailure {
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
