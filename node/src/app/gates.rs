//! What callers pass before anything is done for them: what they must present, and what counts how often they come.

use std::sync::Arc;

use archipel_kit::clock::Clock;
use archipel_kit::settings::Problems;
use archipel_kit::telemetry::Telemetry;

use crate::app::StartError;
use crate::app::stores::Stores;
use crate::config::NodeSettings;
use crate::edge::auth::Allowlist;
use crate::edge::{ClientAddress, Gates};
use crate::limiter::{Failures, Limit, Turnstile};
use crate::metrics::LimiterMetrics;
use crate::public::PublicTier;

/// What counts, for all workers together.
pub(super) struct Counters {
    pub(super) failures: Arc<Failures>,
    pub(super) turnstile: Arc<Turnstile>,
    pub(super) public: Option<Arc<PublicTier>>,
}

/// What counts, with nothing counted yet.
pub(super) fn counters(
    settings: &NodeSettings,
    stores: &Stores,
    clock: &Arc<dyn Clock>,
    telemetry: &Telemetry,
) -> Result<Counters, StartError> {
    let mut problems = Problems::default();
    let public = PublicTier::from_settings(&settings.public, &mut problems);
    if !problems.is_empty() {
        return Err(StartError::Settings(problems));
    }
    let metrics = LimiterMetrics::new(&telemetry.meter());
    let failures = Failures::new(settings.limits.failures, Arc::clone(clock));
    let turnstile = Turnstile::new(Arc::clone(&stores.limiter), Arc::clone(clock), metrics);
    Ok(Counters {
        failures: Arc::new(failures),
        turnstile: Arc::new(turnstile),
        public: public.map(Arc::new),
    })
}

/// What callers must present.
pub(super) fn gates(settings: &NodeSettings) -> Gates {
    Gates {
        open: settings.a2a_enabled,
        internal_token: settings.internal_token.clone(),
        gateway_secret: settings.gateway_secret.clone(),
        gateway_enforced: settings.gateway_enforced,
        min_role: settings.a2a.min_role,
        allowlist: Allowlist::new(
            settings
                .federation
                .inbound_allowlist
                .iter()
                .map(String::as_str),
        ),
        federation_limit: Limit::Window {
            max: settings.federation.rate_limit,
            window: settings.federation.rate_limit_window,
        },
        call_limit: (settings.a2a.rate_limit > 0).then_some(Limit::Window {
            max: settings.a2a.rate_limit,
            window: settings.a2a.rate_limit_window,
        }),
        client: ClientAddress {
            source: settings.client_ip_source,
            rules: settings.client_rules(),
        },
        dialect: settings.dialect.into(),
    }
}
