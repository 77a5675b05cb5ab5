//! A peer: another node that we trust, and how far.
//!
//! Read [`Peer`], then `given` (how one is made from what an operator wrote).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use archipel_protocol::a2a::card::TrustedKeys;
use archipel_protocol::federation::{PeerKey, keys};
use archipel_protocol::ids::Origin;
use archipel_protocol::method::Method;
use jiff::civil::Date;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::egress::{Destination, TlsFiles};
use crate::federation::settings::PeerKind;
use crate::role::Role;

mod given;

pub use given::{
    PeerRules, configured_peers, listed_origins, peer_of, refuse_double, variable_peers,
};

/// Another node that we trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name in our URLs.
    pub name: Arc<str>,
    /// How a caller that comes from it is called: `peer:` and the name.
    pub principal: Arc<str>,
    /// Where it is reached and under what it signs.
    pub origin: Origin,
    /// What its tokens are verified with, at most [`MAX_KEYS`]; none where a shared secret is used.
    pub keys: Vec<PeerKey>,
    /// Further keys for its cards: a JWK Set, checked when the peer was made.
    pub card_keys: Option<Arc<str>>,
    /// Whether new keys are taken that it announces with those it has.
    pub follows_keys: bool,
    /// The key that was written down and from which `keys` follow; none where they are as they were written.
    pub root: Option<[u8; 32]>,
    /// What it may do here.
    pub rights: PeerRights,
    /// How often it may call; `None` where it has no limit of its own.
    pub limit: Option<PeerLimit>,
    /// Whether it is known but may neither call nor be called.
    pub suspended: bool,
    /// From which day on somebody should look at it again.
    pub review_by: Option<Date>,
    /// What the connection must be, beside its tokens.
    pub tls: PeerTls,
    /// What kind of node it is.
    pub kind: PeerKind,
    /// Calls to it that may run at once.
    pub max_concurrent: u32,
    /// Who told us of it.
    pub source: PeerSource,
    /// Whether it may be in a private network: the operator wrote it down, or said so when it paired. Whom a manifest names
    /// may not, unless its host is on `egress.host_allowlist`.
    pub may_be_private: bool,
    /// Fires when it is no longer the peer it was.
    pub cut: Cut,
}

/// Most keys of one peer: a bad token costs a check for each.
pub const MAX_KEYS: usize = 4;

/// Calls to a peer that may run at once, where nobody said otherwise; the default of `max_concurrent`.
const MAX_CONCURRENT: u32 = 256;

/// What a peer may do here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRights {
    /// Agents that it may see and call.
    pub agents: Allowed<String>,
    /// Operations that it may ask for.
    pub methods: Allowed<Method>,
    /// What it counts as at most.
    pub max_role: Role,
    /// Whether what it asks for may go on to further peers.
    pub forward: bool,
}

/// All, or those that are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed<T> {
    /// Every one.
    All,
    /// These and no other.
    Only(BTreeSet<T>),
}

/// How often a peer may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerLimit {
    /// In each `per`; at least 1.
    pub calls: u32,
    pub per: Duration,
    /// At once; at least 1.
    pub burst: u32,
}

/// What the connection to and from a peer must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerTls {
    /// The certificate with which it must come.
    pub pin: Option<CertificatePin>,
    /// Our own certificate for it, and its key.
    pub identity: Option<TlsIdentity>,
    /// Authorities that may have signed its certificate, instead of those of this machine.
    pub ca_file: Option<PathBuf>,
}

/// Which certificate a peer must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificatePin {
    /// SHA-256 of the certificate as it is sent (DER), or of its public key (DER of SubjectPublicKeyInfo).
    Sha256([u8; 32]),
    /// The only URI among its names.
    Spiffe(String),
}

/// A certificate and its key, both as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsIdentity {
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
}

/// Who told us of a peer; what comes first here wins over what comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeerSource {
    /// `[[peers]]` of the configuration.
    Configured,
    /// The variables of Hive and Pilox.
    Variables,
    /// A file of the peers' folder.
    Folder,
    /// An invitation that was accepted.
    Paired,
    /// The signed manifest.
    Manifest,
}

impl PeerSource {
    /// Every one, in the order in which they win.
    pub const ALL: [Self; 5] = [
        Self::Configured,
        Self::Variables,
        Self::Folder,
        Self::Paired,
        Self::Manifest,
    ];
}

/// Fires when a peer is removed or suspended, has lost a key, or may do other things than before: whatever was begun
/// under the old terms must end. It is no property of the peer, so all are equal.
#[derive(Debug, Clone, Default)]
pub struct Cut(CancellationToken);

impl Cut {
    /// The signal itself, to wait for.
    pub fn token(&self) -> CancellationToken {
        self.0.clone()
    }

    /// Whether it has fired.
    pub fn is_cut(&self) -> bool {
        self.0.is_cancelled()
    }

    pub(crate) fn fire(&self) {
        self.0.cancel();
    }
}

