//! How a call came to the gates, as far as limits and records need it: over HTTP, or in an envelope.

use std::net::IpAddr;

use actix_web::HttpRequest;

use super::request_id;
use super::trail::entrypoint;
use crate::edge::Edge;

/// See the module.
pub(in crate::edge) trait Came {
    /// From which address, if it has one.
    fn client(&self, edge: &Edge) -> Option<IpAddr>;
    /// What names it across hops.
    fn request_id(&self) -> Option<&str>;
    /// By which of the paths of the contract it came in.
    fn entrypoint(&self) -> &'static str;
}

impl Came for HttpRequest {
    fn client(&self, edge: &Edge) -> Option<IpAddr> {
        edge.gates.client.of(self)
    }

    fn request_id(&self) -> Option<&str> {
        request_id(self)
    }

    fn entrypoint(&self) -> &'static str {
        entrypoint(self.path())
    }
}

/// In an envelope, of which the correlation id is known. It comes from a broker: who handed it in there, has no address here.
pub(in crate::edge) struct ByEnvelope<'a>(pub(in crate::edge) &'a str);

impl Came for ByEnvelope<'_> {
    fn client(&self, _: &Edge) -> Option<IpAddr> {
        None
    }

    fn request_id(&self) -> Option<&str> {
        Some(self.0)
    }

    fn entrypoint(&self) -> &'static str {
        "wan"
    }
}
