//! Fetches the manifest once for all replicas, and keeps the last good one.
//!
//! What is kept stands in the store of peers: a small row about the last attempt, and the signed document as it came. The
//! document is verified whenever it is read: whoever can write the store must not choose our peers. Of several replicas the
//! one that first writes down that it fetches does so; the others take what it kept. Without the store each fetches for
//! itself.

use std::sync::Arc;
use std::time::Duration;

use actix_rt::time::timeout;
use archipel_kit::client::{ClientError, RequestBody, Timeouts};
use archipel_kit::clock::Clock;
use archipel_kit::reload::Reload;
use archipel_protocol::federation::manifest::Manifest;
use bytes::Bytes;
use http::header::ACCEPT;
use http::{Request, Uri};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::{MAX_BYTES, ManifestFault, ManifestStatus, judge, peers_of};
use crate::egress::{Destination, Egress};
use crate::federation::Federation;
use crate::store::StoreError;
use crate::store::peers::{Changed, PeerChange, PeerRow, PeerRows, PeerStore};

/// The rows: about the last attempt, and the document.
const STATE: &str = "manifest:state";
const DOCUMENT: &str = "manifest:document";

/// How long beyond the fetch itself a replica is left alone that has said that it fetches.
const GRACE: Duration = Duration::from_secs(15);

/// How often a replica that waits for another one's fetch looks.
const PATIENCE: Duration = Duration::from_millis(250);

/// Where the manifest is, who signs it, and how often it is fetched.
#[derive(Debug, Clone)]
pub struct ManifestPlace {
    pub url: Uri,
    /// 64 hexadecimal digits.
    pub public_key_hex: String,
    pub refresh: Duration,
    pub timeout: Duration,
}

/// What the keeper works with.
pub struct KeeperPorts {
    pub federation: Arc<Federation>,
    pub egress: Arc<Egress>,
    pub store: Arc<dyn PeerStore>,
    pub clock: Arc<dyn Clock>,
}

/// Keeps the manifest of one node.
pub struct Keeper {
    place: ManifestPlace,
    ports: KeeperPorts,
    /// The manifest in force, and its document.
    kept: Option<(Manifest, Arc<str>)>,
    state: State,
    /// A fetch that is wanted is one that began after this (Unix milliseconds).
    asked_ms: u64,
}

/// What is written down about the last attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct State {
    /// Which place it was; another one is fetched at once.
    place: String,
    /// All in Unix milliseconds.
    tried_ms: u64,
    good_ms: Option<u64>,
    /// A replica fetches, and is to be left alone until then.
    busy_until_ms: u64,
    /// The token of what went wrong.
    fault: Option<String>,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Fetch,
    /// Somebody else does.
    LookAgain,
    Wait(Duration),
}

impl Keeper {
    /// A keeper that has nothing yet.
    pub fn new(place: ManifestPlace, ports: KeeperPorts) -> Self {
        Self {
            place,
            ports,
            kept: None,
            state: State::default(),
            asked_ms: 0,
        }
    }

    /// Keeps the manifest, without end; SIGHUP has it fetched now.
    pub async fn run(mut self, mut reload: Reload) {
        let mut news = self.ports.store.peer_news();
        self.tell_status();
        loop {
            let wait = match self.turn().await {
                Next::Fetch => continue,
                Next::LookAgain => PATIENCE,
                Next::Wait(time) => time.max(PATIENCE),
            };
            tokio::select! {
                asked = reload.due(wait) => if asked {
                    self.asked_ms = self.ports.clock.now_ms();
                },
                () = changed(&mut news) => {}
            }
        }
    }

    /// Takes what is kept, and fetches if it is time and nobody else does.
    async fn turn(&mut self) -> Next {
        let read = self.ports.store.peers().await;
        if let Ok(rows) = &read {
            self.take_rows(rows);
        }
        let now_ms = self.ports.clock.now_ms();
        let next = self.next(now_ms);
        if next != Next::Fetch {
            return next;
        }
        match read {
            Ok(rows) => match self.claim(rows.revision, now_ms).await {
                Ok(Changed::To(_)) => self.fetch(now_ms).await,
                Ok(Changed::Stale) => Next::LookAgain,
                Err(_) => self.fetch(now_ms).await,
            },
            Err(error) => {
                tracing::warn!(%error, "the manifest is fetched without the other replicas");
                self.fetch(now_ms).await
            }
        }
    }

    fn next(&self, now_ms: u64) -> Next {
        let refresh_ms = millis(self.place.refresh);
        let is_same = self.state.place == self.place.mark();
        let is_asked = self.state.tried_ms < self.asked_ms;
        let due_ms = self.state.tried_ms.saturating_add(refresh_ms);
        if is_same && !is_asked && now_ms < due_ms {
            return Next::Wait(Duration::from_millis(due_ms - now_ms));
        }
        match now_ms < self.state.busy_until_ms {
            true => Next::LookAgain,
            false => Next::Fetch,
        }
    }

    /// Writes down that this replica fetches.
    async fn claim(&self, revision: u64, now_ms: u64) -> Result<Changed, StoreError> {
        let mut state = self.state.clone();
        state.busy_until_ms = now_ms.saturating_add(millis(self.place.timeout + GRACE));
        let changes = vec![state.row()];
        self.ports.store.change_peers(revision, changes).await
    }

