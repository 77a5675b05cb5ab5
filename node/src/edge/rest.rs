//! The HTTP+JSON binding (A2A 1.0 §11): method and path below the agent name the operation; path, query and body carry its
//! parameters. They are put together as one JSON object, so that every binding has the same parser.
//!
//! Read `path` for which path means what.

use actix_web::http::Method as Verb;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use archipel_protocol::a2a::Version;
use archipel_protocol::error::RpcError;
use archipel_protocol::jsonrpc::{Id, readable};
use archipel_protocol::method::Method;
use bytes::Bytes;

use crate::edge::binding::{A2A_VERSION, Asks, asked_version};
use crate::edge::operation::{Operation, Outcome};
use crate::edge::sse::{self, Framing};
use crate::edge::{Edge, operation};
use crate::error::{Failure, Form, Gate};
use crate::public::Asked;

mod params;
mod path;

use params::Params;
use path::{Address, Refused};

/// A request whose path names an operation.
pub(super) struct Call<'a> {
    address: Address,
    query: &'a str,
    body: &'a str,
}

impl<'a> Call<'a> {
    /// Opens a request: the path names something, the version is spoken here, the body is JSON of bounded depth.
    pub(super) fn open(
        request: &'a HttpRequest,
        below: &str,
        body: &'a [u8],
    ) -> Result<Self, Failure> {
        let address = Address::find(request.method(), below).map_err(|refused| match refused {
            Refused::NoSuchPath => Failure::gate(Gate::NotFound, "there is nothing at this path"),
            Refused::WrongVerb => Failure::gate(
                Gate::WrongMethod,
                "this path does not answer to that method",
            ),
        })?;
        asked_version(request, &[Version::V1]).map_err(|error| Failure::rpc(Id::Null, error))?;
        let has_body = request.method() == Verb::POST && !body.is_empty();
        let body = if has_body { readable(body) } else { Ok("") };
        Ok(Self {
            address,
            query: request.query_string(),
            body: body.map_err(|error| Failure::rpc(Id::Null, error))?,
        })
    }

    pub(super) fn method(&self) -> Method {
        self.address.method
    }

    /// The operation with its parameters.
    pub(super) fn operation(&self) -> Result<Operation, RpcError> {
        let params = self.params()?;
        Operation::read(Version::V1, self.address.method, Some(params.raw()))
    }

    fn params(&self) -> Result<Params, RpcError> {
        match self.address.method {
            Method::SendMessage
            | Method::SendStreamingMessage
            | Method::CancelTask
            | Method::CreateTaskPushNotificationConfig => Params::of_body(self.body, &self.address),
            // Their answer depends on the path and the query alone; a subscription may come by POST, with a body that says
            // nothing.
            _ => Params::of_query(self.query, &self.address),
        }
    }
}

/// What a path asks for. One that names nothing is for nobody.
pub(super) fn asks(verb: &Verb, below: &str) -> Asks {
    match Address::find(verb, below) {
        Ok(address) => Asks::For(Asked::Operation(address.method)),
        Err(_) => Asks::For(Asked::Other(String::new())),
    }
}

/// Each event is a `StreamResponse` by itself (§11.7).
const BARE: Framing = Framing {
    before: Bytes::new(),
    convert: None,
    after: b"",
    version: Version::V1,
};

/// Answers with what came of it.
pub(super) fn answer(edge: &Edge, outcome: Outcome) -> HttpResponse {
    match outcome {
        Outcome::Sent(sent) => json(sent.item().concat().into()),
        Outcome::Task(body) | Outcome::Page(body) | Outcome::Card(body) => json(body),
        Outcome::Events(feed, ends_at) => sse::stream(edge, BARE, feed, ends_at),
        Outcome::Webhook(config) => json(operation::json(&config)),
        Outcome::Webhooks(list) => json(operation::json(&list)),
        Outcome::Done => json(Bytes::from_static(b"{}")),
    }
}

fn json(body: Bytes) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, Form::HttpJson.content_type()))
        .insert_header((A2A_VERSION, HeaderValue::from_static(Version::V1.as_str())))
        .body(body)
}
