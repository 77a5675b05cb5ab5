//! The way out: every HTTP client of the node is made here.
//!
//! There are two kinds of destination. What the operator wrote into the configuration is trusted and may be private;
//! what arrived from outside (webhooks, cards, manifests, invitations) may not, unless its host is allow-listed. The
//! address that is checked is the address that is connected to (`archipel_kit::client`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::Duration;

use archipel_kit::client::{
    AddressPolicy, Answer, ClientError, ClientOptions, HttpClient, RequestBody, Timeouts,
};
use archipel_kit::settings;
use http::{Request, Uri};
use parking_lot::RwLock;

settings! {
    /// How the node reaches others.
    pub struct EgressSettings {
        /// Hosts that may be called on behalf of others (webhooks, ..), private ones too; each entry covers its
        /// subdomains. Empty: every host whose address is public. Not empty: no other host.
        pub host_allowlist: Vec<String> = [], env ["HIVE_EGRESS_FETCH_HOST_ALLOWLIST", "PILOX_EGRESS_FETCH_HOST_ALLOWLIST"];
        /// Time for one connection, name lookup included.
        pub connect: Duration = "5s", in "100ms"..="1m";
        /// How long an unused connection is kept.
        pub keep_idle: Duration = "60s", in "1s"..="10m";
    }
}

/// Who chose the host of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// The operator, in the configuration: agents and peers.
    Trusted,
    /// Somebody else.
    Outside,
}

/// Makes the node's outbound requests. Shared by all workers.
#[derive(Debug)]
pub struct Egress {
    trusted: ClientOptions,
    outside: ClientOptions,
    /// One pair of clients per worker thread, because a pool that workers share costs nine times the tail latency.
    /// Bounded by the number of threads, which is fixed once the node runs.
    workers: RwLock<HashMap<ThreadId, Clients>>,
}

#[derive(Debug, Clone)]
struct Clients {
    trusted: HttpClient,
    outside: HttpClient,
}

impl Egress {
    /// No connection is made yet.
    pub fn new(settings: &EgressSettings) -> Self {
        let options = |addresses| ClientOptions {
            connect: settings.connect,
            keep_idle: settings.keep_idle,
            ..ClientOptions::new(addresses)
        };
        Self {
            trusted: options(AddressPolicy::Any),
            outside: options(outside_policy(&settings.host_allowlist)),
            workers: RwLock::default(),
        }
    }

    /// Sends a request, whose URI must be absolute, and waits for the head of its answer. Redirects are not followed.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn send(
        &self,
        destination: Destination,
        request: Request<RequestBody>,
        limits: Timeouts,
    ) -> Result<Answer, ClientError> {
        let clients = self.clients();
        let client = match destination {
            Destination::Trusted => clients.trusted,
            Destination::Outside => {
                refuse_credentials(request.uri())?;
                clients.outside
            }
        };
        client.send(request, limits).await
    }

    /// Whether [`Egress::send`] would connect to the host of this absolute URI as things stand now; nothing is sent.
    ///
    /// # Errors
    /// Why it would not.
    pub async fn check(&self, destination: Destination, uri: &Uri) -> Result<(), ClientError> {
        let clients = self.clients();
        match destination {
            Destination::Trusted => clients.trusted.check(uri).await,
            Destination::Outside => {
                refuse_credentials(uri)?;
                clients.outside.check(uri).await
            }
        }
    }

    fn clients(&self) -> Clients {
        let worker = thread::current().id();
        if let Some(clients) = self.workers.read().get(&worker) {
            return clients.clone();
        }
        let clients = Clients {
            trusted: HttpClient::new(self.trusted.clone()),
            outside: HttpClient::new(self.outside.clone()),
        };
        self.workers.write().insert(worker, clients.clone());
        clients
    }
}

/// A user name or password in a URL from outside is never meant for us to send (`contract/a2a-surface.md` 7).
fn refuse_credentials(uri: &Uri) -> Result<(), ClientError> {
    match uri.authority() {
        Some(authority) if !authority.as_str().contains('@') => Ok(()),
        _ => Err(ClientError::Refused(
            uri.host().unwrap_or_default().to_owned(),
        )),
    }
}

fn outside_policy(allowlist: &[String]) -> AddressPolicy {
    if allowlist.is_empty() {
        return AddressPolicy::PublicOnly;
    }
    let allowed: Vec<String> = allowlist
        .iter()
        .map(|host| host.trim().to_ascii_lowercase())
        .collect();
    AddressPolicy::Rule(Arc::new(move |host, _| is_listed(host, &allowed)))
}

/// Whether a host is on the list, or below a name on it. A literal address has nothing below it, so it must be listed as
/// a whole; a dot at the end of a name changes nothing about it.
fn is_listed(host: &str, allowed: &[String]) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
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
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
