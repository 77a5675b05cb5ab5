//! The rules of federation with their keys: which tokens are good, and what we sign our own with.
//!
//! Built once from the settings and shared by all workers; only the roster in it can be replaced. Nothing here waits.
//! `settled` is what the settings come to, `letters` what is different for calls by envelope.

use std::sync::Arc;

use arc_swap::ArcSwap;
use archipel_kit::settings::{Problems, Secret};
use archipel_protocol::federation::{
    Delegation, KeyError, Minter, PeerKey, Policy, Terms, Verified, VerifyError, claimed, keys,
};
use archipel_protocol::ids::Origin;
use archipel_protocol::names::Dialect;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::config::CardCheck;
use crate::federation::manifest::keeper::ManifestPlace;
use crate::federation::manifest::{self, ManifestStatus};
use crate::federation::minters::{Minters, Tokens, check_keys, minters};
use crate::federation::own_keys::OwnKeys;
use crate::federation::peers::{Peer, PeerRules, PeerSource, configured_peers, variable_peers};
use crate::federation::roster::{Roster, RosterParts, Trust};
use crate::federation::settings::{Algorithm, FederationSettings, PeerSettings};
use crate::federation::{Acting, FederationRefusal, PeerIdentity, Proof};
use crate::replay::{ClaimId, ClaimScope};

mod letters;
mod settled;

pub use letters::LetterTerms;
use settled::{known_as, policy, refuse_listed_twice, trust};

/// A token that is good but for the question whether it was used before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Genuine {
    pub(super) identity: PeerIdentity,
    pub(super) claim: Option<ClaimId>,
}

/// The shared secret as a credential of its own.
struct Legacy {
    secret: Option<Secret>,
    /// Whether it is one.
    taken: bool,
}

/// Rules, keys and roster of federation.
pub struct Federation {
    enabled: bool,
    /// Under what we sign.
    own: Origin,
    max_hops: u8,
    dialect: Dialect,
    algorithm: Algorithm,
    policy: Policy,
    /// The one identity of all peers that use the shared secret.
    group: Arc<str>,
    minters: Minters,
    token_ttl_seconds: u64,
    peer_rules: PeerRules,
    trust: Trust,
    /// What the roster was made of; locked for as long as another one is being built.
    parts: Mutex<RosterParts>,
    legacy: Legacy,
    roster: ArcSwap<Roster>,
    manifest: Option<ManifestPlace>,
    manifest_status: ArcSwap<ManifestStatus>,
    warnings: Vec<String>,
}

