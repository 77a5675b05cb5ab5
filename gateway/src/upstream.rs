//! The node behind the gateway: where a request goes, what it carries, and what comes back.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use actix_web::HttpRequest;
use archipel_kit::{
    client::{
        AddressPolicy, Answer, ClientError, ClientOptions, HttpClient, PlainClient, RequestBody,
        Timeouts, copy_if,
    },
    settings::Secret,
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri,
    header::CONTENT_TYPE,
    uri::{Authority, PathAndQuery, Scheme},
};
use url::Url;

use crate::{
    config::{ForwardFor, GatewaySettings},
    route::Route,
};

/// Request headers that reach the node, beside those that begin with `a2a-` and those the operator adds. Everything
/// else stays here: cookies, what speaks about the connection, what claims to come from a gateway or proxy.
const PASSED: [&str; 21] = [
    "accept",
    "authorization",
    "baggage",
    "content-type",
    "last-event-id",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-a2a-extensions",
    "x-correlation-id",
    "x-hive-federation-jwt",
    "x-hive-federation-proxy-operator-token",
    "x-hive-federation-secret",
    "x-hive-public-a2a-key",
    "x-hive-public-identity",
    "x-pilox-federation-jwt",
    "x-pilox-federation-proxy-operator-token",
    "x-pilox-federation-secret",
    "x-pilox-public-a2a-key",
    "x-pilox-public-identity",
    "x-request-id",
];

