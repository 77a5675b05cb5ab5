//! How a decision about peers is kept and put in force.

use archipel_protocol::federation::keys;
use archipel_protocol::ids::Origin;
use parking_lot::Mutex;
use rand::Rng;
use serde_json::{Value, json};

use crate::federation::own_keys::OwnKeys;
use crate::pairing::book::{Book, keep_ring};
use crate::pairing::plan::{self, View};
use crate::pairing::ring::KeyRing;
use crate::pairing::{Command, PairingError, PairingPorts, RotateOrder, view};
use crate::store::peers::{Changed, PeerChange, PeerRows};

/// How often a decision is made anew because somebody else was faster.
const TRIES: usize = 8;
/// How long an old key of ours still counts where nothing is said: a week, in seconds.
const OVERLAP: i64 = 7 * 24 * 3600;
/// Shortest and longest overlap: ten seconds, and ninety days.
const OVERLAPS: std::ops::RangeInclusive<i64> = 10..=90 * 24 * 3600;

/// What pairing works with, and which revision is in force.
pub(super) struct Desk {
    pub(super) ports: PairingPorts,
    /// Held while a revision is put in force.
    in_force: Mutex<Option<u64>>,
}

impl Desk {
    pub(super) const fn new(ports: PairingPorts) -> Self {
        Self {
            ports,
            in_force: Mutex::new(None),
        }
    }

    pub(super) async fn carry_out(&self, command: Command) -> Result<Value, PairingError> {
        match command {
            Command::List => Ok(view::all(&self.view_ports(), &self.read().await?)),
            Command::Show(name) => self.shown(&name).await,
            Command::Invite(order) => self.invite(order).await,
            Command::Invitations => Ok(view::open(&self.read().await?, self.now())),
            Command::Withdraw(id) => {
                let id = id.parse().map_err(|_| PairingError::NotFound)?;
                self.decide(|view| plan::withdraw(view, id)).await?;
                Ok(Value::Null)
            }
            Command::Accept(order) => self.accept(order).await,
            Command::Join(order) => self.join(order).await,
            Command::RotateKey(order) => self.rotate(&order).await,
            Command::Suspend(name) => {
                self.decide(|view| plan::suspend(view, &name)).await?;
                self.shown(&name).await
            }
            Command::Resume(name) => {
                self.decide(|view| plan::resume(view, &name)).await?;
                self.shown(&name).await
            }
            Command::Revoke(name) => {
                self.decide(|view| plan::revoke(view, &name)).await?;
                Ok(Value::Null)
            }
        }
    }

    /// Looks whether somebody else decided something, and puts it in force.
    pub(super) async fn look(&self) {
        let revision = match self.ports.store.peers_revision().await {
            Ok(revision) => revision,
            Err(error) => {
                tracing::warn!(%error, "what other replicas decided about peers cannot be read");
                return;
            }
        };
        if *self.in_force.lock() == Some(revision) {
            return;
        }
        match self.ports.store.peers().await {
            Ok(rows) => self.put_in_force(&rows),
            Err(error) => {
                tracing::warn!(%error, "what other replicas decided about peers cannot be read");
            }
        }
    }

    /// Tells the federation what is kept.
    pub(super) fn put_in_force(&self, rows: &PeerRows) {
        let mut in_force = self.in_force.lock();
        if *in_force == Some(rows.revision) {
            return;
        }
        let book = Book::read(rows);
        let replaced = self.ports.federation.replace(|parts| {
            parts.paired = book.paired();
            parts.followed = book.followed();
            parts.withdrawn = book.withdrawn();
        });
        if let Err(error) = replaced {
            tracing::error!(%error, "what was decided about peers cannot be put in force");
            return;
        }
        if let Some(own) = self.own_keys(&book) {
            self.ports.federation.use_keys(&own);
        }
        *in_force = Some(rows.revision);
    }