    async fn fetch(&mut self, now_ms: u64) -> Next {
        let fetched = self.fetched().await;
        let mut document = None;
        self.state.place = self.place.mark();
        self.state.tried_ms = now_ms;
        self.state.busy_until_ms = 0;
        match fetched {
            Ok((manifest, text)) => {
                self.state.good_ms = Some(now_ms);
                self.state.fault = None;
                if self.put_in_force(manifest, Arc::clone(&text)) {
                    document = Some(text);
                }
            }
            Err(fault) => {
                let token = fault.operator_token();
                tracing::error!(%fault, reason = token, "the manifest of peers was not taken; the last good one stays");
                self.state.fault = Some(token);
            }
        }
        self.tell_status();
        self.keep(document).await;
        Next::Wait(self.place.refresh)
    }

    async fn fetched(&self) -> Result<(Manifest, Arc<str>), ManifestFault> {
        let whole = timeout(self.place.timeout, self.exchange()).await;
        let (status, body) = whole.unwrap_or(Err(ManifestFault::Timeout))?;
        let kept = self.kept.as_ref().map(|(manifest, _)| manifest);
        let manifest = judge(status, &body, &self.place.public_key_hex, kept)?;
        let text = String::from_utf8_lossy(&body).into_owned();
        Ok((manifest, text.into()))
    }

    async fn exchange(&self) -> Result<(u16, Bytes), ManifestFault> {
        let mut request = Request::new(RequestBody::empty());
        *request.uri_mut() = self.place.url.clone();
        let json = http::HeaderValue::from_static("application/json");
        request.headers_mut().insert(ACCEPT, json);
        let limits = Timeouts {
            first_byte: Some(self.place.timeout),
            idle: Some(self.place.timeout),
            total: Some(self.place.timeout),
        };
        let egress = &self.ports.egress;
        let answer = egress.send(Destination::Trusted, request, limits).await?;
        let status = answer.status.as_u16();
        if status != 200 {
            return Ok((status, Bytes::new()));
        }
        if answer.body.exact_length() > Some(MAX_BYTES as u64) {
            return Err(ManifestFault::TooLarge);
        }
        Ok((status, answer.read_all(MAX_BYTES).await?))
    }

    /// Takes what another replica, or this one before it was started again, has kept.
    fn take_rows(&mut self, rows: &PeerRows) {
        let body = |id: &str| rows.rows.iter().find(|row| &*row.id == id);
        let state = body(STATE).and_then(|row| serde_json::from_slice(&row.body).ok());
        if let Some(state) = state {
            self.state = state;
            self.tell_status();
        }
        let Some(text) = body(DOCUMENT).and_then(|row| std::str::from_utf8(&row.body).ok()) else {
            return;
        };
        if self.kept.as_ref().is_some_and(|(_, kept)| &**kept == text) {
            return;
        }
        let kept = self.kept.as_ref().map(|(manifest, _)| manifest);
        match judge(200, text.as_bytes(), &self.place.public_key_hex, kept) {
            Ok(manifest) => {
                self.put_in_force(manifest, text.into());
            }
            // With another key it is nobody's any more, and the next good one takes its place.
            Err(fault) => tracing::warn!(%fault, "the manifest that was kept is not used"),
        }
    }

    /// Whether it differs from the one before.
    fn put_in_force(&mut self, manifest: Manifest, document: Arc<str>) -> bool {
        if self
            .kept
            .as_ref()
            .is_some_and(|(_, kept)| *kept == document)
        {
            return false;
        }
        let peers = peers_of(&manifest);
        let listed = peers.len();
        if let Err(error) = self
            .ports
            .federation
            .replace(|parts| parts.manifest = peers)
        {
            tracing::error!(%error, "the peers of the manifest cannot be used");
            return false;
        }
        tracing::info!(listed, "the manifest of peers was taken");
        self.kept = Some((manifest, document));
        true
    }

    /// Keeps what came of a fetch. What cannot be kept now is fetched again in due time.
    async fn keep(&self, document: Option<Arc<str>>) {
        loop {
            let read = self.ports.store.peers_revision().await;
            let taken = document.as_deref();
            let taken = taken.map(|text| row(DOCUMENT, text.to_owned()));
            let changes = [Some(self.state.row()), taken];
            let changes = changes.into_iter().flatten().collect();
            let changed = match read {
                Ok(revision) => self.ports.store.change_peers(revision, changes).await,
                Err(error) => Err(error),
            };
            match changed {
                Ok(Changed::Stale) => {}
                Ok(Changed::To(_)) => return,
                Err(error) => return tracing::warn!(%error, "the manifest of peers is not kept"),
            }
        }
    }

    fn tell_status(&self) {
        let state = &self.state;
        let is_tried = state.tried_ms > 0 && state.place == self.place.mark();
        self.ports.federation.set_manifest_status(ManifestStatus {
            configured: true,
            tried_ms: is_tried.then_some(state.tried_ms),
            good_ms: state.good_ms,
            fault: state.fault.clone().map(ManifestFault::Other),
        });
    }
}

impl ManifestPlace {
    /// What the place is called where attempts are written down.
    fn mark(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.url.to_string());
        hash.update([0]);
        hash.update(self.public_key_hex.to_ascii_lowercase());
        hex::encode(hash.finalize())
    }
}

impl State {
    fn row(&self) -> PeerChange {
        // Four numbers and two texts always have a JSON form.
        row(STATE, serde_json::to_string(self).unwrap_or_default())
    }
}

fn row(id: &str, body: String) -> PeerChange {
    PeerChange::Keep(PeerRow {
        id: id.into(),
        body: body.into(),
    })
}

impl From<ClientError> for ManifestFault {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::TooLarge(_) => Self::TooLarge,
            error if error.is_timeout() => Self::Timeout,
            _ => Self::Fetch,
        }
    }
}

async fn changed(news: &mut Option<watch::Receiver<u64>>) {
    if let Some(receiver) = news
        && receiver.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
