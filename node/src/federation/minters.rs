//! With what our own tokens are minted: our own key, or the secret of the group.

use archipel_kit::settings::{Problems, Secret};
use archipel_protocol::federation::{KeyError, Minter, keys};
use archipel_protocol::ids::Origin;
use archipel_protocol::names::Dialect;

use crate::federation::own_keys::{OwnKeys, OwnMinters};
use crate::federation::settings::{Algorithm, FederationSettings, PeerSettings};

/// Our own tokens for one call: as our dialect spells them, and as the other does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) own: String,
    pub(super) other: String,
}

/// With what we mint.
pub(super) enum Minters {
    /// Our own key: both dialects take the same token.
    OwnKey(OwnMinters),
    /// The shared secret: the issuer differs between the dialects.
    SharedSecret {
        own: Box<Minter>,
        other: Box<Minter>,
    },
    /// Nothing: we can be called, if that, but cannot call.
    Nothing,
}

impl Minters {
    /// Our own keys; none with a shared secret.
    pub(super) fn own_keys(&self) -> Option<OwnKeys> {
        match self {
            Self::OwnKey(minters) => Some(minters.keys()),
            Self::SharedSecret { .. } | Self::Nothing => None,
        }
    }

    /// Mints with these keys from now on. Without a key of our own nothing changes.
    pub(super) fn use_keys(&self, keys: &OwnKeys) -> Result<(), KeyError> {
        match self {
            Self::OwnKey(minters) => minters.replace(keys),
            Self::SharedSecret { .. } | Self::Nothing => Ok(()),
        }
    }

    /// Tokens as `mint` makes them, for a peer that follows our keys or does not, at this time (Unix seconds).
    pub(super) fn tokens(
        &self,
        follows: impl FnOnce() -> bool,
        now: i64,
        mint: impl Fn(&Minter) -> Option<String>,
    ) -> Option<Tokens> {
        match self {
            Self::Nothing => None,
            Self::OwnKey(minters) => {
                let in_force = minters.in_force();
                mint(in_force.minter(follows, now)).map(|own| Tokens {
                    other: own.clone(),
                    own,
                })
            }
            // One id in both: whoever takes one of them must not take the other as well.
            Self::SharedSecret { own, other } => Some(Tokens {
                own: mint(own)?,
                other: mint(other)?,
            }),
        }
    }
}

/// The minters of a configuration.
pub(super) fn minters(
    settings: &FederationSettings,
    dialect: Dialect,
    issuer: &Origin,
    problems: &mut Problems,
) -> Minters {
    if settings.algorithm_in_force() != Algorithm::Ed25519 {
        let Some(secret) = &settings.shared_secret else {
            return Minters::Nothing;
        };
        let minter =
            |dialect: Dialect| Minter::hs256(secret.expose(), dialect.hs256_issuer()).map(Box::new);
        return match (minter(dialect), minter(dialect.other())) {
            (Ok(own), Ok(other)) => Minters::SharedSecret { own, other },
            (Err(error), _) | (_, Err(error)) => {
                problems.add("federation.shared_secret", error.to_string());
                Minters::Nothing
            }
        };
    }
    let Some(seed) = &settings.ed25519_seed else {
        return Minters::Nothing;
    };
    match keys::from_hex(seed.expose()).and_then(|seed| OwnMinters::new(&seed, issuer)) {
        Ok(minters) => Minters::OwnKey(minters),
        Err(error) => {
            problems.add("federation.ed25519_seed", error.to_string());
            Minters::Nothing
        }
    }
}

/// What an operator of a mesh with a shared secret is told.
const ONE_GROUP: &str = "all who hold federation.shared_secret are one caller: rights, limits and suspensions of single peers do \
                         not hold for their calls; Ed25519 gives each an identity";

/// What is told while the secret itself is taken where a token should be.
const SECRET_TAKEN: &str = "federation.inbound_allow_legacy_secret is on: whoever sees one call with the shared secret can make any \
                            other; turn it off once all peers send tokens";

/// Keys that are missing. A peer in `[[peers]]` is there to be called and to call, so its absence is a mistake. With the
/// variables of Hive and Pilox alone a node starts as theirs do, and refuses what it cannot verify.
pub(super) fn check_keys(
    settings: &FederationSettings,
    minters: &Minters,
    peers: &[PeerSettings],
    problems: &mut Problems,
    warnings: &mut Vec<String>,
) {
    if settings.shared_secret.as_ref().is_some_and(Secret::is_weak) {
        warnings.push("federation.shared_secret is easy to guess".to_owned());
    }
    if matches!(minters, Minters::SharedSecret { .. }) {
        warnings.push(ONE_GROUP.to_owned());
    }
    if settings.shared_secret.is_some() && settings.inbound_allow_legacy_secret {
        warnings.push(SECRET_TAKEN.to_owned());
    }
    if !matches!(minters, Minters::Nothing) {
        return;
    }
    let (key, what) = match settings.algorithm_in_force() {
        Algorithm::Ed25519 if settings.ed25519_seed.is_some() => return,
        Algorithm::Ed25519 => (
            "federation.ed25519_seed",
            "is missing: without it no peer can be called",
        ),
        _ => (
            "federation.shared_secret",
            "is missing, and so is ed25519_seed: without one, no peer can call or be called",
        ),
    };
    if peers.is_empty() {
        warnings.push(format!("{key} {what}"));
    } else {
        problems.add(key, what);
    }
}
