//! What the settings of federation come to: pure.

use archipel_kit::settings::Problems;
use archipel_protocol::federation::{KeyError, Policy, Verifier};
use archipel_protocol::ids::Origin;
use archipel_protocol::names::Dialect;

use crate::federation::roster::{RosterParts, Trust};
use crate::federation::settings::{Algorithm, FederationSettings};

/// The longest life of a token that is taken (the contract lets nobody mint a longer one).
const MAX_TOKEN_LIFE_SECONDS: u64 = 3600;

pub(super) fn policy(settings: &FederationSettings, audience: String) -> Policy {
    Policy {
        audience: Some(audience),
        require_audience: settings.require_audience,
        require_jti: settings.require_jti,
        skew_seconds: settings.clock_skew.as_secs(),
        max_lifetime_seconds: Some(MAX_TOKEN_LIFE_SECONDS + settings.clock_skew.as_secs()),
        letter: None,
    }
}

pub(super) fn trust(settings: &FederationSettings, dialect: Dialect) -> Result<Trust, KeyError> {
    match (settings.algorithm_in_force(), &settings.shared_secret) {
        (Algorithm::Ed25519, _) => Ok(Trust::PeerKeys),
        (_, None) => Ok(Trust::Nobody),
        (_, Some(secret)) => {
            let mut issuers = vec![dialect.hs256_issuer()];
            if settings.accept_both_dialects {
                issuers.push(dialect.other().hs256_issuer());
            }
            Verifier::hs256(secret.expose(), &issuers).map(Trust::SharedSecret)
        }
    }
}

/// The variables may not name a peer that `[[peers]]` has: of the two, one is not what the operator means.
pub(super) fn refuse_listed_twice(parts: &RosterParts, problems: &mut Problems) {
    for listed in &parts.variables {
        if parts
            .configured
            .iter()
            .any(|known| known.origin == listed.origin)
        {
            let what = format!("`{}` is the origin of an earlier peer", listed.origin);
            problems.add("federation.peer_origins", what);
        }
    }
}

/// Under what peers know us: what their tokens must name, and what ours are signed as.
pub(super) struct KnownAs {
    pub(super) origin: Origin,
    pub(super) audience: String,
}

pub(super) fn known_as(
    settings: &FederationSettings,
    own: &Origin,
    problems: &mut Problems,
) -> KnownAs {
    let configured = settings
        .audience
        .as_deref()
        .map(str::trim)
        .filter(|text| !text.is_empty());
    let Some(text) = configured else {
        return KnownAs {
            origin: own.clone(),
            audience: own.to_string(),
        };
    };
    if settings.algorithm_in_force() != Algorithm::Ed25519 {
        return KnownAs {
            origin: own.clone(),
            audience: text.to_owned(),
        };
    }
    let origin = Origin::parse(text).unwrap_or_else(|error| {
        problems.add(
            "federation.audience",
            format!("must be the origin by which peers know us: {error}"),
        );
        own.clone()
    });
    KnownAs {
        audience: origin.to_string(),
        origin,
    }
}
