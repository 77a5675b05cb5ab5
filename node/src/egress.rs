//! The way out: every HTTP client of the node is made here.
//!
//! There are two kinds of destination. What the operator wrote into the configuration is trusted and may be private;
//! what arrived from outside (webhooks, cards, manifests, invitations) may not, unless its host is allow-listed. The
//! address that is checked is the address that is connected to (`archipel_kit::client`). Who calls where:
//!
//! | what is called | chosen by |
//! |---|---|
//! | agents of the configuration, their cards and health; a model behind an OpenAI-compatible endpoint | the operator |
//! | agents that were added over HTTP | somebody else |
//! | webhooks | somebody else (`push.allow_private` makes them the operator's) |
//! | peers, their cards and descriptors | the operator; somebody else where an invitation or the manifest named them ([`Peer::destination`](crate::federation::peers::Peer::destination)) |
//! | the node of an invitation, and the keys that it publishes | somebody else, unless the operator says that it is private |
//! | the manifest | the operator |
//! | what `archipel call`, `card`, `agents`, `peers` and `bus` are told to | the operator |
//!
//! Traces and metrics are pushed by the telemetry's own exporter, to the collector of the configuration. Read `guard` (which
//! URLs of somebody else's are called), then `clients` (who connects, and what certificate is shown).

use std::path::PathBuf;
use std::time::Duration;

use archipel_kit::client::{Answer, ClientError, Lookup, RequestBody, Timeouts};
use archipel_kit::settings;
use archipel_kit::tls::{BadTls, ClientTls};
use http::{Request, Uri};

mod clients;
mod guard;

pub use guard::UrlRefusal;

use clients::{Clients, Way};
use guard::Guard;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Destination {
    /// The operator, in the configuration: agents and peers.
    Trusted,
    /// Somebody else.
    Outside,
}

/// The files of a TLS of one's own: for servers that want to see a certificate, or that no authority of this machine
/// stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TlsFiles {
    /// Authorities that the server's certificate must come from. `None`: those of this machine.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    /// Whether they can be used as they are now.
    ///
    /// # Errors
    /// Which file cannot, and why.
    pub fn check(&self) -> Result<(), BadTls> {
        ClientTls::load(&clients::files_of(self)).map(drop)
    }
}

/// Makes the node's outbound requests. Shared by all workers.
#[derive(Debug)]
pub struct Egress {
    guard: Guard,
    clients: Clients,
}

impl Egress {
    /// No connection is made yet.
    pub fn new(settings: &EgressSettings) -> Self {
        Self::with_lookup(settings, Lookup::default())
    }

    /// The same, asking somebody else for the addresses of hosts.
    pub fn with_lookup(settings: &EgressSettings, lookup: Lookup) -> Self {
        let guard = Guard::new(&settings.host_allowlist, lookup.clone());
        Self {
            clients: Clients::new(settings, guard.address_policy(), lookup),
            guard,
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
        let way = Way {
            destination,
            tls: None,
        };
        self.send_by(way, request, limits).await
    }

    /// The same with a TLS of one's own.
    ///
    /// # Errors
    /// Why there is no answer; also when the files cannot be used.
    pub async fn send_with(
        &self,
        (destination, tls): (Destination, Option<TlsFiles>),
        request: Request<RequestBody>,
        limits: Timeouts,
    ) -> Result<Answer, ClientError> {
        self.send_by(Way { destination, tls }, request, limits)
            .await
    }

    async fn send_by(
        &self,
        way: Way,
        request: Request<RequestBody>,
        limits: Timeouts,
    ) -> Result<Answer, ClientError> {
        if way.destination == Destination::Outside {
            guard::refuse_credentials(request.uri())?;
        }
        self.clients.of(way)?.send(request, limits).await
    }

    /// Whether a URL of somebody else's would be called as things stand now, and in which form; nothing is sent. The same
    /// holds each time it is called: this only tells early.
    ///
    /// # Errors
    /// Why it would not.
    pub async fn judge(&self, url: &str) -> Result<Uri, UrlRefusal> {
        self.guard.judge(url).await
    }

    /// Lets go of connections whose certificates or authorities have changed on disk since they were made. Waits for the
    /// disk.
    pub fn look(&self) {
        self.clients.look();
    }

    /// When the first of the certificates that are shown expires, in seconds since the Unix epoch.
    pub fn expires(&self) -> Option<i64> {
        self.clients.expires()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
