//! Calls to peers: each with a token of its own, minted for that peer, and with nothing of the caller's credentials.
//!
//! An answer streams: its body is handed on as it arrives. Read [`Outbound::call`], then `lines` (how many calls run, and
//! whether a peer is left alone), `again` (when a call is made again), `kind` (what kind of node a peer is),
//! `probe` (whether it is there).

use std::sync::Arc;
use std::time::Duration;

use archipel_kit::client::{Answer, ClientError, RequestBody, Timeouts};
use archipel_kit::clock::Clock;
use archipel_protocol::a2a::VERSION;
use archipel_protocol::a2a::card::TrustedKeys;
use archipel_protocol::federation::Delegation;
use archipel_protocol::ids::Origin;
use bytes::Bytes;
use http::header::{
    ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED, USER_AGENT,
};
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode, Uri};
use opentelemetry::metrics::Meter;

use crate::agents::breaker::{BreakerRule, Verdict};
use crate::egress::Egress;
use crate::federation::Federation;
use crate::federation::acting::{Behind, CallerNames, NoFurther};
use crate::federation::outbound::again::Progress;
use crate::federation::outbound::lines::Lines;
use crate::federation::peers::{Cut, Peer};
use crate::federation::roster::Roster;

mod again;
mod kind;
mod lines;
mod probe;

pub use kind::{NodeKind, OURS};
pub use probe::Probe;

/// The headers of a caller's request that go on to a peer; no other does.
pub const FORWARDED_HEADERS: [HeaderName; 10] = [
    CONTENT_TYPE,
    ACCEPT,
    HeaderName::from_static("a2a-version"),
    HeaderName::from_static("a2a-extensions"),
    HeaderName::from_static("x-a2a-extensions"),
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-correlation-id"),
];

/// The largest card that is read.
pub const MAX_CARD_BYTES: usize = 256 * 1024;

/// How long a peer may take. Connecting has its own limit in the egress settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboundLimits {
    /// Until the head of the answer.
    pub first_byte: Duration,
    /// Between two pieces of the answer; a stream may last as long as it is not silent for this long.
    pub idle: Duration,
    /// For the whole exchange; streams too.
    pub total: Option<Duration>,
}

/// How peers are called.
pub struct OutboundRules {
    pub limits: OutboundLimits,
    /// When a peer that keeps failing is left alone.
    pub breaker: BreakerRule,
    /// Makes the names by which peers know our callers.
    pub names: CallerNames,
}

/// A call to a peer.
#[derive(Debug, Clone)]
pub struct PeerCall<'a> {
    /// The peer's name.
    pub peer: &'a str,
    pub method: Method,
    /// On the peer, for example `/agents/text`.
    pub path_and_query: PathAndQuery,
    /// Of the caller's request; only [`FORWARDED_HEADERS`] go on.
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Whether nothing changes at the peer, so that it may be asked again.
    pub only_reads: bool,
    /// For whom.
    pub behind: Behind<'a>,
}

/// A card of a peer.
pub struct PeerCard {
    /// As it came.
    pub body: Bytes,
    /// Since when it is what it is, in the peer's words.
    pub modified: Option<String>,
}

/// Why a peer's answer cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// The roster has no peer of that name.
    #[error("no such peer")]
    UnknownPeer,
    /// The operator has suspended it.
    #[error("the peer is suspended")]
    Suspended,
    /// The peer has no agent of that name, or does not show it to us.
    #[error("no such agent at the peer")]
    NoSuchAgent,
    /// The call has come round, or far enough.
    #[error(transparent)]
    NoFurther(#[from] NoFurther),
    /// Federation is off, or there is nothing to mint tokens with.
    #[error("this node cannot call peers: federation is off or has no key")]
    NotReady,
    /// It has as many calls of ours as it may have.
    #[error("as many calls to the peer run as may")]
    Busy,
    /// It keeps failing.
    #[error("the peer keeps failing and is left alone for a while")]
    LeftAlone(Duration),
    /// It cannot be reached.
    #[error("the peer cannot be reached")]
    Down,
    /// It did not answer in time.
    #[error("the peer did not answer in time")]
    Slow,
    /// It broke off, answered with a redirect, which is never followed, or with something that is not what was asked for.
    #[error("the peer gave an answer that cannot be used")]
    BadAnswer,
}