/// Both spellings of the header that shows a request came through a gateway; a node reads the one it knows.
const GATEWAY_AUTH: [HeaderName; 2] = [
    HeaderName::from_static("x-hive-gateway-auth"),
    HeaderName::from_static("x-pilox-gateway-auth"),
];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The settings of the upstream do not make a URL.
#[derive(Debug, thiserror::Error)]
#[error("the upstream's URL and path do not fit together: {0}")]
pub struct BadUpstream(#[from] http::Error);

/// One worker's way to the node, with its own pool of connections.
#[derive(Debug)]
pub(crate) struct Upstream {
    way: Way,
    /// Put before each path; empty for most.
    base_path: String,
    json_rpc: PathAndQuery,
    auth: Option<HeaderValue>,
    forward_for: ForwardFor,
    passed_too: Vec<String>,
    limits: Timeouts,
}

#[derive(Debug)]
enum Way {
    /// Without TLS, as between neighbours: one server and one protocol, so the shorter way is enough.
    Plain(PlainClient),
    Tls(Box<HttpClient>, Authority),
}

impl Upstream {
    pub(crate) fn new(settings: &GatewaySettings) -> Result<Self, BadUpstream> {
        let base = &settings.upstream;
        let authority = authority(base).map_err(http::Error::from)?;
        let base_path = base.path().trim_end_matches('/').to_owned();
        let json_rpc = PathAndQuery::try_from(format!("{base_path}{}", settings.jsonrpc_path))
            .map_err(http::Error::from)?;
        let auth = settings
            .upstream_auth_secret
            .as_ref()
            .map(bearer)
            .transpose()
            .map_err(http::Error::from)?;
        let options = ClientOptions {
            connect: settings.connect_timeout,
            max_idle_per_host: 1024,
            // The operator named the node, so it may have any address.
            ..ClientOptions::new(AddressPolicy::Any)
        };
        let way = if base.scheme() == "https" {
            Way::Tls(Box::new(HttpClient::new(options)), authority)
        } else {
            Way::Plain(PlainClient::new(options, &authority)?)
        };
        Ok(Self {
            way,
            base_path,
            json_rpc,
            auth,
            forward_for: settings.forward_for,
            passed_too: settings
                .pass_headers
                .iter()
                .map(|name| name.to_ascii_lowercase())
                .collect(),
            limits: Timeouts {
                first_byte: Some(settings.first_byte_timeout),
                idle: Some(settings.idle_timeout),
                total: Some(settings.total_timeout).filter(|total| !total.is_zero()),
            },
        })
    }

    /// Sends a request of `client` on, and waits for the head of the answer.
    pub(crate) async fn send(
        &self,
        route: Route,
        received: &HttpRequest,
        client: IpAddr,
        body: RequestBody,
    ) -> Result<Answer, ClientError> {
        let mut request = Request::new(body);
        *request.method_mut() = method(received.method());
        self.fill_headers(request.headers_mut(), route, received, client);
        let target = self.target(route, received)?;
        self.way.send(request, target, self.limits).await
    }

    /// Whether the node answers at all, whatever it says.
    pub(crate) async fn is_reachable(&self) -> bool {
        const PATIENCE: Timeouts = Timeouts {
            first_byte: Some(Duration::from_secs(2)),
            idle: None,
            total: None,
        };
        let request = Request::new(RequestBody::empty());
        let target = PathAndQuery::from_static("/livez");
        self.way.send(request, target, PATIENCE).await.is_ok()
    }

    fn target(&self, route: Route, received: &HttpRequest) -> Result<PathAndQuery, ClientError> {
        // Made once: it is the busiest target, and its query is ignored.
        if route == Route::JsonRpc {
            return Ok(self.json_rpc.clone());
        }
        let received = received
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let path = if self.base_path.is_empty() {
            PathAndQuery::try_from(received)
        } else {
            PathAndQuery::try_from(format!("{}{received}", self.base_path))
        };
        path.map_err(|error| ClientError::Other(error.to_string()))
    }

    fn fill_headers(
        &self,
        headers: &mut HeaderMap,
        route: Route,
        received: &HttpRequest,
        client: IpAddr,
    ) {
        headers.reserve(16);
        copy_if(received.headers(), headers, |name| {
            PASSED.binary_search(&name).is_ok()
                || name.starts_with("a2a-")
                || self.passed_too.iter().any(|passed| passed == name)
        });
        if route == Route::JsonRpc && !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(auth) = &self.auth {
            for name in &GATEWAY_AUTH {
                headers.insert(name, auth.clone());
            }
        }
        if let Some(value) = self.forwarded_for(received, client) {
            headers.insert(FORWARDED_FOR, value);
        }
    }

    /// Never what the client wrote: only addresses that we saw or that a trusted proxy vouches for.
    fn forwarded_for(&self, received: &HttpRequest, client: IpAddr) -> Option<HeaderValue> {
        let peer = received.peer_addr().map(|peer| peer.ip().to_canonical());
        match (self.forward_for, peer) {
            (ForwardFor::Off, _) => None,
            (ForwardFor::Chain, Some(peer)) if peer != client => {
                HeaderValue::try_from(format!("{client}, {peer}")).ok()
            }
            _ => address_value(client),
        }
    }
}

impl Way {
    async fn send(
        &self,
        mut request: Request<RequestBody>,
        target: PathAndQuery,
        limits: Timeouts,
    ) -> Result<Answer, ClientError> {
        let mut parts = http::uri::Parts::default();
        parts.path_and_query = Some(target);
        if let Self::Tls(_, authority) = self {
            parts.scheme = Some(Scheme::HTTPS);
            parts.authority = Some(authority.clone());
        }
        *request.uri_mut() =
            Uri::from_parts(parts).map_err(|error| ClientError::Other(error.to_string()))?;
        match self {
            Self::Plain(client) => client.send(request, limits).await,
            Self::Tls(client, _) => client.send(request, limits).await,
        }
    }
}

/// Written by hand for IPv4, because each request needs one and the formatter's way is much longer.
fn address_value(address: IpAddr) -> Option<HeaderValue> {
    let text = match address {
        IpAddr::V4(address) => dotted(address),
        IpAddr::V6(address) => address.to_string(),
    };
    HeaderValue::try_from(text).ok()
}

fn dotted(address: Ipv4Addr) -> String {
    let mut text = String::with_capacity(16);
    for octet in address.octets() {
        if octet >= 100 {
            text.push(char::from(b'0' + octet / 100));
        }
        if octet >= 10 {
            text.push(char::from(b'0' + octet / 10 % 10));
        }
        text.push(char::from(b'0' + octet % 10));
        text.push('.');
    }
    text.pop();
    text
}

fn authority(base: &Url) -> Result<Authority, http::uri::InvalidUri> {
    let host = base.host_str().unwrap_or_default();
    match base.port() {
        Some(port) => Authority::try_from(format!("{host}:{port}")),
        None => Authority::try_from(host),
    }
}

fn bearer(secret: &Secret) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", secret.expose()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The methods that a route can have; it was matched before.
fn method(method: &actix_web::http::Method) -> Method {
    match method.as_str() {
        "POST" => Method::POST,
        "DELETE" => Method::DELETE,
        _ => Method::GET,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_headers_can_be_searched() {
        assert!(PASSED.is_sorted());
    }

    #[test]
    fn addresses_are_written_as_everywhere() {
        for octets in [
            [0, 0, 0, 0],
            [9, 10, 99, 100],
            [101, 199, 200, 255],
            [127, 0, 0, 1],
        ] {
            let address = Ipv4Addr::from(octets);
            assert_eq!(dotted(address), address.to_string());
        }
    }
}
