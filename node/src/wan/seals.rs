//! Seals of letters: ours, and whose word those of others are.

use std::sync::Arc;

use archipel_kit::clock::Clock;
use archipel_protocol::federation::PeerKey;
use archipel_protocol::wan::{Envelope, SEAL_HEADER, Seal, Sealer};
use parking_lot::Mutex;
use url::Url;

use super::line::Headers;
use super::settings::SealRule;
use crate::federation::Federation;

/// See the module.
pub struct Seals {
    federation: Arc<Federation>,
    clock: Arc<dyn Clock>,
    rule: SealRule,
    /// Made anew when our keys change.
    sealer: Mutex<Option<(PublicKeys, Arc<Sealer>)>>,
}

/// The keys that a sealer is for: the one in force, and the one before it.
type PublicKeys = ([u8; 32], Option<[u8; 32]>);

/// Why a letter is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SealRefusal {
    #[error("it has no seal, and wan.seal asks for one")]
    Missing,
    #[error("its seal proves nothing: {0}")]
    Wrong(String),
    #[error("its seal is of a node that we do not trust")]
    Stranger,
    #[error("its seal is of a peer that is suspended")]
    Suspended,
    #[error("its seal is of another node than its sourceOrigin")]
    NotTheSource,
}

impl Seals {
    pub fn new(federation: Arc<Federation>, clock: Arc<dyn Clock>, rule: SealRule) -> Self {
        Self {
            federation,
            clock,
            rule,
            sealer: Mutex::default(),
        }
    }

    /// The header for a body that goes. A node without keys of its own seals nothing.
    pub(super) fn seal(&self, body: &[u8]) -> Option<(String, String)> {
        let now = self.now();
        let seal = self.sealer(now)?.seal(body, now)?;
        Some((SEAL_HEADER.to_owned(), seal))
    }

    /// Whether a letter that came may be believed.
    pub(super) fn check(
        &self,
        headers: &Headers,
        body: &[u8],
        envelope: &Envelope,
    ) -> Result<(), SealRefusal> {
        if self.rule == SealRule::Off {
            return Ok(());
        }
        let mut headers = headers.iter();
        let found = headers.find(|(name, _)| name.eq_ignore_ascii_case(SEAL_HEADER));
        let Some((_, text)) = found else {
            return self.unproven(SealRefusal::Missing);
        };
        let wrong = |error: &dyn std::fmt::Display| SealRefusal::Wrong(error.to_string());
        let seal = Seal::parse(text).map_err(|error| wrong(&error))?;
        let Some(keys) = self.keys_of(&seal)? else {
            return self.unproven(SealRefusal::Stranger);
        };
        seal.open(body, &keys).map_err(|error| wrong(&error))?;
        let (source, sealer) = (&*envelope.source_origin, seal.origin.as_str());
        let is_source = source == sealer
            || Url::parse(source).is_ok_and(|url| url.origin().ascii_serialization() == sealer);
        if is_source {
            Ok(())
        } else {
            Err(SealRefusal::NotTheSource)
        }
    }

    /// Nobody is proven to have sent it.
    fn unproven(&self, why: SealRefusal) -> Result<(), SealRefusal> {
        match self.rule {
            SealRule::Require => Err(why),
            SealRule::Check | SealRule::Off => Ok(()),
        }
    }

    /// With what a seal is opened: the keys of a peer in force, or our own. Trust that was taken back is not made up for by
    /// leaving seals unproven.
    fn keys_of(&self, seal: &Seal) -> Result<Option<Vec<PeerKey>>, SealRefusal> {
        if seal.origin == *self.federation.own() {
            return Ok(self.federation.own_keys().map(|own| {
                let retiring = own.retiring.map(|key| key.public_key);
                let keys = [own.public_key].into_iter().chain(retiring);
                keys.map(PeerKey::new).collect()
            }));
        }
        let roster = self.federation.roster();
        let peer = roster.by_origin(&seal.origin);
        if peer.is_some_and(|peer| peer.suspended) {
            return Err(SealRefusal::Suspended);
        }
        let keys = peer.map(|peer| peer.keys.clone());
        Ok(keys.filter(|keys| !keys.is_empty()))
    }

    fn sealer(&self, now: i64) -> Option<Arc<Sealer>> {
        let own = self.federation.own_keys()?;
        let retiring = own.retiring.filter(|key| key.until >= now);
        let keys = (own.public_key, retiring.as_ref().map(|key| key.public_key));
        let mut known = self.sealer.lock();
        if let Some((of, sealer)) = &*known
            && *of == keys
        {
            return Some(Arc::clone(sealer));
        }
        let seeds = [&own.seed].into_iter();
        let seeds = seeds.chain(retiring.as_ref().map(|key| &key.seed));
        let sealer = Sealer::new(self.federation.own().clone(), seeds).ok()?;
        let (_, sealer) = known.insert((keys, Arc::new(sealer)));
        Some(Arc::clone(sealer))
    }

    fn now(&self) -> i64 {
        i64::try_from(self.clock.now_ms() / 1000).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
pub(super) mod tests;