/// Calls peers. Shared by all workers.
pub struct Outbound {
    federation: Arc<Federation>,
    egress: Arc<Egress>,
    clock: Arc<dyn Clock>,
    limits: OutboundLimits,
    names: CallerNames,
    lines: Lines,
    own_token_header: HeaderName,
    other_token_header: HeaderName,
    user_agent: HeaderValue,
}

impl Outbound {
    /// Calls under the identity and to the roster of `federation`.
    pub fn new(
        federation: Arc<Federation>,
        egress: Arc<Egress>,
        clock: Arc<dyn Clock>,
        rules: OutboundRules,
        meter: &Meter,
    ) -> Self {
        let dialect = federation.dialect();
        Self {
            own_token_header: HeaderName::from_static(dialect.federation_jwt_header()),
            other_token_header: HeaderName::from_static(dialect.other().federation_jwt_header()),
            user_agent: HeaderValue::from_static(dialect.user_agent()),
            lines: Lines::new(rules.breaker, Arc::clone(&clock), meter),
            federation,
            egress,
            clock,
            limits: rules.limits,
            names: rules.names,
        }
    }

    /// Calls a peer and gives its answer on as it comes, whatever its status, redirects excepted.
    ///
    /// # Errors
    /// Why there is no answer to give on.
    pub async fn call(&self, call: PeerCall<'_>) -> Result<Answer, OutboundError> {
        let roster = self.federation.roster();
        let peer = in_force(&roster, call.peer)?;
        let target = target(&peer.origin, call.path_and_query.clone())?;
        let delegation = self.names.delegation(
            self.federation.own(),
            &peer.origin,
            call.behind,
            self.federation.max_hops(),
        )?;
        let line = self.lines.to(peer, &roster);
        let mut running = self.lines.begin(line, peer.max_concurrent)?;
        let sent = self.send(peer, &target, &call, &delegation).await;
        running.settle(verdict(&sent));
        let mut answer = sent?;
        if answer.status.is_redirection() {
            tracing::warn!(
                peer.name = call.peer,
                status = answer.status.as_u16(),
                "a peer redirects, which is refused"
            );
            return Err(OutboundError::BadAnswer);
        }
        // Its place is taken until the last byte is through.
        answer.body.hold(running);
        Ok(answer)
    }

    /// Sends a call until it is answered, or must not be sent again.
    async fn send(
        &self,
        peer: &Peer,
        target: &Uri,
        call: &PeerCall<'_>,
        delegation: &Delegation,
    ) -> Result<Answer, OutboundError> {
        let begun = self.clock.monotonic();
        let limits = Timeouts {
            first_byte: Some(self.limits.first_byte),
            idle: Some(self.limits.idle),
            total: self.limits.total,
        };
        let mut repeated = 0;
        loop {
            let mut request = Request::new(RequestBody::from(call.body.clone()));
            *request.method_mut() = call.method.clone();
            *request.uri_mut() = target.clone();
            *request.headers_mut() = forwarded(&call.headers);
            self.sign(request.headers_mut(), &peer.origin, delegation)?;
            let outcome = self
                .egress
                .send_with((peer.destination(), peer.tls_files()), request, limits)
                .await;
            let progress = Progress {
                repeated,
                elapsed: self.clock.monotonic().saturating_sub(begun),
                patience: self.limits.first_byte,
            };
            let now_ms = self.clock.now_ms();
            let next = again::why(&outcome, call.only_reads).and_then(|why| {
                let pause = again::pause(why, progress, now_ms, rand::random())?;
                Some((why, pause))
            });
            let Some((why, pause)) = next else {
                return outcome.map_err(|error| {
                    tracing::warn!(peer.name = call.peer, %error, "call to a peer failed");
                    OutboundError::from(error)
                });
            };
            self.lines.metrics.repeated.count(why);
            tokio::time::sleep(pause).await;
            repeated += 1;
        }
    }

