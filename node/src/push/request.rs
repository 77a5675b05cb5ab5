//! One delivery: the request, and what its answer means.

use archipel_kit::client::{Answer, ClientError, RequestBody};
use archipel_protocol::a2a::{PushConfig, Version};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Uri};

const A2A_VERSION: HeaderName = HeaderName::from_static("a2a-version");
const TOKEN: HeaderName = HeaderName::from_static("x-a2a-notification-token");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver has it.
    Accepted,
    /// Not now; to be tried again.
    Failed,
    /// Never: the receiver is gone for good, or may not be called.
    Hopeless,
}

/// The request that tells `body`; `key` is the same for each attempt. `None` when the configuration fits in no request,
/// which was checked when it was made.
pub(super) fn request(config: &PushConfig, body: Bytes, key: &str) -> Option<Request<RequestBody>> {
    let mut request = Request::new(RequestBody::from(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = config.url.parse::<Uri>().ok()?;
    let headers = request.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(match config.version {
            Version::V1 => "application/a2a+json",
            Version::V03 => "application/json",
        }),
    );
    headers.insert(
        A2A_VERSION,
        HeaderValue::from_static(config.version.as_str()),
    );
    headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_str(key).ok()?);
    if let Some(token) = &config.token {
        headers.insert(TOKEN, secret(token)?);
    }
    if let Some(authentication) = &config.authentication
        && let Some(credentials) = &authentication.credentials
    {
        let value = format!("{} {credentials}", authentication.scheme);
        headers.insert(AUTHORIZATION, secret(&value)?);
    }
    Some(request)
}

/// What the answer to a delivery means. Redirects are no acceptance, and nobody follows them.
pub(super) fn outcome(answer: &Result<Answer, ClientError>) -> Outcome {
    match answer {
        Ok(answer) if answer.status.is_success() => Outcome::Accepted,
        Ok(answer) if answer.status == StatusCode::GONE => Outcome::Hopeless,
        Err(ClientError::Refused(_)) => Outcome::Hopeless,
        Ok(_) | Err(_) => Outcome::Failed,
    }
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn told(version: Version, config: &str) -> Request<RequestBody> {
        let raw = serde_json::value::RawValue::from_string(config.to_owned()).unwrap();
        let config = PushConfig::parse(version, &raw).unwrap();
        request(&config, Bytes::from_static(b"{}"), "\"t/w/7\"").unwrap()
    }

    #[test]
    fn a_delivery_carries_what_the_receiver_asked_for_and_hides_it_from_logs() {
        let request = told(
            Version::V1,
            r#"{"url":"https://x.example/h?a=b","token":"tok","authentication":{"scheme":"Bearer","credentials":"s3cret"}}"#,
        );
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "https://x.example/h?a=b");
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer s3cret");
        assert_eq!(request.headers()[TOKEN], "tok");
        assert_eq!(request.headers()[CONTENT_TYPE], "application/a2a+json");
        let logged = format!("{:?}", request.headers());
        assert!(
            !logged.contains("s3cret") && !logged.contains("tok\""),
            "{logged}"
        );
    }

    #[test]
    fn a_scheme_without_credentials_is_nothing_to_present() {
        let request = told(
            Version::V03,
            r#"{"url":"http://x.example","authentication":{"schemes":["Basic"]}}"#,
        );
        assert!(!request.headers().contains_key(AUTHORIZATION));
        assert_eq!(request.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(request.headers()[A2A_VERSION], "0.3");
    }
}