impl Federation {
    /// Builds everything from the settings. `own` is our public origin.
    ///
    /// # Errors
    /// All problems of the settings at once.
    pub fn from_settings(
        own: &Origin,
        dialect: Dialect,
        settings: &FederationSettings,
        peers: &[PeerSettings],
        cards: CardCheck,
    ) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let mut warnings = Vec::new();
        let known_as = known_as(settings, own, &mut problems);
        let peer_rules = PeerRules::new(own, settings, cards);
        let parts = RosterParts {
            configured: configured_peers(&peer_rules, peers, &mut problems),
            variables: variable_peers(&peer_rules, settings, &mut problems, &mut warnings),
            ..RosterParts::default()
        };
        refuse_listed_twice(&parts, &mut problems);
        let manifest = manifest::place_of(settings, &mut problems);
        let minters = minters(settings, dialect, &known_as.origin, &mut problems);
        if settings.enabled {
            check_keys(settings, &minters, peers, &mut problems, &mut warnings);
        }
        let built = trust(settings, dialect).and_then(|trust| {
            let roster = Roster::new(parts.merged(&peer_rules), &trust)?;
            Ok((trust, roster))
        });
        let built = built.map_err(|error| {
            problems.add("federation", format!("a key cannot be used: {error}"));
        });
        let Ok((trust, roster)) = built else {
            return Err(problems);
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            enabled: settings.enabled,
            own: known_as.origin,
            max_hops: settings.max_hops,
            dialect,
            algorithm: settings.algorithm_in_force(),
            policy: policy(settings, known_as.audience),
            group: dialect.caller_federated().into(),
            minters,
            token_ttl_seconds: settings.token_ttl.as_secs(),
            peer_rules,
            trust,
            parts: Mutex::new(parts),
            legacy: Legacy {
                secret: settings.shared_secret.clone(),
                taken: settings.inbound_allow_legacy_secret,
            },
            roster: ArcSwap::from_pointee(roster),
            manifest: manifest.filter(|_| settings.enabled),
            manifest_status: ArcSwap::default(),
            warnings,
        })
    }

    /// Whether peers may call us and we may call peers.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The origin by which peers know us.
    pub fn own(&self) -> &Origin {
        &self.own
    }

    /// How many nodes a call may go through, ours not counted.
    pub fn max_hops(&self) -> u8 {
        self.max_hops
    }

    /// Which spelling of the mesh's names we use.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// How tokens are signed; never [`Algorithm::Auto`].
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The roster in force.
    pub fn roster(&self) -> Arc<Roster> {
        self.roster.load_full()
    }

    /// What every peer is checked against.
    pub fn peer_rules(&self) -> &PeerRules {
        &self.peer_rules
    }

    /// Changes what is told of peers and puts the roster that follows from it in force, for all workers at once. Calls
    /// that run go on with what they began with; streams of peers that are no longer what they were end ([`Peer::cut`]).
    ///
    /// # Errors
    /// When a key is not usable; the roster stays as it was.
    ///
    /// [`Peer::cut`]: crate::federation::peers::Peer::cut
    pub fn replace(&self, change: impl FnOnce(&mut RosterParts)) -> Result<(), KeyError> {
        self.rebuild(change, |_| true)
    }

    /// Ends what was begun by peers of which a key ended in the seconds from `since` up to `now` (Unix seconds). Who has
    /// another key may begin anew.
    ///
    /// # Errors
    /// When a key is not usable; the roster stays as it was.
    pub fn end_keys(&self, since: i64, now: i64) -> Result<(), KeyError> {
        let goes_on = |peer: &Peer| !peer.lost_key(since, now);
        // With a shared secret, keys decide nothing.
        let all_go_on = self.roster.load().peers().iter().all(|peer| goes_on(peer));
        if all_go_on || self.algorithm != Algorithm::Ed25519 {
            return Ok(());
        }
        self.rebuild(|_| {}, goes_on)
    }

    fn rebuild(
        &self,
        change: impl FnOnce(&mut RosterParts),
        goes_on: impl Fn(&Peer) -> bool,
    ) -> Result<(), KeyError> {
        let mut parts = self.parts.lock();
        let mut next = parts.clone();
        change(&mut next);
        let before = self.roster.load_full();
        let merged = next.merged(&self.peer_rules);
        let after = Arc::new(Roster::after(merged, &self.trust, &before, &goes_on)?);
        *parts = next;
        self.roster.store(Arc::clone(&after));
        // Only now: whoever hears of it and comes again meets the new roster.
        before.cut_what_ended(&after, goes_on);
        Ok(())
    }

    /// Where the manifest of peers is, if there is to be one.
    pub fn manifest(&self) -> Option<&ManifestPlace> {
        self.manifest.as_ref()
    }

    /// What is known of the manifest of peers now.
    pub fn manifest_status(&self) -> Arc<ManifestStatus> {
        self.manifest_status.load_full()
    }

    /// Tells what is known of it.
    pub fn set_manifest_status(&self, status: ManifestStatus) {
        self.manifest_status.store(Arc::new(status));
    }

    /// Whether there is something to mint tokens with.
    pub fn can_mint(&self) -> bool {
        self.enabled && !matches!(self.minters, Minters::Nothing)
    }

    /// What tokens for us must name.
    pub fn audience(&self) -> &str {
        self.policy.audience.as_deref().unwrap_or_default()
    }

    /// Our public key as peers must know it; none with a shared secret.
    pub fn public_key_hex(&self) -> Option<String> {
        let keys = self.minters.own_keys()?;
        Some(keys::to_hex(&keys.public_key))
    }

    /// Our own keys; none with a shared secret, or while federation is off.
    pub fn own_keys(&self) -> Option<OwnKeys> {
        self.minters.own_keys().filter(|_| self.enabled)
    }

    /// Mints with these keys from now on. Without a key of our own nothing changes.
    pub fn use_keys(&self, keys: &OwnKeys) {
        if let Err(error) = self.minters.use_keys(keys) {
            tracing::error!(%error, "our own key cannot be changed");
        }
    }

    /// The peer that claims to have minted this token with a key that we do not know, if we may ask it for its keys.
    pub(super) fn unknown_key_of(&self, token: &str) -> Option<Origin> {
        let claimed = claimed(token)?;
        let roster = self.roster.load();
        let peer = roster.by_origin(&Origin::parse(&claimed.issuer).ok()?)?;
        let is_known = |key: &PeerKey| key.kid.as_deref() == Some(&*claimed.key_id);
        let is_followed = peer.follows_keys && !peer.suspended;
        (is_followed && !peer.keys.iter().any(is_known)).then(|| peer.origin.clone())
    }

    /// What an operator should be told at start.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether a caller can prove anything in this way (contract/federation.md 2, rows 2 to 5).
    ///
    /// # Errors
    /// Why not, whatever they present.
    pub fn check_way(&self, proof: Proof) -> Result<(), FederationRefusal> {
        let is_configured = match proof {
            Proof::Token => self.roster.load().verifier().is_some(),
            Proof::LegacySecret => self.legacy.secret.is_some(),
        };
        match proof {
            _ if !self.enabled => Err(FederationRefusal::Disabled),
            _ if !is_configured => Err(FederationRefusal::NotConfigured),
            Proof::LegacySecret if !self.legacy.taken => Err(FederationRefusal::SecretNotTaken),
            _ => Ok(()),
        }
    }

    /// Whether somebody has the shared secret, which makes them one of the group.
    ///
    /// # Errors
    /// When it is another, or not taken.
    pub fn check_secret(&self, presented: &str) -> Result<PeerIdentity, FederationRefusal> {
        self.check_way(Proof::LegacySecret)?;
        let secret = self.legacy.secret.as_ref();
        if !secret.is_some_and(|secret| secret.matches(presented.as_bytes())) {
            return Err(FederationRefusal::WrongSecret);
        }
        Ok(PeerIdentity {
            name: self.group.clone(),
            origin: None,
            issuer: "legacy-secret".to_owned(),
            principal: self.group.clone(),
            peer: None,
            acting: None,
            // Whoever holds the secret says nothing of where a call has been, so it goes no further.
            hops: 0,
        })
    }

    /// Checks everything about a token but whether it was used before.
    pub(super) fn check(&self, token: &str, now_ms: u64) -> Result<Genuine, FederationRefusal> {
        self.check_by(&self.policy, token, now_ms)
    }

    fn check_by(
        &self,
        policy: &Policy,
        token: &str,
        now_ms: u64,
    ) -> Result<Genuine, FederationRefusal> {
        if !self.enabled {
            return Err(FederationRefusal::Disabled);
        }
        let roster = self.roster.load();
        let verifier = roster.verifier().ok_or(FederationRefusal::NotConfigured)?;
        let verified = verifier
            .verify(token, policy, unix_seconds(now_ms))
            .map_err(|error| match error {
                VerifyError::Expired | VerifyError::NotYetValid => {
                    FederationRefusal::NotValidNow(error)
                }
                other => FederationRefusal::Invalid(other),
            })?;
        let peer = self.sender(&roster, &verified)?;
        let (name, principal, claim_issuer) = match &peer {
            // All holders of the secret are one issuer: a call carries one token per dialect, both with one id.
            None => (
                self.group.clone(),
                self.group.clone(),
                self.group.to_string(),
            ),
            Some(peer) => (
                peer.name.clone(),
                peer.principal.clone(),
                verified.issuer.clone(),
            ),
        };
        let expires_at_ms = self.forget_after_ms(verified.expires_at);
        let claim = verified.jti.map(|id| ClaimId {
            scope: ClaimScope::FederationToken,
            issuer: claim_issuer,
            id,
            given_at_ms: u64::try_from(verified.issued_at)
                .unwrap_or(0)
                .saturating_mul(1000),
            expires_at_ms,
        });
        let acting = Acting::of(verified.delegation.chain);
        let further = self.max_hops.saturating_sub(1);
        let identity = PeerIdentity {
            name,
            origin: verified.peer,
            issuer: verified.issuer,
            peer,
            principal: match &acting {
                Some(acting) => format!("{principal}/{}", acting.id).into(),
                None => principal,
            },
            acting,
            hops: verified.delegation.hops.unwrap_or(further).min(further),
        };
        Ok(Genuine { identity, claim })
    }

    /// The peer that sent a token that is good; none with a shared secret.
    fn sender(
        &self,
        roster: &Roster,
        verified: &Verified,
    ) -> Result<Option<Arc<Peer>>, FederationRefusal> {
        let mut chain = verified.delegation.chain.iter();
        if chain.any(|actor| actor.iss == self.own) {
            return Err(FederationRefusal::Loop);
        }
        let Some(origin) = &verified.peer else {
            return Ok(None);
        };
        let peer = roster.by_origin(origin);
        let peer = peer.ok_or(FederationRefusal::Invalid(VerifyError::BadClaims))?;
        if peer.suspended {
            return Err(FederationRefusal::Suspended);
        }
        Ok(Some(Arc::clone(peer)))
    }

    /// From when on the id of a token need not be remembered: the first moment at which verifying refuses it. Verifying
    /// counts whole seconds, so the last good one ends a second after `exp` and skew.
    fn forget_after_ms(&self, expires_at: i64) -> u64 {
        let expires_at = u64::try_from(expires_at).unwrap_or(0);
        expires_at
            .saturating_add(self.policy.skew_seconds)
            .saturating_add(1)
            .saturating_mul(1000)
    }

    /// Peers that paired follow the keys of each other.
    fn is_paired(&self, peer: &Origin) -> bool {
        let roster = self.roster.load();
        let peer = roster.by_origin(peer);
        peer.is_some_and(|peer| peer.source == PeerSource::Paired)
    }

    /// Fresh tokens for one call to a peer; `None` when there is nothing to mint with, or minting failed.
    pub(super) fn mint(
        &self,
        audience: &Origin,
        delegation: &Delegation,
        id: Uuid,
        now_ms: u64,
    ) -> Option<Tokens> {
        self.mint_on(
            audience,
            &Terms {
                audience: Some(audience.as_str()),
                ttl_seconds: self.token_ttl_seconds,
                jti: id,
                now_unix: unix_seconds(now_ms),
                delegation,
                letter: None,
            },
        )
    }

    fn mint_on(&self, audience: &Origin, terms: &Terms<'_>) -> Option<Tokens> {
        if !self.enabled {
            return None;
        }
        let mint = |minter: &Minter| minter.mint_on(terms).ok();
        let follows = || self.is_paired(audience);
        self.minters.tokens(follows, terms.now_unix, mint)
    }
}

pub(super) fn unix_seconds(now_ms: u64) -> i64 {
    i64::try_from(now_ms / 1000).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
