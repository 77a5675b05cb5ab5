//! The bus of this node.

use std::sync::Arc;

use actix::prelude::*;
use archipel_kit::clock::Clock;
use archipel_protocol::envelope::BusSecret;
use archipel_protocol::names::Dialect;

use crate::bus::{BusActor, BusRules, in_process};
use crate::config::BusSettings;
use crate::replay::ClaimId;

/// Starts the bus inside the process. Secrets are long enough: the configuration was checked.
pub(super) fn start(
    settings: &BusSettings,
    dialect: Dialect,
    claims: Recipient<ClaimId>,
    clock: &Arc<dyn Clock>,
) -> Addr<BusActor> {
    let secrets = [&settings.secret, &settings.previous_secret];
    let rules = BusRules {
        secrets: secrets
            .into_iter()
            .flatten()
            .filter_map(|secret| BusSecret::new(secret.expose()).ok())
            .collect(),
        dialect,
        freshness: settings.freshness,
    };
    BusActor::new(rules, in_process::connect(), claims, Arc::clone(clock)).start()
}