    /// Makes a decision over what is kept, keeps it, and puts it in force.
    pub(super) async fn decide(
        &self,
        decision: impl Fn(View<'_>) -> Result<Vec<PeerChange>, PairingError>,
    ) -> Result<(), PairingError> {
        for _ in 0..TRIES {
            let rows = self.ports.store.peers().await?;
            self.put_in_force(&rows);
            let book = Book::read(&rows);
            let changes = decision(self.view(&book, &self.ports.federation.roster()))?;
            if changes.is_empty() {
                return Ok(());
            }
            let changed = self.ports.store.change_peers(rows.revision, changes);
            if let Changed::To(_) = changed.await? {
                // What is kept counts here only once it was read: the store says what it holds.
                self.put_in_force(&self.ports.store.peers().await?);
                return Ok(());
            }
        }
        let what = "others decide about peers at the same time: try again";
        Err(PairingError::Conflict(what.to_owned()))
    }

    pub(super) async fn read(&self) -> Result<Book, PairingError> {
        let rows = self.ports.store.peers().await?;
        self.put_in_force(&rows);
        Ok(Book::read(&rows))
    }

    pub(super) fn view<'a>(
        &self,
        book: &'a Book,
        roster: &'a crate::federation::roster::Roster,
    ) -> View<'a> {
        View {
            book,
            roster,
            max_peers: self.ports.federation.peer_rules().max_peers,
            now: self.now(),
        }
    }

    /// Unix seconds.
    pub(super) fn now(&self) -> i64 {
        i64::try_from(self.ports.clock.now_ms() / 1000).unwrap_or(i64::MAX)
    }

    pub(super) fn own(&self) -> &Origin {
        self.ports.federation.own()
    }

    /// Our keys as they are kept; none where federation works without.
    pub(super) fn own_keys(&self, book: &Book) -> Option<OwnKeys> {
        KeyRing::in_force(book.ring.as_ref(), &self.ports.seed?)
    }

    fn view_ports(&self) -> view::Ports<'_> {
        view::Ports {
            federation: &self.ports.federation,
            now: self.now(),
        }
    }

    pub(super) async fn shown(&self, name: &str) -> Result<Value, PairingError> {
        let book = self.read().await?;
        view::one(&self.view_ports(), &book, name).ok_or(PairingError::NotFound)
    }

    async fn rotate(&self, order: &RotateOrder) -> Result<Value, PairingError> {
        let overlap = order.overlap.unwrap_or(OVERLAP);
        if !OVERLAPS.contains(&overlap) {
            let what = "the overlap must be from ten seconds to ninety days";
            return Err(PairingError::Invalid(what.to_owned()));
        }
        let seed = self.ports.seed.ok_or_else(without_key)?;
        let mut next = [0; 32];
        rand::rng().fill_bytes(&mut next);
        self.decide(|view| {
            let ring = view.book.ring.as_ref();
            let times = (view.now, overlap);
            let ring = KeyRing::rotated(ring, (&seed, &next), self.own(), times);
            let ring = ring.map_err(|error| PairingError::Conflict(error.to_string()))?;
            Ok(vec![keep_ring(&ring)])
        })
        .await?;
        let book = self.read().await?;
        let own = self.own_keys(&book).ok_or_else(without_key)?;
        let must_be_told = view::who_does_not_follow(&self.view_ports());
        Ok(json!({
            "own": view::own(self.own(), &own),
            "previous": own.retiring.as_ref().map(|key| view::key(&key.public_key, Some(key.until))),
            "mustBeTold": must_be_told,
            "publicKey": keys::to_hex(&own.public_key),
        }))
    }
}

/// Why nothing of this can be done on a node without a key.
pub(super) fn without_key() -> PairingError {
    let what = "this node has no key of its own: set federation.enabled, federation.algorithm = \"Ed25519\" and \
                federation.ed25519_seed (`archipel keygen` makes one)";
    PairingError::Conflict(what.to_owned())
}
