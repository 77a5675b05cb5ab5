//! What a request to a node looks like: its target, and which headers it carries.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr},
};

use actix_http::HttpMessage as _;
use archipel_kit::{client::PlainHead, settings::Secret};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, CONTENT_TYPE},
    uri::PathAndQuery,
};

use super::{BadUpstream, Call};
use crate::{
    config::{ForwardFor, GatewaySettings},
    route::Route,
};

/// Request headers that reach the node, beside those that begin with `a2a-` and those the operator adds. Everything
/// else stays here: cookies, what speaks about the connection, what claims to come from a gateway or proxy.
static PASSED: [HeaderName; 21] = [
    HeaderName::from_static("accept"),
    HeaderName::from_static("authorization"),
    HeaderName::from_static("baggage"),
    HeaderName::from_static("content-type"),
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("user-agent"),
    HeaderName::from_static("x-a2a-extensions"),
    HeaderName::from_static("x-correlation-id"),
    HeaderName::from_static("x-hive-federation-jwt"),
    HeaderName::from_static("x-hive-federation-proxy-operator-token"),
    HeaderName::from_static("x-hive-federation-secret"),
    HeaderName::from_static("x-hive-public-a2a-key"),
    HeaderName::from_static("x-hive-public-identity"),
    HeaderName::from_static("x-pilox-federation-jwt"),
    HeaderName::from_static("x-pilox-federation-proxy-operator-token"),
    HeaderName::from_static("x-pilox-federation-secret"),
    HeaderName::from_static("x-pilox-public-a2a-key"),
    HeaderName::from_static("x-pilox-public-identity"),
    HeaderName::from_static("x-request-id"),
];

/// Both spellings of the header that shows a request came through a gateway; a node reads the one it knows.
const GATEWAY_AUTH: [HeaderName; 2] = [
    HeaderName::from_static("x-hive-gateway-auth"),
    HeaderName::from_static("x-pilox-gateway-auth"),
];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Which certificate the client showed. Not on any list, so a client cannot set it.
const CLIENT_CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What headers are added to: a request as it is written, or a map of them.
pub(super) trait Carrier {
    /// Adds one, whose value is that of another header.
    fn add(&mut self, name: &HeaderName, value: &[u8]);
}

impl Carrier for PlainHead {
    fn add(&mut self, name: &HeaderName, value: &[u8]) {
        Self::add(self, name, value);
    }
}

impl Carrier for HeaderMap {
    fn add(&mut self, name: &HeaderName, value: &[u8]) {
        if let Ok(mut value) = HeaderValue::from_bytes(value) {
            value.set_sensitive(*name == AUTHORIZATION || GATEWAY_AUTH.contains(name));
            self.append(name, value);
        }
    }
}

/// How every request of one configuration is written.
#[derive(Debug)]
pub(crate) struct Form {
    jsonrpc_path: String,
    auth: Option<HeaderValue>,
    forward_for: ForwardFor,
    passed_too: Vec<HeaderName>,
}

impl Form {
    pub(crate) fn new(settings: &GatewaySettings) -> Result<Self, BadUpstream> {
        let auth = settings.upstream_auth_secret.as_ref().map(bearer);
        let passed_too = settings
            .pass_headers
            .iter()
            .map(|name| HeaderName::from_bytes(name.as_bytes()));
        Ok(Self {
            jsonrpc_path: settings.jsonrpc_path.clone(),
            auth: auth.transpose().map_err(http::Error::from)?,
            forward_for: settings.forward_for,
            passed_too: passed_too
                .collect::<Result<_, _>>()
                .map_err(http::Error::from)?,
        })
    }

    /// The target of JSON-RPC below a base path. Made once for each node: it is the busiest one, and its query is
    /// ignored.
    pub(super) fn json_rpc(&self, base_path: &str) -> Result<PathAndQuery, BadUpstream> {
        Ok(
            PathAndQuery::try_from(format!("{base_path}{}", self.jsonrpc_path))
                .map_err(http::Error::from)?,
        )
    }