impl PartialEq for Cut {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Cut {}

impl Peer {
    /// A peer by that name with a peer's usual rights and no key.
    pub fn new(name: &str, origin: Origin, source: PeerSource) -> Self {
        Self {
            name: name.into(),
            principal: format!("peer:{name}").into(),
            origin,
            keys: Vec::new(),
            card_keys: None,
            follows_keys: source == PeerSource::Paired,
            root: None,
            rights: PeerRights::default(),
            limit: None,
            suspended: false,
            review_by: None,
            tls: PeerTls::default(),
            kind: PeerKind::Auto,
            max_concurrent: MAX_CONCURRENT,
            may_be_private: source != PeerSource::Manifest,
            source,
            cut: Cut::default(),
        }
    }

    /// A peer that was given no name is called as its host, with the port where it has one.
    pub fn nameless(origin: Origin, source: PeerSource) -> Self {
        let host = origin.as_str().split("://").nth(1).unwrap_or_default();
        let plain: String = host
            .chars()
            .map(|letter| if is_name_letter(letter) { letter } else { '-' })
            .collect();
        let name = plain.trim_matches('-').to_owned();
        Self::new(&name, origin, source)
    }

    /// The same peer under another name, because its own is taken. The name depends on nothing but name and origin: whom
    /// a task belongs to must not depend on who else is a peer.
    pub fn renamed(self) -> Self {
        let digest = Sha256::digest(self.origin.as_str());
        let mark = hex::encode(digest.get(..4).unwrap_or_default());
        let name = format!("{}-{mark}", self.name);
        Self {
            principal: format!("peer:{name}").into(),
            name: name.into(),
            ..self
        }
    }

    /// How it is called: whoever was named by somebody else only at public addresses.
    pub fn destination(&self) -> Destination {
        if self.may_be_private {
            Destination::Trusted
        } else {
            Destination::Outside
        }
    }

    /// What is shown to it and who stands for it, where that is not as for everybody.
    pub fn tls_files(&self) -> Option<TlsFiles> {
        let tls = &self.tls;
        let is_own = tls.identity.is_some() || tls.ca_file.is_some();
        is_own.then(|| TlsFiles {
            ca: tls.ca_file.clone(),
            identity: tls
                .identity
                .as_ref()
                .map(|own| (own.certificate_file.clone(), own.key_file.clone())),
        })
    }

    /// The keys with which its cards may be signed.
    pub fn trusted_keys(&self) -> TrustedKeys {
        let trusted = self.card_keys.as_deref().map(TrustedKeys::from_jwks);
        let mut trusted = trusted.and_then(Result::ok).unwrap_or_default();
        for key in &self.keys {
            // A key that the library refuses verifies nothing, as it should be.
            if let Err(error) = trusted.add_ed25519(&key.public_key) {
                tracing::warn!(peer.name = %self.name, %error, "a key of a peer cannot be used for its cards");
            }
        }
        trusted
    }

    /// The first of its public keys that counts at this time (Unix seconds), as 64 hexadecimal digits.
    pub fn public_key_hex(&self, now_unix: i64) -> Option<String> {
        let key = self.keys.iter().find(|key| key.is_valid_at(now_unix))?;
        Some(keys::to_hex(&key.public_key))
    }

    /// Whether one of its keys ended in the seconds from `since` up to `now`: what came with it may not go on.
    pub(super) fn lost_key(&self, since: i64, now: i64) -> bool {
        let ended = |last: i64| since <= last && last < now;
        self.keys.iter().any(|key| key.not_after.is_some_and(ended))
    }

    /// Whether what was begun with this peer may go on with what it has become.
    pub(super) fn goes_on_as(&self, now: &Self) -> bool {
        let keeps = |key: &PeerKey| {
            now.keys
                .iter()
                .any(|kept| kept.public_key == key.public_key)
        };
        self.name == now.name
            && self.suspended == now.suspended
            && self.rights == now.rights
            && self.tls.pin == now.tls.pin
            && self.keys.iter().all(keeps)
    }
}

impl Default for PeerRights {
    /// What the operator of a mesh expects of a peer: it may ask every agent for everything, and go no further.
    fn default() -> Self {
        Self {
            agents: Allowed::All,
            methods: Allowed::All,
            max_role: Role::Operator,
            forward: false,
        }
    }
}

impl Allowed<String> {
    /// Whether this one is allowed.
    pub fn holds(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(listed) => listed.contains(name),
        }
    }
}

impl Allowed<Method> {
    /// Whether this one is allowed.
    pub fn holds(&self, method: Method) -> bool {
        match self {
            Self::All => true,
            Self::Only(listed) => listed.contains(&method),
        }
    }
}

/// Whether a peer may have this name: it stands in URLs and in records.
pub fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(is_name_letter)
}

fn is_name_letter(letter: char) -> bool {
    letter.is_ascii_lowercase() || letter.is_ascii_digit() || matches!(letter, '.' | '_' | '-')
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests;
