//! At which address a caller is (contract/federation.md 4).

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header::HeaderMap;
use archipel_kit::admission::ClientRules;

use crate::config::ClientSource;
use crate::edge::auth::allowlist::address;

/// How the address of a caller is found.
#[derive(Debug, Clone)]
pub struct ClientAddress {
    pub source: ClientSource,
    /// What counts with [`ClientSource::Auto`].
    pub rules: ClientRules,
}

impl ClientAddress {
    /// The caller's address, if it can be told.
    pub(super) fn of(&self, request: &HttpRequest) -> Option<IpAddr> {
        let connection = request.peer_addr().map(|peer| peer.ip());
        self.find(connection, request.headers())
    }

    fn find(&self, connection: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        let hops = || {
            headers
                .get_all("x-forwarded-for")
                .filter_map(|value| value.to_str().ok())
                .flat_map(|line| line.split(','))
                .map(str::trim)
                .filter(|hop| !hop.is_empty())
        };
        match self.source {
            ClientSource::Auto => {
                let header = self.rules.header.word();
                let lines: Vec<&str> = headers
                    .get_all(header)
                    .filter_map(|value| value.to_str().ok())
                    .collect();
                connection.map(|connection| self.rules.client(connection, lines.into_iter()))
            }
            ClientSource::RealIp => headers.get("x-real-ip")?.to_str().ok().and_then(address),
            ClientSource::XffFirst => hops().next().and_then(address),
            ClientSource::XffLast => hops().last().and_then(address),
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
mod tests;