    /// Adds the headers of a call to what carries them.
    pub(super) fn fill(&self, to: &mut dyn Carrier, call: &Call<'_>) {
        let mut has_type = false;
        for (name, value) in call.received.headers() {
            let Some(name) = self.passed(name.as_str()) else {
                continue;
            };
            if *name == TRACEPARENT && call.traceparent.is_some() {
                continue;
            }
            has_type |= *name == CONTENT_TYPE;
            to.add(&name, value.as_bytes());
        }
        if call.route == Route::JsonRpc && !has_type {
            to.add(&CONTENT_TYPE, b"application/json");
        }
        if let Some(auth) = &self.auth {
            for name in &GATEWAY_AUTH {
                to.add(name, auth.as_bytes());
            }
        }
        if let Some(value) = self.forwarded_for(call) {
            to.add(&FORWARDED_FOR, value.as_bytes());
        }
        if let Some(certificate) = call.certificate {
            to.add(&CLIENT_CERTIFICATE, certificate.as_bytes());
        }
        if let Some(traceparent) = &call.traceparent {
            to.add(&TRACEPARENT, traceparent.as_bytes());
        }
    }

    /// The name under which a received header is passed on, if it is. Those of the list are ready made: parsing a name
    /// costs more than finding it.
    fn passed(&self, name: &str) -> Option<Cow<'_, HeaderName>> {
        if let Ok(index) = PASSED.binary_search_by(|passed| passed.as_str().cmp(name)) {
            return PASSED.get(index).map(Cow::Borrowed);
        }
        if name.starts_with("a2a-") {
            return HeaderName::from_bytes(name.as_bytes()).ok().map(Cow::Owned);
        }
        let mut too = self.passed_too.iter();
        too.find(|passed| passed.as_str() == name)
            .map(Cow::Borrowed)
    }

    /// Never what the client wrote: only addresses that we saw or that a trusted proxy vouches for.
    fn forwarded_for(&self, call: &Call<'_>) -> Option<HeaderValue> {
        match (self.forward_for, call.socket) {
            (ForwardFor::Off, _) => None,
            (ForwardFor::Chain, socket) if socket != call.client => {
                HeaderValue::try_from(format!("{}, {socket}", call.client)).ok()
            }
            _ => address_value(call.client),
        }
    }
}

/// The target of a request below a base path, as it was received.
pub(super) fn target<'a>(base_path: &str, received: &'a actix_http::Uri) -> Cow<'a, str> {
    let received = received.path_and_query().map_or("/", |path| path.as_str());
    if base_path.is_empty() {
        Cow::Borrowed(received)
    } else {
        Cow::Owned(format!("{base_path}{received}"))
    }
}

/// Written by hand for IPv4, because each request needs one and the formatter's way is much longer.
fn address_value(address: IpAddr) -> Option<HeaderValue> {
    match address {
        IpAddr::V4(address) => {
            let (text, length) = dotted(address);
            HeaderValue::from_bytes(text.get(..length)?).ok()
        }
        IpAddr::V6(address) => HeaderValue::try_from(address.to_string()).ok(),
    }
}

fn dotted(address: Ipv4Addr) -> ([u8; 16], usize) {
    let mut text = [0; 16];
    let mut length = 0;
    let mut push = |byte: u8| {
        if let Some(place) = text.get_mut(length) {
            *place = byte;
            length += 1;
        }
    };
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            push(b'.');
        }
        if octet >= 100 {
            push(b'0' + octet / 100);
        }
        if octet >= 10 {
            push(b'0' + octet / 10 % 10);
        }
        push(b'0' + octet % 10);
    }
    (text, length)
}

fn bearer(secret: &Secret) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", secret.expose()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_headers_can_be_searched() {
        assert!(PASSED.is_sorted_by_key(|name| name.as_str()));
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
            let (text, length) = dotted(address);
            assert_eq!(&text[..length], address.to_string().as_bytes());
        }
    }
}
