//! What browsers are told: which pages may call (CORS), also from the Internet into a private network.

use actix_http::{
    HttpMessage as _, Request, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD,
        HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
    },
};
use bytes::Bytes;

use crate::{config::CorsSettings, exchange::Outgoing};

const REQUEST_PRIVATE: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// Every method that any place serves.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, DELETE");

/// The rules; there are some only where an origin is allowed.
#[derive(Debug)]
pub(crate) struct Cors {
    origins: Vec<Allowed>,
    credentials: bool,
    private_network: bool,
    max_age: u64,
    expose: HeaderValue,
}

#[derive(Debug)]
enum Allowed {
    Every,
    One(String),
    /// Scheme with `://`, and the host's end with its dot.
    Below(String, String),
}

impl Cors {
    pub(crate) fn new(settings: &CorsSettings) -> Option<Self> {
        if settings.origins.is_empty() {
            return None;
        }
        Some(Self {
            origins: settings
                .origins
                .iter()
                .map(|origin| Allowed::parse(origin))
                .collect(),
            credentials: settings.credentials,
            private_network: settings.private_network,
            max_age: settings.max_age.as_secs(),
            // Names of headers, as the settings' own check has it.
            expose: HeaderValue::try_from(settings.expose.join(", "))
                .unwrap_or(HeaderValue::from_static("")),
        })
    }

    /// Answers a browser's question whether a page may call; `None` when it is no such question.
    pub(crate) fn preflight(&self, request: &Request) -> Option<Response<Outgoing>> {
        let asked = request.headers();
        if *request.method() != actix_http::Method::OPTIONS
            || !asked.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        {
            return None;
        }
        let origin = asked.get(ORIGIN)?;
        let mut response = Response::with_body(StatusCode::NO_CONTENT, Outgoing::Own(Bytes::new()));
        let headers = response.headers_mut();
        headers.insert(
            VARY,
            HeaderValue::from_static("Origin, Access-Control-Request-Headers"),
        );
        if !self.allows(origin) {
            return Some(response);
        }
        self.allow(headers, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.into());
        if self.private_network && asked.contains_key(REQUEST_PRIVATE) {
            headers.insert(ALLOW_PRIVATE, HeaderValue::from_static("true"));
        }
        Some(response)
    }

    /// Says on an answer whether the page may read it. What the node said about that is taken out: it does not know which
    /// pages this gateway is for.
    pub(crate) fn mark(&self, asked: Option<&HeaderValue>, headers: &mut HeaderMap) {
        for name in [
            ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            ACCESS_CONTROL_EXPOSE_HEADERS,
            ALLOW_PRIVATE,
        ] {
            headers.remove(name);
        }
        headers.append(VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = asked.filter(|origin| self.allows(origin)) else {
            return;
        };
        self.allow(headers, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, self.expose.clone());
    }

    fn allow(&self, headers: &mut HeaderMap, origin: &HeaderValue) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.credentials {
            headers.insert(
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        self.origins.iter().any(|allowed| allowed.matches(origin))
    }
}

impl Allowed {
    fn parse(text: &str) -> Self {
        if text == "*" {
            return Self::Every;
        }
        match text.split_once("://*.") {
            Some((scheme, host)) => Self::Below(
                format!("{}://", scheme.to_ascii_lowercase()),
                format!(".{}", host.to_ascii_lowercase()),
            ),
            None => Self::One(text.trim_end_matches('/').to_ascii_lowercase()),
        }
    }

    /// Browsers write origins in lower case.
    fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Every => true,
            Self::One(one) => origin == one,
            Self::Below(scheme, host) => origin
                .strip_prefix(scheme.as_str())
                .and_then(|rest| rest.strip_suffix(host.as_str()))
                .is_some_and(|label| {
                    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
                    !label.is_empty() && !label.starts_with('.') && label.bytes().all(fits)
                }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_exact_or_below_a_host() {
        let check = |allowed: &str, origin: &str, expected: bool| {
            assert_eq!(
                Allowed::parse(allowed).matches(origin),
                expected,
                "{allowed} {origin}"
            );
        };
        check("*", "https://anything.example", true);
        check("https://app.example.org", "https://app.example.org", true);
        check("https://App.example.org/", "https://app.example.org", true);
        check("https://app.example.org", "http://app.example.org", false);
        check(
            "https://app.example.org",
            "https://app.example.org.evil.example",
            false,
        );
        check(
            "https://app.example.org:8443",
            "https://app.example.org:8443",
            true,
        );
        check("https://*.example.org", "https://a.example.org", true);
        check("https://*.example.org", "https://a.b.example.org", true);
        check("https://*.example.org", "https://example.org", false);
        check("https://*.example.org", "https://.example.org", false);
        check("https://*.example.org", "http://a.example.org", false);
        check("https://*.example.org", "https://evilexample.org", false);
        check(
            "https://*.example.org",
            "https://evil.example/x.example.org",
            false,
        );
        check("https://*.example.org", "https://a@b.example.org", false);
        check("https://*.example.org", "null", false);
    }
}
