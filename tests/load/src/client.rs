//! Single calls to a node, for what the generator does not ask.

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::rows::TOKEN;

pub(crate) type HttpClient = Client<HttpConnector, Full<Bytes>>;

pub(crate) fn client() -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
}

/// A call that may be answered with a stream.
pub(crate) fn request(
    url: &str,
    method: &str,
    params: &Value,
) -> anyhow::Result<Request<Full<Bytes>>> {
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let request = Request::post(url)
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json")
        .header("accept", "text/event-stream")
        .header("a2a-version", "1.0");
    Ok(request.body(Full::from(call.to_string()))?)
}

/// The result of a call.
pub(crate) async fn call(
    client: &HttpClient,
    url: &str,
    method: &str,
    params: &Value,
) -> anyhow::Result<Value> {
    let answer = client.request(request(url, method, params)?).await?;
    let body = answer.into_body().collect().await?.to_bytes();
    let mut answer: Value = serde_json::from_slice(&body)
        .with_context(|| format!("a wrong answer: {}", body.escape_ascii()))?;
    let result = answer.get_mut("result").map(Value::take);
    let result = result.with_context(|| format!("{method} failed: {answer}"))?;
    ensure!(result.is_object(), "a wrong result: {result}");
    Ok(result)
}
