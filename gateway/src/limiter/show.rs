//! Telling an operator where somebody stands.

use archipel_kit::client::{AddressPolicy, ClientOptions, PlainClient, RequestBody, Timeouts};
use http::{
    Request,
    uri::{Authority, PathAndQuery, Uri},
};
use serde_json::json;
use url::form_urlencoded;

use super::{Key, SharedLimit};
use crate::config::GatewaySettings;

/// Why it cannot be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Untold {
    #[error("redis cannot be asked: {0}")]
    Redis(#[from] ::redis::RedisError),
    #[error("the gateway's own listener cannot be asked: {0}")]
    Gateway(#[from] archipel_kit::client::ClientError),
    #[error("the gateway's own listener has no usable address: {0}")]
    Address(#[from] http::Error),
    #[error("set `rate_limit_redis_url`, or `admin_listen` for a gateway that runs here")]
    Nobody,
}

/// Where an address or key stands, as JSON: in the Redis that gateways share, else in the gateway that runs here.
pub(crate) async fn show(settings: &GatewaySettings, text: &str) -> Result<String, Untold> {
    if let Some(url) = &settings.rate_limit_redis_url {
        let patience = settings.rate_limit_redis_timeout;
        let shared = SharedLimit::connect(url, &settings.rate_limit_redis_prefix, patience)?;
        let key = Key::of_text(text);
        let ahead = shared.standing(&key).await?;
        let seconds = ahead.map(|microseconds| microseconds as f64 / 1e6);
        let told = json!({ "key": key.to_string(), "redis": { "fullInSeconds": seconds } });
        return Ok(told.to_string());
    }
    let admin = settings.admin_listen.ok_or(Untold::Nobody)?;
    let authority = Authority::try_from(admin.to_string()).map_err(http::Error::from)?;
    let client = PlainClient::new(ClientOptions::new(AddressPolicy::Any), &authority)?;
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("key", text)
        .finish();
    let target = PathAndQuery::try_from(format!("/limits?{query}")).map_err(http::Error::from)?;
    let mut request = Request::new(RequestBody::empty());
    *request.uri_mut() = Uri::from(target);
    let answer = client.send(request, Timeouts::default()).await?;
    let bytes = answer.body.read_all(64 * 1024).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