    /// Reads a card of a peer, as it came.
    ///
    /// # Errors
    /// Why there is none; 404 is [`OutboundError::NoSuchAgent`], every other status but 200 [`OutboundError::BadAnswer`].
    pub async fn card(
        &self,
        peer: &str,
        path: PathAndQuery,
        behind: Behind<'_>,
    ) -> Result<PeerCard, OutboundError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert("a2a-version", HeaderValue::from_static(VERSION));
        let call = PeerCall {
            peer,
            method: Method::GET,
            path_and_query: path,
            headers,
            body: Bytes::new(),
            only_reads: true,
            behind,
        };
        let answer = self.call(call).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(OutboundError::NoSuchAgent),
            _ => return Err(OutboundError::BadAnswer),
        }
        let modified = answer.headers.get(LAST_MODIFIED);
        let modified = modified
            .and_then(|date| date.to_str().ok())
            .map(str::to_owned);
        Ok(PeerCard {
            body: answer
                .read_all(MAX_CARD_BYTES)
                .await
                .map_err(OutboundError::from)?,
            modified,
        })
    }

    /// To whom a letter to a peer goes, and what its token says of those behind it.
    ///
    /// # Errors
    /// Why it must not go.
    pub fn address(
        &self,
        peer: &str,
        behind: Behind<'_>,
    ) -> Result<(Origin, Delegation), OutboundError> {
        if !self.federation.can_mint() {
            return Err(OutboundError::NotReady);
        }
        let roster = self.federation.roster();
        let to = in_force(&roster, peer)?.origin.clone();
        let (own, hops) = (self.federation.own(), self.federation.max_hops());
        let delegation = self.names.delegation(own, &to, behind, hops)?;
        Ok((to, delegation))
    }

    /// What ends the streams of a peer before they are over; nothing for a name that is no peer's.
    pub fn cut_of(&self, peer: &str) -> Option<Cut> {
        let roster = self.federation.roster();
        roster.by_name(peer).map(|peer| peer.cut.clone())
    }

    /// The keys with which cards of a peer may be signed.
    pub fn keys_of(&self, peer: &str) -> TrustedKeys {
        let roster = self.federation.roster();
        let peer = roster.by_name(peer);
        peer.map(|peer| peer.trusted_keys()).unwrap_or_default()
    }

    /// The token goes out under the names of both dialects: a peer reads its own and ignores the other.
    fn sign(
        &self,
        headers: &mut HeaderMap,
        audience: &Origin,
        delegation: &Delegation,
    ) -> Result<(), OutboundError> {
        // Random bytes of this thread's generator: unguessable, and no system call per request.
        let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        let now_ms = self.clock.now_ms();
        let tokens = self
            .federation
            .mint(audience, delegation, id, now_ms)
            .ok_or(OutboundError::NotReady)?;
        headers.insert(self.own_token_header.clone(), header_of(&tokens.own)?);
        headers.insert(self.other_token_header.clone(), header_of(&tokens.other)?);
        headers.insert(USER_AGENT, self.user_agent.clone());
        Ok(())
    }
}

impl From<ClientError> for OutboundError {
    fn from(error: ClientError) -> Self {
        match error {
            error if error.is_timeout() => Self::Slow,
            // The connection stood: what came over it broke off or was no HTTP.
            ClientError::TooLarge(_) | ClientError::Other(_) => Self::BadAnswer,
            _ => Self::Down,
        }
    }
}

fn in_force<'r>(roster: &'r Roster, name: &str) -> Result<&'r Arc<Peer>, OutboundError> {
    let peer = roster.by_name(name).ok_or(OutboundError::UnknownPeer)?;
    if peer.suspended {
        return Err(OutboundError::Suspended);
    }
    Ok(peer)
}

/// What an answer says of the peer. That it refuses us, or the call, is no fault of it.
fn verdict(sent: &Result<Answer, OutboundError>) -> Verdict {
    match sent {
        Ok(answer) if answer.status == StatusCode::LOOP_DETECTED => Verdict::Good,
        Ok(answer) if answer.status.is_server_error() => Verdict::Bad,
        Ok(_) => Verdict::Good,
        Err(OutboundError::NotReady) => Verdict::Unknown,
        Err(_) => Verdict::Bad,
    }
}

fn header_of(token: &str) -> Result<HeaderValue, OutboundError> {
    let mut value = HeaderValue::from_str(token).map_err(|_| OutboundError::NotReady)?;
    value.set_sensitive(true);
    Ok(value)
}

fn forwarded(received: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(FORWARDED_HEADERS.len() + 3);
    for name in FORWARDED_HEADERS {
        for value in received.get_all(&name) {
            headers.append(&name, value.clone());
        }
    }
    headers
}

fn target(origin: &Origin, path_and_query: PathAndQuery) -> Result<Uri, OutboundError> {
    // An origin is a URL of scheme and host, so this cannot fail; if it did, there would be nobody to call.
    let base: Uri = origin.as_str().parse().map_err(|_| OutboundError::Down)?;
    let mut parts = base.into_parts();
    parts.path_and_query = Some(path_and_query);
    Uri::from_parts(parts).map_err(|_| OutboundError::Down)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
