//! Which URLs of somebody else's are called (`contract/a2a-surface.md` 7).
//!
//! A URL that names anything but a public address is refused, and so is a name of which one address is not public. With an
//! allow-list only its hosts are called, and those may be private. The same rule holds when a connection is made.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use archipel_kit::client::{AddressPolicy, ClientError, Lookup, is_public};
use http::Uri;
use url::{Host, Url};

/// Why a URL is not called, in the contract's words.
#[derive(Debug, thiserror::Error)]
pub enum UrlRefusal {
    /// It is none, or names no host.
    #[error("invalid_url")]
    Invalid,
    /// It is neither `http` nor `https`.
    #[error("only_http_https")]
    Scheme,
    /// It holds a user name or a password, which are never meant for us to send.
    #[error("credentials_in_url")]
    Credentials,
    /// There is an allow-list, and its host is not on it.
    #[error("host_not_allowlisted")]
    NotListed,
    /// Its host is written as an address, which is not public.
    #[error("literal_private_ip")]
    PrivateLiteral,
    /// Its host has no address.
    #[error("dns_no_results")]
    NoAddress,
    /// Its host has an address that is not public.
    #[error("dns_private:{0}")]
    Private(IpAddr),
    /// Its host cannot be looked up.
    #[error("dns_error:{0}")]
    Lookup(#[source] io::Error),
}

impl UrlRefusal {
    /// Whether it may pass: names that cannot be found now may be found later.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::NoAddress | Self::Lookup(_))
    }
}

#[derive(Debug)]
pub(super) struct Guard {
    /// Lower-case hosts. Empty: every public one.
    allowlist: Arc<[String]>,
    lookup: Lookup,
}

impl Guard {
    pub(super) fn new(allowlist: &[String], lookup: Lookup) -> Self {
        Self {
            allowlist: allowlist
                .iter()
                .map(|host| host.trim().to_ascii_lowercase())
                .collect(),
            lookup,
        }
    }

    pub(super) async fn judge(&self, url: &str) -> Result<Uri, UrlRefusal> {
        let url = Url::parse(url).map_err(|_| UrlRefusal::Invalid)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(UrlRefusal::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlRefusal::Credentials);
        }
        let host = url.host().ok_or(UrlRefusal::Invalid)?;
        let name = url.host_str().ok_or(UrlRefusal::Invalid)?;
        let is_listed = !self.allowlist.is_empty();
        if is_listed && !is_on(name, &self.allowlist) {
            return Err(UrlRefusal::NotListed);
        }
        if let Some(address) = literal(&host) {
            if !is_listed && !is_public(address) {
                return Err(UrlRefusal::PrivateLiteral);
            }
        } else {
            let port = url.port_or_known_default().unwrap_or(443);
            let found = self.lookup.addresses(name, port).await;
            let found = found.map_err(UrlRefusal::Lookup)?;
            if found.is_empty() {
                return Err(UrlRefusal::NoAddress);
            }
            let private = found.iter().find(|address| !is_public(address.ip()));
            if let (false, Some(private)) = (is_listed, private) {
                return Err(UrlRefusal::Private(private.ip()));
            }
        }
        // In the form in which it was judged: what is called must mean the same to whoever connects.
        url.as_str().parse().map_err(|_| UrlRefusal::Invalid)
    }

    /// The rule for whoever connects.
    pub(super) fn address_policy(&self) -> AddressPolicy {
        if self.allowlist.is_empty() {
            return AddressPolicy::PublicOnly;
        }
        let allowed = Arc::clone(&self.allowlist);
        AddressPolicy::Rule(Arc::new(move |host, _| is_on(host, &allowed)))
    }
}

/// A user name or password in a URL from outside is never sent.
pub(super) fn refuse_credentials(uri: &Uri) -> Result<(), ClientError> {
    match uri.authority() {
        Some(authority) if !authority.as_str().contains('@') => Ok(()),
        _ => Err(ClientError::Refused(
            uri.host().unwrap_or_default().to_owned(),
        )),
    }
}

fn literal(host: &Host<&str>) -> Option<IpAddr> {
    match host {
        Host::Ipv4(address) => Some((*address).into()),
        Host::Ipv6(address) => Some((*address).into()),
        Host::Domain(_) => None,
    }
}

/// Whether a host is on the list, or below a name on it. A literal address has nothing below it, so it must be listed as
/// a whole. A dot at the end makes another host of it.
fn is_on(host: &str, allowed: &[String]) -> bool {
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_ascii_lowercase();
    let is_literal = host.parse::<IpAddr>().is_ok();
    allowed.iter().any(|entry| {
        host == *entry
            || !is_literal
                && host
                    .strip_suffix(entry.as_str())
                    .is_some_and(|above| above.ends_with('.'))
    })
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
mod tests;
