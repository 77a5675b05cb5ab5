//! The JSON-RPC binding (A2A 1.0 §9): the body names the operation, and every answer goes under the request's id. Both
//! versions are spoken; inside there is only 1.0, so answers in 0.3 are converted here (`v03`).

use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use archipel_protocol::a2a::{self, Version};
use archipel_protocol::error::{ErrorCode, RpcError};
use archipel_protocol::jsonrpc::{Id, Request, readable};
use archipel_protocol::method::Method;
use archipel_protocol::object::Fields;
use bytes::{BufMut, Bytes, BytesMut};

use crate::edge::binding::{A2A_VERSION, Asks, asked_version};
use crate::edge::operation::{Operation, Outcome, json};
use crate::edge::sse::Framing;
use crate::edge::{Edge, sse};
use crate::error::Failure;
use crate::public::{Asked, method_name};
use crate::tasks::command::Sent;

mod v03;

/// A request whose envelope is right, in a version that is spoken here.
pub(super) struct Call<'a> {
    version: Version,
    request: Request<'a>,
}

impl<'a> Call<'a> {
    /// Opens a request: bounded depth, strict members; parameters stay raw. The version decides what method and parameters
    /// mean, so it is checked before them.
    pub(super) fn open(http: &HttpRequest, body: &'a [u8]) -> Result<Self, Failure> {
        let request = Request::decode(body)?;
        match asked_version(http, &[Version::V1, Version::V03]) {
            Ok(version) => Ok(Self { version, request }),
            Err(error) => Err(Failure::rpc(request.id, error)),
        }
    }

    pub(super) fn id(&self) -> Id {
        self.request.id.clone()
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    pub(super) fn name(&self) -> &str {
        &self.request.method
    }

    pub(super) fn method(&self) -> Option<Method> {
        Method::parse(self.version, &self.request.method)
    }

    /// The operation with its parameters.
    pub(super) fn operation(&self) -> Result<Operation, RpcError> {
        let method = self.method().ok_or_else(|| self.no_such_method())?;
        Operation::read(self.version, method, self.request.params)
    }

    /// Whoever forgets to name a version speaks 0.3 without knowing it, and is told.
    fn no_such_method(&self) -> RpcError {
        let is_named_in = |version: &Version| Method::parse(*version, self.name()).is_some();
        let message = match Version::ALL.iter().find(|version| is_named_in(version)) {
            Some(other) => format!(
                "no such method in A2A {}: it is one of {other}, which the header A2A-Version must name",
                self.version
            ),
            None => "no such method".to_owned(),
        };
        RpcError::new(ErrorCode::MethodNotFound, message)
    }

    /// Answers with what came of it.
    pub(super) fn answer(&self, edge: &Edge, outcome: Outcome) -> Result<HttpResponse, RpcError> {
        let v1 = self.version == Version::V1;
        Ok(match outcome {
            Outcome::Events(feed, ends_at) => {
                let framing = Framing {
                    before: self.head(),
                    convert: (!v1).then_some(v03::event),
                    after: b"}",
                    version: self.version,
                };
                let ends_at = if v1 { ends_at } else { v03::end(ends_at) };
                sse::stream(edge, framing, feed, ends_at)
            }
            Outcome::Sent(sent) if v1 => self.result(&sent.item()),
            Outcome::Card(card) => self.result(&[&card]),
            Outcome::Task(json) | Outcome::Page(json) if v1 => self.result(&[&json]),
            Outcome::Sent(Sent::Message(message)) => self.result(&[&v03::message(&message)?]),
            Outcome::Sent(Sent::Task(task)) | Outcome::Task(task) => {
                self.result(&[&v03::task(&task)?])
            }
            Outcome::Page(page) => self.result(&[&v03::page(&page)?]),
            Outcome::Webhook(config) if v1 => self.result(&[&json(&config)]),
            Outcome::Webhook(config) => self.result(&[&json(&a2a::v03::push_config(&config))]),
            Outcome::Webhooks(list) if v1 => self.result(&[&json(&list)]),
            Outcome::Webhooks(list) => self.result(&[&json(&a2a::v03::push_config_list(&list))]),
            Outcome::Done if v1 => self.result(&[b"{}"]),
            Outcome::Done => self.result(&[b"null"]),
        })
    }

    /// An answer around a result that is JSON already, in pieces.
    fn result(&self, pieces: &[&[u8]]) -> HttpResponse {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut body = BytesMut::with_capacity(64 + length);
        body.put_slice(&self.head());
        for piece in pieces {
            body.put_slice(piece);
        }
        body.put_slice(b"}");
        HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")))
            .insert_header((A2A_VERSION, HeaderValue::from_static(self.version.as_str())))
            .body(body.freeze())
    }

    /// `{"jsonrpc":"2.0","id":..,"result":`, to be followed by the result and `}`.
    fn head(&self) -> Bytes {
        // An id is a text or digits, so writing it cannot fail; null is what JSON-RPC has for an id that cannot be told.
        let id = serde_json::to_string(&self.request.id).unwrap_or_else(|_| "null".to_owned());
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":").into()
    }
}

/// What a body asks for: its method as policies look at it.
pub(super) fn asks(body: &[u8]) -> Asks {
    let Ok(json) = readable(body) else {
        return Asks::Unreadable;
    };
    let method = Fields::read(json)
        .ok()
        .and_then(|mut fields| fields.take("method"))
        .and_then(|method| serde_json::from_str::<String>(method.get()).ok());
    match method.as_deref().and_then(method_name) {
        Some(name) => Asks::For(Asked::new(&name)),
        None => Asks::Nothing,
    }
}

/// The answer to a call of an agent that is not there, or not for this caller.
pub(super) fn agent_not_found(id: &Id) -> Failure {
    let error = RpcError::new(ErrorCode::AgentNotFound, "no such agent");
    Failure::rpc_with_status(id.clone(), error)
}
