//! A client of a node: plain HTTP/1.1 without retries, one connection for each request, everything visible.

use std::fmt;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::events::EventStream;
use super::wait::within;

/// See the module. What is set on a client goes with each of its requests.
#[derive(Debug, Clone)]
pub struct Client {
    origin: String,
    headers: HeaderMap,
    inner: legacy::Client<HttpConnector, Full<Bytes>>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A JSON-RPC error as a caller sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub status: u16,
    pub code: i64,
    pub reason: String,
    pub id: Value,
}

impl Client {
    /// A client that presents nothing but what A2A 1.0 over JSON-RPC needs.
    pub fn new(origin: &str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("a2a-version", HeaderValue::from_static("1.0"));
        // A connection that stays open would make every node wait for it when it stops.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        Self {
            origin: origin.to_owned(),
            headers,
            inner: legacy::Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build_http(),
        }
    }

    /// The same client, whose connections come from this address.
    #[must_use]
    pub fn coming_from(&self, address: IpAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_local_address(Some(address));
        let mut client = self.clone();
        client.inner = legacy::Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        client
    }

    /// The same client with one header set.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        let name = HeaderName::try_from(name).unwrap();
        client
            .headers
            .insert(name, HeaderValue::from_str(value).unwrap());
        client
    }

    /// The same client, calling from another address of this machine.
    #[must_use]
    pub fn calling_from(&self, address: IpAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_local_address(Some(address));
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Self {
            inner,
            ..self.clone()
        }
    }

    /// The same client with one more line of a header.
    #[must_use]
    pub fn and(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        let name = HeaderName::try_from(name).unwrap();
        client
            .headers
            .append(name, HeaderValue::from_str(value).unwrap());
        client
    }

    /// The same client without a header.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let mut client = self.clone();
        client.headers.remove(name);
        client
    }

    /// The same client with a bearer token.
    #[must_use]
    pub fn with_bearer(&self, token: &str) -> Self {
        self.with(AUTHORIZATION.as_str(), &format!("Bearer {token}"))
    }

    /// Calls a method with parameters, under the id 1, and gives the result.
    pub async fn call(&self, path: &str, method: &str, params: Value) -> Value {
        self.post_rpc(path, method, params).await.result()
    }

    /// Calls a method that is expected to be refused.
    pub async fn refused(&self, path: &str, method: &str, params: Value) -> Refusal {
        self.post_rpc(path, method, params).await.refusal()
    }

    /// Calls a method with parameters, under the id 1.
    pub async fn post_rpc(&self, path: &str, method: &str, params: Value) -> Answer {
        self.post(path, request(method, params).to_string()).await
    }

    /// Sends a body.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        let response = self.send(Method::POST, path, body.into()).await;
        Answer::read(response).await
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> Answer {
        let response = self.send(Method::GET, path, Bytes::new()).await;
        Answer::read(response).await
    }

    /// Asks over HTTP+JSON; nothing is sent as the body without one.
    pub async fn rest(&self, verb: Method, path: &str, body: Option<&Value>) -> Answer {
        let body = body.map(Value::to_string).unwrap_or_default();
        Answer::read(self.send(verb, path, body.into()).await).await
    }

    /// As [`Self::rest`], for what answers with a stream.
    pub async fn rest_stream(&self, verb: Method, path: &str, body: Option<&Value>) -> EventStream {
        let body = body.map(Value::to_string).unwrap_or_default();
        let response = self.send(verb, path, body.into()).await;
        Self::as_stream(response).await.bare()
    }

    /// Calls a method that answers with a stream, under the id 1.
    pub async fn stream(&self, path: &str, method: &str, params: Value) -> EventStream {
        let body = request(method, params).to_string();
        Self::as_stream(self.send(Method::POST, path, body.into()).await).await
    }

    async fn as_stream(response: Response<Incoming>) -> EventStream {
        let kind = response.headers().get(CONTENT_TYPE).cloned();
        if kind
            .as_ref()
            .is_some_and(|kind| kind == "text/event-stream")
        {
            return EventStream::new(response);
        }
        panic!("no stream but {:?}", Answer::read(response).await);
    }

    /// As [`Self::post_rpc`]; `None` when the node goes away before it has answered.
    pub async fn try_post_rpc(&self, path: &str, method: &str, params: Value) -> Option<Answer> {
        let body = request(method, params).to_string();
        let response = self.try_send(Method::POST, path, body.into()).await.ok()?;
        Answer::try_read(response).await.ok()
    }

    /// As [`Self::post`]; `None` when the node goes away before it has answered.
    pub async fn try_post(&self, path: &str, body: impl Into<Bytes>) -> Option<Answer> {
        let response = self.try_send(Method::POST, path, body.into()).await.ok()?;
        Answer::try_read(response).await.ok()
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Response<Incoming> {
        let sent = self.try_send(method, path, body).await;
        sent.unwrap_or_else(|error| panic!("{path} cannot be called: {error:?}"))
    }

    async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, legacy::Error> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = format!("{}{path}", self.origin).parse().unwrap();
        *request.headers_mut() = self.headers.clone();
        within("the head of an answer", self.inner.request(request)).await
    }
}

impl Answer {
    async fn read(response: Response<Incoming>) -> Self {
        Self::try_read(response).await.expect("the answer is whole")
    }

    async fn try_read(response: Response<Incoming>) -> Result<Self, hyper::Error> {
        let (head, body) = response.into_parts();
        let body = within("the end of an answer", body.collect()).await?;
        Ok(Self {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.to_bytes(),
        })
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("an answer is UTF-8")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self}"))
    }

    /// The result of a call.
    pub fn result(&self) -> Value {
        let mut answer = self.json();
        let is_answer = self.status == 200 && answer.get("error").is_none();
        assert!(
            is_answer && answer["jsonrpc"] == "2.0",
            "no result but {self}"
        );
        answer["result"].take()
    }

    /// The error of a call.
    pub fn refusal(&self) -> Refusal {
        let answer = self.json();
        let error = &answer["error"];
        let reason = error.pointer("/data/0/reason").and_then(Value::as_str);
        let code = error.get("code").and_then(Value::as_i64);
        match (code, reason) {
            (Some(code), Some(reason)) if answer.get("result").is_none() => Refusal {
                status: self.status,
                code,
                reason: reason.to_owned(),
                id: answer["id"].clone(),
            },
            _ => panic!("no JSON-RPC error but {self}"),
        }
    }

    /// Checks that this is a refusal of a gate with this status and this `error`.
    pub fn assert_gate(&self, status: u16, error: &str) {
        let body = self.json();
        let told = (self.status, body["error"].as_str());
        assert_eq!(told, (status, Some(error)), "{self}");
        // To those who are no callers of ours the contract has nothing more said.
        let says_why = body["message"].is_string();
        assert!(says_why || self.status == 401, "{self}");
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, String::from_utf8_lossy(&self.body))
    }
}

impl Refusal {
    /// What is expected of a call with the id 1.
    pub fn new(status: u16, code: i64, reason: &str) -> Self {
        Self::under(status, code, reason, json!(1))
    }

    /// What is expected of a call with this id.
    pub fn under(status: u16, code: i64, reason: &str, id: Value) -> Self {
        Self {
            status,
            code,
            reason: reason.to_owned(),
            id,
        }
    }
}

fn request(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}
